//! A plan to the sink.

use crate::batch::Batch;
use crate::checksum::{FsSeed, InodeSeed, Sealed, unsummed};
use crate::error::{Error, Result, internal};
use crate::format::Format;
use crate::options::Options;
use crate::plan::ea_inode;
use crate::plan::extents::{self, ExtentTree};
use crate::plan::groups::UnusedTables;
use crate::plan::inline::InlineData;
use crate::plan::inode::{Parts, internal_file, render, set_extents};
use crate::plan::nodes::{NodePlan, dots, mapped, named, split};
use crate::plan::numbering::{JOURNAL, RESIZE, ROOT};
use crate::plan::own_file::OwnFile;
use crate::plan::resize::ResizeMap;
use crate::plan::superblock::{self, Sources};
use crate::plan::xattr::Lists;
use crate::plan::{Plan, journal};
use crate::record::inode::{BLOCK_MAP_SIZE, Inode};
use crate::record::superblock::Superblock;
use crate::sink::{Prior, Sink, widen};
use crate::tree::{Content, Extent, Node, NodeId, Tree};
use crate::units::{BlockCount, BlockIndex, InodeNumber, Run};

/// Where the superblock begins in its block, when that is block 0.
const BOOT_SECTORS: usize = 1024;
const SUPERBLOCK_LEN: usize = size_of::<Superblock>();
const ONE: BlockCount = BlockCount::new(1);

/// Writes all metadata of a plan, the superblock last.
pub(crate) fn emit<S: Sink>(
    plan: &Plan<'_>,
    tree: &Tree,
    options: &Options,
    batch: &mut Batch<S>,
) -> Result<()> {
    let format = plan.placed.geometry.format;
    let seed = FsSeed::new(plan.identity.uuid, format.has_checksums());
    let mut emitter = Emitter { plan, tree, options, batch, seed, format };
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
    plan: &'a Plan<'a>,
    tree: &'a Tree,
    options: &'a Options,
    batch: &'a mut Batch<S>,
    seed: FsSeed,
    format: Format,
}

static NO_PLAN: NodePlan = NodePlan {
    blocks: crate::tree::Extents::None,
    extent_nodes: Vec::new(),
    attribute_block: None,
    layout: None,
    areas: None,
};

const TABLES_HOLD_ALL: Error = internal("the inode tables have a place for every inode");

