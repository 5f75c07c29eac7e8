//! Quotas: what users, groups and projects use, against what the quota files count.
//!
//! Source: e2fsprogs, `lib/support/mkquota.c`, `quotaio_tree.c`, `quotaio_v2.h`.

use std::collections::BTreeMap;

use crate::check::bytes::u32_at;
use crate::check::context::Context;
use crate::check::facts::own;
use crate::check::findings::{Finding, Findings};
use crate::check::kinds::Kind;
use crate::check::scan::{Blocks, Scan};
use crate::check::subject::{Subject, is_refused};
use crate::check::usage::{Count, Of, Usage};
use crate::reader::features::Feature;
use crate::reader::inode::Inode;
use crate::reader::{ReadResult, Source, content};
use crate::record::wide32;

impl<S: Source> Scan<'_, S> {
    /// Counts an inode for its owners.
    pub(super) fn usage(&mut self, subject: &Subject<'_>, blocks: &Blocks, values: usize) {
        let context = self.context;
        let record = &context.superblock;
        let number = subject.number;
        let is_users = number == own::ROOT || number >= context.first_inode();
        let is_kept = number == record.prj_quota_inum.get()
            || number == record.orphan_file_inum.get()
            || subject.is_value();
        if !context.has(Feature::QUOTA) || !is_users || is_kept {
            return;
        }
        let cluster = context.layout.cluster_blocks.saturating_mul(context.layout.block.bytes());
        let bytes = blocks.count.saturating_mul(cluster);
        let inodes = crate::format::units::widen(values).saturating_add(1);
        let fields = &subject.record;
        let mut add = |of, inode: u32, id: u32| {
            if inode != 0 {
                let count = self.out.usage.0.entry((of, id)).or_default();
                count.bytes = count.bytes.saturating_add(bytes);
                count.inodes = count.inodes.saturating_add(inodes);
            }
        };
        add(Of::User, record.usr_quota_inum.get(), wide32(fields.uid_lo, fields.uid_high));
        add(Of::Group, record.grp_quota_inum.get(), wide32(fields.gid_lo, fields.gid_high));
        let has_project = subject.bytes.len() > 128 && fields.extra_isize.get() >= 32;
        let project = if has_project { fields.projid.get() } else { 0 };
        add(Of::Project, record.prj_quota_inum.get(), project);
    }
}

/// The bytes of a block of a quota file: `1 << QT_BLKSIZE_BITS`.
const BLOCK: usize = 1024;
/// The block of a quota file that is the root of its tree: `QT_TREEOFF`.
const ROOT: u32 = 1;
/// The levels of the tree: a byte of the id each.
const LEVELS: u32 = 4;
/// The bytes of a leaf's head, `struct qt_disk_dqdbheader`, and of an entry, `v2r1_disk_dqblk`.
const LEAF_HEAD: usize = 16;
const ENTRY: usize = 72;
/// Where the file says how many blocks it has: `dqi_blocks`.
const BLOCKS_PLACE: u64 = 20;
/// No quota file in sound use is longer.
const MAX_FILE: u64 = 1 << 30;

/// Compares the quota files with what is used.
pub(super) fn compare<S: Source>(
    context: &Context<S>,
    usage: &Usage,
    findings: &mut Findings,
) -> ReadResult<()> {
    if !context.has(Feature::QUOTA) {
        return Ok(());
    }
    let record = &context.superblock;
    let files = [
        (Of::User, record.usr_quota_inum.get()),
        (Of::Group, record.grp_quota_inum.get()),
        (Of::Project, record.prj_quota_inum.get()),
    ];
    for (of, number) in files.into_iter().filter(|(_, number)| *number != 0) {
        if is_refused(context, number)? {
            continue;
        }
        let finding = Finding::new(Kind::QuotaUsage).inode(number);
        let inode = context.readable_inode(number)?;
        let Some(told) = inode.and_then(|inode| entries(context, &inode)) else {
            findings.push(finding.found("a file of quotas that cannot be read"));
            continue;
        };
        let used = usage.0.iter().filter(|((whose, _), _)| *whose == of);
        let used: BTreeMap<u32, Count> = used.map(|((_, id), count)| (*id, *count)).collect();
        let ids: std::collections::BTreeSet<u32> =
            told.keys().chain(used.keys()).copied().collect();
        for id in ids {
            let found = told.get(&id).copied();
            let expected = used.get(&id).copied().unwrap_or_default();
            if found != Some(expected) {
                let found = found.unwrap_or_default();
                let finding = Finding::new(Kind::QuotaUsage).inode(number);
                let what = format!("id {id}: {} bytes, {} inodes", found.bytes, found.inodes);
                let right = format!("{} bytes, {} inodes", expected.bytes, expected.inodes);
                findings.push(finding.found(what).expected(right));
            }
        }
    }
    Ok(())
}

