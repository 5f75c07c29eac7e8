//! Random options and operations against a plain model, judged by everybody.
//!
//! More cases by hand: `PROPTEST_CASES=10000 cargo test -p ext4-writer --test image random::`.

pub(crate) mod choices;
mod operations;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::readers::{self, Account, Tally};
use banger_test_support::storm;
use banger_test_support::tree::Tree;
use banger_test_support::{gate, judge, view};
use ext4_writer::{Error, Features, FileSink, HashedBytes, Options, Reserved, Size, Summary};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::twin::{Twin, length};
use choices::{Choice, choices, has_no_room};
use operations::{Model, Operation, operations};

/// The largest block that the kernel of a machine with pages of 4 KiB mounts.
const MOUNTABLE: u32 = 4096;

/// Who is asked beside those that judge every image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extra {
    Nobody,
    Readers,
    Storm,
}

#[derive(Debug, Clone)]
struct Case {
    choice: Choice,
    operations: Vec<Operation>,
    extra: Extra,
}

fn cases() -> impl Strategy<Value = Case> {
    let extra =
        prop_oneof![8 => Just(Extra::Nobody), 2 => Just(Extra::Readers), 1 => Just(Extra::Storm)];
    (choices(), vec(operations(), 1..40), extra).prop_map(|(choice, operations, extra)| Case {
        choice,
        operations,
        extra,
    })
}

/// What came of all cases.
#[derive(Default)]
struct Totals {
    images: usize,
    refused: BTreeMap<&'static str, usize>,
    counts: BTreeMap<&'static str, usize>,
    tally: Tally,
}

impl Totals {
    fn count(&mut self, what: &'static str, more: usize) {
        *self.counts.entry(what).or_default() += more;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} images", self.images)?;
        for (what, count) in &self.counts {
            writeln!(f, "{count} {what}")?;
        }
        for (reason, count) in &self.refused {
            writeln!(f, "{count} refused for {reason}")?;
        }
        write!(f, "{}", self.tally)
    }
}

/// In memory, where the system has a place for that: nobody waits for a disk.
fn work() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn run(case: &Case, totals: &RefCell<Totals>) {
    let mut choice = case.choice.clone();
    let work = work();
    let refusals = choice.refusals();
    let made = match make(&choice, &work) {
        Err(Error::InvalidOption { option: "size", reason }) if refusals.is_empty() => {
            let Some(valid) = valid_above(&choice, &reason) else { return };
            totals.borrow_mut().count("sizes replaced by the next that is valid", 1);
            choice = choice.resized(valid);
            make(&choice, &work)
        }
        made => made,
    };
    let (twin, options) = match made {
        Ok(_) if !refusals.is_empty() => panic!("made, in spite of {refusals:?}"),
        Ok(made) => made,
        Err(error) => {
            let reason = refusals.iter().find(|refusal| refusal.explains(&error));
            let reason = reason.map(|reason| reason.name()).or_else(|| {
                let nothing = choices::Demand { inodes: 0, bytes: 0 };
                let options = choice.options().ok()?;
                has_no_room(&options, nothing, &error).then_some("want of room")
            });
            let reason = reason.unwrap_or_else(|| panic!("{error}; expected {refusals:?}"));
            *totals.borrow_mut().refused.entry(reason).or_default() += 1;
            return;
        }
    };
    let mut model = Model::new(twin, options.clone());
    for operation in case.operations.clone() {
        model.apply(operation);
    }
    totals.borrow_mut().count("operations refused for want of room", model.refused);
    let (tree, clamped) = model.stored();
    let (demand, preallocated) = (model.demand(0), model.preallocated());
    let finished = match model.twin.builder.finish() {
        Ok((summary, _)) => summary,
        Err(error) => {
            let room = has_no_room(&options, demand, &error);
            assert!(room, "refused with {demand:?}: {error}");
            *totals.borrow_mut().refused.entry("want of room").or_default() += 1;
            return;
        }
    };
    assert_eq!(finished.clamped_times, clamped, "times that were moved to a limit");
    let image = work.path().join("image.ext4");
    judge_counts(&image, &options, &finished);
    let judged = Judged { image: &image, tree: &tree, preallocated: &preallocated };
    judged.ask(&options, case.extra, totals);
    totals.borrow_mut().images += 1;
}

fn make(choice: &Choice, work: &tempfile::TempDir) -> Result<(Twin<FileSink>, Options), Error> {
    let _ = std::fs::remove_file(work.path().join("image.ext4"));
    let options = choice.options()?;
    Ok((Twin::try_in(work, options.clone())?, options))
}

/// The next valid size that a refused one is told.
fn valid_above(choice: &Choice, reason: &str) -> Option<u64> {
    let fixed = match choice.size {
        Size::Fixed(bytes) => Some(bytes),
        Size::Fit { .. } => None,
    };
    let bytes = fixed.filter(|_| !reason.contains("leave no room in any near size"));
    let Some(bytes) = bytes else {
        let options = choice.options().unwrap();
        let error = Error::InvalidOption { option: "size", reason: reason.to_owned() };
        let nothing = choices::Demand { inodes: 0, bytes: 0 };
        assert!(has_no_room(&options, nothing, &error), "no size is valid: {reason}");
        return None;
    };
    let named = reason.rsplit(|c: char| !c.is_ascii_digit()).find_map(|n| n.parse().ok());
    let named: u64 = named.unwrap_or_else(|| panic!("no size is named: {reason}"));
    assert!(named > bytes, "{reason}");
    Some(named)
}

