//! The journal of a filesystem that was not unmounted: which blocks it replaces.
//!
//! Nothing is copied: what is kept of a transaction is where in the journal its blocks are.
//!
//! Source: kernel, `fs/jbd2/recovery.c`; `fs/jbd2/journal.c`, `journal_load_superblock`.

use std::collections::BTreeMap;

use zerocopy::{FromBytes, IntoBytes};

use crate::format::checksum::{fold, fold_be, fold_without};
use crate::format::units::BlockIndex;
use crate::metadata::FileKind;
use crate::reader::device::{Device, Overlay, Replacement};
use crate::reader::error::{Part, ReadError, ReadResult};
use crate::reader::extent::Extent;
use crate::reader::inode::Inode;
use crate::reader::map::Map;
use crate::reader::source::Source;
use crate::reader::tags::{Tag, tags};
use crate::record::journal::{
    CHECKSUM_CRC32, CHECKSUM_CRC32_SIZE, CHECKSUM_CRC32C, COMMIT, COMPAT_CHECKSUM, CommitHeader,
    DESCRIPTOR, FAST_COMMIT_BLOCKS, FAST_COMMIT_HEAD, Header, Incompatible, JournalSuperblock,
    MAGIC, MIN_BLOCKS, REVOKE, RevokeHeader, SUPERBLOCK_V1, SUPERBLOCK_V2, TAIL_SIZE,
};

/// The longest journal that is replayed, in blocks: e2fsprogs makes none that is longer
/// (`misc/util.c`, `figure_journal_size`).
const MAX_BLOCKS: u32 = 10_240_000;
/// The bytes of a commit block that count when the rest was not written: the kernel's
/// `sizeof(struct commit_header)`, which ends in a gap.
///
/// Source: kernel, `fs/jbd2/recovery.c`, `jbd2_commit_block_csum_verify_partial`.
const COMMIT_HEAD: usize = 64;
/// The most revoked blocks that are kept in mind.
const MAX_REVOKED: usize = 16 << 20;

/// What a journal had to be replayed for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The transactions that were finished.
    pub transactions: u32,
    /// The blocks of the filesystem that are read from the journal.
    pub blocks: u64,
}

/// The journal while it is read.
pub(crate) struct Journal<'a, S> {
    device: &'a Device<S>,
    /// Where its blocks are.
    runs: Vec<Extent>,
    pub(crate) superblock: JournalSuperblock,
    pub(crate) features: Incompatible,
    /// Transactions are summed as a whole.
    whole_sums: bool,
    /// Behind the last block of the log.
    pub(crate) last: u32,
    pub(crate) seed: u32,
}

/// Where a pass is.
struct Cursor {
    block: u32,
    sequence: u32,
    /// How many blocks may still be looked at: the log is a ring.
    left: u32,
}

/// What is known about the log after the first pass, and gathered in the others.
#[derive(Default)]
struct Findings {
    transactions: u32,
    revoked: BTreeMap<u64, u32>,
    overlay: Overlay,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Revoke,
    Replay,
}

fn wrong(detail: String) -> ReadError {
    ReadError::corrupt(Part::JournalSuperblock, detail)
}

/// The blocks that the journal in this inode replaces.
pub(crate) fn replay<S: Source>(
    device: &Device<S>,
    inode: &Inode,
) -> ReadResult<(Overlay, Recovery)> {
    let journal = Journal::open(device, inode)?;
    if journal.superblock.start.get() == 0 {
        return Ok((Overlay::new(), Recovery::default()));
    }
    let mut findings = Findings { transactions: journal.scan()?, ..Findings::default() };
    journal.pass(Pass::Revoke, &mut findings)?;
    journal.pass(Pass::Replay, &mut findings)?;
    journal.refuse_fast_commits(findings.transactions)?;
    let blocks = crate::format::units::widen(findings.overlay.len());
    Ok((findings.overlay, Recovery { transactions: findings.transactions, blocks }))
}

