//! Which blocks and inodes of a group are in use, as counts and as bitmaps.

use crate::error::{Error, Result, internal};
use crate::format::group_layout::GroupLayout;
use crate::format::units::{BlockCount, BlockIndex, InodeNumber, Run, index, length};
use crate::record::low32;

/// The blocks of the filesystem, seen group by group.
#[derive(Debug)]
pub(crate) struct BlockMap {
    /// What the groups keep for themselves.
    pub layout: GroupLayout,
    /// The free runs before `end_of_use`, ascending.
    pub free: Vec<Run>,
    /// The block behind the last one in use.
    pub end_of_use: BlockIndex,
    /// The block behind the last one of the filesystem.
    pub end: BlockIndex,
    pub groups: u32,
    /// The bytes of a bitmap.
    pub bitmap_size: usize,
}

impl BlockMap {
    /// The blocks of a group that are free.
    pub(crate) fn free_in(&self, group: u32) -> BlockCount {
        self.free_runs(group).map(|run| run.length).sum()
    }

    /// Whether the kernel can work the group's bitmap out by itself: nothing is in it but what it
    /// keeps, and it is not the last group, whose length only the bitmap shows.
    pub(crate) fn is_untouched(&self, group: u32) -> bool {
        let number = u64::from(group);
        let start = self.layout.group_start(number);
        group + 1 < self.groups
            && start >= self.layout.group_start(1)
            && (start >= self.end_of_use
                || self.free_in(group) == self.end_of_group(number) - start - self.kept(number))
    }

    /// The group's bitmap: ones for blocks in use and for those behind the filesystem's end.
    pub(crate) fn render(&self, group: u32) -> Result<Vec<u8>> {
        let start = self.layout.group_start(u64::from(group));
        let mut bitmap = vec![u8::MAX; self.bitmap_size];
        for run in self.free_runs(group) {
            clear(&mut bitmap, (run.start - start).get(), (run.end() - start).get())?;
        }
        Ok(bitmap)
    }

    /// The part of a bitmap that describes blocks, and is summed.
    pub(crate) fn covered<'a>(&self, bitmap: &'a [u8]) -> Result<&'a [u8]> {
        let full_group = self.layout.group_start(1) - self.layout.group_start(0);
        bitmap.get(..length(full_group.get() / 8)?).ok_or(BITS_ARE_INSIDE)
    }

    fn kept(&self, group: u64) -> BlockCount {
        self.layout.kept_in(group)
    }

    fn end_of_group(&self, group: u64) -> BlockIndex {
        self.layout.group_start(group + 1).min(self.end)
    }

    /// The free runs inside a group.
    fn free_runs(&self, group: u32) -> impl Iterator<Item = Run> {
        let group = u64::from(group);
        let (start, end) = (self.layout.group_start(group), self.end_of_group(group));
        let first = self.free.partition_point(|run| run.end() <= start);
        let inside = self.free.iter().skip(first).take_while(move |run| run.start < end);
        let inside = inside.map(move |run| {
            let from = run.start.max(start);
            Run::new(from, run.end().min(end) - from)
        });
        let unused = self.end_of_use.max(start + self.kept(group));
        let behind = (unused < end).then(|| Run::new(unused, end - unused));
        inside.chain(behind)
    }
}

/// The inodes of the filesystem, seen group by group: those in use are the first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InodeMap {
    /// The last inode in use.
    pub last: InodeNumber,
    pub per_group: u32,
    /// The bytes of a bitmap.
    pub bitmap_size: usize,
}

impl InodeMap {
    /// The inodes of a group that are in use.
    pub(crate) fn used_in(&self, group: u32) -> u32 {
        let before = u64::from(group) * u64::from(self.per_group);
        match u64::from(self.last.get()).checked_sub(before) {
            None => 0,
            Some(behind) if behind >= u64::from(self.per_group) => self.per_group,
            Some(behind) => low32(behind),
        }
    }

    /// The inodes of a group that are not.
    pub(crate) fn free_in(&self, group: u32) -> u32 {
        self.per_group - self.used_in(group)
    }

    /// The group's bitmap: ones for inodes in use and for the bits that stand for nothing.
    pub(crate) fn render(&self, group: u32) -> Result<Vec<u8>> {
        let mut bitmap = vec![u8::MAX; self.bitmap_size];
        clear(&mut bitmap, u64::from(self.used_in(group)), u64::from(self.per_group))?;
        Ok(bitmap)
    }

    /// The part of a bitmap that describes inodes, and is summed.
    pub(crate) fn covered<'a>(&self, bitmap: &'a [u8]) -> Result<&'a [u8]> {
        bitmap.get(..index(self.per_group / 8)).ok_or(BITS_ARE_INSIDE)
    }
}

const BITS_ARE_INSIDE: Error = internal("the bits of a group are in its bitmap");

/// Clears the bits from `start` up to `end`.
fn clear(bitmap: &mut [u8], start: u64, end: u64) -> Result<()> {
    if start == end {
        return Ok(());
    }
    // The bits of the first byte that stay, and those of the last.
    let below = !(u8::MAX << (start % 8));
    let above = !(u8::MAX >> (7 - (end - 1) % 8));
    let (first, last) = (length(start / 8)?, length((end - 1) / 8)?);
    match bitmap.get_mut(first..=last).ok_or(BITS_ARE_INSIDE)? {
        [only] => *only &= below | above,
        [partly, whole @ .., end] => {
            *partly &= below;
            whole.fill(0);
            *end &= above;
        }
        [] => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clearing_bits_leaves_their_neighbours() {
        for (start, end) in [(0, 32), (0, 8), (3, 5), (3, 8), (5, 19), (7, 8), (8, 8), (31, 32)] {
            let mut bitmap = [u8::MAX; 4];
            clear(&mut bitmap, start, end).unwrap();
            for bit in 0..32u64 {
                let byte = bitmap[usize::try_from(bit / 8).unwrap()];
                let is_set = byte >> (bit % 8) & 1 == 1;
                assert_eq!(is_set, !(start..end).contains(&bit), "{start}..{end}: {bit}");
            }
        }
    }
}
