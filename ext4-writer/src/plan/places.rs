//! Where the groups' bitmaps and tables, the journal and the resize inode's map go, and how
//! large a fitted filesystem has to be for them.

use crate::alloc::Space;
use crate::error::{Error, Result};
use crate::geometry::{Geometry, InodeDemand};
use crate::options::{Options, Reserved, Size};
use crate::plan::extents;
use crate::plan::nodes::consecutive;
use crate::tree::Extent;
use crate::units::{BlockCount, BlockIndex, BlockSize, Run};

/// The places of what every filesystem has.
#[derive(Debug)]
pub(crate) struct Places {
    /// One a group.
    pub block_bitmaps: Vec<BlockIndex>,
    /// One a group.
    pub inode_bitmaps: Vec<BlockIndex>,
    /// The first block of each group's inode table.
    pub tables: Vec<BlockIndex>,
    /// The journal's mappings, if there is one.
    pub journal: Vec<Extent>,
    /// The nodes of the journal's extent tree.
    pub journal_nodes: Vec<BlockIndex>,
    /// The block that lists the blocks held back for descriptors, if there are any.
    pub resize_map: Option<BlockIndex>,
}

/// A geometry in which everything has its place.
#[derive(Debug)]
pub(crate) struct Placed {
    pub geometry: Geometry,
    pub places: Places,
    /// All blocks in use.
    pub space: Space,
}

impl Placed {
    /// Chooses the size, if it is to fit, and places everything.
    pub(crate) fn new(
        options: &Options,
        block_size: BlockSize,
        demand: InodeDemand,
        space: Space,
    ) -> Result<Self> {
        let sizing = Sizing { options, block_size, demand };
        match options.size {
            Size::Fixed(bytes) => sizing.place(block_size.whole_blocks(bytes), space),
            Size::Fit { free_bytes, .. } => sizing.fit(free_bytes, &space),
        }
    }

    /// The free blocks of the filesystem.
    pub(crate) fn free(&self) -> BlockCount {
        let backups = self.space.layout().blocks_below(self.geometry.end());
        self.geometry.blocks - backups - self.space.taken()
    }
}

/// Refuses a fixed size that is no filesystem, and names the nearest that are.
pub(crate) fn check_fixed(bytes: u64, block_size: BlockSize, space: &Space) -> Result<()> {
    let whole = block_size.whole_blocks(bytes);
    let problem = if block_size.bytes_in(whole) != bytes {
        "is not a multiple of the block size"
    } else if whole_backup(whole, space) != whole {
        "ends inside the superblock and descriptors of its last group"
    } else {
        return Ok(());
    };
    let above = block_size.bytes_in(whole_backup(block_size.blocks_for(bytes), space));
    let nearest = match before_backup(whole, space) {
        BlockCount::ZERO => format!("the nearest legal size is {above}"),
        below => {
            let below = block_size.bytes_in(below);
            format!("the nearest legal sizes are {below} and {above}")
        }
    };
    let reason = format!("{bytes} bytes {problem}; {nearest}");
    Err(Error::InvalidOption { option: "size", reason })
}

/// The size itself, or, if it ends inside a backup, the start of that.
fn before_backup(blocks: BlockCount, space: &Space) -> BlockCount {
    if whole_backup(blocks, space) == blocks {
        return blocks;
    }
    let layout = space.layout();
    let group = layout.group_of(BlockIndex::new(blocks.get().saturating_sub(1)));
    BlockCount::new(layout.group_start(group).get())
}

/// The size itself, or, if it ends inside a backup, the end of that.
fn whole_backup(blocks: BlockCount, space: &Space) -> BlockCount {
    let layout = space.layout();
    let Some(last) = blocks.get().checked_sub(1) else {
        return layout.area();
    };
    let group = layout.group_of(BlockIndex::new(last));
    if !layout.has_backup(group) {
        return blocks;
    }
    let end = layout.group_start(group) + layout.area();
    blocks.max(BlockCount::new(end.get()))
}

struct Sizing<'a> {
    options: &'a Options,
    block_size: BlockSize,
    demand: InodeDemand,
}

