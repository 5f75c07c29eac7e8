//! What a cut leaves: after every write, and with only some of those since the last sync, the image
//! is the old one or the new one once its journal was replayed or its undo file applied.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::tree::Tree;
use banger_test_support::{gate, judge};
use ext4_writer::edit::{Device, EditError, EditResult, Editor, Undo};
use ext4_writer::reader::{Reader, Source};
use ext4_writer::{FileContent, Metadata};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use crate::bed::{Bed, NOW, make, noise, tree};
use crate::random::{Model, steps};
use crate::seen;

/// What was asked of a device or of the place of an undo file.
#[derive(Clone, Debug)]
enum Event {
    Write(u64, Vec<u8>),
    SetLength(u64),
    Sync,
    Keep(Vec<u8>),
    SyncUndo,
    Forget,
}

type Log = Rc<RefCell<Vec<Event>>>;

/// The cuts that are looked at, of all that there are.
fn most_cuts() -> usize {
    std::env::var("EXT4_WRITER_CUTS").map_or(60, |count| count.parse().unwrap())
}

/// Random choices of the writes between two syncs.
const CHOICES: usize = 20;

/// A device in memory that records what is done to it.
struct Recorder {
    image: Vec<u8>,
    log: Log,
}

impl Source for Recorder {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.image.read_at(offset, buffer)
    }

    fn length(&self) -> io::Result<u64> {
        self.image.length()
    }
}

impl Device for Recorder {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.log.borrow_mut().push(Event::Write(offset, bytes.to_vec()));
        self.image.write_at(offset, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.log.borrow_mut().push(Event::Sync);
        Ok(())
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.log.borrow_mut().push(Event::SetLength(length));
        self.image.set_length(length)
    }

    fn grows_with_zeros(&self) -> bool {
        true
    }
}

/// An undo file in memory, likewise.
struct Kept {
    bytes: Option<Vec<u8>>,
    log: Log,
}

impl Undo for Kept {
    fn open(&mut self) -> io::Result<Option<Box<dyn Source>>> {
        Ok(self.bytes.clone().map(|bytes| -> Box<dyn Source> { Box::new(bytes) }))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.log.borrow_mut().push(Event::Keep(bytes.to_vec()));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.log.borrow_mut().push(Event::SyncUndo);
        Ok(())
    }

    fn remove(&mut self) -> io::Result<()> {
        self.log.borrow_mut().push(Event::Forget);
        Ok(())
    }
}

/// What is on the disk after a cut.
#[derive(Clone)]
struct Disk {
    image: Vec<u8>,
    /// What is to be kept, but not yet.
    part: Vec<u8>,
    undo: Option<Vec<u8>>,
}

impl Disk {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Write(offset, bytes) => {
                // What is written behind the end of a file makes it longer.
                let end = usize::try_from(*offset).unwrap() + bytes.len();
                self.image.resize(self.image.len().max(end), 0);
                self.image.write_at(*offset, bytes).unwrap();
            }
            Event::SetLength(length) => self.image.set_length(*length).unwrap(),
            Event::Keep(bytes) => self.part.extend_from_slice(bytes),
            Event::SyncUndo => self.undo = Some(std::mem::take(&mut self.part)),
            Event::Forget => self.undo = None,
            Event::Sync => {}
        }
    }
}

/// A recorded edit.
struct Recorded {
    before: Vec<u8>,
    log: Vec<Event>,
    old: Tree,
    new: Tree,
}

fn record(image: &Path, change: impl FnOnce(&mut Editor<Recorder>, &mut Tree)) -> Recorded {
    let before = fs::read(image).unwrap();
    let log = Log::default();
    let device = Recorder { image: before.clone(), log: Rc::clone(&log) };
    let undo = Kept { bytes: None, log: Rc::clone(&log) };
    let mut editor = Editor::open_with_undo(device, Box::new(undo), NOW).unwrap();
    let old = tree(image);
    change(&mut editor, &mut old.clone());
    let after = editor.commit().unwrap().image;
    let new = seen::tree(&Reader::open(after).unwrap());
    let log = log.take();
    Recorded { before, log, old, new }
}

