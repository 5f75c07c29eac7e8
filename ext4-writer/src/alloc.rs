//! Blocks taken and given back: one ascending cursor, and the runs that were returned below it.
//!
//! No block is ever out twice: the cursor only rises, and a run comes back only if it lies below
//! the cursor and overlaps nothing that came back before.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result, internal};
use crate::units::{BlockCount, BlockIndex, Run};

/// Which blocks at the start of each group are not for contents: copies of the superblock and the
/// descriptors, and, without `flex_bg`, the group's own bitmaps and inode table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupLayout {
    /// The first block of group 0.
    first: BlockIndex,
    /// The blocks of a full group.
    blocks_per_group: BlockCount,
    /// The blocks of one copy: superblock, descriptors, room for more of them.
    area: BlockCount,
    /// The blocks behind that in every group, for what must lie in it.
    local: BlockCount,
    /// The groups with a copy, ascending: all that a group number of 32 bits can name.
    copies: Vec<u64>,
}

impl GroupLayout {
    /// Groups of so many blocks from `first` on, with copies in the groups of `copies`, which
    /// ascend from 0.
    pub(crate) fn new(
        first: BlockIndex,
        blocks_per_group: BlockCount,
        area: BlockCount,
        copies: Vec<u64>,
    ) -> Self {
        Self { first, blocks_per_group, area, local: BlockCount::ZERO, copies }
    }

    /// The same with so many blocks of every group kept for its own metadata.
    pub(crate) fn with_local(self, local: BlockCount) -> Self {
        Self { local, ..self }
    }

    /// The same with shorter copies.
    pub(crate) fn trimmed(self, area: BlockCount) -> Self {
        Self { area, ..self }
    }

    /// The blocks of one copy with its room for growth.
    pub(crate) fn area(&self) -> BlockCount {
        self.area
    }

    /// The blocks of every group that are kept for its own metadata.
    pub(crate) fn local(&self) -> BlockCount {
        self.local
    }

    /// The groups with a copy among the first `count` groups, ascending.
    pub(crate) fn copies_below(&self, count: u64) -> impl Iterator<Item = u64> {
        self.copies.iter().copied().take_while(move |group| *group < count)
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

    /// The blocks of a group that hold a copy.
    pub(crate) fn copy_in(&self, group: u64) -> BlockCount {
        if self.copies.binary_search(&group).is_ok() { self.area } else { BlockCount::ZERO }
    }

    /// The first block of a group's own metadata.
    pub(crate) fn local_start(&self, group: u64) -> BlockIndex {
        self.group_start(group) + self.copy_in(group)
    }

    /// The blocks at the start of a group that are not for contents.
    pub(crate) fn kept_in(&self, group: u64) -> BlockCount {
        self.copy_in(group) + self.local
    }

    /// The size itself, or, if it ends inside what its last group keeps, the end of that.
    pub(crate) fn whole_group(&self, blocks: BlockCount) -> BlockCount {
        let last = self.groups_in(blocks) - 1;
        let end = self.group_start(last) + self.kept_in(last);
        blocks.max(BlockCount::new(end.get()))
    }

    /// The longest run between what groups keep for themselves, wherever it is.
    fn widest(&self) -> BlockCount {
        self.blocks_per_group.beyond(self.area + self.local)
    }

    /// The block itself, or the end of what its group keeps if it lies therein.
    fn behind_kept(&self, block: BlockIndex) -> BlockIndex {
        let group = self.group_of(block);
        block.max(self.group_start(group) + self.kept_in(group))
    }

    /// The first block behind `block`'s group that a group keeps.
    fn next_kept(&self, block: BlockIndex) -> BlockIndex {
        let group = self.group_of(block);
        if self.local > BlockCount::ZERO {
            return self.group_start(group + 1);
        }
        let next = self.copies.partition_point(|copy| *copy <= group);
        // Behind the last copy there is nothing to go around.
        let end = BlockIndex::new(u64::MAX);
        self.copies.get(next).map_or(end, |copy| self.group_start(*copy))
    }

    /// The blocks that groups which begin below `end` keep.
    pub(crate) fn kept_below(&self, end: BlockIndex) -> BlockCount {
        let copies = self.copies.partition_point(|group| self.group_start(*group) < end);
        let groups = match end.get().checked_sub(self.first.get()) {
            None | Some(0) => 0,
            Some(behind) => behind.div_ceil(self.blocks_per_group.get()),
        };
        let in_copies = self.area.get() * crate::units::widen(copies);
        BlockCount::new(in_copies + self.local.get() * groups)
    }
}

/// The blocks of an image that are in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    layout: GroupLayout,
    /// Nothing at or behind it is taken.
    cursor: BlockIndex,
    /// The end of an image of fixed size.
    limit: Option<BlockIndex>,
    /// The blocks before the limit that contents are to leave for the filesystem itself.
    held_back: BlockCount,
    free_by_start: BTreeMap<BlockIndex, BlockCount>,
    free_by_length: BTreeSet<(BlockCount, BlockIndex)>,
    free: BlockCount,
    /// Free blocks before anchors, which are taken only when nothing else is left.
    gaps: Vec<Run>,
    /// Former gaps, which are now as free as other blocks.
    spent_gaps: Vec<Run>,
    taken: BlockCount,
}

