//! What the caller decides about an image.

use crate::metadata::Timestamp;

/// How large the filesystem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Exactly so many bytes of file and of filesystem.
    Fixed(u64),
    /// The smallest filesystem that holds the tree and leaves room.
    ///
    /// Content is never moved: what a removal freed and nothing filled again counts as room.
    Fit {
        /// Bytes that an ordinary user can still write.
        free_bytes: u64,
        /// Inodes that can still be made.
        free_inodes: u32,
    },
}

/// The journal, in which the kernel writes metadata first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Journal {
    /// As large as mke2fs makes it: none below 8 MiB, then 4 MiB to 1 GiB.
    #[default]
    Default,
    /// So many bytes, at least 1,024 blocks.
    Size(u64),
    /// None.
    None,
}

/// The blocks that only root may fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// This share of all blocks, at most 50.
    Percent(u8),
    /// So many bytes, at most half of the filesystem.
    Bytes(u64),
}

/// Everything that is decided before the first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// How large the filesystem is.
    pub size: Size,
    /// The volume's name, at most 16 bytes.
    pub label: Vec<u8>,
    /// The filesystem's UUID in the order in which it is written. When not given it is derived
    /// from the label, the size asked for and the tree: names, attributes, sizes and places, but not contents.
    pub uuid: Option<[u8; 16]>,
    /// The start of every name's hash; derived from the UUID when not given.
    pub hash_seed: Option<[u8; 16]>,
    /// The time that the filesystem says it was made, and that of nodes that nobody declared.
    pub epoch: Timestamp,
    /// How many inodes there are, rounded up to full blocks of every group's table; too few for
    /// the tree are an error. When not given: mke2fs's ratio to the size, or what
    /// the tree needs and a tenth more, whichever is more.
    pub inodes: Option<u32>,
    /// The journal.
    pub journal: Journal,
    /// The blocks that only root may fill.
    pub reserved: Reserved,
    /// The size in bytes to which the filesystem can grow by `resize2fs` without moving anything:
    /// it decides how many blocks are held back for group descriptors. When not given: 1,024
    /// times the size as mke2fs does, and 2 TiB for [`Size::Fit`].
    pub max_size: Option<u64>,
}

impl Options {
    /// The common choices for an image of this size.
    #[must_use]
    pub fn new(size: Size) -> Self {
        Self {
            size,
            label: Vec::new(),
            uuid: None,
            hash_seed: None,
            epoch: Timestamp::from_seconds(0),
            inodes: None,
            journal: Journal::Default,
            reserved: Reserved::Percent(5),
            max_size: None,
        }
    }
}
