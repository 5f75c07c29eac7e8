//! Files of the filesystem's own, without holes: the journal, the list of orphans, values of
//! attributes.

use crate::alloc::Allocator;
use crate::error::{Result, internal};
use crate::format::extent::Extent;
use crate::format::units::{BlockCount, BlockIndex, BlockSize, FileBlock, Run};
use crate::render::extents;

/// Where the blocks of such a file are.
#[derive(Clone, Debug, Default)]
pub(crate) struct InternalFile {
    /// Its mappings; none if there is no such file.
    pub extents: Vec<Extent>,
    /// The nodes of its extent tree.
    pub nodes: Vec<BlockIndex>,
}

impl InternalFile {
    /// Takes so many blocks, and those of the nodes that their mappings need.
    pub(crate) fn allocate(
        length: BlockCount,
        block_size: BlockSize,
        allocator: &mut Allocator,
    ) -> Result<Self> {
        let extents = consecutive(&allocator.allocate(length)?)?;
        let nodes = extents::node_count(&extents, block_size)?;
        Ok(Self { extents, nodes: blocks_of(&allocator.allocate(nodes)?) })
    }

    /// Likewise, at the cursor.
    pub(crate) fn allocate_ahead(
        length: BlockCount,
        block_size: BlockSize,
        allocator: &mut Allocator,
    ) -> Result<Self> {
        let extents = consecutive(&allocator.allocate_ahead(length)?)?;
        let nodes = extents::node_count(&extents, block_size)?;
        Ok(Self { extents, nodes: blocks_of(&allocator.allocate_ahead(nodes)?) })
    }

    /// The blocks that it takes, with its nodes.
    pub(crate) fn blocks(&self) -> BlockCount {
        let content: BlockCount = self.extents.iter().map(|extent| extent.run.length).sum();
        content + BlockCount::new(crate::format::units::widen(self.nodes.len()))
    }

    /// The blocks of its content, in their order in the file.
    pub(crate) fn places(&self) -> impl Iterator<Item = BlockIndex> {
        self.extents.iter().flat_map(|extent| extent.run.blocks())
    }
}

/// The blocks of runs, one by one.
pub(crate) fn blocks_of(runs: &[Run]) -> Vec<BlockIndex> {
    runs.iter().copied().flat_map(Run::blocks).collect()
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
