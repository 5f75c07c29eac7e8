//! Whether an output can be written, asked before the long work.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::busy;
use super::names::directory_of;
use crate::error::{Error, Result};

/// The magic of FAT, and the longest file on it (kernel: `include/uapi/linux/magic.h`,
/// `MSDOS_SUPER_MAGIC`; `fs/fat/inode.c`, `s_maxbytes`).
const FAT: rustix::fs::FsWord = 0x4d44;
const MAX_ON_FAT: u64 = 0xffff_ffff;
/// The mode bit of a directory in which only owners remove and rename files: inode(7), `S_ISVTX`.
const STICKY: u32 = 0o1000;
/// Refuses an output that cannot be written, before the long work.
pub fn check_output(output: &Path, replace: bool) -> Result<()> {
    if output.file_name().is_none() {
        return Err(Error::usage(format!("{} is not the name of a file", output.display())));
    }
    match fs::symlink_metadata(output) {
        Ok(found) if found.is_dir() => Err(Error::cannot_create(format!(
            "cannot write the image to {}: it is a directory",
            output.display()
        ))
        .with_hint("name a file in it")),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let (output, parent) = (output.display(), directory_of(output).display());
            let message = format!("cannot create {output}: {parent} is not a directory");
            Err(Error::cannot_create(message).with_hint("name a file in a directory"))
        }
        Ok(_) if !replace => Err(exists(output)),
        Ok(found) if !found.is_file() && !found.is_symlink() => Err(Error::cannot_create(format!(
            "cannot replace {}: it is not a regular file",
            output.display()
        ))),
        Ok(found) if is_kept_by_directory(output, &found) => Err(Error::cannot_create(format!(
            "cannot replace {}: it is another user's, in a directory where only owners replace \
             files",
            output.display()
        ))
        .with_hint("write to another directory")),
        _ => refuse_users(output),
    }
}

/// Refuses a length that a file of that name cannot have, before the long work.
pub(super) fn check_length(output: &Path, length: u64) -> Result<()> {
    let cannot = |most: u64| {
        format!("cannot write {length} bytes to {}: a file has at most {most}", output.display())
    };
    let limit = getrlimit(Resource::Fsize).current;
    if let Some(limit) = limit.filter(|limit| length > *limit) {
        return Err(Error::of_write(cannot(limit), io::ErrorKind::FileTooLarge));
    }
    let is_fat = rustix::fs::statfs(directory_of(output)).is_ok_and(|found| found.f_type == FAT);
    if is_fat && length > MAX_ON_FAT {
        return Err(Error::of_write(cannot(MAX_ON_FAT), io::ErrorKind::FileTooLarge));
    }
    Ok(())
}

/// Whether a sticky directory keeps a file from being renamed over. Source: kernel, `fs/namei.c`,
/// `__check_sticky`; what root may do is left to the renaming.
fn is_kept_by_directory(path: &Path, found: &fs::Metadata) -> bool {
    let user = rustix::process::geteuid();
    let directory = fs::metadata(directory_of(path));
    !user.is_root()
        && user.as_raw() != found.uid()
        && directory.is_ok_and(|directory| {
            directory.mode() & STICKY != 0 && directory.uid() != user.as_raw()
        })
}

/// Refuses to replace a file that is in use: who uses it would go on with one that has no name. A
/// link is replaced itself.
pub(super) fn refuse_users(output: &Path) -> Result<()> {
    match fs::symlink_metadata(output) {
        Ok(found) if found.is_file() => busy::refuse_users(output, &found),
        _ => Ok(()),
    }
}

pub(super) fn exists(output: &Path) -> Error {
    Error::cannot_create(format!("{} exists", output.display())).with_hint("--force replaces it")
}
