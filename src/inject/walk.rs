//! A directory of the host, name by name, without ever leaving it.
//!
//! Every name is opened in its opened directory and never through a symbolic link, so that nobody
//! who may write in the tree can lead the walk out of it.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::layer::Xattr;

/// The most that the kernel gives: `XATTR_LIST_MAX` and `XATTR_SIZE_MAX`.
const MAX_XATTR: usize = 64 << 10;

/// Something that was met.
pub(super) struct Met<'a> {
    /// Its path below the root; empty for the root itself.
    pub(super) path: &'a [u8],
    pub(super) stat: Stat,
    pub(super) kind: FileType,
    handle: Handle<'a>,
    root: &'a Path,
}

/// How more can be asked about it.
enum Handle<'a> {
    /// A directory, or the file that was named, opened.
    Opened(&'a OwnedFd),
    /// A name in an opened directory.
    Named(&'a OwnedFd, &'a CStr),
}

/// A directory on the way down.
struct Level {
    directory: OwnedFd,
    /// The names that are still to be met, the next one last.
    names: Vec<CString>,
    /// How long its path is.
    length: usize,
}

/// Shows everything below `root` to `visit`, directories before what they hold, names in the order
/// of their bytes.
pub(super) fn walk(root: &Path, visit: &mut dyn FnMut(&Met<'_>) -> Result<()>) -> Result<()> {
    let mut path = Vec::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(root, flags, Mode::empty());
    let directory = opened.map_err(|error| match error {
        Errno::NOTDIR => Error::usage(format!("{} is not a directory", shown(root, b"")))
            .with_hint("a root filesystem in an archive is tar:FILE"),
        error => failed("open", root, b"", error),
    })?;
    let mut levels = vec![enter(root, &path, directory, visit)?];
    while let Some(level) = levels.last_mut() {
        path.truncate(level.length);
        let Some(name) = level.names.pop() else {
            levels.pop();
            continue;
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let fail = |verb, error| failed(verb, root, &path, error);
        let within = level.directory.as_fd();
        let stat = rustix::fs::statat(within, &name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| fail("look at", error))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            let flags = flags | OFlags::NOFOLLOW;
            let directory = rustix::fs::openat(within, &name, flags, Mode::empty())
                .map_err(|error| fail("open", error))?;
            levels.push(enter(root, &path, directory, visit)?);
        } else {
            let handle = Handle::Named(&level.directory, &name);
            visit(&Met { path: &path, stat, kind, handle, root })?;
        }
    }
    Ok(())
}

/// Shows the one file that a path leads to, through symbolic links, to `visit`.
pub(super) fn look_at(file: &Path, visit: &mut dyn FnMut(&Met<'_>) -> Result<()>) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(file, flags, Mode::empty());
    let opened = opened.map_err(|error| failed("open", file, b"", error))?;
    let stat = rustix::fs::fstat(&opened).map_err(|error| failed("read", file, b"", error))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind != FileType::RegularFile {
        let message = format!("{} was replaced before it was read", shown(file, b""));
        return Err(Error::try_again(message).with_hint("run again when nobody writes there"));
    }
    visit(&Met { path: b"", stat, kind, handle: Handle::Opened(&opened), root: file })
}

/// Shows an opened directory, and reads its names.
fn enter(
    root: &Path,
    path: &[u8],
    directory: OwnedFd,
    visit: &mut dyn FnMut(&Met<'_>) -> Result<()>,
) -> Result<Level> {
    let fail = |error| failed("read", root, path, error);
    let stat = rustix::fs::fstat(&directory).map_err(fail)?;
    let handle = Handle::Opened(&directory);
    visit(&Met { path, stat, kind: FileType::Directory, handle, root })?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&directory).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort_unstable_by(|one, other| other.cmp(one));
    Ok(Level { directory, names, length: path.len() })
}

impl Met<'_> {
    /// The target of a symbolic link.
    pub(super) fn target(&self) -> Result<Vec<u8>> {
        match self.handle {
            Handle::Named(within, name) => rustix::fs::readlinkat(within, name, Vec::new())
                .map(CString::into_bytes)
                .map_err(|error| self.failed("read", error)),
            Handle::Opened(_) => Err(Error::internal("a directory was asked for its target")),
        }
    }

    /// Opens a regular file; it must be the one that was met.
    pub(super) fn open(&self) -> Result<File> {
        let (within, name) = match self.handle {
            Handle::Named(within, name) => (within, name),
            Handle::Opened(file) => {
                let copy = file.try_clone().map(File::from);
                return copy.map_err(|error| {
                    Error::io(format!("cannot open {}", self.shown())).with_source(error)
                });
            }
        };
        // It may have become a pipe, which must not make the opening wait for its other end.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(within, name, flags, Mode::empty())
            .map_err(|error| self.failed("open", error))?;
        let stat = rustix::fs::fstat(&file).map_err(|error| self.failed("read", error))?;
        if (stat.st_dev, stat.st_ino, stat.st_mode)
            != (self.stat.st_dev, self.stat.st_ino, self.stat.st_mode)
        {
            let shown = shown(self.root, self.path);
            return Err(Error::try_again(format!("{shown} was replaced while the tree was read"))
                .with_hint("run again when nobody writes in it"));
        }
        Ok(file.into())
    }

    /// Its extended attributes, sorted by name.
    pub(super) fn xattrs(&self) -> Result<Vec<Xattr>> {
        let fail = |error| self.failed("list the attributes of", error);
        match self.list_length() {
            // Most have none.
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(fail(error)),
        }
        let mut list = vec![0; MAX_XATTR];
        let length = self.list(&mut list).map_err(fail)?;
        let names = list.get(..length).ok_or_else(|| {
            Error::internal(format!("the kernel gave {length} bytes of {MAX_XATTR} of attributes"))
        })?;
        let mut xattrs = Vec::new();
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let mut value = vec![0; MAX_XATTR];
            match self.get(name, &mut value) {
                Ok(length) => value.truncate(length),
                // It went between the list and now.
                Err(Errno::NODATA) => continue,
                Err(error) => return Err(self.failed("read the attributes of", error)),
            }
            value.shrink_to_fit();
            xattrs.push(Xattr { name: name.to_vec(), value });
        }
        xattrs.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(xattrs)
    }

    fn list_length(&self) -> Result<usize, Errno> {
        match self.handle {
            Handle::Opened(directory) => rustix::fs::flistxattr_query(directory),
            Handle::Named(..) => rustix::fs::llistxattr_query(self.magic()?),
        }
    }

    fn list(&self, list: &mut [u8]) -> Result<usize, Errno> {
        match self.handle {
            Handle::Opened(directory) => rustix::fs::flistxattr(directory, list),
            Handle::Named(..) => rustix::fs::llistxattr(self.magic()?, list),
        }
    }

    fn get(&self, name: &[u8], value: &mut [u8]) -> Result<usize, Errno> {
        match self.handle {
            Handle::Opened(directory) => rustix::fs::fgetxattr(directory, name, value),
            Handle::Named(..) => rustix::fs::lgetxattr(self.magic()?, name, value),
        }
    }

    /// A path to a name in its opened directory: attributes of what cannot be opened, such as a
    /// symbolic link, can be asked for by a path alone.
    fn magic(&self) -> Result<Vec<u8>, Errno> {
        match self.handle {
            Handle::Named(within, name) => {
                let prefix = format!("/proc/self/fd/{}/", within.as_raw_fd());
                Ok([prefix.as_bytes(), name.to_bytes()].concat())
            }
            Handle::Opened(_) => Err(Errno::INVAL),
        }
    }

    pub(super) fn failed(&self, verb: &str, error: Errno) -> Error {
        failed(verb, self.root, self.path, error)
    }

    /// How messages call it.
    pub(super) fn shown(&self) -> String {
        shown(self.root, self.path)
    }
}

