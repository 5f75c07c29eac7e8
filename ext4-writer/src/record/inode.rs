//! The inode: 128 bytes of fields, in longer ones 32 more, then room for extended attributes up
//! to the inode's size.
//!
//! Source: kernel, `fs/ext4/ext4.h`, `struct ext4_inode`.

use std::mem::{offset_of, size_of};

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// The size of the inode of the first ext2, before `i_extra_isize`.
pub(crate) const GOOD_OLD_SIZE: usize = 128;
/// `i_extra_isize`: how far the known fields reach behind [`GOOD_OLD_SIZE`].
pub(crate) const EXTRA_SIZE: u16 = 32;
/// The bytes of `i_block`.
pub(crate) const BLOCK_MAP_SIZE: usize = 60;

bitflags! {
    /// `i_flags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Flags: u32 {
        /// Nothing of the inode may change.
        const IMMUTABLE = 0x0000_0010;
        /// The content may only grow at its end.
        const APPEND = 0x0000_0020;
        /// The content and the names are encrypted.
        const ENCRYPT = 0x0000_0800;
        /// The directory has a hash index.
        const INDEX = 0x0000_1000;
        /// A directory of AFS, of which no kernel with ext4 knows.
        const IMAGIC = 0x0000_2000;
        /// `i_blocks` counts blocks, not units of 512 bytes.
        const HUGE_FILE = 0x0004_0000;
        /// `i_block` holds an extent tree.
        const EXTENTS = 0x0008_0000;
        /// The content is sealed by fs-verity.
        const VERITY = 0x0010_0000;
        /// The inode holds the value of an extended attribute.
        const EA_INODE = 0x0020_0000;
        /// The content is in `i_block` and in the attribute `system.data`.
        const INLINE_DATA = 0x1000_0000;
        /// The directory finds names whatever their case.
        const CASEFOLD = 0x4000_0000;
    }
}

/// The fields of an inode; one of 128 bytes has those before `extra_isize`.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Inode {
    pub mode: U16,
    pub uid_lo: U16,
    pub size_lo: U32,
    pub atime: U32,
    pub ctime: U32,

    pub mtime: U32,
    pub dtime: U32,
    pub gid_lo: U16,
    pub links_count: U16,
    pub blocks_lo: U32,

    pub flags: U32,
    pub version: U32,
    pub block: [u8; BLOCK_MAP_SIZE],
    pub generation: U32,
    pub file_acl_lo: U32,
    pub size_high: U32,

    pub obso_faddr: U32,
    pub blocks_high: U16,
    pub file_acl_high: U16,
    pub uid_high: U16,
    pub gid_high: U16,
    pub checksum_lo: U16,
    pub reserved: U16,

    pub extra_isize: U16,
    pub checksum_hi: U16,
    pub ctime_extra: U32,
    pub mtime_extra: U32,
    pub atime_extra: U32,

    pub crtime: U32,
    pub crtime_extra: U32,
    pub version_hi: U32,
    pub projid: U32,
}

const _: () = assert!(size_of::<Inode>() == 160);
const _: () = assert!(offset_of!(Inode, block) == 0x28);
const _: () = assert!(offset_of!(Inode, checksum_lo) == 0x7c);
const _: () = assert!(offset_of!(Inode, extra_isize) == GOOD_OLD_SIZE);
const _: () = assert!(offset_of!(Inode, checksum_hi) == GOOD_OLD_SIZE + 2);

impl Inode {
    /// An inode of zeros: free, or a field by field beginning.
    pub(crate) fn empty() -> Self {
        Self::new_zeroed()
    }
}
