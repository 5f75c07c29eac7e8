//! What a guest does to a mounted image: files made, grown, renamed, linked and removed, attributes
//! set and dropped, every directory that came with the image added to and taken from.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{StatVfs, XattrFlags, getxattr, removexattr, setxattr, statvfs};

use crate::gate;
use crate::mount::{Access, Mount, copy};
use crate::tree::{Kind, Tree};

/// Files that the storm makes, where the image has room for them.
const FILES: u64 = 1500;
/// Fewer make no storm.
const LEAST_FILES: u64 = 50;
/// Directories of the image that the storm touches.
const DIRECTORIES: usize = 2000;

/// Everything that the kernel has to say about `image`: a read-only mount shows `expected` and
/// nothing else; a read-write mount of a copy stands the storm, shows the same tree after it, and
/// passes the gate.
pub fn assert_kernel_agrees(image: &Path, expected: &Tree) {
    let Some(mount) = Mount::new(image, Access::ReadOnly) else { return };
    expected.assert_same(&mount.tree(), "the kernel");
    mount.close();
    assert!(weather_image(image, expected), "there is no room for a storm");
}

/// A read-write mount of a copy of `image` stands the storm, shows the same tree after it, and
/// passes the gate. Returns whether there was room for that.
///
/// Without a kernel that mounts the policy of [`judge::missing`](crate::judge::missing) applies.
#[must_use]
pub fn weather_image(image: &Path, expected: &Tree) -> bool {
    let place = image.parent().unwrap_or(Path::new("."));
    let directory = tempfile::tempdir_in(place).expect("a directory for the copy");
    let copy = copy(image, directory.path());
    let Some(mount) = Mount::new(&copy, Access::ReadWrite) else { return true };
    let space = statvfs(mount.path()).expect("the kernel knows the free space");
    // Its own directories take some of it.
    let roomy = files(&space) >= LEAST_FILES + 10;
    if roomy {
        weather(mount.path(), expected).unwrap_or_else(|error| panic!("the storm failed: {error}"));
    }
    mount.close();
    gate::assert_clean(&copy);
    let Some(mount) = Mount::new(&copy, Access::ReadOnly) else { return true };
    let expected = expected.clone().without_directory_times();
    expected.assert_same(&mount.tree(), "the kernel, after the storm,");
    mount.close();
    roomy
}

/// How many files a storm makes where so much is free.
fn files(space: &StatVfs) -> u64 {
    FILES.min(space.f_ffree / 2).min(space.f_bavail / 8)
}

/// The storm itself, over the filesystem at `root`. It leaves everything as it was, but for the
/// times of directories.
pub fn weather(root: &Path, tree: &Tree) -> io::Result<()> {
    let eye = root.join(".storm");
    fs::create_dir_all(eye.join("other"))?;
    let space = statvfs(root)?;
    let files = files(&space);
    if files < LEAST_FILES {
        return Err(io::Error::other(format!("room for {files} files only: no storm")));
    }
    churn(&eye, files)?;
    attributes(&eye, usize::try_from(space.f_bsize).unwrap_or(usize::MAX))?;
    for directory in directories(tree) {
        let path = root.join(OsStr::from_bytes(directory));
        let (short, long) = (path.join(".s"), path.join(".storm-with-a-longer-name-than-before"));
        fs::write(&short, b"s")?;
        fs::rename(&short, &long)?;
        fs::remove_file(&long)?;
    }
    fs::remove_dir_all(&eye)
}

fn directories(tree: &Tree) -> impl Iterator<Item = &[u8]> {
    tree.iter()
        .filter(|(_, entry)| entry.kind == Kind::Directory)
        .map(|(path, _)| path)
        .take(DIRECTORIES)
}

fn content(number: u64) -> Vec<u8> {
    number.to_string().repeat(usize::try_from(number % 700).unwrap_or(0)).into_bytes()
}

fn churn(eye: &Path, files: u64) -> io::Result<()> {
    let name = |number: u64| eye.join(format!("file-with-a-name-{number:06}"));
    for number in 0..files {
        fs::write(name(number), content(number))?;
    }
    for number in (0..files).step_by(2) {
        fs::remove_file(name(number))?;
    }
    for number in (1..files).step_by(2) {
        match number % 3 {
            0 => OpenOptions::new().append(true).open(name(number))?.write_all(b"more")?,
            1 => fs::rename(name(number), eye.join("other").join(number.to_string()))?,
            _ => fs::hard_link(name(number), eye.join(format!("link-{number}")))?,
        }
    }
    for number in (1..files).step_by(2) {
        let (path, more): (_, &[u8]) = match number % 3 {
            0 => (name(number), b"more"),
            1 => (eye.join("other").join(number.to_string()), b""),
            _ => (eye.join(format!("link-{number}")), b""),
        };
        if fs::read(&path)? != [&content(number), more].concat() {
            return Err(io::Error::other(format!("{} reads back changed", path.display())));
        }
    }
    Ok(())
}

/// Sets and drops attributes, the largest of half a block.
fn attributes(eye: &Path, block_size: usize) -> io::Result<()> {
    let file = eye.join("attributes");
    fs::write(&file, b"x")?;
    for (name, size) in [("user.small", 30), ("user.large", block_size / 2), ("trusted.empty", 0)] {
        let value = vec![b'v'; size];
        setxattr(&file, name, &value, XattrFlags::CREATE)?;
        let mut found = vec![0; size + 1];
        let length = getxattr(&file, name, found.as_mut_slice())?;
        if length != size {
            return Err(io::Error::other(format!("{name} has {length} bytes, not {size}")));
        }
        removexattr(&file, name)?;
    }
    Ok(())
}
