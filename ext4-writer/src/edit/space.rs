//! Blocks and inodes: taken near where they belong, and given back when the edit is done.

use crate::edit::device::Device;
use crate::edit::error::EditResult;
use crate::edit::filesystem::Filesystem;
use crate::edit::groups::{is_set, set_bit};
use crate::error::{Error, internal};
use crate::format::units::{BlockCount, BlockIndex, Run, widen};
use crate::reader::{Part, ReadError};
use crate::record::group::Flags;

/// How long a run has to be that is taken although more is wanted.
const LONG: u64 = 2048;
/// How many groups are looked through for a long run before any run does.
const NEAR: u32 = 16;

impl<D: Device> Filesystem<D> {
    /// Takes blocks, near `goal` and together where that can be.
    pub(crate) fn take_blocks(&mut self, count: u64, goal: u64) -> EditResult<Vec<Run>> {
        if count > self.free_blocks {
            let available = self.free_blocks;
            return Err(Error::ImageFull { needed: count, available }.into());
        }
        let (mut runs, mut left, mut goal) = (Vec::new(), count, goal);
        while left > 0 {
            let (start, length) = self.find_run(goal, left)?;
            self.mark_run(start, length)?;
            runs.push(Run::new(BlockIndex::new(start), BlockCount::new(length)));
            (left, goal) = (left - length, start + length);
        }
        Ok(runs)
    }

    /// Takes one block near `goal`.
    pub(crate) fn take_block(&mut self, goal: u64) -> EditResult<u64> {
        let runs = self.take_blocks(1, goal)?;
        Ok(runs.first().ok_or(internal("one block was taken"))?.start.get())
    }

    /// A free run of at most `wanted` blocks.
    fn find_run(&mut self, goal: u64, wanted: u64) -> EditResult<(u64, u64)> {
        let (first, groups) = (self.group_of(goal), self.layout.groups);
        let enough = wanted.min(LONG);
        for distance in 0..groups.min(NEAR) {
            let group = (first + distance) % groups;
            if u64::from(self.group(group)?.free_blocks()) < enough {
                continue;
            }
            if let Some(run) = self.run_in(group, goal, (enough, wanted))? {
                return Ok(run);
            }
        }
        for distance in 0..groups {
            let group = (first + distance) % groups;
            if self.group(group)?.free_blocks() == 0 {
                continue;
            }
            if let Some(run) = self.run_in(group, goal, (1, wanted))? {
                return Ok(run);
            }
        }
        // What is free otherwise was used before this edit.
        Err(Error::ImageFull { needed: wanted, available: 0 }.into())
    }

    /// A run of at least `least` and at most `most` free blocks of a group: the first behind
    /// `goal`, else the first of all.
    fn run_in(
        &mut self,
        group: u32,
        goal: u64,
        (least, most): (u64, u64),
    ) -> EditResult<Option<(u64, u64)>> {
        let start = self.group_start(group);
        let length = self.layout.clusters_in(group);
        let bitmap = self.with_blocks(group)?.blocks.as_deref().ok_or(BITMAP_IS_READ)?;
        let from = goal.saturating_sub(start);
        let from = if goal < start || from >= length { 0 } else { from };
        let found = first_clear(bitmap, from..length, (least, most))
            .or_else(|| first_clear(bitmap, 0..length, (least, most)));
        Ok(found.map(|(place, length)| (start + place, length)))
    }

    fn mark_run(&mut self, start: u64, length: u64) -> EditResult<()> {
        let number = self.group_of(start);
        let first = start - self.group_start(number);
        let group = self.with_blocks(number)?;
        let bitmap = group.blocks.as_mut().ok_or(BITMAP_IS_HERE)?;
        for place in first..first + length {
            set_bit(bitmap, place, true)?;
        }
        let taken = u32::try_from(length).map_err(|_| COUNTS_AGREE)?;
        let left = group.free_blocks().checked_sub(taken).ok_or(COUNTS_AGREE)?;
        group.set_free_blocks(left);
        group.clear_flag(Flags::BLOCK_UNINIT);
        group.blocks_changed = true;
        self.free_blocks = self.free_blocks.checked_sub(length).ok_or(COUNTS_AGREE)?;
        self.fresh.add(start, start + length);
        self.is_changed = true;
        Ok(())
    }

