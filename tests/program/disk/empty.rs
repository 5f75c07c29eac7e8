//! Empty filesystems in files.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::storm::assert_kernel_agrees;
use banger_test_support::tree::{Entry, Kind, Tree};
use banger_test_support::{gate, judge};
use serde_json::Value;

use super::{create, create_fails, everything, groups};
use crate::banger::{Bench, open_to_all, program_for_everybody};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn stored(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

/// What the report says is what dumpe2fs sees.
fn assert_told(report: &Value, path: &Path) {
    assert_eq!(report["size"], fs::metadata(path).unwrap().len());
    assert_eq!(report["device"], false);
    if !judge::all(&["dumpe2fs"]) {
        return;
    }
    let disk = gate::dump(path).unwrap();
    for (field, seen) in [
        ("blocks", disk.blocks),
        ("block_size", disk.block_size),
        ("free_blocks", disk.free_blocks),
        ("inodes", disk.inodes),
        ("free_inodes", disk.free_inodes),
    ] {
        assert_eq!(report[field], seen, "{field}");
    }
    assert_eq!(report["uuid"], disk.uuid);
    let mut seen: Vec<&str> = disk.features.iter().map(String::as_str).collect();
    let told = report["features"].as_array().unwrap();
    let mut told: Vec<&str> = told.iter().map(|name| name.as_str().unwrap()).collect();
    seen.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, seen);
    let journal = report["journal"].as_u64().unwrap() / disk.block_size;
    assert_eq!(disk.text.contains(&format!("Total journal blocks:     {journal}\n")), journal > 0);
}

#[test]
fn an_empty_disk_is_clean_and_nearly_nothing_is_stored() {
    let bench = Bench::new();
    for (size, bytes, most) in [
        ("1M", MIB, MIB / 10),
        ("64M", 64 * MIB, 300_000),
        ("8G", 8 * GIB, 300_000),
        ("256G", 256 * GIB, 7_000_000),
    ] {
        let path = bench.path(&format!("{size}.ext4"));
        let report = create(&bench, &path, &["--size", size, "--label", "work"]);
        assert_eq!(fs::metadata(&path).unwrap().len(), bytes);
        let stored = stored(&path);
        assert!(stored <= most, "{size}: {stored} bytes are stored");
        let written = report["written"].as_u64().unwrap();
        assert!(written <= stored && written > 10_000, "{size}: {written} of {stored}");
        assert_eq!(report["label"], "work");
        gate::assert_clean(&path);
        assert_told(&report, &path);
    }
}

#[test]
fn four_tebibytes_are_clean() {
    let bench = Bench::new();
    let path = bench.path("disk");
    create(&bench, &path, &["--size", "4T"]);
    let stored = stored(&path);
    assert!(stored < 59_000_000, "{stored} bytes are stored");
    gate::assert_checked(&path);
}

#[test]
fn features_are_those_that_were_asked_for() {
    let bench = Bench::new();
    for (number, words) in [
        "-O orphan_file,metadata_csum_seed,large_dir",
        "-O ^has_journal,^resize_inode,^64bit",
        "-O ^metadata_csum,^flex_bg",
        "-O inline_data,ea_inode,sparse_super2 --block-size 1024 --inode-size 512",
        "--profile max --journal-size 4M",
        "--profile read-only --block-size 2048 --inodes 500",
        "--reserved 0% --max-size 4T --journal-size 8M",
    ]
    .iter()
    .enumerate()
    {
        let path = bench.path(&format!("{number}.ext4"));
        let words: Vec<&str> = words.split(' ').chain(["--size", "600M"]).collect();
        let report = create(&bench, &path, &words);
        gate::assert_clean(&path);
        assert_told(&report, &path);
        if judge::kernel() {
            let mount = Mount::new(&path, Access::ReadWrite).unwrap();
            fs::write(mount.path().join("file"), vec![3; 2_000_000]).unwrap();
            mount.close();
            gate::assert_clean(&path);
        }
    }
}

#[test]
fn the_smallest_disk_with_room_has_it() {
    let bench = Bench::new();
    let report = create(&bench, "disk", &["--size", "fit+100M"]);
    let available = report["available"].as_u64().unwrap();
    assert!((100 * MIB..101 * MIB).contains(&available), "{available}");
    gate::assert_clean(&bench.path("disk"));
}

#[test]
fn the_root_is_whose_it_is_said_to_be() {
    let bench = Bench::new();
    let report = create(&bench, "disk", &["--size", "32M", "--owner", "1000:50", "--mode", "1770"]);
    let told = ["root_uid", "root_gid", "root_mode"].map(|field| report[field].to_string());
    assert_eq!(told, ["1000", "50", "\"1770\""]);
    gate::assert_clean(&bench.path("disk"));
    let Some(mount) = Mount::new(&bench.path("disk"), Access::ReadOnly) else { return };
    let root = fs::metadata(mount.path()).unwrap();
    assert_eq!((root.uid(), root.gid(), root.mode() & 0o7777), (1000, 50, 0o1770));
    let lost = fs::metadata(mount.path().join("lost+found")).unwrap();
    assert_eq!((lost.uid(), lost.mode() & 0o7777), (0, 0o700));
    mount.close();
}

#[test]
fn the_root_is_roots_whoever_makes_the_disk() {
    if !judge::kernel() || !judge::all(&["setpriv"]) {
        return;
    }
    let bench = Bench::new();
    open_to_all(&bench.path(""));
    let (_directory, program) = program_for_everybody();
    let result = judge::companion(&judge::find("setpriv").unwrap())
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(program)
        .args(["disk", "create", "disk", "--size", "32M"])
        // Nothing of e2fsprogs, nor anything else, can be found.
        .env("PATH", "")
        .current_dir(bench.path(""))
        .output()
        .unwrap();
    assert!(result.status.success(), "{}", judge::text(&result));
    assert_eq!(fs::metadata(bench.path("disk")).unwrap().uid(), 65_534);
    gate::assert_clean(&bench.path("disk"));
    let mount = Mount::new(&bench.path("disk"), Access::ReadOnly).unwrap();
    let root = fs::metadata(mount.path()).unwrap();
    assert_eq!((root.uid(), root.gid(), root.mode() & 0o7777), (0, 0, 0o755));
    mount.close();
}

