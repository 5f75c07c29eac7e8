//! The blocks of attributes: nodes with the same attributes in a block have one block together.

use std::collections::BTreeMap;

use crate::alloc::Allocator;
use crate::error::{Result, internal};
use crate::format::units::{BlockCount, BlockIndex};
use crate::render::xattr::Stored;
use crate::tree::NodeId;

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

impl AttributeBlock {
    /// Whether one node alone has it.
    pub(crate) fn is_new(&self) -> bool {
        self.references == 1
    }
}

/// The blocks so far, and by their attributes those that another node can share.
#[derive(Debug, Default)]
pub(crate) struct AttributeBlocks<'a> {
    blocks: Vec<AttributeBlock>,
    by_attributes: BTreeMap<Vec<Stored<'a>>, usize>,
}

impl<'a> AttributeBlocks<'a> {
    /// The block for a node's attributes, as it is with this node: one that has them already, or
    /// a new one.
    ///
    /// Source: kernel, `fs/ext4/xattr.c`, `ext4_xattr_block_cache_find`: a block whose hash is 0
    /// is never shared.
    pub(crate) fn allocate(
        &mut self,
        owner: NodeId,
        attributes: &[Stored<'a>],
        hash: u32,
        allocator: &mut Allocator,
    ) -> Result<AttributeBlock> {
        let shared = self.by_attributes.get(attributes).and_then(|at| self.blocks.get_mut(*at));
        if let Some(block) = shared
            && block.references < MAX_REFERENCES
        {
            block.references += 1;
            return Ok(*block);
        }
        let runs = allocator.allocate(BlockCount::new(1))?;
        let at = runs.first().ok_or(internal("a block that was allocated has a place"))?.start;
        if hash != 0 {
            self.by_attributes.insert(attributes.to_vec(), self.blocks.len());
        }
        let block = AttributeBlock { at, owner, references: 1 };
        self.blocks.push(block);
        Ok(block)
    }

    /// All blocks, in the order of their owners.
    pub(crate) fn into_blocks(self) -> Vec<AttributeBlock> {
        self.blocks
    }
}
