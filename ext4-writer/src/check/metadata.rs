//! The filesystem's own blocks: superblocks, descriptors, bitmaps, tables. They are claimed first.

use crate::check::context::Context;
use crate::check::findings::{Finding, Findings};
use crate::check::groups::GroupFacts;
use crate::check::kinds::Kind;
use crate::reader::Source;
use crate::reader::features::Feature;
use crate::reader::groups::table_blocks;
use crate::reader::layout::Layout;

/// A run of metadata, with whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Own {
    pub start: u64,
    pub length: u64,
    pub group: u32,
    pub what: &'static str,
}

impl Own {
    pub(super) const fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }
}

/// The superblock, descriptors and blocks reserved for descriptors that a group begins with.
///
/// Source: e2fsprogs, `lib/ext2fs/closefs.c`, `ext2fs_super_and_bgd_loc2`.
pub(super) fn heads(layout: &Layout, group: u32) -> Vec<Own> {
    let start = layout.group_start(group.into());
    let per_block = layout.descriptors_per_block();
    let all = u64::from(layout.groups).div_ceil(per_block);
    let has_super = layout.has_superblock(group.into());
    let own = |start, length, what| Own { start, length, group, what };
    let mut heads = Vec::new();
    let mut next = start;
    // With blocks of 1 KiB and clusters block 0 is before the superblock.
    if group == 0 && start == 0 && layout.block.bytes() == 1024 {
        heads.push(own(0, 1, "the boot block"));
        next = 1;
    }
    if has_super {
        heads.push(own(next, 1, "a superblock"));
        next += 1;
    }
    let is_meta = layout.has(Feature::META_BG);
    let number = u64::from(group) / per_block;
    if is_meta && number >= layout.first_meta_group {
        let into = u64::from(group) % per_block;
        if into == 0 || into == 1 || into == per_block - 1 {
            heads.push(own(next, 1, "a block of descriptors"));
        }
    } else if has_super {
        let old = if is_meta { layout.first_meta_group.min(all) } else { all };
        let reserved = if is_meta { 0 } else { layout.reserved_descriptor_blocks };
        heads.push(own(next, old.saturating_add(reserved), "the descriptors"));
    }
    heads.retain(|own| own.length > 0);
    heads
}

/// The runs of all metadata, in the order of their blocks.
pub(super) fn runs(layout: &Layout, groups: &[GroupFacts]) -> Vec<Own> {
    let table = table_blocks(layout);
    let mut runs = Vec::new();
    for (facts, group) in groups.iter().zip(0u32..) {
        runs.extend(heads(layout, group));
        let places = [
            (facts.block_bitmap(), 1, "the block bitmap"),
            (facts.inode_bitmap(), 1, "the inode bitmap"),
            (facts.table(), table, "the inode table"),
        ];
        for (start, length, what) in places {
            runs.extend(start.map(|start| Own { start, length, group, what }));
        }
    }
    runs.sort_unstable();
    runs
}

/// Claims all metadata, and says where two lie on each other.
pub(super) fn claim<S: Source>(context: &Context<S>, runs: &[Own], findings: &mut Findings) {
    let mut before: Option<Own> = None;
    for own in runs {
        if let Some(other) = before
            && other.end() > own.start
        {
            let finding = Finding::new(Kind::MetadataOverlap).group(own.group).block(own.start);
            let found = format!("{} lies on {} of group {}", own.what, other.what, other.group);
            findings.push(finding.found(found));
        }
        if before.is_none_or(|other| other.end() < own.end()) {
            before = Some(*own);
        }
        context.claims.mark(own.start, own.length);
    }
    let mmp = context.superblock.mmp_block.get();
    if context.has(Feature::MMP) && mmp > context.layout.first_data_block {
        context.claims.mark(mmp, 1);
    }
}

/// Whose metadata a block is, if it is any.
pub(super) fn at(runs: &[Own], block: u64) -> Option<&Own> {
    let after = runs.partition_point(|own| own.start <= block);
    // Runs may overlap: the nearest ones are looked at.
    let near = runs.get(after.saturating_sub(8)..after)?;
    near.iter().rev().find(|own| own.end() > block)
}

/// What a group's bitmap would be if it had to be made: of a group whose bitmap was never written.
///
/// Source: e2fsprogs, `lib/ext2fs/rw_bitmaps.c`, `mark_uninit_bg_group_blocks`.
pub(super) fn unwritten<'a>(
    groups: &'a [GroupFacts],
    runs: &'a [Own],
) -> impl Iterator<Item = &'a Own> {
    runs.iter().filter(|own| {
        let facts = usize::try_from(own.group).ok().and_then(|group| groups.get(group));
        facts.is_some_and(GroupFacts::has_no_block_bitmap)
    })
}
