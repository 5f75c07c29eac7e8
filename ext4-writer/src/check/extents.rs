//! Extent trees: in order, inside the filesystem, summed; their blocks are claimed.
//!
//! Source of what counts: e2fsprogs, `e2fsck/pass1.c`, `scan_extent_node`,
//! `lib/ext2fs/extent.c`; kernel, `fs/ext4/extents.c`, `__ext4_ext_check`.

use zerocopy::FromBytes;

use crate::check::bytes::u32_at;
use crate::check::facts::{Sort, flag};
use crate::check::findings::Finding;
use crate::check::kinds::Kind;
use crate::check::scan::{Blocks, Scan};
use crate::check::subject::Subject;
use crate::reader::features::Feature;
use crate::reader::{ReadResult, Source};
use crate::record::extent::{ENTRY_SIZE, Header, Index, Leaf, MAGIC, MAX_DEPTH, MAX_LENGTH};
use crate::record::wide48;

/// Deeper trees are not followed, although e2fsck would.
const DEEPEST: u16 = 32;

/// What a node is checked against.
#[derive(Clone, Copy)]
struct Bounds {
    /// Levels below this node.
    below: u16,
    /// Where the node begins by its parent.
    start: u64,
    /// The last block that it may have; 0 if that is not known.
    last: u64,
    /// Where its last index ends.
    end: u32,
}

/// An entry of a node, whichever it is.
struct Entry {
    file_block: u64,
    last: u64,
    block: u64,
    length: u64,
    is_unwritten: bool,
}

/// Whether a node's header can be one, in so many bytes.
pub(super) fn has_header(bytes: &[u8]) -> bool {
    let Ok((header, _)) = Header::read_from_prefix(bytes) else { return false };
    let most = bytes.len().saturating_sub(ENTRY_SIZE) / ENTRY_SIZE;
    let max = usize::from(header.max.get());
    header.magic.get() == MAGIC
        && header.entries.get() <= header.max.get()
        && max <= most
        && max + 2 >= most
}