    /// Gives blocks back; they stay as they are until the edit is done. `part` had them.
    pub(crate) fn give_back(&mut self, start: u64, length: u64, part: Part) -> EditResult<()> {
        let end = start.checked_add(length).filter(|end| *end <= self.layout.blocks);
        let is_own = end.is_some_and(|end| {
            start >= self.layout.first_data_block && !self.system.touches(start, end)
        });
        let Some(end) = end.filter(|_| is_own) else {
            let detail = format!("it has {length} blocks from block {start} on, of the filesystem");
            return Err(ReadError::corrupt(part, detail).into());
        };
        if self.freed.touches(start, end) {
            let detail = format!("its block {start}, or one of {length} behind, is of two files");
            return Err(ReadError::corrupt(part, detail).into());
        }
        for block in start..end {
            self.overlay.forget(block);
        }
        self.freed.add(start, end);
        self.is_changed = true;
        Ok(())
    }

    /// Takes an inode, in this group or one behind it.
    pub(crate) fn take_inode(&mut self, near: u32, is_directory: bool) -> EditResult<u32> {
        let groups = self.layout.groups;
        for distance in 0..groups {
            let number = (near + distance) % groups;
            if self.group(number)?.free_inodes() == 0 {
                continue;
            }
            if let Some(slot) = self.free_slot(number)? {
                return self.mark_inode(number, slot, is_directory);
            }
        }
        Err(Error::TooFewInodes { needed: 1, available: 0 }.into())
    }

    fn free_slot(&mut self, number: u32) -> EditResult<Option<u32>> {
        let reserved = match number {
            0 => self.first_inode().saturating_sub(1),
            _ => 0,
        };
        let slots = self.layout.inodes_per_group;
        let bitmap = self.with_inodes(number)?.inodes.as_deref().ok_or(BITMAP_IS_READ)?;
        let found = first_clear(bitmap, reserved.into()..slots.into(), (1, 1));
        Ok(found.and_then(|(slot, _)| u32::try_from(slot).ok()))
    }

    fn mark_inode(&mut self, number: u32, slot: u32, is_directory: bool) -> EditResult<u32> {
        let per_group = self.layout.inodes_per_group;
        let has_sums = self.has_group_sums();
        let group = self.with_inodes(number)?;
        set_bit(group.inodes.as_mut().ok_or(BITMAP_IS_HERE)?, slot.into(), true)?;
        group.inodes_changed = true;
        group.set_free_inodes(group.free_inodes().checked_sub(1).ok_or(COUNTS_AGREE)?);
        if is_directory {
            group.set_directories(group.directories() + 1);
        }
        let mut used = per_group;
        if has_sums {
            used = if group.flags().contains(Flags::INODE_UNINIT) {
                0
            } else {
                per_group.saturating_sub(group.unused_inodes())
            };
            group.clear_flag(Flags::INODE_UNINIT);
            group.set_unused_inodes(per_group - used.max(slot + 1));
        }
        let is_unwritten = group.flags().contains(Flags::BLOCK_UNINIT);
        if is_unwritten {
            // A group with an inode has a block bitmap (kernel: fs/ext4/ialloc.c,
            // __ext4_new_inode).
            let group = self.with_blocks(number)?;
            group.clear_flag(Flags::BLOCK_UNINIT);
            group.blocks_changed = true;
        }
        self.free_inodes = self.free_inodes.checked_sub(1).ok_or(COUNTS_AGREE)?;
        self.is_changed = true;
        self.clear_table_block(number, slot, used)?;
        let before = u64::from(number) * u64::from(per_group) + u64::from(slot);
        Ok(u32::try_from(before + 1).map_err(|_| COUNTS_AGREE)?)
    }

    /// Zeros the block of an inode table that none of the inodes in use is in: it may hold anything.
    fn clear_table_block(&mut self, number: u32, slot: u32, used: u32) -> EditResult<()> {
        let per_block = self.layout.block.bytes() / widen(self.layout.inode_len);
        let block = u64::from(slot) / per_block;
        if block * per_block < u64::from(used) {
            return Ok(());
        }
        let at = self.group(number)?.inode_table + block;
        let zeros = vec![0; self.layout.block.len()];
        self.put(at, &crate::format::checksum::unsummed(zeros))
    }

