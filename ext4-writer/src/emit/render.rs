//! The bytes of a plan's metadata that belongs to inodes. Nothing here writes.

use std::ops::Range;

use super::inode::{Parts, fields};
use crate::attributes::Attribute;
use crate::error::{Error, Result, internal};
use crate::format::Format;
use crate::format::checksum::{FsSeed, InodeSeed, Sealed, unsummed};
use crate::format::units::{BlockCount, BlockIndex, InodeNumber, widen};
use crate::options::Options;
use crate::plan::Plan;
use crate::plan::ea_inode;
use crate::plan::internal_file::InternalFile;
use crate::plan::nodes::{NodePlan, dots, mapped, named, split};
use crate::record::inode::{BLOCK_MAP_SIZE, Inode};
use crate::render::directory::{Layout, Named};
use crate::render::extents::{self, ExtentTree};
use crate::render::inline::InlineData;
use crate::render::inode::{internal_file, render, set_extents, value_file};
use crate::render::superblock::Sources;
use crate::render::xattr::Lists;
use crate::tree::{Content, Node, NodeId, Tree};

/// Blocks and their places.
#[derive(Debug)]
pub(super) struct Blocks {
    places: Vec<BlockIndex>,
    bytes: Sealed<Vec<u8>>,
}

impl Default for Blocks {
    fn default() -> Self {
        Self { places: Vec::new(), bytes: unsummed(Vec::new()) }
    }
}

impl Blocks {
    /// Nothing, with the memory kept.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.bytes.clear();
    }

    /// Adds a block of `length` bytes, whose end may be missing if it is zeros.
    fn add(&mut self, place: BlockIndex, block: &Sealed<Vec<u8>>, length: usize) {
        self.places.push(place);
        self.bytes.append(block);
        self.bytes.pad(length);
    }

    /// The blocks of `length` bytes.
    pub(super) fn iter(&self, length: usize) -> impl Iterator<Item = (BlockIndex, &[u8])> {
        self.places.iter().copied().zip(self.bytes.block().chunks(length))
    }
}

/// A directory and what it names.
pub(super) struct Listing<'a> {
    id: NodeId,
    plan: &'a NodePlan,
    layout: &'a Layout,
    names: Vec<Named<'a>>,
}

/// What everything is rendered from.
#[derive(Clone, Copy)]
pub(super) struct Renderer<'a> {
    pub plan: &'a Plan<'a>,
    pub tree: &'a Tree,
    pub options: &'a Options,
    pub seed: FsSeed,
    pub format: Format,
}

