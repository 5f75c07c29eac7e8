//! The rest of what a filesystem keeps of itself: the resize inode, the block against two mounts,
//! the copies of superblock and descriptors.
//!
//! Source: e2fsprogs, `e2fsck/super.c`, `check_resize_inode`; `lib/ext2fs/mmp.c`; kernel,
//! `fs/ext4/mmp.c`.

use crate::check::bytes::{is_zero, u32_at};
use crate::check::context::Context;
use crate::check::facts::{Sort, own};
use crate::check::findings::{Finding, Findings};
use crate::check::groups;
use crate::check::kinds::Kind;
use crate::check::subject::Subject;
use crate::check::superblock;
use crate::reader::features::Feature;
use crate::reader::{ReadResult, Source};
use crate::record::superblock::MAGIC;
use crate::record::wide;

/// The place of the address of addresses of addresses in `i_block`: `EXT4_DIND_BLOCK`.
const DOUBLE: usize = 13;
/// The magic number of the block against two mounts, `EXT4_MMP_MAGIC`.
const MMP_MAGIC: u32 = 0x004d_4d50;
/// Where its checksum is, behind all that is summed.
const MMP_SUM: usize = 1020;

/// The inode that reserves room for descriptors.
pub(super) fn resize_inode<S: Source>(
    context: &Context<S>,
    findings: &mut Findings,
) -> ReadResult<()> {
    let Some(bytes) = context.inode_bytes(own::RESIZE)? else { return Ok(()) };
    let inode = Subject::new(context, own::RESIZE, &bytes);
    let finding = |what: String| Finding::new(Kind::ResizeInode).inode(own::RESIZE).found(what);
    if !context.has(Feature::RESIZE_INODE) {
        if !is_zero(&inode.record.block) {
            findings.push(finding("blocks without the feature resize_inode".to_owned()));
        }
        return Ok(());
    }
    let doubles = u64::from(inode.address(DOUBLE));
    let others = (0..15).any(|place| place != DOUBLE && inode.address(place) != 0);
    if others || inode.links() == 0 || !inode.is(Sort::Regular) || !context.is_block(doubles) {
        findings.push(finding("no block of addresses of addresses".to_owned()));
        return Ok(());
    }
    if let Some(what) = reserved(context, doubles)? {
        findings.push(finding(what));
    }
    Ok(())
}

/// What is wrong with the blocks that are reserved for descriptors.
fn reserved<S: Source>(context: &Context<S>, doubles: u64) -> ReadResult<Option<String>> {
    let layout = &context.layout;
    let per_block = layout.descriptors_per_block();
    let used = u64::from(layout.groups).div_ceil(per_block);
    let addresses = layout.block.addresses();
    let doubles = context.image.block(doubles)?;
    let boot = u64::from(layout.block.bytes() == 1024 && layout.first_data_block == 0);
    let first = layout.first_data_block + 1 + used + boot;
    let holders: Vec<u64> = (1..layout.groups)
        .filter(|group| layout.has_superblock((*group).into()))
        .map(|group| u64::from(group) * layout.blocks_per_group)
        .collect();
    for number in 0..layout.reserved_descriptor_blocks {
        let block = first + number;
        let place = usize::try_from((used + number) % addresses).unwrap_or(usize::MAX);
        let told = u32_at(&doubles, place.saturating_mul(4)).map(u64::from);
        if told != Some(block) {
            return Ok(Some(format!("block {block} is not in its place")));
        }
        if !context.is_block(block) {
            return Ok(Some(format!("block {block} is outside")));
        }
        let copies = context.image.block(block)?;
        for (holder, place) in holders.iter().zip((0..copies.len()).step_by(4)) {
            let expected = block + holder;
            if u32_at(&copies, place).map(u64::from) != Some(expected) {
                return Ok(Some(format!(
                    "the copy {expected} of block {block} is not in its place"
                )));
            }
        }
    }
    Ok(None)
}