/// Where the cursor stood, and which gaps there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    cursor: BlockIndex,
    gaps: usize,
    spent_gaps: usize,
}

impl Space {
    /// All blocks but those that groups keep are free, up to `limit`.
    pub(crate) fn new(layout: GroupLayout, limit: Option<BlockIndex>) -> Self {
        Self {
            cursor: layout.behind_kept(layout.first),
            layout,
            limit,
            held_back: BlockCount::ZERO,
            free_by_start: BTreeMap::new(),
            free_by_length: BTreeSet::new(),
            free: BlockCount::ZERO,
            gaps: Vec::new(),
            spent_gaps: Vec::new(),
            taken: BlockCount::ZERO,
        }
    }

    /// Moves the cursor to the next multiple of `unit`, if that leaves room, and keeps what is
    /// before it free.
    pub(crate) fn anchor(&mut self, unit: BlockCount) {
        let target = BlockIndex::new(self.cursor.get().next_multiple_of(unit.get()));
        let target = self.layout.behind_kept(target);
        if self.limit.is_none() || self.ahead() > target - self.cursor {
            let mut at = self.cursor;
            while let Some(run) = self.next_before(&mut at, target) {
                self.gaps.push(run);
            }
            self.cursor = target;
        }
    }

    /// Where it stands, to return to.
    pub(crate) fn position(&self) -> Position {
        let (gaps, spent_gaps) = (self.gaps.len(), self.spent_gaps.len());
        Position { cursor: self.cursor, gaps, spent_gaps }
    }

    /// Puts cursor and gaps back, when all that was taken since then has come back.
    pub(crate) fn return_to(&mut self, position: Position) -> Result<()> {
        if self.position() == position {
            return Ok(());
        }
        // Spent gaps come first: none is spent before those that were there.
        let mut gaps = self.spent_gaps.split_off(position.spent_gaps.min(self.spent_gaps.len()));
        for gap in std::mem::take(&mut self.gaps) {
            self.insert_free(gap)?;
            gaps.push(gap);
        }
        gaps.truncate(position.gaps);
        self.lower_cursor();
        if self.cursor > position.cursor {
            return Err(internal("what was taken for a failed file has come back"));
        }
        self.skip_to(position.cursor);
        for gap in &gaps {
            self.carve(*gap)?;
        }
        self.gaps = gaps;
        Ok(())
    }

    /// Takes a run out of the free ones.
    fn carve(&mut self, run: Run) -> Result<()> {
        let around = self.free_by_start.range(..=run.start).next_back();
        let around = around.map(|(start, length)| Run::new(*start, *length));
        let Some(around) = around.filter(|around| around.end() >= run.end()) else {
            return Err(internal("a gap is free"));
        };
        self.remove_free(around);
        let before = Run::new(around.start, run.start - around.start);
        let behind = Run::new(run.end(), around.end() - run.end());
        for part in [before, behind] {
            if part.length > BlockCount::ZERO {
                self.insert_free(part)?;
            }
        }
        Ok(())
    }

    /// The blocks in the gaps before anchors.
    pub(crate) fn gaps(&self) -> BlockCount {
        self.gaps.iter().map(|run| run.length).sum()
    }

