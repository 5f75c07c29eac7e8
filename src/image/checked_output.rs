//! What is at the place of a new filesystem, and whether it may go.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use super::busy;
use super::device::DiscardingSink;
use crate::error::{Error, Result};
use crate::open;
use crate::signature::{Signature, signatures};

/// So much is read at once of a device.
const PIECE: usize = 1 << 20;
/// How often a device's lock is asked for, with a pause between: udev takes it for the moment in
/// which it looks at a device that has come or changed.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// The place of a new filesystem, which was looked at and may be taken.
#[derive(Clone, Debug)]
pub struct CheckedOutput {
    /// The place, with symbolic links followed.
    pub path: PathBuf,
    /// What kind of place it is.
    pub kind: OutputKind,
    /// The bytes of the device, or of the file that will go; `None` where there is nothing.
    pub length: Option<u64>,
    /// What is there now and will be lost, in words.
    pub existing_content: Option<String>,
}

/// A file that is to get its name when it is finished, or a device.
#[derive(Clone, Debug)]
pub enum OutputKind {
    /// A new file, though its name may be taken by one that will go.
    File,
    /// A block device, written in place, and opened for this process alone.
    Device(Arc<File>),
}

impl CheckedOutput {
    /// Looks at a place: what is in use is refused, and what holds anything, too, unless it may be
    /// overwritten.
    pub fn look(path: &Path, overwrite: bool) -> Result<Self> {
        let found = match fs::metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return nothing_at(path),
            Err(error) => return Err(cannot_look(path, error)),
        };
        let resolved = fs::canonicalize(path).map_err(|error| cannot_look(path, error))?;
        let kind = found.file_type();
        let (kind, length, existing_content) = if kind.is_block_device() {
            let device = open_device(&resolved)?;
            let existing_content = content_of_device(&device).map_err(|e| cannot_look(path, e))?;
            let length = ext4_writer::Sink::capacity(&device)
                .ok_or_else(|| Error::internal("a block device has a length"))?;
            (OutputKind::Device(Arc::new(device.into_file())), length, existing_content)
        } else if kind.is_file() {
            (OutputKind::File, found.len(), look_at_file(&resolved, &found)?)
        } else {
            let what = if kind.is_dir() { "a directory" } else { "neither a file nor a device" };
            return Err(Error::cannot_create(format!(
                "cannot create a filesystem at {}: it is {what}",
                path.display()
            ))
            .with_hint("name a file that is to be made, or a block device"));
        };
        match existing_content {
            Some(existing_content) if !overwrite => Err(occupied(path, &existing_content)),
            existing_content => {
                Ok(Self { path: resolved, kind, length: Some(length), existing_content })
            }
        }
    }
}

/// Opens a device for this process alone, and locks it as long as it is open: systemd,
/// `docs/BLOCK_DEVICE_LOCKING.md`.
fn open_device(path: &Path) -> Result<DiscardingSink> {
    let device = DiscardingSink::open(path)?;
    let refusal = format!("cannot write to the device {}", path.display());
    if !device.is_block_device() {
        return Err(Error::cannot_create(format!("{refusal}: it is none any more")));
    }
    if !lock(device.file()) {
        return Err(Error::cannot_create(format!("{refusal}: {}", busy::LOCKED))
            .with_hint("end what uses it"));
    }
    Ok(device)
}

/// Takes the lock of a device, unless another process keeps any.
fn lock(device: &File) -> bool {
    let is_taken = || !busy::is_locked(device) && device.try_lock().is_ok();
    (0..LOCK_ATTEMPTS).any(|attempt| {
        if attempt > 0 {
            sleep(LOCK_PAUSE);
        }
        is_taken()
    })
}

/// A place where nothing is, unless it is one where files are no use.
fn nothing_at(path: &Path) -> Result<CheckedOutput> {
    let shown = path.display();
    if path.file_name().is_none() {
        return Err(Error::usage(format!("{shown} is not the name of a file")));
    }
    if fs::symlink_metadata(path).is_ok() {
        return Err(Error::cannot_create(format!(
            "cannot create a filesystem at {shown}: it is a symbolic link to nothing"
        ))
        .with_hint("remove it, or make what it names"));
    }
    if is_among_devices(path) {
        return Err(Error::not_found(format!("there is no device {shown}"))
            .with_hint("a file there would be gone with the next start"));
    }
    let kind = OutputKind::File;
    Ok(CheckedOutput { path: path.to_owned(), kind, length: None, existing_content: None })
}

/// Whether a file of this name would lie among the nodes of devices: a misspelt one would fill the
/// memory.
fn is_among_devices(path: &Path) -> bool {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.and_then(|parent| fs::canonicalize(parent).ok()).unwrap_or_default();
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    parent.starts_with("/dev") && device(&parent) == device(Path::new("/dev"))
}

