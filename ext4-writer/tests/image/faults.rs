//! A sink that fails: the builder says so, at once and for ever, and never panics.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::rc::Rc;

use banger_test_support::device::LoopDevice;
use banger_test_support::judge;
use ext4_writer::{
    Builder, DeviceSink, Error, Features, FileContent, FileFlags, FileSink, InitialContents,
    MemorySink, Metadata, NodeId, Options, Result, Segment, Sink, Size, Special,
};

use crate::device::Garbage;
use crate::twin::{Image, noise, roomy};

const MIB: u64 = 1 << 20;

/// What a sink does wrong, once; what comes after it would succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// The operation of this number fails.
    Operation(u64),
    /// The write of this number ends in its midst.
    ShortWrite(u64),
    /// The write fails, half done, with which more than so many bytes are written.
    Full(u64),
    /// The zeroing of this number fails.
    Zeroing(u64),
    Prepare,
    SetLength,
    Sync,
}

/// What was asked of a sink.
#[derive(Debug, Default)]
struct Log {
    operations: Cell<u64>,
    writes: Cell<u64>,
    zeroings: Cell<u64>,
    bytes: Cell<u64>,
    failed: Cell<bool>,
}

fn next(counter: &Cell<u64>) -> u64 {
    counter.replace(counter.get() + 1)
}

/// A sink with a fault.
struct Faulty<S> {
    inner: S,
    fault: Fault,
    log: Rc<Log>,
}

