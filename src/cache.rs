//! Blobs on disk: written whole or not at all, verified whenever they are read, shared between
//! processes.
//!
//! The directory is an OCI image layout, so that other tools can read beside us. What is being
//! written stands under `ingest/` in a file that its process holds locked: a temporary file whose
//! lock is free belongs to nobody, and the next [`Cache`] to open removes it.
//!
//! Whoever uses the cache holds its lock with others, whoever takes blobs out of it alone. Death
//! frees all locks.

mod access;
mod known;
mod part;
mod upkeep;

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::digest::{Digest, Hasher};
use crate::error::{self, Error, Result};
use crate::open;
use crate::shown::path as shown;

use self::access::Access;
pub(crate) use self::part::Claim;
pub use self::upkeep::{Kind, Stored, Taken};

/// The variable that names the directory of all caches, before `$XDG_CACHE_HOME/banger`.
pub const CACHE_DIR_VARIABLE: &str = "BANGER_CACHE_DIR";

/// Source: OCI image-spec, image-layout.md, "oci-layout file".
const LAYOUT_MARKER: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// An index that names no image: the layout demands the file, the cache has no use for it.
const EMPTY_INDEX: &[u8] =
    br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// Where blobs stand until they are verified.
const INGEST: &str = "ingest";

/// On a filesystem without locks, a temporary file of this age belongs to nobody.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// How many names are tried for a temporary file before the directory is given up.
const NAME_ATTEMPTS: u32 = 100;

/// A directory of blobs, named by their digests.
#[derive(Clone, Debug)]
pub struct Cache {
    /// Where blobs are written.
    root: Arc<Path>,
    access: Arc<Access>,
}

impl Cache {
    /// The user's cache: `$BANGER_CACHE_DIR/oci`, else `$XDG_CACHE_HOME/banger/oci`, else
    /// `$HOME/.cache/banger/oci`; made when it is missing.
    pub fn open() -> Result<Self> {
        Self::at(Self::place()?)
    }

    /// Where the user's cache is, or would be.
    pub fn place() -> Result<PathBuf> {
        locate(|name| std::env::var_os(name))
    }