impl<'a, S: Source> Journal<'a, S> {
    /// The journal in this inode, checked, whatever its log holds.
    pub(crate) fn open(device: &'a Device<S>, inode: &Inode) -> ReadResult<Self> {
        if !inode.is(FileKind::Regular) || inode.links() == 0 {
            return Err(inode.corrupt("it is to be the journal, and is not a file"));
        }
        let runs = runs(device, inode)?;
        let first = runs.first().filter(|run| run.file_block == 0).map(|run| run.block);
        let first = first.ok_or_else(|| inode.corrupt("the journal has no first block"))?;
        let bytes = device.read_block(first, inode.part())?;
        let (superblock, _) = JournalSuperblock::read_from_prefix(&bytes)
            .map_err(|_| wrong("it is cut short".to_owned()))?;
        let features = features(&superblock)?;
        check_numbers(&superblock, device, inode)?;
        let has_sums = features.intersects(Incompatible::CSUM_V2 | Incompatible::CSUM_V3);
        if has_sums {
            let place = std::mem::offset_of!(JournalSuperblock, checksum);
            let computed = fold_without(u32::MAX, superblock.as_bytes(), place, TAIL_SIZE);
            ReadError::verify(Part::JournalSuperblock, superblock.checksum.get(), computed)?;
        }
        let is_new = superblock.header_blocktype.get() == SUPERBLOCK_V2;
        Ok(Self {
            device,
            runs,
            features,
            whole_sums: is_new && superblock.feature_compat.get() & COMPAT_CHECKSUM != 0,
            last: last_block(&superblock, features),
            seed: fold(u32::MAX, &superblock.uuid),
            superblock,
        })
    }

    /// Whether its blocks are summed one by one.
    pub(crate) fn has_sums(&self) -> bool {
        self.features.intersects(Incompatible::CSUM_V2 | Incompatible::CSUM_V3)
    }

    fn start(&self) -> Cursor {
        Cursor {
            block: self.superblock.start.get(),
            sequence: self.superblock.sequence.get(),
            left: self.last,
        }
    }

    fn wrong(block: u32, detail: impl Into<String>) -> ReadError {
        ReadError::corrupt(Part::Journal { block }, detail)
    }

    /// Where a block of the journal is.
    pub(crate) fn place(&self, block: u32) -> ReadResult<u64> {
        let number = u64::from(block);
        let after = self.runs.partition_point(|run| run.end() <= number);
        let run = self.runs.get(after).filter(|run| run.file_block <= number);
        let run = run.ok_or_else(|| Self::wrong(block, "it is a hole"))?;
        Ok(run.block.saturating_add(number.saturating_sub(run.file_block)))
    }

    fn read(&self, block: u32) -> ReadResult<Vec<u8>> {
        self.device.read_block(self.place(block)?, Part::Journal { block })
    }

    /// Moves on by so many blocks.
    fn advance(&self, cursor: &mut Cursor, blocks: u32) -> ReadResult<()> {
        cursor.left = cursor
            .left
            .checked_sub(blocks)
            .ok_or_else(|| Self::wrong(cursor.block, "a transaction is longer than the journal"))?;
        let first = self.superblock.first.get();
        let next = u64::from(cursor.block).saturating_add(blocks.into());
        let last = u64::from(self.last);
        let next = if next >= last { next - (last - u64::from(first)) } else { next };
        cursor.block = u32::try_from(next).unwrap_or(first);
        Ok(())
    }

    /// The next block of the log, if it belongs to the transaction that is expected.
    fn next(&self, cursor: &mut Cursor) -> ReadResult<Option<(u32, Vec<u8>)>> {
        if cursor.left == 0 {
            return Ok(None);
        }
        let bytes = self.read(cursor.block)?;
        let header = Header::read_from_prefix(&bytes).map(|(header, _)| header).ok();
        let expected = header.filter(|header| {
            header.magic.get() == MAGIC && header.sequence.get() == cursor.sequence
        });
        let Some(header) = expected else { return Ok(None) };
        self.advance(cursor, 1)?;
        Ok(Some((header.blocktype.get(), bytes)))
    }

    /// Compares the checksum at the end of a descriptor or revoke block.
    fn has_right_tail(&self, bytes: &[u8]) -> bool {
        if !self.has_sums() {
            return true;
        }
        let place = bytes.len().saturating_sub(TAIL_SIZE);
        let stored = bytes.get(place..).and_then(<[u8]>::first_chunk).copied();
        let computed = fold_without(self.seed, bytes, place, TAIL_SIZE);
        stored.map(u32::from_be_bytes) == Some(computed)
    }