fn random_edit(count: usize) -> impl FnOnce(&mut Editor<Recorder>, &mut Tree) {
    move |editor, tree| {
        let mut runner = TestRunner::deterministic();
        let steps = steps(count).new_tree(&mut runner).unwrap().current();
        let mut model = Model { editor, tree, made: 0, is_full: false };
        for step in &steps {
            model.apply(step);
        }
    }
}

impl Recorded {
    /// Shows the disks that a cut can leave, of very many each nth: every prefix, and some of the
    /// writes since the last sync. The sync of the undo file is not that of the image.
    fn each_disk(&self, mut look: impl FnMut(&Disk)) {
        let syncs = self.log.iter().filter(|event| matches!(event, Event::Sync | Event::SyncUndo));
        let every = (self.log.len() + syncs.count() * CHOICES).div_ceil(most_cuts());
        let mut safe = Disk { image: self.before.clone(), part: Vec::new(), undo: None };
        let mut pending: Vec<&Event> = Vec::new();
        let mut random = noise(77, 4096).into_iter().cycle();
        let mut count = 0;
        let mut show = |safe: &Disk, events: &mut dyn Iterator<Item = &&Event>| {
            count += 1;
            if count % every == 1 || every == 1 {
                let mut disk = safe.clone();
                events.for_each(|event| disk.apply(event));
                look(&disk);
            }
        };
        for event in &self.log {
            if matches!(event, Event::Sync | Event::SyncUndo) {
                for _ in 0..CHOICES {
                    let mut some = pending.iter().filter(|_| random.next().unwrap() >= 128);
                    show(&safe, &mut some);
                }
                let is_undo = matches!(event, Event::SyncUndo);
                let (synced, unsynced): (Vec<&Event>, Vec<&Event>) = pending
                    .iter()
                    .partition(|event| matches!(event, Event::Keep(_) | Event::Forget) == is_undo);
                for event in synced {
                    safe.apply(event);
                }
                safe.apply(event);
                pending = unsynced;
                continue;
            }
            pending.push(event);
            show(&safe, &mut pending.iter());
        }
        for event in pending {
            safe.apply(event);
        }
        look(&safe);
    }

    fn is_old_or_new(&self, found: &Tree) -> bool {
        self.old.differences(found).is_empty() || self.new.differences(found).is_empty()
    }

    /// Recovers each disk by us, and by e2fsck where no undo file is needed.
    fn assert_all(&self, scratch: &Path, by_fsck: bool) {
        self.each_disk(|disk| {
            let image = scratch.join("cut.ext4");
            if by_fsck {
                fs::write(&image, &disk.image).unwrap();
                let fsck = judge::find("e2fsck").unwrap();
                let output = judge::run(&fsck, ["-p".as_ref(), image.as_os_str()]);
                assert!(output.status.code().unwrap() < 2, "{}", judge::text(&output));
                gate::assert_clean(&image);
                assert!(self.is_old_or_new(&tree(&image)));
                fs::write(&image, &disk.image).unwrap();
                if let Some(mount) = Mount::new(&image, Access::ReadWrite) {
                    mount.close();
                    gate::assert_checked(&image);
                    assert!(self.is_old_or_new(&tree(&image)), "after the kernel");
                }
            }
            let undo = Kept { bytes: disk.undo.clone(), log: Log::default() };
            let device = Recorder { image: disk.image.clone(), log: Log::default() };
            let editor = Editor::open_with_undo(device, Box::new(undo), NOW).unwrap();
            let recovered = editor.commit().unwrap().image;
            fs::write(&image, &recovered).unwrap();
            gate::assert_checked(&image);
            assert!(self.is_old_or_new(&tree(&image)));
        });
    }
}

