//! What is there already is named, and kept unless it may go.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use banger_test_support::device::LoopDevice;
use banger_test_support::mount::Mount;
use banger_test_support::{gate, judge};

use super::{create, create_fails};
use crate::banger::Bench;

/// A few bytes that make a format of an empty file.
type Bytes = &'static [(u64, &'static [u8])];

/// Formats whose signatures are a few bytes, and what has to be said of them.
const FORMATS: [(Bytes, &str); 9] = [
    (
        &[(0, b"XFSB"), (32, &[0x11; 16]), (108, b"scratch")],
        "xfs \"scratch\" (UUID 11111111-1111-1111-1111-111111111111)",
    ),
    (
        &[(0x10040, b"_BHRfS_M"), (0x10020, &[0x22; 16]), (0x1012b, b"pool")],
        "btrfs \"pool\" (UUID 22222222-2222-2222-2222-222222222222)",
    ),
    (
        &[(510, b"\x55\xaa"), (82, b"FAT32   "), (67, &[4, 3, 2, 1]), (71, b"EFI        ")],
        "vfat \"EFI\" (UUID 0102-0304)",
    ),
    (
        &[(4086, b"SWAPSPACE2"), (1024, &[1]), (1036, &[0x33; 16]), (1052, b"swap0")],
        "swap \"swap0\" (UUID 33333333-3333-3333-3333-333333333333)",
    ),
    (
        &[(0, b"LUKS\xba\xbe\0\x02"), (24, b"secret"), (168, b"4d3f-an-id")],
        "crypto_LUKS \"secret\" (UUID 4d3f-an-id, version 2)",
    ),
    (
        &[(512, b"LABELONE"), (532, &[32, 0, 0, 0]), (536, b"LVM2 001"), (544, &[b'p'; 32])],
        "LVM2_member (UUID pppppp-pppp-pppp-pppp-pppp-pppp-pppppp)",
    ),
    (
        &[
            (510, b"\x55\xaa"),
            (450, &[0xee]),
            (512, b"EFI PART"),
            (568, &[0x78, 0x56, 0x34, 0x12, 0xcd, 0xab, 0xcd, 0xab, 1, 1, 1, 1, 1, 1, 1, 1]),
            (584, &[2]),
            (592, &[128]),
            (596, &[128]),
            (1024, &[9; 16]),
            (1152, &[9; 16]),
        ],
        "gpt (UUID 12345678-abcd-abcd-0101-010101010101, 2 partitions)",
    ),
    (
        &[(510, b"\x55\xaa"), (440, &[0xef, 0xbe, 0xad, 0xde]), (446, &[0x80, 0, 0, 0, 0x83])],
        "dos (UUID deadbeef, 1 partition)",
    ),
    (&[(4096, &[0xfc, 0x4e, 0x2b, 0xa9, 1]), (4112, &[0x44; 16])], "linux_raid_member (UUID 4444"),
];

fn write(path: &Path, length: u64, bytes: Bytes) {
    let file = File::create(path).unwrap();
    file.set_len(length).unwrap();
    for (offset, bytes) in bytes {
        file.write_all_at(bytes, *offset).unwrap();
    }
}

/// Refused with these words, and not a byte of the file changed.
fn assert_kept(bench: &Bench, place: &Path, file: &Path, words: &str) {
    let before = fs::read(file).unwrap();
    let message = create_fails(bench, place, &["--size", "8M"], 73);
    assert!(message.contains(words), "{message}");
    assert!(message.contains("--force"), "{message}");
    assert!(fs::read(file).unwrap() == before, "{words}");
}

#[test]
fn what_a_file_holds_is_named_and_kept_until_it_may_go() {
    let bench = Bench::new();
    let path = bench.path("disk");
    for (bytes, words) in FORMATS {
        write(&path, 16 << 20, bytes);
        assert_kept(&bench, &path, &path, words);
        let report = create(&bench, &path, &["--size", "8M", "--force"]);
        assert!(report["replaced"].as_str().unwrap().contains(words), "{report:#}");
        gate::assert_clean(&path);
    }
    // Now it is ours.
    let report = create(&bench, &path, &["--size", "8M", "--force", "--label", "mine"]);
    let words = format!("ext4 \"mine\" (UUID {})", report["uuid"].as_str().unwrap());
    assert_kept(&bench, &path, &path, &words);
    fs::write(&path, "text").unwrap();
    assert_kept(&bench, &path, &path, "a file of 4 bytes is there");
}

#[test]
fn what_a_device_holds_is_named_and_kept_until_it_may_go() {
    if !judge::kernel() {
        return;
    }
    let bench = Bench::new();
    let file = bench.path("disk");
    for (bytes, words) in FORMATS {
        write(&file, 16 << 20, bytes);
        let device = LoopDevice::over(&file).unwrap();
        assert_kept(&bench, device.path(), &file, words);
        create(&bench, device.path(), &["--force"]);
        gate::assert_clean(&file);
    }
}

