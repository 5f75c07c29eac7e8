//! The source `ext4:FILE`: a filesystem that is made anew holds what the old one held.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use banger_test_support::mount::{Access, Mount};
use banger_test_support::noise::noise;
use banger_test_support::{gate, judge, xattr};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::{bench, fails, run};
use crate::banger::Bench;

/// Puts something of everything into a mounted filesystem.
fn fill(root: &Path) {
    let at = |name: &str| root.join(name);
    fs::create_dir_all(at("deep/er")).unwrap();
    for size in [0, 1, 60, 4097, 1_100_000] {
        fs::write(at(&format!("deep/{size}")), noise(1, size)).unwrap();
    }
    let sparse = File::create(at("deep/er/sparse")).unwrap();
    for place in [1 << 17, 3 << 20, 9 << 20] {
        sparse.write_all_at(&noise(place, 70_000), place).unwrap();
    }
    sparse.set_len(12 << 20).unwrap();
    fs::hard_link(at("deep/4097"), at("again")).unwrap();
    for length in [1, 59, 60, 150] {
        symlink("t".repeat(length), at(&format!("link-{length}"))).unwrap();
    }
    let kinds = [
        ("null", FileType::CharacterDevice, makedev(1, 3)),
        ("block", FileType::BlockDevice, makedev(259, 70_000)),
        ("pipe", FileType::Fifo, 0),
        ("socket", FileType::Socket, 0),
    ];
    for (name, kind, device) in kinds {
        mknodat(CWD, at(name), kind, Mode::from_raw_mode(0o640), device).unwrap();
    }
    fs::set_permissions(at("deep/1"), fs::Permissions::from_mode(0o4751)).unwrap();
    std::os::unix::fs::chown(at("deep/60"), Some(1000), Some(70_000)).unwrap();
    for (name, attribute, value) in [
        ("deep/1", "user.origin", b"here".to_vec()),
        ("deep/60", "user.large", noise(3, 900)),
        ("deep", "trusted.overlay.opaque", b"y".to_vec()),
        (
            "deep/1",
            "security.capability",
            b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
        ),
    ] {
        xattr::set(&at(name), attribute, &value);
    }
    let acl = xattr::acl(&[
        (1, 7, u32::MAX),
        (2, 5, 7),
        (4, 5, u32::MAX),
        (16, 5, u32::MAX),
        (32, 0, u32::MAX),
    ]);
    xattr::set(&at("deep/er"), "system.posix_acl_access", &acl);
    xattr::set(&at("deep/er"), "system.posix_acl_default", &acl);
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 987_654_321);
    for name in ["deep/4097", "deep/er", "deep"] {
        File::open(at(name)).unwrap().set_modified(time).unwrap();
    }
    for (flags, name) in [("+d", "deep/0"), ("+A", "deep"), ("+i", "deep/1")] {
        judge::succeed("chattr", [flags.as_ref(), at(name).as_os_str()]);
    }
}

/// A bench with such an image.
fn filled(options: &[&str]) -> Option<(Bench, std::path::PathBuf)> {
    let (bench, image) = bench(options, "96M")?;
    if !judge::all(&["chattr"]) {
        return None;
    }
    let mount = Mount::new(&image, Access::ReadWrite)?;
    fill(mount.path());
    mount.close();
    gate::assert_checked(&image);
    Some((bench, image))
}

fn assert_same(bench: &Bench, image: &Path, made: &Path) {
    let (Some(old), Some(new)) =
        (Mount::new(image, Access::ReadOnly), Mount::new(made, Access::ReadOnly))
    else {
        return;
    };
    old.tree().assert_same(&new.tree(), "the kernel");
    old.close();
    new.close();
    // Flags, and times that the tree above does not have.
    for path in ["/", "/deep", "/deep/0", "/deep/1", "/deep/er/sparse", "/again", "/lost+found"] {
        let [old, new] = [image, made].map(|image| {
            let found = run(bench, &["image", "stat", image.to_str().unwrap(), path]);
            // What the filesystem sets for itself: extents, an index, content in the inode.
            let letters = found["flags"].as_str().unwrap().replace(['e', 'I', 'N'], "");
            // A directory is as long as its maker likes.
            let size = if found["type"] == "directory" { "" } else { "size" };
            let names = [
                "type", "mode", "uid", "gid", "links", size, "device", "modified", "accessed",
                "changed", "created", "project",
            ];
            let mut kept: Vec<_> = names.map(|name| (name, found[name].clone())).into();
            kept.push(("flags", letters.into()));
            kept
        });
        assert_eq!(old, new, "{path}");
    }
}

