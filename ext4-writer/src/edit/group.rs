//! A group while it is changed: its descriptor, and its bitmaps once they were needed.

use zerocopy::FromZeros;
use zerocopy::little_endian::{U16, U32};

use crate::record::group::{Flags, GroupDescriptor};
use crate::record::{high16, high32, low16, low32, wide32};

/// A group.
pub(crate) struct Group {
    pub number: u32,
    pub record: GroupDescriptor,
    /// The bitmaps, once they were needed.
    pub blocks: Option<Vec<u8>>,
    pub inodes: Option<Vec<u8>>,
    pub blocks_changed: bool,
    pub inodes_changed: bool,
    pub block_bitmap: u64,
    pub inode_bitmap: u64,
    pub inode_table: u64,
}

impl Group {
    /// The blocks that are free.
    pub(crate) fn free_blocks(&self) -> u32 {
        wide32(self.record.free_blocks_count_lo, self.record.free_blocks_count_hi)
    }

    pub(crate) fn set_free_blocks(&mut self, count: u32) {
        self.record.free_blocks_count_lo = U16::new(low16(count));
        self.record.free_blocks_count_hi = U16::new(high16(count));
    }

    /// The inodes that are free.
    pub(crate) fn free_inodes(&self) -> u32 {
        wide32(self.record.free_inodes_count_lo, self.record.free_inodes_count_hi)
    }

    pub(crate) fn set_free_inodes(&mut self, count: u32) {
        self.record.free_inodes_count_lo = U16::new(low16(count));
        self.record.free_inodes_count_hi = U16::new(high16(count));
    }

    pub(crate) fn set_block_bitmap_sum(&mut self, sum: u32) {
        self.record.block_bitmap_csum_lo = U16::new(low16(sum));
        self.record.block_bitmap_csum_hi = U16::new(high16(sum));
    }

    pub(crate) fn set_inode_bitmap_sum(&mut self, sum: u32) {
        self.record.inode_bitmap_csum_lo = U16::new(low16(sum));
        self.record.inode_bitmap_csum_hi = U16::new(high16(sum));
    }

    /// The directories.
    pub(crate) fn directories(&self) -> u32 {
        wide32(self.record.used_dirs_count_lo, self.record.used_dirs_count_hi)
    }

    pub(crate) fn set_directories(&mut self, count: u32) {
        self.record.used_dirs_count_lo = U16::new(low16(count));
        self.record.used_dirs_count_hi = U16::new(high16(count));
    }

    /// The inodes at the end of the table that were never used.
    pub(crate) fn unused_inodes(&self) -> u32 {
        wide32(self.record.itable_unused_lo, self.record.itable_unused_hi)
    }

    pub(crate) fn set_unused_inodes(&mut self, count: u32) {
        self.record.itable_unused_lo = U16::new(low16(count));
        self.record.itable_unused_hi = U16::new(high16(count));
    }

    /// What of it was never written; of use only where descriptors are summed.
    pub(crate) fn flags(&self) -> Flags {
        Flags::from_bits_retain(self.record.flags.get())
    }

    pub(crate) fn clear_flag(&mut self, flag: Flags) {
        self.record.flags = U16::new((self.flags() - flag).bits());
    }

    pub(crate) fn set_flag(&mut self, flag: Flags) {
        self.record.flags = U16::new((self.flags() | flag).bits());
    }

    /// A new group whose block bitmap, inode bitmap and inode table are at these places.
    pub(crate) fn at(number: u32, [block_bitmap, inode_bitmap, inode_table]: [u64; 3]) -> Self {
        let mut record = GroupDescriptor::new_zeroed();
        record.block_bitmap_lo = U32::new(low32(block_bitmap));
        record.block_bitmap_hi = U32::new(high32(block_bitmap));
        record.inode_bitmap_lo = U32::new(low32(inode_bitmap));
        record.inode_bitmap_hi = U32::new(high32(inode_bitmap));
        record.inode_table_lo = U32::new(low32(inode_table));
        record.inode_table_hi = U32::new(high32(inode_table));
        Self::new(number, record, [block_bitmap, inode_bitmap, inode_table])
    }

    /// A group with this descriptor, which has those at these places.
    pub(crate) fn new(
        number: u32,
        record: GroupDescriptor,
        [block_bitmap, inode_bitmap, inode_table]: [u64; 3],
    ) -> Self {
        Self {
            number,
            record,
            blocks: None,
            inodes: None,
            blocks_changed: false,
            inodes_changed: false,
            block_bitmap,
            inode_bitmap,
            inode_table,
        }
    }

    /// Whether it is to be written.
    pub(crate) fn is_changed(&self) -> bool {
        self.blocks_changed || self.inodes_changed
    }
}
