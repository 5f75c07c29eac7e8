//! What is asked of a pull.

use std::path::PathBuf;

use ext4_writer::{Options, Profile, Size, Timestamp};

use super::guest::GuestOptions;
use crate::cache::Cache;
use crate::flatten::LayerSemantics;
use crate::image::{DiskSpec, ImageSize, ImageSpec, Interruption, OutputTarget, Root};
use crate::inject::{Addition, Owners};
use crate::layer::Memory;
use crate::source::{self, ImageReference, Platform};

/// An image, and the disk that is to be made of it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where the image comes from.
    pub source: ImageReference,
    /// Which image of several is taken.
    pub platform: Platform,
    /// How registries are spoken to, and how much an image may ask for, wherever it comes from.
    pub registry: source::Options,
    /// Where fetched blobs are kept; `None` is the user's cache.
    pub cache: Option<Cache>,
    /// Whose the files of a directory of this host become.
    pub owners: Owners,
    /// The disk.
    pub disk: DiskSpec,
    /// Files and directories of this host to put into the image.
    pub additions: Vec<Addition>,
    /// Archives to apply as last layers.
    pub overlays: Vec<PathBuf>,
    /// What makes a machine of the image.
    pub guest: GuestOptions,
    /// What paths through symbolic links of lower layers mean.
    pub semantics: LayerSemantics,
    /// Whether something that the disk cannot hold is an error.
    pub strict: bool,
    /// What decompressing layers before their turn may take.
    pub memory: Memory,
    /// The time of what has none of its own; `None` is that at which the image was made.
    pub epoch: Option<Timestamp>,
    /// The latest time of all, which is also that of what has none: `SOURCE_DATE_EPOCH`.
    pub latest: Option<Timestamp>,
    /// Whether the finished disk is looked through for what would keep it from booting.
    pub lint: bool,
    /// Whether the finished filesystem has to be sound before it gets its name.
    pub check: bool,
}

impl Request {
    /// A disk of the image that `source` names, in a new file: what `banger image pull` asks for
    /// when no option is given.
    #[must_use]
    pub fn new(source: ImageReference, output: impl Into<PathBuf>) -> Self {
        let size = Size::Fit { free_bytes: 0, free_inodes: 0 };
        let disk = DiskSpec {
            output: output.into(),
            target: OutputTarget::File,
            replace: false,
            size: ImageSize::default(),
            filesystem: Options::for_profile(Profile::default(), size),
            root: Root::default(),
            interruption: Interruption::default(),
        };
        Self::for_disk(source, disk)
    }

    /// The same for a disk that is described in full.
    #[must_use]
    pub fn for_disk(source: ImageReference, disk: DiskSpec) -> Self {
        Self {
            source,
            platform: Platform::host(),
            registry: source::Options::default(),
            cache: None,
            owners: Owners::default(),
            disk,
            additions: Vec::new(),
            overlays: Vec::new(),
            guest: GuestOptions::default(),
            semantics: LayerSemantics::default(),
            strict: false,
            memory: Memory::default(),
            epoch: None,
            latest: None,
            lint: true,
            check: false,
        }
    }

    /// The image as far as it is known before its source was asked.
    pub(super) fn spec(&self) -> ImageSpec {
        let DiskSpec { output, target, replace, size, filesystem, root, interruption } =
            self.disk.clone();
        ImageSpec {
            output,
            target,
            replace,
            root,
            size,
            filesystem,
            epoch: Timestamp::default(),
            additions: self.additions.clone(),
            overlays: self.overlays.clone(),
            guest: self.guest.bundles(),
            latest: self.latest,
            semantics: self.semantics,
            strict: self.strict,
            limits: self.registry.limits.layer.clone(),
            memory: self.memory,
            interruption,
        }
    }
}
