//! The group descriptors, all of them, and where they say that metadata are.

use zerocopy::{FromZeros, IntoBytes};

use crate::check::findings::{Finding, Findings};
use crate::check::image::Image;
use crate::check::kinds::Kind;
use crate::format::units::widen;
use crate::reader::features::Feature;
use crate::reader::groups::table_blocks;
use crate::reader::layout::Layout;
use crate::reader::{ReadResult, Source};
use crate::record::group::{Flags, GroupDescriptor};
use crate::record::{wide, wide32};

/// What a descriptor says, as far as it can be used.
#[derive(Clone, Debug)]
pub(super) struct GroupFacts {
    block_bitmap: u64,
    inode_bitmap: u64,
    table: u64,
    /// Whether block bitmap, inode bitmap and table are inside the filesystem.
    inside: [bool; 3],
    pub free_clusters: u32,
    pub free_inodes: u32,
    pub directories: u32,
    pub unused_inodes: u32,
    /// Empty where descriptors are not summed: they mean nothing there.
    pub flags: Flags,
    /// What stands there in any case.
    pub raw_flags: Flags,
    /// The descriptor is what was summed.
    pub is_summed: bool,
    pub block_bitmap_sum: u32,
    pub inode_bitmap_sum: u32,
}

impl GroupFacts {
    /// The block of the block bitmap, if it is in the filesystem.
    pub(super) fn block_bitmap(&self) -> Option<u64> {
        let [is_inside, _, _] = self.inside;
        is_inside.then_some(self.block_bitmap)
    }

    /// The block of the inode bitmap, if it is in the filesystem.
    pub(super) fn inode_bitmap(&self) -> Option<u64> {
        let [_, is_inside, _] = self.inside;
        is_inside.then_some(self.inode_bitmap)
    }

    /// The first block of the inode table, if all of it is in the filesystem.
    pub(super) fn table(&self) -> Option<u64> {
        let [_, _, is_inside] = self.inside;
        is_inside.then_some(self.table)
    }

    /// Whether the block bitmap was never written, so that it is made when it is asked for.
    ///
    /// Source: e2fsprogs, `lib/ext2fs/rw_bitmaps.c`, `read_bitmaps_range_start`: the flag of a
    /// descriptor that is damaged does not count.
    pub(super) fn has_no_block_bitmap(&self) -> bool {
        self.is_summed && self.flags.contains(Flags::BLOCK_UNINIT)
    }

    /// Likewise the inode bitmap.
    pub(super) fn has_no_inode_bitmap(&self) -> bool {
        self.is_summed && self.flags.contains(Flags::INODE_UNINIT)
    }

    /// The inodes of the group that were ever used; those behind are not looked at, as e2fsck does
    /// not either, whatever the flags say.
    pub(super) fn used_inodes(&self, layout: &Layout) -> u32 {
        if self.table().is_none() {
            return 0;
        }
        layout.inodes_per_group.saturating_sub(self.unused_inodes)
    }
}

/// Reads all descriptors; none if the image ends before them. Those of the first copy are taken
/// where the primary ones lead outside.
pub(super) fn read<S: Source>(
    image: &Image<S>,
    layout: &Layout,
    findings: &mut Findings,
) -> ReadResult<Option<Vec<GroupFacts>>> {
    let mut groups = Vec::new();
    let mut misplaced = false;
    let mut near = Near::default();
    for group in 0..layout.groups {
        let offset = layout.descriptor_offset(group);
        if offset.saturating_add(widen(layout.descriptor_len)) > image.length {
            let found = format!("its descriptor is at byte {offset}, behind the end of the image");
            findings.push(Finding::new(Kind::DescriptorPlace).group(group).found(found));
            return Ok(None);
        }
        let bytes = near.descriptor(image, layout, offset)?;
        let mut facts = parse(layout, &bytes);
        judge(layout, group, (&facts, &bytes), findings);
        let stored = record(&bytes).checksum.get();
        facts.is_summed = layout.descriptor_sum(group, &bytes).is_none_or(|sum| sum == stored);
        misplaced |= facts.inside != [true; 3];
        groups.push(facts);
    }
    if misplaced {
        let mut unheard = Findings::default();
        for (facts, group) in groups.iter_mut().zip(0..) {
            let Some(offset) = copy_offset(layout, group) else { break };
            let bytes = bytes(image, layout, offset)?;
            let copy = parse(layout, &bytes);
            judge(layout, group, (&copy, &bytes), &mut unheard);
            if copy.inside == [true; 3] {
                *facts = copy;
            }
        }
    }
    Ok(Some(groups))
}

