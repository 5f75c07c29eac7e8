//! A root filesystem that is read where it is: a directory of this host, or another filesystem.

use std::fs::File;

use super::contents::Contents;
use super::request::Request;
use crate::error::Result;
use crate::image::{ImageSpec, InPlace, open_in_place};
use crate::inject::HostTree;
use crate::look::Image;
use crate::source::local::kind::check_directory;
use crate::source::{ImageReference, ResolvedImage};

/// What the source names, if it has no layers.
pub(super) enum Root {
    /// A directory.
    Directory(HostTree),
    /// A filesystem that nobody changes meanwhile.
    Filesystem {
        image: Box<Image>,
        /// Keeps others from changing it; not what is going to be replaced.
        _lock: Option<File>,
    },
}

impl Root {
    /// Opens it; nothing, if the source has layers.
    pub(super) fn open(request: &Request) -> Result<Option<Self>> {
        match &request.source {
            ImageReference::Directory(root) => {
                check_directory(root)?;
                let tree = HostTree::new(root.clone(), request.owners.clone());
                Ok(Some(Self::Directory(tree)))
            }
            ImageReference::Filesystem(path) => {
                let lock = open_in_place(path, InPlace::Read)?;
                let image = Box::new(Image::open(path, 0)?);
                let lock = Some(lock).filter(|_| !image.is_at(&request.disk.output));
                Ok(Some(Self::Filesystem { image, _lock: lock }))
            }
            _ => Ok(None),
        }
    }

    /// It, as what is pulled.
    pub(super) fn resolved(&self, source: &ImageReference) -> Result<ResolvedImage> {
        let bytes = match self {
            Self::Directory(tree) => tree.bytes()?,
            Self::Filesystem { image, .. } => {
                let facts = image.facts();
                facts.blocks.saturating_sub(facts.free_blocks).saturating_mul(facts.block_size)
            }
        };
        Ok(ResolvedImage::tree(source, bytes))
    }

    pub(super) fn contents(&self) -> Contents<'_> {
        match self {
            Self::Directory(tree) => Contents::Directory(tree),
            Self::Filesystem { image, .. } => Contents::Filesystem(image.as_ref()),
        }
    }

    /// What has to be said of what is read from it.
    pub(super) fn caveats(&self) -> Vec<String> {
        match self {
            Self::Directory(_) => Vec::new(),
            Self::Filesystem { image, .. } => image.caveats(),
        }
    }

    /// What of it goes on in the new filesystem, where nothing else was asked for: its label.
    pub(super) fn describe(&self, spec: &mut ImageSpec) {
        if let Self::Filesystem { image, .. } = self
            && spec.filesystem.label.is_empty()
        {
            spec.filesystem.label.clone_from(&image.facts().label);
        }
    }
}
