//! Where the bitmaps and the inode table of every group go, when `flex_bg` leaves that open.
//!
//! What belongs to a flex group lies at its start, as mke2fs lays it (e2fsprogs:
//! `lib/ext2fs/alloc_tables.c`): a group that is cut off by shrinking then takes its own metadata
//! with it. Contents were there first, so the flex groups that they reach have theirs behind them.
//! So has a short last one that cannot hold its own.

use crate::alloc::Allocator;
use crate::error::{Result, internal};
use crate::format::group_layout::GroupLayout;
use crate::format::units::{BlockCount, BlockIndex, index};
use crate::geometry::{BITMAPS, Geometry};
use crate::plan::internal_file::blocks_of;

/// The places of the groups' bitmaps and tables.
#[derive(Debug, Default)]
pub(crate) struct GroupTables {
    /// One a group.
    pub block_bitmaps: Vec<BlockIndex>,
    /// One a group.
    pub inode_bitmaps: Vec<BlockIndex>,
    /// The first block of each group's inode table.
    pub tables: Vec<BlockIndex>,
}

/// The groups whose bitmaps and tables lie together.
#[derive(Clone, Copy, Debug)]
struct FlexGroup {
    first: u64,
    groups: BlockCount,
    start: BlockIndex,
}

/// Whether freed blocks before the cursor may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AllocateFrom {
    Anywhere,
    Cursor,
}

impl GroupTables {
    /// Tables and both kinds of bitmaps, each in its own group.
    pub(crate) fn local(geometry: &Geometry, layout: &GroupLayout) -> Self {
        let at = |offset| {
            let groups = 0..u64::from(geometry.groups);
            groups.map(|group| layout.local_start(group) + BlockCount::new(offset)).collect()
        };
        Self { block_bitmaps: at(0), inode_bitmaps: at(1), tables: at(2) }
    }

    /// Takes blocks wherever there are any, in as few as possible: the tables come first, since
    /// each must be one run.
    pub(crate) fn packed(geometry: &Geometry, allocator: &mut Allocator) -> Result<Self> {
        let groups = BlockCount::new(u64::from(geometry.groups));
        let tables = (0..geometry.groups)
            .map(|_| Ok(allocator.allocate_contiguous(geometry.table)?.start))
            .collect::<Result<_>>()?;
        let block_bitmaps = blocks_of(&allocator.allocate(groups)?);
        Ok(Self { block_bitmaps, inode_bitmaps: blocks_of(&allocator.allocate(groups)?), tables })
    }

    /// Takes blocks in the groups' flex groups where nothing else lies, and `between` when the
    /// others have theirs.
    pub(crate) fn in_flex_groups<T>(
        geometry: &Geometry,
        allocator: &mut Allocator,
        between: impl FnOnce(&mut Allocator) -> Result<T>,
    ) -> Result<(Self, T)> {
        let (mut placed, mut later) = (Vec::new(), Vec::new());
        for flex in FlexGroup::all(geometry, allocator.layout())? {
            if flex.start >= allocator.end() && flex.has_room(geometry, allocator.layout()) {
                later.push(flex);
            } else {
                placed.push((
                    flex.first,
                    flex.allocate(geometry, allocator, AllocateFrom::Anywhere)?,
                ));
            }
        }
        let between = between(allocator)?;
        for flex in later {
            allocator.skip_to(flex.start);
            placed.push((flex.first, flex.allocate(geometry, allocator, AllocateFrom::Cursor)?));
        }
        placed.sort_unstable_by_key(|(first, _)| *first);
        let mut all = Self::default();
        for (_, tables) in placed {
            all.append(tables);
        }
        Ok((all, between))
    }

    fn append(&mut self, others: Self) {
        self.block_bitmaps.extend(others.block_bitmaps);
        self.inode_bitmaps.extend(others.inode_bitmaps);
        self.tables.extend(others.tables);
    }
}

impl FlexGroup {
    /// All flex groups of the filesystem.
    fn all(geometry: &Geometry, layout: &GroupLayout) -> Result<Vec<Self>> {
        const A_SIZE: crate::error::Error = internal("a flex group has at least one group");
        let (groups, step) = (u64::from(geometry.groups), u64::from(geometry.groups_per_flex));
        if step == 0 {
            return Err(A_SIZE);
        }
        let at = |first| Self {
            first,
            groups: BlockCount::new(step.min(groups - first)),
            start: layout.group_start(first),
        };
        Ok((0..groups).step_by(index(geometry.groups_per_flex)).map(at).collect())
    }

    /// Whether its own bitmaps and tables fit into it, wherever backups cut it.
    fn has_room(&self, geometry: &Geometry, layout: &GroupLayout) -> bool {
        let behind = self.first + self.groups.get();
        let end = layout.group_start(behind).min(geometry.end());
        let kept = layout.kept_below(end) - layout.kept_below(self.start);
        let backups = layout.backups_below(behind).filter(|group| *group >= self.first).count();
        // Before a backup there may be a block less than a table needs.
        let lost = geometry.table.get() * crate::format::units::widen(backups);
        let own = self.groups.get() * (geometry.table + BITMAPS).get();
        (end - self.start).get() >= kept.get() + lost + own
    }

    fn allocate(
        &self,
        geometry: &Geometry,
        allocator: &mut Allocator,
        from: AllocateFrom,
    ) -> Result<GroupTables> {
        let mut bitmaps = || match from {
            AllocateFrom::Anywhere => allocator.allocate(self.groups),
            AllocateFrom::Cursor => allocator.allocate_ahead(self.groups),
        };
        let (block_bitmaps, inode_bitmaps) = (blocks_of(&bitmaps()?), blocks_of(&bitmaps()?));
        let table = |_| {
            let run = match from {
                AllocateFrom::Anywhere => allocator.allocate_contiguous(geometry.table)?,
                AllocateFrom::Cursor => allocator.allocate_contiguous_ahead(geometry.table)?,
            };
            Ok(run.start)
        };
        let tables = (0..self.groups.get()).map(table).collect::<Result<_>>()?;
        Ok(GroupTables { block_bitmaps, inode_bitmaps, tables })
    }
}
