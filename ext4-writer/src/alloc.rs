//! The block allocator of new images: one ascending cursor, and the runs below it that were freed.
//!
//! No block is allocated twice: the cursor only rises, and a run is freed only if it lies below the
//! cursor and overlaps nothing that is free.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result, internal};
use crate::format::group_layout::GroupLayout;
use crate::format::units::{BlockCount, BlockIndex, Run};

/// The blocks of an image that are in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allocator {
    layout: GroupLayout,
    /// Nothing at or behind it is allocated.
    cursor: BlockIndex,
    /// The end of an image of fixed size.
    limit: Option<BlockIndex>,
    /// The blocks before the limit that contents are to leave for the filesystem itself.
    reserved: BlockCount,
    free_by_start: BTreeMap<BlockIndex, BlockCount>,
    free_by_length: BTreeSet<(BlockCount, BlockIndex)>,
    free: BlockCount,
    /// Free blocks before aligned files, which are allocated only when nothing else is left.
    gaps: Vec<Run>,
    /// Former gaps, which are now as free as other blocks.
    spent_gaps: Vec<Run>,
    allocated: BlockCount,
}

/// Where the cursor stood, and which gaps there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    cursor: BlockIndex,
    gaps: usize,
    spent_gaps: usize,
}

impl Allocator {
    /// All blocks but those that groups keep are free, up to `limit`.
    pub(crate) fn new(layout: GroupLayout, limit: Option<BlockIndex>) -> Self {
        Self {
            cursor: layout.behind_kept(layout.first()),
            layout,
            limit,
            reserved: BlockCount::ZERO,
            free_by_start: BTreeMap::new(),
            free_by_length: BTreeSet::new(),
            free: BlockCount::ZERO,
            gaps: Vec::new(),
            spent_gaps: Vec::new(),
            allocated: BlockCount::ZERO,
        }
    }

