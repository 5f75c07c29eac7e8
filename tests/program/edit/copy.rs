//! `banger disk create --from` an image: a copy of it, with another identity and size.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use banger_test_support::device::LoopDevice;
use banger_test_support::mount::{Access, Mount};
use banger_test_support::{debugfs, gate, judge};

use super::{bench, everything, fails, leave_transaction, run};

const LAYOUTS: [&[&str]; 6] = [
    &["-t", "ext4"],
    &["-t", "ext4", "-b", "1024", "-O", "metadata_csum_seed,orphan_file"],
    &["-t", "ext2", "-b", "1024"],
    &["-t", "ext3", "-b", "2048", "-I", "128"],
    &["-t", "ext4", "-O", "inline_data,^metadata_csum,uninit_bg"],
    &["-t", "ext4", "-O", "^resize_inode,^64bit"],
];

/// A line that is in a block which nothing uses.
const FORGOTTEN: &[u8] = b"what was deleted is not copied";

/// Leaves something in the last free block of an image.
fn litter(image: &Path) {
    let size = gate::dump(image).unwrap().block_size;
    let found = debugfs::read(image, "ffb 1 9000");
    let block: u64 = found.split_whitespace().last().unwrap().parse().unwrap();
    let file = File::options().write(true).open(image).unwrap();
    file.write_all_at(FORGOTTEN, block * size).unwrap();
}

fn holds(file: &Path, words: &[u8]) -> bool {
    fs::read(file).unwrap().windows(words.len()).any(|window| window == words)
}

#[test]
fn a_copy_is_the_image_with_another_uuid_and_size() {
    for options in LAYOUTS {
        let Some((bench, image)) = bench(options, "64M") else { return };
        litter(&image);
        assert!(holds(&image, FORGOTTEN));
        let (before, seed) = (gate::dump(&image).unwrap(), fs::read(&image).unwrap());
        let words = ["disk", "create", "copy.ext4", "--from", "disk.ext4"];
        let grown = if options.contains(&"^resize_inode,^64bit") { "128M" } else { "600M" };
        for size in [&[][..], &["--size", grown]] {
            let report = run(&bench, &[&words[..], size].concat());
            let copy = bench.path("copy.ext4");
            gate::assert_clean(&copy);
            let after = gate::dump(&copy).unwrap();
            assert_ne!(before.uuid, after.uuid);
            assert_eq!(report["uuid"], after.uuid.as_str());
            assert_eq!(report["size"], copy.metadata().unwrap().len());
            assert_eq!(report["free_blocks"], after.free_blocks);
            assert_eq!(after.label, before.label);
            if size.is_empty() {
                assert_eq!(after.blocks, before.blocks);
                assert!(!holds(&copy, FORGOTTEN), "{options:?}");
                assert!(copy.metadata().unwrap().blocks() * 512 <= 24 << 20);
            } else {
                assert!(after.blocks > before.blocks * 3 / 2);
            }
            let (Some(old), Some(new)) =
                (Mount::new(&image, Access::ReadOnly), Mount::new(&copy, Access::ReadOnly))
            else {
                return;
            };
            old.tree().assert_same(&new.tree(), "the kernel");
            old.close();
            new.close();
            let mount = Mount::new(&copy, Access::ReadWrite).unwrap();
            fs::write(mount.path().join("more"), vec![5; 3 << 20]).unwrap();
            mount.close();
            gate::assert_clean(&copy);
            fs::remove_file(copy).unwrap();
        }
        assert!(fs::read(&image).unwrap() == seed);
    }
}

#[test]
fn a_copy_is_called_and_owned_as_it_was_asked_for() {
    let Some((bench, _)) = bench(&["-t", "ext4", "-L", "seed"], "48M") else { return };
    let uuid = "00112233-4455-6677-8899-aabbccddeeff";
    let words = ["disk", "create", "copy.ext4", "--from", "disk.ext4", "--uuid", uuid];
    let more = ["--label", "work", "--reserved", "0%", "--owner", "1000:7", "--mode", "1777"];
    let report = run(&bench, &[&words[..], &more].concat());
    assert_eq!((&report["root_uid"], &report["root_mode"]), (&1000.into(), &"1777".into()));
    let copy = bench.path("copy.ext4");
    gate::assert_clean(&copy);
    let found = gate::dump(&copy).unwrap();
    assert_eq!((found.uuid.as_str(), found.label.as_str()), (uuid, "work"));
    assert_eq!(found.reserved_blocks, 0);
    let shown = debugfs::read(&copy, "stat /");
    assert!(shown.contains("User:  1000") && shown.contains("Mode:  01777"), "{shown}");
}