/// What a file holds; nothing, if it is empty. One that is in use is refused.
fn look_at_file(path: &Path, found: &Metadata) -> Result<Option<String>> {
    // Who may not write to a file is not to replace it either.
    let file = open::regular_with(OpenOptions::new().read(true).write(true), path);
    let file = file.map_err(|error| cannot_look(path, error))?;
    busy::refuse_users(path, found)?;
    if found.len() == 0 {
        return Ok(None);
    }
    let existing_content = content_of_file(&file, found.len());
    existing_content.map(Some).map_err(|error| cannot_look(path, error))
}

/// What a file that is not empty holds, in words.
fn content_of_file(file: &File, length: u64) -> std::io::Result<String> {
    let length = format!("a file of {length} bytes");
    Ok(named(file)?.map_or_else(|| length.clone(), |found| format!("{length} with {found}")))
}

/// What a device holds, in words; nothing, if it has zeros wherever a format has its signature.
pub(super) fn content_of_device(device: &DiscardingSink) -> std::io::Result<Option<String>> {
    if let Some(found) = named(device.file())? {
        return Ok(Some(found));
    }
    for (offset, length) in device.signature_places() {
        if !is_zeros(device.file(), offset, length)? {
            return Ok(Some("data of no format that is known".to_owned()));
        }
    }
    Ok(None)
}

fn named(file: &File) -> std::io::Result<Option<String>> {
    let found: Vec<String> = signatures(file)?.iter().map(Signature::to_string).collect();
    Ok((!found.is_empty()).then(|| found.join(", ")))
}

fn is_zeros(file: &File, offset: u64, length: u64) -> std::io::Result<bool> {
    let mut buffer = vec![0; PIECE];
    let (mut start, mut left) = (offset, length);
    while left > 0 {
        let length = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        let piece = buffer.get_mut(..length).ok_or(ErrorKind::InvalidInput)?;
        file.read_exact_at(piece, start)?;
        if piece.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        let read = u64::try_from(length).map_err(|_| ErrorKind::InvalidInput)?;
        (start, left) = (start + read, left - read);
    }
    Ok(true)
}

pub(super) fn occupied(path: &Path, existing_content: &str) -> Error {
    Error::cannot_create(format!(
        "cannot create a filesystem at {}: {existing_content} is there",
        path.display()
    ))
    .with_hint("--force overwrites it")
}

fn cannot_look(path: &Path, error: std::io::Error) -> Error {
    let refusal = format!("cannot create a filesystem at {}", path.display());
    match error.kind() {
        ErrorKind::PermissionDenied => Error::denied(refusal),
        ErrorKind::NotADirectory | ErrorKind::InvalidFilename | ErrorKind::ReadOnlyFilesystem => {
            Error::cannot_create(refusal)
        }
        _ => Error::io(refusal),
    }
    .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_vacant_and_any_other_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        fs::write(&path, b"").unwrap();
        let empty = CheckedOutput::look(&path, false).unwrap();
        assert_eq!((empty.length, empty.existing_content), (Some(0), None));
        fs::write(&path, b"x").unwrap();
        let refusal = CheckedOutput::look(&path, false).unwrap_err();
        assert_eq!(refusal.exit_code(), 73);
        assert!(refusal.to_string().contains("a file of 1 bytes is there"), "{refusal}");
        let forced = CheckedOutput::look(&path, true).unwrap();
        assert_eq!(forced.existing_content.as_deref(), Some("a file of 1 bytes"));
    }

    #[test]
    fn a_locked_file_is_refused_even_by_force() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        fs::write(&path, b"x").unwrap();
        let holder = File::open(&path).unwrap();
        holder.lock().unwrap();
        let refusal = CheckedOutput::look(&path, true).unwrap_err();
        assert_eq!(refusal.exit_code(), 73);
        assert!(refusal.to_string().contains("holds a lock"), "{refusal}");
        drop(holder);
        CheckedOutput::look(&path, true).unwrap();
    }

    #[test]
    fn what_is_neither_file_nor_device_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        let below = directory.path().join("link/below");
        for (path, code) in [
            (directory.path(), 73),
            (Path::new("/dev/null"), 73),
            (Path::new("/dev/no-such-device"), 66),
            (&link, 73),
            (Path::new(".."), 73),
        ] {
            let refusal = CheckedOutput::look(path, true).unwrap_err();
            assert_eq!(refusal.exit_code(), code, "{refusal}");
        }
        // The directory is missed when the file is made.
        assert_eq!(CheckedOutput::look(&below, false).unwrap().length, None);
    }

    #[test]
    fn a_link_leads_to_the_place() {
        let directory = tempfile::tempdir().unwrap();
        let (link, target) = (directory.path().join("link"), directory.path().join("target"));
        fs::write(&target, b"").unwrap();
        std::os::unix::fs::symlink("target", &link).unwrap();
        let found = CheckedOutput::look(&link, false).unwrap();
        assert_eq!(found.path, fs::canonicalize(target).unwrap());
    }
}