#[test]
fn a_device_with_bytes_of_no_known_format_is_kept_until_it_may_go() {
    if !judge::kernel() {
        return;
    }
    let bench = Bench::new();
    let file = bench.path("disk");
    let words = "data of no format that is known";
    let places: [(u64, &'static [u8]); 4] = [
        (0, b"\x1f\x8b\x08\0"),
        // The superblock of minix.
        (1040, b"\x8f\x13"),
        ((5 << 20) - 1, b"x"),
        ((16 << 20) - 1, b"x"),
    ];
    for (offset, bytes) in places {
        let holds = File::create(&file).unwrap();
        holds.set_len(16 << 20).unwrap();
        holds.write_all_at(bytes, offset).unwrap();
        let device = LoopDevice::over(&file).unwrap();
        assert_kept(&bench, device.path(), &file, words);
        let report = create(&bench, device.path(), &["--force"]);
        assert_eq!(report["replaced"], words);
        gate::assert_clean(&file);
    }
    File::create(&file).unwrap().set_len(16 << 20).unwrap();
    let device = LoopDevice::over(&file).unwrap();
    let report = create(&bench, device.path(), &[]);
    assert_eq!(report["replaced"], serde_json::Value::Null);
}

#[test]
fn other_makers_filesystems_are_named_as_blkid_names_them() {
    let bench = Bench::new();
    let path = bench.path("disk");
    let makers: [(&str, &[&str]); 8] = [
        ("mke2fs", &["-q", "-F", "-t", "ext2", "-L", "old"]),
        ("mke2fs", &["-q", "-F", "-t", "ext3", "-L", "older"]),
        ("mke2fs", &["-q", "-F", "-t", "ext4", "-L", "new", "-M", "/srv"]),
        ("mkfs.xfs", &["-q", "-L", "name"]),
        ("mkswap", &["-q", "-L", "swapped"]),
        ("mkfs.btrfs", &["-q", "-L", "tree"]),
        ("mkfs.vfat", &["-n", "FAT"]),
        ("mkfs.f2fs", &["-q", "-l", "flash"]),
    ];
    if !judge::all(&["blkid"]) {
        return;
    }
    for (maker, words) in makers.iter().filter(|(maker, _)| judge::find(maker).is_some()) {
        File::create(&path).unwrap().set_len(320 << 20).unwrap();
        let words = words.iter().map(AsRef::as_ref).chain([path.as_os_str()]);
        judge::succeed(maker, words);
        let tag = |name: &str| {
            let words = ["-p", "-o", "value", "-s", name].map(AsRef::as_ref);
            let words = words.into_iter().chain([path.as_os_str()]);
            judge::succeed("blkid", words.collect::<Vec<_>>()).trim().to_owned()
        };
        let label = tag("LABEL");
        let expected = format!("{} \"{label}\" (UUID {}", tag("TYPE"), tag("UUID"));
        let message = create_fails(&bench, &path, &[], 73);
        assert!(message.contains(&expected), "{maker}: {message} is not {expected}");
    }
}

#[test]
fn an_empty_file_is_taken_and_its_length_is_nothing() {
    let bench = Bench::new();
    File::create(bench.path("disk")).unwrap();
    create_fails(&bench, "disk", &[], 2);
    create(&bench, "disk", &["--size", "8M"]);
    gate::assert_clean(&bench.path("disk"));
}

#[test]
fn a_file_that_goes_gives_its_length() {
    let bench = Bench::new();
    write(&bench.path("disk"), 24 << 20, &[]);
    let report = create(&bench, "disk", &["--force"]);
    assert_eq!(report["size"], 24 << 20);
    gate::assert_clean(&bench.path("disk"));
}

#[test]
fn what_is_in_use_is_refused_even_by_force() {
    if !judge::kernel() {
        return;
    }
    let bench = Bench::new();
    let file = bench.path("disk");
    create(&bench, &file, &["--size", "16M"]);
    let device = LoopDevice::over(&file).unwrap();
    let refused = |place: &Path, words: &str| {
        let before = fs::read(&file).unwrap();
        let message = create_fails(&bench, place, &["--size", "8M", "--force"], 73);
        assert!(message.contains(words), "{message}");
        assert!(fs::read(&file).unwrap() == before, "{message}");
    };
    let attached = format!("it is attached to {}", device.path().display());
    refused(&file, &attached);
    let mount = Mount::on(device.path(), "ro").unwrap();
    let mounted = format!("mounted on {}", mount.path().display());
    refused(&file, &format!("{attached}, which is {mounted}"));
    refused(device.path(), &mounted);
    mount.close();
    drop(device);
    create(&bench, &file, &["--size", "8M", "--force"]);
}

#[test]
fn a_locked_device_is_refused_even_by_force() {
    if !judge::kernel() {
        return;
    }
    let bench = Bench::new();
    let file = bench.path("disk");
    write(&file, 16 << 20, &[(0, b"text")]);
    let device = LoopDevice::over(&file).unwrap();
    let holder = File::open(device.path()).unwrap();
    for lock in [File::lock, File::lock_shared] {
        lock(&holder).unwrap();
        let before = fs::read(&file).unwrap();
        let message = create_fails(&bench, device.path(), &["--force"], 73);
        assert!(message.contains("holds a lock"), "{message}");
        assert!(fs::read(&file).unwrap() == before);
    }
    drop(holder);
    create(&bench, device.path(), &["--force"]);
    gate::assert_clean(&file);
}

#[test]
fn an_image_in_use_is_not_replaced_by_another() {
    if !judge::kernel() {
        return;
    }
    let bench = Bench::new();
    fs::create_dir(bench.path("tree")).unwrap();
    let file = bench.path("disk");
    create(&bench, &file, &["--size", "16M"]);
    let inode = fs::metadata(&file).unwrap().ino();
    let refused = |words: &str| {
        let words_of_build = ["image", "build", "dir:tree", "disk", "--force", "--quiet"];
        let result = bench.run(words_of_build);
        let message = judge::text(&result);
        assert_eq!(result.status.code(), Some(73), "{message}");
        assert!(message.contains(words), "{message}");
        assert_eq!(fs::metadata(&file).unwrap().ino(), inode);
    };
    let device = LoopDevice::over(&file).unwrap();
    refused(&format!("it is attached to {}", device.path().display()));
    drop(device);
    let holder = File::open(&file).unwrap();
    holder.lock().unwrap();
    refused("holds a lock");
    drop(holder);
    bench.build("dir:tree", "disk", &["--force"]);
    assert_ne!(fs::metadata(&file).unwrap().ino(), inode);
}

#[test]
fn who_replaces_a_file_leaves_it_its_mode_and_owner() {
    let bench = Bench::new();
    fs::create_dir(bench.path("tree")).unwrap();
    let is_root = fs::metadata(bench.path("tree")).unwrap().uid() == 0;
    for (mode, length) in [(0o600, 0), (0o640, 100), (0o664, 100)] {
        let own = || {
            let file = File::create(bench.path("disk")).unwrap();
            file.set_len(length).unwrap();
            file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
            if is_root {
                chown(bench.path("disk"), Some(4321), Some(4322)).unwrap();
            }
            let found = fs::metadata(bench.path("disk")).unwrap();
            (found.mode(), found.uid(), found.gid())
        };
        let is_kept = |before: (u32, u32, u32)| {
            let found = fs::metadata(bench.path("disk")).unwrap();
            assert!(found.len() > 1000, "it was replaced");
            assert_eq!((found.mode(), found.uid(), found.gid()), before, "{mode:o}");
            fs::remove_file(bench.path("disk")).unwrap();
        };
        let before = own();
        let force: &[&str] = if length > 0 { &["--force"] } else { &[] };
        create(&bench, "disk", &[&["--size", "8M"], force].concat());
        is_kept(before);
        let before = own();
        bench.build("dir:tree", "disk", &["--force"]);
        is_kept(before);
    }
    // What replaces nothing is as any new file.
    bench.build("dir:tree", "disk", &["--force"]);
    let usual = File::create(bench.path("usual")).unwrap().metadata().unwrap().mode();
    assert_eq!(fs::metadata(bench.path("disk")).unwrap().mode(), usual);
}

#[test]
fn a_description_goes_with_the_image_that_it_describes() {
    let bench = Bench::new();
    fs::create_dir(bench.path("tree")).unwrap();
    bench.build("dir:tree", "disk", &["--metadata"]);
    assert!(bench.path("disk.json").exists());
    create(&bench, "disk", &["--size", "8M", "--force"]);
    assert!(!bench.path("disk.json").exists());
}

#[test]
fn a_link_to_a_file_stays_one() {
    let bench = Bench::new();
    write(&bench.path("target"), 100, &[]);
    std::os::unix::fs::symlink("target", bench.path("link")).unwrap();
    let message = create_fails(&bench, "link", &["--size", "8M"], 73);
    assert!(message.contains("a file of 100 bytes is there"), "{message}");
    create(&bench, "link", &["--size", "8M", "--force"]);
    assert!(fs::symlink_metadata(bench.path("link")).unwrap().is_symlink());
    gate::assert_clean(&bench.path("target"));
}
