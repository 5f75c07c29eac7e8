//! The groups: their descriptors and bitmaps, read once, changed in memory, and sealed at the end.

use std::mem::offset_of;

use zerocopy::little_endian::U16;
use zerocopy::{FromZeros, IntoBytes};

use crate::edit::device::Device;
use crate::edit::error::EditResult;
use crate::edit::filesystem::Filesystem;
use crate::edit::group::Group;
use crate::error::internal;
use crate::format::checksum::{FsSeed, unsummed};
use crate::format::units::length;
use crate::reader::{Part, ReadError, groups, space};
use crate::record::feature::Feature;
use crate::record::group::GroupDescriptor;

/// The bytes of bitmaps of groups without changes that are kept.
const KEPT: usize = 4 << 20;

impl<D: Device> Filesystem<D> {
    /// Whether descriptors have flags and sums.
    pub(crate) fn has_group_sums(&self) -> bool {
        self.layout.seed.is_enabled() || self.has(Feature::UNINIT_BG)
    }

    /// A group by its number.
    pub(crate) fn group(&mut self, number: u32) -> EditResult<&mut Group> {
        if !self.groups.contains_key(&number) {
            self.drop_unchanged();
            let group = self.read_group(number)?;
            self.groups.insert(number, group);
        }
        Ok(self.groups.get_mut(&number).ok_or(internal("a group that was put is there"))?)
    }

    fn read_group(&self, number: u32) -> EditResult<Group> {
        let device = self.blocks();
        let found = groups::read(&device, &self.layout, number)?;
        let mut bytes = vec![0; self.layout.descriptor_len];
        device.read(self.layout.descriptor_offset(number), &mut bytes)?;
        let mut record = GroupDescriptor::new_zeroed();
        for (byte, from) in record.as_mut_bytes().iter_mut().zip(&bytes) {
            *byte = *from;
        }
        if !self.has_group_sums() {
            record.flags = U16::ZERO;
        }
        let places = [found.block_bitmap, found.inode_bitmap, found.inode_table];
        Ok(Group::new(number, record, places))
    }

    /// Forgets bitmaps that were only looked at, when they are many.
    fn drop_unchanged(&mut self) {
        if self.groups.len() * 2 * self.layout.block.len() > KEPT {
            self.groups.retain(|_, group| group.is_changed());
        }
    }

    /// A group with its block bitmap, which agrees with its count.
    pub(crate) fn with_blocks(&mut self, number: u32) -> EditResult<&mut Group> {
        if self.group(number)?.blocks.is_none() {
            let device = self.blocks();
            let found = groups::read(&device, &self.layout, number)?;
            let mut bytes = space::blocks(&device, &self.layout, &found)?.into_bytes();
            let length = self.layout.clusters_in(number);
            pad(&mut bytes, length);
            let free = count_clear(&bytes);
            let group = self.group(number)?;
            if free != u64::from(group.free_blocks()) {
                return Err(miscounted(number, "blocks", group.free_blocks(), free).into());
            }
            group.blocks = Some(bytes);
        }
        self.group(number)
    }

    /// A group with its inode bitmap, which agrees with its count.
    pub(crate) fn with_inodes(&mut self, number: u32) -> EditResult<&mut Group> {
        if self.group(number)?.inodes.is_none() {
            let device = self.blocks();
            let found = groups::read(&device, &self.layout, number)?;
            let mut bytes = space::inodes(&device, &self.layout, &found)?.into_bytes();
            pad(&mut bytes, self.layout.inodes_per_group.into());
            let free = count_clear(&bytes);
            let group = self.group(number)?;
            if free != u64::from(group.free_inodes()) {
                return Err(miscounted(number, "inodes", group.free_inodes(), free).into());
            }
            group.inodes = Some(bytes);
        }
        self.group(number)
    }

    /// Puts the changed bitmaps and descriptors into the overlay, with their sums.
    pub(crate) fn seal_groups(&mut self) -> EditResult<()> {
        let groups = std::mem::take(&mut self.groups);
        for group in groups.into_values().filter(Group::is_changed) {
            self.seal_group(group)?;
        }
        Ok(())
    }