    /// The cache in the directory `root`, made when it is missing. One that may only be read
    /// serves too: what it lacks goes into a directory that is gone at the end.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self> {
        let root: PathBuf = root.into();
        let (root, access) = Access::to(root)?;
        let cache = Self { root: root.into(), access: Arc::new(access) };
        make_directory(&cache.root.join("blobs").join("sha256"))?;
        make_directory(&cache.root.join(INGEST))?;
        cache.sweep()?;
        cache.sweep_parts();
        cache.found("index.json", EMPTY_INDEX)?;
        cache.found("oci-layout", LAYOUT_MARKER)?;
        Ok(cache)
    }

    /// The directory of the cache.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the blob stands, or would.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    /// Whether a blob of this name and size is there; its bytes are judged when they are read.
    #[must_use]
    pub fn contains(&self, digest: &Digest, size: u64) -> bool {
        let path = self.found_path(digest);
        path.and_then(|path| fs::metadata(path).ok())
            .is_some_and(|metadata| metadata.is_file() && metadata.len() == size)
    }

    /// Opens a blob that [`Cache::contains`] answered for.
    pub fn blob(&self, digest: &Digest, size: u64) -> Result<CachedBlob> {
        let blob = self.unused_blob(digest, size)?;
        // For who makes room later. A cache without times is as good as any.
        let _ = blob.file.set_modified(SystemTime::now());
        Ok(blob)
    }

    /// The same for those who only look after the cache.
    fn unused_blob(&self, digest: &Digest, size: u64) -> Result<CachedBlob> {
        let path = self.found_path(digest).unwrap_or_else(|| self.blob_path(digest));
        let file = open::regular(&path).map_err(|error| failed("open", &path, error))?;
        let state = Reading::Open(Hasher::new(digest.algorithm()));
        let access = Arc::clone(&self.access);
        Ok(CachedBlob { file, path, digest: digest.clone(), size, read: 0, state, access })
    }

    /// Where the blob is to be read; nowhere when its file is known to be corrupt.
    fn found_path(&self, digest: &Digest) -> Option<PathBuf> {
        let path = self.blob_path(digest);
        let below = || self.access.below(digest);
        let found = if path.exists() { Some(path) } else { below().or(Some(path)) };
        found.filter(|_| !self.access.distrusts(digest))
    }

    /// The file of a blob that has just been read as a whole and found to be what its name says;
    /// nothing when it is not, which has been moved out of the way.
    pub(crate) fn proven(&self, digest: &Digest, size: u64) -> Result<Option<Arc<File>>> {
        let mut blob = match self.blob(digest, size) {
            Ok(blob) => blob,
            Err(_) if !self.contains(digest, size) => return Ok(None),
            Err(error) => return Err(error),
        };
        match io::copy(&mut blob, &mut io::sink()) {
            Ok(_) => Ok(Some(Arc::new(blob.file))),
            Err(error) => match Error::from_io(error, |error| failed("read", &blob.path, error)) {
                error if error.kind() == error::ErrorKind::BadData => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Reads a whole blob and says whether it is what its name says; one that is not is moved out
    /// of the way.
    pub fn is_intact(&self, digest: &Digest, size: u64) -> Result<bool> {
        Ok(self.proven(digest, size)?.is_some())
    }

    /// The whole of a small blob, verified; nothing when the cache has none that is whole and at
    /// most `limit` bytes long.
    pub fn document(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(path) = self.found_path(digest) else { return Ok(None) };
        let Ok(metadata) = fs::metadata(&path) else { return Ok(None) };
        if !metadata.is_file() || metadata.len() > limit {
            return Ok(None);
        }
        let mut body = Vec::new();
        match self.blob(digest, metadata.len())?.read_to_end(&mut body) {
            Ok(_) => Ok(Some(body)),
            // A corrupt blob has been moved aside: fetching it again heals the cache.
            Err(error) => match Error::from_io(error, |error| failed("read", &path, error)) {
                error if error.kind() == error::ErrorKind::BadData => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Keeps a small blob, unless it is there already and intact.
    pub fn store(&self, digest: &Digest, body: &[u8]) -> Result<()> {
        let size = u64::try_from(body.len())
            .map_err(|_| Error::internal("a document in memory is longer than 2^64 bytes"))?;
        // One of the right length may still be damaged, and nobody would read it to find out.
        if self.contains(digest, size) && self.document(digest, size)?.is_some() {
            return Ok(());
        }
        let mut incoming = self.begin(digest, size)?;
        incoming.append(body)?;
        incoming.verify()?.publish()
    }

    /// Begins to write a blob.
    pub(crate) fn begin(&self, digest: &Digest, size: u64) -> Result<Incoming> {
        let (path, file) = self.temporary(digest.short())?;
        Ok(Incoming {
            temporary: Temporary { path, kept: false, lock: None },
            target: self.blob_path(digest),
            access: Arc::clone(&self.access),
            file: Arc::new(file),
            digest: digest.clone(),
            size,
            hasher: Hasher::new(digest.algorithm()),
            written: 0,
        })
    }

    /// Makes a file of the layout that is written once and then belongs to whoever edits it.
    fn found(&self, name: &str, content: &[u8]) -> Result<()> {
        let target = self.root.join(name);
        if target.exists() {
            return Ok(());
        }
        let (path, mut file) = self.temporary(name)?;
        let mut temporary = Temporary { path, kept: false, lock: None };
        file.write_all(content)
            .and_then(|()| file.sync_all())
            .map_err(|error| failed("write", &temporary.path, error))?;
        temporary.rename_to(&target)
    }

    /// A new locked file under `ingest/`.
    fn temporary(&self, stem: &str) -> Result<(PathBuf, File)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let directory = self.root.join(INGEST);
        for _ in 0..NAME_ATTEMPTS {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("{stem}.{}.{number}", std::process::id()));
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) if is_ours(&file) => return Ok((path, file)),
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

    /// Removes what is kept for this process alone, before that is ended early.
    pub fn end() {
        access::end();
    }

    /// Removes what killed processes left under `ingest/`.
    fn sweep(&self) -> Result<()> {
        let directory = self.root.join(INGEST);
        let entries = fs::read_dir(&directory).map_err(|e| failed("read", &directory, e))?;
        for entry in entries {
            let path = entry.map_err(|error| failed("read", &directory, error))?.path();
            // What is no file is none of ours. Another process may publish or sweep ours at any
            // moment.
            let is_file = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file());
            if is_file && open::regular(&path).is_ok_and(|file| is_abandoned(&file)) {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(failed("remove", &path, error));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
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
fn is_at(file: &File, path: &Path) -> bool {
    let number = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(file), Ok(named)) => number(&file) == number(&named),
        _ => false,
    }
}

/// Whether the process that wrote a temporary file is gone.
fn is_abandoned(file: &File) -> bool {
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

/// The directory of the cache, from the environment.
fn locate(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let directory = given(CACHE_DIR_VARIABLE)
        // A relative path in an XDG variable is to be ignored (XDG Base Directory Specification).
        .or_else(|| Some(given("XDG_CACHE_HOME").filter(|path| path.is_absolute())?.join("banger")))
        .or_else(|| Some(given("HOME")?.join(".cache").join("banger")));
    directory.map(|directory| directory.join("oci")).ok_or_else(|| {
        Error::cannot_create("cannot place the cache: HOME is not set")
            .with_hint(format!("set {CACHE_DIR_VARIABLE} to a directory"))
    })
}

/// A file that disappears unless it is renamed into its place.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    kept: bool,
    /// Freed at the end: readers may hold the file open for longer.
    lock: Option<Arc<File>>,
}

impl Temporary {
    /// Gives the file its name for good.
    fn rename_to(&mut self, target: &Path) -> Result<()> {
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

/// A blob being written, hashed on the way.
#[derive(Debug)]
pub(crate) struct Incoming {
    // Declared before the file: removed while the lock is still held.
    temporary: Temporary,
    target: PathBuf,
    access: Arc<Access>,
    file: Arc<File>,
    digest: Digest,
    size: u64,
    hasher: Hasher,
    written: u64,
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

/// A blob that has proven to be what its name says, not yet in its place.
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
            set_aside(&self.target).map_err(|error| failed("move", &self.target, error))?;
        }
        self.temporary.rename_to(&self.target)?;
        self.access.trust(&self.digest);
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| failed("sync", directory, error))
    }
}

/// A blob of the cache being read; the end comes only when size and digest are right.
#[derive(Debug)]
pub struct CachedBlob {
    file: File,
    path: PathBuf,
    digest: Digest,
    size: u64,
    read: u64,
    state: Reading,
    access: Arc<Access>,
}

#[derive(Debug)]
enum Reading {
    Open(Hasher),
    Proven,
    Refused,
}

impl CachedBlob {
    /// Judges the bytes read; a blob that is not what its name says is moved out of the way.
    fn judge(&mut self) -> io::Result<()> {
        let Reading::Open(hasher) = std::mem::replace(&mut self.state, Reading::Refused) else {
            return Ok(());
        };
        match check(&self.digest, self.size, self.read, hasher) {
            Ok(()) => {
                self.state = Reading::Proven;
                Ok(())
            }
            Err(error) => {
                let advice = if !is_at(&self.file, &self.path) {
                    // Another process has put a whole one in its place meanwhile.
                    "it has been replaced; run again".to_owned()
                } else if let Ok(aside) = set_aside(&self.path) {
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
            Reading::Proven => return Ok(0),
            Reading::Refused => {
                return Err(Error::bad_data(format!("blob {} is corrupt", self.digest)).into());
            }
            Reading::Open(hasher) => hasher,
        };
        let count = self.file.read(buffer).map_err(|error| match error.kind() {
            ErrorKind::Interrupted => error,
            _ => failed("read", &self.path, error).into(),
        })?;
        hasher.update(buffer.get(..count).unwrap_or_default());
        self.read = self.read.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if count == 0 || self.read > self.size {
            self.judge()?;
        }
        Ok(count)
    }
}

/// Moves what is not the blob that its name says out of the way; where it is then.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = path.with_extension("corrupt");
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// Whether `read` bytes with this hash are the blob that was promised.
fn check(digest: &Digest, size: u64, read: u64, hasher: Hasher) -> Result<()> {
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

/// Makes a directory and its parents, for the user alone: layers may be private.
fn make_directory(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| failed("create", path, error))
}

/// A failed call on a file of the cache, in the class that its cause asks for.
fn failed(verb: &str, path: &Path, error: io::Error) -> Error {
    let message = format!("cannot {verb} {} in the cache", shown(path));
    let advice = format!("{CACHE_DIR_VARIABLE} names another directory");
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Error::cannot_create(message).with_hint(advice)
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            Error::denied(message).with_hint(advice)
        }
        _ => Error::io(message),
    }
    .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) struct Fixture {
        pub(super) directory: tempfile::TempDir,
        pub(super) cache: Cache,
    }

    pub(super) fn fixture() -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().join("oci")).unwrap();
        Fixture { directory, cache }
    }

    impl Fixture {
        fn ingest(&self) -> Vec<PathBuf> {
            let entries = fs::read_dir(self.cache.root().join(INGEST)).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect()
        }
    }

    fn read(cache: &Cache, digest: &Digest, size: u64) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        cache.blob(digest, size).unwrap().read_to_end(&mut body).map(|_| body)
    }

    fn error_of(error: io::Error) -> Error {
        Error::from_io(error, |error| panic!("{error} carries nothing"))
    }

    #[test]
    fn the_directory_is_an_oci_layout() {
        let fixture = fixture();
        let root = fixture.cache.root();
        assert_eq!(fs::read(root.join("oci-layout")).unwrap(), LAYOUT_MARKER);
        assert_eq!(fs::read(root.join("index.json")).unwrap(), EMPTY_INDEX);
        fs::write(root.join("index.json"), "edited").unwrap();
        Cache::at(root).unwrap();
        assert_eq!(fs::read(root.join("index.json")).unwrap(), b"edited");
    }

    #[test]
    fn a_stored_blob_is_found_and_read_back() {
        let fixture = fixture();
        for algorithm in [crate::digest::Algorithm::Sha256, crate::digest::Algorithm::Sha512] {
            let digest = Digest::of(algorithm, b"hello");
            assert!(!fixture.cache.contains(&digest, 5));
            fixture.cache.store(&digest, b"hello").unwrap();
            fixture.cache.store(&digest, b"hello").unwrap();
            assert!(fixture.cache.contains(&digest, 5));
            assert!(!fixture.cache.contains(&digest, 4));
            assert_eq!(read(&fixture.cache, &digest, 5).unwrap(), b"hello");
            assert_eq!(fixture.cache.document(&digest, 5).unwrap().unwrap(), b"hello");
            assert_eq!(fixture.cache.document(&digest, 4).unwrap(), None);
        }
        assert_eq!(fixture.ingest(), Vec::<PathBuf>::new());
    }

    #[test]
    fn only_the_promised_bytes_are_published() {
        let fixture = fixture();
        let digest = Digest::sha256_of(b"hello");
        for (size, parts) in
            [(5, &["hel"][..]), (5, &["hel", "lO"]), (5, &["hello", "!"]), (4, &["hello"])]
        {
            let mut incoming = fixture.cache.begin(&digest, size).unwrap();
            let result = parts
                .iter()
                .try_for_each(|part| incoming.append(part.as_bytes()))
                .and_then(|()| incoming.verify());
            assert_eq!(result.unwrap_err().exit_code(), 65, "{parts:?}");
            assert!(!fixture.cache.blob_path(&digest).exists());
            assert_eq!(fixture.ingest(), Vec::<PathBuf>::new());
        }
    }

    #[test]
    fn two_writers_of_one_blob_both_succeed() {
        let fixture = fixture();
        let digest = Digest::sha256_of(b"hello");
        let mut writers = [(); 2].map(|()| fixture.cache.begin(&digest, 5).unwrap());
        for writer in &mut writers {
            writer.append(b"hello").unwrap();
        }
        for writer in writers {
            writer.verify().unwrap().publish().unwrap();
        }
        assert_eq!(read(&fixture.cache, &digest, 5).unwrap(), b"hello");
    }

    #[test]
    fn a_corrupt_blob_is_moved_aside_and_can_be_stored_again() {
        let fixture = fixture();
        let digest = Digest::sha256_of(b"hello");
        fixture.cache.store(&digest, b"hello").unwrap();
        fs::write(fixture.cache.blob_path(&digest), b"hellO").unwrap();
        let error = error_of(read(&fixture.cache, &digest, 5).unwrap_err());
        assert_eq!(error.exit_code(), 65);
        assert!(error.hint().unwrap().contains("run again"), "{error}");
        assert!(!fixture.cache.contains(&digest, 5));
        let aside = fixture.cache.blob_path(&digest).with_extension("corrupt");
        assert_eq!(fs::read(aside).unwrap(), b"hellO");
        fixture.cache.store(&digest, b"hello").unwrap();
        assert_eq!(read(&fixture.cache, &digest, 5).unwrap(), b"hello");
    }

    #[test]
    fn a_corrupt_blob_that_cannot_be_moved_aside_counts_as_absent_until_it_is_replaced() {
        let fixture = fixture();
        let digest = Digest::sha256_of(b"hello");
        fixture.cache.store(&digest, b"hello").unwrap();
        fs::write(fixture.cache.blob_path(&digest), b"hellO").unwrap();
        // No file is renamed over a directory.
        fs::create_dir(fixture.cache.blob_path(&digest).with_extension("corrupt")).unwrap();
        let error = error_of(read(&fixture.cache, &digest, 5).unwrap_err());
        assert!(error.hint().unwrap().contains("remove "), "{error}");
        assert!(!fixture.cache.contains(&digest, 5));
        assert_eq!(fixture.cache.document(&digest, 5).unwrap(), None);
        let claim = fixture.cache.claim(&digest, 5).unwrap();
        assert!(matches!(claim, Claim::Ours(_)), "it would be asked for again and again");
        fixture.cache.store(&digest, b"hello").unwrap();
        assert_eq!(read(&fixture.cache, &digest, 5).unwrap(), b"hello");
        assert!(fixture.cache.contains(&digest, 5));
    }

    #[test]
    fn a_whole_blob_is_not_moved_aside_for_the_corrupt_one_before_it() {
        let fixture = fixture();
        let digest = Digest::sha256_of(b"hello");
        fixture.cache.store(&digest, b"hello").unwrap();
        fs::write(fixture.cache.blob_path(&digest), b"hellO").unwrap();
        let mut corrupt = fixture.cache.blob(&digest, 5).unwrap();
        // Another process has met the same blob, and healed it.
        assert!(!fixture.cache.is_intact(&digest, 5).unwrap());
        fixture.cache.store(&digest, b"hello").unwrap();
        assert_eq!(error_of(corrupt.read_to_end(&mut Vec::new()).unwrap_err()).exit_code(), 65);
        assert_eq!(read(&fixture.cache, &digest, 5).unwrap(), b"hello");
    }

    #[test]
    fn what_is_no_file_among_the_temporary_ones_is_left_alone() {
        let fixture = fixture();
        let foreign = fixture.cache.root().join(INGEST).join("directory");
        fs::create_dir(&foreign).unwrap();
        Cache::at(fixture.cache.root()).unwrap();
        assert!(foreign.exists());
    }

    #[test]
    fn a_corrupt_document_counts_as_absent() {
        let fixture = fixture();
        let digest = Digest::sha256_of(b"hello");
        fixture.cache.store(&digest, b"hello").unwrap();
        fs::write(fixture.cache.blob_path(&digest), b"hellO").unwrap();
        assert_eq!(fixture.cache.document(&digest, 5).unwrap(), None);
        assert!(!fixture.cache.contains(&digest, 5));
    }

    #[test]
    fn a_blob_that_grew_or_shrank_after_it_was_opened_is_refused() {
        let fixture = fixture();
        let digest = Digest::sha256_of(b"hello");
        for content in ["hell", "hello!", ""] {
            fixture.cache.store(&digest, b"hello").unwrap();
            let mut blob = fixture.cache.blob(&digest, 5).unwrap();
            fs::write(fixture.cache.blob_path(&digest), content).unwrap();
            let error = blob.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error_of(error).exit_code(), 65, "{content}");
            let again = blob.read(&mut [0; 8]).unwrap_err();
            assert_eq!(error_of(again).exit_code(), 65);
        }
    }

    #[test]
    fn opening_removes_what_the_dead_left_and_spares_the_living() {
        let fixture = fixture();
        let abandoned = fixture.cache.root().join(INGEST).join("abandoned");
        fs::write(&abandoned, "half a bl").unwrap();
        let digest = Digest::sha256_of(b"hello");
        let mut living = fixture.cache.begin(&digest, 5).unwrap();
        living.append(b"hel").unwrap();
        Cache::at(fixture.cache.root()).unwrap();
        assert!(!abandoned.exists());
        living.append(b"lo").unwrap();
        living.verify().unwrap().publish().unwrap();
        assert_eq!(read(&fixture.cache, &digest, 5).unwrap(), b"hello");
    }

    #[test]
    fn the_place_follows_the_environment() {
        for (environment, place) in [
            (&[("BANGER_CACHE_DIR", "/b"), ("XDG_CACHE_HOME", "/x")][..], Some("/b/oci")),
            (&[("BANGER_CACHE_DIR", "")], None),
            (&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")], Some("/x/banger/oci")),
            (&[("XDG_CACHE_HOME", "relative"), ("HOME", "/h")], Some("/h/.cache/banger/oci")),
            (&[("HOME", "/h")], Some("/h/.cache/banger/oci")),
        ] {
            let variable = |name: &str| {
                let found = environment.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(value))
            };
            match place {
                Some(place) => assert_eq!(locate(variable).unwrap(), Path::new(place)),
                None => assert_eq!(locate(variable).unwrap_err().exit_code(), 73),
            }
        }
    }

    #[test]
    fn a_cache_in_the_way_of_a_file_is_an_error_with_its_path() {
        let fixture = fixture();
        let file = fixture.directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Cache::at(file.join("oci")).unwrap_err();
        assert!(error.to_string().contains("file/oci"), "{error}");
    }
}