    /// Moves the cursor to the next multiple of `unit`, if that leaves room, and keeps what is
    /// before it free.
    pub(crate) fn align(&mut self, unit: BlockCount) {
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

    /// Restores cursor and gaps, when all that was allocated since then has been freed.
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
            return Err(internal("what was allocated for a failed file is free again"));
        }
        self.skip_to(position.cursor);
        for gap in &gaps {
            self.carve(*gap)?;
        }
        self.gaps = gaps;
        Ok(())
    }

    /// Removes a run from the free ones.
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

    /// The blocks in the gaps before aligned files.
    pub(crate) fn gaps(&self) -> BlockCount {
        self.gaps.iter().map(|run| run.length).sum()
    }

    /// The same up to another limit.
    pub(crate) fn within(self, limit: BlockIndex) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Shortens the backups to what they need; the rest is free.
    pub(crate) fn trim_backups(&mut self, backup_size: BlockCount) -> Result<()> {
        let old = self.layout.backup_size();
        self.layout = self.layout.clone().trimmed(backup_size);
        if backup_size >= old {
            return Ok(());
        }
        let starts = self.layout.backups().iter().map(|group| self.layout.group_start(*group));
        let passed = starts.take_while(|start| *start < self.cursor);
        let behind = passed.map(|start| start + backup_size + self.layout.local());
        for start in behind.collect::<Vec<_>>() {
            self.insert_free(Run::new(start, old - backup_size))?;
        }
        self.lower_cursor();
        Ok(())
    }

    /// Keeps the last blocks of an image of fixed size from contents.
    pub(crate) fn reserve(&mut self, count: BlockCount) {
        self.reserved = count;
    }

    /// What the groups keep for themselves.
    pub(crate) fn layout(&self) -> &GroupLayout {
        &self.layout
    }

    /// The block behind the last one that is allocated.
    pub(crate) fn end(&self) -> BlockIndex {
        self.cursor
    }

    /// The blocks that are allocated, without those that groups keep.
    pub(crate) fn allocated(&self) -> BlockCount {
        self.allocated
    }

    /// The free runs below [`end`](Self::end), ascending.
    pub(crate) fn free_runs(&self) -> impl Iterator<Item = Run> {
        let free = self.free_by_start.iter().map(|(start, length)| Run::new(*start, *length));
        let mut runs: Vec<Run> = free.chain(self.gaps.iter().copied()).collect();
        runs.sort_unstable();
        runs.into_iter()
    }

    /// Allocates exactly `count` blocks in as few runs as there are: a freed one that is long
    /// enough, else at the cursor, else, in a full image, whatever was freed.
    pub(crate) fn allocate(&mut self, count: BlockCount) -> Result<Vec<Run>> {
        if count == BlockCount::ZERO {
            return Ok(Vec::new());
        }
        if let Some(run) = self.allocate_freed(count) {
            return Ok(vec![run]);
        }
        if self.ahead() >= count {
            return self.allocate_ahead(count);
        }
        self.allocate_scattered(count)
    }

    /// Allocates `count` consecutive blocks.
    pub(crate) fn allocate_contiguous(&mut self, count: BlockCount) -> Result<Run> {
        match self.allocate_freed(count) {
            Some(run) => Ok(run),
            None => self.allocate_contiguous_ahead(count),
        }
    }

    /// Allocates `count` consecutive blocks at the cursor or behind it.
    pub(crate) fn allocate_contiguous_ahead(&mut self, count: BlockCount) -> Result<Run> {
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

    /// Frees a run.
    pub(crate) fn free(&mut self, run: Run) -> Result<()> {
        if run.end() > self.cursor {
            return Err(internal("a run that is freed was allocated"));
        }
        self.allocated = match self.allocated.get().checked_sub(run.length.get()) {
            Some(left) => BlockCount::new(left),
            None => return Err(internal("no more blocks are freed than were allocated")),
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
                return Err(internal("a block is freed once"));
            }
            if end == run.start {
                merged = Run::new(start, length + run.length);
                self.remove_free(Run::new(start, length));
            }
        }
        let after = self.free_by_start.range(run.start..).next();
        if let Some((&start, &length)) = after {
            if start < run.end() {
                return Err(internal("a block is freed once"));
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

    /// The head of the smallest freed run of at least `count` blocks.
    fn allocate_freed(&mut self, count: BlockCount) -> Option<Run> {
        let smallest = (count, BlockIndex::new(0));
        let &(length, start) = self.free_by_length.range(smallest..).next()?;
        Some(self.allocate_head(Run::new(start, length), count))
    }

    /// Allocates the first `count` blocks of a free run.
    fn allocate_head(&mut self, run: Run, count: BlockCount) -> Run {
        self.remove_free(run);
        let rest = Run::new(run.start + count, run.length - count);
        if rest.length > BlockCount::ZERO {
            self.free_by_start.insert(rest.start, rest.length);
            self.free_by_length.insert((rest.length, rest.start));
            self.free += rest.length;
        }
        self.allocated += count;
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
        free.beyond(self.reserved)
    }

    /// Allocates blocks at the cursor, around what groups keep.
    pub(crate) fn allocate_ahead(&mut self, count: BlockCount) -> Result<Vec<Run>> {
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

    /// Allocates blocks wherever there are any, the longest runs first.
    fn allocate_scattered(&mut self, count: BlockCount) -> Result<Vec<Run>> {
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
            let run = self.allocate_head(Run::new(start, length), left.min(length));
            left -= run.length;
            runs.push(run);
        }
        if ahead > BlockCount::ZERO {
            runs.extend(self.allocate_ahead(ahead.min(count))?);
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
        self.allocated += count;
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

    fn allocator(limit: Option<u64>) -> Allocator {
        let backups = crate::format::backups::sparse_groups();
        let layout = GroupLayout::new(BlockIndex::new(0), count(100), count(10), backups);
        Allocator::new(layout, limit.map(BlockIndex::new))
    }

    fn run(start: u64, length: u64) -> Run {
        Run::new(BlockIndex::new(start), BlockCount::new(length))
    }

    fn count(number: u64) -> BlockCount {
        BlockCount::new(number)
    }

    #[test]
    fn backups_are_in_the_groups_of_sparse_super() {
        let layout = allocator(None).layout;
        let groups: Vec<u64> = layout.backups_below(244).collect();
        assert_eq!(groups, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 243]);
    }

    #[test]
    fn content_flows_around_what_every_group_keeps() {
        let backups = vec![0, 1];
        let layout = GroupLayout::new(BlockIndex::new(1), count(100), count(10), backups);
        let mut allocator = Allocator::new(layout.with_local(count(5)), None);
        let runs = allocator.allocate(count(265)).unwrap();
        assert_eq!(runs, [run(16, 85), run(116, 85), run(206, 95)]);
        assert_eq!(allocator.layout.kept_below(BlockIndex::new(1)), count(0));
        assert_eq!(allocator.layout.kept_below(BlockIndex::new(202)), count(35));
    }

    #[test]
    fn content_flows_around_the_backups() {
        let mut allocator = allocator(None);
        assert_eq!(allocator.allocate(count(85)).unwrap(), [run(10, 85)]);
        // The rest of group 0, all of group 1 behind its backup, group 2, group 3 behind its own.
        let runs = allocator.allocate(count(200)).unwrap();
        assert_eq!(runs, [run(95, 5), run(110, 190), run(310, 5)]);
    }

    #[test]
    fn a_contiguous_run_leaves_its_gap_to_others() {
        let mut allocator = allocator(None);
        allocator.allocate(count(80)).unwrap();
        assert_eq!(allocator.allocate_contiguous(count(50)).unwrap(), run(110, 50));
        assert_eq!(allocator.allocate(count(7)).unwrap(), [run(90, 7)]);
        assert_eq!(allocator.free_runs().collect::<Vec<_>>(), [run(97, 3)]);
    }

    #[test]
    fn returned_blocks_are_used_again_best_fit_first() {
        let mut allocator = allocator(Some(100));
        allocator.allocate(count(90)).unwrap();
        allocator.free(run(20, 5)).unwrap();
        allocator.free(run(40, 3)).unwrap();
        assert_eq!(allocator.allocate(count(3)).unwrap(), [run(40, 3)]);
        allocator.free(run(60, 4)).unwrap();
        assert_eq!(allocator.allocate(count(7)).unwrap(), [run(20, 5), run(60, 2)]);
        assert!(matches!(
            allocator.allocate(count(3)),
            Err(Error::ImageFull { needed: 3, available: 2 })
        ));
        assert_eq!(allocator.allocate(count(2)).unwrap(), [run(62, 2)]);
    }

    #[test]
    fn the_cursor_falls_back_when_the_last_blocks_come_back() {
        let mut allocator = allocator(None);
        allocator.allocate(count(50)).unwrap();
        for run in allocator.allocate(count(400)).unwrap() {
            allocator.free(run).unwrap();
        }
        assert_eq!(allocator.end(), BlockIndex::new(60));
        assert_eq!(allocator.free_runs().count(), 0);
        assert_eq!(allocator.allocate(count(1)).unwrap(), [run(60, 1)]);
    }

    #[test]
    fn a_block_cannot_come_back_twice_or_before_it_was_taken() {
        let mut allocator = allocator(None);
        allocator.allocate(count(50)).unwrap();
        allocator.free(run(30, 10)).unwrap();
        assert!(allocator.free(run(35, 1)).is_err());
        assert!(allocator.free(run(25, 6)).is_err());
        assert!(allocator.free(run(59, 2)).is_err());
        allocator.free(run(40, 2)).unwrap();
        allocator.free(run(28, 2)).unwrap();
        assert_eq!(allocator.free_runs().collect::<Vec<_>>(), [run(28, 14)]);
    }
}
