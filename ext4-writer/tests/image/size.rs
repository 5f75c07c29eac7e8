//! Size means size: of the file, of the filesystem, and of what it leaves to the guest.

use std::path::Path;
use std::process::Command;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::tree::{Entry, Kind};
use banger_test_support::{gate, judge};
use ext4_writer::{
    Builder, CountingSink, Error, FileSink, Journal, Options, Reserved, Size, Timestamp,
};

use crate::twin::{Image, Twin, length, noise, unreserved};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn some_content(twin: &mut Twin<FileSink>) {
    twin.directory("directory");
    twin.file("directory/file", &noise(1, 100_000));
    twin.symlink("link", b"directory/file");
}

#[test]
fn a_fixed_size_is_the_size_of_the_file_and_of_the_filesystem() {
    // Around the ends of groups (128 MiB) and of what other writers get wrong (2 GiB and a little).
    let sizes = [
        8 * MIB,
        64 * MIB,
        MIB,
        100 * MIB + 4 * KIB,
        128 * MIB,
        129 * MIB,
        256 * MIB - 4 * KIB,
        2 * GIB,
        2 * GIB + 4 * KIB,
        2 * GIB + MIB,
        2 * GIB + 3 * MIB,
        16 * GIB + 4 * KIB,
        43 * GIB + 12 * KIB,
    ];
    for size in sizes {
        let image = Image::build(Options::new(Size::Fixed(size)), some_content);
        assert_eq!(length(&image.path), size);
        if judge::all(&["dumpe2fs"]) {
            let report = gate::dump(&image.path).unwrap();
            assert_eq!(report.blocks * report.block_size, size);
            assert_eq!(report.free_blocks, image.summary.free_blocks, "{size}");
            assert_eq!(report.free_inodes, u64::from(image.summary.free_inodes), "{size}");
        }
    }
}

#[test]
fn the_kernel_takes_images_of_odd_sizes() {
    for size in [64 * MIB, 256 * MIB + 4 * KIB, 2 * GIB + 3 * MIB] {
        Image::build(Options::new(Size::Fixed(size)), some_content).assert_as_declared();
    }
}

#[test]
fn a_size_that_is_too_small_is_an_error_with_the_numbers() {
    for size in [0, 1, 4096, 16 * KIB] {
        let sink = CountingSink::new();
        let refused =
            Builder::create(sink, Options::new(Size::Fixed(size))).and_then(Builder::finish);
        let error = refused.map(|_| ()).unwrap_err();
        let named = matches!(error, Error::InvalidOption { .. } | Error::ImageFull { .. });
        assert!(named, "{size}: {error}");
        assert!(error.to_string().chars().any(|c| c.is_ascii_digit()), "{error}");
    }
}

/// The group at 128 MiB holds a backup: a size that ends inside it makes no filesystem.
#[test]
fn a_size_that_ends_inside_a_backup_is_refused_with_the_nearest_that_do_not() {
    let refused = Builder::create(CountingSink::new(), Options::new(Size::Fixed(128 * MIB + 4096)));
    let error = refused.and_then(Builder::finish).map(drop).unwrap_err().to_string();
    let sizes: Vec<u64> =
        error.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    let [_, below, above] = sizes[..] else { panic!("{error}") };
    assert!(below < 128 * MIB + 4096 && 128 * MIB + 4096 < above, "{error}");
    for size in [below, above] {
        let image = Image::build(Options::new(Size::Fixed(size)), some_content);
        assert_eq!(length(&image.path), size);
    }
}