    /// Gives an inode back.
    pub(crate) fn give_back_inode(&mut self, inode: u32, is_directory: bool) -> EditResult<()> {
        if inode < self.first_inode() || self.freed_inodes.insert(inode, is_directory).is_some() {
            let detail = "it cannot be removed: it is the filesystem's own, or removed already";
            return Err(ReadError::corrupt(Part::Inode(inode), detail).into());
        }
        self.is_changed = true;
        Ok(())
    }

    /// Clears the bits of what was given back.
    pub(crate) fn release(&mut self) -> EditResult<()> {
        let freed = std::mem::take(&mut self.freed);
        for (start, end) in freed.iter() {
            let mut at = start;
            while at < end {
                let number = self.group_of(at);
                let behind = self.group_start(number) + self.layout.blocks_per_group;
                let until = end.min(behind);
                self.release_blocks(number, at, until)?;
                at = until;
            }
        }
        self.freed = freed;
        for (inode, is_directory) in self.freed_inodes.clone() {
            self.release_inode(inode, is_directory)?;
        }
        Ok(())
    }

    fn release_blocks(&mut self, number: u32, start: u64, end: u64) -> EditResult<()> {
        let first = start - self.group_start(number);
        let group = self.with_blocks(number)?;
        let bitmap = group.blocks.as_mut().ok_or(BITMAP_IS_HERE)?;
        for place in first..first + (end - start) {
            if !is_set(bitmap, place) {
                let detail = "a block of a file is free in it; run e2fsck";
                return Err(ReadError::corrupt(Part::BlockBitmap(number), detail).into());
            }
            set_bit(bitmap, place, false)?;
        }
        let count = u32::try_from(end - start).map_err(|_| COUNTS_AGREE)?;
        group.set_free_blocks(group.free_blocks() + count);
        group.blocks_changed = true;
        self.free_blocks += end - start;
        Ok(())
    }

    fn release_inode(&mut self, inode: u32, is_directory: bool) -> EditResult<()> {
        let number = self.group_of_inode(inode);
        let slot = (inode - 1) % self.layout.inodes_per_group;
        let group = self.with_inodes(number)?;
        let wrong = |detail: &str| ReadError::corrupt(Part::InodeBitmap(number), detail);
        let bitmap = group.inodes.as_mut().ok_or(BITMAP_IS_HERE)?;
        if !is_set(bitmap, slot.into()) {
            return Err(wrong("an inode in use is free in it; run e2fsck").into());
        }
        set_bit(bitmap, slot.into(), false)?;
        group.inodes_changed = true;
        group.set_free_inodes(group.free_inodes() + 1);
        if is_directory {
            let left = group.directories().checked_sub(1);
            let left = left.ok_or_else(|| wrong("its group counts too few directories"))?;
            group.set_directories(left);
        }
        self.free_inodes += 1;
        Ok(())
    }
}

const BITMAP_IS_HERE: Error = internal("the bitmap was read");
const COUNTS_AGREE: Error = internal("the counts agree with the bitmaps");

/// The first run of clear bits in `places` that is long enough, at most `most` long.
fn first_clear(
    bytes: &[u8],
    places: std::ops::Range<u64>,
    (least, most): (u64, u64),
) -> Option<(u64, u64)> {
    let mut place = places.start;
    while place < places.end {
        let byte = usize::try_from(place / 8).ok().and_then(|byte| bytes.get(byte));
        if place.is_multiple_of(8) && byte == Some(&0xff) {
            place += 8;
            continue;
        }
        if is_set(bytes, place) {
            place += 1;
            continue;
        }
        // No farther than is wanted: most of a group may be free.
        let limit = places.end.min(place.saturating_add(most));
        let end = (place..limit).find(|place| is_set(bytes, *place)).unwrap_or(limit);
        if end - place >= least {
            return Some((place, end - place));
        }
        place = end;
    }
    None
}

const BITMAP_IS_READ: Error = internal("the bitmap of a group is read before it is looked at");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_the_first_that_is_long_enough() {
        let bytes = [0b1111_0111, 0xff, 0b1000_0000, 0];
        assert_eq!(first_clear(&bytes, 0..32, (1, 9)), Some((3, 1)));
        assert_eq!(first_clear(&bytes, 0..32, (2, 3)), Some((16, 3)));
        assert_eq!(first_clear(&bytes, 0..32, (8, 64)), Some((24, 8)));
        assert_eq!(first_clear(&bytes, 0..24, (8, 64)), None);
        assert_eq!(first_clear(&bytes, 25..32, (1, 64)), Some((25, 7)));
    }
}
