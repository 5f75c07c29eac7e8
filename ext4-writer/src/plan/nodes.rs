//! What the nodes need beside their inodes: directory blocks, long symbolic links, extent nodes
//! and attribute blocks, each with its place.

use crate::alloc::Allocator;
use crate::attributes::Attribute;
use crate::error::{Error, Result, internal};
use crate::format::Format;
use crate::format::checksum::FsSeed;
use crate::format::dirhash::NameHasher;
use crate::format::extent::Extent;
use crate::format::units::{BlockCount, BlockIndex, InodeNumber, length, widen};
use crate::plan::attribute_blocks::{AttributeBlock, AttributeBlocks};
use crate::plan::ea_inode::EaInodes;
use crate::plan::inline;
use crate::plan::internal_file::{blocks_of, consecutive};
use crate::plan::numbering::Numbering;
use crate::plan::split::{Split, leave_room};
use crate::record::inode::BLOCK_MAP_SIZE;
use crate::render::directory::{Dots, Layout, Named};
use crate::render::extents;
use crate::render::inline::InlineRegions;
use crate::render::xattr::block_hash;
use crate::tree::{Content, Directory, Extents, Node, NodeId, Tree};

/// The blocks that mke2fs gives to `lost+found`: 16 KiB.
const LOST_AND_FOUND_BYTES: u64 = 16 << 10;

/// The leaves from which on a directory's are rendered in several pieces.
const MANY_LEAVES: usize = 256;

/// The blocks of one node.
#[derive(Debug, Default)]
pub(crate) struct NodePlan {
    /// Where a directory's entries or a symbolic link's target are.
    pub blocks: Extents,
    /// Where the extent tree's nodes are, the leaves first.
    pub extent_nodes: Vec<BlockIndex>,
    /// Where attributes are that the inode cannot hold; other nodes may have the same block.
    pub attribute_block: Option<BlockIndex>,
    /// How a directory's names are laid out in its blocks.
    pub layout: Option<Layout>,
    /// How they are laid out in its inode.
    pub inline_regions: Option<InlineRegions>,
}

impl NodePlan {
    /// The leaves of a directory that has so many of them that they are rendered apart.
    pub(crate) fn leaves_apart(&self) -> usize {
        match self.layout.as_ref().map(Layout::leaf_count) {
            Some(count) if count >= MANY_LEAVES => count,
            _ => 0,
        }
    }

    /// The blocks that are this node's before any other's, without leaves that are rendered apart.
    fn block_count(&self) -> Result<u64> {
        const AMONG_BLOCKS: Error = internal("a directory's leaves are among its blocks");
        let own: BlockCount = self.blocks.as_slice().iter().map(|extent| extent.run.length).sum();
        let own = own.get().checked_sub(widen(self.leaves_apart())).ok_or(AMONG_BLOCKS)?;
        Ok(own + widen(self.extent_nodes.len()))
    }

    fn is_needed(&self) -> bool {
        !self.blocks.as_slice().is_empty()
            || !self.extent_nodes.is_empty()
            || self.attribute_block.is_some()
            || self.inline_regions.is_some()
    }
}

/// The plans of the nodes that need blocks, in the order of the nodes.
#[derive(Debug)]
pub(crate) struct NodePlans<'a> {
    plans: Vec<(NodeId, NodePlan)>,
    attribute_blocks: Vec<AttributeBlock>,
    /// The values of attributes that have inodes of their own.
    pub values: EaInodes<'a>,
}

/// What the plans of nodes rest on.
#[derive(Clone, Copy)]
pub(crate) struct Basis<'a> {
    pub tree: &'a Tree,
    pub format: &'a Format,
    pub hasher: NameHasher,
    pub seed: FsSeed,
}

impl<'a> NodePlans<'a> {
    /// Takes blocks for all of the tree's nodes, whose inodes end at `last`.
    pub(crate) fn new(
        basis: Basis<'a>,
        last: InodeNumber,
        allocator: &mut Allocator,
    ) -> Result<Self> {
        let attribute_blocks = AttributeBlocks::default();
        let values = EaInodes::behind(last);
        let mut planner = Planner { basis, allocator, attribute_blocks, values };
        let mut plans = Vec::new();
        for (id, node) in basis.tree.nodes() {
            if let Some(plan) = planner.plan(id, node)? {
                plans.push((id, plan));
            }
        }
        let Planner { attribute_blocks, mut values, .. } = planner;
        values.place(basis.format, allocator)?;
        Ok(Self { plans, attribute_blocks: attribute_blocks.into_blocks(), values })
    }

