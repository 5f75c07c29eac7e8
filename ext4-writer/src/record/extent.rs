//! The extent tree: a header, then extents (in leaves) or indexes, 12 bytes each.
//!
//! Source: kernel, `fs/ext4/ext4_extents.h`.

use std::mem::size_of;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `eh_magic`.
pub(crate) const MAGIC: u16 = 0xf30a;
/// The longest written extent, in blocks: `EXT_INIT_MAX_LEN`. Lengths above it are those of
/// unwritten extents, which read as zeros.
pub(crate) const MAX_LENGTH: u64 = 32_768;
/// The most levels of nodes below the root: `EXT4_MAX_EXTENT_DEPTH`.
pub(crate) const MAX_DEPTH: u16 = 5;
/// The bytes of a header, an extent and an index alike.
pub(crate) const ENTRY_SIZE: usize = 12;
/// The bytes of the checksum behind the last possible entry of a block.
pub(crate) const TAIL_SIZE: usize = 4;

/// The head of every node.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Header {
    pub magic: U16,
    pub entries: U16,
    pub max: U16,
    pub depth: U16,
    pub generation: U32,
}

/// A mapping of file blocks to a run of blocks.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Leaf {
    pub block: U32,
    pub len: U16,
    pub start_hi: U16,
    pub start_lo: U32,
}

/// A pointer to a node one level further down.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Index {
    pub block: U32,
    pub leaf_lo: U32,
    pub leaf_hi: U16,
    pub unused: U16,
}

const _: () = assert!(size_of::<Header>() == ENTRY_SIZE);
const _: () = assert!(size_of::<Leaf>() == ENTRY_SIZE);
const _: () = assert!(size_of::<Index>() == ENTRY_SIZE);
