//! The superblock, and if it is damaged a copy of it.
//!
//! Source of the limits: e2fsprogs, `e2fsck/super.c`, `check_super_block`; kernel,
//! `fs/ext4/super.c`.

use zerocopy::FromBytes;

use crate::check::findings::{Finding, Findings};
use crate::check::image::Image;
use crate::check::kinds::Kind;
use crate::reader::features::{Feature, FeatureWords};
use crate::reader::layout::{self, Layout, SUPERBLOCK_OFFSET};
use crate::reader::{Part, ReadError, ReadResult, Source};
use crate::record::superblock::{OS_HURD, STATE_ERRORS, Superblock};
use crate::record::wide;

/// The features of each word that e2fsck 1.47.0 and HEAD take, others being refused.
const KNOWN: FeatureWords = FeatureWords {
    // dir_prealloc, imagic_inodes, has_journal, ext_attr, resize_inode, dir_index, sparse_super2,
    // fast_commit, stable_inodes, orphan_file
    compatible: 0x1e3f,
    // filetype, needs_recovery, meta_bg, extent, 64bit, mmp, flex_bg, ea_inode, csum_seed,
    // large_dir, inline_data, encrypt, casefold
    incompatible: 0x3_e7d6,
    // sparse_super, large_file, huge_file, gdt_csum, dir_nlink, extra_isize, quota, bigalloc,
    // metadata_csum, read-only, project, shared_blocks, verity, orphan_present
    read_only: 0x1_f77b,
};

/// A superblock that the rest can be found by.
pub(super) struct Opened {
    pub superblock: Superblock,
    pub layout: Layout,
}

/// Where copies may be when nothing is known: behind the first group of 1, 2, 4 … KiB blocks.
///
/// Source: e2fsprogs, `e2fsck/util.c`, `get_backup_sb`.
fn guesses() -> impl Iterator<Item = u64> {
    (0..=6u32).map(|log| {
        let block = 1024u64 << log;
        let first = u64::from(log == 0);
        let per_group = (8 * block).min(65_528);
        (first + per_group) * block
    })
}

/// Reads the superblock; where it cannot be used, a copy.
pub(super) fn open<S: Source>(
    image: &Image<S>,
    findings: &mut Findings,
) -> ReadResult<Option<Opened>> {
    match read(image, SUPERBLOCK_OFFSET)? {
        Ok(opened) => return Ok(Some(opened)),
        Err(error) => findings.push(refusal(&error)),
    }
    for offset in guesses().filter(|offset| offset.saturating_add(1024) <= image.length) {
        let found = read(image, offset)?;
        // A copy in the middle of a file's content is none.
        if let Ok(opened) = found
            && opened.superblock.block_group_nr.get() == 1
        {
            return Ok(Some(opened));
        }
    }
    Ok(None)
}

type Attempt = Result<Opened, ReadError>;

fn read<S: Source>(image: &Image<S>, offset: u64) -> ReadResult<Attempt> {
    let mut bytes = [0; size_of::<Superblock>()];
    image.read(offset, &mut bytes)?;
    let superblock = match layout::parse(&bytes) {
        Ok(superblock) => superblock,
        Err(error) => return Ok(Err(error)),
    };
    Ok(Layout::new(&superblock).map(|layout| Opened { superblock, layout }))
}

fn refusal(error: &ReadError) -> Finding {
    match error {
        ReadError::NotExt4 { detail } => Finding::new(Kind::NotExt4).found(detail),
        ReadError::Unsupported { what, .. } => Finding::new(Kind::SuperblockFeatures).found(what),
        ReadError::Checksum { part: Part::Superblock, stored, computed } => {
            Finding::new(Kind::SuperblockChecksum)
                .field("s_checksum")
                .found(format_args!("{stored:#x}"))
                .expected(format_args!("{computed:#x}"))
        }
        other => Finding::new(Kind::SuperblockField).found(other),
    }
}