    /// The plans of this node and those behind it, in the order of the nodes.
    pub(crate) fn from(&self, first: NodeId) -> impl Iterator<Item = (NodeId, &NodePlan)> {
        let before = self.plans.partition_point(|(node, _)| *node < first);
        self.plans.iter().skip(before).map(|(node, plan)| (*node, plan))
    }

    /// The plans of directories whose leaves are rendered apart.
    pub(crate) fn of_many_leaves(&self) -> impl Iterator<Item = (NodeId, &NodePlan)> {
        let large = self.plans.iter().filter(|(_, plan)| plan.leaves_apart() > 0);
        large.map(|(node, plan)| (*node, plan))
    }

    /// The plans in the order of the nodes, cut into parts of about so many blocks.
    pub(crate) fn parts(&self, blocks: usize) -> Result<Vec<&[(NodeId, NodePlan)]>> {
        const ALL_IN_PARTS: Error = internal("every plan of a node is in one part");
        let (mut sum, blocks) = (0, widen(blocks));
        let part_of = |(_, plan): &(NodeId, NodePlan)| {
            let part = sum / blocks;
            sum += plan.block_count()?;
            Ok(part)
        };
        let parts: Vec<u64> = self.plans.iter().map(part_of).collect::<Result<_>>()?;
        let mut rest = self.plans.as_slice();
        let cut = parts.chunk_by(u64::eq).map(|part| {
            let (now, later) = rest.split_at_checked(part.len()).ok_or(ALL_IN_PARTS)?;
            rest = later;
            Ok(now)
        });
        cut.collect()
    }

    /// The block of attributes that this node is the first to have.
    pub(crate) fn attribute_block(&self, owner: NodeId) -> Option<AttributeBlock> {
        let found = self.attribute_blocks.binary_search_by_key(&owner, |block| block.owner);
        found.ok().and_then(|place| self.attribute_blocks.get(place)).copied()
    }
}

struct Planner<'a, 's> {
    basis: Basis<'a>,
    allocator: &'s mut Allocator,
    attribute_blocks: AttributeBlocks<'a>,
    values: EaInodes<'a>,
}

