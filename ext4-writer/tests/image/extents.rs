//! Files by their extents: many of them, sparse ones of any length, preallocated blocks.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::storm::assert_kernel_agrees;
use banger_test_support::{debugfs, gate, judge};
use ext4_writer::{
    Builder, CountingSink, Error, FileContent, Metadata, Options, Segment, Size, Timestamp,
};

use crate::twin::{Image, noise, roomy};

const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// The extents that debugfs finds in a file, without those that lead to nodes.
fn extents(image: &Path, path: &str) -> usize {
    let text = debugfs::read(image, &format!("dump_extents -n {path}"));
    let leaves = debugfs::read(image, &format!("dump_extents -l {path}"));
    assert!(text.lines().count() < 1000, "nodes are few");
    leaves.lines().filter(|line| line.contains('/')).count()
}

#[test]
fn trees_are_right_where_a_node_more_is_needed() {
    for (block_size, islands) in
        [(4096, 4), (4096, 5), (4096, 340), (4096, 341), (4096, 1361), (1024, 84), (1024, 7141)]
    {
        let mut options = roomy();
        options.block_size = u32::try_from(block_size).unwrap();
        let image = Image::build(options, |twin| {
            let segments: Vec<_> = (0..islands)
                .map(|n| Segment { offset: n * 3 * block_size, length: block_size })
                .collect();
            twin.sparse(b"islands", islands * 3 * block_size, &segments);
        });
        image.assert_as_declared();
        if judge::all(&["debugfs"]) {
            assert_eq!(extents(&image.path, "/islands"), usize::try_from(islands).unwrap());
        }
    }
}

/// 200,000 extents in blocks of 1 KiB: three levels of nodes below the inode.
#[test]
fn a_file_of_200000_extents_is_read_back() {
    let mut options = roomy();
    options.block_size = 1024;
    let image = Image::build(options, |twin| {
        let island = |n: u64| Segment { offset: n * 2048, length: 1 };
        twin.sparse(b"islands", 200_000 * 2048, &(0..200_000).map(island).collect::<Vec<_>>());
    });
    image.assert_as_declared();
}

/// A sparse file with a few bytes at its start, in its middle and at its end.
fn far_apart(image: &Options, size: u64) {
    let places = [0, size / 2 + 5, size - 7];
    let segments = places.map(|offset| Segment { offset, length: 7 });
    let image = Image::build(image.clone(), |twin| {
        let mut bytes = b"at the start, mid".as_slice().repeat(2);
        bytes.truncate(21);
        let mut reader = bytes.as_slice();
        let content = FileContent::sparse(size, &segments, &mut reader);
        let root = twin.builder.root();
        twin.builder
            .add_file(root, b"far", &Metadata::root_owned(0o644, Timestamp::default()), content)
            .unwrap();
    });
    let Some(mount) = Mount::new(&image.path, Access::ReadOnly) else { return };
    let path = mount.path().join("far");
    assert_eq!(fs::metadata(&path).unwrap().size(), size);
    let file = fs::File::open(&path).unwrap();
    let expected = b"at the start, midat the start, mid";
    for (number, place) in places.into_iter().enumerate() {
        let mut bytes = [0; 7];
        file.read_exact_at(&mut bytes, place).unwrap();
        assert_eq!(bytes, expected[number * 7..][..7], "at {place} of {size}");
    }
    let mut between = [1; 100];
    file.read_exact_at(&mut between, size / 3).unwrap();
    assert_eq!(between, [0; 100]);
    drop(file);
    mount.close();
}

#[test]
fn sparse_files_of_any_length_hold_their_bytes_where_they_were_put() {
    let options = roomy();
    for size in [2 * GIB, 43 * GIB, 129 * GIB, 15 * TIB, 16 * TIB - 4096] {
        far_apart(&options, size);
    }
    let mut small_blocks = options;
    small_blocks.block_size = 1024;
    far_apart(&small_blocks, 4 * TIB - 1024);
}

#[test]
fn a_file_longer_than_its_blocks_can_be_numbered_is_refused() {
    for (block_size, limit) in [(1024, 4 * TIB - 1024), (4096, 16 * TIB - 4096)] {
        let mut options = Options::new(Size::Fit { free_bytes: 0, free_inodes: 0 });
        options.block_size = block_size;
        let mut builder = Builder::create(CountingSink::new(), options).unwrap();
        let root = builder.root();
        let mut nothing = std::io::empty();
        let content = FileContent::sparse(limit, &[], &mut nothing);
        builder.add_file(root, b"fits", &Metadata::default(), content).unwrap();
        let content = FileContent::sparse(limit + 1, &[], &mut nothing);
        let failed = builder.add_file(root, b"f", &Metadata::default(), content);
        assert!(matches!(failed, Err(Error::FileTooLarge { .. })), "{failed:?}");
    }
}

#[test]
fn preallocated_blocks_read_as_zeros_and_take_what_is_written() {
    let image = Image::build(roomy(), |twin| {
        twin.sparse(b"holed", 1 << 20, &[Segment { offset: 100_000, length: 50_000 }]);
        twin.file("full", &noise(1, 10_000));
        twin.file("removed", &noise(2, 10_000));
        for name in ["holed", "full", "removed"] {
            let node = twin.node(name.as_bytes());
            twin.builder.preallocate(node, 8192, 1 << 20).unwrap();
        }
        // More than one unwritten extent can say: 32,767 blocks.
        let long = twin.node(b"full");
        twin.builder.preallocate(long, 0, 300 << 20).unwrap();
        twin.remove(b"removed");
    });
    if judge::all(&["debugfs"]) {
        let text = debugfs::read(&image.path, "dump_extents /full");
        assert!(text.matches("Uninit").count() >= 3, "{text}");
    }
    // ext4-view 1.0 takes the length of an unwritten extent for that of a written one.
    assert_kernel_agrees(&image.path, &image.tree);
    let Some(mount) = Mount::new(&image.path, Access::ReadWrite) else { return };
    let path = mount.path().join("full");
    assert!(fs::metadata(&path).unwrap().blocks() * 512 >= 300 << 20);
    let file = fs::OpenOptions::new().write(true).read(true).open(&path).unwrap();
    file.write_all_at(b"written later", 200 << 20).unwrap();
    let mut before = [1; 4096];
    file.read_exact_at(&mut before, (200 << 20) - 4096).unwrap();
    assert_eq!(before, [0; 4096]);
    drop(file);
    mount.close();
    gate::assert_clean(&image.path);
}

#[test]
fn only_files_can_be_preallocated_and_only_as_far_as_there_are_blocks() {
    let mut builder =
        Builder::create(CountingSink::new(), Options::new(Size::Fixed(32 << 20))).unwrap();
    let root = builder.root();
    assert!(matches!(builder.preallocate(root, 0, 1), Err(Error::WrongKind { .. })));
    let mut nothing = std::io::empty();
    let content = FileContent::new(0, &mut nothing);
    let node = builder.add_file(root, b"f", &Metadata::default(), content).unwrap();
    let full = builder.preallocate(node, 0, 64 << 20);
    assert!(matches!(full, Err(Error::ImageFull { .. })), "{full:?}");
    assert_eq!(builder.content_bytes(), 0);
    builder.preallocate(node, 4096, 8192).unwrap();
    builder.preallocate(node, 0, 16_384).unwrap();
    assert_eq!(builder.content_bytes(), 16_384);
    builder.finish().unwrap();
}