impl<S: Source> Scan<'_, S> {
    /// Goes through the extents of an inode.
    pub(super) fn extents(&mut self, subject: &Subject<'_>, blocks: &mut Blocks) -> ReadResult<()> {
        let root = subject.record.block;
        if !has_header(&root) {
            self.out.findings.push(subject.finding(Kind::ExtentHeader).field("i_block"));
            return Ok(());
        }
        let depth = Header::read_from_prefix(&root).map_or(0, |(header, _)| header.depth.get());
        if depth > MAX_DEPTH {
            let finding = subject.finding(Kind::ExtentDepth).field("eh_depth").found(depth);
            self.out.findings.push(finding.expected(format_args!("at most {MAX_DEPTH}")));
        }
        if depth > DEEPEST {
            return Ok(());
        }
        let size = self.context.layout.block.bytes();
        let end = subject.size.div_ceil(size);
        let [a, b, c, d, ..] = end.to_le_bytes();
        let end = u32::from_le_bytes([a, b, c, d]);
        let bounds = Bounds { below: depth, start: 0, last: 0, end };
        self.extent_node(subject, &root, bounds, blocks)
    }

    fn extent_node(
        &mut self,
        subject: &Subject<'_>,
        bytes: &[u8],
        bounds: Bounds,
        blocks: &mut Blocks,
    ) -> ReadResult<()> {
        let count = Header::read_from_prefix(bytes).map_or(0, |(header, _)| header.entries.get());
        let mut start = bounds.start;
        for number in 0..usize::from(count) {
            let is_last = number + 1 == usize::from(count);
            let Some(entry) = entry(bytes, number, &bounds, is_last) else { break };
            if let Some(kind) = self.wrong(subject, &entry, (&bounds, start), blocks) {
                self.out.findings.push(told(subject, kind, &entry));
                continue;
            }
            if bounds.below > 0 {
                self.extent_index(subject, &entry, &bounds, blocks)?;
                continue;
            }
            blocks.next = blocks.next.max(entry.last + 1);
            self.extent_leaf(subject, &entry, blocks);
            start = entry.last;
        }
        Ok(())
    }

    /// What is wrong with an entry, if anything is.
    fn wrong(
        &self,
        subject: &Subject<'_>,
        entry: &Entry,
        (bounds, start): (&Bounds, u64),
        blocks: &Blocks,
    ) -> Option<Kind> {
        let context = self.context;
        let is_leaf = bounds.below == 0;
        let end_of_file = subject.size.div_ceil(context.layout.block.bytes());
        let behind_size =
            entry.last >= end_of_file && (entry.is_unwritten || subject.has(flag::VERITY));
        if !context.is_block(entry.block) {
            return Some(Kind::ExtentRange);
        }
        if entry.file_block < start {
            return Some(Kind::ExtentOrder);
        }
        if bounds.last != 0 && entry.last > bounds.last && !behind_size {
            return Some(Kind::ExtentOrder);
        }
        if is_leaf && entry.length == 0 {
            return Some(Kind::ExtentLength);
        }
        if is_leaf && entry.block + entry.length > context.layout.blocks {
            return Some(Kind::ExtentRange);
        }
        let most = 1u64 << 21u32.saturating_sub(context.layout.block.superblock_log());
        if is_leaf
            && subject.is(Sort::Directory)
            && subject.record.size_high.get() == 0
            && !context.has(Feature::LARGE_DIR)
            && entry.file_block + entry.length > most
        {
            return Some(Kind::InodeSize);
        }
        (is_leaf && entry.file_block < blocks.next).then_some(Kind::ExtentOrder)
    }

    fn extent_index(
        &mut self,
        subject: &Subject<'_>,
        entry: &Entry,
        bounds: &Bounds,
        blocks: &mut Blocks,
    ) -> ReadResult<()> {
        let shared = self.claim(entry.block, 1);
        blocks.count += 1;
        if shared && !self.context.may_repeat() {
            return Ok(());
        }
        let bytes = self.context.image.block(entry.block)?;
        let below = bounds.below - 1;
        let finding = |kind| subject.finding(kind).block(entry.block);
        if !has_header(&bytes) {
            self.out.findings.push(finding(Kind::ExtentHeader));
            return Ok(());
        }
        let Ok((header, rest)) = Header::read_from_prefix(&bytes) else { return Ok(()) };
        if header.depth.get() != below {
            let wrong = finding(Kind::ExtentDepth).field("eh_depth").found(header.depth);
            self.out.findings.push(wrong.expected(below));
        }
        if let Some((stored, computed)) = wrong_sum(subject, &bytes, header.max.get()) {
            let wrong = finding(Kind::ExtentChecksum).found(format_args!("{stored:#x}"));
            self.out.findings.push(wrong.expected(format_args!("{computed:#x}")));
        }
        if header.entries.get() == 0 {
            self.out.findings.push(finding(Kind::ExtentNodeEmpty));
            return Ok(());
        }
        let first = u32_at(rest, 0).map_or(0, u64::from);
        if first != entry.file_block {
            let wrong = finding(Kind::ExtentOrder).field("ei_block").found(entry.file_block);
            self.out.findings.push(wrong.expected(first));
        }
        let [a, b, c, d, ..] = (entry.file_block + entry.length).to_le_bytes();
        let end = u32::from_le_bytes([a, b, c, d]);
        let inner = Bounds { below, start: first, last: entry.last, end };
        self.extent_node(subject, &bytes, inner, blocks)
    }

    fn extent_leaf(&mut self, subject: &Subject<'_>, entry: &Entry, blocks: &mut Blocks) {
        let is_directory = subject.is(Sort::Directory);
        if entry.last >= u64::from(u32::MAX) {
            self.out.findings.push(told(subject, Kind::ExtentLast, entry));
        }
        if is_directory && entry.is_unwritten {
            let finding = told(subject, Kind::ExtentDirectory, entry);
            self.out.findings.push(finding);
        }
        if is_directory {
            if entry.file_block > blocks.end {
                let finding = told(subject, Kind::ExtentDirectory, entry);
                self.out.findings.push(finding.expected(blocks.end));
                self.add_directory_run(blocks.end, 0, entry.file_block - blocks.end);
            }
            self.add_directory_run(entry.file_block, entry.block, entry.length);
        }
        if self.is_misplaced(blocks, entry.block, entry.file_block) {
            let finding = told(subject, Kind::ClusterPhase, entry);
            self.out.findings.push(finding);
        }
        self.claim_leaf(entry, blocks);
        blocks.end = entry.last + 1;
        blocks.previous = entry.block + entry.length - 1;
        if !is_directory && !entry.is_unwritten {
            blocks.last_written = Some(entry.last);
        }
    }

    /// Claims what of an extent is in clusters of its own.
    fn claim_leaf(&mut self, entry: &Entry, blocks: &mut Blocks) {
        let ratio = self.context.layout.cluster_blocks;
        let log = ratio.trailing_zeros();
        let cluster = entry.block >> log;
        let is_shared = ratio > 1 && blocks.previous != 0 && cluster == blocks.previous >> log;
        let start = (cluster + u64::from(is_shared)) << log;
        let end = entry.block + entry.length;
        if start < end {
            self.claim(start, end - start);
            blocks.count += (end - start).div_ceil(ratio);
        }
    }
}

