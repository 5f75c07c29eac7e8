//! The files of a layout, wherever they lie.

use super::bundle::Bundle;
use super::folder::Folder;
use super::piece::Piece;
use crate::error::Result;

/// Where the files of a layout lie.
#[derive(Debug)]
pub(super) enum Shelf {
    Folder(Folder),
    Bundle(Bundle),
}

impl Shelf {
    pub(super) fn find(&self, path: &str) -> Result<Option<Piece>> {
        match self {
            Self::Folder(folder) => folder.find(path),
            Self::Bundle(bundle) => bundle.find(path),
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Folder(folder) => folder.name(),
            Self::Bundle(bundle) => bundle.name(),
        }
    }
}
