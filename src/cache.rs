//! Blobs on disk: written whole or not at all, verified whenever they are read, shared between
//! processes.
//!
//! The directory is an OCI image layout, so that other tools can read beside us. What is being
//! written stands under `ingest/` in a file that its process holds locked: a temporary file whose
//! lock is free belongs to nobody, and the next [`Cache`] to open removes it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};

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

impl From<Error> for io::Error {
    /// Carries an error through an interface that knows [`io::Error`] only; [`carried`] takes it
    /// out again.
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

/// The [`Error`] that `error` carries, or what `otherwise` makes of a true I/O error.
pub fn carried(error: io::Error, otherwise: impl FnOnce(io::Error) -> Error) -> Error {
    error.downcast::<Error>().unwrap_or_else(otherwise)
}

/// A directory of blobs, named by their digests.
#[derive(Clone, Debug)]
pub struct Cache {
    root: Arc<Path>,
}

impl Cache {
    /// The user's cache: `$BANGER_CACHE_DIR/oci`, else `$XDG_CACHE_HOME/banger/oci`, else
    /// `$HOME/.cache/banger/oci`; made when it is missing.
    pub fn open() -> Result<Self> {
        Self::at(locate(|name| std::env::var_os(name))?)
    }

    /// The cache in the directory `root`, made when it is missing.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self> {
        let root: PathBuf = root.into();
        let cache = Self { root: root.into() };
        make_directory(&cache.root.join("blobs").join("sha256"))?;
        make_directory(&cache.root.join(INGEST))?;
        cache.sweep()?;
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
        fs::metadata(self.blob_path(digest))
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
    }

    /// Opens a blob that [`Cache::contains`] answered for.
    pub fn blob(&self, digest: &Digest, size: u64) -> Result<CachedBlob> {
        let path = self.blob_path(digest);
        let file = File::open(&path).map_err(|error| failed("open", &path, error))?;
        let state = Reading::Open(Hasher::new(digest.algorithm()));
        Ok(CachedBlob { file, path, digest: digest.clone(), size, read: 0, state })
    }

    /// The whole of a small blob, verified; nothing when the cache has none that is whole and at
    /// most `limit` bytes long.
    pub fn document(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>> {
        let path = self.blob_path(digest);
        let Ok(metadata) = fs::metadata(&path) else { return Ok(None) };
        if !metadata.is_file() || metadata.len() > limit {
            return Ok(None);
        }
        let mut body = Vec::new();
        match self.blob(digest, metadata.len())?.read_to_end(&mut body) {
            Ok(_) => Ok(Some(body)),
            // A corrupt blob has been moved aside: fetching it again heals the cache.
            Err(error) => match carried(error, |error| failed("read", &path, error)) {
                Error::BadData(_) => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Keeps a small blob, unless it is there already.
    pub fn store(&self, digest: &Digest, body: &[u8]) -> Result<()> {
        let size = u64::try_from(body.len())
            .map_err(|_| Error::internal("a document in memory is longer than 2^64 bytes"))?;
        if self.contains(digest, size) {
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
            temporary: Temporary { path, kept: false },
            target: self.blob_path(digest),
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
        let mut temporary = Temporary { path, kept: false };
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

    /// Removes what killed processes left under `ingest/`.
    fn sweep(&self) -> Result<()> {
        let directory = self.root.join(INGEST);
        let entries = fs::read_dir(&directory).map_err(|e| failed("read", &directory, e))?;
        for entry in entries {
            let path = entry.map_err(|error| failed("read", &directory, error))?.path();
            // Another process may publish or sweep the file at any moment.
            if File::open(&path).is_ok_and(|file| is_abandoned(&file)) {
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
            .hint(format!("set {CACHE_DIR_VARIABLE} to a directory"))
    })
}

/// A file that disappears unless it is renamed into its place.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    kept: bool,
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
    }
}

/// A blob being written, hashed on the way.
#[derive(Debug)]
pub(crate) struct Incoming {
    // Declared before the file: removed while the lock is still held.
    temporary: Temporary,
    target: PathBuf,
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
        check(&self.digest, self.size, self.written, self.hasher)?;
        Ok(Verified { temporary: self.temporary, target: self.target, file: self.file })
    }
}

/// A blob that has proven to be what its name says, not yet in its place.
#[derive(Debug)]
pub(crate) struct Verified {
    temporary: Temporary,
    target: PathBuf,
    file: Arc<File>,
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
        self.temporary.rename_to(&self.target)?;
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
                let aside = self.path.with_extension("corrupt");
                let advice = match fs::rename(&self.path, &aside) {
                    Ok(()) => format!("moved to {}; run again to fetch it anew", shown(&aside)),
                    Err(_) => format!("remove {} and run again", shown(&self.path)),
                };
                let message = format!("the cached copy of blob {} is corrupt", self.digest);
                Err(Error::bad_data(message).because(error).hint(advice).into())
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
            Error::cannot_create(message).hint(advice)
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            Error::denied(message).hint(advice)
        }
        _ => Error::io(message),
    }
    .because(error)
}

fn shown(path: &Path) -> String {
    path.as_os_str().as_encoded_bytes().escape_ascii().to_string()
}
