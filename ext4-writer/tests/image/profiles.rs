//! What each profile promises, and that its bytes change only on purpose.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use banger_test_support::layers::digest;
use banger_test_support::mount::{Access, Mount, copy};
use banger_test_support::{gate, judge};
use ext4_writer::{
    DirectoryHash, Features, HashedBytes, MemorySink, MountOptions, OnError, Options, Profile, Size,
};

use crate::features::declare;
use crate::twin::{Image, Twin};

const MIB: u64 = 1 << 20;

/// A profile with room for what the judges do.
fn roomy(profile: Profile) -> Options {
    let size = Size::Fit { free_bytes: 64 * MIB, free_inodes: 4000 };
    let mut options = Options::for_profile(profile, size);
    options.size = size;
    options
}

#[test]
fn every_profile_is_what_the_judges_read() {
    for profile in Profile::ALL {
        let image = Image::build(roomy(profile), declare);
        image.assert_as_declared();
        assert_eq!(Profile::by_name(profile.name()), Some(profile));
    }
}

/// The features that a kernel mounts for writing.
///
/// Source: Linux 4.14, `fs/ext4/ext4.h`, `EXT4_FEATURE_INCOMPAT_SUPP` and
/// `EXT4_FEATURE_RO_COMPAT_SUPP`; features that are only compatible hinder none.
const LINUX_4_14: [&str; 23] = [
    "filetype",
    "needs_recovery",
    "meta_bg",
    "extent",
    "64bit",
    "flex_bg",
    "ea_inode",
    "mmp",
    "inline_data",
    "encrypt",
    "metadata_csum_seed",
    "large_dir",
    "sparse_super",
    "large_file",
    "uninit_bg",
    "dir_nlink",
    "extra_isize",
    "quota",
    "bigalloc",
    "metadata_csum",
    "project",
    "huge_file",
    "read-only",
];
/// Source: GRUB 2.06, `grub-core/fs/ext2.c`, `EXT2_DRIVER_SUPPORTED_INCOMPAT`: only these of the
/// features without which a reader must not read.
const GRUB_2_06: [&str; 6] = ["extent", "flex_bg", "meta_bg", "64bit", "encrypt", "filetype"];
const COMPATIBLE: [&str; 6] =
    ["has_journal", "ext_attr", "resize_inode", "dir_index", "sparse_super2", "orphan_file"];
const READ_ONLY_COMPATIBLE: [&str; 6] =
    ["sparse_super", "large_file", "huge_file", "dir_nlink", "extra_isize", "metadata_csum"];

#[test]
fn profiles_have_no_feature_that_whom_they_name_cannot_read() {
    for name in Profile::Linux414.features().names() {
        assert!(LINUX_4_14.contains(&name) || COMPATIBLE.contains(&name), "{name}");
    }
    for name in Profile::Grub206.features().names() {
        let harmless = COMPATIBLE.contains(&name) || READ_ONLY_COMPATIBLE.contains(&name);
        assert!(GRUB_2_06.contains(&name) || harmless, "{name}");
    }
    assert!(!Profile::Linux414.features().contains(Features::ORPHAN_FILE));
}

/// The image of one tree under every profile: a change here is a change of the bytes of every
/// user's images, and stands in the changelog under a heading of its own.
const GOLDEN: [(Profile, &str); 5] = [
    (Profile::Default, "sha256:92b58179b5c2e594db6dfee6aaece5296ef92dde3b07a9fb11982c4464b45441"),
    (Profile::Max, "sha256:f53767cd59da4a8d1121a547417a711b79fa0f0095fb7f7a128407640c485c1e"),
    (Profile::Linux414, "sha256:92b58179b5c2e594db6dfee6aaece5296ef92dde3b07a9fb11982c4464b45441"),
    (Profile::Grub206, "sha256:92b58179b5c2e594db6dfee6aaece5296ef92dde3b07a9fb11982c4464b45441"),
    (Profile::ReadOnly, "sha256:aa986fadcc06a2a1b534a730f463d0455879b0314cce942c2bc620eced4d4573"),
];

#[test]
fn the_bytes_of_every_profile_are_those_of_the_changelog() {
    let found = GOLDEN.map(|(profile, _)| {
        let size = Size::Fit { free_bytes: MIB, free_inodes: 10 };
        let mut twin = Twin::new(MemorySink::new(), Options::for_profile(profile, size));
        declare(&mut twin);
        let (_, sink) = twin.builder.finish().unwrap();
        (profile, digest(&sink.into_bytes()))
    });
    let found = found.each_ref().map(|(profile, digest)| (*profile, digest.as_str()));
    assert_eq!(found, GOLDEN);
}

/// The blocks of 4 KiB in which two files differ.
fn different_blocks(one: &Path, other: &Path) -> Vec<u64> {
    let (one, other) = (File::open(one).unwrap(), File::open(other).unwrap());
    let length = one.metadata().unwrap().len();
    assert_eq!(length, other.metadata().unwrap().len());
    let read = |file: &File, at| {
        let mut block = [0; 4096];
        file.read_exact_at(&mut block, at).unwrap();
        block
    };
    let blocks = (0..length / 4096).filter(|n| read(&one, n * 4096) != read(&other, n * 4096));
    blocks.collect()
}

/// A clone of an image costs what it writes: the first mount must leave it nearly as it was, and
/// find nothing to initialise.
#[test]
fn the_first_mount_dirties_few_blocks_and_no_table() {
    for profile in Profile::ALL {
        let image = Image::build(roomy(profile), declare);
        let directory = tempfile::tempdir().unwrap();
        let mounted = copy(&image.path, directory.path());
        let Some(mount) = Mount::new(&mounted, Access::ReadWrite) else { return };
        // The kernel starts its thread for lazy initialisation within a second, if it has work.
        std::thread::sleep(Duration::from_secs(3));
        mount.close();
        let dirty = different_blocks(&image.path, &mounted);
        assert!(dirty.len() <= 16, "{}: {} blocks: {dirty:?}", profile.name(), dirty.len());
        if !judge::all(&["dumpe2fs"]) {
            continue;
        }
        let report = gate::dump(&image.path).unwrap();
        assert_eq!(report.text.matches("ITABLE_ZEROED").count(), groups(&report.text));
        gate::assert_clean(&mounted);
    }
}

fn groups(text: &str) -> usize {
    text.lines().filter(|line| line.starts_with("Group ") && line.contains("(Blocks")).count()
}

#[test]
fn what_a_mount_is_told_is_what_dumpe2fs_shows() {
    let mut options = roomy(Profile::Default);
    options.on_error = OnError::Panic;
    options.mount_options = MountOptions::ACL | MountOptions::JOURNAL_DATA_WRITEBACK;
    options.last_mounted = b"/srv/data".to_vec();
    options.directory_hash = DirectoryHash::Tea;
    options.hashed_bytes = HashedBytes::Unsigned;
    options.groups_per_flex = 64;
    let image = Image::build(options, declare);
    if !judge::all(&["dumpe2fs"]) {
        return;
    }
    let text = gate::dump(&image.path).unwrap().text;
    for line in [
        "Errors behavior:          Panic",
        "Default mount options:    journal_data_writeback acl",
        "Last mounted on:          /srv/data",
        "Default directory hash:   tea",
        "Filesystem flags:         unsigned_directory_hash",
        "Flex block group size:    64",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
