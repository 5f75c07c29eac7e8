//! Whether everything can be reached from the root, and has as many names as it counts.
//!
//! Source of what counts: e2fsprogs, `e2fsck/pass3.c`, `e2fsck/pass4.c`.

use std::sync::atomic::Ordering;

use crate::check::context::{Context, InodeState, Way};
use crate::check::facts::{Sort, flag, own};
use crate::check::findings::{Finding, Findings};
use crate::check::kinds::Kind;
use crate::check::subject::Subject;
use crate::check::threads::in_parts;
use crate::reader::features::Feature;
use crate::reader::{ReadResult, Source};
use crate::record::inode::Inode as Record;

/// The most links that an inode counts: `EXT4_LINK_MAX`.
const MOST_LINKS: u32 = 65_000;
/// The groups of one part of the work.
const PART: usize = 16;

/// Looks at the names of all inodes; `values` are the inodes of values of attributes, ascending,
/// one for each attribute.
pub(super) fn check<S: Source + Sync>(
    context: &Context<S>,
    values: &[u32],
    findings: &mut Findings,
) -> ReadResult<()> {
    find_circles(context);
    let parts = context.groups.len().div_ceil(PART);
    let parts = in_parts(parts, context.threads, |part| {
        let mut findings = Findings::default();
        for group in (0..context.layout.groups).skip(part * PART).take(PART) {
            let first = group * context.layout.inodes_per_group + 1;
            let states = context.inodes.group(group).unwrap_or_default();
            for (state, number) in states.iter().zip(first..) {
                inode(context, (number, state), values, &mut findings)?;
            }
        }
        Ok(findings)
    })?;
    for part in parts {
        findings.append(part);
    }
    Ok(())
}

fn inode<S: Source>(
    context: &Context<S>,
    (number, state): (u32, &InodeState),
    values: &[u32],
    findings: &mut Findings,
) -> ReadResult<()> {
    let Some(told) = state.told() else { return Ok(()) };
    let is_directory = told.sort == Sort::Directory && !told.is_own;
    if is_directory && number != own::ROOT {
        directory((number, state), findings);
    }
    if is_directory && number == own::ROOT {
        let found = state.dot_dot.load(Ordering::Relaxed);
        if found != own::ROOT && found != 0 {
            let finding = Finding::new(Kind::DirectoryParent).inode(number).field("..");
            findings.push(finding.found(found).expected(own::ROOT));
        }
    }
    let is_kept = number == own::BAD_BLOCKS
        || (number > own::ROOT && number < context.first_inode())
        || number == context.superblock.orphan_file_inum.get()
        || number == context.superblock.prj_quota_inum.get();
    if is_kept || (told.is_own && number != own::ROOT) {
        return Ok(());
    }
    let mut names = state.names.load(Ordering::Relaxed);
    if names == 0 {
        if told.is_value() && value(context, number, values, findings)? {
            names = 1;
        } else if number != own::ROOT {
            if !is_directory {
                findings.push(Finding::new(Kind::InodeUnattached).inode(number));
            }
            return Ok(());
        }
    } else if told.is_value() {
        findings.push(Finding::new(Kind::InodeValueFlag).inode(number));
    }
    let counted = u32::from(told.links);
    if is_directory && names > MOST_LINKS {
        if !context.has(Feature::DIR_NLINK) {
            let finding = Finding::new(Kind::InodeLinks).inode(number);
            findings.push(finding.found(names).expected("the feature dir_nlink"));
        }
        names = 1;
    }
    // A directory that once had too many subdirectories keeps a count of 1.
    let is_kept_at_one = is_directory && names > 1 && told.flags & flag::INDEX != 0 && counted == 1;
    if names != counted && !is_kept_at_one {
        let finding = Finding::new(Kind::InodeLinks).inode(number).field("i_links_count");
        findings.push(finding.found(counted).expected(names));
    }
    Ok(())
}

/// The way from a directory to the root, and its `..`.
fn directory((number, state): (u32, &InodeState), findings: &mut Findings) {
    let parent = state.parent.load(Ordering::Relaxed);
    if parent == 0 || state.way() == Way::Circle {
        let found = if parent == 0 { "no name" } else { "a loop" };
        let finding = Finding::new(Kind::DirectoryUnattached).inode(number).found(found);
        findings.push(finding);
        if parent == 0 {
            return;
        }
    }
    let found = state.dot_dot.load(Ordering::Relaxed);
    if found != parent && found != 0 {
        let finding = Finding::new(Kind::DirectoryParent).inode(number).field("..");
        findings.push(finding.found(found).expected(parent));
    }
}

/// Finds the circles: directories that are their own ancestors. Every directory is walked over
/// twice at most.
fn find_circles<S: Source>(context: &Context<S>) {
    for group in 0..context.layout.groups {
        let first = group * context.layout.inodes_per_group + 1;
        let states = context.inodes.group(group).unwrap_or_default();
        for (state, number) in states.iter().zip(first..) {
            if state.parent.load(Ordering::Relaxed) != 0 && !state.way().is_known() {
                walk_up(context, number);
            }
        }
    }
}

fn walk_up<S: Source>(context: &Context<S>, start: u32) {
    let mut path: Vec<(u32, &InodeState)> = Vec::new();
    let mut number = start;
    let mut circle = None;
    while number != own::ROOT
        && let Some(state) = context.inodes.get(number)
        && !state.way().is_known()
    {
        if state.way() == Way::Walked {
            circle = Some(number);
            break;
        }
        state.set_way(Way::Walked);
        path.push((number, state));
        number = state.parent.load(Ordering::Relaxed);
    }
    let on_circle = circle.and_then(|first| path.iter().position(|(number, _)| *number == first));
    for (place, (_, state)) in path.iter().enumerate() {
        let is_on_it = on_circle.is_some_and(|first| place >= first);
        state.set_way(if is_on_it { Way::Circle } else { Way::Ends });
    }
}

/// An inode without a name that holds the value of attributes: whether it has users.
///
/// Source: e2fsprogs, `e2fsck/pass4.c`, `check_ea_inode`; the count of users lies in `i_ctime` and
/// `i_version`.
fn value<S: Source>(
    context: &Context<S>,
    number: u32,
    values: &[u32],
    findings: &mut Findings,
) -> ReadResult<bool> {
    let first = values.partition_point(|value| *value < number);
    let behind = values.partition_point(|value| *value <= number);
    let users = crate::format::units::widen(behind - first);
    if users == 0 {
        return Ok(false);
    }
    let Some(bytes) = context.inode_bytes(number)? else { return Ok(true) };
    let subject = Subject::new(context, number, &bytes);
    debug_assert!(subject.has(flag::EA_INODE));
    let record: &Record = &subject.record;
    let told = u64::from(record.ctime.get()) << 32 | u64::from(record.version.get());
    // Lustre's count nothing, and have equal times.
    if told != users && record.ctime.get() != record.atime.get() {
        let finding = Finding::new(Kind::AttributeInodeReferences).inode(number);
        findings.push(finding.found(told).expected(users));
    }
    Ok(true)
}
