//! Inodes that wait to be deleted: the list that begins in the superblock, and the orphan file.
//!
//! Source: kernel, `fs/ext4/orphan.c`; e2fsprogs, `e2fsck/super.c`, `check_init_orphan_file`.

use zerocopy::FromBytes;

use crate::check::bytes::is_zero;
use crate::check::context::Context;
use crate::check::findings::{Finding, Findings};
use crate::check::kinds::Kind;
use crate::check::subject::Subject;
use crate::format::checksum::fold;
use crate::format::units::InodeNumber;
use crate::reader::features::Feature;
use crate::reader::inode::Inode;
use crate::reader::map::Map;
use crate::reader::{ReadResult, Source};
use crate::record::orphan::{MAGIC, Tail};

/// The longest list that is followed.
const MOST: u32 = 1 << 20;

/// The list that begins in the superblock.
pub(super) fn list<S: Source>(context: &Context<S>, findings: &mut Findings) -> ReadResult<()> {
    let mut number = context.superblock.last_orphan.get();
    let mut count = 0u32;
    while number != 0 && count < MOST {
        let finding = Finding::new(Kind::OrphanList).inode(number);
        let is_possible = number >= context.first_inode() && number <= context.layout.inodes;
        let bytes = if is_possible { context.inode_bytes(number)? } else { None };
        let Some(bytes) = bytes.filter(|bytes| !is_zero(bytes)) else {
            let number = context.superblock.last_orphan;
            findings.push(finding.field("s_last_orphan").found(number));
            return Ok(());
        };
        let inode = Subject::new(context, number, &bytes);
        // One with links is truncated to its size: it waits only if it has more blocks.
        let next = inode.record.dtime.get();
        if inode.links() != 0 && context.has(Feature::NEEDS_RECOVERY) {
            // The journal says what became of it.
        } else if inode.links() != 0 || inode.record.mode.get() == 0 {
            findings.push(finding.found(format_args!("{} links", inode.links())));
            return Ok(());
        }
        count += 1;
        number = next;
    }
    if count > 0 {
        let finding = Finding::new(Kind::Orphans).field("s_last_orphan");
        findings.push(finding.found(format_args!("{count} inodes")));
    }
    Ok(())
}

/// The orphan file.
pub(super) fn file<S: Source>(context: &Context<S>, findings: &mut Findings) -> ReadResult<()> {
    let number = context.superblock.orphan_file_inum.get();
    let has_file = context.has(Feature::ORPHAN_FILE);
    if !has_file {
        if context.has(Feature::ORPHAN_PRESENT) {
            findings.push(Finding::new(Kind::OrphanPresent).found("there is no orphan file"));
        }
        return Ok(());
    }
    if !context.has(Feature::HAS_JOURNAL) {
        findings.push(Finding::new(Kind::OrphanFile).found("there is no journal"));
        return Ok(());
    }
    let is_possible = number >= context.first_inode() && number <= context.layout.inodes;
    if !is_possible {
        let finding = Finding::new(Kind::OrphanFileInode).field("s_orphan_file_inum");
        findings.push(finding.found(number));
        return Ok(());
    }
    let Some(inode) = context.readable_inode(number)? else {
        let finding = Finding::new(Kind::OrphanFile).inode(number);
        findings.push(finding.found("its inode cannot be read"));
        return Ok(());
    };
    in_inode(context, &inode, findings)
}

/// The orphan file in this inode.
fn in_inode<S: Source>(
    context: &Context<S>,
    inode: &Inode,
    findings: &mut Findings,
) -> ReadResult<()> {
    let number = inode.number();
    let wrong = || Finding::new(Kind::OrphanFile).inode(number);
    let block = context.layout.block.bytes();
    if !inode.size().is_multiple_of(block) || inode.size() == 0 {
        findings.push(wrong().field("i_size").found(inode.size()));
        return Ok(());
    }
    let Ok(mut map) = Map::new(context.image.device(), inode, 0) else {
        findings.push(wrong().found("its blocks cannot be found"));
        return Ok(());
    };
    let mut end = 0u64;
    let mut listed = 0u64;
    while let Some(Ok(run)) = map.next_run(context.image.device(), inode) {
        if run.file_block != end {
            break;
        }
        for into in 0..run.length {
            match block_of(context, number, inode.generation(), run.block.saturating_add(into))? {
                Ok(count) => listed = listed.saturating_add(count),
                Err(what) => {
                    findings.push(wrong().file_block(end.saturating_add(into)).found(what));
                }
            }
        }
        end = run.end();
    }
    if end < inode.size() / block {
        findings.push(wrong().file_block(end).found("a hole"));
    }
    // While the journal is to be replayed, the file may list inodes.
    if listed > 0 && !context.has(Feature::NEEDS_RECOVERY) {
        findings.push(wrong().found(format_args!("{listed} inodes")).expected("none"));
    } else if listed == 0
        && context.has(Feature::ORPHAN_PRESENT)
        && !context.has(Feature::NEEDS_RECOVERY)
    {
        findings.push(Finding::new(Kind::OrphanPresent).found("the orphan file is empty"));
    }
    Ok(())
}

/// How many inodes a block lists, or what is wrong with it.
fn block_of<S: Source>(
    context: &Context<S>,
    number: u32,
    generation: u32,
    block: u64,
) -> ReadResult<Result<u64, &'static str>> {
    let bytes = context.image.block(block)?;
    let length = bytes.len().saturating_sub(size_of::<Tail>());
    let (list, tail) = bytes.split_at_checked(length).unwrap_or((&bytes, &[]));
    let Ok(tail) = Tail::read_from_bytes(tail) else { return Ok(Err("no tail")) };
    if tail.magic.get() != MAGIC {
        return Ok(Err("another magic number"));
    }
    let seed = context.layout.seed.inode(InodeNumber::new(number), generation);
    if seed.is_enabled() {
        let with_place = seed.sum(&block.to_le_bytes());
        if fold(with_place, list) != tail.checksum.get() {
            return Ok(Err("another checksum"));
        }
    }
    let listed = list.chunks_exact(4).filter(|slot| !is_zero(slot)).count();
    Ok(Ok(crate::format::units::widen(listed)))
}