#[test]
fn the_kernel_fills_and_empties_a_disk() {
    let bench = Bench::new();
    let words = ["disk", "create", "disk", "--size", "256M", "--quiet"];
    let made = bench.command(words).env("SOURCE_DATE_EPOCH", "0").output().unwrap();
    assert!(made.status.success());
    let mut tree = Tree::new();
    tree.insert(b"", Entry::new(Kind::Directory, 0o755));
    tree.insert(b"lost+found", Entry::new(Kind::Directory, 0o700));
    assert_kernel_agrees(&bench.path("disk"), &tree);
}

#[test]
fn a_guest_has_nothing_to_initialise_on_a_fresh_file() {
    let bench = Bench::new();
    let path = bench.path("disk");
    create(&bench, &path, &["--size", "8G"]);
    let before = stored(&path);
    let Some(mount) = Mount::new(&path, Access::ReadWrite) else { return };
    // A kernel that has tables to zero begins at once, and is not done with 8 GiB in this time:
    // whatever it wrote until then would be seen.
    sleep(Duration::from_secs(3));
    mount.close();
    let grown = stored(&path) - before;
    assert!(grown <= 16 * 4096, "the first mount has stored {grown} bytes");
    if judge::all(&["dumpe2fs"]) {
        let text = gate::dump(&path).unwrap().text;
        assert_eq!(text.matches("ITABLE_ZEROED").count(), groups(&text));
    }
}

#[test]
fn a_disk_grows_to_the_end_of_its_room_without_moving_a_table() {
    if !judge::all(&["resize2fs", "dumpe2fs"]) {
        return;
    }
    let bench = Bench::new();
    let path = bench.path("disk");
    create(&bench, &path, &["--size", "8G"]);
    let tables = || -> Vec<String> {
        let text = gate::dump(&path).unwrap().text;
        let tables = text.lines().filter(|line| line.trim().starts_with("Inode table at"));
        tables.take(64).map(str::to_owned).collect()
    };
    let before = tables();
    File::options().write(true).open(&path).unwrap().set_len(256 * GIB).unwrap();
    judge::succeed("resize2fs", [path.as_os_str()]);
    assert_eq!(tables(), before);
    gate::assert_clean(&path);
}

#[test]
fn every_disk_has_a_uuid_of_its_own_unless_bytes_are_to_be_the_same() {
    let bench = Bench::new();
    let words = |name: &str| {
        let name = name.to_owned();
        ["disk", "create", &name, "--size", "16M", "--quiet"].map(str::to_owned)
    };
    for name in ["one", "two"] {
        assert!(bench.run(words(name)).status.success());
    }
    for name in ["same", "same-too"] {
        let made = bench.command(words(name)).env("SOURCE_DATE_EPOCH", "1700000000").output();
        assert!(made.unwrap().status.success());
    }
    let bytes = |name: &str| fs::read(bench.path(name)).unwrap();
    assert!(bytes("one") != bytes("two"));
    assert!(bytes("same") == bytes("same-too"));
    if judge::all(&["dumpe2fs"]) {
        let disk = |name: &str| gate::dump(&bench.path(name)).unwrap();
        assert_ne!(disk("one").uuid, disk("two").uuid);
        // RFC 9562: version 4 of the usual variant.
        assert_eq!(&disk("one").uuid[14..15], "4");
        assert!("89ab".contains(&disk("one").uuid[19..20]));
        assert!(disk("same").text.contains("Tue Nov 14 22:13:20 2023"));
        assert!(!disk("one").text.contains("1970"));
    }
    let uuid = "01234567-89ab-cdef-0123-456789abcdef";
    let report = create(&bench, "given", &["--size", "16M", "--uuid", uuid]);
    assert_eq!(report["uuid"], uuid);
}

#[test]
fn words_that_make_no_disk_are_refused_and_leave_nothing() {
    let bench = Bench::new();
    for (options, code, reason) in [
        (&[][..], 2, "--size 8G"),
        (&["--size", "8"], 2, "size"),
        (&["--size", "100001"], 2, "the next valid size is 102400"),
        (&["--size", "8G", "-O", "bigalloc"], 2, "bigalloc"),
        (&["--size", "8G", "--label", "more than sixteen bytes"], 2, "label"),
        (&["--size", "1M", "--journal-size", "64M"], 2, "the next valid size is "),
    ] {
        let message = create_fails(&bench, "none", options, code);
        assert!(message.contains(reason), "{message}");
    }
    for options in [
        &["--uid", "0"][..],
        &["--owner-map", "0:1"],
        &["--strict"],
        &["--platform", "linux/arm64"],
        &["--limit", "layer=1G"],
        &["--pull", "never"],
        &["--mode", "888"],
        &["--mode", "10000"],
        &["--owner", "root"],
    ] {
        let words = ["disk", "create", "none", "--size", "8G"];
        let result = bench.run(words.iter().chain(options));
        assert_eq!(result.status.code(), Some(2), "{options:?}: {}", judge::text(&result));
    }
    create_fails(&bench, "no/such/directory", &["--size", "8M"], 73);
    create_fails(&bench, "/dev/no-such-disk", &["--size", "8M"], 66);
    assert_eq!(everything(&bench), Vec::<std::path::PathBuf>::new());
}