#[test]
fn the_same_copy_of_the_same_image_has_the_same_bytes() {
    let Some((bench, _)) = bench(&["-t", "ext4"], "48M") else { return };
    let copies = ["one", "other"].map(|name| {
        let words = ["disk", "create", name, "--from", "disk.ext4", "--size", "256M"];
        let mut command = bench.command(words);
        let result = command.env("SOURCE_DATE_EPOCH", "1700000000").output().unwrap();
        assert!(result.status.success(), "{}", judge::text(&result));
        fs::read(bench.path(name)).unwrap()
    });
    assert!(copies[0] == copies[1]);
}

#[test]
fn what_a_copy_cannot_be_is_refused_with_the_way_to_it() {
    let Some((bench, image)) = bench(&["-t", "ext4"], "48M") else { return };
    let copy = |more: &[&str], code| {
        let words = ["disk", "create", "copy.ext4", "--from", "disk.ext4"];
        let message = fails(&bench, &[&words[..], more].concat(), code);
        assert!(message.contains("--from ext4:disk.ext4"), "{message}");
        message
    };
    for more in [
        &["--block-size", "1024"][..],
        &["--profile", "max"],
        &["-O", "^64bit"],
        &["--size", "fit"],
        &["--no-journal"],
        &["--uid", "7"],
        &["--eager"],
    ] {
        copy(more, 2);
    }
    assert!(copy(&["--size", "24M"], 73).contains("has 50331648 bytes"));
    let holder = File::open(&image).unwrap();
    holder.lock().unwrap();
    let words = ["disk", "create", "copy.ext4", "--from", "disk.ext4"];
    assert!(fails(&bench, &words, 73).contains("lock"));
    // Others may read it meanwhile.
    holder.unlock().unwrap();
    holder.lock_shared().unwrap();
    run(&bench, &words);
    drop(holder);
    assert!(fails(&bench, &words, 73).contains("copy.ext4"), "it is there already");
    let Some((bench, _)) = super::bench(&["-t", "ext4", "-O", "quota"], "48M") else { return };
    let message = fails(&bench, &words, 65);
    assert!(message.contains("quota") && message.contains("ext4:disk.ext4"), "{message}");
}

#[test]
fn a_transaction_of_the_image_is_in_its_copy() {
    let Some((bench, image)) = bench(&["-t", "ext4"], "48M") else { return };
    leave_transaction(&image, "/large", b"newer\n");
    let before = everything(&bench);
    run(&bench, &["disk", "create", "copy.ext4", "--from", "disk.ext4", "--size", "96M"]);
    let copy = bench.path("copy.ext4");
    gate::assert_clean(&copy);
    assert!(debugfs::read(&copy, "cat /large").starts_with("newer\n"));
    fs::remove_file(copy).unwrap();
    assert!(everything(&bench) == before);
}

#[test]
fn a_copy_fills_a_device_that_held_something_else() {
    for discard in [&[][..], &["--no-discard"]] {
        let Some((bench, image)) = bench(&["-t", "ext4"], "48M") else { return };
        let backing = bench.path("backing");
        fs::write(&backing, vec![0xa5; 160 << 20]).unwrap();
        let Some(device) = LoopDevice::over(&backing) else { return };
        let path = device.path().to_str().unwrap();
        let words = ["disk", "create", path, "--from", "disk.ext4", "--force"];
        let report = run(&bench, &[&words[..], discard].concat());
        assert_eq!((&report["device"], &report["size"]), (&true.into(), &(160 << 20).into()));
        drop(device);
        gate::assert_clean(&backing);
        let (Some(old), Some(new)) =
            (Mount::new(&image, Access::ReadOnly), Mount::new(&backing, Access::ReadOnly))
        else {
            return;
        };
        old.tree().assert_same(&new.tree(), "the kernel");
        old.close();
        new.close();
    }
}
