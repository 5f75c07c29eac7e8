//! A plan to the sink.

mod inode;
mod render;
mod tables;
mod threads;

use crate::error::{Error, Result, internal};
use crate::format::checksum::{FsSeed, Sealed};
use crate::format::numbers::JOURNAL;
use crate::format::units::{BlockCount, BlockIndex, InodeNumber, Run, index};
use crate::options::Options;
use crate::plan::Plan;
use crate::plan::groups::UnusedTables;
use crate::plan::internal_file::InternalFile;
use crate::plan::places::Placed;
use crate::record::inode::Inode;
use crate::record::superblock::Superblock;
use crate::render::journal;
use crate::render::resize::ResizeMap;
use crate::render::superblock;
use crate::sink::{InitialContents, Sink};
use crate::tree::Tree;
use crate::write_buffer::WriteBuffer;

use render::{Blocks, EVERY_BLOCK_HAS_A_PLACE, Renderer};
use tables::{Inodes, OwnInodes, TABLES_HOLD_ALL};
use threads::in_order;

/// Where the superblock begins in its block, when that is block 0.
const BOOT_SECTORS: usize = 1024;
const SUPERBLOCK_LEN: usize = size_of::<Superblock>();
const ONE: BlockCount = BlockCount::new(1);

/// Writes all metadata of a plan, the superblock last.
pub(crate) fn emit<S: Sink>(
    plan: &Plan<'_>,
    tree: &Tree,
    options: &Options,
    write_buffer: &mut WriteBuffer<S>,
) -> Result<()> {
    let format = plan.placed.geometry.format;
    let seed = FsSeed::new(plan.identity.uuid, format.has_checksums());
    let mut emitter =
        Emitter { from: Renderer { plan, tree, options, seed, format }, write_buffer };
    emitter.node_blocks()?;
    emitter.values()?;
    emitter.bitmaps()?;
    emitter.journal()?;
    emitter.orphan_file()?;
    emitter.inode_tables()?;
    emitter.resize_map()?;
    emitter.superblocks()
}

struct Emitter<'a, S> {
    from: Renderer<'a>,
    write_buffer: &'a mut WriteBuffer<S>,
}

/// The blocks that are rendered at once, half a MiB of the usual ones: a thread is then busy for
/// longer than it takes to hand them over.
const PART: usize = 128;

