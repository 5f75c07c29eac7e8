//! A plan to the sink.

use crate::batch::Batch;
use crate::checksum::{FsSeed, Sealed, unsummed};
use crate::error::{Error, Result, internal};
use crate::options::Options;
use crate::plan::extents::{self, ExtentTree};
use crate::plan::inode::{Parts, internal_file, render, set_extents};
use crate::plan::nodes::{NodePlan, dots, mapped, named};
use crate::plan::numbering::{JOURNAL, RESIZE};
use crate::plan::resize::ResizeMap;
use crate::plan::superblock::{self, Sources};
use crate::plan::xattr::Split;
use crate::plan::{Plan, journal};
use crate::record::inode::{ATTRIBUTE_ROOM, BLOCK_MAP_SIZE, Inode};
use crate::sink::{Sink, widen};
use crate::tree::{Content, Extent, Node, NodeId, Tree};
use crate::units::{BlockCount, BlockIndex, BlockSize, InodeNumber};

/// Where the superblock begins in its block, when that is block 0.
const BOOT_SECTORS: usize = 1024;

/// Writes all metadata of a plan, the superblock last.
pub(crate) fn emit<S: Sink>(
    plan: &Plan,
    tree: &Tree,
    options: &Options,
    batch: &mut Batch<S>,
) -> Result<()> {
    let seed = FsSeed::new(plan.identity.uuid);
    let block_size = plan.placed.geometry.block_size;
    let mut emitter = Emitter { plan, tree, options, batch, seed, block_size };
    emitter.node_blocks()?;
    emitter.bitmaps()?;
    emitter.journal()?;
    emitter.inode_tables()?;
    emitter.resize_map()?;
    emitter.superblocks()
}

struct Emitter<'a, S> {
    plan: &'a Plan,
    tree: &'a Tree,
    options: &'a Options,
    batch: &'a mut Batch<S>,
    seed: FsSeed,
    block_size: BlockSize,
}

static NO_PLAN: NodePlan = NodePlan {
    blocks: crate::tree::Extents::None,
    extent_nodes: Vec::new(),
    attribute_block: None,
    layout: None,
};

const TABLES_HOLD_ALL: Error = internal("the inode tables have a place for every inode");

