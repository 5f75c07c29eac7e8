//! Images of this library, read back.

use std::fs::File;

use banger_test_support::judge;
use ext4_writer::{
    Builder, Features, FileContent, FileSink, Metadata, Options, Segment, Size, Special, Timestamp,
};

use crate::journal::assert_copies_recover;
use crate::made::{Made, noise};
use crate::seen::{assert_as_mounted, open, tree};

fn build(options: Options) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let file = File::create_new(directory.path().join("own.ext4")).unwrap();
    let mut builder = Builder::create(FileSink::new(file).unwrap(), options).unwrap();
    let time = Timestamp { seconds: 0x1_2345_6789, nanoseconds: 987_654_321 };
    let metadata = Metadata::root_owned(0o644, time);
    let owned = Metadata { uid: 0x1234_5678, gid: 0x8765_4321, mode: 0o7711, ..metadata };
    let root = builder.root();
    let directory_of_many = builder.add_directory(root, b"many", &owned).unwrap();
    for number in 0..3000 {
        let name = format!("a-name-of-a-file-in-a-large-directory-{number}");
        let text = number.to_string();
        let mut reader = text.as_bytes();
        let content = FileContent::new(text.len().try_into().unwrap(), &mut reader);
        builder.add_file(directory_of_many, name.as_bytes(), &metadata, content).unwrap();
    }
    for size in [0, 60, 61, 150, 5000, 3_000_000] {
        let bytes = noise(3, size);
        let mut reader = bytes.as_slice();
        let content = FileContent::new(size.try_into().unwrap(), &mut reader);
        let name = format!("of-{size}");
        let file = builder.add_file(root, name.as_bytes(), &owned, content).unwrap();
        builder.set_xattr(file, b"user.some", &noise(4, 40)).unwrap();
        builder.set_xattr(file, b"trusted.more", &noise(5, 700)).unwrap();
    }
    let segments: Vec<_> =
        (0..900).map(|number| Segment { offset: number << 16, length: 5000 }).collect();
    let bytes = noise(6, 900 * 5000);
    let mut reader = bytes.as_slice();
    let content = FileContent::sparse(1 << 26, &segments, &mut reader);
    builder.add_file(root, b"sparse", &metadata, content).unwrap();
    for length in [1, 59, 60, 900] {
        let name = format!("link-{length}");
        builder.add_symlink(root, name.as_bytes(), &metadata, vec![b'x'; length]).unwrap();
    }
    let device = Special::BlockDevice { major: 259, minor: 1_048_575 };
    builder.add_special(root, b"device", &owned, device).unwrap();
    builder.add_special(root, b"fifo", &owned, Special::Fifo).unwrap();
    builder.finish().unwrap();
    directory
}

#[test]
fn an_image_of_this_library_that_a_guest_left_dirty_reads_as_after_recovery() {
    if !judge::kernel() {
        return;
    }
    let mut options = Options::new(Size::Fixed(160 << 20));
    options.features = Features::DEFAULT.changed("inline_data").unwrap();
    let directory = build(options);
    let path = directory.path().join("own.ext4");
    assert_copies_recover(&Made { path, directory });
}

#[test]
fn what_this_library_writes_it_reads_as_the_kernel_does() {
    for list in ["", "inline_data", "^metadata_csum", "^64bit,^flex_bg", "ea_inode,orphan_file"] {
        for (block_size, inode_size) in [(1024, 256), (4096, 256), (4096, 1024), (2048, 128)] {
            if inode_size == 128 && list == "inline_data" {
                continue;
            }
            let mut options = Options::new(Size::Fit { free_bytes: 1 << 20, free_inodes: 10 });
            options.features = Features::DEFAULT.changed(list).unwrap();
            (options.block_size, options.inode_size) = (block_size, inode_size);
            let directory = build(options);
            let image = directory.path().join("own.ext4");
            if judge::kernel() {
                assert_as_mounted(&image);
            } else {
                assert!(tree(&open(&image)).len() > 3000);
            }
        }
    }
}
