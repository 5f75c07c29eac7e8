//! Files under `ingest/`: locked by the process that writes them, and gone unless they get a name.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::directory::{INGEST, failed};
use crate::error::{Error, Result};
use crate::shown::path as shown;

/// On a filesystem without locks, a temporary file of this age belongs to nobody.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// How many names are tried for a temporary file before the directory is given up.
const NAME_ATTEMPTS: u32 = 100;

/// A file that disappears unless it is renamed into its place.
#[derive(Debug)]
pub(super) struct Temporary {
    pub(super) path: PathBuf,
    pub(super) kept: bool,
    /// Freed at the end: readers may hold the file open for longer.
    pub(super) lock: Option<Arc<File>>,
}

impl Temporary {
    /// A new locked file under `ingest/` in the cache at `root`.
    pub(super) fn create(root: &Path, stem: &str) -> Result<(Self, File)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let directory = root.join(INGEST);
        for _ in 0..NAME_ATTEMPTS {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("{stem}.{}.{number}", std::process::id()));
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) if is_ours(&file) => {
                    return Ok((Self { path, kept: false, lock: None }, file));
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed("create", &path, error)),
            }
        }
        Err(Error::cannot_create(format!(
            "cannot find a free name in {} after {NAME_ATTEMPTS} tries",
            shown(&directory)
        )))
    }

    /// A new file of the cache at `root` with this content, which gets its name when it is safe.
    pub(super) fn write(root: &Path, stem: &str, content: &[u8], target: &Path) -> Result<()> {
        let (mut temporary, mut file) = Self::create(root, stem)?;
        file.write_all(content)
            .and_then(|()| file.sync_all())
            .map_err(|error| failed("write", &temporary.path, error))?;
        temporary.rename_to(target)
    }

    /// Gives the file its name for good.
    pub(super) fn rename_to(&mut self, target: &Path) -> Result<()> {
        fs::rename(&self.path, target).map_err(|error| failed("rename into", target, error))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed now, the next sweep removes.
            let _ = fs::remove_file(&self.path);
        }
        // A lock that cannot be freed ends with the process.
        let _ = self.lock.take().map(|file| file.unlock());
    }
}

/// Locks a new temporary file; false when a sweep met it before it was locked.
fn is_ours(file: &File) -> bool {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => false,
        // Without locks the file is protected by its age alone.
        Err(TryLockError::Error(_)) => true,
        Ok(()) => file.metadata().is_ok_and(|metadata| metadata.nlink() > 0),
    }
}

/// Whether the file still has this name.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    let number = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(file), Ok(named)) => number(&file) == number(&named),
        _ => false,
    }
}

/// Whether the process that wrote a temporary file is gone.
pub(super) fn is_abandoned(file: &File) -> bool {
    match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(_)) => {
            file.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|written| {
                SystemTime::now().duration_since(written).is_ok_and(|age| age > ABANDONED)
            })
        }
    }
}
