//! One download of a blob, however many processes ask, continued where a dead one stopped.
//!
//! A blob on its way from a registry stands under `partial/`, in a file named by its digest that
//! the process which fetches it holds locked. Death frees the lock and leaves the bytes: whoever
//! locks the file next goes on behind them. They prove nothing before the whole blob is hashed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::directory::{failed, make_directory};
use super::incoming::Incoming;
use super::store::Cache;
use super::temporary::{Temporary, is_at};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::open;
use crate::read::filled;

/// Where blobs stand until they are complete.
const PARTIAL: &str = "partial";

/// A part that nobody went on with for so long is removed.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How often a part is opened that vanishes before it is locked.
const ATTEMPTS: u32 = 100;

/// How much of a part is hashed at once.
const CHUNK: usize = 256 << 10;

/// The answer to who may fetch a blob.
#[derive(Debug)]
pub(crate) enum Claim {
    /// Nobody need: the cache has it.
    Present,
    /// We may, behind the bytes that [`Incoming::written`] counts.
    Ours(Box<Incoming>),
    /// Another process does, and has come so far.
    Taken { length: u64 },
}

impl Cache {
    /// Asks for the right to fetch a blob. It is held until the [`Incoming`] is dropped.
    pub(crate) fn claim(&self, digest: &Digest, size: u64) -> Result<Claim> {
        let path = self.part_path(digest);
        for _ in 0..ATTEMPTS {
            if self.contains(digest, size) {
                return Ok(Claim::Present);
            }
            let file = self.open_part(&path)?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    let length = file.metadata().map_or(0, |metadata| metadata.len());
                    return Ok(Claim::Taken { length });
                }
                // Without locks nothing can be shared: a file of our own.
                Err(TryLockError::Error(_)) => {
                    return Ok(Claim::Ours(Box::new(self.begin(digest, size)?)));
                }
                Ok(()) if !is_at(&file, &path) => {}
                // It was published between the first look and the lock.
                Ok(()) if self.contains(digest, size) => {
                    let _ = fs::remove_file(&path);
                    return Ok(Claim::Present);
                }
                Ok(()) => {
                    let incoming = self.resume(path, file, digest, size)?;
                    return Ok(Claim::Ours(Box::new(incoming)));
                }
            }
        }
        Err(Error::try_again(format!(
            "cannot lock the part of blob {digest}: it vanished {ATTEMPTS} times"
        )))
    }

    fn part_path(&self, digest: &Digest) -> PathBuf {
        let name = format!("{}-{}.part", digest.algorithm().name(), digest.hex());
        self.root.join(PARTIAL).join(name)
    }

    fn open_part(&self, path: &Path) -> Result<File> {
        let open_or_make = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            open::regular_with(&mut options, path)
        };
        let opened = match open_or_make() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make_directory(&self.root.join(PARTIAL))?;
                open_or_make()
            }
            opened => opened,
        };
        opened.map_err(|error| failed("open", path, error))
    }

    /// Hashes what an earlier run left; more than the blob may have is thrown away.
    fn resume(&self, path: PathBuf, file: File, digest: &Digest, size: u64) -> Result<Incoming> {
        let file = Arc::new(file);
        let temporary = Temporary { path, kept: false, lock: Some(Arc::clone(&file)) };
        let mut incoming = Incoming {
            temporary,
            target: self.blob_path(digest),
            access: Arc::clone(&self.access),
            file,
            digest: digest.clone(),
            size,
            hasher: Hasher::new(digest.algorithm()),
            written: 0,
        };
        incoming.hash_what_is_there()?;
        if incoming.written > size {
            incoming.restart()?;
        }
        Ok(incoming)
    }

    /// Removes parts that nobody will go on with.
    pub(super) fn sweep_parts(&self) {
        let Ok(entries) = fs::read_dir(self.root.join(PARTIAL)) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(file) = open::regular(&path) else { continue };
            let age = file.metadata().and_then(|metadata| metadata.modified());
            let is_old = age.is_ok_and(|written| {
                SystemTime::now().duration_since(written).is_ok_and(|age| age > FORGOTTEN)
            });
            if is_old && file.try_lock().is_ok() && is_at(&file, &path) {
                // What cannot be removed now, a later sweep removes.
                let _ = fs::remove_file(&path);
            }
        }
    }
}

