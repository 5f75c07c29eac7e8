//! What the map of an inode's blocks consists of, of either kind.

/// A run of a file's blocks that lie one behind the other on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The place in the file of the first block, in blocks.
    pub file_block: u64,
    /// The first block on disk.
    pub block: u64,
    /// How many blocks.
    pub length: u64,
    /// Whether they are reserved only, and read as zeros.
    pub unwritten: bool,
}

impl Extent {
    /// The block of the file behind the last.
    pub(crate) fn end(&self) -> u64 {
        self.file_block.saturating_add(self.length)
    }
}

/// What is met on the way through a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapItem {
    /// A block of the map itself.
    Node(u64),
    /// Blocks of the file.
    Run(Extent),
}
