//! Who uses a file or a device: mounts, loop devices, swap, other devices.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

/// Who uses a regular file, in words: the kernel does not refuse to replace one under its users.
pub(super) fn users_of_file(file: &Metadata) -> Vec<String> {
    let mut users: Vec<String> = loop_devices(file)
        .map(|device| {
            let over = format!("it is attached to /dev/{device}");
            let mounts = block_number(&device).map(mounts).unwrap_or_default();
            match mounts.first() {
                Some(mount) => format!("{over}, which is mounted on {mount}"),
                None => format!("{over}; losetup -d /dev/{device} frees it"),
            }
        })
        .collect();
    users.extend(swaps().filter(|swap| is_same(swap, file)).map(|_| "it is used as swap".into()));
    users
}

/// Who uses a device that the kernel does not give to anybody else, in words.
pub(super) fn users_of_device(device: &Metadata) -> Vec<String> {
    let number = (major(device.rdev()), minor(device.rdev()));
    let on = mounts(number).into_iter().map(|mount| format!("it is mounted on {mount}"));
    let is_swap = |swap: &PathBuf| fs::metadata(swap).is_ok_and(|f| f.rdev() == device.rdev());
    let swap = swaps().filter(is_swap).map(|_| "it is used as swap".to_owned());
    let (major, minor) = number;
    let holders = names_in(Path::new(&format!("/sys/dev/block/{major}:{minor}/holders")));
    let holders = holders.into_iter().map(|holder| format!("/dev/{holder} is on it"));
    on.chain(swap).chain(holders).collect()
}

/// The names of the loop devices over a file.
fn loop_devices(file: &Metadata) -> impl Iterator<Item = String> {
    let names = names_in(Path::new("/sys/block")).into_iter();
    names.filter(|name| name.starts_with("loop")).filter(move |name| {
        let backing = fs::read(format!("/sys/block/{name}/loop/backing_file"));
        let backing = backing.unwrap_or_default();
        let path = backing.strip_suffix(b"\n").unwrap_or(&backing);
        !path.is_empty() && is_same(Path::new(std::ffi::OsStr::from_bytes(path)), file)
    })
}

fn is_same(path: &Path, file: &Metadata) -> bool {
    fs::metadata(path).is_ok_and(|other| (other.dev(), other.ino()) == (file.dev(), file.ino()))
}

fn block_number(device: &str) -> Option<(u32, u32)> {
    let text = fs::read_to_string(format!("/sys/block/{device}/dev")).ok()?;
    let (major, minor) = text.trim_end().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Where a device is mounted, as the kernel shows it. Source: kernel,
/// `Documentation/filesystems/proc.rst`, section 3.5.
fn mounts((major, minor): (u32, u32)) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let number = format!("{major}:{minor}");
    let on = table.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(2);
        (fields.next()? == number).then(|| fields.nth(1).map(str::to_owned)).flatten()
    });
    on.collect()
}

/// The files and devices in which the kernel swaps; a name with strange bytes stays as it is shown.
fn swaps() -> impl Iterator<Item = PathBuf> {
    let table = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let paths: Vec<PathBuf> = table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .map(|path| PathBuf::from(path.replace("\\040", " ")))
        .collect();
    paths.into_iter()
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
