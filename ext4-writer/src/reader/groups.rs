//! The group descriptors: found where the features put them, checked, one at a time.

use bitflags::bitflags;
use zerocopy::{FromZeros, IntoBytes};

use crate::format::checksum::descriptor_sum16;
use crate::format::units::{GroupIndex, widen};
use crate::reader::device::Device;
use crate::reader::error::{Part, ReadError, ReadResult};
use crate::reader::features::Feature;
use crate::reader::layout::{Layout, SUPERBLOCK_OFFSET};
use crate::reader::source::Source;
use crate::record::group::{Flags, GroupDescriptor};
use crate::record::{wide, wide32};

bitflags! {
    /// What of a group was never written.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct GroupFlags: u16 {
        /// The inode bitmap: no inode is in use.
        const INODES_UNINITIALIZED = Flags::INODE_UNINIT.bits();
        /// The block bitmap: no block is in use but for the filesystem's own.
        const BLOCKS_UNINITIALIZED = Flags::BLOCK_UNINIT.bits();
        /// The unused part of the inode table, which is known to be zeros.
        const TABLE_ZEROED = Flags::INODE_ZEROED.bits();
    }
}

/// What a group descriptor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number, from 0.
    pub number: u32,
    /// Its first block.
    pub first_block: u64,
    /// The block of its block bitmap.
    pub block_bitmap: u64,
    /// The block of its inode bitmap.
    pub inode_bitmap: u64,
    /// The first block of its inode table.
    pub inode_table: u64,
    /// The clusters (blocks, without bigalloc) that are free.
    pub free_clusters: u32,
    /// The inodes that are free.
    pub free_inodes: u32,
    /// The directories.
    pub directories: u32,
    /// The inodes at the end of the table that were never used.
    pub unused_inodes: u32,
    /// Whether it begins with a copy of the superblock.
    pub has_superblock: bool,
    /// What was never written.
    pub flags: GroupFlags,
    /// The checksums of the two bitmaps.
    pub(crate) block_bitmap_sum: u32,
    pub(crate) inode_bitmap_sum: u32,
}

impl Layout {
    /// Where the descriptor of a group is, in bytes.
    ///
    /// Source: kernel, `fs/ext4/super.c`, `descriptor_loc`.
    pub(crate) fn descriptor_offset(&self, group: u32) -> u64 {
        let per_block = self.descriptors_per_block();
        let (number, place) = (u64::from(group) / per_block, u64::from(group) % per_block);
        let superblock = SUPERBLOCK_OFFSET / self.block.bytes();
        let block = if !self.has(Feature::META_BG) || number < self.first_meta_group {
            superblock.saturating_add(1).saturating_add(number)
        } else {
            let first = number.saturating_mul(per_block);
            let mut behind = u64::from(self.has_superblock(first));
            if self.block.bytes() == SUPERBLOCK_OFFSET && number == 0 && self.first_data_block == 0
            {
                behind = behind.saturating_add(1);
            }
            self.group_start(first).saturating_add(behind)
        };
        block
            .saturating_mul(self.block.bytes())
            .saturating_add(place.saturating_mul(widen(self.descriptor_len)))
    }

    /// The sum of a descriptor's bytes; none where descriptors are not summed.
    pub(crate) fn descriptor_sum(&self, group: u32, bytes: &[u8]) -> Option<u16> {
        let group = GroupIndex::new(group);
        if self.seed.is_enabled() {
            Some(self.seed.descriptor_sum(group, bytes))
        } else if self.has(Feature::UNINIT_BG) {
            Some(descriptor_sum16(self.uuid, group, bytes))
        } else {
            None
        }
    }
}

/// Reads and checks the descriptor of a group.
pub(crate) fn read<S: Source>(
    device: &Device<S>,
    layout: &Layout,
    group: u32,
) -> ReadResult<Group> {
    let part = Part::Group(group);
    let offset = layout.descriptor_offset(group);
    let mut bytes = vec![0; layout.descriptor_len];
    let end = offset.saturating_add(widen(bytes.len()));
    if end > device.blocks.saturating_mul(layout.block.bytes()) {
        return Err(ReadError::corrupt(part, format!("it is at byte {offset}, behind the end")));
    }
    device.read(offset, &mut bytes)?;
    let mut record = GroupDescriptor::new_zeroed();
    for (byte, from) in record.as_mut_bytes().iter_mut().zip(&bytes) {
        *byte = *from;
    }
    if let Some(sum) = layout.descriptor_sum(group, &bytes) {
        ReadError::verify(part, record.checksum.get().into(), sum.into())?;
    }
    let facts = facts(layout, group, &record);
    check(device, layout, &facts)?;
    Ok(facts)
}

fn facts(layout: &Layout, number: u32, record: &GroupDescriptor) -> Group {
    // Without `uninit_bg` or `metadata_csum` the flags mean nothing.
    let has_flags = layout.seed.is_enabled() || layout.has(Feature::UNINIT_BG);
    let flags = if has_flags { record.flags.get() } else { 0 };
    Group {
        number,
        first_block: layout.group_start(number.into()),
        block_bitmap: wide(record.block_bitmap_lo, record.block_bitmap_hi),
        inode_bitmap: wide(record.inode_bitmap_lo, record.inode_bitmap_hi),
        inode_table: wide(record.inode_table_lo, record.inode_table_hi),
        free_clusters: wide32(record.free_blocks_count_lo, record.free_blocks_count_hi),
        free_inodes: wide32(record.free_inodes_count_lo, record.free_inodes_count_hi),
        directories: wide32(record.used_dirs_count_lo, record.used_dirs_count_hi),
        unused_inodes: wide32(record.itable_unused_lo, record.itable_unused_hi),
        has_superblock: layout.has_superblock(number.into()),
        flags: GroupFlags::from_bits_truncate(flags),
        block_bitmap_sum: wide32(record.block_bitmap_csum_lo, record.block_bitmap_csum_hi),
        inode_bitmap_sum: wide32(record.inode_bitmap_csum_lo, record.inode_bitmap_csum_hi),
    }
}

/// The blocks of an inode table.
pub(crate) fn table_blocks(layout: &Layout) -> u64 {
    let bytes = u64::from(layout.inodes_per_group).saturating_mul(widen(layout.inode_len));
    bytes.div_ceil(layout.block.bytes())
}

fn check<S>(device: &Device<S>, layout: &Layout, group: &Group) -> ReadResult<()>
where
    S: Source,
{
    let parts = [
        ("block bitmap", group.block_bitmap, 1),
        ("inode bitmap", group.inode_bitmap, 1),
        ("inode table", group.inode_table, table_blocks(layout)),
    ];
    for (name, start, length) in parts {
        if start < layout.first_data_block || !device.holds(start, length) {
            let detail = format!(
                "its {name} is {length} blocks from block {start} on, of {}",
                device.blocks
            );
            return Err(ReadError::corrupt(Part::Group(group.number), detail));
        }
    }
    Ok(())
}
