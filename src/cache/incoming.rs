//! A blob on its way into the cache: hashed while it is written, and published when it is right.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::access::Access;
use super::blob::{check, quarantine};
use super::directory::{failed, make_directory};
use super::temporary::Temporary;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};

/// A blob being written, hashed on the way.
#[derive(Debug)]
pub(crate) struct Incoming {
    // Declared before the file: removed while the lock is still held.
    pub(super) temporary: Temporary,
    pub(super) target: PathBuf,
    pub(super) access: Arc<Access>,
    pub(super) file: Arc<File>,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) hasher: Hasher,
    pub(super) written: u64,
}

impl Incoming {
    /// The growing file; it stays readable when the blob is published or given up.
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// The bytes written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Adds `bytes`; refuses the first byte beyond the declared size.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let written = u64::try_from(bytes.len())
            .ok()
            .and_then(|length| self.written.checked_add(length))
            .filter(|&written| written <= self.size)
            .ok_or_else(|| {
                Error::bad_data(format!(
                    "it is longer than the {} bytes that its descriptor declares",
                    self.size
                ))
            })?;
        (&*self.file)
            .write_all(bytes)
            .map_err(|error| failed("write", &self.temporary.path, error))?;
        self.hasher.update(bytes);
        self.written = written;
        Ok(())
    }

    /// Compares size and digest with what was promised.
    pub(crate) fn verify(self) -> Result<Verified> {
        check(&self.digest, self.size, self.written, self.hasher.clone())?;
        let Self { temporary, target, access, file, digest, .. } = self;
        Ok(Verified { temporary, target, access, file, digest })
    }
}

/// A blob that has been verified, not yet in its place.
#[derive(Debug)]
pub(crate) struct Verified {
    temporary: Temporary,
    target: PathBuf,
    access: Arc<Access>,
    file: Arc<File>,
    digest: Digest,
}

impl Verified {
    /// Puts the blob in its place, so that a crash leaves either all of it or nothing.
    pub(crate) fn publish(mut self) -> Result<()> {
        self.file.sync_all().map_err(|error| failed("sync", &self.temporary.path, error))?;
        let Some(directory) = self.target.parent() else {
            return Err(Error::internal("the place of a blob has no directory"));
        };
        // sha512 blobs are rare: their directory is made with the first.
        make_directory(directory)?;
        if fs::symlink_metadata(&self.target).is_ok_and(|found| found.is_dir()) {
            // A file cannot be renamed over it.
            quarantine(&self.target).map_err(|error| failed("move", &self.target, error))?;
        }
        self.temporary.rename_to(&self.target)?;
        self.access.trust(&self.digest);
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| failed("sync", directory, error))
    }
}
