//! What can be wrong with an image that is read, with the place and the numbers.

use std::{fmt, io};

/// A result of reading.
pub type ReadResult<T> = std::result::Result<T, ReadError>;

/// Why an image, or something in it, could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The source failed.
    Io {
        /// Where, in bytes.
        offset: u64,
        /// How many bytes were asked for.
        length: u64,
        /// Why.
        source: io::Error,
    },
    /// There is no ext2, ext3 or ext4 filesystem.
    NotExt4 {
        /// What is wrong.
        detail: String,
    },
    /// The source ends before the filesystem does.
    Truncated {
        /// The bytes of the filesystem.
        needed: u64,
        /// The bytes of the source.
        length: u64,
    },
    /// Something that the format allows and this reader does not read.
    Unsupported {
        /// What, by the name that mke2fs gives it where there is one.
        what: String,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// Numbers that no correct filesystem has.
    Corrupt {
        /// What they are in.
        part: Part,
        /// What is wrong, with the numbers.
        detail: String,
    },
    /// Bytes that are not those that were summed.
    Checksum {
        /// What they are.
        part: Part,
        /// The sum that is stored.
        stored: u32,
        /// The sum of the bytes.
        computed: u32,
    },
    /// No entry has that name.
    NotFound {
        /// The path up to the name, as far as it was followed.
        path: Vec<u8>,
    },
    /// The inode cannot take part in this operation.
    WrongKind {
        /// The inode.
        inode: u32,
        /// What it would have to be.
        needs: &'static str,
    },
    /// More symbolic links than the kernel follows.
    TooManyLinks {
        /// The path.
        path: Vec<u8>,
        /// The most that are followed.
        limit: u32,
    },
    /// The content or target cannot be read without a key, which an image does not hold.
    Encrypted {
        /// The inode.
        inode: u32,
    },
    /// A number that no inode of the filesystem has.
    NoSuchInode {
        /// The number.
        inode: u32,
        /// The inodes that there are.
        count: u32,
    },
    /// An inode that is not in use.
    FreeInode {
        /// Its number.
        inode: u32,
    },
}

/// A part of a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The superblock.
    Superblock,
    /// The descriptor of this group.
    Group(u32),
    /// The block bitmap of this group.
    BlockBitmap(u32),
    /// The inode bitmap of this group.
    InodeBitmap(u32),
    /// This inode.
    Inode(u32),
    /// A node of the map of an inode's blocks.
    MapNode {
        /// The inode.
        inode: u32,
        /// Where the node is.
        block: u64,
    },
    /// A block of a directory.
    Directory {
        /// The inode.
        inode: u32,
        /// The block's place in the directory.
        block: u32,
    },
    /// A block of extended attributes.
    Attributes {
        /// Where it is.
        block: u64,
    },
    /// The value of an extended attribute in an inode of its own.
    AttributeValue {
        /// That inode.
        inode: u32,
    },
    /// The journal's superblock.
    JournalSuperblock,
    /// A block of the journal.
    Journal {
        /// The block's place in the journal.
        block: u32,
    },
}

impl ReadError {
    pub(crate) fn corrupt(part: Part, detail: impl Into<String>) -> Self {
        Self::Corrupt { part, detail: detail.into() }
    }

    /// Compares a checksum with the stored one.
    pub(crate) fn verify(part: Part, stored: u32, computed: u32) -> ReadResult<()> {
        if stored == computed { Ok(()) } else { Err(Self::Checksum { part, stored, computed }) }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { offset, length, source } => {
                write!(f, "cannot read {length} bytes at byte {offset} of the image: {source}")
            }
            Self::NotExt4 { detail } => write!(f, "not an ext4 filesystem: {detail}"),
            Self::Truncated { needed, length } => write!(
                f,
                "the image ends early: its filesystem has {needed} bytes, the image {length}"
            ),
            Self::Unsupported { what, reason } => write!(f, "cannot read {what}: {reason}"),
            Self::Corrupt { part, detail } => write!(f, "{part} is damaged: {detail}"),
            Self::Checksum { part, stored, computed } => write!(
                f,
                "{part} is damaged: its checksum is {stored:#x}, that of its bytes {computed:#x}"
            ),
            Self::NotFound { path } => write!(f, "there is no \"{}\"", path.escape_ascii()),
            Self::WrongKind { inode, needs } => write!(f, "inode {inode} is not {needs}"),
            Self::TooManyLinks { path, limit } => {
                write!(f, "\"{}\" leads through more than {limit} links", path.escape_ascii())
            }
            Self::Encrypted { inode } => {
                write!(f, "inode {inode} is encrypted, and its key is not in the image")
            }
            Self::NoSuchInode { inode, count } => {
                write!(f, "there is no inode {inode}: the filesystem has {count}")
            }
            Self::FreeInode { inode } => write!(f, "inode {inode} is not in use"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superblock => write!(f, "the superblock"),
            Self::Group(group) => write!(f, "the descriptor of group {group}"),
            Self::BlockBitmap(group) => write!(f, "the block bitmap of group {group}"),
            Self::InodeBitmap(group) => write!(f, "the inode bitmap of group {group}"),
            Self::Inode(inode) => write!(f, "inode {inode}"),
            Self::MapNode { inode, block } => {
                write!(f, "block {block}, of the block map of inode {inode},")
            }
            Self::Directory { inode, block } => write!(f, "block {block} of directory {inode}"),
            Self::Attributes { block } => write!(f, "attribute block {block}"),
            Self::AttributeValue { inode } => write!(f, "the attribute value in inode {inode}"),
            Self::JournalSuperblock => write!(f, "the journal's superblock"),
            Self::Journal { block } => write!(f, "block {block} of the journal"),
        }
    }
}