    /// The same up to another limit.
    pub(crate) fn within(self, limit: BlockIndex) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Shortens the copies, of which not all room was needed; the rest is free.
    pub(crate) fn trim_copies(&mut self, area: BlockCount) -> Result<()> {
        let old = std::mem::replace(&mut self.layout.area, area);
        if area >= old {
            return Ok(());
        }
        let behind = |start: BlockIndex| start + area + self.layout.local;
        let passed: Vec<BlockIndex> = self
            .layout
            .copies
            .iter()
            .map(|group| self.layout.group_start(*group))
            .take_while(|start| *start < self.cursor)
            .map(behind)
            .collect();
        for start in passed {
            self.insert_free(Run::new(start, old - area))?;
        }
        self.lower_cursor();
        Ok(())
    }

    /// Keeps the last blocks of an image of fixed size from contents.
    pub(crate) fn hold_back(&mut self, count: BlockCount) {
        self.held_back = count;
    }

    /// What the groups keep for themselves.
    pub(crate) fn layout(&self) -> &GroupLayout {
        &self.layout
    }

    /// The block behind the last one that is taken.
    pub(crate) fn end(&self) -> BlockIndex {
        self.cursor
    }

    /// The blocks that are taken, without those that groups keep.
    pub(crate) fn taken(&self) -> BlockCount {
        self.taken
    }

    /// The free runs below [`end`](Self::end), ascending.
    pub(crate) fn free_runs(&self) -> impl Iterator<Item = Run> {
        let free = self.free_by_start.iter().map(|(start, length)| Run::new(*start, *length));
        let mut runs: Vec<Run> = free.chain(self.gaps.iter().copied()).collect();
        runs.sort_unstable();
        runs.into_iter()
    }

    /// Takes exactly `count` blocks in as few runs as there are: one that came back and fits, else
    /// at the cursor, else, in a full image, whatever came back.
    pub(crate) fn take(&mut self, count: BlockCount) -> Result<Vec<Run>> {
        if count == BlockCount::ZERO {
            return Ok(Vec::new());
        }
        if let Some(run) = self.take_returned(count) {
            return Ok(vec![run]);
        }
        if self.ahead() >= count {
            return self.take_ahead(count);
        }
        self.take_scattered(count)
    }

    /// Takes `count` blocks that lie one behind the other.
    pub(crate) fn take_contiguous(&mut self, count: BlockCount) -> Result<Run> {
        match self.take_returned(count) {
            Some(run) => Ok(run),
            None => self.take_contiguous_ahead(count),
        }
    }

    /// Takes `count` blocks that lie one behind the other, at the cursor or behind it.
    pub(crate) fn take_contiguous_ahead(&mut self, count: BlockCount) -> Result<Run> {
        let widest = self.layout.widest();
        if count > widest {
            return Err(Error::ImageFull { needed: count.get(), available: widest.get() });
        }
        let mut start = self.layout.behind_kept(self.cursor);
        if start + count > self.layout.next_kept(start) {
            start = self.layout.behind_kept(self.layout.next_kept(start));
        }
        if let Some(limit) = self.limit.filter(|limit| start + count > *limit) {
            // What is at the end alone: any run elsewhere is too short.
            let available = (limit.max(start) - start).get();
            return Err(Error::ImageFull { needed: count.get(), available });
        }
        self.skip_to(start);
        self.advance(count)
    }

    /// Gives a run back.
    pub(crate) fn give_back(&mut self, run: Run) -> Result<()> {
        if run.end() > self.cursor {
            return Err(internal("a run that comes back was taken before"));
        }
        self.taken = match self.taken.get().checked_sub(run.length.get()) {
            Some(left) => BlockCount::new(left),
            None => return Err(internal("no more blocks come back than were taken")),
        };
        self.insert_free(run)?;
        self.lower_cursor();
        Ok(())
    }

    /// Lets the cursor fall back over what is free before it, and over what groups keep in between.
    fn lower_cursor(&mut self) {
        while let Some((&start, &length)) = self.free_by_start.last_key_value() {
            let end = start + length;
            if self.layout.behind_kept(end) < self.cursor {
                return;
            }
            self.remove_free(Run::new(start, length));
            self.cursor = start;
        }
    }