    pub(crate) fn seal_group(&mut self, mut group: Group) -> EditResult<()> {
        if let Some(bytes) = group.blocks.take().filter(|_| group.blocks_changed) {
            let bits = self.layout.clusters_per_group;
            group.set_block_bitmap_sum(bitmap_sum(self.layout.seed, &bytes, bits)?);
            self.put(group.block_bitmap, &unsummed(bytes))?;
        }
        if let Some(bytes) = group.inodes.take().filter(|_| group.inodes_changed) {
            let bits = self.layout.inodes_per_group.into();
            group.set_inode_bitmap_sum(bitmap_sum(self.layout.seed, &bytes, bits)?);
            self.put(group.inode_bitmap, &unsummed(bytes))?;
        }
        let offset = self.layout.descriptor_offset(group.number);
        let mut bytes = vec![0; self.layout.descriptor_len];
        self.blocks().read(offset, &mut bytes)?;
        for (byte, from) in bytes.iter_mut().zip(group.record.as_bytes()) {
            *byte = *from;
        }
        if let Some(sum) = self.layout.descriptor_sum(group.number, &bytes) {
            let place = offset_of!(GroupDescriptor, checksum);
            let field = bytes.get_mut(place..place + size_of::<U16>());
            field.ok_or(internal("a descriptor has a sum"))?.copy_from_slice(&sum.to_le_bytes());
        }
        self.patch(offset, &bytes)
    }

    /// Goes through all descriptors once: counts what is free, and gathers what no file may have.
    pub(crate) fn survey(&mut self) -> EditResult<()> {
        let table = groups::table_blocks(&self.layout);
        for number in 0..self.layout.groups {
            let group = groups::read(&self.blocks(), &self.layout, number)?;
            self.free_blocks = self.free_blocks.saturating_add(group.free_clusters.into());
            self.free_inodes = self.free_inodes.saturating_add(group.free_inodes.into());
            let start = group.first_block;
            let own = [
                (start, self.layout.base_blocks(number)),
                (group.block_bitmap, 1),
                (group.inode_bitmap, 1),
                (group.inode_table, table),
            ];
            for (start, length) in own {
                self.system.add(start, start.saturating_add(length));
            }
        }
        Ok(())
    }
}

/// The sum of the bits of a group in a bitmap.
pub(crate) fn bitmap_sum(seed: FsSeed, bytes: &[u8], bits: u64) -> EditResult<u32> {
    let covered = bytes.get(..length(bits / 8)?);
    Ok(seed.bitmap(covered.ok_or(internal("the bits of a group are in its bitmap"))?))
}

/// Sets the bits behind the last that describes something.
pub(crate) fn pad(bytes: &mut [u8], length: u64) {
    for (place, byte) in (0u64..).step_by(8).zip(bytes.iter_mut()) {
        let inside = length.saturating_sub(place).min(8);
        // All eight bits are the group's, or so many of them.
        *byte |= if inside < 8 { u8::MAX << inside } else { 0 };
    }
}

fn count_clear(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |clear, byte| clear + u64::from(byte.count_zeros()))
}

fn miscounted(group: u32, what: &str, counted: u32, free: u64) -> ReadError {
    let detail = format!("it counts {counted} free {what}, its bitmap {free}; run e2fsck");
    ReadError::corrupt(Part::Group(group), detail)
}

/// Whether the bit at `place` is set; bits behind the bitmap are.
pub(crate) fn is_set(bytes: &[u8], place: u64) -> bool {
    let byte = usize::try_from(place / 8).ok().and_then(|byte| bytes.get(byte));
    byte.is_none_or(|byte| byte >> (place % 8) & 1 == 1)
}

/// Sets or clears the bit at `place`.
pub(crate) fn set_bit(bytes: &mut [u8], place: u64, to: bool) -> EditResult<()> {
    let byte = usize::try_from(place / 8).ok().and_then(|byte| bytes.get_mut(byte));
    let byte = byte.ok_or(internal("a bit is within its bitmap"))?;
    let bit = 1 << (place % 8);
    *byte = if to { *byte | bit } else { *byte & !bit };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_behind_a_short_group_are_set() {
        let mut bytes = [0; 4];
        pad(&mut bytes, 11);
        assert_eq!(bytes, [0, 0b1111_1000, 0xff, 0xff]);
        assert_eq!(count_clear(&bytes), 11);
        assert!(!is_set(&bytes, 10) && is_set(&bytes, 11) && is_set(&bytes, 99));
    }
}