impl Renderer<'_> {
    /// Adds the blocks of a node that needs some: entries or target, extent nodes, attributes. The
    /// leaves of a directory that has many are apart.
    pub(super) fn node_blocks(
        &self,
        id: NodeId,
        plan: &NodePlan,
        blocks: &mut Blocks,
    ) -> Result<()> {
        let length = self.format.block.len();
        let node = self.tree.node(id)?;
        match &node.content {
            Content::Directory(_) if plan.inline_regions.is_some() => {}
            Content::Directory(_) => self.directory(id, plan, blocks)?,
            // A short target is in the inode; such a link is here for its attributes.
            Content::Symlink(target) if target.len() >= BLOCK_MAP_SIZE => {
                blocks.add(only_place(plan)?, &unsummed(target.to_vec()), length);
            }
            Content::Inline(bytes) if !plan.blocks.as_slice().is_empty() => {
                blocks.add(only_place(plan)?, &unsummed(bytes.to_vec()), length);
            }
            _ => {}
        }
        // Most trees are a root alone, which is rendered with the inode.
        if !plan.extent_nodes.is_empty() {
            for (place, block) in self.extent_tree(id, node, plan)?.nodes {
                blocks.add(place, &block, length);
            }
        }
        if let Some(block) = self.plan.nodes.attribute_block(id) {
            let split = split(self.tree, id, node, plan, &self.format)?;
            let list = self
                .with_lists(|lists| lists.in_block(&split.in_block, block.at, block.references))?;
            blocks.add(block.at, &list, length);
        }
        Ok(())
    }

    fn directory(&self, id: NodeId, plan: &NodePlan, blocks: &mut Blocks) -> Result<()> {
        let listing = self.listing(id, plan)?;
        let Listing { layout, names, .. } = &listing;
        let dots = dots(&self.plan.numbering, id, self.tree.directory(id)?)?;
        let head = layout.head(dots, names, &self.format, self.inode_seed(id)?)?;
        for (place, block) in places(plan, layout)?.zip(&head) {
            blocks.add(place, block, self.format.block.len());
        }
        if plan.leaves_apart() > 0 {
            return Ok(());
        }
        self.leaves(&listing, 0..layout.leaf_count(), blocks)
    }

    /// What a directory names, and how.
    pub(super) fn listing<'a>(&'a self, id: NodeId, plan: &'a NodePlan) -> Result<Listing<'a>> {
        let layout = plan.layout.as_ref().ok_or(internal("a directory has a layout"))?;
        Ok(Listing { id, plan, layout, names: self.names(id)? })
    }

    fn names(&self, id: NodeId) -> Result<Vec<Named<'_>>> {
        named(self.tree, &self.plan.numbering, self.tree.directory(id)?)
    }

    /// Adds the leaves of these numbers.
    pub(super) fn leaves(
        &self,
        listing: &Listing<'_>,
        numbers: Range<usize>,
        blocks: &mut Blocks,
    ) -> Result<()> {
        let Listing { id, plan, layout, names } = listing;
        let before = layout.blocks() - layout.leaf_count() + numbers.start;
        let leaves = layout.leaves(numbers, names, &self.format, self.inode_seed(*id)?);
        for (place, block) in places(plan, layout)?.skip(before).zip(leaves) {
            blocks.add(place, &block?, self.format.block.len());
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

    fn with_lists<T>(&self, render: impl FnOnce(&Lists<'_>) -> T) -> T {
        let value_inode = |attribute: &Attribute| self.plan.nodes.values.of(attribute);
        render(&Lists { format: &self.format, seed: self.seed, value_inode: &value_inode })
    }

    fn inline_data(&self, id: NodeId, node: &Node, plan: &NodePlan) -> Result<Option<InlineData>> {
        match (&node.content, &plan.inline_regions) {
            (Content::Directory(directory), Some(regions)) => {
                let dots = dots(&self.plan.numbering, id, directory)?;
                regions.render(dots, &self.names(id)?).map(Some)
            }
            (Content::Inline(bytes), _) if plan.blocks.as_slice().is_empty() => {
                Ok(Some(InlineData::of_file(bytes)))
            }
            _ => Ok(None),
        }
    }

    /// The inode of a node.
    pub(super) fn inode(
        &self,
        id: NodeId,
        node: &Node,
        plan: &NodePlan,
    ) -> Result<Sealed<Vec<u8>>> {
        let inline = self.inline_data(id, node, plan)?;
        let rest = inline.as_ref().map(|data| data.rest.as_slice());
        let split = split(self.tree, id, node, plan, &self.format)?;
        let attributes = self.with_lists(|lists| lists.in_inode(&split.in_inode, rest))?;
        let in_ea_inodes: BlockCount =
            split.in_ea_inodes().map(|one| ea_inode::blocks(&one.value, &self.format)).sum();
        let mapped_blocks: BlockCount =
            mapped(node, plan).iter().map(|extent| extent.run.length).sum();
        let own_blocks = widen(plan.extent_nodes.len()) + u64::from(plan.attribute_block.is_some());
        let parts = Parts {
            extent_root: self.extent_tree(id, node, plan)?.root,
            times: self.tree.other_times(id),
            extra: self.tree.extra(id),
            blocks: mapped_blocks + BlockCount::new(own_blocks) + in_ea_inodes,
            inline,
        };
        let inode = render(&fields(node, plan, &parts, self.format.block)?, &self.format);
        self.inode_seed(id)?.seal_inode(&inode, &attributes, self.format.inode_len())
    }

    /// The mapping of a file of the filesystem's own.
    pub(super) fn own_tree(&self, file: &InternalFile, number: InodeNumber) -> Result<ExtentTree> {
        let seed = self.seed.inode(number, 0);
        extents::render(&file.extents, &file.nodes, self.format.block, seed)
    }

    /// The inode of a file of the filesystem's own, if there is such a file.
    pub(super) fn own_inode(
        &self,
        file: &InternalFile,
        number: InodeNumber,
    ) -> Result<Option<Inode>> {
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

    /// The inodes of attributes' values.
    pub(super) fn value_inodes(
        &self,
    ) -> impl Iterator<Item = Result<(InodeNumber, Sealed<Vec<u8>>)>> {
        self.plan.nodes.values.iter().map(|(number, value)| {
            let mut inode = value_file(&value.file(), &self.format, self.options.epoch, self.seed);
            set_extents(&mut inode, self.own_tree(&value.file, number)?.root);
            Ok((number, self.seal_own(number, &inode)?))
        })
    }

    /// An inode of the filesystem's own with its checksum.
    pub(super) fn seal_own(&self, number: InodeNumber, inode: &Inode) -> Result<Sealed<Vec<u8>>> {
        self.seed.inode(number, 0).seal_inode(inode, &[], self.format.inode_len())
    }

    /// What the superblock says, in all of its backups.
    pub(super) fn superblock_sources<'s>(
        &'s self,
        journal: Option<&'s Inode>,
        written: u64,
    ) -> Sources<'s> {
        let (plan, options) = (self.plan, self.options);
        let geometry = &plan.placed.geometry;
        let mut backups = plan.placed.allocator.layout().backups_below(geometry.groups.into());
        // The superblock itself is in group 0, which means no group here.
        backups.next();
        Sources {
            format: geometry.format,
            features: geometry.features(),
            blocks: geometry.blocks,
            reserved: geometry.reserved,
            inodes: geometry.inodes(),
            inodes_per_group: geometry.inodes_per_group,
            groups_per_flex: geometry.groups_per_flex,
            reserved_descriptors: geometry.reserved_descriptors,
            backups: [backups.next(), backups.next()].map(|group| group.unwrap_or(0)),
            label: &options.label,
            last_mounted: &options.last_mounted,
            mount_options: options.mount_options,
            on_error: options.on_error,
            epoch: options.epoch,
            uuid: plan.identity.uuid,
            hash_seed: plan.identity.hash_seed,
            free_blocks: plan.groups.free_blocks,
            free_inodes: plan.groups.free_inodes,
            overhead: plan.overhead(),
            journal,
            orphan_file: plan.orphan_file,
            seed: self.seed,
            written,
        }
    }
}

pub(super) const EVERY_BLOCK_HAS_A_PLACE: Error =
    internal("a file of the filesystem's own has a place for every block");

/// The places of a directory's blocks.
fn places(plan: &NodePlan, layout: &Layout) -> Result<impl Iterator<Item = BlockIndex>> {
    let extents = plan.blocks.as_slice();
    let room: BlockCount = extents.iter().map(|extent| extent.run.length).sum();
    if room != BlockCount::new(widen(layout.blocks())) {
        return Err(EVERY_BLOCK_HAS_A_PLACE);
    }
    Ok(extents.iter().flat_map(|extent| extent.run.blocks()))
}

/// The place of what has one block.
fn only_place(plan: &NodePlan) -> Result<BlockIndex> {
    match plan.blocks.as_slice() {
        [extent] if extent.run.length == BlockCount::new(1) => Ok(extent.run.start),
        _ => Err(EVERY_BLOCK_HAS_A_PLACE),
    }
}
