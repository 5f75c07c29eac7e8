//! The result of `banger disk create`.

use std::fmt::Write as _;
use std::path::Path;

use ext4_writer::{Metadata, Timestamp};
use serde::Serialize;

use super::image::Image;
use super::pull::PullReport;
use super::{Report, bytes};
use crate::edit::Copied;
use crate::error::Result;
use crate::image::MadeDisk;
use crate::pull::Pulled;

/// The result of `banger disk create`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Created {
    /// The filesystem.
    #[serde(flatten)]
    pub image: Image,
    /// Whether it is on a block device.
    #[serde(rename = "device")]
    pub is_device: bool,
    /// The owner of the root directory.
    pub root_uid: u32,
    /// The owning group of the root directory.
    pub root_gid: u32,
    /// The permission bits of the root directory, in octal.
    pub root_mode: String,
    /// What was there before, in words.
    pub replaced: Option<String>,
    /// How long everything took, in microseconds.
    pub microseconds: u64,
    /// What it began with.
    pub from: Option<PullReport>,
    /// What it is a copy of.
    pub copied: Option<Original>,
}

/// What a filesystem is a copy of.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Original {
    /// The image.
    pub path: String,
    /// The bytes that were copied, or are shared with it.
    pub bytes: u64,
}

impl Created {
    /// An empty filesystem in a new file.
    #[must_use]
    pub(crate) fn empty(path: &Path, made: &MadeDisk, label: &[u8]) -> Self {
        Self::new(Image::new(path, &made.summary, label), &made.root)
    }

    /// A filesystem in a new file that began with a tree.
    #[must_use]
    pub(crate) fn pulled(pulled: &Pulled) -> Self {
        let from = PullReport::new(pulled);
        Self { from: Some(from.clone()), ..Self::new(from.image, &pulled.built.root) }
    }

    /// A filesystem that is the copy of another.
    #[must_use]
    pub(crate) fn copied(path: &Path, from: &Path, copied: &Copied) -> Self {
        let (uid, gid, mode) = copied.root;
        let image = Image::found(path, &copied.summary, copied.bytes);
        let original = Original { path: from.display().to_string(), bytes: copied.bytes };
        let root = Metadata { uid, gid, ..Metadata::root_owned(mode, Timestamp::default()) };
        Self { copied: Some(original), ..Self::new(image, &root) }
    }

    fn new(image: Image, root: &Metadata) -> Self {
        Self {
            image,
            is_device: false,
            root_uid: root.uid,
            root_gid: root.gid,
            root_mode: format!("{:04o}", root.mode & 0o7777),
            replaced: None,
            microseconds: 0,
            from: None,
            copied: None,
        }
    }

    fn text(&self, verbose: bool) -> String {
        let image = &self.image;
        let mut text = self.from.as_ref().map(|from| from.text(verbose)).unwrap_or_default();
        let mut line = |name: &str, value: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<10}{value}");
        };
        if let Some(original) = &self.copied {
            line("copied", format!("{} of {}", bytes(original.bytes), original.path));
        }
        if self.from.is_none() {
            line("disk", image.text());
            line("path", image.path.clone());
        }
        if verbose {
            let (whole, tenths) = (self.microseconds / 1000, self.microseconds / 100 % 10);
            line("time", format!("{whole}.{tenths} ms"));
            line("features", image.features.join(" "));
            line("journal", bytes(image.journal));
            line("written", bytes(image.written));
            line("root", format!("{}:{} {}", self.root_uid, self.root_gid, self.root_mode));
        }
        if let Some(replaced) = &self.replaced {
            line("replaced", replaced.clone());
        }
        text
    }
}

impl Report {
    /// Prints what was made of a disk.
    pub(crate) fn created(self, created: &Created) -> Result<()> {
        self.result(created, || match (self.quiet, self.verbose) {
            (true, _) => created.image.path.clone(),
            (false, verbose) => created.text(verbose),
        })
    }
}