impl Incoming {
    fn hash_what_is_there(&mut self) -> Result<()> {
        let mut chunk = vec![0; CHUNK];
        let mut file = &*self.file;
        loop {
            let unreadable = |error| failed("read", &self.temporary.path, error);
            let count = file.read(&mut chunk).map_err(unreadable)?;
            self.hasher.update(filled(&chunk, count).map_err(unreadable)?);
            self.written = self.written.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            if count == 0 || self.written > self.size {
                return Ok(());
            }
        }
    }

    /// Throws the bytes away that were written.
    pub(crate) fn restart(&mut self) -> Result<()> {
        let mut file = &*self.file;
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .map_err(|error| failed("empty", &self.temporary.path, error))?;
        self.hasher = Hasher::new(self.digest.algorithm());
        self.written = 0;
        Ok(())
    }

    /// Whether all bytes are there and the right ones.
    pub(crate) fn is_complete(&self) -> bool {
        self.written == self.size && self.hasher.clone().finish() == self.digest
    }

    /// Ends this run's work on the blob; a later one may go on behind the bytes that are there.
    pub(crate) fn leave(mut self) {
        self.temporary.kept = self.temporary.lock.is_some() && self.written > 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture() -> (tempfile::TempDir, Cache, Digest) {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path()).unwrap();
        (directory, cache, Digest::sha256_of(b"hello"))
    }

    fn ours(claim: Claim) -> Incoming {
        match claim {
            Claim::Ours(incoming) => *incoming,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_blob_is_claimed_by_one_at_a_time() {
        let (_directory, cache, digest) = fixture();
        let mut first = ours(cache.claim(&digest, 5).unwrap());
        first.append(b"he").unwrap();
        assert!(matches!(cache.claim(&digest, 5).unwrap(), Claim::Taken { length: 2 }));
        first.append(b"llo").unwrap();
        // A reader that still has the file open does not keep the lock.
        let _reader = first.file();
        first.verify().unwrap().publish().unwrap();
        assert!(matches!(cache.claim(&digest, 5).unwrap(), Claim::Present));
        assert!(!cache.part_path(&digest).exists());
    }

    #[test]
    fn what_one_leaves_the_next_goes_on_with() {
        let (_directory, cache, digest) = fixture();
        let mut first = ours(cache.claim(&digest, 5).unwrap());
        let _reader = first.file();
        first.append(b"hel").unwrap();
        first.leave();
        let mut second = ours(cache.claim(&digest, 5).unwrap());
        assert_eq!(second.written(), 3);
        second.append(b"lo").unwrap();
        assert!(second.is_complete());
        second.verify().unwrap().publish().unwrap();
        assert!(cache.is_intact(&digest, 5).unwrap());
    }

    #[test]
    fn an_empty_or_overlong_part_is_no_start() {
        let (_directory, cache, digest) = fixture();
        ours(cache.claim(&digest, 5).unwrap()).leave();
        assert!(!cache.part_path(&digest).exists());
        fs::write(cache.part_path(&digest), "hello and more").unwrap();
        assert_eq!(ours(cache.claim(&digest, 5).unwrap()).written(), 0);
    }

    #[test]
    fn refused_bytes_leave_no_part_and_no_lock() {
        let (_directory, cache, digest) = fixture();
        let mut first = ours(cache.claim(&digest, 5).unwrap());
        let _reader = first.file();
        first.append(b"hellO").unwrap();
        assert!(!first.is_complete());
        assert_eq!(first.verify().unwrap_err().exit_code(), 65);
        assert!(!cache.part_path(&digest).exists());
        assert_eq!(ours(cache.claim(&digest, 5).unwrap()).written(), 0);
    }

    #[test]
    fn only_old_parts_without_an_owner_are_swept() {
        let (_directory, cache, digest) = fixture();
        let mut owned = ours(cache.claim(&digest, 5).unwrap());
        owned.append(b"he").unwrap();
        let old = SystemTime::now() - FORGOTTEN - Duration::from_secs(60);
        owned.file().set_modified(old).unwrap();
        let fresh = cache.part_path(&Digest::sha256_of(b"fresh"));
        let forgotten = cache.part_path(&Digest::sha256_of(b"forgotten"));
        fs::write(&fresh, "x").unwrap();
        fs::write(&forgotten, "x").unwrap();
        File::options().write(true).open(&forgotten).unwrap().set_modified(old).unwrap();
        Cache::at(cache.root()).unwrap();
        assert!(fresh.exists() && cache.part_path(&digest).exists());
        assert!(!forgotten.exists());
    }
}
