//! What the groups of a filesystem keep for themselves.

use crate::format::units::{BlockCount, BlockIndex, widen};

/// Which blocks at the start of each group are not for contents: the superblock or a backup of it
/// with the descriptors, and, without `flex_bg`, the group's own bitmaps and inode table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupLayout {
    /// The first block of group 0.
    first: BlockIndex,
    /// The blocks of a full group.
    blocks_per_group: BlockCount,
    /// The blocks of the superblock or a backup: itself, the descriptors, reserved GDT blocks.
    backup_size: BlockCount,
    /// The blocks behind that in every group, for what must lie in it.
    local: BlockCount,
    /// The groups with one of them, group 0 first: all that a group number of 32 bits can name.
    backups: Vec<u64>,
}

impl GroupLayout {
    /// Groups of so many blocks from `first` on, with the superblock and its backups in the
    /// groups of `backups`, which ascend from 0.
    pub(crate) fn new(
        first: BlockIndex,
        blocks_per_group: BlockCount,
        backup_size: BlockCount,
        backups: Vec<u64>,
    ) -> Self {
        Self { first, blocks_per_group, backup_size, local: BlockCount::ZERO, backups }
    }

    /// The same with so many blocks of every group kept for its own metadata.
    pub(crate) fn with_local(self, local: BlockCount) -> Self {
        Self { local, ..self }
    }

    /// The same with shorter backups.
    pub(crate) fn trimmed(self, backup_size: BlockCount) -> Self {
        Self { backup_size, ..self }
    }

    /// The blocks of one backup with its reserved GDT blocks.
    pub(crate) fn backup_size(&self) -> BlockCount {
        self.backup_size
    }

    /// The blocks of every group that are kept for its own metadata.
    pub(crate) fn local(&self) -> BlockCount {
        self.local
    }

    /// The groups with the superblock or a backup among the first `count` groups, ascending.
    pub(crate) fn backups_below(&self, count: u64) -> impl Iterator<Item = u64> {
        self.backups.iter().copied().take_while(move |group| *group < count)
    }

    /// The groups that a filesystem of so many blocks has.
    pub(crate) fn groups_in(&self, blocks: BlockCount) -> u64 {
        let behind = BlockIndex::new(blocks.get()).max(self.first) - self.first;
        behind.get().div_ceil(self.blocks_per_group.get()).max(1)
    }

    /// The first block of a group.
    pub(crate) fn group_start(&self, group: u64) -> BlockIndex {
        self.first + BlockCount::new(group * self.blocks_per_group.get())
    }

    /// The group of a block; what is before group 0 counts as its first.
    pub(crate) fn group_of(&self, block: BlockIndex) -> u64 {
        (block.max(self.first) - self.first).get() / self.blocks_per_group.get()
    }

    /// The blocks of a group that hold the superblock or a backup.
    pub(crate) fn backup_in(&self, group: u64) -> BlockCount {
        if self.backups.binary_search(&group).is_ok() { self.backup_size } else { BlockCount::ZERO }
    }

    /// The first block of a group's own metadata.
    pub(crate) fn local_start(&self, group: u64) -> BlockIndex {
        self.group_start(group) + self.backup_in(group)
    }

    /// The blocks at the start of a group that are not for contents.
    pub(crate) fn kept_in(&self, group: u64) -> BlockCount {
        self.backup_in(group) + self.local
    }

    /// The size itself, or, if it ends inside what its last group keeps, the end of that.
    pub(crate) fn whole_group(&self, blocks: BlockCount) -> BlockCount {
        let last = self.groups_in(blocks) - 1;
        let end = self.group_start(last) + self.kept_in(last);
        blocks.max(BlockCount::new(end.get()))
    }

    /// The longest run between what groups keep for themselves, wherever it is.
    pub(crate) fn widest(&self) -> BlockCount {
        self.blocks_per_group.beyond(self.backup_size + self.local)
    }

    /// The block itself, or the end of what its group keeps if it lies therein.
    pub(crate) fn behind_kept(&self, block: BlockIndex) -> BlockIndex {
        let group = self.group_of(block);
        block.max(self.group_start(group) + self.kept_in(group))
    }

    /// The first block behind `block`'s group that a group keeps.
    pub(crate) fn next_kept(&self, block: BlockIndex) -> BlockIndex {
        let group = self.group_of(block);
        if self.local > BlockCount::ZERO {
            return self.group_start(group + 1);
        }
        let next = self.backups.partition_point(|backup| *backup <= group);
        // Behind the last backup there is nothing to go around.
        let end = BlockIndex::new(u64::MAX);
        self.backups.get(next).map_or(end, |group| self.group_start(*group))
    }

    /// Where group 0 begins.
    pub(crate) fn first(&self) -> BlockIndex {
        self.first
    }

    /// The groups that hold the superblock or a backup, ascending.
    pub(crate) fn backups(&self) -> &[u64] {
        &self.backups
    }

    /// The blocks that groups which begin below `end` keep.
    pub(crate) fn kept_below(&self, end: BlockIndex) -> BlockCount {
        let backups = self.backups.partition_point(|group| self.group_start(*group) < end);
        let groups = match end.get().checked_sub(self.first.get()) {
            None | Some(0) => 0,
            Some(behind) => behind.div_ceil(self.blocks_per_group.get()),
        };
        let in_backups = self.backup_size.get() * widen(backups);
        BlockCount::new(in_backups + self.local.get() * groups)
    }
}
