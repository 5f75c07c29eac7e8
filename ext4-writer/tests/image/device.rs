//! Filesystems on devices that held something else: nothing of it shows through.

use std::fs::{self, OpenOptions};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use banger_test_support::device::{LoopDevice, PLANTED, plant_signatures, signatures};
use banger_test_support::mount::Mount;
use banger_test_support::storm::weather;
use banger_test_support::tree::Tree;
use banger_test_support::{gate, judge, view};
use ext4_writer::{
    Builder, DeviceSink, Error, Features, InitialContents, Journal, Metadata, Options, Sink, Size,
    Summary,
};

use crate::features::declare;
use crate::twin::{Twin, noise, place};

const MIB: u64 = 1 << 20;
const DEVICE: u64 = 64 * MIB;

/// A device in memory that begins with garbage.
#[derive(Clone)]
pub(crate) struct Garbage {
    pub(crate) bytes: Vec<u8>,
}

impl Garbage {
    pub(crate) fn new(seed: u64, length: u64) -> Self {
        Self { bytes: noise(seed, 1 << 20).into_iter().cycle().take(place(length)).collect() }
    }

    fn range(&mut self, offset: u64, length: usize) -> io::Result<&mut [u8]> {
        let rest = self.bytes.get_mut(place(offset)..);
        rest.and_then(|rest| rest.get_mut(..length))
            .ok_or_else(|| io::Error::other("behind the end"))
    }
}

impl Sink for Garbage {
    fn prepare(&mut self, _: Option<u64>) -> io::Result<InitialContents> {
        Ok(InitialContents::Unknown)
    }

