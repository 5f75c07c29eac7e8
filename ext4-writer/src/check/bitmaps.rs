//! The bitmaps and counters of the groups, against what is used.
//!
//! Source of what counts: e2fsprogs, `e2fsck/pass5.c`.

use std::fmt::Write as _;

use crate::check::bytes::is_ones;
use crate::check::context::Context;
use crate::check::facts::Sort;
use crate::check::findings::{Finding, Findings};
use crate::check::groups::GroupFacts;
use crate::check::kinds::Kind;
use crate::check::metadata::{Own, unwritten};
use crate::check::threads::in_parts;
use crate::reader::groups::table_blocks;
use crate::reader::{ReadResult, Source};
use crate::record::group::Flags;
use crate::record::{low16, wide};

const BITS: u64 = 64;
/// The groups of one part of the work.
const PART: usize = 64;

/// What a part of the groups has free.
#[derive(Default)]
struct Free {
    clusters: u64,
    inodes: u64,
    findings: Findings,
}

/// Compares all groups.
pub(super) fn compare<S: Source + Sync>(
    context: &Context<S>,
    runs: &[Own],
    findings: &mut Findings,
) -> ReadResult<()> {
    let never_written: Vec<Own> = unwritten(&context.groups, runs).copied().collect();
    let parts = context.groups.len().div_ceil(PART);
    let parts = in_parts(parts, context.threads, |part| {
        let mut free = Free::default();
        let groups = context.groups.iter().zip(0u32..);
        for (facts, group) in groups.skip(part * PART).take(PART) {
            blocks(context, (group, facts), &never_written, &mut free)?;
            inodes(context, (group, facts), &mut free)?;
        }
        Ok(free)
    })?;
    let (mut clusters, mut inodes) = (0u64, 0u64);
    for part in parts {
        clusters = clusters.saturating_add(part.clusters);
        inodes = inodes.saturating_add(part.inodes);
        findings.append(part.findings);
    }
    totals(context, (clusters, inodes), findings);
    Ok(())
}

fn totals<S: Source>(
    context: &Context<S>,
    (clusters, inodes): (u64, u64),
    findings: &mut Findings,
) {
    let record = &context.superblock;
    let wide_counts = context.has(crate::reader::features::Feature::BIT_64);
    let high = if wide_counts { record.free_blocks_count_hi } else { 0.into() };
    let told = wide(record.free_blocks_count_lo, high);
    let blocks = clusters.saturating_mul(context.layout.cluster_blocks);
    if told != blocks {
        let finding = Finding::new(Kind::FreeBlocksTotal).field("s_free_blocks_count");
        findings.push(finding.found(told).expected(blocks));
    }
    let told = u64::from(record.free_inodes_count.get());
    if told != inodes {
        let finding = Finding::new(Kind::FreeInodesTotal).field("s_free_inodes_count");
        findings.push(finding.found(told).expected(inodes));
    }
}

/// The words of a bitmap's bytes.
fn words(bytes: &[u8]) -> Vec<u64> {
    let word = |chunk: &[u8]| chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    bytes.chunks(8).map(word).collect()
}

/// The bits below `count` of the word of this number.
const fn below(count: u64, number: u64) -> u64 {
    let left = count.saturating_sub(number.saturating_mul(BITS));
    if left >= BITS { u64::MAX } else { (1 << left) - 1 }
}

/// The places where two bitmaps of `count` bits differ: in the first alone, in the second alone.
struct Differences {
    unused: Vec<u64>,
    used: Vec<u64>,
    /// Bits set in the first.
    marked: u64,
}

fn differences(told: &[u64], actual: &[u64], count: u64) -> Differences {
    let mut found = Differences { unused: Vec::new(), used: Vec::new(), marked: 0 };
    for number in 0..count.div_ceil(BITS) {
        let at = |words: &[u64]| {
            usize::try_from(number).ok().and_then(|number| words.get(number)).copied().unwrap_or(0)
        };
        let mask = below(count, number);
        let (told, actual) = (at(told) & mask, at(actual) & mask);
        found.marked += u64::from(told.count_ones());
        let different = told ^ actual;
        if different == 0 {
            continue;
        }
        for bit in (0..BITS).filter(|bit| different >> bit & 1 == 1) {
            let place = number * BITS + bit;
            if told >> bit & 1 == 1 { found.unused.push(place) } else { found.used.push(place) }
        }
    }
    found
}