/// The bytes of a piece of the descriptors, which are read many at once.
#[derive(Default)]
struct Near {
    start: u64,
    bytes: Vec<u8>,
}

/// The bytes of a piece.
const PIECE: usize = 65_536;

impl Near {
    fn descriptor<S: Source>(
        &mut self,
        image: &Image<S>,
        layout: &Layout,
        offset: u64,
    ) -> ReadResult<Vec<u8>> {
        let length = layout.descriptor_len;
        let held = self.start.saturating_add(widen(self.bytes.len()));
        if offset < self.start || offset.saturating_add(widen(length)) > held {
            self.start = offset;
            self.bytes.resize(PIECE, 0);
            image.read(offset, &mut self.bytes)?;
        }
        let into = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let bytes = self.bytes.get(into..into.saturating_add(length)).unwrap_or_default();
        Ok(bytes.to_vec())
    }
}

/// Where the descriptor of a group is in the first copy, if there is one that is whole.
pub(super) fn copy_offset(layout: &Layout, group: u32) -> Option<u64> {
    if layout.has(Feature::META_BG) {
        return None;
    }
    let first = (1..layout.groups).find(|group| layout.has_superblock((*group).into()))?;
    copy_offset_in(layout, first, group)
}

/// Where the descriptor of a group is in the copy that a group begins with.
pub(super) fn copy_offset_in(layout: &Layout, holder: u32, group: u32) -> Option<u64> {
    let start = layout.group_start(holder.into()).checked_add(1)?;
    let bytes = u64::from(group).checked_mul(widen(layout.descriptor_len))?;
    start.checked_mul(layout.block.bytes())?.checked_add(bytes)
}

pub(super) fn bytes<S: Source>(
    image: &Image<S>,
    layout: &Layout,
    offset: u64,
) -> ReadResult<Vec<u8>> {
    let mut bytes = vec![0; layout.descriptor_len];
    image.read(offset, &mut bytes)?;
    Ok(bytes)
}

/// The record of a descriptor's bytes, of which there may be fewer.
pub(super) fn record(bytes: &[u8]) -> GroupDescriptor {
    let mut record = GroupDescriptor::new_zeroed();
    for (byte, from) in record.as_mut_bytes().iter_mut().zip(bytes) {
        *byte = *from;
    }
    record
}

fn parse(layout: &Layout, bytes: &[u8]) -> GroupFacts {
    let record = record(bytes);
    let has_flags = layout.seed.is_enabled() || layout.has(Feature::UNINIT_BG);
    let flags = if has_flags { record.flags.get() } else { 0 };
    let unused = wide32(record.itable_unused_lo, record.itable_unused_hi);
    let is_inside = |start: u64, length: u64| {
        start >= layout.first_data_block
            && start != 0
            && start.checked_add(length).is_some_and(|end| end <= layout.blocks)
    };
    let block_bitmap = wide(record.block_bitmap_lo, record.block_bitmap_hi);
    let inode_bitmap = wide(record.inode_bitmap_lo, record.inode_bitmap_hi);
    let table = wide(record.inode_table_lo, record.inode_table_hi);
    GroupFacts {
        block_bitmap,
        inode_bitmap,
        table,
        inside: [
            is_inside(block_bitmap, 1),
            is_inside(inode_bitmap, 1),
            is_inside(table, table_blocks(layout)),
        ],
        free_clusters: wide32(record.free_blocks_count_lo, record.free_blocks_count_hi),
        free_inodes: wide32(record.free_inodes_count_lo, record.free_inodes_count_hi),
        directories: wide32(record.used_dirs_count_lo, record.used_dirs_count_hi),
        unused_inodes: if has_flags { unused } else { 0 },
        flags: Flags::from_bits_truncate(flags),
        raw_flags: Flags::from_bits_truncate(record.flags.get()),
        is_summed: true,
        block_bitmap_sum: wide32(record.block_bitmap_csum_lo, record.block_bitmap_csum_hi),
        inode_bitmap_sum: wide32(record.inode_bitmap_csum_lo, record.inode_bitmap_csum_hi),
    }
}