/// The block that protects from two mounts at once.
pub(super) fn mmp<S: Source>(context: &Context<S>, findings: &mut Findings) -> ReadResult<()> {
    if !context.has(Feature::MMP) {
        return Ok(());
    }
    let block = context.superblock.mmp_block.get();
    let finding = || Finding::new(Kind::MmpBlock).block(block);
    if !context.is_block(block) {
        findings.push(finding().field("s_mmp_block").found(block));
        return Ok(());
    }
    let bytes = context.image.block(block)?;
    let magic = u32_at(&bytes, 0);
    if magic != Some(MMP_MAGIC) {
        findings.push(finding().field("mmp_magic"));
    }
    if context.layout.seed.is_enabled() {
        let computed = context.layout.seed.bitmap(bytes.get(..MMP_SUM).unwrap_or_default());
        if u32_at(&bytes, MMP_SUM) != Some(computed) {
            findings.push(finding().field("mmp_checksum"));
        }
    }
    Ok(())
}

/// The copies of the superblock and of the descriptors.
pub(super) fn copies<S: Source>(context: &Context<S>, findings: &mut Findings) -> ReadResult<()> {
    let layout = &context.layout;
    for group in (1..layout.groups).filter(|group| layout.has_superblock((*group).into())) {
        let start = layout.group_start(group.into()).saturating_mul(layout.block.bytes());
        let Some(copy) = superblock::copy(&context.image, start)? else { continue };
        if let Some(what) = difference(context, &copy) {
            findings.push(Finding::new(Kind::BackupSuperblock).group(group).found(what));
        }
        if let Some(what) = descriptors(context, group)? {
            findings.push(Finding::new(Kind::BackupDescriptors).group(group).found(what));
        }
    }
    Ok(())
}

/// What must agree in a copy and does not.
fn difference<S>(
    context: &Context<S>,
    copy: &crate::record::superblock::Superblock,
) -> Option<&'static str> {
    let own = &context.superblock;
    let blocks = wide(copy.blocks_count_lo, copy.blocks_count_hi);
    // These the kernel changes in the first superblock alone.
    let incompatible = !(0x4 | 0x40 | 0x400);
    let words = [
        ("s_magic", copy.magic.get() == MAGIC),
        ("s_blocks_count", blocks == context.layout.blocks),
        ("s_inodes_count", copy.inodes_count.get() == own.inodes_count.get()),
        ("s_log_block_size", copy.log_block_size.get() == own.log_block_size.get()),
        ("s_blocks_per_group", copy.blocks_per_group.get() == own.blocks_per_group.get()),
        ("s_inodes_per_group", copy.inodes_per_group.get() == own.inodes_per_group.get()),
        ("s_inode_size", copy.inode_size.get() == own.inode_size.get()),
        ("s_uuid", copy.uuid == own.uuid),
        (
            "s_feature_incompat",
            (copy.feature_incompat.get() ^ own.feature_incompat.get()) & incompatible == 0,
        ),
    ];
    words.into_iter().find(|(_, agrees)| !agrees).map(|(field, _)| field)
}

/// The first group whose bitmaps and table a copy of the descriptors has elsewhere.
fn descriptors<S: Source>(context: &Context<S>, holder: u32) -> ReadResult<Option<String>> {
    let layout = &context.layout;
    if layout.has(Feature::META_BG) {
        return Ok(None);
    }
    let Some(start) = groups::copy_offset_in(layout, holder, 0) else { return Ok(None) };
    let length = usize::try_from(layout.groups).unwrap_or(0).saturating_mul(layout.descriptor_len);
    let mut bytes = vec![0; length];
    context.image.read(start, &mut bytes)?;
    let all = bytes.chunks_exact(layout.descriptor_len);
    for ((copy, facts), group) in all.zip(&context.groups).zip(0u32..) {
        if !facts.is_at_same_places(layout, copy) {
            return Ok(Some(format!("group {group}")));
        }
    }
    Ok(None)
}
