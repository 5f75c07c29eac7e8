//! Is a filesystem sound? What `e2fsck -n` would say, and beyond it what the kernel refuses.
//!
//! ```
//! use ext4_writer::check::{Judge, Options, check};
//! # use ext4_writer::{Builder, MemorySink, Size};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let size = Size::Fit { free_bytes: 1 << 20, free_inodes: 10 };
//! # let builder = Builder::create(MemorySink::new(), ext4_writer::Options::new(size))?;
//! # let image = builder.finish()?.1.into_bytes();
//! let report = check(&image, &Options::default())?;
//! for finding in &report.findings {
//!     println!("{finding}");
//! }
//! assert!(report.is_sound(Judge::Kernel));
//! # Ok(())
//! # }
//! ```
//!
//! The check goes on after a fault: superblock, descriptors, every inode, its blocks, attributes,
//! directories with their indexes, whether all can be reached, links, bitmaps, counters, journal,
//! orphans, quotas. It is built on the reader and on facts of the format; nothing of it comes from
//! the writer, which it judges.
//!
//! # Damage
//!
//! Every [`Kind`] has a [`Weight`]. Some things e2fsck says and does not count, others it passes
//! over although the kernel refuses the filesystem for them: [`Judge`] chooses. The table of all
//! kinds, with the codes of e2fsck's problems beside them, is `docs/checks.md`.
//!
//! # Any bytes, in bounded memory
//!
//! A source may hold anything: no bytes lead to a panic. Memory is 2 bits a block (of groups in
//! which something is used), 16 bytes an inode (of the part of the tables that was ever used), 24
//! to 60 bytes a directory, and the findings, of which a bounded number is kept.

mod attributes;
mod bitmaps;
mod blockmap;
mod bytes;
mod claims;
mod connect;
mod context;
mod directories;
mod extents;
mod facts;
mod findings;
mod groups;
mod htree;
mod image;
mod inode;
mod journal;
mod kinds;
mod metadata;
mod orphans;
mod others;
mod paths;
mod problems;
mod quota;
mod scan;
mod shared;
mod subject;
mod superblock;
mod tables;
mod threads;
mod usage;

pub use findings::{Counts, Finding, Location};
pub use kinds::{Description, Judge, Kind, Weight};
pub use problems::{Problem, document, problems};

use crate::reader::{ReadResult, Recovery, Source};
use context::Context;
use findings::Findings;
use image::Image;
use scan::Output;
use superblock::Opened;

/// How to check.
#[derive(Clone, Debug)]
pub struct Options {
    /// Look at the filesystem as it lies there, not as it would be after its journal was replayed.
    pub no_replay: bool,
    /// The most findings that are told; the worst are.
    pub max_findings: usize,
    /// The time, in seconds since 1970, behind which nothing can have happened; none if that does
    /// not matter.
    pub now: Option<u32>,
    /// How many threads to use; 0 for as many as the machine has.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { no_replay: false, max_findings: 1000, now: None, threads: 0 }
    }
}

/// What was found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The worst findings, damage first.
    pub findings: Vec<Finding>,
    /// How many there were.
    pub counts: Counts,
    /// What the journal was replayed for; none if it did not have to be.
    pub recovery: Option<Recovery>,
    /// The inodes in use.
    pub inodes: u64,
    /// The blocks of the filesystem.
    pub blocks: u64,
}

impl Report {
    /// Whether nothing is damaged, in the eyes of `judge`.
    #[must_use]
    pub const fn is_sound(&self, judge: Judge) -> bool {
        let kernel = match judge {
            Judge::Kernel => self.counts.kernel_damage,
            Judge::E2fsck => 0,
        };
        self.counts.damage == 0 && kernel == 0
    }
}

/// Checks the filesystem in `source`, which begins at its first byte.
///
/// # Errors
/// When the source cannot be read; what is wrong with the filesystem is in the report.
pub fn check<S: Source + Sync>(source: S, options: &Options) -> ReadResult<Report> {
    let mut findings = Findings::default();
    let image = Image::new(source)?;
    let Some((image, opened, recovery)) = open(image, options, &mut findings)? else {
        return Ok(finish(findings, options, None));
    };
    let groups = groups::read(&image, &opened.layout, &mut findings)?;
    let Some(groups) = groups else {
        return Ok(finish(findings, options, recovery));
    };
    let Opened { superblock, layout } = opened;
    let context = Context::new(image, superblock, layout, groups, options.threads);
    journal::judge(&context, recovery.is_some(), &mut findings)?;
    let outputs = passes(&context, &mut findings)?;
    let mut report = finish(findings, options, recovery);
    report.blocks = context.layout.blocks;
    report.inodes = used(&context);
    paths::add(&context, &outputs, &mut report.findings)?;
    Ok(report)
}

type Readable<S> = (Image<S>, Opened, Option<Recovery>);

/// The image as it is to be looked at: cut into blocks, after its journal was replayed.
fn open<S: Source>(
    image: Image<S>,
    options: &Options,
    findings: &mut Findings,
) -> ReadResult<Option<Readable<S>>> {
    let Some(opened) = superblock::open(&image, findings)? else { return Ok(None) };
    let image = image.sized(opened.layout.block, opened.layout.blocks);
    let replayed =
        if options.no_replay { None } else { journal::replay(&image, &opened, findings)? };
    let Some((overlay, recovery)) = replayed else {
        superblock::judge(&image, &opened, options.now, findings);
        return Ok(Some((image, opened, None)));
    };
    let image = image.replaced(overlay);
    let Some(opened) = superblock::open(&image, findings)? else { return Ok(None) };
    let image = image.sized(opened.layout.block, opened.layout.blocks);
    superblock::judge(&image, &opened, options.now, findings);
    Ok(Some((image, opened, Some(recovery))))
}

/// One pass after the other; each is a file.
fn passes<S: Source + Sync>(
    context: &Context<S>,
    findings: &mut Findings,
) -> ReadResult<Vec<Output>> {
    quota::judge_numbers(context, findings);
    others::resize_inode(context, findings)?;
    others::mmp(context, findings)?;
    orphans::list(context, findings)?;
    let runs = metadata::runs(&context.layout, &context.groups);
    metadata::claim(context, &runs, findings);

    let mut outputs = tables::scan(context)?;
    let mut usage = usage::Usage::default();
    for output in &mut outputs {
        findings.append(std::mem::take(&mut output.findings));
        usage.add(std::mem::take(&mut output.usage));
    }
    let values = attributes::judge_blocks(context, &outputs, findings)?;
    if context.claims.has_shared() {
        shared::tell(context, &runs, &outputs, findings)?;
    }

    directories::check(context, &outputs, findings)?;
    connect::check(context, &values, findings)?;
    bitmaps::compare(context, &runs, findings)?;
    orphans::file(context, findings)?;
    quota::compare(context, &usage, findings)?;
    others::copies(context, findings)?;
    Ok(outputs)
}

fn finish(findings: Findings, options: &Options, recovery: Option<Recovery>) -> Report {
    let (findings, counts) = findings.finish(options.max_findings);
    Report { findings, counts, recovery, inodes: 0, blocks: 0 }
}

fn used<S: Source>(context: &Context<S>) -> u64 {
    let groups = (0..context.layout.groups).filter_map(|group| context.inodes.group(group));
    let used = groups.map(|states| states.iter().filter(|state| state.told().is_some()).count());
    used.map(crate::format::units::widen).fold(0, u64::saturating_add)
}
