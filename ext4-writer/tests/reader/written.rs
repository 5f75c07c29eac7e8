//! Images after a kernel wrote to them, and was done.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::{debugfs, storm, xattr};
use ext4_writer::reader::{AttributePlace, Links, SegmentKind};

use crate::made::{Made, make, noise};
use crate::seen::{assert_as_mounted, open};

/// What a guest leaves behind: a storm, a large directory, files with holes and reserved blocks,
/// fragments, large attributes.
pub(crate) fn work(root: &Path, largest_attribute: usize) {
    let many = root.join("made-by-the-kernel");
    fs::create_dir(&many).unwrap();
    for number in 0..4000 {
        fs::write(many.join(format!("a-rather-long-name-for-a-small-file-{number}")), b"x")
            .unwrap();
    }
    for number in (0..4000).step_by(3) {
        fs::remove_file(many.join(format!("a-rather-long-name-for-a-small-file-{number}")))
            .unwrap();
    }
    // Two files that grow in turns have many extents.
    let mut turns = [0, 1].map(|number| File::create(root.join(format!("turn-{number}"))).unwrap());
    for round in 0..500 {
        for file in &mut turns {
            file.write_all(&noise(round, 5000)).unwrap();
            file.sync_data().unwrap();
        }
    }
    let holed = File::create(root.join("holed")).unwrap();
    for number in (0..3000u64).step_by(7) {
        holed.write_all_at(b"island", number << 14).unwrap();
    }
    let _ = std::process::Command::new("fallocate")
        .args(["-l", "5000000"])
        .arg(root.join("reserved"))
        .stderr(std::process::Stdio::null())
        .status();
    let reserved =
        OpenOptions::new().write(true).create(true).truncate(false).open(root.join("reserved"));
    reserved.unwrap().write_all_at(b"a word in between", 1_234_567).unwrap();
    let attributes = root.join("with-attributes");
    fs::write(&attributes, b"x").unwrap();
    xattr::set(&attributes, "user.large", &noise(3, largest_attribute));
    for number in 0..8 {
        xattr::set(&attributes, &format!("user.{number}"), &noise(number, 20));
    }
    std::os::unix::fs::symlink("s".repeat(300), root.join("made-link")).unwrap();
}

fn stormy(options: &[&str], largest_attribute: usize) -> Option<Made> {
    let made = make(options, "200M")?;
    let mount = Mount::new(&made.path, Access::ReadWrite)?;
    let tree = mount.tree();
    storm::weather(mount.path(), &tree).unwrap();
    work(mount.path(), largest_attribute);
    mount.close();
    assert_as_mounted(&made.path);
    Some(made)
}

#[test]
fn an_image_after_a_storm_reads_as_the_kernel_shows_it() {
    for options in [
        &["-t", "ext4", "-b", "1024"][..],
        &["-t", "ext4", "-b", "4096", "-O", "inline_data"],
        &["-t", "ext4", "-O", "bigalloc", "-C", "16384"],
        &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,uninit_bg,^64bit"],
        &["-t", "ext3", "-b", "1024"],
        &["-t", "ext2", "-b", "2048"],
    ] {
        let Some(made) = stormy(options, 700) else { return };
        assert!(debugfs::is_indexed(&made.path, "/made-by-the-kernel") || options[1] == "ext2");
    }
}

#[test]
fn values_in_inodes_of_their_own_are_read() {
    let Some(made) = stormy(&["-t", "ext4", "-O", "ea_inode"], 60_000) else { return };
    let reader = open(&made.path);
    let file = reader.lookup(b"with-attributes", Links::Keep).unwrap();
    let attributes = reader.attributes(&file).unwrap();
    let large = attributes.iter().find(|one| one.name == b"user.large").unwrap();
    assert!(matches!(large.place, AttributePlace::ValueInode(_)));
}

#[test]
fn reserved_blocks_are_told_from_data_and_holes() {
    let Some(made) = stormy(&["-t", "ext4", "-b", "4096"], 700) else { return };
    let reader = open(&made.path);
    let file = reader.lookup(b"reserved", Links::Keep).unwrap();
    let bytes = |wanted: fn(&SegmentKind) -> bool| -> u64 {
        let segments = reader.segments(&file).unwrap().map(Result::unwrap);
        segments.filter(|segment| wanted(&segment.kind)).map(|segment| segment.length).sum()
    };
    assert!(bytes(|kind| *kind == SegmentKind::Unwritten) > 4_000_000);
    assert_eq!(bytes(|kind| matches!(kind, SegmentKind::Data { .. })), 4096);
    assert_eq!(bytes(|_| true), 5_000_000);
}
