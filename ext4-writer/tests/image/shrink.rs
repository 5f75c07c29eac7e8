//! Disks with room shrink by resize2fs as those of mke2fs do, and grow back.

use std::fs::File;
use std::path::Path;

use banger_test_support::judge;
use banger_test_support::mount::{Access, Mount};
use ext4_writer::{Features, Options, Profile, Sink, Size};

use crate::features::declare;
use crate::twin::{Image, Twin, noise};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn fixed(profile: Profile, size: u64) -> Options {
    Options::for_profile(profile, Size::Fixed(size))
}

fn set_length(path: &Path, length: u64) {
    File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

/// Shrinks an image as far as resize2fs does, and returns the blocks that are left.
fn shrunk(image: &Image, options: &Options) -> u64 {
    judge::succeed("resize2fs", ["-M".as_ref(), image.path.as_os_str()]);
    let blocks = banger_test_support::gate::dump(&image.path).unwrap().blocks;
    set_length(&image.path, blocks * u64::from(options.block_size));
    image.assert_clean();
    if judge::kernel() {
        // The kernel judges what e2fsck does not: the places of the orphan file's blocks.
        Mount::new(&image.path, Access::ReadWrite).unwrap().close();
        image.assert_clean();
        // resize2fs wants a check since the last mount.
        judge::succeed("e2fsck", ["-fy".as_ref(), image.path.as_os_str()]);
    }
    blocks
}

/// Shrinks and grows back; all that was declared is there after each.
fn assert_shrinks_and_grows(
    options: &Options,
    declare: impl FnOnce(&mut Twin<ext4_writer::FileSink>),
) -> u64 {
    let image = Image::build(options.clone(), declare);
    let blocks = shrunk(&image, options);
    image.assert_as_declared();
    for times in [1, 2] {
        set_length(&image.path, image.summary.size * times);
        judge::succeed("resize2fs", [image.path.as_os_str()]);
        image.assert_clean();
    }
    image.assert_as_declared();
    blocks
}

fn judges() -> bool {
    judge::all(&["resize2fs", "e2fsck", "dumpe2fs", "mke2fs"])
}

/// The blocks that are left of an empty filesystem of mke2fs.
fn shrunk_by_mke2fs(size: u64) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    File::create_new(&path).unwrap().set_len(size).unwrap();
    let arguments = ["-q", "-t", "ext4", "-b", "4096", "-O", "^orphan_file,^metadata_csum_seed"];
    judge::succeed("mke2fs", arguments.into_iter().map(AsRef::as_ref).chain([path.as_os_str()]));
    judge::succeed("resize2fs", ["-M".as_ref(), path.as_os_str()]);
    banger_test_support::gate::dump(&path).unwrap().blocks
}

fn nothing<S: Sink>(_: &mut Twin<S>) {}

#[test]
fn empty_disks_shrink_as_those_of_mke2fs() {
    if !judges() {
        return;
    }
    for gib in [2, 3, 4, 8, 16, 100] {
        let reference = shrunk_by_mke2fs(gib * GIB);
        for profile in [Profile::Default, Profile::Max] {
            let usual = fixed(profile, gib * GIB);
            for options in [usual.clone(), usual.with_modest_growth()] {
                let blocks = assert_shrinks_and_grows(&options, nothing);
                // A list of orphans is 512 blocks at most.
                let most = reference + reference / 100 + 512;
                assert!(blocks <= most, "{gib} GiB, {profile:?}: {blocks}, mke2fs {reference}");
            }
        }
    }
}

/// The usual tree, and a file as large as a flex group.
fn with_large_file<S: Sink>(twin: &mut Twin<S>) {
    declare(twin);
    twin.file("before", &noise(1, 3_000_000));
    twin.sparse(b"as-large-as-a-flex-group", 3 * GIB, &[]);
    let large = twin.node(b"as-large-as-a-flex-group");
    twin.builder.preallocate(large, 0, 2 * GIB + 100 * MIB).unwrap();
    twin.file("behind", &noise(2, 3_000_000));
}

#[test]
fn disks_with_a_tree_shrink_and_grow() {
    if !judges() {
        return;
    }
    for gib in [3, 4, 8, 16, 100] {
        for profile in [Profile::Default, Profile::Max] {
            assert_shrinks_and_grows(&fixed(profile, gib * GIB), declare);
        }
        let options = fixed(Profile::Default, gib * GIB);
        let image = Image::build(options.clone(), with_large_file);
        shrunk(&image, &options);
        set_length(&image.path, gib * GIB);
        judge::succeed("resize2fs", [image.path.as_os_str()]);
        image.assert_clean();
    }
}

#[test]
fn disks_of_every_shape_shrink() {
    if !judges() {
        return;
    }
    for (list, block_size, inode_size) in [
        ("", 4096, 256),
        ("sparse_super2", 4096, 256),
        ("^resize_inode,orphan_file", 4096, 256),
        ("^64bit", 4096, 256),
        ("^metadata_csum", 4096, 256),
        ("orphan_file,metadata_csum_seed,large_dir", 1024, 256),
        ("orphan_file", 2048, 512),
    ] {
        for groups_per_flex in [1, 4, 16, 64] {
            let mut options = fixed(Profile::Default, 5 * GIB + 4 * MIB);
            options.features = Features::DEFAULT.changed(list).unwrap();
            (options.block_size, options.inode_size) = (block_size, inode_size);
            options.groups_per_flex = groups_per_flex;
            let image = Image::build(options.clone(), declare);
            shrunk(&image, &options);
        }
    }
}

/// Sizes at which the last flex group is too short for its own metadata.
#[test]
fn disks_with_a_short_last_flex_group_shrink() {
    if !judges() {
        return;
    }
    for more in [4096, 3 * MIB, 33 * MIB, 128 * MIB + 4096] {
        let options = fixed(Profile::Max, 4 * GIB + more);
        let image = Image::build(options.clone(), declare);
        shrunk(&image, &options);
    }
}

/// The blocks of the orphan file, whose inode is 12.
fn orphan_file(image: &Image) -> Vec<u64> {
    banger_test_support::debugfs::blocks(&image.path, "<12>")
}

#[test]
fn an_orphan_file_lies_low_and_is_no_longer_than_kernels_take() {
    if !judge::all(&["debugfs", "dumpe2fs"]) {
        return;
    }
    for (size, block_size, blocks) in [
        (256 * MIB, 1024, 64),
        (256 * MIB, 4096, 32),
        (4 * GIB, 4096, 256),
        (64 * GIB, 4096, 512),
        (64 * GIB, 65_536, 128),
    ] {
        let mut options = fixed(Profile::Max, size);
        options.block_size = block_size;
        let image = Image::build(options, declare);
        let places = orphan_file(&image);
        assert_eq!(places.len(), blocks, "{size} bytes in blocks of {block_size}");
        let bytes = places.last().unwrap() * u64::from(block_size);
        assert!(bytes < size / 8, "it ends at byte {bytes} of {size}");
    }
    let fitted = Size::Fit { free_bytes: 600 * MIB, free_inodes: 10 };
    let image = Image::build(Options::for_profile(Profile::Max, fitted), declare);
    assert_eq!(orphan_file(&image).len(), 32);
    // Too small for a journal, and so for a list of orphans.
    let fitted = Size::Fit { free_bytes: 0, free_inodes: 10 };
    let image = Image::build(Options::for_profile(Profile::Max, fitted), nothing);
    assert!(!image.summary.features.contains(Features::ORPHAN_FILE));
    image.assert_clean();
}
