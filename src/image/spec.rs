//! What an image is to be, and what follows from that.

use std::path::PathBuf;

use ext4_writer::{Builder, CountingSink, Options, Sink, Size, Timestamp};

use super::identity::Key;
use super::interruption::Interruption;
use super::output::{self, OutputTarget};
use super::refused::refused;
use super::sidecar;
use super::size::ImageSize;
use crate::digest::Digest;
use crate::error::Result;
use crate::flatten::{FlattenOptions, LayerSemantics};
use crate::guest::Guest;
use crate::inject::{Addition, Owner, open_overlay};
use crate::layer::{Limits, Memory};

/// A disk, but for what is on it.
#[derive(Clone, Debug)]
pub struct DiskSpec {
    /// Where it goes.
    pub output: PathBuf,
    /// What that is.
    pub target: OutputTarget,
    /// Whether it may replace what is there.
    pub replace: bool,
    /// How large it is to be.
    pub size: ImageSize,
    /// The filesystem's options, but for its time.
    pub filesystem: Options,
    /// Whose the root directory is, if not what its contents say.
    pub root: Root,
    /// What may end the work early.
    pub interruption: Interruption,
}

/// Whose the root directory is, where that is not what it would be otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// The owner; otherwise the source's, or 0:0 where there is none, whoever makes the filesystem.
    pub owner: Option<Owner>,
    /// The permission bits; otherwise the source's, or 0755.
    pub mode: Option<u16>,
}

impl Root {
    pub(super) fn apply<S: Sink>(self, builder: &mut Builder<S>) -> ext4_writer::Result<()> {
        let root = builder.root();
        let mut metadata = builder.metadata(root)?;
        let owner = self.owner.unwrap_or_default();
        metadata.uid = owner.uid.unwrap_or(metadata.uid);
        metadata.gid = owner.gid.unwrap_or(metadata.gid);
        metadata.mode = self.mode.unwrap_or(metadata.mode);
        builder.set_metadata(root, &metadata)
    }
}

/// Everything that decides an image besides its layers.
#[derive(Clone, Debug)]
pub struct ImageSpec {
    /// Where the image goes.
    pub output: PathBuf,
    /// What that is.
    pub target: OutputTarget,
    /// Whether it may replace what is there.
    pub replace: bool,
    /// Whose the root directory is, if not what the layers say.
    pub root: Root,
    /// How large it is to be.
    pub size: ImageSize,
    /// The filesystem's options, but for its size and time. A UUID that nobody chose follows from
    /// what the image is made of.
    pub filesystem: Options,
    /// The time of what has none of its own.
    pub epoch: Timestamp,
    /// Files and directories of the host to put into the image.
    pub additions: Vec<Addition>,
    /// Archives to apply as last layers.
    pub overlays: Vec<PathBuf>,
    /// What makes a machine of the image, behind all layers.
    pub guest: Guest,
    /// The latest time that a file may bear.
    pub latest: Option<Timestamp>,
    /// What paths through symbolic links of lower layers mean.
    pub semantics: LayerSemantics,
    /// Whether a loss is an error.
    pub strict: bool,
    /// How much a hostile image may ask for.
    pub limits: Limits,
    /// What decompressing layers before their turn may take.
    pub memory: Memory,
    /// What may end the work early.
    pub interruption: Interruption,
}

impl ImageSpec {
    /// Refuses what cannot come to a good end, before the long work.
    pub fn check(&self) -> Result<()> {
        let length = match self.size {
            ImageSize::Fixed(length) => Some(length),
            ImageSize::Automatic | ImageSize::Fit(_) => None,
        };
        output::check(&self.output, &self.target, self.replace, length)?;
        if !matches!(self.target, OutputTarget::Device { .. }) {
            sidecar::check_old(&self.output)?;
        }
        // A builder that nothing is given to refuses what no tree can make good.
        Builder::create(CountingSink::new(), self.options())
            .map_err(|error| refused(&self.output, error))?;
        self.additions.iter().try_for_each(Addition::check)?;
        self.guest.bundles.iter().try_for_each(|bundle| bundle.check(&self.limits))?;
        for overlay in &self.overlays {
            open_overlay(overlay, &self.limits)?;
        }
        Ok(())
    }

    pub(super) fn flatten_options(&self) -> FlattenOptions {
        FlattenOptions {
            epoch: self.epoch,
            latest: self.latest,
            semantics: self.semantics,
            strict: self.strict,
            limits: self.limits.clone(),
        }
    }

    pub(super) fn options(&self) -> Options {
        let mut options = self.filesystem.clone();
        options.size = match self.size {
            ImageSize::Fixed(bytes) => Size::Fixed(bytes),
            // What is to be free is said when the content is known.
            ImageSize::Automatic | ImageSize::Fit(_) => Size::Fit { free_bytes: 0, free_inodes: 0 },
        };
        options.epoch = self.epoch;
        options
    }

    /// A UUID that follows from what names the image's content, from what is added to it and from
    /// what was asked for besides: the same image gives the same disk from wherever it comes and
    /// however its layers are packed, another one has another UUID.
    pub(super) fn derived_uuid(&self, identity: &Digest, added: &Digest) -> [u8; 16] {
        let mut key = Key::new(Some(identity));
        key.image_size(self.size);
        key.filesystem(&self.filesystem);
        key.times(self.epoch, self.latest);
        key.semantics(self.semantics);
        key.root(self.root.owner, self.root.mode);
        key.added(added);
        key.uuid()
    }
}