#[test]
fn a_cut_of_an_edit_by_the_journal_leaves_the_old_image_or_the_new_one() {
    for options in [
        &["-t", "ext4", "-b", "4096"][..],
        &["-t", "ext3", "-b", "1024"],
        &["-t", "ext4", "-O", "^64bit,^metadata_csum,uninit_bg", "-b", "1024"],
    ] {
        let Some(bed) = make(options, "24M") else { return };
        let recorded = record(&bed.path, random_edit(20));
        assert!(!recorded.log.iter().any(|event| matches!(event, Event::Keep(_))));
        recorded.assert_all(bed.directory.path(), true);
    }
}

#[test]
fn a_cut_of_an_edit_in_place_leaves_the_old_image_or_the_new_one() {
    let Some(bed) = make(&["-t", "ext2", "-b", "1024"], "16M") else { return };
    let recorded = record(&bed.path, random_edit(10));
    assert!(recorded.log.iter().any(|event| matches!(event, Event::Keep(_))));
    recorded.assert_all(bed.directory.path(), false);
}

#[test]
fn a_cut_of_growth_leaves_the_old_size_or_the_new_one() {
    let Some(bed) = make(&["-t", "ext4", "-b", "1024"], "16M") else { return };
    let recorded = record(&bed.path, |editor, _| {
        editor.set_label(b"longer").unwrap();
        editor.grow(34 << 20).unwrap();
    });
    recorded.assert_all(bed.directory.path(), false);
}

#[test]
fn a_cut_of_a_new_uuid_leaves_the_old_sums_or_the_new_ones() {
    let Some(bed) = make(&["-t", "ext4", "-b", "1024"], "16M") else { return };
    let recorded = record(&bed.path, |editor, _| {
        editor.remove(editor.root(), b"block").unwrap();
        editor.set_uuid([7; 16]).unwrap();
        editor.grow(34 << 20).unwrap();
    });
    let seeds = recorded.log.iter().filter(|event| matches!(event, Event::Keep(_))).count();
    assert!(seeds > 300, "{seeds}");
    recorded.assert_all(bed.directory.path(), false);
}

/// A device that fails with the write or sync of this number, and with all that follow.
struct Failing {
    recorder: Recorder,
    left: Rc<RefCell<usize>>,
    error: io::ErrorKind,
}

/// Takes one away; nothing is left at the end.
fn take(left: &Rc<RefCell<usize>>, error: io::ErrorKind) -> io::Result<()> {
    let mut left = left.borrow_mut();
    *left = left.checked_sub(1).ok_or(error)?;
    Ok(())
}

impl Source for Failing {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.recorder.read_at(offset, buffer)
    }

    fn length(&self) -> io::Result<u64> {
        self.recorder.length()
    }
}

impl Device for Failing {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        take(&self.left, self.error)?;
        self.recorder.write_at(offset, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        take(&self.left, self.error)?;
        self.recorder.sync()
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        take(&self.left, self.error)?;
        self.recorder.set_length(length)
    }

    fn grows_with_zeros(&self) -> bool {
        true
    }
}

/// The same of the place of an undo file.
struct FailingUndo {
    kept: Kept,
    left: Rc<RefCell<usize>>,
    error: io::ErrorKind,
}

impl Undo for FailingUndo {
    fn open(&mut self) -> io::Result<Option<Box<dyn Source>>> {
        self.kept.open()
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        take(&self.left, self.error)?;
        self.kept.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        take(&self.left, self.error)?;
        self.kept.sync()
    }

    fn remove(&mut self) -> io::Result<()> {
        take(&self.left, self.error)?;
        self.kept.remove()
    }
}

