//! Extended attributes, in the inode and in a block of their own.
//!
//! Source: kernel, `fs/ext4/xattr.h`.

use std::mem::{offset_of, size_of};

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The first word of the attributes in an inode and in a block.
pub(crate) const MAGIC: u32 = 0xea02_0000;
/// Entries and values begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 4;

/// The head of a block of attributes.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Header {
    pub magic: U32,
    pub refcount: U32,
    pub blocks: U32,
    pub hash: U32,

    pub checksum: U32,
    pub reserved: [U32; 3],
}

/// The head of one attribute; the name without its prefix follows.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Entry {
    pub name_len: u8,
    pub name_index: u8,
    pub value_offs: U16,
    pub value_inum: U32,
    pub value_size: U32,
    pub hash: U32,
}

const _: () = assert!(size_of::<Header>() == 32);
const _: () = assert!(offset_of!(Header, checksum) == 16);
const _: () = assert!(size_of::<Entry>() == 16);