impl<S: Sink> Faulty<S> {
    /// Counts an operation, and fails if it is this one or `now`.
    fn operation(&self, now: bool) -> io::Result<()> {
        assert!(!self.log.failed.get(), "a sink that failed is asked again");
        let number = next(&self.log.operations);
        if now || self.fault == Fault::Operation(number) {
            self.log.failed.set(true);
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl<S: Sink> Sink for Faulty<S> {
    fn prepare(&mut self, length: Option<u64>) -> io::Result<InitialContents> {
        if self.fault == Fault::Prepare {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.inner.prepare(length)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let number = next(&self.log.writes);
        let end = self.log.bytes.get() + u64::try_from(bytes.len()).unwrap();
        self.log.bytes.set(end);
        let is_full = matches!(self.fault, Fault::Full(most) if end > most);
        if is_full || self.fault == Fault::ShortWrite(number) {
            self.inner.write_at(offset, &bytes[..bytes.len() / 2])?;
            return self.operation(true);
        }
        self.operation(false)?;
        self.inner.write_at(offset, bytes)
    }

    fn zero_at(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let number = next(&self.log.zeroings);
        self.operation(self.fault == Fault::Zeroing(number))?;
        self.inner.zero_at(offset, length)
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.operation(self.fault == Fault::SetLength)?;
        self.inner.set_length(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.operation(self.fault == Fault::Sync)?;
        self.inner.sync()
    }
}

/// Calls a builder as if no error mattered; every error but the first must be `Poisoned`, and
/// behind the first there must be nothing else.
struct Careless<S> {
    builder: Builder<S>,
    first: Option<Error>,
}

impl<S: Sink> Careless<S> {
    fn call<T>(&mut self, call: impl FnOnce(&mut Builder<S>) -> Result<T>) -> Option<T> {
        match (&self.first, call(&mut self.builder)) {
            (None, Ok(value)) => return Some(value),
            (None, Err(error)) => self.first = Some(error),
            (Some(_), Err(Error::Poisoned)) => {}
            (Some(first), Ok(_)) => panic!("success after \"{first}\""),
            (Some(first), Err(other)) => panic!("after \"{first}\" came {other:?}"),
        }
        None
    }

    /// The node, or another one where it could not be made.
    fn or_root(&self, node: Option<NodeId>) -> NodeId {
        node.unwrap_or(self.builder.root())
    }

    fn file(&mut self, name: &str, content: &[u8]) -> NodeId {
        let root = self.builder.root();
        let size = u64::try_from(content.len()).unwrap();
        let mut reader = content;
        let content = FileContent::new(size, &mut reader);
        let made = self
            .call(|builder| builder.add_file(root, name.as_bytes(), &Metadata::default(), content));
        self.or_root(made)
    }

    fn sparse(&mut self, name: &str) {
        let root = self.builder.root();
        // More extents than an inode holds.
        let part = |number: u64| Segment { offset: number * 65_536, length: 1000 };
        let segments: Vec<Segment> = (0..9).map(part).collect();
        let content = noise(9, 9000);
        let mut reader = content.as_slice();
        let content = FileContent::sparse(MIB, &segments, &mut reader);
        self.call(|builder| builder.add_file(root, name.as_bytes(), &Metadata::default(), content));
    }

    fn directory(&mut self, name: &str, names: u32) {
        let (root, metadata) = (self.builder.root(), Metadata::default());
        let made = self.call(|builder| builder.add_directory(root, name.as_bytes(), &metadata));
        let directory = self.or_root(made);
        for number in 0..names {
            let name = format!("{name}-has-an-entry-of-this-name-{number}");
            self.call(|builder| {
                builder.add_special(directory, name.as_bytes(), &metadata, Special::Fifo)
            });
        }
    }
}

/// Builds an image of every kind of write on `sink`; what failed first is the error.
fn build<S: Sink>(sink: S, options: Options) -> Result<()> {
    let metadata = Metadata::default();
    let mut careless = Careless { builder: Builder::create(sink, options)?, first: None };
    let root = careless.builder.root();
    for number in 0..3 {
        let content = noise(number, 1_200_000);
        careless.file(&format!("large-{number}"), &content);
        let small = careless.file(&format!("small-{number}"), &content[..50]);
        let value = &content[..usize::try_from(number * 300).unwrap()];
        careless.call(|builder| builder.set_xattr(small, b"user.value", value));
    }
    careless.call(|builder| builder.remove(root, b"large-1"));
    careless.file("zeros", &vec![0; 20_000]);
    careless.sparse("sparse");
    careless.directory("short", 3);
    careless.directory("indexed", 120);
    careless.call(|builder| builder.add_symlink(root, b"link", &metadata, [b'x'; 200]));
    let node = careless.builder.lookup(root, b"large-0");
    let node = careless.or_root(node);
    if careless.builder.file_size(node).is_some() {
        careless.call(|builder| builder.add_link(root, b"again", node));
        let content = noise(7, 3000);
        let mut reader = content.as_slice();
        let content = FileContent::new(3000, &mut reader);
        careless.call(|builder| builder.set_content(node, content));
        careless.call(|builder| builder.preallocate(node, 8192, 50_000));
    }
    careless.call(|builder| builder.set_metadata(root, &metadata));
    careless.call(|builder| builder.clear_xattrs(root));
    careless.call(|builder| builder.set_generation(root, 7));
    careless.call(|builder| builder.set_flags(root, FileFlags::NO_DUMP));
    let Careless { builder, first } = careless;
    match (first, builder.finish()) {
        (None, finished) => finished.map(drop),
        (Some(first), Err(Error::Poisoned)) => Err(first),
        (Some(first), other) => panic!("after \"{first}\" came {:?}", other.map(drop)),
    }
}

fn options(list: &str) -> Options {
    let mut options = Options::new(Size::Fixed(16 * MIB));
    options.block_size = 1024;
    options.features = Features::DEFAULT.changed(list).unwrap();
    options
}

/// Every way of writing something, alone or together where they do not meet.
const LISTS: [&str; 6] = [
    "",
    "orphan_file,ea_inode,large_dir,metadata_csum_seed",
    "inline_data",
    "^flex_bg,^metadata_csum,^64bit",
    "^has_journal,^resize_inode,^dir_index",
    "sparse_super2",
];

/// Builds on a sink with this fault, and returns what was asked of it.
fn try_fault<S: Sink>(inner: S, options: Options, fault: Fault) -> (Result<()>, Rc<Log>) {
    let log = Rc::new(Log::default());
    let result = build(Faulty { inner, fault, log: Rc::clone(&log) }, options);
    (result, log)
}

/// Tries `faults`, which are made from what is asked of a sink without one, over zeros and over
/// garbage, with every feature.
fn assert_faults_are_reported(faults: impl Fn(&Log) -> Vec<Fault>) {
    for list in LISTS {
        let (result, log) = try_fault(MemorySink::new(), options(list), Fault::Nothing);
        result.unwrap();
        for fault in faults(&log) {
            assert_reported(try_fault(MemorySink::new(), options(list), fault), list, fault);
        }
        let mut options = options(list);
        options.lazy_itable_init = false;
        let garbage = Garbage::new(1, 16 * MIB);
        let (result, log) = try_fault(garbage.clone(), options.clone(), Fault::Nothing);
        result.unwrap();
        for fault in faults(&log) {
            assert_reported(try_fault(garbage.clone(), options.clone(), fault), list, fault);
        }
    }
}

fn assert_reported((result, log): (Result<()>, Rc<Log>), list: &str, fault: Fault) {
    assert!(log.failed.get(), "{fault:?} did not come to pass with \"{list}\"");
    let error = result.expect_err("a failed write is a failed image");
    assert!(matches!(error, Error::WriteImage { .. }), "{fault:?} with \"{list}\": {error}");
    assert!(error.to_string().contains("of the image"), "{error}");
}

#[test]
fn every_operation_that_fails_is_reported_and_poisons_the_builder() {
    assert_faults_are_reported(|log| {
        assert!(log.operations.get() > 13, "{log:?}");
        (0..log.operations.get()).map(Fault::Operation).collect()
    });
}

#[test]
fn every_short_write_is_reported_and_poisons_the_builder() {
    assert_faults_are_reported(|log| (0..log.writes.get()).map(Fault::ShortWrite).collect());
}

#[test]
fn a_sink_that_is_full_at_any_byte_is_reported_and_poisons_the_builder() {
    assert_faults_are_reported(|log| {
        let bytes = log.bytes.get();
        (0..16).map(|part| Fault::Full(bytes * part / 16)).chain([Fault::Full(bytes - 1)]).collect()
    });
}

#[test]
fn every_zeroing_that_fails_is_reported_and_poisons_the_builder() {
    assert_faults_are_reported(|log| {
        assert!(log.zeroings.get() > 0, "{log:?}");
        (0..log.zeroings.get()).map(Fault::Zeroing).collect()
    });
}

#[test]
fn a_length_or_a_sync_that_fails_is_reported() {
    assert_faults_are_reported(|_| vec![Fault::SetLength, Fault::Sync]);
}

#[test]
fn a_sink_that_cannot_be_prepared_gets_no_builder() {
    let (result, log) = try_fault(MemorySink::new(), options(""), Fault::Prepare);
    assert!(matches!(result, Err(Error::WriteImage { offset: 0, .. })), "{result:?}");
    assert_eq!(log.operations.get(), 0);
}

/// A small filesystem in memory, unmounted when this goes.
struct Small(tempfile::TempDir);

impl Small {
    /// One with room for so many bytes.
    fn new(bytes: u64) -> Option<Self> {
        if !judge::kernel() {
            return None;
        }
        let point = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        let arguments = ["-t", "tmpfs", "-o", &size, "none"].map(AsRef::<Path>::as_ref);
        judge::succeed("mount", arguments.into_iter().chain([point.path()]));
        Some(Self(point))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // In a failing test the first failure is the one to show.
        let umount = judge::find("umount").unwrap_or_default();
        let _ = judge::run(&umount, ["-l".as_ref(), self.0.path()]);
    }
}

fn assert_full(result: Result<()>) {
    let error = result.expect_err("there is not enough room");
    let Error::WriteImage { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull, "{error}");
}

#[test]
fn a_disk_that_is_always_full_is_reported() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert_full(build(FileSink::new(full).unwrap(), options("")));
}

#[test]
fn a_full_disk_is_reported_wherever_it_is_full() {
    for quarter in 1..8 {
        let Some(small) = Small::new(quarter * MIB / 4) else { return };
        let file = File::create_new(small.path().join("image")).unwrap();
        assert_full(build(FileSink::new(file).unwrap(), options("")));
    }
}

#[test]
fn a_device_that_loses_writes_behind_our_back_is_reported_by_the_sync() {
    let Some(small) = Small::new(2 * MIB) else { return };
    let file = small.path().join("disk");
    File::create_new(&file).unwrap().set_len(16 * MIB).unwrap();
    let Some(device) = LoopDevice::over(&file) else { return };
    let opened = OpenOptions::new().read(true).write(true).open(device.path()).unwrap();
    let error = build(DeviceSink::new(opened).unwrap(), options("")).expect_err("there are 2 MiB");
    assert!(matches!(error, Error::WriteImage { .. }), "{error}");
    assert!(fs::metadata(&file).unwrap().len() == 16 * MIB);
}

#[test]
fn a_reader_that_fails_leaves_the_builder_usable() {
    struct Broken(u64);
    impl io::Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let count = buffer.len().min(usize::try_from(self.0).unwrap());
            buffer[..count].fill(b'x');
            self.0 -= u64::try_from(count).unwrap();
            Ok(count)
        }
    }
    let image = Image::build(roomy(), |twin| {
        let root = twin.builder.root();
        let metadata = ext4_writer::Metadata::default();
        for delivered in [0, 1, 4096, 300_000, 3_000_000] {
            let failed = twin.builder.add_file(
                root,
                b"f",
                &metadata,
                FileContent::new(5_000_000, &mut Broken(delivered)),
            );
            assert!(matches!(failed, Err(Error::ReadContent { .. })), "{failed:?}");
        }
        twin.file("f", &noise(4, 200_000));
    });
    image.assert_as_declared();
}
