//! `banger image edit` with further layers: what is added is what an image would have been built of.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Stdio;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::{debugfs, gate, judge, xattr};

use super::{bench, everything, fails, run};

const LAYOUTS: [&[&str]; 4] = [
    &["-t", "ext4"],
    &["-t", "ext2", "-b", "1024"],
    &["-t", "ext4", "-O", "inline_data,metadata_csum_seed"],
    &["-t", "ext4", "-O", "^has_journal,^extent,^64bit,^dir_index", "-b", "2048"],
];

#[test]
fn what_is_added_is_what_the_kernel_shows_of_a_copy() {
    for options in LAYOUTS {
        let Some((bench, image)) = bench(options, "64M") else { return };
        let agent = bench.path("agent");
        fs::create_dir_all(agent.join("lib/deep")).unwrap();
        fs::write(agent.join("run"), b"#!/bin/sh\n").unwrap();
        fs::set_permissions(agent.join("run"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::write(agent.join("lib/data"), vec![7; 900_000]).unwrap();
        fs::hard_link(agent.join("lib/data"), agent.join("lib/deep/same")).unwrap();
        symlink("../lib/data", agent.join("lib/link")).unwrap();
        xattr::set(&agent.join("run"), "user.origin", b"here");
        let sparse = File::create(agent.join("sparse")).unwrap();
        sparse.write_all_at(b"end", 20 << 20).unwrap();
        let report = run(&bench, &["image", "edit", "disk.ext4", "--add", "agent:/opt/agent"]);
        assert_eq!(report["remarks"].as_array().unwrap().len(), 0, "{report}");
        gate::assert_clean(&image);
        let Some(mount) = Mount::new(&image, Access::ReadOnly) else { return };
        let at = |name: &str| mount.path().join("opt/agent").join(name);
        assert_eq!(fs::read(at("lib/data")).unwrap(), vec![7; 900_000]);
        let of = |name: &str| fs::symlink_metadata(at(name)).unwrap();
        assert_eq!(of("lib/data").ino(), of("lib/deep/same").ino());
        assert_eq!(of("lib/data").nlink(), 2);
        assert_eq!(of("run").mode() & 0o7777, 0o4751);
        assert_eq!(xattr::get(&at("run"), "user.origin"), b"here");
        assert_eq!(fs::read_link(at("lib/link")).unwrap().to_str(), Some("../lib/data"));
        let sparse = of("sparse");
        assert_eq!(sparse.len(), (20 << 20) + 3);
        assert!(sparse.blocks() < 200, "{} sectors of a hole", sparse.blocks());
        mount.close();
    }
}

#[test]
fn an_overlay_means_what_it_means_while_an_image_is_made() {
    for options in LAYOUTS {
        let Some((bench, image)) = bench(options, "64M") else { return };
        let overlay = bench.path("overlay");
        fs::create_dir_all(overlay.join("etc")).unwrap();
        fs::create_dir_all(overlay.join("new")).unwrap();
        fs::write(overlay.join("etc/.wh.hostname"), b"").unwrap();
        fs::write(overlay.join("large"), b"small").unwrap();
        fs::write(overlay.join("new/file"), b"new").unwrap();
        let (tar, at) = (bench.path("overlay.tar"), overlay.as_os_str());
        judge::succeed("tar", ["-cf".as_ref(), tar.as_os_str(), "-C".as_ref(), at, ".".as_ref()]);
        run(&bench, &["image", "edit", "disk.ext4", "--overlay", "overlay.tar"]);
        gate::assert_clean(&image);
        assert_eq!(debugfs::read(&image, "cat /large"), "small");
        assert_eq!(debugfs::read(&image, "cat /new/file"), "new");
        assert!(!debugfs::read(&image, "ls /etc").contains("hostname"));
        // A file in the place of a directory, and the other way round.
        fs::write(bench.path("file"), b"x").unwrap();
        let words = ["image", "edit", "disk.ext4", "--remove", "/new", "--add", "file:/new"];
        run(&bench, &[&words[..], &["--add", "overlay/new:/large"]].concat());
        gate::assert_clean(&image);
        assert_eq!(debugfs::read(&image, "cat /new"), "x");
        assert_eq!(debugfs::read(&image, "cat /large/file"), "new");
    }
}

#[test]
fn agents_are_added_as_by_a_pull() {
    let Some((bench, image)) = bench(&["-t", "ext4"], "64M") else { return };
    fs::create_dir_all(bench.path("bundle/rootfs/opt")).unwrap();
    fs::write(bench.path("bundle/rootfs/opt/agent"), b"agent").unwrap();
    run(&bench, &["image", "edit", "disk.ext4", "--guest", "bundle"]);
    gate::assert_clean(&image);
    assert_eq!(debugfs::read(&image, "cat /opt/agent"), "agent");
}

#[test]
fn a_failed_addition_changes_no_byte() {
    for options in LAYOUTS {
        let Some((bench, image)) = bench(options, "48M") else { return };
        let big = File::create(bench.path("big")).unwrap();
        big.write_all_at(&vec![7; 60 << 20], 0).unwrap();
        fs::write(bench.path("some"), vec![8; 3 << 20]).unwrap();
        // Free blocks that are no holes are as they were, too.
        run(&bench, &["image", "edit", "disk.ext4", "--add", "some:/some"]);
        run(&bench, &["image", "edit", "disk.ext4", "--remove", "/some"]);
        let edit = |steps: &[&str], code| {
            fails(
                &bench,
                &[&["image", "edit", "disk.ext4", "--add", "some:/a"], steps].concat(),
                code,
            )
        };
        let message = edit(&["--add", "big:/b"], 73);
        assert!(message.contains("full") && message.contains("disk resize"), "{message}");
        edit(&["--remove", "/nothing"], 66);
        edit(&["--add", "none:/b"], 66);
        edit(&["--overlay", "big"], 65);
        let before = everything(&bench);
        let words = ["image", "edit", "disk.ext4", "--dry-run", "--add", "some:/b"];
        run(&bench, &words);
        assert!(everything(&bench) == before);
        gate::assert_clean(&image);
    }
}

#[test]
fn standard_input_is_a_file() {
    let Some((bench, image)) = bench(&["-t", "ext4"], "48M") else { return };
    let mut command = bench.command(["image", "edit", "disk.ext4", "--add", "-:/etc/hostname:600"]);
    command.stdin(Stdio::from(File::open(bench.path("content/large")).unwrap()));
    let result = command.output().unwrap();
    assert!(result.status.success(), "{}", judge::text(&result));
    gate::assert_clean(&image);
    assert_eq!(debugfs::read(&image, "cat /etc/hostname").len(), 300_000);
    fails(&bench, &["image", "edit", "disk.ext4", "--add", "-:/a", "--add", "-:/b"], 2);
}

#[test]
fn an_image_that_describes_itself_gets_an_init() {
    let Some((bench, image)) = bench(&["-t", "ext4"], "48M") else { return };
    let words = ["image", "edit", "disk.ext4", "--init"];
    let message = fails(&bench, &words, 66);
    assert!(message.contains("/etc/banger/image.json"), "{message}");
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Entrypoint": ["/bin/app"], "Env": ["A=b c"], "User": "0" },
        "rootfs": { "type": "layers", "diff_ids": [] },
    });
    let description = serde_json::json!({
        "version": 1, "banger": "0.1.0", "identity": "sha256:0", "platform": null, "diff_ids": [],
        "options": { "size": "fit+0" }, "start": null, "config": config,
    });
    fs::create_dir_all(bench.path("more/bin")).unwrap();
    fs::create_dir_all(bench.path("more/etc/banger")).unwrap();
    fs::write(bench.path("more/etc/banger/image.json"), description.to_string()).unwrap();
    for tool in ["sh", "mount", "env", "app"] {
        let path = bench.path("more/bin").join(tool);
        fs::write(&path, "#!").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    // In the order given: the init finds what was added before it.
    fails(&bench, &[&words[..], &["--add", "more/.:/"]].concat(), 66);
    let order = ["image", "edit", "disk.ext4", "--add", "more/.:/", "--init"];
    let report = run(&bench, &order);
    assert_eq!(report["changes"][1], "add an init");
    gate::assert_clean(&image);
    let script = debugfs::read(&image, "cat /sbin/banger-init");
    assert!(script.starts_with("#!/bin/sh") && script.contains("/bin/app"), "{script}");
    assert!(debugfs::read(&image, "stat /sbin/banger-init").contains("Mode:  0755"));
    assert!(debugfs::read(&image, "stat /proc").contains("Type: directory"));
    let described = debugfs::read(&image, "cat /etc/banger/image.json");
    let described: serde_json::Value = serde_json::from_str(&described).unwrap();
    assert_eq!(described["start"]["kernel_words"], "init=/sbin/banger-init");
    assert_eq!(described["config"], config);
}

#[test]
fn a_full_host_disk_and_a_limit_of_file_sizes_change_nothing() {
    let Some(prlimit) = judge::program("prlimit") else { return };
    let Some(place) = FullDisk::new() else { return };
    for options in [&["-t", "ext4"][..], &["-t", "ext2", "-b", "1024"]] {
        let Some((bench, image)) = bench(options, "64M") else { return };
        fs::write(bench.path("agent"), vec![7; 20 << 20]).unwrap();
        let before = everything(&bench);
        let words = ["image", "edit", "disk.ext4", "--remove", "/large", "--add", "agent:/agent"];
        // The image is sparse, and its new blocks lie behind the limit.
        let command = bench.command(words);
        let mut limited = std::process::Command::new(&prlimit);
        limited.arg("--fsize=12000000").arg(command.get_program()).args(command.get_args());
        let result = limited.current_dir(bench.path("")).output().unwrap();
        assert_eq!(result.status.code(), Some(74), "{}", judge::text(&result));
        assert!(judge::text(&result).contains("ulimit -f"), "{}", judge::text(&result));
        assert!(everything(&bench) == before, "{options:?}");
        // The same on a disk that is full.
        let small = place.path().join("disk.ext4");
        judge::succeed("cp", ["--sparse=always".as_ref(), image.as_os_str(), small.as_os_str()]);
        let old = fs::read(&small).unwrap();
        let agent = bench.path("agent");
        let added = format!("{}:/agent", agent.display());
        let words = ["image", "edit", small.to_str().unwrap(), "--remove", "/large", "--add"];
        let result = bench.run(words.iter().chain(&[added.as_str()]));
        assert_eq!(result.status.code(), Some(73), "{}", judge::text(&result));
        assert!(judge::text(&result).contains("free some space"), "{}", judge::text(&result));
        assert!(fs::read(&small).unwrap() == old, "{options:?}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
        gate::assert_clean(&small);
        fs::remove_file(small).unwrap();
    }
}

/// A directory with room for 12 MiB: a mounted tmpfs.
struct FullDisk(tempfile::TempDir);

impl FullDisk {
    fn new() -> Option<Self> {
        if !judge::kernel() {
            return None;
        }
        let point = tempfile::tempdir().unwrap();
        let words = ["-t", "tmpfs", "-o", "size=12M", "none"].map(OsStr::new);
        judge::succeed("mount", words.into_iter().chain([point.path().as_os_str()]));
        Some(Self(point))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        let umount = judge::find("umount").unwrap_or_default();
        // In a failing test the first failure is the one to show.
        let _ = judge::run(&umount, [OsStr::new("-l"), self.0.path().as_os_str()]);
    }
}