/// e2fsck is content, and dumpe2fs counts what the summary says and shows what was chosen.
fn judge_counts(image: &Path, options: &Options, summary: &Summary) {
    if let Size::Fit { free_bytes, free_inodes } = options.size {
        assert!(summary.available >= free_bytes, "{} bytes free", summary.available);
        assert!(summary.free_inodes >= free_inodes, "{} inodes free", summary.free_inodes);
    }
    assert_eq!(length(image), summary.size);
    if !judge::all(&["e2fsck", "dumpe2fs"]) {
        return;
    }
    let report = gate::pass(image).unwrap_or_else(|objections| panic!("{objections}"));
    assert_eq!(report.blocks, summary.blocks);
    assert_eq!(report.block_size, u64::from(options.block_size));
    assert_eq!(report.inodes, u64::from(summary.inodes));
    assert_eq!(report.free_blocks, summary.free_blocks);
    assert_eq!(report.free_inodes, u64::from(summary.free_inodes));
    let reserved = match options.reserved {
        Reserved::Percent(percent) => report.blocks * u64::from(percent) / 100,
        Reserved::Bytes(bytes) => bytes / report.block_size,
    };
    assert_eq!(report.reserved_blocks, reserved);
    // Those go with the size, or with inodes that have no room for them.
    let dependent = Features::HAS_JOURNAL
        | Features::ORPHAN_FILE
        | Features::RESIZE_INODE
        | Features::EXTRA_ISIZE;
    for name in (options.features - dependent).names() {
        assert!(report.has(name), "{name} is missing: {:?}", report.features);
    }
    for name in &report.features {
        let known = options.features.names().any(|chosen| chosen == name);
        assert!(known, "{name} was not chosen: {:?}", options.features);
    }
    if let Some(uuid) = options.uuid {
        let digits = format!("{:032x}", u128::from_be_bytes(uuid));
        let shown =
            if uuid == [0; 16] { "<none>".to_owned() } else { report.uuid.replace('-', "") };
        assert!(shown == digits || uuid == [0; 16], "{} is not {digits}", report.uuid);
    }
}

struct Judged<'a> {
    image: &'a Path,
    tree: &'a Tree,
    /// Files with unwritten extents.
    preallocated: &'a [Vec<u8>],
}

impl Judged<'_> {
    fn ask(&self, options: &Options, extra: Extra, totals: &RefCell<Totals>) {
        let unread = judge::find("dumpe2fs")
            .is_some_and(|_| !view::can_read(&gate::dump(self.image).unwrap()));
        if unread {
            totals.borrow_mut().count("images of a shape that ext4-view cannot read", 1);
        } else {
            self.ask_view(options.hashed_bytes, totals);
        }
        if options.block_size > MOUNTABLE {
            totals.borrow_mut().count("images of blocks that no kernel here mounts", 1);
            return;
        }
        self.ask_kernel(totals);
        match extra {
            Extra::Nobody => {}
            Extra::Readers => {
                let mut tally = Tally::default();
                readers::ask_all(self.image, self.tree, &mut tally);
                totals.borrow_mut().tally.merge(&tally);
            }
            Extra::Storm => {
                let weathered = storm::weather_image(self.image, self.tree);
                let what = if weathered { "storms" } else { "images without room for a storm" };
                totals.borrow_mut().count(what, 1);
            }
        }
    }

    fn ask_view(&self, hashed_bytes: HashedBytes, totals: &RefCell<Totals>) {
        let mut unreadable = self.preallocated.to_vec();
        if hashed_bytes == HashedBytes::Unsigned {
            // It counts the bytes of names as signed, whatever the superblock says.
            let names = self.tree.iter().map(|(path, _)| path.to_vec());
            unreadable.extend(names.filter(|path| !path.is_ascii()));
        }
        let left_out = view::assert_agrees_but_for(self.image, self.tree, &unreadable);
        let mut account = Account { names: self.tree.len() - left_out, ..Account::default() };
        account.limit(
            "names left out whose time, unwritten extents or unsigned hash it cannot read",
            left_out,
        );
        totals.borrow_mut().tally.add("ext4-view", &account);
    }

    fn ask_kernel(&self, totals: &RefCell<Totals>) {
        if let Some(mount) = Mount::new(self.image, Access::ReadOnly) {
            self.tree.assert_same(&mount.tree(), "the kernel");
            mount.close();
            let account = Account { names: self.tree.len(), ..Account::default() };
            totals.borrow_mut().tally.add("kernel", &account);
        }
    }
}

#[test]
fn the_image_holds_what_the_operations_left() {
    // A failure prints its smallest case; a file of old failures would hide it from other clones.
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    config.max_shrink_time = 60_000;
    let cases_asked = config.cases;
    let totals = RefCell::new(Totals::default());
    let outcome = TestRunner::new(config).run(&cases(), |case| {
        run(&case, &totals);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let totals = totals.into_inner();
    crate::readers::show(&format!("{cases_asked} random cases"), &totals);
    let asked = usize::try_from(cases_asked).unwrap();
    assert!(totals.images * 2 > asked, "most cases make an image");
}
