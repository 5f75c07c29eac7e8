//! How the cache may be used: with others at the same time, and what becomes of one that may only
//! be read.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::directory::{INGEST, failed, make_directory};
use crate::digest::Digest;
use crate::error::{self, Error, Result};
use crate::open;

/// The file that everybody locks.
const LOCK: &str = "lock";

/// What is held while the cache is used.
#[derive(Debug)]
pub(super) struct Access {
    /// Locked together with others; there is none where it cannot be made.
    lock: Option<File>,
    below: Option<ReadOnlyCache>,
    /// Blobs that turned out to be corrupt, and cannot be moved aside.
    distrusted: Mutex<BTreeSet<Digest>>,
}

/// A cache that may only be read.
#[derive(Debug)]
struct ReadOnlyCache {
    root: PathBuf,
    /// What it lacks, for as long as this process uses it.
    _additions: TemporaryDirectory,
}

/// A directory that goes with the cache that it belongs to, or with an interrupted process: it is
/// made and removed while no interruption looks.
#[derive(Debug)]
struct TemporaryDirectory(PathBuf);

/// The directories that an interruption has to remove.
static TEMPORARY_DIRECTORIES: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn temporary_directories() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    TEMPORARY_DIRECTORIES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TemporaryDirectory {
    fn make() -> Result<Self> {
        let mut directories = temporary_directories();
        let made = tempfile::tempdir().map_err(|error| {
            Error::cannot_create("cannot make a directory for what the cache lacks")
                .with_source(error)
        })?;
        let path = made.keep();
        directories.insert(path.clone());
        Ok(Self(path))
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        let mut directories = temporary_directories();
        // What cannot be removed is left in the directory for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
        directories.remove(&self.0);
    }
}

/// Removes the directories that would go at the end of the process, before it is ended early: no
/// other is made any more.
pub(super) fn end() {
    let directories = temporary_directories();
    for directory in &*directories {
        // The process ends: there is nobody left to tell.
        let _ = std::fs::remove_dir_all(directory);
    }
    std::mem::forget(directories);
}

impl Access {
    /// Access to the cache at `root`, and the directory in which to write: another one where that
    /// may only be read.
    pub(super) fn to(root: PathBuf) -> Result<(PathBuf, Self)> {
        match make_directory(&root.join(INGEST)).and_then(|()| writable(&root.join(INGEST))) {
            Ok(()) => {
                let lock = lock(&root, true);
                Ok((root, Self { lock, below: None, distrusted: Mutex::default() }))
            }
            Err(error)
                if error.kind() == error::ErrorKind::Denied && root.join("blobs").is_dir() =>
            {
                let additions = TemporaryDirectory::make()?;
                let (path, lock) = (additions.0.clone(), lock(&root, false));
                let below = Some(ReadOnlyCache { root, _additions: additions });
                Ok((path, Self { lock, below, distrusted: Mutex::default() }))
            }
            Err(error) => Err(error),
        }
    }

    /// Where the blob is in a cache that may only be read.
    pub(super) fn below(&self, digest: &Digest) -> Option<PathBuf> {
        let below = self.below.as_ref()?;
        Some(below.root.join("blobs").join(digest.algorithm().name()).join(digest.hex()))
    }

    /// The cache that may only be read, where there is one.
    pub(super) fn read_only(&self) -> Option<&Path> {
        self.below.as_ref().map(|below| below.root.as_path())
    }

    /// Believes the file of a corrupt blob no more.
    pub(super) fn distrust(&self, digest: &Digest) {
        self.distrusted().insert(digest.clone());
    }

    /// Believes what has been put in its place.
    pub(super) fn trust(&self, digest: &Digest) {
        self.distrusted().remove(digest);
    }

    /// Whether the file of a blob turned out to be corrupt.
    pub(super) fn distrusts(&self, digest: &Digest) -> bool {
        self.distrusted().contains(digest)
    }

    fn distrusted(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.distrusted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else uses the cache, and keeps everybody out; `busy` is told when there
    /// is somebody to wait for, and may refuse to.
    pub(super) fn lock_exclusive(&self, busy: impl FnOnce() -> Result<()>) -> Result<()> {
        let Some(lock) = &self.lock else { return Ok(()) };
        match lock.try_lock() {
            // Without locks there is nobody to be told from others.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(()),
            Err(TryLockError::WouldBlock) => busy()?,
        }
        lock.lock().map_err(|error| Error::io("cannot lock the cache").with_source(error))
    }

    /// Lets others in again.
    pub(super) fn lock_shared_again(&self) {
        if let Some(lock) = &self.lock {
            // A lock that cannot be shared ends with the process.
            let _ = lock.lock_shared();
        }
    }
}

/// Asks by making a file, one without a name: permissions, mounts and owners all decide that.
fn writable(directory: &Path) -> Result<()> {
    let made = tempfile::tempfile_in(directory).map(drop);
    made.map_err(|error| failed("write to", directory, error))
}

/// The lock of the cache, held with others. A cache that is being cleaned is waited for.
fn lock(root: &Path, may_create: bool) -> Option<File> {
    let path = root.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).mode(0o600);
    if may_create {
        options.write(true).create(true).truncate(false);
    }
    let file = match open::regular_with(&mut options, &path) {
        // Another user's, perhaps: a lock needs no more than an open file.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => open::regular(&path).ok()?,
        file => file.ok()?,
    };
    // On a filesystem without locks everybody is alone.
    file.lock_shared().ok()?;
    Some(file)
}