impl<S: Sink> Emitter<'_, S> {
    fn node_blocks(&mut self) -> Result<()> {
        let from = self.from;
        let parts = from.plan.nodes.parts(PART)?;
        self.blocks_in_order(parts.len(), |number, blocks| {
            let part = parts.get(number).ok_or(internal("every part of the nodes has a number"))?;
            for (id, plan) in *part {
                from.node_blocks(*id, plan, blocks)?;
            }
            Ok(())
        })?;
        for (id, plan) in from.plan.nodes.of_many_leaves() {
            let (count, listing) = (plan.leaves_apart(), from.listing(id, plan)?);
            self.blocks_in_order(count.div_ceil(PART), |number, blocks| {
                let first = number * PART;
                from.leaves(&listing, first..count.min(first + PART), blocks)
            })?;
        }
        Ok(())
    }

    /// Writes so many pieces, each of which `make` adds to none.
    fn blocks_in_order(
        &mut self,
        count: usize,
        make: impl Fn(usize, &mut Blocks) -> Result<()> + Sync,
    ) -> Result<()> {
        let length = self.from.format.block.len();
        let afresh = |number: usize, blocks: &mut Blocks| {
            blocks.clear();
            make(number, blocks)
        };
        in_order(count, afresh, |blocks| {
            blocks
                .iter(length)
                .try_for_each(|(place, block)| self.write_buffer.write_block(place, block))
        })
    }

    /// Writes the values of attributes that have inodes of their own.
    fn values(&mut self) -> Result<()> {
        let plan = self.from.plan;
        for (number, inode) in plan.nodes.values.iter() {
            let mut places = inode.file.places();
            for block in inode.value.chunks(self.from.format.block.len()) {
                self.write_buffer
                    .write_block(places.next().ok_or(EVERY_BLOCK_HAS_A_PLACE)?, block)?;
            }
            self.own_nodes(&inode.file, number)?;
        }
        Ok(())
    }

    fn bitmaps(&mut self) -> Result<()> {
        let plan = self.from.plan;
        let groups = &plan.groups;
        for (group, place) in (0..).zip(&plan.placed.places.groups.block_bitmaps) {
            if !groups.omits_block_bitmap(group) {
                self.write_buffer.write_block(*place, &groups.blocks.render(group)?)?;
            }
        }
        for (group, place) in (0..).zip(&plan.placed.places.groups.inode_bitmaps) {
            if !groups.omits_inode_bitmap(group) {
                self.write_buffer.write_block(*place, &groups.inodes.render(group)?)?;
            }
        }
        Ok(())
    }

    fn journal(&mut self) -> Result<()> {
        let file = &self.from.plan.placed.places.journal;
        let Some(first) = file.extents.first() else { return Ok(()) };
        let others = match self.write_buffer.initial() {
            InitialContents::Unknown if self.from.options.lazy_journal_init => {
                journal::OtherBlocks::Anything
            }
            InitialContents::Unknown | InitialContents::Zeros => journal::OtherBlocks::Zeros,
        };
        let uuid = self.from.plan.identity.uuid;
        let length = self.from.plan.placed.geometry.journal;
        let block = journal::render(self.from.format.block, length, uuid, others)?;
        self.write_buffer.write_block(first.run.start, block.block())?;
        if others == journal::OtherBlocks::Zeros {
            let first = Run::new(first.run.start + ONE, first.run.length - ONE);
            let others = file.extents.iter().skip(1).map(|extent| extent.run);
            for run in std::iter::once(first).chain(others) {
                self.write_buffer.clear(run)?;
            }
        }
        self.own_nodes(file, JOURNAL)
    }

    /// Writes the list of orphans, in which there is none.
    fn orphan_file(&mut self) -> Result<()> {
        let Some(number) = self.from.plan.orphan_file else { return Ok(()) };
        let file = &self.from.plan.placed.places.orphan_file;
        let seed = self.from.seed.inode(number, 0);
        for place in file.places() {
            let block = seed.seal_orphans(vec![0; self.from.format.block.len()], place)?;
            self.write_buffer.write_block(place, block.block())?;
        }
        self.own_nodes(file, number)
    }

    fn own_nodes(&mut self, file: &InternalFile, number: InodeNumber) -> Result<()> {
        for (place, block) in self.from.own_tree(file, number)?.nodes {
            self.write_buffer.write_block(place, block.block())?;
        }
        Ok(())
    }

    fn journal_inode(&self) -> Result<Option<Inode>> {
        self.from.own_inode(&self.from.plan.placed.places.journal, JOURNAL)
    }

    fn orphan_inode(&self) -> Result<Option<Inode>> {
        let number = self.from.plan.orphan_file;
        let file = &self.from.plan.placed.places.orphan_file;
        number.map_or(Ok(None), |number| self.from.own_inode(file, number))
    }

    fn resize_inode(&self) -> Result<Option<Inode>> {
        self.resize().map(|map| map.inode(&self.from.format, self.from.options.epoch)).transpose()
    }

    fn resize(&self) -> Option<ResizeMap<'_>> {
        let Placed { geometry, places, allocator } = &self.from.plan.placed;
        Some(ResizeMap {
            layout: allocator.layout(),
            groups: geometry.groups,
            block_size: geometry.format.block,
            descriptor_blocks: geometry.descriptor_blocks,
            reserved_descriptors: geometry.reserved_descriptors,
            place: places.resize_map?,
        })
    }

    fn resize_map(&mut self) -> Result<()> {
        let blocks = self.resize().map_or(Ok(Vec::new()), |map| map.blocks())?;
        for (place, block) in blocks {
            self.write_buffer.write_block(place, block.block())?;
        }
        Ok(())
    }

    /// Writes the tables as far as inodes are in use.
    fn inode_tables(&mut self) -> Result<()> {
        let from = self.from;
        let own = OwnInodes {
            resize: self.resize_inode()?,
            journal: self.journal_inode()?,
            orphan_file: self.orphan_inode()?,
        };
        let per_group = from.plan.placed.geometry.inodes_per_group;
        let (last, orphan_file) = (from.plan.numbering.last(), from.plan.orphan_file);
        let pieces = tables::pieces(from.tree.nodes(), last, per_group, orphan_file);
        let make = |number: usize, inodes: &mut Inodes| {
            from.inodes(pieces.get(number).ok_or(TABLES_HOLD_ALL)?, &own, inodes)
        };
        in_order(pieces.len(), make, |inodes| self.put_inodes(inodes.first, &inodes.bytes))?;
        for inode in from.value_inodes() {
            let (number, inode) = inode?;
            self.put_inodes(number, &inode)?;
        }
        self.write_buffer.pad()?;
        self.unused_tables()
    }

    /// Zeroes the tables where no inode is in use.
    fn unused_tables(&mut self) -> Result<()> {
        let plan = self.from.plan;
        if plan.unused_tables == UnusedTables::LeftToKernel {
            return Ok(());
        }
        for (group, table) in (0..).zip(&plan.placed.places.groups.tables) {
            self.write_buffer.clear(plan.groups.unused_table(group, *table))?;
        }
        Ok(())
    }

    /// Writes inodes of one group, of which this is the first.
    fn put_inodes(&mut self, first: InodeNumber, inodes: &Sealed<Vec<u8>>) -> Result<()> {
        let plan = self.from.plan;
        let per_group = plan.placed.geometry.inodes_per_group;
        let slot = first.slot().ok_or(TABLES_HOLD_ALL)?;
        if slot.is_multiple_of(per_group) {
            // The inodes of a group need not fill their last block.
            self.write_buffer.pad()?;
            let table = plan
                .placed
                .places
                .groups
                .tables
                .get(index(slot / per_group))
                .ok_or(TABLES_HOLD_ALL)?;
            self.write_buffer.seek(*table)?;
        }
        self.write_buffer.append(inodes.block())
    }

    /// Writes the backups of superblock and descriptors, and the primary ones last.
    fn superblocks(&mut self) -> Result<()> {
        let plan = self.from.plan;
        // With small blocks the boot sectors are a block of their own.
        let boot = self.from.format.block.first_data_block() - BlockIndex::new(0);
        self.write_buffer.clear(Run::new(BlockIndex::new(0), boot))?;
        let journal = self.journal_inode()?;
        let from = self.from;
        let sources = from.superblock_sources(journal.as_ref(), self.write_buffer.written());
        let layout = plan.placed.allocator.layout();
        let backups: Vec<u64> =
            layout.backups_below(u64::from(plan.placed.geometry.groups)).collect();
        let mut backup = self.backup_without_superblock()?;
        let block_len = self.from.format.block.len();
        for group in backups.into_iter().rev() {
            let start = layout.group_start(group);
            let (first, descriptors) =
                backup.split_at_mut_checked(block_len).ok_or(BACKUP_HAS_ROOM)?;
            first.fill(0);
            let boot = if start == BlockIndex::new(0) { BOOT_SECTORS } else { 0 };
            let superblock = superblock::render(&sources, group)?;
            let place = first.get_mut(boot..boot + SUPERBLOCK_LEN);
            place.ok_or(BACKUP_HAS_ROOM)?.copy_from_slice(superblock.as_bytes());
            if group > 0 {
                self.write_buffer.write_blocks(start, &backup)?;
                continue;
            }
            self.write_buffer.write_blocks(start + ONE, descriptors)?;
            self.write_buffer.barrier()?;
            self.write_buffer.write_blocks(start, first)?;
        }
        Ok(())
    }

    /// A block for the superblock, then those of all descriptors, which are the same everywhere.
    fn backup_without_superblock(&self) -> Result<Vec<u8>> {
        let length = self.from.format.descriptor_len();
        let descriptors = &self.from.plan.groups.descriptors;
        let block = self.from.format.block.len();
        let mut blocks = Vec::with_capacity(2 * block + descriptors.len() * length);
        blocks.resize(block, 0);
        for descriptor in descriptors {
            let bytes = descriptor.as_bytes().get(..length);
            blocks.extend_from_slice(bytes.ok_or(BACKUP_HAS_ROOM)?);
        }
        blocks.resize(blocks.len().next_multiple_of(block), 0);
        Ok(blocks)
    }
}

const BACKUP_HAS_ROOM: Error = internal("a backup has room for superblock and descriptors");
