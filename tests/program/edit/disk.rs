//! `banger disk resize`, `set` and `recover`.

use std::fs::{self, File};

use banger_test_support::device::LoopDevice;
use banger_test_support::mount::{Access, Mount};
use banger_test_support::{debugfs, gate, judge};

use super::{bench, everything, fails, leave_transaction, run};

#[test]
fn a_disk_gets_the_size_that_is_asked_for() {
    for options in [
        &["-t", "ext4"][..],
        &["-t", "ext2", "-b", "1024"],
        &["-t", "ext3", "-b", "1024"],
        &["-t", "ext4", "-O", "^has_journal,^metadata_csum"],
    ] {
        let Some((bench, image)) = bench(options, "48M") else { return };
        for (size, bytes) in [("+80M", 128 << 20), ("1G", 1 << 30), ("1G", 1 << 30)] {
            let before = image.metadata().unwrap().len();
            let report = run(&bench, &["disk", "resize", "disk.ext4", "--size", size]);
            assert_eq!((&report["before"], &report["size"]), (&before.into(), &bytes.into()));
            assert_eq!(image.metadata().unwrap().len(), bytes, "{options:?}");
            gate::assert_clean(&image);
        }
        assert!(!bench.path("disk.ext4.undo").exists());
        assert_eq!(debugfs::read(&image, "cat /etc/hostname"), "old\n");
        if judge::all(&["resize2fs"]) {
            judge::succeed("resize2fs", ["-f".as_ref(), image.as_os_str(), "3G".as_ref()]);
            gate::assert_clean(&image);
        }
    }
}

#[test]
fn a_disk_grows_to_the_end_of_its_file_or_device() {
    let Some((bench, image)) = bench(&["-t", "ext4", "-b", "1024"], "48M") else { return };
    // The last group would be too short.
    let length = (96 << 20) + 5000;
    File::options().write(true).open(&image).unwrap().set_len(length).unwrap();
    let report = run(&bench, &["disk", "resize", "disk.ext4"]);
    let size = report["size"].as_u64().unwrap();
    assert!((90 << 20..=length).contains(&size), "{size}");
    let report = gate::dump(&image).unwrap();
    assert_eq!(report.blocks * report.block_size, size);
    gate::assert_checked(&image);
}

#[test]
fn a_device_grows_when_an_undo_file_is_named() {
    let Some((bench, image)) = bench(&["-t", "ext4", "-b", "1024"], "48M") else { return };
    File::options().write(true).open(&image).unwrap().set_len(160 << 20).unwrap();
    let Some(device) = LoopDevice::over(&image) else { return };
    let path = device.path().to_str().unwrap();
    let message = fails(&bench, &["disk", "resize", path], 2);
    assert!(message.contains("--undo FILE"), "{message}");
    let message = fails(&bench, &["disk", "resize", path, "--size", "1G", "--undo", "undo"], 73);
    assert!(message.contains("the device has 167772160"), "{message}");
    let report = run(&bench, &["disk", "resize", path, "--undo", "undo"]);
    assert_eq!(report["size"], 160 << 20);
    assert!(!bench.path("undo").exists());
    drop(device);
    gate::assert_clean(&image);
}

