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
/// The bytes of [`MAGIC`] before the list in an inode.
pub(crate) const INODE_HEAD: usize = size_of::<U32>();
/// The zeros that end a list of entries.
pub(crate) const END: usize = 4;
/// The number of the prefix `user.`.
pub(crate) const INDEX_USER: u8 = 1;
/// The number of the whole name `system.posix_acl_access`.
pub(crate) const INDEX_ACL_ACCESS: u8 = 2;
/// The number of the whole name `system.posix_acl_default`.
pub(crate) const INDEX_ACL_DEFAULT: u8 = 3;
/// The number of the prefix `trusted.`.
pub(crate) const INDEX_TRUSTED: u8 = 4;
/// The number of the prefix `security.`.
pub(crate) const INDEX_SECURITY: u8 = 6;
/// The number of the prefix `gnu.`, of the Hurd.
pub(crate) const INDEX_HURD: u8 = 10;
/// The number of the prefix `system.`.
pub(crate) const INDEX_SYSTEM: u8 = 7;
/// The name behind `system.` of the attribute that holds what of a file or directory in its inode
/// does not fit into `i_block`: `EXT4_XATTR_SYSTEM_DATA`.
pub(crate) const DATA_NAME: &[u8] = b"data";

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

/// The bytes that an attribute takes, alike in an inode and in a block.
pub(crate) const fn attribute_size(name_length: usize, value_length: usize) -> usize {
    size_of::<Entry>()
        + name_length.next_multiple_of(ALIGNMENT)
        + value_length.next_multiple_of(ALIGNMENT)
}

const _: () = assert!(size_of::<Header>() == 32);
const _: () = assert!(offset_of!(Header, checksum) == 16);
const _: () = assert!(size_of::<Entry>() == 16);