impl<'a> Planner<'a, '_> {
    fn plan(&mut self, id: NodeId, node: &Node) -> Result<Option<NodePlan>> {
        let mut plan = NodePlan::default();
        match &node.content {
            Content::Directory(directory) => self.directory(id, directory, &mut plan)?,
            Content::Symlink(target) if target.len() >= BLOCK_MAP_SIZE => {
                plan.blocks = self.allocate(1)?;
            }
            Content::Inline(bytes) if !self.stays_inside(id, inline::rest_of_file(bytes))? => {
                plan.blocks = self.allocate(1)?;
            }
            _ => {}
        }
        let count = extents::node_count(mapped(node, &plan), self.basis.format.block)?;
        if count > BlockCount::ZERO {
            plan.extent_nodes = blocks_of(&self.allocator.allocate(count)?);
        }
        let split = split(self.basis.tree, id, node, &plan, self.basis.format)?;
        plan.attribute_block = self.attribute_block(id, node, &split)?;
        Ok(plan.is_needed().then_some(plan))
    }

    /// Counts the values in EA inodes, and allocates a block for what the inode cannot hold.
    fn attribute_block(
        &mut self,
        id: NodeId,
        node: &Node,
        split: &Split<'a>,
    ) -> Result<Option<BlockIndex>> {
        let mut entries = split.in_inode.clone();
        let mut place = None;
        if !split.in_block.is_empty() {
            let hash = block_hash(&split.in_block, self.basis.seed);
            let block =
                self.attribute_blocks.allocate(id, &split.in_block, hash, self.allocator)?;
            place = Some(block.at);
            if block.is_new() {
                entries.extend(&split.in_block);
            }
        }
        for stored in entries.iter().filter(|stored| stored.in_ea_inode) {
            self.values.refer(stored.attribute, node);
        }
        Ok(place)
    }

    /// Whether content of which `rest` bytes are behind `i_block` stays in the inode.
    fn stays_inside(&self, id: NodeId, rest: usize) -> Result<bool> {
        leave_room(attributes(self.basis.tree, id), rest, self.basis.format)
    }

    /// The kernel refuses a root without blocks (`fs/ext4/super.c`, "corrupt root inode"), and
    /// e2fsck fills `lost+found` without taking any.
    fn directory(&mut self, id: NodeId, directory: &Directory, plan: &mut NodePlan) -> Result<()> {
        if id != Tree::ROOT && id != Tree::LOST {
            let names = directory.entries.iter().map(|(name, _)| name);
            let regions = inline::choose(names, self.basis.format);
            if let Some(regions) = regions
                && self.stays_inside(id, regions.rest())?
            {
                plan.inline_regions = Some(regions);
                return Ok(());
            }
        }
        let layout = self.layout(id, directory)?;
        plan.blocks = self.allocate(widen(layout.blocks()))?;
        plan.layout = Some(layout);
        Ok(())
    }

    fn layout(&self, id: NodeId, directory: &Directory) -> Result<Layout> {
        let names = directory.entries.iter().map(|(name, _)| name);
        if id == Tree::LOST {
            let least = self.basis.format.block.blocks_for(LOST_AND_FOUND_BYTES).get();
            return Ok(Layout::linear(names, length(least)?, self.basis.format));
        }
        Layout::choose(names, self.basis.hasher, self.basis.format)
    }

    fn allocate(&mut self, count: u64) -> Result<Extents> {
        let runs = self.allocator.allocate(BlockCount::new(count))?;
        consecutive(&runs).map(Extents::from)
    }
}

/// The mappings that the inode's extent tree shows.
pub(crate) fn mapped<'a>(node: &'a Node, plan: &'a NodePlan) -> &'a [Extent] {
    match &node.content {
        Content::Regular { extents, .. } => extents.as_slice(),
        _ => plan.blocks.as_slice(),
    }
}

fn attributes(tree: &Tree, id: NodeId) -> &[Attribute] {
    tree.attribute_list(id)
}

/// The length of the node's `system.data` if its content is in its inode.
fn inline_rest(node: &Node, plan: &NodePlan) -> Option<usize> {
    match &node.content {
        Content::Inline(bytes) if plan.blocks.as_slice().is_empty() => {
            Some(inline::rest_of_file(bytes))
        }
        Content::Directory(_) => plan.inline_regions.as_ref().map(InlineRegions::rest),
        _ => None,
    }
}

/// The places of a node's attributes.
pub(crate) fn split<'a>(
    tree: &'a Tree,
    id: NodeId,
    node: &Node,
    plan: &NodePlan,
    format: &Format,
) -> Result<Split<'a>> {
    let split = Split::new(attributes(tree, id), inline_rest(node, plan), format)?;
    match &node.content {
        // Blocks are counted for values in EA inodes; e2fsck takes those of a link for its target's,
        // unless there is a block of attributes (e2fsprogs: lib/ext2fs/valid_blk.c,
        // ext2fs_inode_has_valid_blocks2).
        Content::Symlink(target) if target.len() < BLOCK_MAP_SIZE => {
            Ok(split.with_block_for_ea_inodes())
        }
        _ => Ok(split),
    }
}

/// A directory's entries with the inodes and kinds of what they name.
pub(crate) fn named<'a>(
    tree: &Tree,
    numbering: &Numbering,
    directory: &'a Directory,
) -> Result<Vec<Named<'a>>> {
    let mut names = Vec::with_capacity(directory.entries.len());
    for (name, node) in directory.entries.iter() {
        let kind = tree.node(*node)?.kind();
        names.push(Named { name, inode: numbering.of(*node)?, kind });
    }
    Ok(names)
}

/// The inodes that a directory's entries `.` and `..` name.
pub(crate) fn dots(numbering: &Numbering, id: NodeId, directory: &Directory) -> Result<Dots> {
    Ok(Dots { own: numbering.of(id)?, parent: numbering.of(directory.parent)? })
}