/// What is wrong with the numbers that the check goes on with.
pub(super) fn judge<S>(
    image: &Image<S>,
    opened: &Opened,
    now: Option<u32>,
    findings: &mut Findings,
) {
    limits(opened, findings);
    let Opened { superblock, layout } = opened;
    let words = layout.features;
    for (word, known, name) in [
        (words.compatible, KNOWN.compatible, "s_feature_compat"),
        (words.incompatible, KNOWN.incompatible, "s_feature_incompat"),
        (words.read_only, KNOWN.read_only, "s_feature_ro_compat"),
    ] {
        let unknown = word & !known;
        if unknown != 0 {
            let found = format!("the unknown bits {unknown:#x}");
            findings.push(Finding::new(Kind::SuperblockFeatures).field(name).found(found));
        }
    }
    let needed = layout.blocks.saturating_mul(layout.block.bytes());
    if image.length < needed {
        let found = format!("{} bytes", image.length);
        findings.push(Finding::new(Kind::ImageShort).found(found).expected(needed));
    }
    conflicts(superblock, layout, findings);
    kernel_only(superblock, layout, findings);
    times(superblock, now, findings);
}

/// The longest descriptor: `EXT2_MAX_DESC_SIZE`.
const MAX_DESCRIPTOR: u16 = 1024;

/// The numbers that the layout does not depend on.
fn limits(opened: &Opened, findings: &mut Findings) {
    let Opened { superblock, layout } = opened;
    let block = layout.block.bytes();
    let blocks = layout.blocks;
    let is_wide = layout.has(Feature::BIT_64);
    let high = if is_wide { superblock.r_blocks_count_hi } else { 0.into() };
    let reserved = wide(superblock.r_blocks_count_lo, high);
    let first_inode = u64::from(superblock.first_ino.get());
    let revision = u64::from(superblock.rev_level.get());
    let descriptor = superblock.desc_size.get();
    if descriptor != 0 && (descriptor > MAX_DESCRIPTOR || !descriptor.is_power_of_two()) {
        // e2fsck 1.47.0 asks for it without 64bit too.
        let finding = Finding::new(Kind::SuperblockField).field("s_desc_size").found(descriptor);
        let expected = format!("0, or a power of two up to {MAX_DESCRIPTOR}");
        findings.push(finding.expected(expected));
    }
    let mut limit = |field, found: u64, least: u64, most: u64| {
        if !(least..=most).contains(&found) {
            let expected = format!("{least} to {most}");
            let finding = Finding::new(Kind::SuperblockField).field(field);
            findings.push(finding.found(found).expected(expected));
        }
    };
    limit("s_r_blocks_count", reserved, 0, blocks / 2);
    limit("s_reserved_gdt_blocks", layout.reserved_descriptor_blocks, 0, block / 4);
    limit("s_rev_level", revision, 0, 1);
    let clusters = superblock.clusters_per_group.get().into();
    if layout.has(Feature::BIGALLOC) {
        limit("s_clusters_per_group", clusters, 8, (8 * block).min(65_528));
    } else {
        let blocks = layout.blocks_per_group;
        limit("s_clusters_per_group", clusters, blocks, blocks);
    }
    let per_block = block / crate::format::units::widen(layout.inode_len);
    let most = per_block.saturating_mul(layout.blocks_per_group.saturating_sub(4));
    limit("s_inodes_per_group", layout.inodes_per_group.into(), per_block, most.min(65_536));
    limit("s_log_groups_per_flex", superblock.log_groups_per_flex.into(), 0, 31);
    if revision != 0 {
        limit("s_first_ino", first_inode, 11, layout.inodes.into());
    }
}