/// Runs a shell script in `directory` as a user without privileges.
fn as_nobody(directory: &Path, script: &str) -> String {
    let output = Command::new(judge::find("setpriv").unwrap())
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", script])
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", judge::text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Builds a fitted image, and lets an ordinary user fill it.
fn fit_leaves(mut options: Options, free_bytes: u64, free_inodes: u32) {
    if !judge::kernel() || !judge::all(&["setpriv"]) {
        return;
    }
    options.size = Size::Fit { free_bytes, free_inodes };
    let image = Image::build(options, |twin| {
        some_content(twin);
        twin.add("tmp", Entry::new(Kind::Directory, 0o1777), b"");
    });
    let Some(mount) = Mount::new(&image.path, Access::Filling) else { return };
    let tmp = mount.path().join("tmp");
    let statistics = judge::succeed("stat", ["-f", "-c", "%a %S", tmp.to_str().unwrap()]);
    let numbers: Vec<u64> = statistics.split_whitespace().map(|n| n.parse().unwrap()).collect();
    let available: u64 = numbers.iter().product();
    assert!(available >= free_bytes, "{available} of {free_bytes} bytes are free");
    assert_eq!(available, image.summary.available);
    let fill = "dd if=/dev/zero of=fill bs=64K 2>/dev/null; stat -c %s fill; rm fill; sync";
    let written: u64 = as_nobody(&tmp, fill).trim().parse().unwrap();
    // A file of more than four groups needs a block for its own extents.
    assert!(written + MIB > free_bytes, "{written} of {free_bytes} bytes could be written");
    let make = format!(
        "i=0; while [ $i -lt {free_inodes} ] && : >f$i; do i=$((i+1)); done 2>/dev/null; echo $i; rm -f f*"
    );
    let count: u32 = as_nobody(&tmp, &make).trim().parse().unwrap();
    assert_eq!(count, free_inodes, "inodes could be made");
    mount.close();
    gate::assert_clean(&image.path);
    // The smallest that does: without the journal and what grows with the image there is little
    // beside the room.
    let room = length(&image.path) - free_bytes;
    assert!(room < free_bytes / 5 + 160 * MIB, "{room} bytes beside the {free_bytes} of room");
}

#[test]
fn fit_leaves_the_room_that_was_asked_for() {
    fit_leaves(Options::new(Size::Fixed(0)), 40 * MIB, 300);
}

#[test]
fn fit_leaves_the_room_across_groups() {
    fit_leaves(Options::new(Size::Fixed(0)), 700 * MIB, 2000);
}

#[test]
fn fit_leaves_the_room_without_journal_and_reserve() {
    let mut options = unreserved(Size::Fixed(0));
    options.journal = Journal::None;
    fit_leaves(options, 20 * MIB, 50);
}

#[test]
fn fit_without_room_is_full_and_clean() {
    let options = unreserved(Size::Fit { free_bytes: 0, free_inodes: 0 });
    let image = Image::build(options, some_content);
    assert!(length(&image.path) < 16 * MIB, "{} bytes for 100 kB", length(&image.path));
}

#[test]
fn an_image_grows_from_1_gib_to_64_gib_offline() {
    if !judge::all(&["resize2fs", "e2fsck", "dumpe2fs"]) {
        return;
    }
    let image = Image::build(Options::new(Size::Fixed(GIB)), some_content);
    judge::succeed("truncate", ["-s".as_ref(), "64G".as_ref(), image.path.as_os_str()]);
    judge::succeed("resize2fs", [image.path.as_os_str()]);
    let report = gate::pass(&image.path).unwrap();
    assert_eq!(report.blocks * report.block_size, 64 * GIB);
    image.assert_as_declared();
}

#[test]
fn a_fitted_image_grows_offline() {
    if !judge::all(&["resize2fs", "e2fsck", "dumpe2fs"]) {
        return;
    }
    let size = Size::Fit { free_bytes: 16 * MIB, free_inodes: 1000 };
    let image = Image::build(Options::new(size), some_content);
    judge::succeed("truncate", ["-s".as_ref(), "20G".as_ref(), image.path.as_os_str()]);
    judge::succeed("resize2fs", [image.path.as_os_str()]);
    gate::assert_clean(&image.path);
    image.assert_as_declared();
}

#[test]
fn what_is_chosen_is_what_dumpe2fs_shows() {
    if !judge::all(&["dumpe2fs"]) {
        return;
    }
    let mut options = Options::new(Size::Fixed(256 * MIB));
    options.label = b"a label of 16 by".to_vec();
    options.uuid = Some(*b"0123456789abcdef");
    options.epoch = Timestamp::from_seconds(1_700_000_000);
    options.inodes = Some(5000);
    options.journal = Journal::Size(8 * MIB);
    options.reserved = Reserved::Percent(10);
    let image = Image::build(options, some_content);
    let report = gate::dump(&image.path).unwrap();
    assert_eq!(report.label, "a label of 16 by");
    assert_eq!(report.uuid, "30313233-3435-3637-3839-616263646566");
    assert_eq!(report.reserved_blocks, 6553, "a tenth of 65536 blocks");
    assert!((5000..5600).contains(&report.inodes), "{} inodes", report.inodes);
    assert!(report.text.contains("Total journal blocks:     2048"), "a journal of 8 MiB");
    assert!(report.text.contains("Filesystem created:       Tue Nov 14 22:13:20 2023"));
}

#[test]
fn the_features_are_those_of_the_default_profile() {
    if !judge::all(&["dumpe2fs"]) {
        return;
    }
    let image = Image::build(Options::new(Size::Fixed(64 * MIB)), some_content);
    let mut features = gate::dump(&image.path).unwrap().features;
    features.sort();
    let mut expected = [
        "has_journal",
        "ext_attr",
        "resize_inode",
        "dir_index",
        "filetype",
        "extent",
        "64bit",
        "flex_bg",
        "sparse_super",
        "large_file",
        "huge_file",
        "dir_nlink",
        "extra_isize",
        "metadata_csum",
    ];
    expected.sort_unstable();
    assert_eq!(features, expected);
}

#[test]
fn an_image_without_journal_is_clean() {
    let mut options = Options::new(Size::Fixed(64 * MIB));
    options.journal = Journal::None;
    Image::build(options, some_content).assert_as_declared();
}

#[test]
fn a_fresh_image_leaves_the_kernel_no_tables_to_zero() {
    if !judge::all(&["dumpe2fs"]) {
        return;
    }
    let image = Image::build(Options::new(Size::Fixed(GIB)), some_content);
    let text = gate::dump(&image.path).unwrap().text;
    let groups = text
        .lines()
        .filter(|line| line.starts_with("Group ") && line.contains("(Blocks"))
        .collect::<Vec<_>>();
    assert_eq!(groups.len(), 8);
    assert!(text.matches("ITABLE_ZEROED").count() == 8, "{}", groups.join("\n"));
}

#[test]
fn an_empty_image_of_a_tebibyte_takes_little_storage() {
    use std::os::unix::fs::MetadataExt as _;
    let image = Image::build(Options::new(Size::Fixed(1 << 40)), |_| ());
    let stored = std::fs::metadata(&image.path).unwrap().blocks() * 512;
    assert!(stored < 16 * MIB, "{stored} bytes stored");
    assert!(image.summary.written < 16 * MIB, "{} written", image.summary.written);
}
