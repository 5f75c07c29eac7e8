//! A blob of the cache being read.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::access::Access;
use super::directory::failed;
use super::temporary::is_at;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::read::filled;
use crate::shown::path as shown;

/// A blob of the cache being read; the end comes only when size and digest are right.
#[derive(Debug)]
pub struct CachedBlob {
    pub(super) file: File,
    pub(super) path: PathBuf,
    digest: Digest,
    size: u64,
    read: u64,
    state: BlobState,
    access: Arc<Access>,
}

#[derive(Debug)]
enum BlobState {
    Open(Hasher),
    Verified,
    Refused,
}

impl CachedBlob {
    /// The blob in `file`, which is at `path`.
    pub(super) fn new(
        (file, path): (File, PathBuf),
        (digest, size): (&Digest, u64),
        access: &Arc<Access>,
    ) -> Self {
        let state = BlobState::Open(Hasher::new(digest.algorithm()));
        let access = Arc::clone(access);
        Self { file, path, digest: digest.clone(), size, read: 0, state, access }
    }

    /// Judges the bytes read; a blob that is not what its name says is moved out of the way.
    fn verify_end(&mut self) -> io::Result<()> {
        let BlobState::Open(hasher) = std::mem::replace(&mut self.state, BlobState::Refused) else {
            return Ok(());
        };
        match check(&self.digest, self.size, self.read, hasher) {
            Ok(()) => {
                self.state = BlobState::Verified;
                Ok(())
            }
            Err(error) => {
                let advice = if !is_at(&self.file, &self.path) {
                    // Another process has put a whole one in its place meanwhile.
                    "it has been replaced; run again".to_owned()
                } else if let Ok(aside) = quarantine(&self.path) {
                    format!("moved to {}; run again to fetch it anew", shown(&aside))
                } else {
                    self.access.distrust(&self.digest);
                    format!("remove {} and run again", shown(&self.path))
                };
                let message = format!("the cached copy of blob {} is corrupt", self.digest);
                Err(Error::bad_data(message).with_source(error).with_hint(advice).into())
            }
        }
    }
}

impl Read for CachedBlob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let hasher = match &mut self.state {
            _ if buffer.is_empty() => return Ok(0),
            BlobState::Verified => return Ok(0),
            BlobState::Refused => {
                return Err(Error::bad_data(format!("blob {} is corrupt", self.digest)).into());
            }
            BlobState::Open(hasher) => hasher,
        };
        let count = self.file.read(buffer).map_err(|error| match error.kind() {
            ErrorKind::Interrupted => error,
            _ => failed("read", &self.path, error).into(),
        })?;
        hasher.update(filled(buffer, count)?);
        self.read = self.read.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if count == 0 || self.read > self.size {
            self.verify_end()?;
        }
        Ok(count)
    }
}

/// Moves what is not the blob that its name says out of the way; where it is then.
pub(super) fn quarantine(path: &Path) -> io::Result<PathBuf> {
    let aside = path.with_extension("corrupt");
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// Whether `read` bytes with this hash are the blob that was promised.
pub(super) fn check(digest: &Digest, size: u64, read: u64, hasher: Hasher) -> Result<()> {
    if read != size {
        let relation = if read < size { "only" } else { "at least" };
        return Err(Error::bad_data(format!(
            "it has {relation} {read} bytes where its descriptor declares {size}"
        )));
    }
    let found = hasher.finish();
    if found != *digest {
        return Err(Error::bad_data(format!("its bytes are {found}, not {digest}")));
    }
    Ok(())
}