/// The entries of a quota file; none if it is damaged.
fn entries<S: Source>(context: &Context<S>, inode: &Inode) -> Option<BTreeMap<u32, Count>> {
    let device = context.image.device();
    let mut head = [0; 8];
    let is_there = content::read_at(device, inode, 0, &mut head).is_ok_and(|length| length == 8);
    if !is_there || u32_at(&head, 4) != Some(1) || inode.size() > MAX_FILE {
        return None;
    }
    let blocks = u32::try_from(inode.size() / 1024).unwrap_or(0);
    let mut told = [0; 4];
    content::read_at(device, inode, BLOCKS_PLACE, &mut told).ok()?;
    if u32::from_le_bytes(told) > blocks {
        return None;
    }
    let block = |number: u32| -> Option<Vec<u8>> {
        let mut bytes = vec![0; BLOCK];
        let offset = u64::from(number) * 1024;
        let length = content::read_at(device, inode, offset, &mut bytes).ok()?;
        (length == BLOCK).then_some(bytes)
    };
    let mut found = BTreeMap::new();
    let mut left = blocks;
    let mut nodes = vec![(ROOT, 0)];
    while let Some((number, level)) = nodes.pop() {
        // Every block of a tree is in it once.
        left = left.checked_sub(1)?;
        let bytes = block(number)?;
        if level == LEVELS {
            leaf(&bytes, &mut found);
            continue;
        }
        let mut children: Vec<u32> =
            (0..BLOCK).step_by(4).filter_map(|place| u32_at(&bytes, place)).collect();
        children.retain(|child| *child != 0);
        if level + 1 == LEVELS {
            // Ids may share a leaf.
            children.sort_unstable();
            children.dedup();
        }
        if children.iter().any(|child| *child < 2 || *child >= blocks) {
            return None;
        }
        nodes.extend(children.into_iter().map(|child| (child, level + 1)));
    }
    Some(found)
}

fn leaf(bytes: &[u8], found: &mut BTreeMap<u32, Count>) {
    let entries = bytes.get(LEAF_HEAD..).unwrap_or_default();
    for entry in entries.chunks_exact(ENTRY).filter(|entry| !crate::check::bytes::is_zero(entry)) {
        let word = |place: usize| {
            let low = u32_at(entry, place).map_or(0, u64::from);
            low | u32_at(entry, place + 4).map_or(0, u64::from) << 32
        };
        let id = u32_at(entry, 0).unwrap_or(0);
        found.insert(id, Count { inodes: word(24), bytes: word(48) });
    }
}

/// The superblock's numbers of quota inodes.
pub(super) fn judge_numbers<S: Source>(context: &Context<S>, findings: &mut Findings) {
    let record = &context.superblock;
    let has_project = context.has(Feature::PROJECT);
    let kept = [
        ("s_usr_quota_inum", record.usr_quota_inum.get(), Some(own::USER_QUOTA)),
        ("s_grp_quota_inum", record.grp_quota_inum.get(), Some(own::GROUP_QUOTA)),
        ("s_prj_quota_inum", record.prj_quota_inum.get(), None),
    ];
    let first = context.first_inode();
    for (field, number, wanted) in kept.into_iter().filter(|(_, number, _)| *number != 0) {
        let is_wrong = match wanted {
            Some(wanted) => number != wanted,
            None => number < first || number > context.layout.inodes || !has_project,
        };
        if context.has(Feature::QUOTA) && is_wrong {
            findings.push(Finding::new(Kind::QuotaInode).field(field).found(number));
        }
    }
}