/// The first few ranges of a list of numbers, and how many numbers there are.
fn ranges(places: &[u64], scale: impl Fn(u64) -> u64) -> String {
    let mut text = String::new();
    let mut rest = places.iter().copied().peekable();
    let mut told = 0;
    while let Some(first) = rest.next() {
        let mut last = first;
        while let Some(next) = rest.next_if(|next| *next == last + 1) {
            last = next;
        }
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = if first == last {
            write!(text, "{comma}{}", scale(first))
        } else {
            write!(text, "{comma}{}-{}", scale(first), scale(last))
        };
        told += 1;
        if told == 4 {
            if rest.peek().is_some() {
                text.push_str(", ...");
            }
            break;
        }
    }
    text
}

fn blocks<S: Source>(
    context: &Context<S>,
    (group, facts): (u32, &GroupFacts),
    never_written: &[Own],
    free: &mut Free,
) -> ReadResult<()> {
    let layout = &context.layout;
    let count = layout.clusters_in(group);
    let actual = context.claims.of_group(group).unwrap_or_default();
    let told = if facts.has_no_block_bitmap() {
        made(context, group, never_written)
    } else if let Some(block) = facts.block_bitmap() {
        let bytes = context.image.block(block)?;
        block_bitmap_ends(context, (group, facts), &bytes, free);
        words(&bytes)
    } else {
        return Ok(());
    };
    let found = differences(&told, &actual, count);
    let first = layout.group_start(group.into());
    let scale = |cluster: u64| first.saturating_add(cluster.saturating_mul(layout.cluster_blocks));
    let what = if layout.cluster_blocks == 1 { "blocks" } else { "clusters from blocks" };
    for (places, marked) in
        [(&found.used, "used and marked free"), (&found.unused, "free and marked used")]
    {
        if let Some(place) = places.first() {
            let finding = Finding::new(Kind::BlockBitmap).group(group).block(scale(*place));
            let text = format!("{} {what} {marked}: {}", places.len(), ranges(places, scale));
            free.findings.push(finding.found(text));
        }
    }
    // e2fsck counts by what the bitmap says.
    let clusters = count.saturating_sub(found.marked);
    free.clusters = free.clusters.saturating_add(clusters);
    if u64::from(facts.free_clusters) != clusters {
        let finding = Finding::new(Kind::FreeBlocks).group(group).field("bg_free_blocks_count");
        free.findings.push(finding.found(facts.free_clusters).expected(clusters));
    }
    Ok(())
}

/// The bitmap of a group whose bitmap was never written.
fn made<S: Source>(context: &Context<S>, group: u32, never_written: &[Own]) -> Vec<u64> {
    let layout = &context.layout;
    let first = layout.group_start(group.into());
    let end = first.saturating_add(layout.blocks_per_group).min(layout.blocks);
    let ratio = layout.cluster_blocks;
    let count = layout.clusters_per_group.div_ceil(BITS);
    let mut words = vec![0u64; usize::try_from(count).unwrap_or(0)];
    // They are in the order of their blocks, and none is longer than a table or the descriptors.
    let descriptors = u64::from(layout.groups).div_ceil(layout.descriptors_per_block());
    let heads = descriptors.saturating_add(layout.reserved_descriptor_blocks);
    let longest = table_blocks(layout).max(heads);
    let near = never_written.partition_point(|own| own.start < first.saturating_sub(longest));
    let near = never_written.iter().skip(near).take_while(|own| own.start < end);
    for own in near.filter(|own| own.end() > first) {
        let from = (own.start.max(first) - first) / ratio;
        let to = (own.end().min(end) - first).div_ceil(ratio);
        for cluster in from..to {
            let word = usize::try_from(cluster / BITS).ok().and_then(|word| words.get_mut(word));
            if let Some(word) = word {
                *word |= 1 << (cluster % BITS);
            }
        }
    }
    words
}