fn shown(root: &Path, path: &[u8]) -> String {
    let root = root.as_os_str().as_bytes();
    match path {
        b"" => crate::shown::bytes(&root).to_string(),
        path => [root.strip_suffix(b"/").unwrap_or(root), b"/", path]
            .concat()
            .escape_ascii()
            .to_string(),
    }
}

fn failed(verb: &str, root: &Path, path: &[u8], error: Errno) -> Error {
    let message = format!("cannot {verb} {}", shown(root, path));
    match io::Error::from(error).kind() {
        io::ErrorKind::NotFound if path.is_empty() => Error::not_found(message),
        io::ErrorKind::NotFound => {
            Error::try_again(message).with_hint("run again when nobody writes in the tree")
        }
        io::ErrorKind::PermissionDenied => Error::denied(message)
            .with_hint("read it as its owner, or as root in the user namespace that made it"),
        _ if error == Errno::MFILE => Error::io(message)
            .with_hint("the tree is deep: raise the limit of open files with ulimit -n"),
        _ if error == Errno::LOOP || error == Errno::NOTDIR => {
            Error::try_again(message).with_hint("run again when nobody writes in the tree")
        }
        _ => Error::io(message),
    }
    .with_source(io::Error::from(error))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A tree with `a/file`, `b` and `c/inner`, beside a file that is none of its.
    fn scratch() -> tempfile::TempDir {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("root");
        for directory in ["a", "c"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for (name, content) in
            [("root/a/file", "file"), ("root/b", "b"), ("root/c/inner", "i"), ("secret", "secret")]
        {
            fs::write(scratch.path().join(name), content).unwrap();
        }
        scratch
    }

    fn paths(root: &Path, mut then: impl FnMut(&Met<'_>) -> Result<()>) -> Result<Vec<String>> {
        let mut paths = Vec::new();
        walk(root, &mut |met| {
            paths.push(met.path.escape_ascii().to_string());
            then(met)
        })?;
        Ok(paths)
    }

    #[test]
    fn directories_come_before_what_they_hold_in_the_order_of_bytes() {
        let scratch = scratch();
        let root = scratch.path().join("root");
        assert_eq!(paths(&root, |_| Ok(())).unwrap(), ["", "a", "a/file", "b", "c", "c/inner"]);
    }

    #[test]
    fn a_file_that_became_a_link_to_the_outside_is_not_read() {
        let scratch = scratch();
        let root = scratch.path().join("root");
        let error = paths(&root, |met| {
            if met.path != b"b" {
                return Ok(());
            }
            fs::remove_file(root.join("b")).unwrap();
            symlink("../secret", root.join("b")).unwrap();
            met.open().map(drop)
        });
        assert_eq!(error.unwrap_err().exit_code(), 75);
        // Another file of the same name is not the one that was met either.
        fs::remove_file(root.join("b")).unwrap();
        fs::write(root.join("b"), "b").unwrap();
        let error = paths(&root, |met| {
            if met.path != b"b" {
                return Ok(());
            }
            fs::rename(scratch.path().join("secret"), root.join("b")).unwrap();
            met.open().map(drop)
        });
        assert_eq!(error.unwrap_err().exit_code(), 75);
    }

    #[test]
    fn a_directory_that_became_a_link_to_the_outside_is_a_link() {
        let scratch = scratch();
        let root = scratch.path().join("root");
        let met = paths(&root, |met| {
            if met.path == b"b" {
                fs::rename(root.join("c"), scratch.path().join("moved")).unwrap();
                symlink("../moved", root.join("c")).unwrap();
            }
            Ok(())
        });
        assert_eq!(met.unwrap(), ["", "a", "a/file", "b", "c"]);
    }
}
