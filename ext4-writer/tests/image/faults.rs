//! A sink that fails: the builder says so, at once and for ever, and never panics.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use ext4_writer::{Error, FileContent, MemorySink, Options, Result, Segment, Sink, Size};

use crate::twin::{Image, noise, roomy};

/// A sink in memory whose operation number `fails_at` and all later ones fail.
struct Failing {
    inner: MemorySink,
    operations: Rc<Cell<u64>>,
    fails_at: u64,
}

impl Failing {
    fn count(&self) -> io::Result<()> {
        let number = self.operations.get();
        self.operations.set(number + 1);
        if number >= self.fails_at { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Sink for Failing {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.count()?;
        self.inner.write_at(offset, bytes)
    }

    fn zero_at(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.count()?;
        self.inner.zero_at(offset, length)
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.count()?;
        self.inner.set_length(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.count()?;
        self.inner.sync()
    }
}

/// Builds an image of every kind of write on `sink`; every error but the first is `Poisoned`.
fn build(sink: Failing) -> Result<()> {
    let options = Options::new(Size::Fixed(16 << 20));
    let mut builder = ext4_writer::Builder::create(sink, options)?;
    let root = builder.root();
    let metadata = ext4_writer::Metadata::default();
    let mut first = None;
    let mut check = |result: Result<()>| match (&first, result) {
        (None, Err(error)) => first = Some(error),
        (Some(_), Err(Error::Poisoned)) | (None, Ok(())) => {}
        (Some(first), other) => panic!("after \"{first}\" came {other:?}"),
    };
    for number in 0..6_u64 {
        let content = noise(number, 400_000);
        let name = format!("large-{number}");
        let mut reader = content.as_slice();
        check(
            builder
                .add_file(root, name.as_bytes(), &metadata, FileContent::new(400_000, &mut reader))
                .map(drop),
        );
        let name = format!("small-{number}");
        let mut reader = &content[..50];
        check(
            builder
                .add_file(root, name.as_bytes(), &metadata, FileContent::new(50, &mut reader))
                .map(drop),
        );
    }
    let segments = [Segment { offset: 8192, length: 5000 }];
    let content = noise(9, 5000);
    let mut reader = content.as_slice();
    check(
        builder
            .add_file(
                root,
                b"sparse",
                &metadata,
                FileContent::sparse(1 << 20, &segments, &mut reader),
            )
            .map(drop),
    );
    check(builder.remove(root, b"large-1").map(drop));
    let finished = builder.finish().map(drop);
    check(finished);
    first.map_or(Ok(()), Err)
}

#[test]
fn every_write_that_fails_is_reported_and_poisons_the_builder() {
    let operations = Rc::new(Cell::new(0));
    let sink = |fails_at| Failing {
        inner: MemorySink::new(),
        operations: Rc::clone(&operations),
        fails_at,
    };
    build(sink(u64::MAX)).unwrap();
    let total = operations.get();
    assert!(total > 10, "{total} operations");
    for fails_at in 0..total {
        operations.set(0);
        let error = build(sink(fails_at)).expect_err("a failed write is a failed image");
        assert!(matches!(error, Error::WriteImage { .. }), "operation {fails_at}: {error}");
        assert!(error.to_string().contains("image"), "{error}");
    }
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