#[test]
fn a_filesystem_is_made_anew_in_any_size_profile_and_block_size() {
    let Some((bench, image)) = filled(&["-t", "ext4", "-L", "seed"]) else { return };
    for more in [
        &["--size", "fit"][..],
        &["--size", "fit", "--block-size", "1024"],
        &["--size", "80M", "--block-size", "2048"],
        &["--size", "2G", "--profile", "max"],
        &["--size", "fit", "--profile", "linux-4.14"],
        &["--size", "fit", "--profile", "read-only"],
        &["--size", "fit", "--inode-size", "512", "--no-journal"],
        &["--size", "fit", "-O", "inline_data,ea_inode,metadata_csum_seed"],
    ] {
        let words = ["image", "build", "ext4:disk.ext4", "made.ext4", "--force"];
        let report = run(&bench, &[&words[..], more].concat());
        assert_eq!(report["losses_total"], 0, "{more:?}: {}", report["losses"]);
        assert_eq!(report["image"]["label"], "seed");
        let made = bench.path("made.ext4");
        gate::assert_clean(&made);
        assert_same(&bench, &image, &made);
    }
    let made = bench.path("disk.ext4").metadata().unwrap().len();
    assert!(bench.path("made.ext4").metadata().unwrap().len() < made);
}

#[test]
fn filesystems_of_other_makers_are_made_anew() {
    for options in [
        &["-t", "ext3", "-b", "1024"][..],
        &["-t", "ext4", "-O", "inline_data,ea_inode", "-I", "1024"],
        &["-t", "ext4", "-O", "^extent,^64bit,^dir_index", "-b", "2048"],
        &["-t", "ext4", "-O", "bigalloc"],
    ] {
        let Some((bench, image)) = filled(options) else { return };
        let report = run(&bench, &["image", "build", "ext4:disk.ext4", "made.ext4"]);
        assert_eq!(report["losses_total"], 0, "{options:?}: {}", report["losses"]);
        let made = bench.path("made.ext4");
        gate::assert_clean(&made);
        let (Some(old), Some(new)) =
            (Mount::new(&image, Access::ReadOnly), Mount::new(&made, Access::ReadOnly))
        else {
            return;
        };
        old.tree().assert_same(&new.tree(), "the kernel");
        old.close();
        new.close();
    }
}

#[test]
fn an_image_is_made_smaller_in_its_own_place() {
    let Some((bench, image)) = filled(&["-t", "ext4"]) else { return };
    let old = bench.path("old.ext4");
    fs::copy(&image, &old).unwrap();
    let words = ["image", "build", "ext4:disk.ext4", "disk.ext4", "--size", "fit"];
    assert!(fails(&bench, &words, 73).contains("--force"));
    run(&bench, &[&words[..], &["--force"]].concat());
    assert!(image.metadata().unwrap().len() < old.metadata().unwrap().len());
    gate::assert_clean(&image);
    assert_same(&bench, &old, &image);
}

#[test]
fn the_same_filesystem_gives_the_same_bytes_and_another_another_uuid() {
    let Some((bench, image)) = filled(&["-t", "ext4"]) else { return };
    let build = |name: &str| {
        run(&bench, &["image", "build", "ext4:disk.ext4", name]);
        fs::read(bench.path(name)).unwrap()
    };
    assert!(build("one") == build("two"));
    let uuid = gate::dump(&bench.path("one")).unwrap().uuid;
    let Some(mount) = Mount::new(&image, Access::ReadWrite) else { return };
    fs::write(mount.path().join("new"), b"x").unwrap();
    mount.close();
    build("three");
    assert_ne!(gate::dump(&bench.path("three")).unwrap().uuid, uuid);
}

#[test]
fn a_disk_begins_with_the_tree_of_a_filesystem() {
    let Some((bench, image)) = filled(&["-t", "ext4"]) else { return };
    let words = ["disk", "create", "made.ext4", "--from", "ext4:disk.ext4", "--size", "64M"];
    run(&bench, &[&words[..], &["--block-size", "1024"]].concat());
    let made = bench.path("made.ext4");
    gate::assert_clean(&made);
    assert_same(&bench, &image, &made);
}

#[test]
fn what_is_no_filesystem_or_is_in_use_is_no_source() {
    let Some((bench, image)) = bench(&["-t", "ext4"], "48M") else { return };
    fs::write(bench.path("text"), vec![b'x'; 5000]).unwrap();
    fails(&bench, &["image", "build", "ext4:text", "made.ext4"], 65);
    fails(&bench, &["image", "build", "ext4:none", "made.ext4"], 66);
    let message = fails(&bench, &["image", "build", "disk.ext4", "made.ext4"], 2);
    assert!(message.contains("ext4:disk.ext4"), "{message}");
    fails(&bench, &["image", "build", "ext4:disk.ext4"], 2);
    let holder = File::open(&image).unwrap();
    holder.lock().unwrap();
    let message = fails(&bench, &["image", "build", "ext4:disk.ext4", "made.ext4"], 73);
    assert!(message.contains("lock"), "{message}");
    drop(holder);
    if let Some(mount) = Mount::new(&image, Access::ReadWrite) {
        let message = fails(&bench, &["image", "build", "ext4:disk.ext4", "made.ext4"], 73);
        assert!(message.contains("mounted on"), "{message}");
        mount.close();
    }
    // A block of a directory that is damaged.
    let block = banger_test_support::debugfs::blocks(&image, "/etc")[0];
    let size = gate::dump(&image).unwrap().block_size;
    let file = File::options().write(true).open(&image).unwrap();
    file.write_all_at(&[0xff; 64], block * size).unwrap();
    let message = fails(&bench, &["image", "build", "ext4:disk.ext4", "made.ext4"], 65);
    assert!(message.contains("block 0 of directory"), "{message}");
}
