//! A finished image that is changed where it is: opened for this process alone.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use rustix::io::Errno;

use super::busy;
use crate::error::{Error, Result};
use crate::shown::path as shown;

/// What is done with an image in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InPlace {
    /// It is changed.
    Change,
    /// It is only read, to say what a change would do.
    Try,
    /// It is only read, to make another one of it.
    Read,
}

impl InPlace {
    fn verb(self) -> &'static str {
        match self {
            Self::Change | Self::Try => "change",
            Self::Read => "read",
        }
    }
}

/// Opens an image, a file or a block device, to be changed in place, or to be read while nobody
/// changes it. One that is mounted, attached, swapped to or locked is refused; several may read one
/// at a time. It is locked as long as it is open.
pub(crate) fn open_in_place(path: &Path, access: InPlace) -> Result<File> {
    let refusal = format!("cannot {} {}", access.verb(), shown(path));
    let cannot = |error| Error::of_file(refusal.clone(), error);
    let found = fs::metadata(path).map_err(cannot)?;
    let kind = found.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(Error::bad_data(format!("{refusal}: it is no file or block device")));
    }
    let users = if kind.is_file() {
        busy::users_of_file(path, &found)
    } else {
        busy::users_of_device(&found)
    };
    let in_use = |user: &str| {
        Error::cannot_create(format!("{refusal}: {user}")).with_hint("end what uses it")
    };
    if let Some(user) = users.first() {
        return Err(in_use(user));
    }
    // Only for block devices has O_EXCL a meaning without O_CREAT: open(2).
    let exclusive = if kind.is_block_device() { OFlags::EXCL } else { OFlags::empty() };
    let flags = i32::try_from((exclusive | OFlags::NONBLOCK).bits())
        .map_err(|error| Error::internal(error.to_string()))?;
    let is_change = access == InPlace::Change;
    let opened = OpenOptions::new().read(true).write(is_change).custom_flags(flags).open(path);
    let file = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::ResourceBusy => in_use("something uses it"),
        std::io::ErrorKind::ReadOnlyFilesystem => Error::denied(refusal.clone()).with_source(error),
        _ => cannot(error),
    })?;
    if !lock(&file, access) {
        return Err(in_use(busy::LOCKED));
    }
    Ok(file)
}

/// Locks a file in both ways; whether that could be had.
fn lock(file: &File, access: InPlace) -> bool {
    let (locked, operation) = match access {
        InPlace::Change => {
            if busy::is_locked(file) {
                return false;
            }
            (file.try_lock(), FlockOperation::NonBlockingLockExclusive)
        }
        InPlace::Try | InPlace::Read => {
            (file.try_lock_shared(), FlockOperation::NonBlockingLockShared)
        }
    };
    if matches!(locked, Err(fs::TryLockError::WouldBlock)) {
        return false;
    }
    // The lock that virtual machines ask for. Over NFS both are of one kind, and the first stands
    // in the way of another's writing.
    let also = fcntl_lock(file, operation);
    access == InPlace::Change || !matches!(also, Err(Errno::AGAIN | Errno::ACCESS))
}

/// Where the undo file of an image is: beside it; a device has no place beside it.
pub(crate) fn undo_path(path: &Path) -> Result<Option<PathBuf>> {
    let cannot = |error| Error::of_file(format!("cannot change {}", shown(path)), error);
    // Links to an image are many, the image is one.
    let real = fs::canonicalize(path).map_err(cannot)?;
    if !fs::metadata(&real).map_err(cannot)?.is_file() {
        return Ok(None);
    }
    let mut name = real.into_os_string();
    name.push(".undo");
    Ok(Some(name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_has_an_image() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let held = open_in_place(image.path(), InPlace::Change).unwrap();
        for access in [InPlace::Change, InPlace::Try, InPlace::Read] {
            let error = open_in_place(image.path(), access).unwrap_err();
            assert_eq!(error.exit_code(), 73);
            assert!(error.to_string().contains("lock"), "{error}");
        }
        drop(held);
        let tried = open_in_place(image.path(), InPlace::Try).unwrap();
        let read = open_in_place(image.path(), InPlace::Read).unwrap();
        drop(tried);
        let tried = read;
        assert!(open_in_place(image.path(), InPlace::Change).is_err());
        drop(tried);
        open_in_place(image.path(), InPlace::Change).unwrap();
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let error = open_in_place(directory.path(), InPlace::Change).unwrap_err();
        assert_eq!(error.exit_code(), 65);
        let error = open_in_place(&directory.path().join("none"), InPlace::Try).unwrap_err();
        assert_eq!(error.exit_code(), 66);
    }

    #[test]
    fn an_undo_file_lies_beside_what_a_link_leads_to() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        fs::write(&image, b"x").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("image", &link).unwrap();
        let real = fs::canonicalize(directory.path()).unwrap().join("image.undo");
        assert_eq!(undo_path(&link).unwrap(), Some(real));
        assert_eq!(undo_path(Path::new("/dev/null")).unwrap(), None);
    }
}