impl Sizing<'_> {
    /// The smallest size at which everything has a place and enough is left.
    ///
    /// Every block added to a size leaves at most one more free, so no size between one that
    /// misses some blocks and one that is larger by as many can do; only where one group more
    /// rounds the inode tables down may a size a few blocks smaller be passed over.
    fn fit(&self, free_bytes: u64, space: &Space) -> Result<Placed> {
        let mut blocks = BlockCount::new(space.end().get())
            .max(self.least_for_inodes()?)
            .max(self.least_for_reserved());
        loop {
            blocks = whole_backup(blocks, space);
            let placed = self.place(blocks, space.clone())?;
            let beyond = placed.space.end().get().saturating_sub(blocks.get());
            if beyond > 0 {
                blocks += BlockCount::new(beyond);
                continue;
            }
            let wanted = placed.geometry.free_blocks_for(free_bytes);
            match wanted.get().checked_sub(placed.free().get()) {
                None | Some(0) => return Ok(placed),
                Some(missing) => blocks += BlockCount::new(missing),
            }
        }
    }

    /// The blocks of so many groups that their tables can hold the tree's inodes.
    fn least_for_inodes(&self) -> Result<BlockCount> {
        let per_group = u64::from(self.block_size.bits());
        let groups = self.demand.required(self.options)?.div_ceil(per_group).max(1);
        Ok(BlockCount::new((groups - 1) * per_group + 1))
    }

    /// The blocks of which those for root are no more than half.
    fn least_for_reserved(&self) -> BlockCount {
        match self.options.reserved {
            Reserved::Bytes(bytes) => {
                BlockCount::new(self.block_size.whole_blocks(bytes).get() * 2)
            }
            Reserved::Percent(_) => BlockCount::ZERO,
        }
    }

    fn place(&self, blocks: BlockCount, mut space: Space) -> Result<Placed> {
        let area = space.layout().area();
        let geometry = Geometry::new(self.options, self.block_size, blocks, area, self.demand)?;
        let groups = BlockCount::new(u64::from(geometry.groups));
        // What was kept for them is theirs now. The tables come first: each must be one run.
        space.hold_back(BlockCount::ZERO);
        let tables = (0..geometry.groups)
            .map(|_| Ok(space.take_contiguous(geometry.table)?.start))
            .collect::<Result<_>>()?;
        let block_bitmaps = blocks_of(&space.take(groups)?);
        let inode_bitmaps = blocks_of(&space.take(groups)?);
        let resize_map = if geometry.reserved_descriptors > BlockCount::ZERO {
            Some(space.take_contiguous(BlockCount::new(1))?.start)
        } else {
            None
        };
        let journal = consecutive(&space.take(geometry.journal)?)?;
        let nodes = extents::node_count(&journal, self.block_size)?;
        let journal_nodes = blocks_of(&space.take(nodes)?);
        let places =
            Places { block_bitmaps, inode_bitmaps, tables, journal, journal_nodes, resize_map };
        Ok(Placed { geometry, places, space })
    }
}

fn blocks_of(runs: &[Run]) -> Vec<BlockIndex> {
    runs.iter().copied().flat_map(Run::blocks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alloc::BackupLayout;

    fn space() -> Space {
        let (first, group) = (BlockIndex::new(0), BlockCount::new(32_768));
        Space::new(BackupLayout::new(first, group, BlockCount::new(100)), None)
    }

    fn refused(bytes: u64) -> Option<String> {
        match check_fixed(bytes, BlockSize::DEFAULT, &space()) {
            Err(Error::InvalidOption { reason, .. }) => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn an_illegal_size_names_legal_neighbours() {
        assert_eq!(refused(100 * 4096), None);
        assert_eq!(refused(32_768 * 4096), None);
        assert_eq!(refused((32_768 + 100) * 4096), None);
        // Group 2 has no backup, so one block of it is enough.
        assert_eq!(refused((65_536 + 1) * 4096), None);
        let inside = refused((32_768 + 5) * 4096).unwrap();
        assert!(inside.ends_with("sizes are 134217728 and 134627328"), "{inside}");
        let odd = refused(200 * 4096 + 1).unwrap();
        assert!(odd.ends_with("sizes are 819200 and 823296"), "{odd}");
        for tiny in [0, 1, 4096] {
            let tiny = refused(tiny).unwrap();
            assert!(tiny.ends_with("the nearest legal size is 409600"), "{tiny}");
        }
    }
}
