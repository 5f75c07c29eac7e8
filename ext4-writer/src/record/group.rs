//! The group descriptor: where a group's bitmaps and table lie, and what is free in it.
//!
//! Source: kernel, `fs/ext4/ext4.h`, `struct ext4_group_desc`.

use std::mem::{offset_of, size_of};

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

bitflags! {
    /// `bg_flags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Flags: u16 {
        /// No inode is in use, the inode bitmap was never written.
        const INODE_UNINIT = 0x0001;
        /// No block is in use but a backup's, the block bitmap was never written.
        const BLOCK_UNINIT = 0x0002;
        /// The inode table is known to be zeros where it is unused.
        const INODE_ZEROED = 0x0004;
    }
}

/// The descriptor of a block group, as long as the feature `64bit` makes it.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct GroupDescriptor {
    pub block_bitmap_lo: U32,
    pub inode_bitmap_lo: U32,
    pub inode_table_lo: U32,
    pub free_blocks_count_lo: U16,
    pub free_inodes_count_lo: U16,

    pub used_dirs_count_lo: U16,
    pub flags: U16,
    pub exclude_bitmap_lo: U32,
    pub block_bitmap_csum_lo: U16,
    pub inode_bitmap_csum_lo: U16,
    pub itable_unused_lo: U16,
    pub checksum: U16,

    pub block_bitmap_hi: U32,
    pub inode_bitmap_hi: U32,
    pub inode_table_hi: U32,
    pub free_blocks_count_hi: U16,
    pub free_inodes_count_hi: U16,

    pub used_dirs_count_hi: U16,
    pub itable_unused_hi: U16,
    pub exclude_bitmap_hi: U32,
    pub block_bitmap_csum_hi: U16,
    pub inode_bitmap_csum_hi: U16,
    pub reserved: U32,
}

const _: () = assert!(size_of::<GroupDescriptor>() == 64);
const _: () = assert!(offset_of!(GroupDescriptor, checksum) == 0x1e);
const _: () = assert!(offset_of!(GroupDescriptor, block_bitmap_csum_hi) == 0x38);

impl GroupDescriptor {
    /// A descriptor of zeros.
    pub(crate) fn empty() -> Self {
        Self::new_zeroed()
    }
}
