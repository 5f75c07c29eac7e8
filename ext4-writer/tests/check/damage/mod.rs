//! One field of one structure is changed, and e2fsck and the check have to agree whether that is
//! damage.
//!
//! `BANGER_DAMAGES=10000 cargo test -p ext4-writer --test check damage -- --nocapture` tries as
//! many and says where they differ; without it a few hundred are tried. What the check calls sound
//! the kernel has to mount and to read without a complaint: `BANGER_KERNEL=1` asks it of each of
//! them, else of every twelfth.

pub(crate) mod bases;
mod kernel;
mod places;
mod seals;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use banger_test_support::judge;
use ext4_writer::check::{Finding, Judge, Kind, Options, Report, check};

use bases::Base;
use places::{Field, fields};

/// How many changes are tried where nobody says it.
const FEW: usize = 240;
/// Of so many images that are sound for the check the kernel is asked about one.
const ASKED: usize = 12;
/// Of a hundred that e2fsck calls damaged, so many must be found at least.
const FOUND: usize = 99;

/// Numbers that look random and are the same each time: xorshift64*.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(count).unwrap()).unwrap()
    }
}

/// What a field becomes.
fn changed(numbers: &mut Numbers, old: u64, width: usize) -> u64 {
    let bits = u32::try_from(width * 8).unwrap();
    let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
    let new = match numbers.below(8) {
        0 => 0,
        1 => old.wrapping_add(1),
        2 => old.wrapping_sub(1),
        3 => mask,
        4 => old ^ (1 << (numbers.next() % u64::from(bits))),
        5 => old ^ (1 << (numbers.next() % 8)),
        6 => numbers.next() % 64,
        _ => numbers.next(),
    } & mask;
    if new == old { old ^ 1 } else { new }
}