    /// Counts the transactions that were finished.
    fn scan(&self) -> ReadResult<u32> {
        let mut cursor = self.start();
        let mut transactions = 0u32;
        let mut sums = Sums { whole: u32::MAX, ..Sums::default() };
        while let Some((kind, bytes)) = self.next(&mut cursor)? {
            match kind {
                DESCRIPTOR => {
                    sums.doubtful |= !self.has_right_tail(&bytes);
                    let count = u32::try_from(self.tags(&bytes).count()).unwrap_or(u32::MAX);
                    if count > cursor.left {
                        break;
                    }
                    if self.whole_sums && !sums.doubtful {
                        sums.whole = fold_be(sums.whole, &bytes);
                        self.sum_blocks(&mut cursor, count, &mut sums.whole)?;
                    } else {
                        self.advance(&mut cursor, count)?;
                    }
                }
                COMMIT => {
                    if !self.is_committed(&bytes, &mut sums, cursor.block)? {
                        break;
                    }
                    cursor.sequence = cursor.sequence.wrapping_add(1);
                    transactions = transactions.saturating_add(1);
                }
                REVOKE => sums.doubtful |= !self.has_right_tail(&bytes),
                _ => break,
            }
        }
        Ok(transactions)
    }

    fn sum_blocks(&self, cursor: &mut Cursor, count: u32, sum: &mut u32) -> ReadResult<()> {
        for _ in 0..count {
            *sum = fold_be(*sum, &self.read(cursor.block)?);
            self.advance(cursor, 1)?;
        }
        Ok(())
    }

    /// Whether a commit block ends a transaction; if not, it is one of an older use of the log.
    fn is_committed(&self, bytes: &[u8], sums: &mut Sums, block: u32) -> ReadResult<bool> {
        let (commit, _) = CommitHeader::read_from_prefix(bytes)
            .map_err(|_| Self::wrong(block, "it is cut short"))?;
        let time = commit.commit_sec.get();
        let [stored, ..] = commit.chksum;
        let stored = stored.get();
        if sums.doubtful {
            // A time that goes on means the same use of the log: its blocks are damaged.
            if time >= sums.last_time {
                return Err(Self::wrong(
                    block,
                    "a block of this transaction is not what was summed",
                ));
            }
            return Ok(false);
        }
        let (kind, size) = (commit.chksum_type, commit.chksum_size);
        let mut computed = stored;
        if self.whole_sums && (kind != 0 || size != 0 || stored != 0) {
            let is_known = kind == CHECKSUM_CRC32 && size == CHECKSUM_CRC32_SIZE;
            computed = if is_known { sums.whole } else { !stored };
        }
        if self.has_sums() {
            let place = std::mem::offset_of!(CommitHeader, chksum);
            computed = fold_without(self.seed, bytes, place, TAIL_SIZE);
            // Of a commit block that was torn only the head counts.
            let (head, behind) = bytes.split_at_checked(COMMIT_HEAD).unwrap_or((bytes, &[]));
            let torn = fold_without(self.seed, head, place, TAIL_SIZE);
            if stored == behind.iter().fold(torn, |sum, _| fold(sum, &[0])) {
                computed = stored;
            }
        }
        if stored != computed {
            // A commit block may be written before what it commits: that one was interrupted.
            if time < sums.last_time || self.features.contains(Incompatible::ASYNC_COMMIT) {
                return Ok(false);
            }
            let part = Part::Journal { block };
            return Err(ReadError::Checksum { part, stored, computed });
        }
        (sums.whole, sums.last_time) = (u32::MAX, time);
        Ok(true)
    }