    fn insert_free(&mut self, run: Run) -> Result<()> {
        let mut merged = run;
        let before = self.free_by_start.range(..=run.start).next_back();
        if let Some((&start, &length)) = before {
            let end = start + length;
            if end > run.start {
                return Err(internal("a block comes back once"));
            }
            if end == run.start {
                merged = Run::new(start, length + run.length);
                self.remove_free(Run::new(start, length));
            }
        }
        let after = self.free_by_start.range(run.start..).next();
        if let Some((&start, &length)) = after {
            if start < run.end() {
                return Err(internal("a block comes back once"));
            }
            if start == run.end() {
                self.remove_free(Run::new(start, length));
                merged.length += length;
            }
        }
        self.free_by_start.insert(merged.start, merged.length);
        self.free_by_length.insert((merged.length, merged.start));
        self.free += merged.length;
        Ok(())
    }

    fn remove_free(&mut self, run: Run) {
        self.free_by_start.remove(&run.start);
        self.free_by_length.remove(&(run.length, run.start));
        self.free -= run.length;
    }

    /// The smallest run that came back and holds `count` blocks, or the head of it.
    fn take_returned(&mut self, count: BlockCount) -> Option<Run> {
        let smallest = (count, BlockIndex::new(0));
        let &(length, start) = self.free_by_length.range(smallest..).next()?;
        Some(self.take_head(Run::new(start, length), count))
    }

    /// Takes the first `count` blocks of a free run.
    fn take_head(&mut self, run: Run, count: BlockCount) -> Run {
        self.remove_free(run);
        let rest = Run::new(run.start + count, run.length - count);
        if rest.length > BlockCount::ZERO {
            self.free_by_start.insert(rest.start, rest.length);
            self.free_by_length.insert((rest.length, rest.start));
            self.free += rest.length;
        }
        self.taken += count;
        Run::new(run.start, count)
    }

    /// The free blocks from the cursor to the limit.
    fn ahead(&self) -> BlockCount {
        let Some(limit) = self.limit else {
            return BlockCount::new(u64::MAX);
        };
        let start = self.layout.behind_kept(self.cursor);
        if start >= limit {
            return BlockCount::ZERO;
        }
        let kept = self.layout.kept_below(limit) - self.layout.kept_below(start);
        let free = limit - start - kept;
        free.beyond(self.held_back)
    }