    fn capacity(&self) -> Option<u64> {
        u64::try_from(self.bytes.len()).ok()
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.range(offset, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn zero_at(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.range(offset, place(length))?.fill(0);
        Ok(())
    }

    fn set_length(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How a filesystem is to be made.
#[derive(Clone, Copy, Debug)]
struct Case {
    block_size: u32,
    size: u64,
    lazy_tables: bool,
    lazy_journal: bool,
    features: &'static str,
}

impl Case {
    fn options(&self) -> Options {
        let mut options = Options::new(Size::Fixed(self.size));
        options.block_size = self.block_size;
        options.features = Features::DEFAULT.changed(self.features).unwrap();
        options.lazy_itable_init = self.lazy_tables;
        options.lazy_journal_init = self.lazy_journal;
        options
    }

    fn has_checksums(&self) -> bool {
        !self.features.contains("^metadata_csum")
    }

    /// Whether unused tables are the kernel's to zero.
    fn leaves_tables(&self) -> bool {
        self.lazy_tables && self.has_checksums()
    }

    /// Writes a tree with everything in it, and some that was removed again.
    fn write<S: Sink>(&self, sink: S) -> (Summary, Tree, S) {
        let mut twin = Twin::new(sink, self.options());
        twin.file("short-lived", &noise(77, 700_000));
        declare(&mut twin);
        twin.remove(b"short-lived");
        twin.file("zeros", &vec![0; 200_000]);
        let (summary, sink) = twin.builder.finish().unwrap();
        (summary, twin.tree, sink)
    }
}

/// All four combinations of the lazy options.
fn lazy() -> impl Iterator<Item = (bool, bool)> {
    [false, true].into_iter().flat_map(|tables| [false, true].map(|journal| (tables, journal)))
}

/// What dumpe2fs says of where things are, in blocks.
struct Places {
    block_size: u64,
    groups: usize,
    zeroed_groups: usize,
    tables: Vec<RangeInclusive<u64>>,
    /// What nothing is in: free blocks, bitmaps that were never written, the room of backups for
    /// descriptors to come.
    untouched: Vec<RangeInclusive<u64>>,
}

impl Places {
    fn of(image: &Path) -> Self {
        let report = gate::dump(image).unwrap();
        let mut places = Self {
            block_size: report.block_size,
            groups: 0,
            zeroed_groups: 0,
            tables: Vec::new(),
            untouched: Vec::new(),
        };
        let mut group = "";
        for line in report.text.lines() {
            if is_group(line) {
                group = line;
                places.groups += 1;
                places.zeroed_groups += usize::from(line.contains("ITABLE_ZEROED"));
            }
            let unwritten = |flag: &str| group.contains(flag);
            if let Some((_, range)) = line.split_once("Inode table at ") {
                places.tables.extend(ranges(range));
            } else if let Some(free) = line.trim().strip_prefix("Free blocks: ") {
                places.untouched.extend(ranges(free));
            } else if let Some((_, reserved)) = line.split_once("Reserved GDT blocks at ") {
                if !group.starts_with("Group 0:") {
                    places.untouched.extend(ranges(reserved));
                }
            } else if let Some((_, bitmap)) = line.split_once("Block bitmap at ")
                && unwritten("BLOCK_UNINIT")
            {
                places.untouched.extend(ranges(bitmap));
            }
            if let Some((_, bitmap)) = line.split_once("Inode bitmap at ")
                && unwritten("INODE_UNINIT")
            {
                places.untouched.extend(ranges(bitmap));
            }
        }
        places
    }

    fn blocks<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = (u64, &'a [u8])> {
        (0..).zip(bytes.chunks_exact(place(self.block_size)))
    }
}

/// Whether a line of dumpe2fs begins what it says of a group.
fn is_group(line: &str) -> bool {
    line.starts_with("Group ") && line.contains("(Blocks")
}

/// `5`, `5-7`, `5-7, 9`, and what dumpe2fs writes behind it.
fn ranges(text: &str) -> Vec<RangeInclusive<u64>> {
    let parse = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    let words = text.split([' ', ',']).take_while(|word| !word.starts_with('('));
    words.filter_map(parse).collect()
}

/// How many blocks of the inode tables are all zeros, and how many there are.
fn zero_blocks(image: &Path, places: &Places) -> (u64, u64) {
    let bytes = fs::read(image).unwrap();
    let tables = places.blocks(&bytes).filter(|(at, _)| holds(&places.tables, *at));
    tables.fold((0, 0), |(zero, all), (_, block)| {
        (zero + u64::from(block.iter().all(|byte| *byte == 0)), all + 1)
    })
}

fn holds(ranges: &[RangeInclusive<u64>], block: u64) -> bool {
    ranges.iter().any(|range| range.contains(&block))
}

/// The journal of an image, without its first block.
fn journal(image: &Path, block_size: u32) -> Vec<u8> {
    let debugfs = judge::find("debugfs").expect("debugfs is installed");
    let output = judge::run(&debugfs, ["-R".as_ref(), "cat <8>".as_ref(), image.as_os_str()]);
    output.stdout[usize::try_from(block_size).unwrap()..].to_vec()
}

/// What can be said of an image before the kernel has seen it.
fn assert_written_as_asked(case: &Case, image: &Path) {
    gate::assert_clean(image);
    if !judge::all(&["dumpe2fs", "debugfs"]) {
        return;
    }
    let places = Places::of(image);
    let flagged = if case.has_checksums() && !case.leaves_tables() { places.groups } else { 0 };
    assert_eq!(places.zeroed_groups, flagged, "of {} groups: {case:?}", places.groups);
    let (zero, all) = zero_blocks(image, &places);
    // The tree has a thousand inodes; all other blocks of the tables are unused.
    let used = (1100_u64 * 256).div_ceil(u64::from(case.block_size));
    if case.leaves_tables() {
        // Some may lie where a device's signatures were wiped.
        assert!(zero <= all / 2, "{zero} of {all} blocks of tables are zeros: {case:?}");
    } else {
        assert!(zero >= all - used, "{zero} of {all} blocks of tables are zeros: {case:?}");
    }
    if !case.features.contains("^has_journal") {
        let journal = journal(image, case.block_size);
        assert!(journal.len() >= 1023 * 1024, "{} bytes", journal.len());
        let is_zero = journal.iter().all(|byte| *byte == 0);
        assert_eq!(is_zero, !case.lazy_journal, "{case:?}");
    }
}

fn in_memory(case: &Case) {
    let (summary, tree, sink) = case.write(Garbage::new(1, case.size));
    let (_, _, other) = case.write(Garbage::new(2, case.size));
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image.ext4");
    fs::write(&image, &sink.bytes[..place(summary.size)]).unwrap();
    assert_written_as_asked(case, &image);
    let readable = !judge::all(&["dumpe2fs"]) || view::can_read(&gate::dump(&image).unwrap());
    if case.block_size <= 4096 && readable {
        assert_eq!(view::assert_agrees(&image, &tree), 0);
    }
    if judge::all(&["dumpe2fs"]) {
        assert_nothing_shows_through(case, &Places::of(&image), [&sink, &other]);
    }
}

/// Two images over different garbage are the same but for blocks that nothing is in: each of those
/// is garbage as a whole.
fn assert_nothing_shows_through(case: &Case, places: &Places, [one, other]: [&Garbage; 2]) {
    let before = [1, 2].map(|seed| Garbage::new(seed, case.size).bytes);
    let before = before.each_ref().map(|bytes| places.blocks(bytes).map(|(_, block)| block));
    let [mut before_one, mut before_other] = before;
    for ((at, one), (_, other)) in places.blocks(&one.bytes).zip(places.blocks(&other.bytes)) {
        let garbage = [before_one.next().unwrap(), before_other.next().unwrap()];
        if one == other {
            continue;
        }
        assert!([one, other] == garbage, "block {at} is written in part: {case:?}");
        let is_journal = case.lazy_journal && !case.features.contains("^has_journal");
        let is_left = case.leaves_tables() && holds(&places.tables, at);
        assert!(is_left || is_journal || holds(&places.untouched, at), "block {at}: {case:?}");
    }
}

#[test]
fn nothing_of_the_old_content_shows_through() {
    for (lazy_tables, lazy_journal) in lazy() {
        for block_size in [1024, 4096] {
            for features in ["", "^metadata_csum", "^has_journal", "^metadata_csum,^has_journal"] {
                in_memory(&Case {
                    block_size,
                    size: 14 * MIB,
                    lazy_tables,
                    lazy_journal,
                    features,
                });
            }
        }
    }
}

#[test]
fn nothing_of_the_old_content_shows_through_with_any_feature() {
    let lists = [
        "^flex_bg",
        "orphan_file,inline_data",
        "sparse_super2,metadata_csum_seed",
        "^resize_inode,ea_inode",
        "^64bit,^flex_bg,^metadata_csum",
    ];
    for (lazy_tables, features) in [true, false].into_iter().cycle().zip(lists) {
        for block_size in [1024, 2048] {
            let case =
                Case { block_size, size: 40 * MIB, lazy_tables, lazy_journal: false, features };
            in_memory(&case);
        }
    }
    let (block_size, size) = (65_536, 384 * MIB);
    let features = "";
    in_memory(&Case { block_size, size, lazy_tables: false, lazy_journal: true, features });
}

#[test]
fn where_zeros_are_known_the_lazy_options_change_nothing() {
    let image = |lazy_tables, lazy_journal| {
        let case =
            Case { block_size: 4096, size: 24 * MIB, lazy_tables, lazy_journal, features: "" };
        case.write(ext4_writer::MemorySink::new()).2.into_bytes()
    };
    let eager = image(false, false);
    for (lazy_tables, lazy_journal) in lazy() {
        assert!(image(lazy_tables, lazy_journal) == eager, "{lazy_tables} {lazy_journal}");
    }
}

/// A device of garbage with the signatures of other formats.
struct Disk {
    device: LoopDevice,
    directory: tempfile::TempDir,
}

impl Disk {
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut bytes = Garbage::new(1, DEVICE).bytes;
        plant_signatures(&mut bytes);
        let file = directory.path().join("disk");
        fs::write(&file, &bytes).unwrap();
        Some(Self { device: LoopDevice::over(&file)?, directory })
    }

    fn sink(&self) -> DeviceSink {
        let device = OpenOptions::new().read(true).write(true).open(self.device.path()).unwrap();
        DeviceSink::new(device).unwrap()
    }

    /// The first `size` bytes as a file.
    fn copy(&self, size: u64) -> std::path::PathBuf {
        let copy = self.directory.path().join("copy");
        fs::copy(self.directory.path().join("disk"), &copy).unwrap();
        OpenOptions::new().write(true).open(&copy).unwrap().set_len(size).unwrap();
        copy
    }
}

/// Waits until the kernel has zeroed the tables of all groups.
fn wait_for_tables(device: &Path) {
    const LIMIT: Duration = Duration::from_secs(120);
    let start = Instant::now();
    loop {
        // A checksum can be caught between two changes.
        if let Ok(report) = gate::dump(device) {
            let groups = report.text.lines().filter(|line| is_group(line));
            let left = groups.filter(|line| !line.contains("ITABLE_ZEROED")).count();
            if left == 0 {
                return;
            }
        }
        assert!(start.elapsed() < LIMIT, "the kernel has not zeroed all tables");
        sleep(Duration::from_millis(100));
    }
}

/// Mounts the disk, and has e2fsck look while the kernel zeroes tables and when it has.
fn assert_kernel_takes(case: &Case, disk: &Disk, tree: &Tree) {
    let Some(mount) = Mount::on(disk.device.path(), "rw,init_itable=0") else { return };
    tree.assert_same(&mount.tree(), "the kernel");
    gate::assert_clean(&mount.frozen(|| disk.copy(case.size)));
    if case.has_checksums() {
        wait_for_tables(disk.device.path());
        let copy = mount.frozen(|| disk.copy(case.size));
        gate::assert_clean(&copy);
        let (zero, all) = zero_blocks(&copy, &Places::of(&copy));
        assert!(zero > all / 2, "{zero} of {all} blocks of tables are zeros: {case:?}");
    }
    weather(mount.path(), tree).unwrap();
    mount.close();
    gate::assert_clean(&disk.copy(case.size));
    let Some(mount) = Mount::on(disk.device.path(), "ro") else { return };
    let tree = tree.clone().without_directory_times();
    tree.assert_same(&mount.tree(), "the kernel, after the storm,");
    mount.close();
}

fn on_a_device(case: &Case) {
    if !judge::all(&["wipefs", "blkid", "fsfreeze", "dumpe2fs"]) {
        return;
    }
    let Some(disk) = Disk::new() else { return };
    assert_eq!(signatures(disk.device.path()), PLANTED);
    let (summary, tree, sink) = case.write(disk.sink());
    drop(sink);
    assert_eq!(summary.size, case.size);
    assert_eq!(signatures(disk.device.path()), ["ext4"], "{case:?}");
    let arguments = ["-p", "-o", "value", "-s", "TYPE"].map(std::ffi::OsStr::new);
    let arguments = arguments.into_iter().chain([disk.device.path().as_os_str()]);
    assert_eq!(judge::succeed("blkid", arguments).trim(), "ext4");
    assert_written_as_asked(case, &disk.copy(case.size));
    assert_kernel_takes(case, &disk, &tree);
}

#[test]
fn a_disk_of_garbage_becomes_a_filesystem_that_the_kernel_finishes() {
    for (lazy_tables, lazy_journal) in lazy() {
        for (block_size, size) in [(4096, DEVICE), (1024, DEVICE - 20 * MIB)] {
            let features = "";
            on_a_device(&Case { block_size, size, lazy_tables, lazy_journal, features });
        }
    }
}

#[test]
fn a_disk_of_garbage_becomes_a_filesystem_without_checksums_or_journal() {
    for (features, lazy_tables) in [
        ("^metadata_csum", true),
        ("^metadata_csum", false),
        ("^has_journal", true),
        ("^metadata_csum,^has_journal", true),
    ] {
        for (block_size, size) in [(4096, DEVICE - 20 * MIB), (1024, DEVICE)] {
            let lazy_journal = !lazy_tables;
            on_a_device(&Case { block_size, size, lazy_tables, lazy_journal, features });
        }
    }
}

/// A file of garbage as a device, without loop devices.
fn file_device(directory: &Path, length: u64) -> DeviceSink {
    let path = directory.join("disk");
    fs::write(&path, Garbage::new(3, length).bytes).unwrap();
    DeviceSink::new(OpenOptions::new().read(true).write(true).open(&path).unwrap()).unwrap()
}

#[test]
fn a_filesystem_longer_than_its_device_is_refused_with_both_sizes() {
    let directory = tempfile::tempdir().unwrap();
    let size = 24 * MIB;
    let refused =
        Builder::create(file_device(directory.path(), 20 * MIB), Options::new(Size::Fixed(size)));
    let error = refused.expect_err("four mebibytes are missing");
    assert!(
        matches!(error, Error::DeviceTooSmall { size: 25_165_824, capacity: 20_971_520 }),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains("25165824") && text.contains("20971520"), "{text}");
    let disk = fs::read(directory.path().join("disk")).unwrap();
    assert!(disk == Garbage::new(3, 20 * MIB).bytes, "a device that was refused is untouched");
}

#[test]
fn a_fitted_filesystem_that_does_not_fit_its_device_is_refused_with_both_sizes() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(Size::Fit { free_bytes: 64 * MIB, free_inodes: 0 });
    let builder = Builder::create(file_device(directory.path(), 20 * MIB), options).unwrap();
    let error = builder.finish().expect_err("there are 20 MiB");
    let Error::DeviceTooSmall { size, capacity } = error else { panic!("{error}") };
    assert!(size > 64 * MIB && capacity == 20 * MIB, "{size} {capacity}");
}

#[test]
fn content_that_passes_the_end_of_the_device_is_an_error_with_both_sizes() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(Size::Fit { free_bytes: 0, free_inodes: 0 });
    let mut builder = Builder::create(file_device(directory.path(), 2 * MIB), options).unwrap();
    let content = noise(1, place(3 * MIB));
    let mut reader = content.as_slice();
    let content = ext4_writer::FileContent::new(3 * MIB, &mut reader);
    let root = builder.root();
    let error = builder.add_file(root, b"f", &Metadata::default(), content).unwrap_err();
    let Error::WriteImage { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    assert!(matches!(inner, Some(Error::DeviceTooSmall { capacity: 2_097_152, .. })), "{error}");
    assert!(matches!(builder.finish(), Err(Error::Poisoned)));
}

#[test]
fn a_fitted_filesystem_leaves_the_device_its_length() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(Size::Fit { free_bytes: 4 * MIB, free_inodes: 100 });
    options.journal = Journal::None;
    let mut twin = Twin::new(file_device(directory.path(), 40 * MIB), options);
    twin.file("f", &noise(5, 100_000));
    let (summary, sink) = twin.builder.finish().unwrap();
    let file = sink.into_file();
    assert_eq!(file.metadata().unwrap().len(), 40 * MIB);
    let mut last = [0xff; 512];
    file.read_exact_at(&mut last, 40 * MIB - 512).unwrap();
    assert_eq!(last, [0; 512], "old signatures at the end are wiped");
    file.set_len(summary.size).unwrap();
    let image = directory.path().join("disk");
    gate::assert_clean(&image);
    assert_eq!(view::assert_agrees(&image, &twin.tree), 0);
}

/// What happens to a device, in order: offset and length of writes and zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Write(u64, u64),
    Barrier,
    Sync,
}