fn judge(
    layout: &Layout,
    group: u32,
    (facts, bytes): (&GroupFacts, &[u8]),
    findings: &mut Findings,
) {
    places(layout, group, facts, findings);
    let record = record(bytes);
    let stored = record.checksum.get();
    if let Some(computed) = layout.descriptor_sum(group, bytes)
        && computed != stored
    {
        let finding = Finding::new(Kind::DescriptorChecksum).group(group).field("bg_checksum");
        let found = format!("{stored:#06x}");
        findings.push(finding.found(found).expected(format_args!("{computed:#06x}")));
    }
    let uninit = Flags::INODE_UNINIT | Flags::BLOCK_UNINIT;
    let flags = Flags::from_bits_truncate(record.flags.get());
    let finding = Finding::new(Kind::DescriptorFlags).group(group).field("bg_flags");
    let unused = wide32(record.itable_unused_lo, record.itable_unused_hi);
    let is_summed = layout.seed.is_enabled() || layout.has(Feature::UNINIT_BG);
    if !is_summed && (flags.intersects(uninit) || unused != 0) {
        findings.push(finding.found("marked as never written, and descriptors are not summed"));
    } else if facts.flags.contains(Flags::BLOCK_UNINIT) && group + 1 == layout.groups {
        findings.push(finding.found("BLOCK_UNINIT in the last group"));
    }
    if is_summed && (unused > facts.free_inodes || unused > layout.inodes_per_group) {
        let finding = Finding::new(Kind::DescriptorUnusedInodes).group(group);
        let most = facts.free_inodes.min(layout.inodes_per_group);
        let finding = finding.field("bg_itable_unused").found(unused);
        findings.push(finding.expected(format_args!("at most {most}")));
    }
}

fn places(layout: &Layout, group: u32, facts: &GroupFacts, findings: &mut Findings) {
    // Without flex_bg all lies in its own group.
    let (first, last) = if layout.has(Feature::FLEX_BG) {
        (layout.first_data_block, layout.blocks.saturating_sub(1))
    } else {
        let first = layout.group_start(group.into());
        let end = first.saturating_add(layout.blocks_per_group).min(layout.blocks);
        (first, end.saturating_sub(1))
    };
    let parts = [
        ("bg_block_bitmap", facts.block_bitmap, 1),
        ("bg_inode_bitmap", facts.inode_bitmap, 1),
        ("bg_inode_table", facts.table, table_blocks(layout)),
    ];
    for (field, start, length) in parts {
        let end = start.saturating_add(length).saturating_sub(1);
        if start < first || end > last || start == 0 {
            let finding = Finding::new(Kind::DescriptorPlace).group(group).field(field);
            findings.push(finding.found(start).expected(format_args!("{first} to {last}")));
        }
    }
}

impl GroupFacts {
    /// Whether a copy of the descriptor has bitmaps and table where this one has them.
    pub(super) fn is_at_same_places(&self, layout: &Layout, copy: &[u8]) -> bool {
        let copy = parse(layout, copy);
        (self.block_bitmap, self.inode_bitmap, self.table)
            == (copy.block_bitmap, copy.inode_bitmap, copy.table)
    }
}
