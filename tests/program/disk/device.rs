//! Filesystems on devices that were in use.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use banger_test_support::device::{LoopDevice, WithoutHoles, signatures};
use banger_test_support::layers::Layer;
use banger_test_support::mount::Mount;
use banger_test_support::tree::{Entry, Kind};
use banger_test_support::{gate, judge};

use super::{create, create_fails, groups};
use crate::banger::Bench;

const MIB: u64 = 1 << 20;
const DEVICE: u64 = 64 * MIB;

/// A loop device over a file of garbage.
struct Disk {
    device: LoopDevice,
    file: PathBuf,
}

impl Disk {
    fn new(directory: &Path) -> Option<Self> {
        if !judge::kernel() || !judge::all(&["wipefs", "e2fsck", "dumpe2fs"]) {
            return None;
        }
        let file = directory.join("garbage");
        let garbage: Vec<u8> = (0..DEVICE).map(|n| n.to_le_bytes()[0] | 0x80).collect();
        fs::write(&file, garbage).unwrap();
        Some(Self { device: LoopDevice::over(&file)?, file })
    }

    /// Asks wipefs, e2fsck and the kernel; how many groups' tables are known to be zeros, of how
    /// many.
    fn judge(&self) -> (usize, usize) {
        assert_eq!(signatures(self.device.path()), ["ext4"]);
        gate::assert_clean(&self.file);
        let text = gate::dump(&self.file).unwrap().text;
        let zeroed = text.matches("ITABLE_ZEROED").count();
        let groups = groups(&text);
        let mount = Mount::on(self.device.path(), "rw").expect("the device was made as root");
        for number in 0..2000 {
            fs::write(mount.path().join(format!("file-{number}")), vec![5; 700]).unwrap();
        }
        mount.close();
        gate::assert_clean(&self.file);
        (zeroed, groups)
    }
}

#[test]
fn a_device_is_taken_whole_and_the_kernel_uses_it() {
    let bench = Bench::new();
    let Some(disk) = Disk::new(&bench.path("")) else { return };
    let report = create(&bench, disk.device.path(), &["--force", "--label", "work"]);
    assert_eq!((&report["size"], &report["device"]), (&DEVICE.into(), &true.into()));
    assert_eq!(report["replaced"], "data of no format that is known");
    // The loop device has made itself empty.
    let (zeroed, groups) = disk.judge();
    assert_eq!(zeroed, groups);
}

#[test]
fn a_device_that_cannot_empty_itself_is_left_to_the_kernel_unless_eager() {
    for (words, known) in [
        (&["--force"][..], false),
        (&["--force", "--eager"], true),
        (&["--force", "--no-discard"], false),
    ] {
        let bench = Bench::new();
        let Some(directory) = WithoutHoles::new() else { return };
        let Some(disk) = Disk::new(directory.path()) else { return };
        let report = create(&bench, disk.device.path(), words);
        let written = report["written"].as_u64().unwrap();
        assert!(written < MIB, "{words:?}: {written} bytes");
        let (zeroed, groups) = disk.judge();
        assert_eq!(zeroed, if known { groups } else { 0 }, "{words:?}");
    }
}

#[test]
fn a_device_is_not_discarded_when_it_is_not_to_be() {
    let bench = Bench::new();
    let Some(disk) = Disk::new(&bench.path("")) else { return };
    create(&bench, disk.device.path(), &["--force", "--no-discard"]);
    let bytes = fs::read(&disk.file).unwrap();
    let kept = bytes.iter().filter(|byte| **byte >= 0x80).count();
    assert!(kept > bytes.len() / 2, "{kept} bytes of garbage are left");
    disk.judge();
}

#[test]
fn a_filesystem_can_be_shorter_than_its_device_and_not_longer() {
    let bench = Bench::new();
    let Some(disk) = Disk::new(&bench.path("")) else { return };
    let message = create_fails(&bench, disk.device.path(), &["--force", "--size", "65M"], 73);
    assert!(message.contains("68157440") && message.contains("67108864"), "{message}");
    let report = create(&bench, disk.device.path(), &["--force", "--size", "32M"]);
    assert_eq!(report["size"], 32 * MIB);
    assert_eq!(signatures(disk.device.path()), ["ext4"]);
    gate::assert_checked(disk.device.path());
    assert_eq!(fs::metadata(&disk.file).unwrap().len(), DEVICE);
}

#[test]
fn a_device_begins_with_a_tree() {
    let bench = Bench::new();
    let Some(disk) = Disk::new(&bench.path("")) else { return };
    fs::create_dir_all(bench.path("tree/deep")).unwrap();
    fs::write(bench.path("tree/deep/file"), vec![9; 300_000]).unwrap();
    let words = ["--from", "tree", "--owner", "7:8", "--mode", "0711"];
    let report = create(&bench, disk.device.path(), &[&words[..], &["--force"]].concat());
    assert_eq!(report["size"], DEVICE);
    assert_eq!(report["from"]["content"]["files"], 1);
    let mount = Mount::on(disk.device.path(), "ro").unwrap();
    assert!(fs::read(mount.path().join("deep/file")).unwrap() == vec![9; 300_000]);
    mount.close();
    disk.judge();
    let message = create_fails(&bench, disk.device.path(), &words, 73);
    assert!(message.contains("ext4 (UUID "), "{message}");
}

/// A node of this name for the same device.
fn node(path: &Path, device: &Path) {
    let number = fs::metadata(device).unwrap().rdev();
    let [major, minor] = [rustix::fs::major(number), rustix::fs::minor(number)];
    let [major, minor] = [major.to_string(), minor.to_string()];
    let numbers = ["b", &major, &minor].map(OsStr::new);
    judge::succeed("mknod", [path.as_os_str()].into_iter().chain(numbers));
}

#[test]
fn the_device_that_was_looked_at_is_written_whatever_gets_its_name_meanwhile() {
    if !judge::kernel() || !judge::all(&["mknod"]) {
        return;
    }
    let bench = Bench::new();
    let disk = |name: &str| {
        File::create(bench.path(name)).unwrap().set_len(DEVICE).unwrap();
        LoopDevice::over(&bench.path(name)).unwrap()
    };
    let (meant, other) = (disk("meant"), disk("other"));
    node(&bench.path("node"), meant.path());
    let mut child = bench
        .command(["disk", "create", "node", "--from", "-", "--force"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    while !said.next().unwrap().unwrap().contains("resolving") {}
    node(&bench.path("new"), other.path());
    fs::rename(bench.path("new"), bench.path("node")).unwrap();
    let mut layer = Layer::new();
    layer.put("file", &Entry::new(Kind::file(b"12345"), 0o640), b"12345");
    child.stdin.take().unwrap().write_all(&layer.finish()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{:?}", said.collect::<Vec<_>>());
    assert!(fs::read(bench.path("other")).unwrap().iter().all(|byte| *byte == 0));
    gate::assert_clean(&bench.path("meant"));
}