fn told(subject: &Subject<'_>, kind: Kind, entry: &Entry) -> Finding {
    let Entry { file_block, block, length, .. } = entry;
    let found = format!("{length} blocks from block {block}");
    subject.finding(kind).file_block(*file_block).found(found)
}

/// The entry of this number in a node; an index gets the length up to the next one.
fn entry(bytes: &[u8], number: usize, bounds: &Bounds, is_last: bool) -> Option<Entry> {
    let rest = bytes.get((number + 1) * ENTRY_SIZE..)?;
    if bounds.below > 0 {
        let (index, behind) = Index::read_from_prefix(rest).ok()?;
        let start = index.block.get();
        let end = if is_last { bounds.end } else { u32_at(behind, 0)? };
        // As e2fsck computes it: a wrong order wraps.
        let length = u64::from(end.wrapping_sub(start));
        let file_block = u64::from(start);
        let last = (file_block + length).wrapping_sub(1);
        let block = wide48(index.leaf_lo, index.leaf_hi);
        return Some(Entry { file_block, last, block, length, is_unwritten: false });
    }
    let (leaf, _) = Leaf::read_from_prefix(rest).ok()?;
    let raw = u64::from(leaf.len.get());
    let is_unwritten = raw > MAX_LENGTH;
    let length = if is_unwritten { raw - MAX_LENGTH } else { raw };
    let file_block = u64::from(leaf.block.get());
    let last = (file_block + length).saturating_sub(1);
    let block = wide48(leaf.start_lo, leaf.start_hi);
    Some(Entry { file_block, last, block, length, is_unwritten })
}

/// The stored checksum of a node and that of its bytes, if they differ.
fn wrong_sum(subject: &Subject<'_>, bytes: &[u8], max: u16) -> Option<(u32, u32)> {
    if !subject.seed.is_enabled() {
        return None;
    }
    let tail = (usize::from(max) + 1) * ENTRY_SIZE;
    let stored = u32_at(bytes, tail)?;
    let computed = subject.seed.sum(bytes.get(..tail)?);
    (stored != computed).then_some((stored, computed))
}

/// The block of the only extent of a symbolic link, if it has one as it should.
pub(super) fn only_block(subject: &Subject<'_>) -> Option<u64> {
    let root = &subject.record.block;
    let (header, rest) = Header::read_from_prefix(root).ok()?;
    let (leaf, _) = Leaf::read_from_prefix(rest).ok()?;
    let is_one = has_header(root) && header.entries.get() == 1 && header.depth.get() == 0;
    let is_first = leaf.block.get() == 0 && leaf.len.get() == 1;
    (is_one && is_first).then(|| wide48(leaf.start_lo, leaf.start_hi))
}

/// The block that holds the first block of a file mapped by extents, whatever else is wrong.
pub(super) fn first_block<S: Source>(
    scan: &Scan<'_, S>,
    subject: &Subject<'_>,
) -> ReadResult<Option<u64>> {
    let mut bytes = subject.record.block.to_vec();
    for _ in 0..=MAX_DEPTH {
        if !has_header(&bytes) {
            return Ok(None);
        }
        let Ok((header, rest)) = Header::read_from_prefix(bytes.as_slice()) else {
            return Ok(None);
        };
        if header.entries.get() == 0 {
            return Ok(None);
        }
        if header.depth.get() == 0 {
            let leaf = Leaf::read_from_prefix(rest).ok().map(|(leaf, _)| leaf);
            let leaf = leaf.filter(|leaf| leaf.block.get() == 0 && leaf.len.get() != 0);
            return Ok(leaf.map(|leaf| wide48(leaf.start_lo, leaf.start_hi)));
        }
        let index = Index::read_from_prefix(rest).ok().map(|(index, _)| index);
        let block = index.map(|index| wide48(index.leaf_lo, index.leaf_hi));
        let Some(block) = block.filter(|block| scan.context.is_block(*block)) else {
            return Ok(None);
        };
        bytes = scan.context.image.block(block)?;
    }
    Ok(None)
}