fn conflicts(superblock: &Superblock, layout: &Layout, findings: &mut Findings) {
    let has = |feature| layout.has(feature);
    let mut conflict = |is: bool, what: &str| {
        if is {
            findings.push(Finding::new(Kind::FeatureConflict).found(what));
        }
    };
    let summed = has(Feature::METADATA_CSUM);
    conflict(summed && has(Feature::UNINIT_BG), "metadata_csum and uninit_bg");
    conflict(!summed && has(Feature::CSUM_SEED), "metadata_csum_seed without metadata_csum");
    conflict(has(Feature::BIT_64) && !has(Feature::EXTENT), "64bit without extent");
    let resize = has(Feature::RESIZE_INODE);
    conflict(resize && has(Feature::META_BG), "resize_inode and meta_bg");
    conflict(resize && has(Feature::SPARSE_SUPER2) && !has(Feature::SPARSE_SUPER), {
        "resize_inode and sparse_super2 without sparse_super"
    });
    let reserved = layout.reserved_descriptor_blocks;
    if !resize && reserved != 0 {
        let finding = Finding::new(Kind::ReservedDescriptors).field("s_reserved_gdt_blocks");
        findings.push(finding.found(reserved).expected(0));
    }
    if superblock.state.get() & STATE_ERRORS != 0 {
        let finding = Finding::new(Kind::ErrorState).field("s_state");
        findings.push(finding.found(superblock.state.get()));
    }
}

/// What e2fsck passes over and the kernel does not.
fn kernel_only(superblock: &Superblock, layout: &Layout, findings: &mut Findings) {
    let room = layout.inode_len.saturating_sub(crate::record::inode::GOOD_OLD_SIZE);
    let sizes = [
        ("s_min_extra_isize", superblock.min_extra_isize.get()),
        ("s_want_extra_isize", superblock.want_extra_isize.get()),
    ];
    for (field, size) in sizes {
        if room > 0 && usize::from(size) > room {
            let finding = Finding::new(Kind::SuperblockExtraSize).field(field);
            findings.push(finding.found(size).expected(format_args!("at most {room}")));
        }
    }
    // DX_HASH_LAST of the superblock's own: legacy, half MD4, TEA and these unsigned.
    let hash = superblock.def_hash_version;
    if layout.has(Feature::DIR_INDEX) && hash > 5 {
        let finding = Finding::new(Kind::HashVersion).field("s_def_hash_version");
        findings.push(finding.found(hash).expected("0 to 5"));
    }
    // Source: kernel, `fs/ext4/super.c`, `__ext4_fill_super`.
    let is_modern = layout.has(Feature::BIT_64) || layout.has(Feature::EA_INODE);
    if superblock.creator_os.get() == OS_HURD && is_modern {
        let finding = Finding::new(Kind::Hurd).field("s_creator_os").found(OS_HURD);
        findings.push(finding.expected("no 64bit and no ea_inode"));
    }
    if !superblock.mount_opts.contains(&0) {
        findings.push(Finding::new(Kind::MountOptions).field("s_mount_opts"));
    }
    let device = superblock.journal_dev.get();
    let has_journal = layout.has(Feature::HAS_JOURNAL);
    if has_journal && device != 0 && superblock.journal_inum.get() != 0 {
        findings.push(Finding::new(Kind::JournalDevice).field("s_journal_dev").found(device));
    }
}

fn times(superblock: &Superblock, now: Option<u32>, findings: &mut Findings) {
    let Some(now) = now else { return };
    for (field, time) in [("s_mtime", superblock.mtime.get()), ("s_wtime", superblock.wtime.get())]
    {
        if time > now {
            let finding = Finding::new(Kind::FutureTime).field(field).found(time);
            findings.push(finding.expected(format_args!("at most {now}")));
        }
    }
}

/// The superblock in a group, whatever it holds.
pub(super) fn copy<S: Source>(image: &Image<S>, offset: u64) -> ReadResult<Option<Superblock>> {
    let mut bytes = [0; size_of::<Superblock>()];
    image.read(offset, &mut bytes)?;
    Ok(Superblock::read_from_bytes(&bytes).ok())
}
