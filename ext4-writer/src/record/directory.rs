//! Directory blocks: entries, the checksum tail, and the nodes of the hash index.
//!
//! Source: kernel, `fs/ext4/ext4.h`, `struct ext4_dir_entry_2` and `struct ext4_dir_entry_tail`;
//! `fs/ext4/namei.c`, `struct dx_root`, `dx_node`, `dx_entry`, `dx_tail`.

use std::mem::size_of;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The longest name, in bytes.
pub(crate) const MAX_NAME: usize = 255;
/// Entries begin and end at multiples of this.
pub(crate) const ALIGNMENT: usize = 4;
/// `det_reserved_ft`: marks the tail, which looks like an empty entry.
pub(crate) const TAIL_FILE_TYPE: u8 = 0xde;
/// `dx_root_info.hash_version`: half of MD4.
pub(crate) const HASH_HALF_MD4: u8 = 1;
/// `dx_root_info.hash_version`: TEA.
pub(crate) const HASH_TEA: u8 = 2;

/// The head of an entry; the name follows.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Entry {
    pub inode: U32,
    pub rec_len: U16,
    pub name_len: u8,
    pub file_type: u8,
}

/// The checksum at the end of a block of entries.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Tail {
    pub reserved_zero1: U32,
    pub rec_len: U16,
    pub reserved_zero2: u8,
    pub reserved_ft: u8,
    pub checksum: U32,
}

/// What stands in an index root between the entry `..` and the index entries.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct IndexInfo {
    pub reserved_zero: U32,
    pub hash_version: u8,
    pub info_length: u8,
    pub indirect_levels: u8,
    pub unused_flags: u8,
}

/// The place of the first index entry's hash: how many entries there can be and are.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct IndexCount {
    pub limit: U16,
    pub count: U16,
    pub block: U32,
}

/// The file block that holds names from this hash on.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct IndexEntry {
    pub hash: U32,
    pub block: U32,
}

/// The checksum at the end of an index node.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct IndexTail {
    pub reserved: U32,
    pub checksum: U32,
}

/// The bytes before an entry's name.
pub(crate) const ENTRY_HEAD: usize = size_of::<Entry>();
/// The bytes of the entries `.` and `..` in an index root, each.
pub(crate) const DOT_ENTRY: usize = 12;

const _: () = assert!(ENTRY_HEAD == 8);
const _: () = assert!(size_of::<Tail>() == 12);
const _: () = assert!(size_of::<IndexInfo>() == 8);
const _: () = assert!(size_of::<IndexCount>() == size_of::<IndexEntry>());
const _: () = assert!(size_of::<IndexTail>() == 8);

/// The bytes that an entry with a name of this length takes.
pub(crate) const fn entry_size(name_length: usize) -> usize {
    (ENTRY_HEAD + name_length).next_multiple_of(ALIGNMENT)
}
