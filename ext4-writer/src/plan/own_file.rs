//! Files of the filesystem's own, without holes: the journal, the list of orphans, values of
//! attributes.

use crate::alloc::Space;
use crate::error::Result;
use crate::plan::extents;
use crate::plan::nodes::consecutive;
use crate::tree::Extent;
use crate::units::{BlockCount, BlockIndex, BlockSize, Run};

/// Where the blocks of such a file are.
#[derive(Debug, Default)]
pub(crate) struct OwnFile {
    /// Its mappings; none if there is no such file.
    pub extents: Vec<Extent>,
    /// The nodes of its extent tree.
    pub nodes: Vec<BlockIndex>,
}

impl OwnFile {
    /// Takes so many blocks, and those of the nodes that their mappings need.
    pub(crate) fn take(
        length: BlockCount,
        block_size: BlockSize,
        space: &mut Space,
    ) -> Result<Self> {
        let extents = consecutive(&space.take(length)?)?;
        let nodes = extents::node_count(&extents, block_size)?;
        Ok(Self { extents, nodes: blocks_of(&space.take(nodes)?) })
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