    fn tags<'b>(&self, bytes: &'b [u8]) -> impl Iterator<Item = Tag> + use<'b, S> {
        tags(bytes, self.features)
    }

    /// Goes through the finished transactions once more.
    fn pass(&self, pass: Pass, findings: &mut Findings) -> ReadResult<()> {
        let mut cursor = self.start();
        let mut left = findings.transactions;
        while left > 0 {
            let block = cursor.block;
            let Some((kind, bytes)) = self.next(&mut cursor)? else {
                return Err(Self::wrong(block, "the log ends before its last transaction"));
            };
            match kind {
                DESCRIPTOR => {
                    if !self.has_right_tail(&bytes) {
                        return Err(Self::wrong(block, "its checksum is wrong"));
                    }
                    for tag in self.tags(&bytes) {
                        if pass == Pass::Replay {
                            self.replay_block(&cursor, &tag, findings)?;
                        }
                        self.advance(&mut cursor, 1)?;
                    }
                }
                COMMIT => {
                    cursor.sequence = cursor.sequence.wrapping_add(1);
                    left -= 1;
                }
                REVOKE if pass == Pass::Revoke => {
                    self.revoke(&bytes, block, cursor.sequence, findings)?;
                }
                REVOKE => {}
                kind => {
                    return Err(Self::wrong(block, format!("it is of the unknown kind {kind}")));
                }
            }
        }
        Ok(())
    }

    /// Takes one block of the log, unless a later transaction revokes it.
    fn replay_block(&self, at: &Cursor, tag: &Tag, findings: &mut Findings) -> ReadResult<()> {
        let revoked = findings.revoked.get(&tag.block);
        if revoked.is_some_and(|sequence| !is_later(at.sequence, *sequence)) {
            return Ok(());
        }
        let part = Part::Journal { block: at.block };
        if tag.block >= self.device.blocks {
            return Err(Self::wrong(at.block, format!("it replaces block {}", tag.block)));
        }
        let place = self.place(at.block)?;
        if let Some(stored) = tag.checksum {
            let bytes = self.read(at.block)?;
            let computed = fold(fold(self.seed, &at.sequence.to_be_bytes()), &bytes);
            let is_whole = self.features.contains(Incompatible::CSUM_V3);
            let computed = if is_whole { computed } else { computed & 0xffff };
            ReadError::verify(part, stored, computed)?;
        }
        let replacement = Replacement { at: BlockIndex::new(place), escaped: tag.escaped };
        findings.overlay.insert(tag.block, replacement);
        Ok(())
    }

    fn revoke(
        &self,
        bytes: &[u8],
        block: u32,
        sequence: u32,
        findings: &mut Findings,
    ) -> ReadResult<()> {
        let cut = || Self::wrong(block, "its revoked blocks reach behind its end");
        let (header, _) = RevokeHeader::read_from_prefix(bytes).map_err(|_| cut())?;
        let end = usize::try_from(header.count.get()).map_err(|_| cut())?;
        let tail = if self.has_sums() { TAIL_SIZE } else { 0 };
        if end > bytes.len().saturating_sub(tail) {
            return Err(cut());
        }
        let records = bytes.get(size_of::<RevokeHeader>()..end).unwrap_or_default();
        let size = if self.features.contains(Incompatible::BIT_64) { 8 } else { 4 };
        for record in records.chunks_exact(size) {
            let number = record.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
            let last = findings.revoked.entry(number).or_insert(sequence);
            if is_later(sequence, *last) {
                *last = sequence;
            }
            if findings.revoked.len() > MAX_REVOKED {
                return Err(Self::wrong(
                    block,
                    format!("it revokes more than {MAX_REVOKED} blocks"),
                ));
            }
        }
        Ok(())
    }

    /// Fast commits are not replayed here; a journal that has some is refused.
    ///
    /// Source: kernel, `fs/ext4/fast_commit.c`, `ext4_fc_replay_scan`: those that count begin with
    /// a head of the transaction that would come next.
    fn refuse_fast_commits(&self, transactions: u32) -> ReadResult<()> {
        let first = self.last.saturating_add(1);
        if !self.features.contains(Incompatible::FAST_COMMIT)
            || first >= self.superblock.maxlen.get()
        {
            return Ok(());
        }
        let bytes = self.read(first)?;
        let expected = self.superblock.sequence.get().wrapping_add(transactions);
        let head = bytes.first_chunk::<2>().copied().map(u16::from_le_bytes);
        let id = bytes.get(8..).and_then(<[u8]>::first_chunk).copied().map(u32::from_le_bytes);
        if head == Some(FAST_COMMIT_HEAD) && id == Some(expected) {
            return Err(ReadError::Unsupported {
                what: "a journal with fast commits".to_owned(),
                reason: "they are not replayed here; mount the filesystem once, or run e2fsck",
            });
        }
        Ok(())
    }
}

