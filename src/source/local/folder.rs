//! The files of an image layout in a directory, none of them reached through a symbolic link.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::piece::Piece;
use crate::error::{Error, Result};

/// A directory whose files are asked for by name.
#[derive(Debug)]
pub(super) struct Folder {
    name: String,
    directory: OwnedFd,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let name = super::shown(path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
                Errno::NOTDIR => Error::usage(format!("{name} is not a directory"))
                    .hint("an image in an archive is oci-archive:FILE or docker-archive:FILE"),
                error => unreadable(&name, error),
            })?;
        Ok(Self { name, directory })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The file of this name, given with slashes; `None` where there is none.
    ///
    /// A symbolic link is refused wherever it stands: it could lead to any file of the host.
    pub(super) fn find(&self, path: &str) -> Result<Option<Piece>> {
        let shown = format!("{} in {}", super::super::excerpt(path), self.name);
        let mut directory = None;
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            if matches!(part, "" | "." | "..") {
                return Err(Error::bad_data(format!("{shown} is no place in a layout")));
            }
            let is_last = parts.peek().is_none();
            // A pipe must not make the opening wait for its other end.
            let kind = if is_last { OFlags::NONBLOCK } else { OFlags::DIRECTORY };
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | kind;
            let within = directory.as_ref().unwrap_or(&self.directory);
            match rustix::fs::openat(within.as_fd(), part, flags, Mode::empty()) {
                Ok(file) if is_last => return regular(&shown, file.into()).map(Some),
                Ok(file) => directory = Some(file),
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    return Err(Error::bad_data(format!(
                        "{shown} is reached through a symbolic link or a file"
                    ))
                    .hint("copy the layout with cp -rL if you trust it"));
                }
                Err(error) => return Err(unreadable(&shown, error)),
            }
        }
        Ok(None)
    }
}

fn regular(name: &str, file: File) -> Result<Piece> {
    let metadata = file.metadata().map_err(|error| failed(name, error))?;
    if !metadata.is_file() {
        return Err(Error::bad_data(format!("{name} is not a regular file")));
    }
    Ok(Piece::new(name, &Arc::new(file), 0, metadata.len()))
}

/// A failed opening of a file that the user or a layout names.
pub(super) fn unreadable(name: &str, error: Errno) -> Error {
    failed(name, error.into())
}

/// The same for errors of the standard library.
pub(super) fn failed(name: &str, error: io::Error) -> Error {
    Error::of_file(format!("cannot read {name}"), error)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a06_no_file_is_reached_through_a_symbolic_link() {
        let scratch = tempfile::tempdir().unwrap();
        let layout = scratch.path().join("layout");
        fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
        fs::write(scratch.path().join("secret"), "secret").unwrap();
        fs::write(layout.join("blobs/sha256/real"), "real").unwrap();
        symlink("../../../secret", layout.join("blobs/sha256/out")).unwrap();
        symlink("real", layout.join("blobs/sha256/in")).unwrap();
        symlink("blobs", layout.join("alias")).unwrap();
        let folder = Folder::open(&layout).unwrap();
        let found = folder.find("blobs/sha256/real").unwrap().unwrap();
        assert_eq!(found.document(crate::source::limits::Bound::fixed(9)).unwrap(), b"real");
        assert!(folder.find("blobs/sha256/none").unwrap().is_none());
        for path in [
            "blobs/sha256/out",
            "blobs/sha256/in",
            "alias/sha256/real",
            "blobs/../secret",
            "",
            "blobs/sha256",
        ] {
            assert_eq!(folder.find(path).unwrap_err().exit_code(), 65, "{path}");
        }
    }

    #[test]
    fn a_pipe_is_no_file_and_is_not_waited_for() {
        let scratch = tempfile::tempdir().unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let pipe = scratch.path().join("index.json");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let folder = Folder::open(scratch.path()).unwrap();
        assert_eq!(folder.find("index.json").unwrap_err().exit_code(), 65);
    }

    #[test]
    fn what_is_missing_or_no_directory_is_told_apart() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(Folder::open(&file).unwrap_err().exit_code(), 2);
        assert_eq!(Folder::open(&scratch.path().join("none")).unwrap_err().exit_code(), 66);
    }
}
