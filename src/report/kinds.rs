//! How much of each kind there is.

use serde::Serialize;

use super::bytes;

/// How much of each kind a tree holds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Kinds {
    /// Regular files.
    pub files: u64,
    /// Bytes in them.
    pub file_bytes: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Hard links.
    pub hard_links: u64,
    /// Devices, pipes and sockets.
    pub special_files: u64,
}

impl Kinds {
    pub(super) fn text(&self) -> String {
        format!(
            "{} files ({}), {} directories, {} symbolic links, {} hard links, {} special",
            self.files,
            bytes(self.file_bytes),
            self.directories,
            self.symlinks,
            self.hard_links,
            self.special_files,
        )
    }
}
