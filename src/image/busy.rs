//! Who uses a file or a device: mounts, loop devices, swap, other devices.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, fcntl_lock, major, minor};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// What is said of a file or a device that another process has locked.
pub(super) const LOCKED: &str = "another process holds a lock on it, such as a virtual machine";

/// Refuses to replace a regular file that is in use.
pub(super) fn refuse_users(path: &Path, found: &Metadata) -> Result<()> {
    let locked = || open_as_it_may_be(path).is_some_and(|file| is_locked(&file));
    let user = users_of_file(path, found).into_iter().next();
    match user.or_else(|| locked().then(|| LOCKED.to_owned())) {
        Some(user) => {
            let refusal = format!("cannot replace {}: {user}", path.display());
            Err(Error::cannot_create(refusal).with_hint("end what uses it"))
        }
        None => Ok(()),
    }
}

/// A file, to ask for its locks: who may not write to it may still see those of flock.
fn open_as_it_may_be(path: &Path) -> Option<File> {
    // Whatever has the name by now is not waited for.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let open = |write| OpenOptions::new().read(true).write(write).custom_flags(flags).open(path);
    open(true).or_else(|_| open(false)).ok()
}

/// Whether another process has locked the file in either of the two ways. No lock is left.
pub(super) fn is_locked(file: &File) -> bool {
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        return true;
    }
    // Over NFS both are locks of one kind, and this one would be in the way of the next: kernel,
    // `fs/nfs/file.c`, `nfs_flock`. Where it cannot be given back, it goes with the file.
    let _ = file.unlock();
    let lock = match fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
        // It is open for reading alone.
        Err(Errno::BADF) => fcntl_lock(file, FlockOperation::NonBlockingLockShared),
        answer => answer,
    };
    let _ = fcntl_lock(file, FlockOperation::NonBlockingUnlock);
    matches!(lock, Err(Errno::AGAIN | Errno::ACCESS))
}

/// Who uses a regular file, in words: the kernel does not refuse to replace one under its users.
pub(super) fn users_of_file(path: &Path, file: &Metadata) -> Vec<String> {
    let mut users: Vec<String> = loop_devices(path, file)
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
fn loop_devices(path: &Path, file: &Metadata) -> impl Iterator<Item = String> {
    let names = names_in(Path::new("/sys/block")).into_iter();
    names.filter(|name| name.starts_with("loop")).filter(move |name| {
        let backing = fs::read(format!("/sys/block/{name}/loop/backing_file"));
        let backing = backing.unwrap_or_default();
        let shown = backing.strip_suffix(b"\n").unwrap_or(&backing);
        !shown.is_empty() && is_backed_by(shown, path, file)
    })
}

/// Whether what the kernel shows of a loop device's file is, or may be, this file.
///
/// A path of another mount namespace leads nowhere here, and so does that of a file whose name is
/// gone, or was another's: kernel, `fs/d_path.c`, appends `(deleted)`. Then the same name at the
/// end is enough.
fn is_backed_by(shown: &[u8], path: &Path, file: &Metadata) -> bool {
    let backing = Path::new(OsStr::from_bytes(shown));
    if fs::metadata(backing).is_ok() {
        return is_same(backing, file);
    }
    let shown = shown.strip_suffix(b" (deleted)").unwrap_or(shown);
    let name = Path::new(OsStr::from_bytes(shown)).file_name();
    name.is_some() && name == path.file_name()
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

/// The files and devices in which the kernel swaps.
fn swaps() -> impl Iterator<Item = PathBuf> {
    let table = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let paths: Vec<PathBuf> = table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .map(|path| PathBuf::from(unescaped(path.as_bytes())))
        .collect();
    paths.into_iter()
}

/// A path without the escapes of tables in `/proc`: a backslash and three octal digits are a byte
/// (kernel: `fs/seq_file.c`, `mangle_path`).
fn unescaped(shown: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(shown.len());
    let mut rest = shown;
    while let Some((first, behind)) = rest.split_first() {
        let escaped = (*first == b'\\').then(|| behind.split_at_checked(3)).flatten();
        let byte = escaped.and_then(|(digits, behind)| Some((octal(digits)?, behind)));
        let (byte, behind) = byte.unwrap_or((*first, behind));
        bytes.push(byte);
        rest = behind;
    }
    OsString::from_vec(bytes)
}

fn octal(digits: &[u8]) -> Option<u8> {
    let are_digits = digits.iter().all(|digit| (b'0'..=b'7').contains(digit));
    let digits = std::str::from_utf8(digits).ok().filter(|_| are_digits)?;
    u8::from_str_radix(digits, 8).ok()
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_for_locks_leaves_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let asking = open_as_it_may_be(file.path()).unwrap();
        assert!(!is_locked(&asking));
        file.as_file().try_lock().unwrap();
        assert!(is_locked(&asking));
    }

    #[test]
    fn every_escape_of_a_table_is_undone() {
        let shown = br"/a\040b\011c\012d\134040\9\40";
        assert_eq!(unescaped(shown).as_bytes(), b"/a b\tc\nd\\040\\9\\40");
        assert_eq!(unescaped(br"\777").as_bytes(), br"\777");
    }

    #[test]
    fn a_backing_file_that_leads_nowhere_is_told_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk (1)");
        fs::write(&path, b"x").unwrap();
        let found = fs::metadata(&path).unwrap();
        let is_ours = |shown: &str| is_backed_by(shown.as_bytes(), &path, &found);
        assert!(is_ours(path.to_str().unwrap()));
        assert!(is_ours("/no/such/place/disk (1)"));
        assert!(is_ours("/no/such/place/disk (1) (deleted)"));
        assert!(!is_ours("/no/such/place/disk (2)"));
        // Another file that is there is another one, whatever its name.
        fs::create_dir(directory.path().join("other")).unwrap();
        let other = directory.path().join("other/disk (1)");
        fs::write(&other, b"x").unwrap();
        assert!(!is_ours(other.to_str().unwrap()));
    }
}
