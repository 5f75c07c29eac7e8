//! The blocks of attributes: nodes with the same attributes in a block have one block together.

use std::collections::BTreeMap;

use crate::alloc::Space;
use crate::attributes::Attribute;
use crate::error::{Result, internal};
use crate::plan::xattr::block_hash;
use crate::tree::NodeId;
use crate::units::{BlockCount, BlockIndex};

/// The most inodes that share a block: `EXT4_XATTR_REFCOUNT_MAX` of `fs/ext4/xattr.h`.
const MAX_REFERENCES: u32 = 1024;

/// A block of attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttributeBlock {
    pub at: BlockIndex,
    /// The first node that has it.
    pub owner: NodeId,
    /// How many nodes have it.
    pub references: u32,
}

/// The blocks so far, and by their attributes those that another node can share.
#[derive(Debug, Default)]
pub(crate) struct AttributeBlocks<'a> {
    blocks: Vec<AttributeBlock>,
    by_attributes: BTreeMap<Vec<&'a Attribute>, usize>,
}

impl<'a> AttributeBlocks<'a> {
    /// The block for a node's attributes: one that has them already, or a new one.
    ///
    /// Source: kernel, `fs/ext4/xattr.c`, `ext4_xattr_block_cache_find`: a block without a hash
    /// is never shared.
    pub(crate) fn take(
        &mut self,
        owner: NodeId,
        attributes: Vec<&'a Attribute>,
        space: &mut Space,
    ) -> Result<BlockIndex> {
        let shared = self.by_attributes.get(&attributes).and_then(|at| self.blocks.get_mut(*at));
        if let Some(block) = shared
            && block.references < MAX_REFERENCES
        {
            block.references += 1;
            return Ok(block.at);
        }
        let runs = space.take(BlockCount::new(1))?;
        let at = runs.first().ok_or(internal("a block that was taken has a place"))?.start;
        if block_hash(&attributes) != 0 {
            self.by_attributes.insert(attributes, self.blocks.len());
        }
        self.blocks.push(AttributeBlock { at, owner, references: 1 });
        Ok(at)
    }

    /// All blocks, in the order of their owners.
    pub(crate) fn into_blocks(self) -> Vec<AttributeBlock> {
        self.blocks
    }
}
