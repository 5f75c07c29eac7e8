//! The journal: its inode, its superblock, and whether its log can be replayed.
//!
//! Source of what counts: e2fsprogs, `e2fsck/journal.c`; kernel, `fs/jbd2/journal.c`,
//! `fs/ext4/super.c`, `ext4_get_journal_inode`.

use zerocopy::{FromBytes, IntoBytes};

use crate::check::bytes::is_zero;
use crate::check::context::Context;
use crate::check::facts::own;
use crate::check::findings::{Finding, Findings};
use crate::check::image::Image;
use crate::check::kinds::Kind;
use crate::check::subject::is_refused;
use crate::check::superblock::Opened;
use crate::format::checksum::fold_without;
use crate::format::units::BlockSize;
use crate::metadata::FileKind;
use crate::reader::device::Overlay;
use crate::reader::features::Feature;
use crate::reader::inode::Inode;
use crate::reader::map::Map;
use crate::reader::{ReadError, ReadResult, Recovery, Source, inode, journal};
use crate::record::inode::Flags;
use crate::record::journal::{
    CHECKSUM_CRC32C, COMPAT_CHECKSUM, FAST_COMMIT_BLOCKS, Incompatible, JournalSuperblock, MAGIC,
    MIN_BLOCKS, SUPERBLOCK_V1, SUPERBLOCK_V2, TAIL_SIZE,
};
use crate::record::low32;
use crate::record::superblock::{JOURNAL_BLOCKS_BACKUP, Superblock};

/// The journal superblock's `s_nr_users` for a journal of one filesystem.
const ONE_USER: u32 = 1;

/// Judges the journal, which was replayed or not.
pub(super) fn judge<S: Source>(
    context: &Context<S>,
    is_replayed: bool,
    findings: &mut Findings,
) -> ReadResult<()> {
    let (superblock, layout) = (&context.superblock, &context.layout);
    let number = superblock.journal_inum.get();
    let finding = Finding::new(Kind::JournalInode).field("s_journal_inum").found(number);
    if !is_zero(&superblock.journal_uuid) {
        findings.push(Finding::new(Kind::JournalUuid).field("s_journal_uuid"));
    }
    if !layout.has(Feature::HAS_JOURNAL) {
        if layout.has(Feature::NEEDS_RECOVERY) {
            findings.push(Finding::new(Kind::JournalPending).found("there is no journal"));
        }
        if number != 0 || superblock.journal_dev.get() != 0 {
            findings.push(finding.expected("none: there is no journal"));
        }
        return Ok(());
    }
    if number == 0 {
        if superblock.journal_dev.get() == 0 {
            findings.push(finding);
        }
        return Ok(());
    }
    if number != own::JOURNAL {
        // e2fsck takes none but this one.
        findings.push(finding.expected(own::JOURNAL));
        return Ok(());
    }
    if is_refused(context, number)? {
        return Ok(());
    }
    let inode = context.readable_inode(number)?;
    let is_file = |inode: &Inode| inode.is(FileKind::Regular) && inode.links() > 0;
    let Some(inode) = inode.filter(is_file) else {
        findings.push(finding.expected("a regular file"));
        return Ok(());
    };
    in_inode(context, &inode, is_replayed, findings)
}