impl<S: Sink> Emitter<'_, S> {
    fn node_blocks(&mut self) -> Result<()> {
        let (plan, tree) = (self.plan, self.tree);
        let mut attribute_blocks = plan.nodes.attribute_blocks().peekable();
        for (id, node_plan) in plan.nodes.iter() {
            let node = tree.node(id)?;
            match &node.content {
                Content::Directory(_) if node_plan.areas.is_some() => {}
                Content::Directory(_) => self.directory(id, node_plan)?,
                // A short target is in the inode; such a link is here for its attributes.
                Content::Symlink(target) if target.len() >= BLOCK_MAP_SIZE => {
                    self.put_file(node_plan.blocks.as_slice(), &[unsummed(target.to_vec())])?;
                }
                Content::Inline(bytes) if !node_plan.blocks.as_slice().is_empty() => {
                    self.put_file(node_plan.blocks.as_slice(), &[unsummed(bytes.to_vec())])?;
                }
                _ => {}
            }
            // Most trees are a root alone, which is rendered with the inode.
            if !node_plan.extent_nodes.is_empty() {
                for (place, block) in self.extent_tree(id, node, node_plan)?.nodes {
                    self.batch.write_block(place, block.block())?;
                }
            }
            if let Some(place) = attribute_blocks.next_if(|block| block.owner == id) {
                let split = split(self.tree, id, node, node_plan, &self.format)?;
                let block = self.lists().in_block(&split.in_block, place)?;
                self.batch.write_block(place.at, block.block())?;
            }
        }
        Ok(())
    }

    /// Writes the values of attributes that have inodes of their own.
    fn values(&mut self) -> Result<()> {
        let plan = self.plan;
        for (number, inode) in plan.nodes.values.iter() {
            let pieces = inode.value.chunks(self.format.block.len());
            for (place, piece) in inode.file.places().zip(pieces) {
                self.batch.write_block(place, piece)?;
            }
            self.own_nodes(&inode.file, number)?;
        }
        Ok(())
    }

    fn value_inodes(&mut self) -> Result<()> {
        let plan = self.plan;
        for (number, value) in plan.nodes.values.iter() {
            let mut inode = value.render(&self.format, self.options.epoch, self.seed);
            set_extents(&mut inode, self.own_tree(&value.file, number)?.root);
            self.put_inode(number, &self.seal_own(number, &inode))?;
        }
        Ok(())
    }

    fn directory(&mut self, id: NodeId, plan: &NodePlan) -> Result<()> {
        let directory = self.tree.directory(id)?;
        let numbering = &self.plan.numbering;
        let dots = dots(numbering, id, directory)?;
        let names = named(self.tree, numbering, directory)?;
        let layout = plan.layout.as_ref().ok_or(internal("a directory has a layout"))?;
        let blocks = layout.render(dots, &names, &self.format, self.inode_seed(id)?)?;
        self.put_file(plan.blocks.as_slice(), &blocks)
    }

    /// Writes the blocks of a file without holes.
    fn put_file(&mut self, extents: &[Extent], blocks: &[Sealed<Vec<u8>>]) -> Result<()> {
        let room: BlockCount = extents.iter().map(|extent| extent.run.length).sum();
        if room != BlockCount::new(widen(blocks.len())) {
            return Err(internal("a file of the filesystem's own has a place for every block"));
        }
        let places = extents.iter().flat_map(|extent| extent.run.blocks());
        for (place, block) in places.zip(blocks) {
            self.batch.write_block(place, block.block())?;
        }
        Ok(())
    }

    fn extent_tree(&self, id: NodeId, node: &Node, plan: &NodePlan) -> Result<ExtentTree> {
        let seed = self.inode_seed(id)?;
        extents::render(mapped(node, plan), &plan.extent_nodes, self.format.block, seed)
    }

    fn inode_seed(&self, id: NodeId) -> Result<InodeSeed> {
        Ok(self.seed.inode(self.plan.numbering.of(id)?, self.tree.extra(id).generation))
    }

    fn lists(&self) -> Lists<'_> {
        Lists { format: &self.format, seed: self.seed, values: &self.plan.nodes.values }
    }

    fn inline_data(&self, id: NodeId, node: &Node, plan: &NodePlan) -> Result<Option<InlineData>> {
        match (&node.content, &plan.areas) {
            (Content::Directory(directory), Some(areas)) => {
                let numbering = &self.plan.numbering;
                let names = named(self.tree, numbering, directory)?;
                areas.render(dots(numbering, id, directory)?, &names).map(Some)
            }
            (Content::Inline(bytes), _) if plan.blocks.as_slice().is_empty() => {
                Ok(Some(InlineData::of_file(bytes)))
            }
            _ => Ok(None),
        }
    }

    fn bitmaps(&mut self) -> Result<()> {
        let plan = self.plan;
        let groups = &plan.groups;
        for (group, place) in (0..).zip(&plan.placed.places.block_bitmaps) {
            if !groups.omits_block_bitmap(group) {
                self.batch.write_block(*place, &groups.blocks.render(group))?;
            }
        }
        for (group, place) in (0..).zip(&plan.placed.places.inode_bitmaps) {
            if !groups.omits_inode_bitmap(group) {
                self.batch.write_block(*place, &groups.inodes.render(group))?;
            }
        }
        Ok(())
    }

    fn journal(&mut self) -> Result<()> {
        let file = &self.plan.placed.places.journal;
        let Some(first) = file.extents.first() else { return Ok(()) };
        let others = match self.batch.prior() {
            Prior::Unknown if self.options.lazy_journal_init => journal::OtherBlocks::Anything,
            Prior::Unknown | Prior::Zeros => journal::OtherBlocks::Zeros,
        };
        let uuid = self.plan.identity.uuid;
        let block = journal::render(&self.plan.placed.geometry, uuid, others)?;
        self.batch.write_block(first.run.start, block.block())?;
        if others == journal::OtherBlocks::Zeros {
            let first = Run::new(first.run.start + ONE, first.run.length - ONE);
            let others = file.extents.iter().skip(1).map(|extent| extent.run);
            for run in std::iter::once(first).chain(others) {
                self.batch.clear(run)?;
            }
        }
        self.own_nodes(file, JOURNAL)
    }

    /// Writes the list of orphans, in which there is none.
    fn orphan_file(&mut self) -> Result<()> {
        let Some(number) = self.plan.orphan_file else { return Ok(()) };
        let file = &self.plan.placed.places.orphan_file;
        let seed = self.seed.inode(number, 0);
        for place in file.places() {
            let block = seed.seal_orphans(vec![0; self.format.block.len()], place);
            self.batch.write_block(place, block.block())?;
        }
        self.own_nodes(file, number)
    }

    fn own_nodes(&mut self, file: &OwnFile, number: InodeNumber) -> Result<()> {
        for (place, block) in self.own_tree(file, number)?.nodes {
            self.batch.write_block(place, block.block())?;
        }
        Ok(())
    }

    fn own_tree(&self, file: &OwnFile, number: InodeNumber) -> Result<ExtentTree> {
        let seed = self.seed.inode(number, 0);
        extents::render(&file.extents, &file.nodes, self.format.block, seed)
    }

    /// The inode of a file of the filesystem's own, if there is such a file.
    fn own_inode(&self, file: &OwnFile, number: InodeNumber) -> Result<Option<Inode>> {
        if file.extents.is_empty() {
            return Ok(None);
        }
        let length: BlockCount = file.extents.iter().map(|extent| extent.run.length).sum();
        let blocks = length + BlockCount::new(widen(file.nodes.len()));
        let size = self.format.block.bytes_in(length);
        let mut inode = internal_file(&self.format, self.options.epoch, size, blocks);
        set_extents(&mut inode, self.own_tree(file, number)?.root);
        Ok(Some(inode))
    }

    fn journal_inode(&self) -> Result<Option<Inode>> {
        self.own_inode(&self.plan.placed.places.journal, JOURNAL)
    }

    fn orphan_inode(&self) -> Result<Option<Inode>> {
        let number = self.plan.orphan_file;
        let file = &self.plan.placed.places.orphan_file;
        number.map_or(Ok(None), |number| self.own_inode(file, number))
    }

    fn resize_inode(&self) -> Result<Option<Inode>> {
        self.resize().map(|map| map.inode(self.options.epoch)).transpose()
    }

    fn resize(&self) -> Option<ResizeMap<'_>> {
        let placed = &self.plan.placed;
        let place = placed.places.resize_map?;
        Some(ResizeMap::new(&placed.geometry, placed.space.layout(), place))
    }

    fn resize_map(&mut self) -> Result<()> {
        let blocks = self.resize().map_or(Ok(Vec::new()), |map| map.blocks())?;
        for (place, block) in blocks {
            self.batch.write_block(place, block.block())?;
        }
        Ok(())
    }

    /// Writes the tables as far as inodes are in use.
    fn inode_tables(&mut self) -> Result<()> {
        let (plan, tree) = (self.plan, self.tree);
        let mut nodes = tree.nodes();
        let mut plans = plan.nodes.iter().peekable();
        let (root, root_node) = nodes.next().ok_or(TABLES_HOLD_ALL)?;
        let root_plan = plans.next().map_or(&NO_PLAN, |(_, plan)| plan);
        let mut own = OwnInodes { resize: self.resize_inode()?, journal: self.journal_inode()? };
        for slot in 0..plan.numbering.last().get() {
            let number = InodeNumber::from_slot(slot);
            let inode = if number == ROOT {
                self.inode(root, root_node, root_plan)?
            } else if let Some(inode) = own.take(number) {
                self.seal_own(number, &inode)
            } else {
                let (id, node) = nodes.next().ok_or(TABLES_HOLD_ALL)?;
                let node_plan = plans.next_if(|(planned, _)| *planned == id);
                self.inode(id, node, node_plan.map_or(&NO_PLAN, |(_, plan)| plan))?
            };
            self.put_inode(number, &inode)?;
        }
        self.value_inodes()?;
        if let (Some(number), Some(inode)) = (plan.orphan_file, self.orphan_inode()?) {
            self.put_inode(number, &self.seal_own(number, &inode))?;
        }
        self.batch.pad()?;
        self.unused_tables()
    }

    /// Zeroes the tables where no inode is in use.
    fn unused_tables(&mut self) -> Result<()> {
        let plan = self.plan;
        if plan.unused_tables == UnusedTables::LeftToKernel {
            return Ok(());
        }
        for (group, table) in (0..).zip(&plan.placed.places.tables) {
            self.batch.clear(plan.groups.unused_table(group, *table))?;
        }
        Ok(())
    }

    fn seal_own(&self, number: InodeNumber, inode: &Inode) -> Sealed<Vec<u8>> {
        self.seed.inode(number, 0).seal_inode(inode, &[], self.format.inode_len())
    }

    fn put_inode(&mut self, number: InodeNumber, inode: &Sealed<Vec<u8>>) -> Result<()> {
        let per_group = self.plan.placed.geometry.inodes_per_group;
        if number.slot().is_multiple_of(per_group) {
            // The inodes of a group need not fill their last block.
            self.batch.pad()?;
            let group = usize::try_from(number.slot() / per_group).map_err(|_| TABLES_HOLD_ALL)?;
            let table = self.plan.placed.places.tables.get(group).ok_or(TABLES_HOLD_ALL)?;
            self.batch.seek(*table)?;
        }
        self.batch.append(inode.block())
    }

    fn inode(&self, id: NodeId, node: &Node, plan: &NodePlan) -> Result<Sealed<Vec<u8>>> {
        let inline = self.inline_data(id, node, plan)?;
        let rest = inline.as_ref().map(|data| data.rest.as_slice());
        let split = split(self.tree, id, node, plan, &self.format)?;
        let attributes = self.lists().in_inode(&split.in_inode, rest)?;
        let outside: BlockCount =
            split.outside().map(|one| ea_inode::blocks(&one.value, &self.format)).sum();
        let mapped_blocks: BlockCount =
            mapped(node, plan).iter().map(|extent| extent.run.length).sum();
        let own_blocks = widen(plan.extent_nodes.len()) + u64::from(plan.attribute_block.is_some());
        let parts = Parts {
            extent_root: self.extent_tree(id, node, plan)?.root,
            times: self.tree.other_times(id),
            extra: self.tree.extra(id),
            blocks: mapped_blocks + BlockCount::new(own_blocks) + outside,
            inline,
        };
        let inode = render(node, plan, &parts, &self.format)?;
        Ok(self.inode_seed(id)?.seal_inode(&inode, &attributes, self.format.inode_len()))
    }

    /// Writes the descriptors and superblocks of all copies, the primary last.
    fn superblocks(&mut self) -> Result<()> {
        let plan = self.plan;
        // With small blocks the boot sectors are a block of their own.
        let boot = self.format.block.first_data_block() - BlockIndex::new(0);
        self.batch.clear(Run::new(BlockIndex::new(0), boot))?;
        let journal = self.journal_inode()?;
        let sources = Sources {
            options: self.options,
            geometry: &plan.placed.geometry,
            identity: plan.identity,
            groups: &plan.groups,
            overhead: plan.overhead(),
            journal: journal.as_ref(),
            orphan_file: self.plan.orphan_file,
            layout: plan.placed.space.layout(),
            seed: self.seed,
            written: self.batch.written(),
        };
        let layout = plan.placed.space.layout();
        let copies: Vec<u64> =
            layout.copies_below(u64::from(plan.placed.geometry.groups)).collect();
        let mut copy = self.copy_without_superblock()?;
        let block_len = self.format.block.len();
        for group in copies.into_iter().rev() {
            let start = layout.group_start(group);
            let (first, descriptors) = copy.split_at_mut_checked(block_len).ok_or(COPY_HAS_ROOM)?;
            first.fill(0);
            let boot = if start == BlockIndex::new(0) { BOOT_SECTORS } else { 0 };
            let superblock = superblock::render(&sources, group);
            let place = first.get_mut(boot..boot + SUPERBLOCK_LEN);
            place.ok_or(COPY_HAS_ROOM)?.copy_from_slice(superblock.as_bytes());
            if group > 0 {
                self.batch.write_blocks(start, &copy)?;
                continue;
            }
            self.batch.write_blocks(start + ONE, descriptors)?;
            self.batch.barrier()?;
            self.batch.write_blocks(start, first)?;
        }
        Ok(())
    }

    /// A block for the superblock, then those of all descriptors, which are the same everywhere.
    fn copy_without_superblock(&self) -> Result<Vec<u8>> {
        let length = self.format.descriptor_len();
        let descriptors = &self.plan.groups.descriptors;
        let block = self.format.block.len();
        let mut blocks = Vec::with_capacity(2 * block + descriptors.len() * length);
        blocks.resize(block, 0);
        for descriptor in descriptors {
            let bytes = descriptor.as_bytes().get(..length);
            blocks.extend_from_slice(bytes.ok_or(COPY_HAS_ROOM)?);
        }
        blocks.resize(blocks.len().next_multiple_of(block), 0);
        Ok(blocks)
    }
}

const COPY_HAS_ROOM: Error = internal("a copy has room for superblock and descriptors");

/// The inodes before the first one that a node can have, but for the root.
struct OwnInodes {
    resize: Option<Inode>,
    journal: Option<Inode>,
}

impl OwnInodes {
    /// The inode of this number if it is one of them; those without a use are zeros.
    fn take(&mut self, number: InodeNumber) -> Option<Inode> {
        if number.get() >= crate::geometry::FIRST_FREE_INODE {
            return None;
        }
        let inode = match number {
            RESIZE => self.resize.take(),
            JOURNAL => self.journal.take(),
            _ => None,
        };
        Some(inode.unwrap_or_else(Inode::empty))
    }
}