    /// Takes blocks at the cursor, around what groups keep.
    pub(crate) fn take_ahead(&mut self, count: BlockCount) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        let mut left = count;
        while left > BlockCount::ZERO {
            self.skip_to(self.layout.behind_kept(self.cursor));
            let room = self.layout.next_kept(self.cursor) - self.cursor;
            let run = self.advance(left.min(room))?;
            left -= run.length;
            runs.push(run);
        }
        Ok(runs)
    }

    /// Takes blocks wherever there are any, the longest runs first.
    fn take_scattered(&mut self, count: BlockCount) -> Result<Vec<Run>> {
        let ahead = self.ahead();
        if self.free + self.gaps() + ahead < count {
            return Err(self.full(count));
        }
        for gap in std::mem::take(&mut self.gaps) {
            self.insert_free(gap)?;
            self.spent_gaps.push(gap);
        }
        let mut left = count - ahead.min(count);
        let mut runs = Vec::new();
        while left > BlockCount::ZERO {
            let Some(&(length, start)) = self.free_by_length.last() else {
                return Err(internal("the free runs add up to the free blocks"));
            };
            let run = self.take_head(Run::new(start, length), left.min(length));
            left -= run.length;
            runs.push(run);
        }
        if ahead > BlockCount::ZERO {
            runs.extend(self.take_ahead(ahead.min(count))?);
        }
        runs.sort_unstable();
        Ok(runs)
    }

    /// Moves the cursor over blocks that are not to be used now, or that a group keeps.
    pub(crate) fn skip_to(&mut self, start: BlockIndex) {
        let mut at = self.cursor;
        while let Some(run) = self.next_before(&mut at, start) {
            self.free_by_start.insert(run.start, run.length);
            self.free_by_length.insert((run.length, run.start));
            self.free += run.length;
        }
        self.cursor = self.cursor.max(start);
    }

    /// The next run of blocks from `at` up to `end` that no group keeps; moves `at` behind it.
    fn next_before(&self, at: &mut BlockIndex, end: BlockIndex) -> Option<Run> {
        let start = self.layout.behind_kept(*at);
        if start >= end {
            return None;
        }
        *at = end.min(self.layout.next_kept(start));
        Some(Run::new(start, *at - start))
    }

    fn advance(&mut self, count: BlockCount) -> Result<Run> {
        let run = Run::new(self.cursor, count);
        if self.limit.is_some_and(|limit| run.end() > limit) {
            return Err(self.full(count));
        }
        self.cursor = run.end();
        self.taken += count;
        Ok(run)
    }

    fn full(&self, needed: BlockCount) -> Error {
        let ahead = if self.limit.is_some() { self.ahead() } else { BlockCount::ZERO };
        Error::ImageFull {
            needed: needed.get(),
            available: (self.free + self.gaps() + ahead).get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(limit: Option<u64>) -> Space {
        let copies = crate::format::backups::sparse_groups();
        let layout = GroupLayout::new(BlockIndex::new(0), count(100), count(10), copies);
        Space::new(layout, limit.map(BlockIndex::new))
    }

    fn run(start: u64, length: u64) -> Run {
        Run::new(BlockIndex::new(start), BlockCount::new(length))
    }

    fn count(number: u64) -> BlockCount {
        BlockCount::new(number)
    }

    #[test]
    fn backups_are_in_the_groups_of_sparse_super() {
        let layout = space(None).layout;
        let groups: Vec<u64> = layout.copies_below(244).collect();
        assert_eq!(groups, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 243]);
    }

    #[test]
    fn content_flows_around_what_every_group_keeps() {
        let copies = vec![0, 1];
        let layout = GroupLayout::new(BlockIndex::new(1), count(100), count(10), copies);
        let mut space = Space::new(layout.with_local(count(5)), None);
        let runs = space.take(count(265)).unwrap();
        assert_eq!(runs, [run(16, 85), run(116, 85), run(206, 95)]);
        assert_eq!(space.layout.kept_below(BlockIndex::new(1)), count(0));
        assert_eq!(space.layout.kept_below(BlockIndex::new(202)), count(35));
    }

    #[test]
    fn content_flows_around_the_backups() {
        let mut space = space(None);
        assert_eq!(space.take(count(85)).unwrap(), [run(10, 85)]);
        // The rest of group 0, all of group 1 behind its backup, group 2, group 3 behind its own.
        let runs = space.take(count(200)).unwrap();
        assert_eq!(runs, [run(95, 5), run(110, 190), run(310, 5)]);
    }

    #[test]
    fn a_contiguous_run_leaves_its_gap_to_others() {
        let mut space = space(None);
        space.take(count(80)).unwrap();
        assert_eq!(space.take_contiguous(count(50)).unwrap(), run(110, 50));
        assert_eq!(space.take(count(7)).unwrap(), [run(90, 7)]);
        assert_eq!(space.free_runs().collect::<Vec<_>>(), [run(97, 3)]);
    }

    #[test]
    fn returned_blocks_are_used_again_best_fit_first() {
        let mut space = space(Some(100));
        space.take(count(90)).unwrap();
        space.give_back(run(20, 5)).unwrap();
        space.give_back(run(40, 3)).unwrap();
        assert_eq!(space.take(count(3)).unwrap(), [run(40, 3)]);
        space.give_back(run(60, 4)).unwrap();
        assert_eq!(space.take(count(7)).unwrap(), [run(20, 5), run(60, 2)]);
        assert!(matches!(space.take(count(3)), Err(Error::ImageFull { needed: 3, available: 2 })));
        assert_eq!(space.take(count(2)).unwrap(), [run(62, 2)]);
    }

    #[test]
    fn the_cursor_falls_back_when_the_last_blocks_come_back() {
        let mut space = space(None);
        space.take(count(50)).unwrap();
        for run in space.take(count(400)).unwrap() {
            space.give_back(run).unwrap();
        }
        assert_eq!(space.end(), BlockIndex::new(60));
        assert_eq!(space.free_runs().count(), 0);
        assert_eq!(space.take(count(1)).unwrap(), [run(60, 1)]);
    }

    #[test]
    fn a_block_cannot_come_back_twice_or_before_it_was_taken() {
        let mut space = space(None);
        space.take(count(50)).unwrap();
        space.give_back(run(30, 10)).unwrap();
        assert!(space.give_back(run(35, 1)).is_err());
        assert!(space.give_back(run(25, 6)).is_err());
        assert!(space.give_back(run(59, 2)).is_err());
        space.give_back(run(40, 2)).unwrap();
        space.give_back(run(28, 2)).unwrap();
        assert_eq!(space.free_runs().collect::<Vec<_>>(), [run(28, 14)]);
    }
}