/// The journal in this inode.
fn in_inode<S: Source>(
    context: &Context<S>,
    inode: &Inode,
    is_replayed: bool,
    findings: &mut Findings,
) -> ReadResult<()> {
    let (image, layout) = (&context.image, &context.layout);
    let number = inode.number();
    let Some((first, mapped)) = mapped(image, inode) else {
        let finding = Finding::new(Kind::JournalInode).inode(number);
        findings.push(finding.found("no first block"));
        return Ok(());
    };
    let bytes = image.block(first)?;
    let Ok((record, _)) = JournalSuperblock::read_from_prefix(&bytes) else { return Ok(()) };
    let blocks = inode.size() / layout.block.bytes();
    if blocks < MIN_BLOCKS {
        let finding = Finding::new(Kind::JournalInode).inode(number).field("i_size");
        findings.push(finding.found(inode.size()));
    } else if size_in_int(inode) > mapped.saturating_mul(layout.block.bytes())
        && (inode.has(Flags::EXTENTS)
            || !has_backup(&context.superblock, mapped.saturating_mul(layout.block.bytes())))
    {
        let finding = Finding::new(Kind::JournalInode).inode(number).field("i_size");
        findings.push(finding.found(inode.size()).expected(format!("at most {mapped} blocks")));
    }
    numbers(&record, (layout.block, blocks), findings);
    let version = record.header_blocktype.get();
    let needs_features = layout.has(Feature::BIT_64) || layout.has(Feature::METADATA_CSUM);
    if version == SUPERBLOCK_V1 && needs_features {
        // Source: kernel, `fs/jbd2/journal.c`, `jbd2_journal_set_features`: version 1 has none.
        let finding = Finding::new(Kind::JournalRefused).field("h_blocktype");
        findings.push(finding.found(version).expected(SUPERBLOCK_V2));
    }
    let is_pending = is_replayed || layout.has(Feature::NEEDS_RECOVERY);
    if record.start.get() != 0 && !is_pending {
        let finding = Finding::new(Kind::JournalUnflagged).field("s_start");
        findings.push(finding.found(record.start).expected(0));
    }
    if is_pending {
        findings.push(Finding::new(Kind::JournalPending).field("s_start").found(record.start));
    }
    Ok(())
}

/// The size that e2fsck compares with the map: it takes the low 32 bits, signed. The kernel takes a
/// file that is longer than its map as long as the log lies within.
///
/// Source: e2fsprogs, `e2fsck/journal.c`, `e2fsck_get_journal`.
fn size_in_int(inode: &Inode) -> u64 {
    match low32(inode.size()) {
        low if low > i32::MAX.cast_unsigned() => 0,
        low => u64::from(low),
    }
}

/// Whether the superblock has a copy of the journal inode's map and size, which e2fsck takes where
/// the inode itself is wrong: as a block map, so that a copy of extents is of no use.
///
/// Source: e2fsprogs, `e2fsck/journal.c`, `e2fsck_get_journal`.
fn has_backup(superblock: &Superblock, mapped: u64) -> bool {
    let [.., high, low] = superblock.jnl_blocks;
    superblock.jnl_backup_type == JOURNAL_BLOCKS_BACKUP
        && high.get() == 0
        && (1..=mapped).contains(&low.get().into())
}

/// The first block, which must be there, and the blocks of the file up to the last that is mapped.
fn mapped<S: Source>(image: &Image<S>, inode: &Inode) -> Option<(u64, u64)> {
    let mut map = Map::new(image.device(), inode, 0).ok()?;
    let first = map.next_run(image.device(), inode)?.ok()?;
    let mut last = first;
    while let Some(Ok(run)) = map.next_run(image.device(), inode) {
        last = run;
    }
    let end = last.file_block.saturating_add(last.length);
    (first.file_block == 0).then_some((first.block, end))
}

fn numbers(record: &JournalSuperblock, (block, blocks): (BlockSize, u64), findings: &mut Findings) {
    let (magic, kind) = (record.header_magic.get(), record.header_blocktype.get());
    let mut wrong = |field: &'static str, found: String| {
        findings.push(Finding::new(Kind::JournalSuperblock).field(field).found(found));
    };
    if magic != MAGIC {
        wrong("h_magic", format!("{magic:#010x}"));
        return;
    }
    if kind != SUPERBLOCK_V1 && kind != SUPERBLOCK_V2 {
        wrong("h_blocktype", kind.to_string());
        return;
    }
    if u64::from(record.blocksize.get()) != block.bytes() {
        wrong("s_blocksize", record.blocksize.to_string());
    }
    let length = record.maxlen.get();
    if u64::from(length) > blocks {
        wrong("s_maxlen", format!("{length} blocks in a file of {blocks}"));
    }
    if kind == SUPERBLOCK_V2 {
        features(record, &mut wrong);
    }
    let users = record.nr_users.get();
    if kind == SUPERBLOCK_V2 && users > ONE_USER {
        wrong("s_nr_users", users.to_string());
    }
    refused(record, findings);
}