fn sum_finding(
    group: u32,
    (kind, field): (Kind, &'static str),
    (stored, computed): (u32, u32),
) -> Finding {
    let finding = Finding::new(kind).group(group).field(field);
    finding.found(format_args!("{stored:#x}")).expected(format_args!("{computed:#x}"))
}

/// The stored and the computed sum of a bitmap's part, if they differ.
fn wrong_sum<S: Source>(context: &Context<S>, covered: &[u8], stored: u32) -> Option<(u32, u32)> {
    let layout = &context.layout;
    if !layout.seed.is_enabled() {
        return None;
    }
    let computed = layout.seed.bitmap(covered);
    // Short descriptors have the lower half only.
    let is_short = layout.descriptor_len < 64;
    let halves = |sum: u32| if is_short { low16(sum).into() } else { sum };
    let (stored, computed) = (halves(stored), halves(computed));
    (stored != computed).then_some((stored, computed))
}

fn block_bitmap_ends<S: Source>(
    context: &Context<S>,
    (group, facts): (u32, &GroupFacts),
    bytes: &[u8],
    free: &mut Free,
) {
    let layout = &context.layout;
    let length = usize::try_from(layout.clusters_per_group / 8).unwrap_or(usize::MAX);
    let (covered, behind) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
    let count = layout.clusters_in(group);
    let rest = words(covered);
    let is_padded = rest.iter().zip(0u64..).all(|(word, number)| {
        let outside = !below(count, number) & below(layout.clusters_per_group, number);
        word & outside == outside
    });
    if !is_padded || !is_ones(behind) {
        free.findings.push(Finding::new(Kind::BlockBitmapPadding).group(group));
    }
    if let Some(sums) = wrong_sum(context, covered, facts.block_bitmap_sum)
        && !facts.flags.contains(Flags::BLOCK_UNINIT)
    {
        let kind = (Kind::BlockBitmapChecksum, "bg_block_bitmap_csum");
        free.findings.push(sum_finding(group, kind, sums));
    }
}

fn inodes<S: Source>(
    context: &Context<S>,
    (group, facts): (u32, &GroupFacts),
    free: &mut Free,
) -> ReadResult<()> {
    let layout = &context.layout;
    let per_group = layout.inodes_per_group;
    let mut told = Vec::new();
    if facts.has_no_inode_bitmap() {
        // It stands for zeros.
    } else if let Some(block) = facts.inode_bitmap() {
        let bytes = context.image.block(block)?;
        let length = usize::try_from(per_group / 8).unwrap_or(usize::MAX);
        let (covered, behind) = bytes.split_at_checked(length).unwrap_or((&bytes, &[]));
        if !is_ones(behind) {
            free.findings.push(Finding::new(Kind::InodeBitmapPadding).group(group));
        }
        if let Some(sums) = wrong_sum(context, covered, facts.inode_bitmap_sum)
            && !facts.flags.contains(Flags::INODE_UNINIT)
        {
            let kind = (Kind::InodeBitmapChecksum, "bg_inode_bitmap_csum");
            free.findings.push(sum_finding(group, kind, sums));
        }
        told = words(covered);
    } else {
        return Ok(());
    }
    let first = group.saturating_mul(per_group);
    let (actual, directories) = used(context, group);
    let found = differences(&told, &actual, per_group.into());
    let scale = |place: u64| u64::from(first).saturating_add(place).saturating_add(1);
    for (places, marked) in
        [(&found.used, "used and marked free"), (&found.unused, "free and marked used")]
    {
        if let Some(place) = places.first() {
            let number = u32::try_from(scale(*place)).unwrap_or(u32::MAX);
            let finding = Finding::new(Kind::InodeBitmap).group(group).inode(number);
            let text = format!("{} inodes {marked}: {}", places.len(), ranges(places, scale));
            free.findings.push(finding.found(text));
        }
    }
    let left = u64::from(per_group).saturating_sub(found.marked);
    free.inodes = free.inodes.saturating_add(left);
    if u64::from(facts.free_inodes) != left {
        let finding = Finding::new(Kind::FreeInodes).group(group).field("bg_free_inodes_count");
        free.findings.push(finding.found(facts.free_inodes).expected(left));
    }
    if facts.directories != directories {
        let finding = Finding::new(Kind::Directories).group(group).field("bg_used_dirs_count");
        free.findings.push(finding.found(facts.directories).expected(directories));
    }
    Ok(())
}

/// The inodes of a group that are in use, and how many of them are directories.
fn used<S: Source>(context: &Context<S>, group: u32) -> (Vec<u64>, u32) {
    let count = u64::from(context.layout.inodes_per_group).div_ceil(BITS);
    let mut words = vec![0u64; usize::try_from(count).unwrap_or(0)];
    let mut directories = 0;
    let states = context.inodes.group(group).unwrap_or_default();
    for (word, states) in words.iter_mut().zip(states.chunks(64)) {
        for (state, bit) in states.iter().zip(0u32..) {
            if let Some(told) = state.told() {
                *word |= 1 << bit;
                // A directory with other faults is one still.
                directories += u32::from(told.sort == Sort::Directory);
            }
        }
    }
    (words, directories)
}
