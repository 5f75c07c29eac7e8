//! What the nodes need beside their inodes: directory blocks, long symbolic links, extent nodes
//! and attribute blocks, each with its place.

use crate::alloc::Space;
use crate::dirhash::NameHasher;
use crate::error::{Result, internal};
use crate::format::Format;
use crate::plan::attribute_blocks::{AttributeBlock, AttributeBlocks};
use crate::plan::directory::{Dots, Layout, Named};
use crate::plan::extents;
use crate::plan::numbering::Numbering;
use crate::plan::xattr::Split;
use crate::record::inode::BLOCK_MAP_SIZE;
use crate::sink::widen;
use crate::tree::{Content, Directory, Extent, Extents, Node, NodeId, Tree};
use crate::units::{BlockCount, BlockIndex, FileBlock, Run};

/// The blocks that mke2fs gives to `lost+found`: 16 KiB.
const LOST_AND_FOUND_BYTES: u64 = 16 << 10;

/// The blocks of one node.
#[derive(Debug, Default)]
pub(crate) struct NodePlan {
    /// Where a directory's entries or a symbolic link's target are.
    pub blocks: Extents,
    /// Where the extent tree's nodes are, the leaves first.
    pub extent_nodes: Vec<BlockIndex>,
    /// Where attributes are that the inode cannot hold; other nodes may have the same block.
    pub attribute_block: Option<BlockIndex>,
    /// How a directory's names are laid out.
    pub layout: Option<Layout>,
}

/// The plans of the nodes that need blocks, in the order of the nodes.
#[derive(Debug)]
pub(crate) struct NodePlans {
    plans: Vec<(NodeId, NodePlan)>,
    attribute_blocks: Vec<AttributeBlock>,
}

impl NodePlans {
    /// Takes blocks for all of the tree's nodes.
    pub(crate) fn new(
        tree: &Tree,
        hasher: NameHasher,
        format: &Format,
        space: &mut Space,
    ) -> Result<Self> {
        let attribute_blocks = AttributeBlocks::default();
        let mut planner = Planner { tree, hasher, format, space, attribute_blocks };
        let mut plans = Vec::new();
        for (id, node) in tree.nodes() {
            if let Some(plan) = planner.plan(id, node)? {
                plans.push((id, plan));
            }
        }
        Ok(Self { plans, attribute_blocks: planner.attribute_blocks.into_blocks() })
    }

    /// The plans in the order of the nodes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &NodePlan)> {
        self.plans.iter().map(|(node, plan)| (*node, plan))
    }

    /// The blocks of attributes in the order of the nodes that are the first to have them.
    pub(crate) fn attribute_blocks(&self) -> impl Iterator<Item = AttributeBlock> {
        self.attribute_blocks.iter().copied()
    }
}

struct Planner<'a> {
    tree: &'a Tree,
    hasher: NameHasher,
    format: &'a Format,
    space: &'a mut Space,
    attribute_blocks: AttributeBlocks<'a>,
}

impl Planner<'_> {
    fn plan(&mut self, id: NodeId, node: &Node) -> Result<Option<NodePlan>> {
        let mut plan = NodePlan::default();
        let mut needed = false;
        match &node.content {
            Content::Directory(directory) => {
                let layout = self.layout(id, directory)?;
                plan.blocks = self.take(widen(layout.blocks()))?;
                plan.layout = Some(layout);
                needed = true;
            }
            Content::Symlink(target) if target.len() >= BLOCK_MAP_SIZE => {
                plan.blocks = self.take(1)?;
                needed = true;
            }
            _ => {}
        }
        let mapped = mapped(node, &plan);
        let count = extents::node_count(mapped, self.format.block)?;
        if count > BlockCount::ZERO {
            let runs = self.space.take(count)?;
            plan.extent_nodes = runs.into_iter().flat_map(Run::blocks).collect();
            needed = true;
        }
        if let Some(attributes) = self.tree.attributes(id) {
            let split = Split::new(attributes.as_slice(), self.format)?;
            if !split.in_block.is_empty() {
                let block = self.attribute_blocks.take(id, split.in_block, self.space)?;
                plan.attribute_block = Some(block);
                needed = true;
            }
        }
        Ok(needed.then_some(plan))
    }

    fn layout(&self, id: NodeId, directory: &Directory) -> Result<Layout> {
        let names = directory.entries.keys().map(|name| &**name);
        if id == Tree::LOST {
            let least = self.format.block.blocks_for(LOST_AND_FOUND_BYTES).get();
            let least = usize::try_from(least).unwrap_or(usize::MAX);
            return Ok(Layout::linear(names, least, self.format));
        }
        Layout::choose(names, self.hasher, self.format)
    }

    fn take(&mut self, count: u64) -> Result<Extents> {
        let runs = self.space.take(BlockCount::new(count))?;
        consecutive(&runs).map(Extents::from)
    }
}

/// Runs that hold a file from its first block on without holes.
pub(crate) fn consecutive(runs: &[Run]) -> Result<Vec<Extent>> {
    let mut at: u64 = 0;
    let mut extents = Vec::with_capacity(runs.len());
    for run in runs {
        let place = u32::try_from(at).map_err(|_| {
            internal("what the filesystem itself stores is shorter than 2^32 blocks")
        })?;
        extents.push(Extent::written(FileBlock::new(place), *run));
        at += run.length.get();
    }
    Ok(extents)
}

/// The mappings that the inode's extent tree shows.
pub(crate) fn mapped<'a>(node: &'a Node, plan: &'a NodePlan) -> &'a [Extent] {
    match &node.content {
        Content::Regular { extents, .. } => extents.as_slice(),
        _ => plan.blocks.as_slice(),
    }
}

/// A directory's entries with the inodes and kinds of what they name.
pub(crate) fn named<'a>(
    tree: &Tree,
    numbering: &Numbering,
    directory: &'a Directory,
) -> Result<Vec<Named<'a>>> {
    let mut names = Vec::with_capacity(directory.entries.len());
    for (name, entry) in &directory.entries {
        let kind = tree.node(entry.node)?.kind();
        names.push(Named { name, inode: numbering.of(entry.node)?, kind });
    }
    Ok(names)
}

/// The inodes that a directory's entries `.` and `..` name.
pub(crate) fn dots(numbering: &Numbering, id: NodeId, directory: &Directory) -> Result<Dots> {
    Ok(Dots { own: numbering.of(id)?, parent: numbering.of(directory.parent)? })
}