/// What the first pass knows about checksums.
#[derive(Default)]
struct Sums {
    /// Of all blocks of the transaction so far.
    whole: u32,
    /// A block of the transaction is not what was summed.
    doubtful: bool,
    last_time: u64,
}

/// Whether one transaction came after the other; their numbers wrap around.
fn is_later(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() > 0
}

/// Where the blocks of the journal are.
fn runs<S: Source>(device: &Device<S>, inode: &Inode) -> ReadResult<Vec<Extent>> {
    let mut map = Map::new(device, inode, 0)?;
    let mut runs = Vec::new();
    while let Some(run) = map.next_run(device, inode) {
        let run = run?;
        if run.file_block >= MAX_BLOCKS.into() {
            break;
        }
        runs.push(run);
    }
    Ok(runs)
}

fn features(superblock: &JournalSuperblock) -> ReadResult<Incompatible> {
    let (magic, kind) = (superblock.header_magic.get(), superblock.header_blocktype.get());
    if magic != MAGIC || (kind != SUPERBLOCK_V1 && kind != SUPERBLOCK_V2) {
        return Err(wrong(format!("its magic number is {magic:#010x}, its kind {kind}")));
    }
    if kind == SUPERBLOCK_V1 {
        return Ok(Incompatible::empty());
    }
    let (bits, read_only) = (superblock.feature_incompat.get(), superblock.feature_ro_compat.get());
    let known = Incompatible::from_bits(bits).filter(|_| read_only == 0);
    let Some(features) = known else {
        let what = format!("a journal with the features {bits:#x} and {read_only:#x}");
        return Err(ReadError::Unsupported { what, reason: "its log may be laid out otherwise" });
    };
    let sums = features & (Incompatible::CSUM_V2 | Incompatible::CSUM_V3);
    let old = superblock.feature_compat.get() & COMPAT_CHECKSUM != 0;
    let of_two_kinds = sums.bits().count_ones() > 1 || (old && !sums.is_empty());
    let kind = superblock.checksum_type;
    if of_two_kinds || (!sums.is_empty() && kind != CHECKSUM_CRC32C) {
        return Err(wrong(format!("its checksums are of the unknown kind {kind}")));
    }
    Ok(features)
}

fn check_numbers<S: Source>(
    superblock: &JournalSuperblock,
    device: &Device<S>,
    inode: &Inode,
) -> ReadResult<()> {
    let (size, length) = (superblock.blocksize.get(), superblock.maxlen.get());
    let (first, start) = (superblock.first.get(), superblock.start.get());
    let whole = inode.size() / device.block.bytes();
    if u64::from(size) != device.block.bytes() || u64::from(length) > whole {
        let detail = format!("it counts {length} blocks of {size} bytes, its file has {whole}");
        return Err(wrong(detail));
    }
    if length > MAX_BLOCKS {
        let what = format!("a journal of {length} blocks");
        return Err(ReadError::Unsupported { what, reason: "no mke2fs makes one that long" });
    }
    let last = last_block(superblock, features(superblock)?);
    if first == 0 || first >= last || (start != 0 && !(first..last).contains(&start)) {
        return Err(wrong(format!("its log is blocks {first} to {last}, and begins at {start}")));
    }
    Ok(())
}

/// The block behind the log: the fast commits have the rest.
///
/// Source: kernel, `fs/jbd2/journal.c`, `journal_load_superblock`.
fn last_block(superblock: &JournalSuperblock, features: Incompatible) -> u32 {
    let length = superblock.maxlen.get();
    if !features.contains(Incompatible::FAST_COMMIT) {
        return length;
    }
    let fast = match superblock.num_fc_blocks.get() {
        0 => FAST_COMMIT_BLOCKS,
        count => count,
    };
    let shorter = length.checked_sub(fast);
    shorter.filter(|blocks| u64::from(*blocks) >= MIN_BLOCKS).unwrap_or(length)
}
