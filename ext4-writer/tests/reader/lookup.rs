//! Paths, names, positions.

use std::io::{Read as _, Seek as _, SeekFrom};

use ext4_writer::reader::{Links, ReadError, Reader, SegmentKind};
use ext4_writer::{Builder, FileContent, MemorySink, Metadata, Options, Segment, Size};

use crate::made::noise;

const SIZE: u64 = 300_000;

fn image() -> Reader<Vec<u8>> {
    let size = Size::Fit { free_bytes: 1 << 20, free_inodes: 10 };
    let mut builder = Builder::create(MemorySink::new(), Options::new(size)).unwrap();
    let (root, metadata) = (builder.root(), Metadata::default());
    let one = builder.add_directory(root, b"one", &metadata).unwrap();
    let two = builder.add_directory(one, b"two", &metadata).unwrap();
    let bytes = noise(1, 200_000);
    let segments =
        [Segment { offset: 0, length: 100_000 }, Segment { offset: 150_000, length: 100_000 }];
    let mut reader = bytes.as_slice();
    let content = FileContent::sparse(SIZE, &segments, &mut reader);
    builder.add_file(two, b"file", &metadata, content).unwrap();
    for (name, target) in [
        ("absolute", "/one/two/file"),
        ("relative", "one/./two/../two"),
        ("above", "../../one"),
        ("self", "self"),
        ("broken", "nowhere"),
        ("chain", "relative/file"),
    ] {
        builder.add_symlink(root, name.as_bytes(), &metadata, target.as_bytes()).unwrap();
    }
    Reader::open(builder.finish().unwrap().1.into_bytes()).unwrap()
}

#[test]
fn paths_are_followed_as_the_kernel_follows_them() {
    let reader = image();
    let number = |path: &str, links| reader.lookup(path.as_bytes(), links).map(|one| one.number());
    let file = number("/one/two/file", Links::Keep).unwrap();
    for path in ["one//two/file", "absolute", "relative/file", "chain", "above/two/file"] {
        assert_eq!(number(path, Links::Follow).unwrap(), file, "{path}");
    }
    assert_eq!(number("/", Links::Keep).unwrap(), 2);
    assert_eq!(number("/../..", Links::Keep).unwrap(), 2);
    assert_ne!(number("absolute", Links::Keep).unwrap(), file);
    let two = number("one/two", Links::Keep).unwrap();
    assert_eq!(number("relative/", Links::Keep).unwrap(), two);
    let refused = number("self", Links::Follow).unwrap_err();
    assert!(matches!(refused, ReadError::TooManyLinks { limit: 40, .. }));
    let refused = number("one/two/broken", Links::Follow).unwrap_err();
    assert!(matches!(refused, ReadError::NotFound { path } if path == b"/one/two/broken"));
    assert!(matches!(number("broken", Links::Follow), Err(ReadError::NotFound { .. })));
    let refused = number("one/two/file/more", Links::Keep).unwrap_err();
    assert!(matches!(refused, ReadError::WrongKind { inode, .. } if inode == file));
    assert!(matches!(number("one/two/file/", Links::Keep), Err(ReadError::WrongKind { .. })));
}

#[test]
fn a_file_reads_alike_from_any_position() {
    let reader = image();
    let file = reader.lookup(b"/one/two/file", Links::Keep).unwrap();
    let mut whole = Vec::new();
    reader.contents(&file).unwrap().read_to_end(&mut whole).unwrap();
    let data = noise(1, 200_000);
    let hole = vec![0; 50_000];
    let expected = [&data[..100_000], &hole, &data[100_000..], &hole].concat();
    assert!(whole == expected);
    for start in [0usize, 1, 4095, 99_999, 100_001, 149_999, 249_000, 299_999, 300_000, 300_001] {
        let mut buffer = vec![1; 70_000];
        let length = reader.read_at(&file, start.try_into().unwrap(), &mut buffer).unwrap();
        let expected = whole.get(start..).unwrap_or_default();
        let expected = &expected[..expected.len().min(70_000)];
        assert!(buffer[..length] == *expected, "from {start}");
        let mut contents = reader.contents(&file).unwrap();
        contents.seek(SeekFrom::Start(start.try_into().unwrap())).unwrap();
        let mut rest = Vec::new();
        contents.read_to_end(&mut rest).unwrap();
        assert!(rest == whole.get(start..).unwrap_or_default(), "behind {start}");
    }
}

#[test]
fn segments_cover_a_file_without_gaps() {
    let reader = image();
    let file = reader.lookup(b"/one/two/file", Links::Keep).unwrap();
    let segments: Vec<_> = reader.segments(&file).unwrap().map(Result::unwrap).collect();
    let mut at = 0;
    for segment in &segments {
        assert_eq!(segment.offset, at);
        at += segment.length;
    }
    assert_eq!(at, SIZE);
    let holes: u64 = segments
        .iter()
        .filter(|segment| segment.kind == SegmentKind::Hole)
        .map(|segment| segment.length)
        .sum();
    assert!((90_000..100_000).contains(&holes), "{holes} bytes of holes");
    assert!(reader.segments(&reader.root().unwrap()).is_err());
}

#[test]
fn numbers_that_no_inode_in_use_has_are_refused() {
    let reader = image();
    let count = reader.superblock().inodes;
    assert!(matches!(reader.inode(0), Err(ReadError::NoSuchInode { .. })));
    assert!(matches!(reader.inode(count + 1), Err(ReadError::NoSuchInode { .. })));
    assert!(matches!(reader.inode(count), Err(ReadError::FreeInode { .. })));
    assert!(reader.group(reader.superblock().groups).is_err());
}
