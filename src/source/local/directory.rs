//! The files of an image layout in a directory.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::section::Section;
use crate::error::{Error, Result};
use crate::source::excerpt;

/// A directory whose files are asked for by name.
#[derive(Debug)]
pub(super) struct LayoutDirectory {
    name: String,
    directory: OwnedFd,
}

impl LayoutDirectory {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let name = crate::shown::path(path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
                Errno::NOTDIR => Error::usage(format!("{name} is not a directory"))
                    .with_hint("an image in an archive is oci-archive:FILE or docker-archive:FILE"),
                error => unreadable(&name, error),
            })?;
        Ok(Self { name, directory })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The file of this name, given with slashes; `None` where there is none.
    ///
    /// Symbolic links are followed wherever they lead, since build systems link layouts together:
    /// what is read is verified by its digest. Nothing but a regular file is opened.
    pub(super) fn find(&self, path: &str) -> Result<Option<Section>> {
        let shown = format!("{} in {}", excerpt(path), self.name);
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(Error::bad_data(format!("{shown} is no place in a layout")));
        }
        let directory = self.directory.as_fd();
        let refuse = |error| match error {
            Errno::NOENT => None,
            Errno::LOOP => {
                Some(Error::bad_data(format!("{shown} is a symbolic link that leads nowhere")))
            }
            Errno::NOTDIR => Some(Error::bad_data(format!("{shown} is reached through a file"))),
            error => Some(unreadable(&shown, error)),
        };
        let found = rustix::fs::statat(directory, path, AtFlags::empty());
        let found = match found.map_err(refuse) {
            Ok(found) => found,
            Err(error) => return error.map_or(Ok(None), Err),
        };
        // Opening a device can do something; a pipe would wait for its other end.
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(irregular(&shown));
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(directory, path, flags, Mode::empty()).map_err(refuse) {
            Ok(file) => regular(&shown, file.into()).map(Some),
            Err(error) => error.map_or(Ok(None), Err),
        }
    }
}

fn irregular(name: &str) -> Error {
    Error::bad_data(format!("{name} is not a regular file"))
}

fn regular(name: &str, file: File) -> Result<Section> {
    let metadata = file.metadata().map_err(|error| failed(name, error))?;
    if !metadata.is_file() {
        return Err(irregular(name));
    }
    Ok(Section::new(name, &Arc::new(file), 0, metadata.len()))
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
    fn a06_links_are_followed_wherever_they_lead() {
        let scratch = tempfile::tempdir().unwrap();
        let layout = scratch.path().join("layout");
        fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
        fs::write(scratch.path().join("outside"), "outside").unwrap();
        fs::write(layout.join("blobs/sha256/real"), "real").unwrap();
        for (target, link) in [
            ("../../../outside", "blobs/sha256/out"),
            ("real", "blobs/sha256/in"),
            ("blobs", "alias"),
            ("none", "blobs/sha256/dangling"),
            ("round", "blobs/sha256/round"),
            ("/dev/null", "blobs/sha256/device"),
            ("../sha256", "blobs/sha256/directory"),
        ] {
            symlink(target, layout.join(link)).unwrap();
        }
        symlink(scratch.path().join("outside"), layout.join("blobs/sha256/absolute")).unwrap();
        let directory = LayoutDirectory::open(&layout).unwrap();
        for (path, content) in [
            ("blobs/sha256/real", "real"),
            ("blobs/sha256/in", "real"),
            ("alias/sha256/real", "real"),
            ("blobs/sha256/out", "outside"),
            ("blobs/sha256/absolute", "outside"),
        ] {
            let found = directory.find(path).unwrap().unwrap();
            let bound = crate::source::limits::Bound::fixed(9);
            assert_eq!(found.document(bound).unwrap(), content.as_bytes(), "{path}");
        }
        for path in ["blobs/sha256/none", "blobs/sha256/dangling"] {
            assert!(directory.find(path).unwrap().is_none(), "{path}");
        }
        for path in [
            "blobs/sha256/round",
            "blobs/sha256/device",
            "blobs/sha256/directory",
            "blobs/sha256/real/x",
            "blobs/../outside",
            "",
            "blobs/sha256",
        ] {
            assert_eq!(directory.find(path).unwrap_err().exit_code(), 65, "{path}");
        }
    }

    #[test]
    fn a_pipe_is_no_file_and_is_not_waited_for() {
        let scratch = tempfile::tempdir().unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let pipe = scratch.path().join("index.json");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        symlink("index.json", scratch.path().join("link")).unwrap();
        let directory = LayoutDirectory::open(scratch.path()).unwrap();
        for path in ["index.json", "link"] {
            assert_eq!(directory.find(path).unwrap_err().exit_code(), 65, "{path}");
        }
    }

    #[test]
    fn what_is_missing_or_no_directory_is_told_apart() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(LayoutDirectory::open(&file).unwrap_err().exit_code(), 2);
        assert_eq!(
            LayoutDirectory::open(&scratch.path().join("none")).unwrap_err().exit_code(),
            66
        );
    }
}
