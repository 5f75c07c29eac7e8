//! Blocks that were claimed twice: by whom.
//!
//! Source of what counts: e2fsprogs, `e2fsck/pass1b.c`.

use std::collections::BTreeMap;

use crate::check::context::Context;
use crate::check::facts::{flag, own};
use crate::check::findings::{Finding, Findings};
use crate::check::kinds::Kind;
use crate::check::metadata::{Own, at};
use crate::check::scan::{Blocks, Output, Scan};
use crate::check::subject::Subject;
use crate::reader::features::Feature;
use crate::reader::{ReadResult, Source};

/// The most inodes that are named for one block.
const NAMED: usize = 8;
/// The most shared runs that are kept.
const MOST_RUNS: usize = 4096;

/// Says of every inode that has shared blocks which, and with whom.
pub(super) fn tell<S: Source>(
    context: &Context<S>,
    runs: &[Own],
    outputs: &[Output],
    findings: &mut Findings,
) -> ReadResult<()> {
    // Blocks with the inodes that claim them.
    let mut owners: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    let mut told: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let mut add = |block: u64, number: u32| {
        if owners.len() < MOST_RUNS || owners.contains_key(&block) {
            let list = owners.entry(block).or_default();
            if list.len() < NAMED {
                list.push(number);
            }
            told.entry(number).or_default().push(block);
        }
    };
    for group in 0..context.layout.groups {
        let first = group * context.layout.inodes_per_group + 1;
        let states = context.inodes.group(group).unwrap_or_default();
        for (state, number) in states.iter().zip(first..) {
            if state.told().is_some() {
                of_inode(context, number, &mut add)?;
            }
        }
    }
    let mut before = 0;
    let mut blocks: Vec<(u64, u32)> =
        outputs.iter().flat_map(|output| output.attribute_blocks.iter().copied()).collect();
    blocks.sort_unstable();
    for (block, number) in blocks {
        if block != before && context.claims.is_shared(block) {
            add(block, number);
        }
        before = block;
    }
    for (number, blocks) in told {
        for block in blocks.iter().take(1) {
            let others = owners.get(block).map_or(&[][..], Vec::as_slice);
            let finding = if let Some(own) = at(runs, *block) {
                let found = format!("{} of group {}", own.what, own.group);
                Finding::new(Kind::BlockOfMetadata).found(found)
            } else {
                let list: Vec<String> = others.iter().map(u32::to_string).collect();
                let found =
                    format!("{} blocks, the first of inodes {}", blocks.len(), list.join(", "));
                Finding::new(Kind::BlockShared).found(found)
            };
            findings.push(finding.inode(number).block(*block));
        }
    }
    Ok(())
}

/// The shared blocks of one inode. What is wrong with its map was told before.
fn of_inode<S: Source>(
    context: &Context<S>,
    number: u32,
    add: &mut impl FnMut(u64, u32),
) -> ReadResult<()> {
    let Some(bytes) = context.inode_bytes(number)? else { return Ok(()) };
    let subject = Subject::new(context, number, &bytes);
    if subject.has(flag::INLINE_DATA) && context.has(Feature::INLINE_DATA) {
        return Ok(());
    }
    if !subject.has_blocks(context) || number == own::RESIZE {
        return Ok(());
    }
    let mut scan = Scan::new(context);
    scan.shared = Some(Vec::new());
    // What is wrong with the map was told before.
    let mut blocks = Blocks::new(0);
    if subject.has(flag::EXTENTS) && context.has(Feature::EXTENT) {
        scan.extents(&subject, &mut blocks)?;
    } else {
        scan.block_map(&subject, &mut blocks)?;
    }
    for block in scan.shared.unwrap_or_default() {
        add(block, number);
    }
    Ok(())
}
