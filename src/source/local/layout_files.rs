//! The files of a layout, wherever they lie.

use super::archive::IndexedArchive;
use super::directory::LayoutDirectory;
use super::section::Section;
use crate::error::Result;

/// Where the files of a layout lie.
#[derive(Debug)]
pub(super) enum LayoutFiles {
    LayoutDirectory(LayoutDirectory),
    IndexedArchive(IndexedArchive),
}

impl LayoutFiles {
    pub(super) fn find(&self, path: &str) -> Result<Option<Section>> {
        match self {
            Self::LayoutDirectory(directory) => directory.find(path),
            Self::IndexedArchive(archive) => archive.find(path),
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::LayoutDirectory(directory) => directory.name(),
            Self::IndexedArchive(archive) => archive.name(),
        }
    }
}
