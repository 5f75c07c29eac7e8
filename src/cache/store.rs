//! The directory of blobs: what is there, and how blobs come in and are read.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::access::{self, Access};
use super::blob::CachedBlob;
use super::directory::{INGEST, failed, locate, make_directory};
use super::incoming::Incoming;
use super::temporary::{Temporary, is_abandoned};
use crate::digest::{Digest, Hasher};
use crate::error::{self, Error, Result};
use crate::open;

/// Source: OCI image-spec, image-layout.md, "oci-layout file".
pub(super) const LAYOUT_MARKER: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// An index that names no image: the layout demands the file, the cache has no use for it.
pub(super) const EMPTY_INDEX: &[u8] =
    br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// A directory of blobs, named by their digests.
#[derive(Clone, Debug)]
pub struct Cache {
    /// Where blobs are written.
    pub(super) root: Arc<Path>,
    pub(super) access: Arc<Access>,
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
    pub(super) fn unused_blob(&self, digest: &Digest, size: u64) -> Result<CachedBlob> {
        let path = self.found_path(digest).unwrap_or_else(|| self.blob_path(digest));
        let file = open::regular(&path).map_err(|error| failed("open", &path, error))?;
        Ok(CachedBlob::new((file, path), (digest, size), &self.access))
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
    pub(crate) fn verified_file(&self, digest: &Digest, size: u64) -> Result<Option<Arc<File>>> {
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
        Ok(self.verified_file(digest, size)?.is_some())
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
        let (temporary, file) = Temporary::create(&self.root, digest.short())?;
        Ok(Incoming {
            temporary,
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
        Temporary::write(&self.root, name, content, &target)
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