#[derive(Default)]
struct Witness(Vec<Event>);

impl Sink for Witness {
    fn prepare(&mut self, _: Option<u64>) -> io::Result<InitialContents> {
        Ok(InitialContents::Unknown)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.push(Event::Write(offset, u64::try_from(bytes.len()).unwrap()));
        Ok(())
    }

    fn zero_at(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.0.push(Event::Write(offset, length));
        Ok(())
    }

    fn barrier(&mut self) -> io::Result<()> {
        self.0.push(Event::Barrier);
        Ok(())
    }

    fn set_length(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.push(Event::Sync);
        Ok(())
    }
}

#[test]
fn the_superblock_is_written_alone_when_all_else_is_safe() {
    for (block_size, start) in [(1024, 1024), (4096, 0), (65_536, 0)] {
        let mut options = Options::new(Size::Fixed(640 * MIB));
        options.block_size = block_size;
        let builder = Builder::create(Witness::default(), options).unwrap();
        let (_, Witness(events)) = builder.finish().unwrap();
        let length = u64::from(block_size);
        let (before, after) = events.split_at(events.len() - 3);
        assert_eq!(after, [Event::Barrier, Event::Write(start, length), Event::Sync]);
        let touches = |event: &&Event| match event {
            Event::Write(offset, length) => *offset < 2048 && offset + length > 1024,
            Event::Barrier | Event::Sync => true,
        };
        assert_eq!(before.iter().find(touches), None, "blocks of {block_size}");
    }
}

