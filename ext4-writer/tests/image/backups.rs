//! The copies of superblock and descriptors: each can take the place of the first.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use banger_test_support::mount::{Access, Mount, copy};
use banger_test_support::{gate, judge};
use ext4_writer::{Features, Options, Size};

use crate::features::declare;
use crate::twin::Image;

/// The blocks of the backups, as dumpe2fs lists them; each says the number of its own group.
fn backups(image: &Path, block_size: u32) -> Vec<String> {
    let text = gate::dump(image).unwrap().text;
    let blocks: Vec<String> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Backup superblock at "))
        .map(|rest| rest.split(',').next().unwrap_or_default().to_owned())
        .collect();
    for block in &blocks {
        let per_group = u64::from(block_size) * 8;
        let group = block.parse::<u64>().unwrap() / per_group;
        let mut number = [0; 2];
        let file = std::fs::File::open(image).unwrap();
        let start = block.parse::<u64>().unwrap() * u64::from(block_size);
        // s_block_group_nr
        file.read_exact_at(&mut number, start + 0x5a).unwrap();
        assert_eq!(u64::from(u16::from_le_bytes(number)), group, "the copy at block {block}");
    }
    blocks
}

/// Zeroes the first superblock and descriptors, has e2fsck take them from the backup at `block`,
/// and compares what the kernel then shows.
fn restore_from(image: &Image, block: &str, block_size: u32) {
    let directory = tempfile::tempdir().unwrap();
    let copy = copy(&image.path, directory.path());
    let file = OpenOptions::new().write(true).open(&copy).unwrap();
    // With blocks of 1 KiB the superblock is in block 1.
    let end = 2 * block_size + if block_size == 1024 { 1024 } else { 0 };
    file.write_all_at(&vec![0; usize::try_from(end).unwrap()], 0).unwrap();
    drop(file);
    let output = Command::new(judge::find("e2fsck").unwrap())
        .args(["-fy", "-b", block, "-B", &block_size.to_string()])
        .arg(&copy)
        .output()
        .unwrap();
    let said = judge::text(&output);
    assert!(matches!(output.status.code(), Some(0 | 1)), "from block {block}: {said}");
    // In pass 5 it writes the bitmaps that were left to the kernel: with a backup it does not
    // believe that they never were (e2fsprogs: lib/ext2fs/openfs.c, ext2fs_open2).
    let (before, _) = said.split_once("Pass 5").unwrap_or_else(|| panic!("{block}: {said}"));
    assert!(!before.contains('?'), "from block {block}: {said}");
    gate::assert_clean(&copy);
    let Some(mount) = Mount::new(&copy, Access::ReadOnly) else { return };
    image.tree.assert_same(&mount.tree(), "the kernel");
    mount.close();
}

#[test]
fn every_backup_can_take_the_place_of_the_first_superblock() {
    if !judge::all(&["e2fsck", "dumpe2fs"]) {
        return;
    }
    for (list, block_size, size) in [
        ("", 1024, 230 << 20),
        ("", 4096, 500 << 20),
        ("sparse_super2", 1024, 100 << 20),
        ("^metadata_csum,^64bit", 1024, 60 << 20),
        ("metadata_csum_seed,orphan_file", 2048, 200 << 20),
    ] {
        let mut options = Options::new(Size::Fixed(size));
        options.features = Features::DEFAULT.changed(list).unwrap();
        options.block_size = block_size;
        let image = Image::build(options, declare);
        let backups = backups(&image.path, block_size);
        assert!(!backups.is_empty(), "{list}");
        for block in backups {
            restore_from(&image, &block, block_size);
        }
    }
}