#[test]
fn a_size_that_cannot_be_is_refused_with_what_to_do() {
    let Some((bench, _)) = bench(&["-t", "ext4", "-b", "1024"], "48M") else { return };
    let message = fails(&bench, &["disk", "resize", "disk.ext4", "--size", "24M"], 73);
    assert!(message.contains("not made shorter") && message.contains("--size fit"), "{message}");
    let message = fails(&bench, &["disk", "resize", "disk.ext4", "--size", "+1000"], 73);
    assert!(message.contains("the nearest sizes are 50331648 and 50332672"), "{message}");
    let message = fails(&bench, &["disk", "resize", "disk.ext4", "--size", "4P"], 65);
    assert!(message.contains("more blocks than"), "{message}");
    let result = bench.run(["disk", "resize", "disk.ext4", "--size", "fit"]);
    assert_eq!(result.status.code(), Some(2));
    fails(&bench, &["disk", "resize", "none.ext4", "--size", "1G"], 66);
    for (options, name) in [("meta_bg,^resize_inode", "meta_bg"), ("quota", "quota")] {
        let Some((bench, _)) = super::bench(&["-t", "ext4", "-O", options], "48M") else { return };
        let message = fails(&bench, &["disk", "resize", "disk.ext4", "--size", "1G"], 65);
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn what_is_set_is_what_dumpe2fs_prints() {
    let Some((bench, image)) = bench(&["-t", "ext4", "-O", "metadata_csum_seed"], "48M") else {
        return;
    };
    let words = ["disk", "set", "disk.ext4", "--label", "work", "--reserved", "1%", "--on-error"];
    let more = ["remount-ro", "--mount-options", "acl,discard", "--last-mounted", "/srv"];
    let report = run(&bench, &[&words[..], &more].concat());
    assert_eq!(report["label"], "work");
    let dumped = gate::dump(&image).unwrap();
    assert_eq!((dumped.label.as_str(), dumped.reserved_blocks), ("work", dumped.blocks / 100));
    for line in ["Last mounted on:          /srv", "Remount read-only", "acl discard"] {
        assert!(dumped.text.contains(line), "{line}: {}", dumped.text);
    }
    let before = dumped.uuid;
    let report = run(&bench, &["disk", "set", "disk.ext4", "--uuid", "random"]);
    let dumped = gate::dump(&image).unwrap();
    assert_eq!(report["uuid"], dumped.uuid.as_str());
    assert_ne!(dumped.uuid, before);
    gate::assert_clean(&image);
    let uuid = "00112233-4455-6677-8899-aabbccddeeff";
    run(&bench, &["disk", "set", "disk.ext4", "--uuid", uuid]);
    assert_eq!(gate::dump(&image).unwrap().uuid, uuid);
    gate::assert_clean(&image);
    fails(&bench, &["disk", "set", "disk.ext4", "--label", "longer than sixteen"], 2);
    fails(&bench, &["disk", "set", "disk.ext4", "--reserved", "51%"], 2);
    assert_eq!(bench.run(["disk", "set", "disk.ext4"]).status.code(), Some(2));
}

#[test]
fn a_pending_journal_is_replayed_first_and_recover_does_no_more() {
    for options in
        [&["-t", "ext4"][..], &["-t", "ext3", "-b", "1024"], &["-t", "ext4", "-O", "bigalloc"]]
    {
        let Some((bench, image)) = bench(options, "48M") else { return };
        leave_transaction(&image, "/large", b"new\n");
        assert!(gate::dump(&image).unwrap().has("needs_recovery"));
        let by_e2fsck = bench.path("twin.ext4");
        fs::copy(&image, &by_e2fsck).unwrap();
        let fsck = judge::find("e2fsck").unwrap();
        let _ = judge::run(&fsck, ["-pE".as_ref(), "journal_only".as_ref(), by_e2fsck.as_os_str()]);
        let report = run(&bench, &["disk", "recover", "disk.ext4"]);
        assert_eq!(
            (&report["replayed_transactions"], &report["undone"]),
            (&1.into(), &false.into())
        );
        for image in [&image, &by_e2fsck] {
            assert!(debugfs::read(image, "cat /large").starts_with("new\n"), "{options:?}");
            gate::assert_checked(image);
        }
        let before = everything(&bench);
        let report = run(&bench, &["disk", "recover", "disk.ext4"]);
        assert!(report["replayed_transactions"].is_null());
        assert!(everything(&bench) == before);
        if options.contains(&"bigalloc") {
            continue;
        }
        leave_transaction(&image, "/large", b"newer\n");
        let report = run(&bench, &["disk", "resize", "disk.ext4", "--size", "+100M"]);
        assert_eq!(report["replayed_transactions"], 1);
        assert!(debugfs::read(&image, "cat /large").starts_with("newer\n"));
        gate::assert_clean(&image);
    }
}

#[test]
fn a_disk_in_use_is_refused() {
    let Some((bench, image)) = bench(&["-t", "ext4"], "48M") else { return };
    let commands = [
        &["disk", "set", "disk.ext4", "--label", "x"][..],
        &["disk", "resize", "disk.ext4", "--size", "1G"],
        &["disk", "recover", "disk.ext4"],
    ];
    let holder = File::options().read(true).write(true).open(&image).unwrap();
    holder.lock().unwrap();
    for words in commands {
        assert!(fails(&bench, words, 73).contains("lock"));
    }
    drop(holder);
    if let Some(device) = LoopDevice::over(&image) {
        for words in commands {
            assert!(fails(&bench, words, 73).contains("attached to /dev/loop"));
        }
        drop(device);
    }
    if let Some(mount) = Mount::new(&image, Access::ReadOnly) {
        for words in commands {
            assert!(fails(&bench, words, 73).contains("mounted on"));
        }
        mount.close();
    }
}

#[test]
fn a_full_host_changes_nothing() {
    let Some((bench, image)) = bench(&["-t", "ext2", "-b", "1024"], "48M") else { return };
    let Some(prlimit) = judge::program("prlimit") else { return };
    let before = everything(&bench);
    let command = bench.command(["disk", "resize", "disk.ext4", "--size", "1G"]);
    let mut limited = std::process::Command::new(prlimit);
    limited.arg("--fsize=100000000").arg(command.get_program()).args(command.get_args());
    let result = limited.current_dir(bench.path("")).output().unwrap();
    assert_eq!(result.status.code(), Some(74), "{}", judge::text(&result));
    assert!(judge::text(&result).contains("ulimit -f"));
    assert!(everything(&bench) == before);
    gate::assert_clean(&image);
}