/// Lets the nth write fail, for many n; what is on the disk then is recovered to the old image or
/// the new one.
fn assert_failures(bed: &Bed, change: impl Fn(&mut Editor<Failing>) -> EditResult<()>) {
    let before = fs::read(&bed.path).unwrap();
    let old = tree(&bed.path);
    let mut failures = 0;
    let attempt = |limit: usize, error| {
        let (log, left) = (Log::default(), Rc::new(RefCell::new(limit)));
        let recorder = Recorder { image: before.clone(), log: Rc::clone(&log) };
        let device = Failing { recorder, left: Rc::clone(&left), error };
        let kept = Kept { bytes: None, log: Rc::clone(&log) };
        let undo = FailingUndo { kept, left: Rc::clone(&left), error };
        let done = Editor::open_with_undo(device, Box::new(undo), NOW).and_then(|mut editor| {
            change(&mut editor)?;
            editor.commit()
        });
        let mut disk = Disk { image: before.clone(), part: Vec::new(), undo: None };
        log.borrow().iter().for_each(|event| disk.apply(event));
        (done.map(drop), disk, limit - *left.borrow())
    };
    let (done, disk, count) = attempt(usize::MAX, io::ErrorKind::Other);
    done.unwrap();
    let new = seen::tree(&Reader::open(disk.image).unwrap());
    let recorded = Recorded { before: before.clone(), log: Vec::new(), old, new };
    let kinds = [io::ErrorKind::Other, io::ErrorKind::StorageFull, io::ErrorKind::FileTooLarge];
    for (number, limit) in (0..count).step_by(count.div_ceil(most_cuts() / 2)).enumerate() {
        let (done, disk, _) = attempt(limit, kinds[number % kinds.len()]);
        let error = done.unwrap_err();
        assert!(!matches!(error, EditError::Stopped), "the first error is told");
        failures += 1;
        let undo = Kept { bytes: disk.undo, log: Log::default() };
        let device = Recorder { image: disk.image, log: Log::default() };
        let editor = Editor::open_with_undo(device, Box::new(undo), NOW).unwrap();
        let image = bed.directory.path().join("failed.ext4");
        fs::write(&image, editor.commit().unwrap().image).unwrap();
        gate::assert_checked(&image);
        assert!(recorded.is_old_or_new(&tree(&image)), "write {limit} of {count}: {error}");
    }
    assert!(failures > 10);
}

fn change_a_little(editor: &mut Editor<Failing>) -> EditResult<()> {
    let (root, metadata) = (editor.root(), Metadata::root_owned(0o755, NOW));
    let directory = editor.add_directory(root, b"new", &metadata)?;
    for number in 0..20_u64 {
        let content = noise(number, 30_000);
        let mut reader = content.as_slice();
        let file = FileContent::new(30_000, &mut reader);
        editor.add_file(directory, number.to_string().as_bytes(), &metadata, file)?;
    }
    editor.remove(root, b"many")?;
    editor.rename(root, b"block", directory, b"moved")
}

#[test]
fn a_write_that_fails_leaves_the_old_image_or_the_new_one() {
    for options in [&["-t", "ext4", "-b", "4096"][..], &["-t", "ext2", "-b", "1024"]] {
        let Some(bed) = make(options, "24M") else { return };
        assert_failures(&bed, change_a_little);
    }
    let Some(bed) = make(&["-t", "ext4", "-b", "1024"], "16M") else { return };
    assert_failures(&bed, |editor| editor.grow(34 << 20));
}

#[test]
fn an_undo_file_of_another_image_is_refused() {
    let Some(bed) = make(&["-t", "ext2", "-b", "1024"], "16M") else { return };
    let recorded = record(&bed.path, random_edit(10));
    let mut kept = None;
    recorded.each_disk(|disk| kept = disk.undo.clone().or(kept.take()));
    assert!(kept.is_some());
    let Some(other) = make(&["-t", "ext2", "-b", "1024", "-L", "other"], "16M") else { return };
    let undo = Kept { bytes: kept, log: Log::default() };
    let log = Log::default();
    let device = Recorder { image: fs::read(&other.path).unwrap(), log: Rc::clone(&log) };
    let refused = Editor::open_with_undo(device, Box::new(undo), NOW).unwrap_err().to_string();
    assert!(refused.contains("another image"), "{refused}");
    assert!(log.borrow().is_empty());
}