#[test]
fn a_device_of_any_length_has_a_largest_filesystem() {
    let options = Options::new(Size::Fixed(0));
    let group = 128 * MIB;
    for (capacity, size) in [
        (64 * MIB, 64 * MIB),
        (64 * MIB + 4095, 64 * MIB),
        // A last group that holds a backup and no more.
        (group + 4096, group),
        (2 * group + 4096, 2 * group + 4096),
    ] {
        assert_eq!(ext4_writer::largest_size(&options, capacity).unwrap(), size);
        let mut options = options.clone();
        options.size = Size::Fixed(size);
        Builder::create(ext4_writer::CountingSink::new(), options).unwrap();
    }
    for capacity in [0, 1, 4096, 10_000] {
        let refused = ext4_writer::largest_size(&options, capacity);
        assert!(matches!(refused, Err(Error::InvalidOption { option: "size", .. })), "{refused:?}");
    }
}

/// So that nothing of a journal that was there before is replayed.
#[test]
fn the_numbers_of_a_lazy_journal_follow_from_the_uuid() {
    if !judge::all(&["dumpe2fs"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    for (lazy_journal, number) in [(true, "0x12345678"), (false, "0x00000001")] {
        let mut options = Options::new(Size::Fixed(24 * MIB));
        options.lazy_journal_init = lazy_journal;
        options.uuid = Some([0x92, 0x34, 0x56, 0x78, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
        let builder = Builder::create(Garbage::new(1, 24 * MIB), options).unwrap();
        fs::write(&image, builder.finish().unwrap().1.bytes).unwrap();
        gate::assert_clean(&image);
        let text = gate::dump(&image).unwrap().text;
        assert!(text.contains(&format!("Journal sequence:         {number}")), "{text}");
    }
}