impl<S: Sink> Emitter<'_, S> {
    fn node_blocks(&mut self) -> Result<()> {
        let (plan, tree) = (self.plan, self.tree);
        for (id, node_plan) in plan.nodes.iter() {
            let node = tree.node(id)?;
            match &node.content {
                Content::Directory(_) => self.directory(id, node_plan)?,
                // A short target is in the inode; such a link is here for its attributes.
                Content::Symlink(target) if target.len() >= BLOCK_MAP_SIZE => {
                    self.put_file(node_plan.blocks.as_slice(), &[unsummed(target.to_vec())])?;
                }
                _ => {}
            }
            // Most trees are a root alone, which is rendered with the inode.
            if !node_plan.extent_nodes.is_empty() {
                for (place, block) in self.extent_tree(id, node, node_plan)?.nodes {
                    self.batch.write_block(place, block.block())?;
                }
            }
            if let (Some(place), Some(split)) = (node_plan.attribute_block, self.split(id)?) {
                let block = split.render_block(place, self.block_size, self.seed)?;
                self.batch.write_block(place, block.block())?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, id: NodeId, plan: &NodePlan) -> Result<()> {
        let directory = self.tree.directory(id)?;
        let numbering = &self.plan.numbering;
        let dots = dots(numbering, id, directory)?;
        let names = named(self.tree, numbering, directory)?;
        let layout = plan.layout.as_ref().ok_or(internal("a directory has a layout"))?;
        let blocks = layout.render(dots, &names, self.block_size, self.seed.inode(dots.own))?;
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
        let seed = self.seed.inode(self.plan.numbering.of(id)?);
        extents::render(mapped(node, plan), &plan.extent_nodes, self.block_size, seed)
    }

    fn split(&self, id: NodeId) -> Result<Option<Split<'_>>> {
        let attributes = self.tree.attributes(id);
        attributes.map(|all| Split::new(all.as_slice(), self.block_size)).transpose()
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
        let places = &self.plan.placed.places;
        let Some(first) = places.journal.first() else { return Ok(()) };
        let block = journal::render(&self.plan.placed.geometry, self.plan.identity.uuid)?;
        self.batch.write_block(first.run.start, block.block())?;
        for (place, block) in self.journal_tree()?.nodes {
            self.batch.write_block(place, block.block())?;
        }
        Ok(())
    }

    fn journal_tree(&self) -> Result<ExtentTree> {
        let places = &self.plan.placed.places;
        let seed = self.seed.inode(JOURNAL);
        extents::render(&places.journal, &places.journal_nodes, self.block_size, seed)
    }

    fn journal_inode(&self) -> Result<Option<Inode>> {
        let geometry = &self.plan.placed.geometry;
        let places = &self.plan.placed.places;
        if places.journal.is_empty() {
            return Ok(None);
        }
        let blocks = geometry.journal + BlockCount::new(widen(places.journal_nodes.len()));
        let size = self.block_size.bytes_in(geometry.journal);
        let sectors = self.block_size.sectors(blocks);
        let mut inode = internal_file(self.options.epoch, size, sectors);
        set_extents(&mut inode, self.journal_tree()?.root);
        Ok(Some(inode))
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
        let mut reserved = ReservedInodes {
            root: self.inode(root, root_node, root_plan)?,
            resize: self.resize_inode()?,
            journal: self.journal_inode()?,
        };
        for slot in 0..plan.numbering.last().get() {
            let number = InodeNumber::from_slot(slot);
            let inode = if let Some(inode) = reserved.take(number) {
                inode
            } else {
                let (id, node) = nodes.next().ok_or(TABLES_HOLD_ALL)?;
                let node_plan = plans.next_if(|(planned, _)| *planned == id);
                self.inode(id, node, node_plan.map_or(&NO_PLAN, |(_, plan)| plan))?
            };
            self.put_inode(number, inode)?;
        }
        self.batch.pad()
    }

    fn put_inode(&mut self, number: InodeNumber, inode: Inode) -> Result<()> {
        let per_group = self.plan.placed.geometry.inodes_per_group;
        if number.slot().is_multiple_of(per_group) {
            let group = usize::try_from(number.slot() / per_group).map_err(|_| TABLES_HOLD_ALL)?;
            let table = self.plan.placed.places.tables.get(group).ok_or(TABLES_HOLD_ALL)?;
            self.batch.seek(*table)?;
        }
        self.batch.append(self.seed.inode(number).seal_inode(inode).as_bytes())
    }

    fn inode(&self, id: NodeId, node: &Node, plan: &NodePlan) -> Result<Inode> {
        let split = self.split(id)?;
        let mapped_blocks: BlockCount =
            mapped(node, plan).iter().map(|extent| extent.run.length).sum();
        let own_blocks = widen(plan.extent_nodes.len()) + u64::from(plan.attribute_block.is_some());
        let parts = Parts {
            extent_root: self.extent_tree(id, node, plan)?.root,
            attributes: split.map_or(Ok([0; ATTRIBUTE_ROOM]), |split| split.render_inode())?,
            times: self.tree.other_times(id),
            blocks: mapped_blocks + BlockCount::new(own_blocks),
        };
        render(node, plan, &parts, self.block_size)
    }

    /// Writes the descriptors and superblocks of all copies, the primary last.
    fn superblocks(&mut self) -> Result<()> {
        let plan = self.plan;
        let journal = self.journal_inode()?;
        let sources = Sources {
            options: self.options,
            geometry: &plan.placed.geometry,
            identity: plan.identity,
            groups: &plan.groups,
            overhead: plan.overhead(),
            journal: journal.as_ref(),
            written: self.batch.written(),
        };
        let layout = plan.placed.space.layout();
        let copies: Vec<u64> =
            layout.groups_below(u64::from(plan.placed.geometry.groups)).collect();
        for group in copies.into_iter().rev() {
            let start = layout.group_start(group);
            self.descriptors(start + BlockCount::new(1))?;
            let superblock = superblock::render(&sources, group);
            let mut block = Vec::with_capacity(self.block_size.len());
            if start == BlockIndex::new(0) {
                block.resize(BOOT_SECTORS, 0);
            }
            block.extend_from_slice(superblock.as_bytes());
            self.batch.write_block(start, &block)?;
        }
        Ok(())
    }

    fn descriptors(&mut self, at: BlockIndex) -> Result<()> {
        self.batch.seek(at)?;
        for descriptor in &self.plan.groups.descriptors {
            self.batch.append(descriptor.as_bytes())?;
        }
        self.batch.pad()
    }
}

/// The inodes up to the first free one.
struct ReservedInodes {
    root: Inode,
    resize: Option<Inode>,
    journal: Option<Inode>,
}

impl ReservedInodes {
    /// The inode of this number if it is one of them; those without a use are zeros.
    fn take(&mut self, number: InodeNumber) -> Option<Inode> {
        if number.get() >= crate::geometry::FIRST_FREE_INODE {
            return None;
        }
        let inode = match number {
            RESIZE => self.resize.take(),
            JOURNAL => self.journal.take(),
            _ if number.get() == 2 => Some(self.root.clone()),
            _ => None,
        };
        Some(inode.unwrap_or_else(Inode::empty))
    }
}
