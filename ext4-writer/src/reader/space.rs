//! What is free: the bitmaps, checked, and the runs of free clusters in them.
//!
//! Source: kernel, `fs/ext4/balloc.c`, `ext4_init_block_bitmap`; `fs/ext4/bitmap.c`.

use crate::reader::device::Device;
use crate::reader::error::{Part, ReadError, ReadResult};
use crate::reader::features::Feature;
use crate::reader::groups::{self, Group, GroupFlags, table_blocks};
use crate::reader::layout::Layout;
use crate::reader::source::Source;

/// A run of free blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeRun {
    /// The first block.
    pub block: u64,
    /// How many blocks.
    pub length: u64,
}

/// The descriptors whose bitmaps have 32 bits of checksum: `EXT4_BG_BLOCK_BITMAP_CSUM_HI_END`.
const WHOLE_SUMS: usize = 64;

/// A bitmap of a group.
pub(crate) struct Bitmap {
    bytes: Vec<u8>,
    length: u64,
}

impl Bitmap {
    fn is_set(&self, place: u64) -> bool {
        let byte = usize::try_from(place / 8).ok().and_then(|byte| self.bytes.get(byte));
        byte.is_none_or(|byte| byte >> (place % 8) & 1 == 1)
    }

    fn set(&mut self, place: u64) {
        let byte = usize::try_from(place / 8).ok().and_then(|byte| self.bytes.get_mut(byte));
        if let Some(byte) = byte {
            *byte |= 1 << (place % 8);
        }
    }

    /// The bytes, of which those behind the group are not told.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// How many bits are clear.
    pub(crate) fn free(&self) -> u64 {
        (0..self.length).fold(0, |free, place| free.saturating_add(u64::from(!self.is_set(place))))
    }

    /// The runs of clear bits: where they begin, and how long they are.
    fn runs(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for place in (0..self.length).filter(|place| !self.is_set(*place)) {
            match runs.last_mut() {
                Some((start, length)) if start.saturating_add(*length) == place => {
                    *length = length.saturating_add(1);
                }
                _ => runs.push((place, 1)),
            }
        }
        runs
    }
}

/// The clusters of a group that are in use.
pub(crate) fn blocks<S: Source>(
    device: &Device<S>,
    layout: &Layout,
    group: &Group,
) -> ReadResult<Bitmap> {
    let part = Part::BlockBitmap(group.number);
    let length = layout.clusters_in(group.number);
    if group.flags.contains(GroupFlags::BLOCKS_UNINITIALIZED) {
        return unwritten(device, layout, group, length);
    }
    let bytes = device.read_block(group.block_bitmap, part)?;
    verify(layout, (&bytes, layout.clusters_per_group), group.block_bitmap_sum, part)?;
    Ok(Bitmap { bytes, length })
}

/// The inodes of a group that are in use.
pub(crate) fn inodes<S: Source>(
    device: &Device<S>,
    layout: &Layout,
    group: &Group,
) -> ReadResult<Bitmap> {
    let part = Part::InodeBitmap(group.number);
    let length = u64::from(layout.inodes_per_group);
    if group.flags.contains(GroupFlags::INODES_UNINITIALIZED) {
        return Ok(Bitmap { bytes: vec![0; device.block.len()], length });
    }
    let bytes = device.read_block(group.inode_bitmap, part)?;
    verify(layout, (&bytes, length), group.inode_bitmap_sum, part)?;
    Ok(Bitmap { bytes, length })
}

fn verify(layout: &Layout, (bytes, bits): (&[u8], u64), stored: u32, part: Part) -> ReadResult<()> {
    if !layout.seed.is_enabled() {
        return Ok(());
    }
    let covered = usize::try_from(bits / 8).unwrap_or(usize::MAX);
    let computed = layout.seed.bitmap(bytes.get(..covered).unwrap_or(bytes));
    let mask = if layout.descriptor_len >= WHOLE_SUMS { u32::MAX } else { 0xffff };
    ReadError::verify(part, stored & mask, computed & mask)
}

/// The bitmap of a group that was never written: what the filesystem itself has in it.
fn unwritten<S: Source>(
    device: &Device<S>,
    layout: &Layout,
    group: &Group,
    length: u64,
) -> ReadResult<Bitmap> {
    let mut bitmap = Bitmap { bytes: vec![0; device.block.len()], length };
    let start = group.first_block;
    let end = start.saturating_add(length.saturating_mul(layout.cluster_blocks));
    let mut take = |first: u64, count: u64| {
        for block in first.max(start)..first.saturating_add(count).min(end) {
            bitmap.set((block - start) / layout.cluster_blocks);
        }
    };
    take(start, layout.base_blocks(group.number));
    // Without flex_bg these are of the group itself; with it they may be of any group of its flex
    // group, whose first group's bitmap is written as soon as it holds them.
    let own = groups::read(device, layout, group.number)?;
    take(own.block_bitmap, 1);
    take(own.inode_bitmap, 1);
    take(own.inode_table, table_blocks(layout));
    Ok(bitmap)
}

impl Layout {
    /// The blocks of a superblock's copy, the descriptors and the room for more at the start of a
    /// group.
    ///
    /// Source: kernel, `fs/ext4/balloc.c`, `ext4_num_base_meta_clusters`.
    pub(crate) fn base_blocks(&self, group: u32) -> u64 {
        let group = u64::from(group);
        let has_superblock = self.has_superblock(group);
        let per_block = self.descriptors_per_block();
        let is_meta =
            self.has(Feature::META_BG) && group >= self.first_meta_group.saturating_mul(per_block);
        if is_meta {
            let place = group % per_block;
            let has_descriptors = place <= 1 || place == per_block - 1;
            return u64::from(has_superblock).saturating_add(u64::from(has_descriptors));
        }
        if !has_superblock {
            return 0;
        }
        let all = u64::from(self.groups).div_ceil(per_block);
        let descriptors =
            if self.has(Feature::META_BG) { self.first_meta_group.min(all) } else { all };
        1u64.saturating_add(descriptors).saturating_add(self.reserved_descriptor_blocks)
    }
}

/// The runs of free blocks of a group.
pub(crate) fn free_runs<S: Source>(
    device: &Device<S>,
    layout: &Layout,
    group: u32,
) -> ReadResult<Vec<FreeRun>> {
    let group = groups::read(device, layout, group)?;
    let bitmap = blocks(device, layout, &group)?;
    let run = |(start, length): (u64, u64)| {
        let block = start.saturating_mul(layout.cluster_blocks).saturating_add(group.first_block);
        let end = length.saturating_mul(layout.cluster_blocks).saturating_add(block);
        FreeRun { block, length: end.min(layout.blocks).saturating_sub(block) }
    };
    Ok(bitmap.runs().into_iter().map(run).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_clear_bits_are_found_across_bytes() {
        let bytes = vec![0b0011_1111, 0b1111_1110, 0xff, 0];
        let bitmap = Bitmap { bytes, length: 32 };
        assert_eq!(bitmap.runs(), [(6, 3), (24, 8)]);
        assert_eq!(bitmap.free(), 11);
    }
}
