//! Filesystems on block devices, through the sink of the library.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use banger::image::DiscardingSink;
use banger_test_support::device::{
    LoopDevice, PLANTED, WithoutHoles, plant_signatures, signatures,
};
use banger_test_support::mount::Mount;
use banger_test_support::{gate, judge};
use ext4_writer::{Builder, FileContent, Metadata, Options, Size, Summary};

const MIB: u64 = 1 << 20;
const DEVICE: u64 = 32 * MIB;

/// What the file has in it.
fn content() -> Vec<u8> {
    vec![7; 300_000]
}

/// A loop device over a file of garbage and the signatures of other formats.
struct Disk {
    device: LoopDevice,
    file: PathBuf,
}

impl Disk {
    fn new(directory: &Path) -> Option<Self> {
        let mut bytes = vec![0xa5; usize::try_from(DEVICE).unwrap()];
        plant_signatures(&mut bytes);
        let file = directory.join("disk");
        fs::write(&file, &bytes).unwrap();
        let device = LoopDevice::over(&file)?;
        assert_eq!(signatures(device.path()), PLANTED);
        Some(Self { device, file })
    }

    /// Makes a filesystem with a file in it.
    fn fill(&self, size: Size) -> Summary {
        let sink = DiscardingSink::open(self.device.path()).unwrap();
        let mut builder = Builder::create(sink, Options::new(size)).unwrap();
        let root = builder.root();
        for name in [b"short-lived", b"kept-longer"] {
            let bytes = content();
            let mut reader = bytes.as_slice();
            let content = FileContent::new(300_000, &mut reader);
            builder.add_file(root, name, &Metadata::default(), content).unwrap();
        }
        builder.remove(root, b"short-lived").unwrap();
        builder.finish().unwrap().0
    }

    /// Asks wipefs, e2fsck and the kernel; says what dumpe2fs tells of the groups.
    fn judge(&self, size: u64) -> Vec<String> {
        assert_eq!(signatures(self.device.path()), ["ext4"]);
        let mount = Mount::on(self.device.path(), "ro").expect("the device was made as root");
        assert!(fs::read(mount.path().join("kept-longer")).unwrap() == content());
        mount.close();
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("copy");
        fs::write(&copy, &fs::read(&self.file).unwrap()[..usize::try_from(size).unwrap()]).unwrap();
        gate::assert_clean(&copy);
        let text = gate::dump(&copy).unwrap().text;
        let is_group = |line: &&str| line.starts_with("Group ") && line.contains("(Blocks");
        text.lines().filter(is_group).map(str::to_owned).collect()
    }
}

fn judges() -> bool {
    judge::kernel() && judge::all(&["wipefs", "e2fsck", "dumpe2fs"])
}

#[test]
fn a_device_that_can_discard_is_zeroed_by_itself_and_leaves_the_guest_nothing() {
    if !judges() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::new(directory.path()) else { return };
    let summary = disk.fill(Size::Fixed(DEVICE));
    assert!(summary.written < MIB, "{} bytes written", summary.written);
    let stored = fs::metadata(&disk.file).unwrap().blocks() * 512;
    assert!(stored < 2 * MIB, "{stored} of {DEVICE} bytes are stored");
    let groups = disk.judge(DEVICE);
    assert!(groups.iter().all(|group| group.contains("ITABLE_ZEROED")), "{groups:?}");
}

#[test]
fn a_device_that_cannot_discard_is_written_where_zeros_must_be() {
    if !judges() {
        return;
    }
    let Some(directory) = WithoutHoles::new() else { return };
    let Some(disk) = Disk::new(directory.path()) else { return };
    disk.fill(Size::Fixed(DEVICE));
    let groups = disk.judge(DEVICE);
    assert!(!groups.iter().any(|group| group.contains("ITABLE_ZEROED")), "{groups:?}");
}

#[test]
fn bytes_behind_a_shorter_filesystem_stay_but_for_signatures() {
    if !judges() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::new(directory.path()) else { return };
    disk.fill(Size::Fixed(16 * MIB));
    disk.judge(16 * MIB);
    let bytes = fs::read(&disk.file).unwrap();
    let behind = &bytes[16 << 20..];
    let kept = behind.iter().take_while(|byte| **byte == 0xa5).count();
    assert_eq!(kept, 14 << 20, "all but the last 2 MiB");
    assert!(behind[kept..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_mounted_device_is_refused() {
    if !judges() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::new(directory.path()) else { return };
    disk.fill(Size::Fit { free_bytes: MIB, free_inodes: 10 });
    let mount = Mount::on(disk.device.path(), "ro").expect("the device was made as root");
    let error = DiscardingSink::open(disk.device.path()).expect_err("it is mounted");
    assert_eq!(error.exit_code(), 73);
    let text = error.to_string();
    assert!(text.contains("cannot write to the device /dev/loop"), "{text}");
    assert!(text.contains("unmount it"), "{text}");
    mount.close();
}
