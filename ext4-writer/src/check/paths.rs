//! The paths of the inodes that findings name: looked for only when there are findings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use zerocopy::FromBytes;

use crate::check::context::Context;
use crate::check::facts::own;
use crate::check::findings::Finding;
use crate::check::scan::Output;
use crate::reader::{ReadResult, Source};
use crate::record::directory::{ALIGNMENT, ENTRY_HEAD, Entry};

/// The most directories on a path.
const DEEPEST: usize = 256;
/// The most inodes that paths are looked for.
const MOST: usize = 256;

type Names = BTreeMap<u32, (u32, Vec<u8>)>;

/// Adds to the findings the paths that lead to their inodes.
pub(super) fn add<S: Source>(
    context: &Context<S>,
    outputs: &[Output],
    findings: &mut [Finding],
) -> ReadResult<()> {
    let numbers = findings.iter().filter_map(|finding| finding.place.inode);
    let mut wanted: BTreeSet<u32> = numbers.filter(|number| *number != own::ROOT).collect();
    while wanted.len() > MOST {
        wanted.pop_last();
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let mut names = Names::new();
    look(context, outputs, &wanted, &mut names)?;
    let mut above = BTreeSet::new();
    let parents: Vec<u32> = names.values().map(|(parent, _)| *parent).chain(wanted).collect();
    for number in parents {
        let mut number = number;
        for _ in 0..DEEPEST {
            if number == own::ROOT || number == 0 || !above.insert(number) {
                break;
            }
            let state = context.inodes.get(number);
            number = state.map_or(0, |state| state.parent.load(Ordering::Relaxed));
        }
    }
    above.retain(|number| !names.contains_key(number));
    if !above.is_empty() {
        look(context, outputs, &above, &mut names)?;
    }
    for finding in findings {
        finding.place.path = finding.place.inode.and_then(|number| path(&names, number));
    }
    Ok(())
}

fn path(names: &Names, number: u32) -> Option<Vec<u8>> {
    if number == own::ROOT {
        return Some(b"/".to_vec());
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut number = number;
    while number != own::ROOT {
        let (parent, name) = names.get(&number)?;
        parts.push(name);
        number = *parent;
        if parts.len() > DEEPEST {
            return None;
        }
    }
    let mut path = Vec::new();
    for part in parts.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(part);
    }
    Some(path)
}

/// Looks through all directories for the names of these inodes.
fn look<S: Source>(
    context: &Context<S>,
    outputs: &[Output],
    wanted: &BTreeSet<u32>,
    names: &mut Names,
) -> ReadResult<()> {
    let mut left = context.layout.blocks.min(1 << 22);
    for output in outputs {
        for directory in &output.directories {
            let runs = output.runs.iter().skip(directory.first_run).take(directory.runs);
            for run in runs.filter(|run| run.block != 0) {
                for into in 0..run.length {
                    let Some(rest) = left.checked_sub(1) else { return Ok(()) };
                    left = rest;
                    let bytes = context.image.block(run.block.saturating_add(into))?;
                    see(&bytes, directory.inode, wanted, names);
                }
            }
        }
    }
    Ok(())
}

fn see(bytes: &[u8], directory: u32, wanted: &BTreeSet<u32>, names: &mut Names) {
    let mut place = 0;
    while let Some(rest) = bytes.get(place..) {
        let Ok((entry, behind)) = Entry::read_from_prefix(rest) else { return };
        let number = entry.inode.get();
        let name = behind.get(..usize::from(entry.name_len)).unwrap_or_default();
        let is_own = matches!(name, b"." | b".." | b"");
        if !is_own && wanted.contains(&number) {
            names.entry(number).or_insert_with(|| (directory, name.to_vec()));
        }
        let length = usize::from(entry.rec_len.get());
        if length < ENTRY_HEAD || length % ALIGNMENT != 0 {
            return;
        }
        place += length;
    }
}