fn get(image: &[u8], field: &Field) -> u64 {
    let bytes = &image[field.offset..field.offset + field.width];
    let bytes: Vec<u8> =
        if field.is_big_endian { bytes.iter().rev().copied().collect() } else { bytes.to_vec() };
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn put(image: &mut [u8], field: &Field, number: u64) {
    let bytes = number.to_le_bytes();
    let target = &mut image[field.offset..field.offset + field.width];
    target.copy_from_slice(&bytes[..field.width]);
    if field.is_big_endian {
        target.reverse();
    }
}

/// What e2fsck says of an image: whether it counts damage, and its lines.
fn verdict(path: &Path) -> (bool, String) {
    let e2fsck = judge::find("e2fsck").unwrap();
    let timeout = Path::new("/usr/bin/timeout");
    let words = ["-s", "KILL", "60", e2fsck.to_str().unwrap(), "-fn", path.to_str().unwrap()];
    let output = judge::run(timeout, words);
    (!output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// How often what was seen.
#[derive(Default)]
struct Tally {
    changes: usize,
    damaged: usize,
    found: usize,
    sound: usize,
    flagged: usize,
    placed: usize,
    near: usize,
    read: usize,
    refused: usize,
    differences: Vec<String>,
}

impl Tally {
    fn summary(&self) -> String {
        let Self { changes, damaged, found, sound, flagged, placed, near, .. } = self;
        let Self { read, refused, .. } = self;
        format!(
            "{changes} changes: {found} of {damaged} damaged ones found, {flagged} of {sound} sound \
             ones flagged, the place is the same for {near} of {placed}; of those that the check \
             calls sound the kernel reads {read} and refuses {refused}"
        )
    }

    /// Counts one changed image, which was named `label`.
    fn count(&mut self, label: &str, (damaged, said): (bool, &str), report: &Report) {
        let ours = !report.is_sound(Judge::E2fsck);
        self.changes += 1;
        let (all, seen) = if damaged {
            (&mut self.damaged, &mut self.found)
        } else {
            (&mut self.sound, &mut self.flagged)
        };
        *all += 1;
        *seen += usize::from(ours);
        if damaged
            && ours
            && let Some(same) = same_place(said, &report.findings[0])
        {
            self.placed += 1;
            self.near += usize::from(same);
        }
        if damaged != ours {
            let word = |damaged| if damaged { "damaged" } else { "sound" };
            let mut text = format!("{label}: e2fsck {}, we {}", word(damaged), word(ours));
            let lines = said.lines().filter(|line| !line.starts_with("Pass") && !line.is_empty());
            for line in lines.take(3) {
                write!(text, "\n    e2fsck: {line}").unwrap();
            }
            for finding in report.findings.iter().take(2) {
                write!(text, "\n    we: {finding}").unwrap();
            }
            self.differences.push(text);
        }
    }

    /// Counts what the kernel says of an image that the check calls sound.
    fn count_kernel(&mut self, label: &str, verdict: Result<(), String>) {
        match verdict {
            Ok(()) => self.read += 1,
            Err(said) => {
                self.refused += 1;
                self.differences.push(format!("{label}: sound, and the kernel says: {said}"));
            }
        }
    }
}

/// Whether the kernel is asked: it replays what is pending, and tells of errors that were recorded.
fn is_for_the_kernel(report: &Report) -> bool {
    let mut kinds = report.findings.iter().map(|finding| finding.kind);
    report.is_sound(Judge::Kernel)
        && kinds.all(|kind| !matches!(kind, Kind::JournalPending | Kind::ErrorState))
}

/// The inodes, groups and blocks that a line of e2fsck names: whole words of digits.
fn numbers_in(line: &str) -> Vec<u64> {
    line.split(|c: char| !c.is_ascii_alphanumeric()).filter_map(|word| word.parse().ok()).collect()
}

/// Whether our first finding is about a number that e2fsck's first complaint with one names; none
/// where no complaint has a number. The last lines, which begin with the image's name, are none.
fn same_place(said: &str, ours: &Finding) -> Option<bool> {
    let theirs = said
        .lines()
        .filter(|line| !line.starts_with("Pass ") && !line.starts_with('/'))
        .filter(|line| !line.contains("warning"))
        .map(numbers_in)
        .find(|numbers| !numbers.is_empty())?;
    let place = &ours.place;
    let own = [place.inode.map(u64::from), place.group.map(u64::from), place.block];
    let own: Vec<u64> = own.into_iter().flatten().collect();
    Some(own.iter().any(|number| theirs.contains(number)) || own.is_empty())
}

fn wanted(name: &str, usual: usize) -> usize {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// The fields of an image by the structures that they are in, so that every structure is changed
/// as often as any other.
fn by_structure(image: &[u8]) -> BTreeMap<&'static str, Vec<Field>> {
    let mut structures: BTreeMap<_, Vec<Field>> = BTreeMap::new();
    for field in fields(image) {
        structures.entry(field.structure).or_default().push(field);
    }
    structures
}

#[test]
fn e2fsck_and_the_check_agree_about_one_changed_field() {
    if !judge::all(&["e2fsck", "mke2fs", "debugfs"]) {
        return;
    }
    let seed = u64::try_from(wanted("BANGER_SEED", 1)).unwrap();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ (seed << 20));
    let directory = tempfile::tempdir().unwrap();
    let bases: Vec<(Base, BTreeMap<_, Vec<Field>>)> = bases::make(directory.path())
        .into_iter()
        .map(|base| {
            let structures = by_structure(&base.image);
            (base, structures)
        })
        .collect();
    let path = directory.path().join("changed.img");
    let mut tally = Tally::default();
    let (mounts, every, mut sound) = (judge::kernel(), wanted("BANGER_KERNEL", ASKED), 0);
    for number in 0..wanted("BANGER_DAMAGES", FEW) {
        let (base, structures) = &bases[number % bases.len()];
        let list = structures.values().nth(numbers.below(structures.len())).unwrap();
        let field = &list[numbers.below(list.len())];
        let mut image = base.image.clone();
        let old = get(&image, field);
        let new = changed(&mut numbers, old, field.width);
        put(&mut image, field, new);
        // Without a new sum most changes would be found by the old one alone.
        let is_sealed = numbers.below(10) < 8;
        if is_sealed {
            seals::seal(&base.image, &mut image, field);
        }
        fs::write(&path, &image).unwrap();
        let (damaged, said) = verdict(&path);
        let options = Options { no_replay: true, threads: 1, ..Options::default() };
        let report = check(&image, &options).unwrap();
        let Field { structure, name, .. } = field;
        let label =
            format!("{}: {structure}.{name} {old:#x} -> {new:#x}, sealed {is_sealed}", base.label);
        tally.count(&label, (damaged, &said), &report);
        if is_for_the_kernel(&report) {
            sound += 1;
            if mounts && sound % every == 0 {
                tally.count_kernel(&label, kernel::reads(&path));
            }
        }
    }
    let text = format!("{}\n{}", tally.differences.join("\n"), tally.summary());
    writeln!(std::io::stderr(), "{text}").unwrap();
    assert!(tally.found * 100 >= tally.damaged * FOUND, "{text}");
    assert!(tally.flagged * 50 <= tally.sound, "{text}");
    assert_eq!(tally.refused, 0, "{text}");
}
