//! The group descriptors.

use zerocopy::little_endian::{U16, U32};

use crate::checksum::{FsSeed, Sealed};
use crate::error::{Error, Result, internal};
use crate::plan::bitmaps::{BlockMap, InodeMap};
use crate::plan::places::Placed;
use crate::record::group::{Flags, GroupDescriptor};
use crate::record::{high16, high32, low16, low32};
use crate::units::{BlockCount, BlockIndex, GroupIndex};

/// The descriptors and the sums of what they count.
#[derive(Debug)]
pub(crate) struct Groups {
    pub descriptors: Vec<Sealed<GroupDescriptor>>,
    pub free_blocks: BlockCount,
    pub free_inodes: u32,
    pub blocks: BlockMap,
    pub inodes: InodeMap,
    /// Whether descriptors can say that a bitmap or table was never written: only those with
    /// checksums are believed.
    uninitialised: bool,
}

const EVERY_GROUP: Error = internal("every group has its bitmaps, its table and its counts");

impl Groups {
    /// Describes every group; `directories` is the number of them in each.
    pub(crate) fn new(
        placed: &Placed,
        inodes: InodeMap,
        directories: &[u32],
        seed: FsSeed,
    ) -> Result<Self> {
        let blocks = BlockMap::new(&placed.geometry, &placed.space);
        let length = placed.geometry.format.descriptor_len();
        let mut groups = Self {
            descriptors: Vec::with_capacity(directories.len()),
            free_blocks: BlockCount::ZERO,
            free_inodes: 0,
            blocks,
            inodes,
            uninitialised: placed.geometry.format.has_checksums(),
        };
        for (group, directories) in (0..placed.geometry.groups).zip(directories) {
            let descriptor = groups.describe(placed, group, *directories, seed)?;
            groups.descriptors.push(seed.seal_descriptor(
                descriptor,
                GroupIndex::new(group),
                length,
            ));
        }
        if groups.free_blocks != placed.free() {
            return Err(internal("the groups' free blocks are those that nobody took"));
        }
        Ok(groups)
    }

    /// Whether the group's block bitmap is left to the kernel.
    pub(crate) fn omits_block_bitmap(&self, group: u32) -> bool {
        self.uninitialised && self.blocks.is_untouched(group)
    }

    /// Whether the group's inode bitmap is left to the kernel.
    pub(crate) fn omits_inode_bitmap(&self, group: u32) -> bool {
        self.uninitialised && self.inodes.used_in(group) == 0
    }

    fn describe(
        &mut self,
        placed: &Placed,
        group: u32,
        directories: u32,
        seed: FsSeed,
    ) -> Result<GroupDescriptor> {
        let mut descriptor = GroupDescriptor::empty();
        let place = |places: &[BlockIndex]| {
            let index = usize::try_from(group).map_err(|_| EVERY_GROUP)?;
            places.get(index).copied().map(BlockIndex::get).ok_or(EVERY_GROUP)
        };
        let (bitmap, table) = (place(&placed.places.block_bitmaps)?, place(&placed.places.tables)?);
        let inode_bitmap = place(&placed.places.inode_bitmaps)?;
        descriptor.block_bitmap_lo = U32::new(low32(bitmap));
        descriptor.block_bitmap_hi = U32::new(high32(bitmap));
        descriptor.inode_bitmap_lo = U32::new(low32(inode_bitmap));
        descriptor.inode_bitmap_hi = U32::new(high32(inode_bitmap));
        descriptor.inode_table_lo = U32::new(low32(table));
        descriptor.inode_table_hi = U32::new(high32(table));
        self.count(&mut descriptor, group, directories)?;
        self.sum_bitmaps(&mut descriptor, group, seed);
        Ok(descriptor)
    }

    fn count(
        &mut self,
        descriptor: &mut GroupDescriptor,
        group: u32,
        directories: u32,
    ) -> Result<()> {
        let free_blocks = self.blocks.free_in(group);
        let free_inodes = self.inodes.free_in(group);
        let free = u32::try_from(free_blocks.get()).map_err(|_| EVERY_GROUP)?;
        descriptor.free_blocks_count_lo = U16::new(low16(free));
        descriptor.free_blocks_count_hi = U16::new(high16(free));
        descriptor.free_inodes_count_lo = U16::new(low16(free_inodes));
        descriptor.free_inodes_count_hi = U16::new(high16(free_inodes));
        descriptor.used_dirs_count_lo = U16::new(low16(directories));
        descriptor.used_dirs_count_hi = U16::new(high16(directories));
        if self.uninitialised {
            // The inodes in use are the first, so the unused ones are those at the end.
            descriptor.itable_unused_lo = U16::new(low16(free_inodes));
            descriptor.itable_unused_hi = U16::new(high16(free_inodes));
        }
        self.free_blocks += free_blocks;
        self.free_inodes = self.free_inodes.checked_add(free_inodes).ok_or(EVERY_GROUP)?;
        Ok(())
    }

    fn sum_bitmaps(&self, descriptor: &mut GroupDescriptor, group: u32, seed: FsSeed) {
        // The sink was zeros before us, and so are the tables behind the inodes in use.
        let mut flags = Flags::empty();
        flags.set(Flags::INODE_ZEROED, self.uninitialised);
        if self.omits_block_bitmap(group) {
            flags |= Flags::BLOCK_UNINIT;
        } else {
            let sum = seed.bitmap(self.blocks.covered(&self.blocks.render(group)));
            descriptor.block_bitmap_csum_lo = U16::new(low16(sum));
            descriptor.block_bitmap_csum_hi = U16::new(high16(sum));
        }
        if self.omits_inode_bitmap(group) {
            flags |= Flags::INODE_UNINIT;
        } else {
            let sum = seed.bitmap(self.inodes.covered(&self.inodes.render(group)));
            descriptor.inode_bitmap_csum_lo = U16::new(low16(sum));
            descriptor.inode_bitmap_csum_hi = U16::new(high16(sum));
        }
        descriptor.flags = U16::new(flags.bits());
    }
}
