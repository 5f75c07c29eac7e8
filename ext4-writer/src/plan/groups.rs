//! The group descriptors.

use zerocopy::little_endian::{U16, U32};

use crate::error::{Error, Result, internal};
use crate::format::Format;
use crate::format::checksum::{FsSeed, Sealed};
use crate::format::units::{BlockCount, BlockIndex, GroupIndex, Run, index};
use crate::options::Options;
use crate::plan::places::Placed;
use crate::record::group::{Flags, GroupDescriptor};
use crate::record::{high16, high32, low16, low32};
use crate::render::bitmaps::{BlockMap, InodeMap};
use crate::sink::InitialContents;

/// What the blocks of inode tables hold in which no inode is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnusedTables {
    /// Zeros.
    Zeros,
    /// Anything: the kernel zeroes them after its first mount.
    LeftToKernel,
}

impl UnusedTables {
    /// They are left to the kernel only if it can be told: descriptors without checksums are not
    /// believed (kernel: `fs/ext4/super.c`, `ext4_has_uninit_itable`).
    pub(crate) fn new(options: &Options, format: &Format, initial: InitialContents) -> Self {
        match initial {
            InitialContents::Unknown if options.lazy_itable_init && format.has_checksums() => {
                Self::LeftToKernel
            }
            InitialContents::Unknown | InitialContents::Zeros => Self::Zeros,
        }
    }
}

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
    unused_tables: UnusedTables,
    /// The blocks of a table.
    table: BlockCount,
    inodes_per_block: u64,
}

/// Which blocks are in use: those of the allocator.
fn block_map(placed: &Placed) -> BlockMap {
    let Placed { geometry, allocator, .. } = placed;
    BlockMap {
        layout: allocator.layout().clone(),
        free: allocator.free_runs().collect(),
        end_of_use: allocator.end(),
        end: geometry.end(),
        groups: geometry.groups,
        bitmap_size: geometry.format.block.len(),
    }
}

const EVERY_GROUP: Error = internal("every group has its bitmaps, its table and its counts");

impl Groups {
    /// Describes every group; `directories` is the number of them in each.
    pub(crate) fn new(
        placed: &Placed,
        inodes: InodeMap,
        directories: &[u32],
        unused_tables: UnusedTables,
        seed: FsSeed,
    ) -> Result<Self> {
        let blocks = block_map(placed);
        let length = placed.geometry.format.descriptor_len();
        let mut groups = Self {
            descriptors: Vec::with_capacity(directories.len()),
            free_blocks: BlockCount::ZERO,
            free_inodes: 0,
            blocks,
            inodes,
            uninitialised: placed.geometry.format.has_checksums(),
            unused_tables,
            table: placed.geometry.table,
            inodes_per_block: placed.geometry.format.inodes_per_block(),
        };
        for (group, directories) in (0..placed.geometry.groups).zip(directories) {
            let descriptor = groups.describe(placed, group, *directories, seed)?;
            let group = GroupIndex::new(group);
            groups.descriptors.push(seed.seal_descriptor(descriptor, group, length)?);
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

    /// The blocks of the group's table that hold an inode in use: the first of it.
    fn used_table(&self, group: u32) -> BlockCount {
        BlockCount::new(u64::from(self.inodes.used_in(group)).div_ceil(self.inodes_per_block))
    }

    /// The rest of a group's table, which begins at `table`.
    pub(crate) fn unused_table(&self, group: u32, table: BlockIndex) -> Run {
        let used = self.used_table(group).min(self.table);
        Run::new(table + used, self.table - used)
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
            places.get(index(group)).copied().map(BlockIndex::get).ok_or(EVERY_GROUP)
        };
        let (bitmap, table) =
            (place(&placed.places.groups.block_bitmaps)?, place(&placed.places.groups.tables)?);
        let inode_bitmap = place(&placed.places.groups.inode_bitmaps)?;
        descriptor.block_bitmap_lo = U32::new(low32(bitmap));
        descriptor.block_bitmap_hi = U32::new(high32(bitmap));
        descriptor.inode_bitmap_lo = U32::new(low32(inode_bitmap));
        descriptor.inode_bitmap_hi = U32::new(high32(inode_bitmap));
        descriptor.inode_table_lo = U32::new(low32(table));
        descriptor.inode_table_hi = U32::new(high32(table));
        self.count(&mut descriptor, group, directories)?;
        self.sum_bitmaps(&mut descriptor, group, seed)?;
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

    fn sum_bitmaps(
        &self,
        descriptor: &mut GroupDescriptor,
        group: u32,
        seed: FsSeed,
    ) -> Result<()> {
        let nothing_left =
            self.unused_tables == UnusedTables::Zeros || self.used_table(group) == self.table;
        let mut flags = Flags::empty();
        flags.set(Flags::INODE_ZEROED, self.uninitialised && nothing_left);
        if self.omits_block_bitmap(group) {
            flags |= Flags::BLOCK_UNINIT;
        } else {
            let sum = seed.bitmap(self.blocks.covered(&self.blocks.render(group)?)?);
            descriptor.block_bitmap_csum_lo = U16::new(low16(sum));
            descriptor.block_bitmap_csum_hi = U16::new(high16(sum));
        }
        if self.omits_inode_bitmap(group) {
            flags |= Flags::INODE_UNINIT;
        } else {
            let sum = seed.bitmap(self.inodes.covered(&self.inodes.render(group)?)?);
            descriptor.inode_bitmap_csum_lo = U16::new(low16(sum));
            descriptor.inode_bitmap_csum_hi = U16::new(high16(sum));
        }
        descriptor.flags = U16::new(flags.bits());
        Ok(())
    }
}
