//! Names on the host: free ones, and how a file gets one.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

/// How many names are tried for a temporary file before the directory is given up.
const NAME_ATTEMPTS: u32 = 100;
/// So much of an output's name is in that of its temporary file.
const MAX_STEM: usize = 200;

/// The directory in which a name stands.
pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

pub(super) fn replace_by(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Renames over another file, or removes what cannot be.
pub(super) fn move_or_remove(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to).inspect_err(|_| {
        // The error that matters is that of the renaming.
        let _ = fs::remove_file(from);
    })
}

/// Renames to a name that must not be taken.
///
/// Not by a hard link, as for a nameless file: exFAT and FAT have none. Where the filesystem cannot
/// refuse a taken name by itself (rename(2): `EINVAL`), an empty file of our own takes it first.
pub(super) fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            OpenOptions::new().write(true).create_new(true).open(to)?;
            fs::rename(from, to).inspect_err(|_| {
                let _ = fs::remove_file(to);
            })
        }
        done => Ok(done?),
    }
}

/// Does `make` with names beside `path` until one was not taken.
pub(super) fn unused_name<T>(
    path: &Path,
    make: impl Fn(&Path) -> io::Result<T>,
) -> io::Result<(PathBuf, T)> {
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    let stem = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.as_bytes();
    // A name has at most 255 bytes, and this one has some more than its stem.
    let stem = OsStr::from_bytes(stem.get(..MAX_STEM).unwrap_or(stem));
    for attempt in 0..NAME_ATTEMPTS {
        let mut name = OsString::from(".");
        name.push(stem);
        name.push(format!(".{}-{attempt}.tmp", std::process::id()));
        let path = directory_of(path).join(name);
        match make(&path) {
            Ok(value) => return Ok((path, value)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}