fn features(record: &JournalSuperblock, wrong: &mut impl FnMut(&'static str, String)) {
    let (bits, read_only) = (record.feature_incompat.get(), record.feature_ro_compat.get());
    if read_only != 0 {
        wrong("s_feature_ro_compat", format!("{read_only:#x}"));
    }
    let known = Incompatible::from_bits_truncate(bits);
    if known.contains(Incompatible::FAST_COMMIT) {
        fast_commits(record, wrong);
    }
    if Incompatible::from_bits(bits).is_none() {
        wrong("s_feature_incompat", format!("{bits:#x}"));
    }
    let sums =
        Incompatible::from_bits_truncate(bits) & (Incompatible::CSUM_V2 | Incompatible::CSUM_V3);
    let of_blocks = record.feature_compat.get() & COMPAT_CHECKSUM != 0;
    if sums.bits().count_ones() > 1 || (of_blocks && !sums.is_empty()) {
        wrong("s_feature_incompat", format!("{bits:#x}, sums of two kinds"));
    }
    if sums.is_empty() {
        return;
    }
    if record.checksum_type != CHECKSUM_CRC32C {
        wrong("s_checksum_type", record.checksum_type.to_string());
        return;
    }
    let place = std::mem::offset_of!(JournalSuperblock, checksum);
    let computed = fold_without(u32::MAX, record.as_bytes(), place, TAIL_SIZE);
    let stored = record.checksum.get();
    if stored != computed {
        wrong("s_checksum", format!("{stored:#x}, expected {computed:#x}"));
    }
}

/// The blocks of fast commits stand behind those of the log, which must keep as many as a journal
/// has at least.
///
/// Source: e2fsck 1.47.0 and Linux 6.18 with journals of 1,024 to 4,096 blocks; kernel,
/// `fs/jbd2/journal.c`, `journal_load_superblock`.
fn fast_commits(record: &JournalSuperblock, wrong: &mut impl FnMut(&'static str, String)) {
    let (blocks, length) = (fast_commit_blocks(record), record.maxlen.get());
    if length.checked_sub(blocks).is_some_and(|log| u64::from(log) < MIN_BLOCKS) {
        wrong("s_num_fc_blks", format!("{blocks} of {length} blocks"));
    }
}

fn fast_commit_blocks(record: &JournalSuperblock) -> u32 {
    match record.num_fc_blocks.get() {
        0 => FAST_COMMIT_BLOCKS,
        blocks => blocks,
    }
}

/// What e2fsck takes and the kernel does not.
fn refused(record: &JournalSuperblock, findings: &mut Findings) {
    let finding = |field| Finding::new(Kind::JournalRefused).field(field);
    let (first, length) = (record.first.get(), record.maxlen.get());
    if first != 1 {
        findings.push(finding("s_first").found(first).expected(1));
    } else if u64::from(length) < MIN_BLOCKS {
        let least = format!("at least {MIN_BLOCKS}");
        findings.push(finding("s_maxlen").found(length).expected(least));
    }
    let has_fast_commits = Incompatible::from_bits_truncate(record.feature_incompat.get())
        .contains(Incompatible::FAST_COMMIT);
    let blocks = fast_commit_blocks(record);
    if has_fast_commits && blocks > length {
        // e2fsck subtracts without a look.
        let most = format!("at most {length}");
        findings.push(finding("s_num_fc_blks").found(blocks).expected(most));
    }
    let errno = record.errno.get();
    if errno != 0 {
        let finding = Finding::new(Kind::ErrorState).field("s_errno");
        findings.push(finding.found(errno.cast_signed()).expected(0));
    }
}

/// The blocks that the log replaces, if it can be replayed.
pub(super) fn replay<S: Source>(
    image: &Image<S>,
    opened: &Opened,
    findings: &mut Findings,
) -> ReadResult<Option<(Overlay, Recovery)>> {
    let Opened { superblock, layout } = opened;
    let number = superblock.journal_inum.get();
    if !layout.has(Feature::HAS_JOURNAL) || !layout.has(Feature::NEEDS_RECOVERY) || number == 0 {
        return Ok(None);
    }
    let replayed = inode::read(image.device(), layout, number)
        .and_then(|inode| journal::replay(image.device(), &inode));
    match replayed {
        Ok(replayed) => Ok(Some(replayed)),
        Err(ReadError::Io { offset, length, source }) => {
            Err(ReadError::Io { offset, length, source })
        }
        Err(error) => {
            findings.push(Finding::new(Kind::JournalLog).found(error));
            Ok(None)
        }
    }
}
