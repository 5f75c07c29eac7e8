//! Looking after the cache: what is in it, and taking out what need not stay.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::blob::{CachedBlob, quarantine};
use super::directory::{INGEST, failed};
use super::store::Cache;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::open;
use crate::shown::path as shown;

/// Where blobs stand that are not complete, and what is known of names.
const UNFINISHED: [&str; 2] = [INGEST, "partial"];
const NOTES: &str = "references";
/// The ending of a blob that turned out to be corrupt.
const CORRUPT: &str = "corrupt";
/// The longest document whose kind is looked at.
const MAX_DOCUMENT: u64 = 8 << 20;
/// How many names of a directory are read; nobody has so many blobs.
const MAX_NAMES: usize = 1_000_000;

/// A file of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheEntry {
    /// Where it is.
    pub path: PathBuf,
    /// The blob's digest; what is no blob has none.
    pub digest: Option<Digest>,
    /// What it is.
    pub kind: CacheEntryKind,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last used.
    pub used: SystemTime,
}

/// What a file of the cache is. Of a blob its first bytes tell; its digest is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheEntryKind {
    /// A list of manifests.
    Index,
    /// The parts of an image.
    Manifest,
    /// How a container of an image would be run.
    Config,
    /// An archive, compressed or not.
    Layer,
    /// A blob that was not what its name says, set aside, or no file at all.
    Damaged,
    /// A blob that is not complete.
    Unfinished,
    /// What a name was last seen to mean.
    Note,
}

impl CacheEntryKind {
    /// Its name, for people and machines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Manifest => "manifest",
            Self::Config => "config",
            Self::Layer => "layer",
            Self::Damaged => "damaged",
            Self::Unfinished => "unfinished",
            Self::Note => "note",
        }
    }

    /// Whether it is a whole blob.
    #[must_use]
    pub fn is_blob(self) -> bool {
        matches!(self, Self::Index | Self::Manifest | Self::Config | Self::Layer)
    }
}

/// What [`Cache::prune`] takes out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PruneOptions {
    /// What was not used for so long.
    pub older_than: Option<Duration>,
    /// Of the blobs those unused for longest, until no more than so many bytes are left.
    pub max_size: Option<u64>,
}

#[derive(Deserialize)]
struct DocumentMembers {
    manifests: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    rootfs: Option<IgnoredAny>,
}

impl Cache {
    /// The user's cache if there is one; none is made.
    pub fn existing() -> Result<Option<Self>> {
        let place = Self::place()?;
        match fs::symlink_metadata(&place) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            _ => Self::at(place).map(Some),
        }
    }

    /// Everything in the cache, blobs by their digests, the rest behind them.
    pub fn stored(&self) -> Result<Vec<CacheEntry>> {
        let root = self.access.read_only().unwrap_or(&self.root);
        let mut stored = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            for file in files(&root.join("blobs").join(algorithm))? {
                stored.extend(blob(file, algorithm)?);
            }
        }
        for (directory, kind) in UNFINISHED
            .map(|name| (name, CacheEntryKind::Unfinished))
            .into_iter()
            .chain([(NOTES, CacheEntryKind::Note)])
        {
            let found = files(&root.join(directory))?;
            let found = found.into_iter().filter(|file| file.is_file);
            stored.extend(found.map(|file| file.stored(None, kind)));
        }
        Ok(stored)
    }

    /// Moves what has the name of a blob and is no file out of the way; whether it went.
    #[must_use]
    pub fn quarantine(&self, stored: &CacheEntry) -> bool {
        quarantine(&stored.path).is_ok()
    }

    /// Opens a blob to see whether its end comes; nobody is said to have used it.
    pub fn examine(&self, digest: &Digest, size: u64) -> Result<CachedBlob> {
        self.unused_blob(digest, size)
    }

    /// Takes out what pulls cannot use (damaged blobs, those that a dead process left behind) and
    /// what `taken` says; returns what went. Nobody else uses the cache meanwhile: `busy` is told
    /// when somebody has to be waited for, and may refuse to.
    ///
    /// A file goes as a whole, so a crash leaves a cache like any other.
    pub fn prune(
        &self,
        options: PruneOptions,
        busy: impl FnOnce() -> Result<()>,
    ) -> Result<Vec<CacheEntry>> {
        if let Some(root) = self.access.read_only() {
            let root = shown(root);
            return Err(Error::denied(format!(
                "cannot take anything out of {root}: it is read-only"
            )));
        }
        self.access.lock_exclusive(busy)?;
        let pruned = self.prune_locked(options);
        self.access.lock_shared_again();
        pruned
    }

    fn prune_locked(&self, options: PruneOptions) -> Result<Vec<CacheEntry>> {
        let mut stored = self.stored()?;
        // The longest unused first.
        stored.sort_by(|one, other| (one.used, &one.path).cmp(&(other.used, &other.path)));
        let blobs = stored.iter().filter(|stored| stored.kind.is_blob());
        let mut left = blobs.fold(0_u64, |sum, blob| sum.saturating_add(blob.size));
        let now = SystemTime::now();
        let mut gone = Vec::new();
        for file in stored {
            let is_old = options.older_than.is_some_and(|limit| {
                limit.is_zero() || now.duration_since(file.used).is_ok_and(|age| age > limit)
            });
            let is_too_much = file.kind.is_blob() && options.max_size.is_some_and(|max| left > max);
            if !is_old && !is_too_much && file.kind != CacheEntryKind::Damaged {
                continue;
            }
            match remove(&file.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(failed("remove", &file.path, error));
                }
                _ => {}
            }
            if file.kind.is_blob() {
                left = left.saturating_sub(file.size);
            }
            gone.push(file);
        }
        Ok(gone)
    }
}

/// Removes a file, or a directory that has a blob's name.
fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::IsADirectory => fs::remove_dir_all(path),
        removed => removed,
    }
}

/// What is in a directory of the cache.
struct Listed {
    path: PathBuf,
    is_file: bool,
    size: u64,
    used: SystemTime,
}

impl Listed {
    fn stored(self, digest: Option<Digest>, kind: CacheEntryKind) -> CacheEntry {
        CacheEntry { path: self.path, digest, kind, size: self.size, used: self.used }
    }
}

/// What is in a directory, by name; nothing where it is missing.
fn files(directory: &Path) -> Result<Vec<Listed>> {
    let fail = |error| failed("read", directory, error);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail)?,
    };
    let mut files = Vec::new();
    for entry in entries.take(MAX_NAMES) {
        let path = entry.map_err(fail)?.path();
        // Somebody may publish it, or remove it, at any moment.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        // Whoever made a link knows what it is for.
        if metadata.is_symlink() {
            continue;
        }
        let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let is_file = metadata.is_file();
        let size = if is_file { metadata.len() } else { 0 };
        files.push(Listed { path, is_file, size, used });
    }
    files.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

/// A file among the blobs; `None` for one that is none of ours.
fn blob(file: Listed, algorithm: &str) -> Result<Option<CacheEntry>> {
    let name = file.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if let Some((stem, CORRUPT)) = name.rsplit_once('.') {
        let digest = format!("{algorithm}:{stem}").parse().ok();
        return Ok(digest.map(|digest| file.stored(Some(digest), CacheEntryKind::Damaged)));
    }
    let Ok(digest) = format!("{algorithm}:{name}").parse() else { return Ok(None) };
    let kind = if file.is_file { kind_of(&file)? } else { CacheEntryKind::Damaged };
    Ok(Some(file.stored(Some(digest), kind)))
}

fn kind_of(file: &Listed) -> Result<CacheEntryKind> {
    let fail = |error| failed("read", &file.path, error);
    let mut opened = match open::regular(&file.path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(CacheEntryKind::Layer),
        opened => opened.map_err(fail)?,
    };
    let mut body = vec![0; 1];
    if file.size > MAX_DOCUMENT || opened.read(&mut body).map_err(fail)? == 0 || body != b"{" {
        return Ok(CacheEntryKind::Layer);
    }
    opened.take(MAX_DOCUMENT).read_to_end(&mut body).map_err(fail)?;
    Ok(match serde_json::from_slice(&body) {
        Ok(DocumentMembers { manifests: Some(_), .. }) => CacheEntryKind::Index,
        Ok(DocumentMembers { layers: Some(_), .. }) => CacheEntryKind::Manifest,
        Ok(DocumentMembers { rootfs: Some(_), .. }) => CacheEntryKind::Config,
        Ok(_) | Err(_) => CacheEntryKind::Layer,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::cache::tests::{Fixture, fixture};

    impl Fixture {
        /// A blob that was last used so many days ago.
        fn blob(&self, content: &[u8], days: u64) -> Digest {
            let digest = Digest::sha256_of(content);
            self.cache.store(&digest, content).unwrap();
            self.age(&self.cache.blob_path(&digest), days);
            digest
        }

        fn age(&self, path: &Path, days: u64) {
            assert!(path.starts_with(self.directory.path()));
            let used = SystemTime::now() - day(days) - Duration::from_secs(60);
            File::open(path).unwrap().set_modified(used).unwrap();
        }

        fn kinds(&self) -> Vec<&'static str> {
            self.cache.stored().unwrap().into_iter().map(|stored| stored.kind.name()).collect()
        }

        fn prune(&self, older_than: Option<Duration>, max_size: Option<u64>) -> Vec<Digest> {
            let nobody = || panic!("nobody else uses the cache");
            let gone = self.cache.prune(PruneOptions { older_than, max_size }, nobody).unwrap();
            gone.into_iter().filter_map(|stored| stored.digest).collect()
        }
    }

    fn day(days: u64) -> Duration {
        Duration::from_secs(days * 24 * 60 * 60)
    }

    #[test]
    fn blobs_are_told_apart_by_their_first_bytes() {
        let fixture = fixture();
        for (content, kind) in [
            (&br#"{"manifests":[]}"#[..], "index"),
            (br#"{"layers":[],"config":{}}"#, "manifest"),
            (br#"{"rootfs":{}}"#, "config"),
            (b"{", "layer"),
            (b"\x1f\x8b", "layer"),
            (b"", "layer"),
        ] {
            fixture.blob(content, 0);
            assert_eq!(fixture.kinds(), [kind]);
            fixture.prune(Some(Duration::ZERO), None);
            assert_eq!(fixture.kinds(), [""; 0]);
        }
        fs::write(fixture.cache.root().join("blobs/sha256/foreign"), "x").unwrap();
        assert_eq!(fixture.kinds(), [""; 0]);
        fixture.prune(Some(Duration::ZERO), None);
        assert!(fixture.cache.root().join("blobs/sha256/foreign").exists());
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let fixture = fixture();
        let blobs = [b"1111", b"2222", b"3333"].map(|content| &content[..]);
        let [old, middle, young] =
            [(blobs[0], 40), (blobs[1], 20), (blobs[2], 1)].map(|(c, days)| fixture.blob(c, days));
        assert_eq!(fixture.prune(None, None), []);
        assert_eq!(fixture.prune(Some(day(50)), Some(12)), []);
        assert_eq!(fixture.prune(Some(day(30)), None), [old]);
        assert_eq!(fixture.prune(None, Some(7)), [middle]);
        assert!(fixture.cache.contains(&young, 4));
        assert_eq!(fixture.prune(None, Some(0)), [young]);
    }

    #[test]
    fn what_is_no_file_is_never_a_blob_and_never_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let fixture = fixture();
        let root = fixture.cache.root().to_owned();
        let (whole, directory, pipe) =
            (b"whole", Digest::sha256_of(b"directory"), Digest::sha256_of(b"pipe"));
        fixture.blob(whole, 0);
        fs::create_dir(fixture.cache.blob_path(&directory)).unwrap();
        let mode = Mode::from_raw_mode(0o600);
        for name in ["references/x.json", "partial/x.part", "ingest/x"] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            mknodat(CWD, root.join(name), FileType::Fifo, mode, 0).unwrap();
        }
        mknodat(CWD, fixture.cache.blob_path(&pipe), FileType::Fifo, mode, 0).unwrap();
        let cache = Cache::at(&root).unwrap();
        let mut kinds = fixture.kinds();
        kinds.sort_unstable();
        assert_eq!(kinds, ["damaged", "damaged", "layer"]);
        for digest in [&directory, &pipe] {
            assert!(!cache.contains(digest, 4));
            assert!(cache.examine(digest, 4).unwrap_err().to_string().contains("it is a "));
        }
        // A pull puts the blob in the place of what is there.
        cache.store(&directory, b"directory").unwrap();
        cache.store(&pipe, b"pipe").unwrap();
        assert!(cache.is_intact(&directory, 9).unwrap() && cache.is_intact(&pipe, 4).unwrap());
        drop(cache);
        assert_eq!(fixture.prune(None, None), [directory]);
        assert_eq!(fixture.kinds(), ["layer"; 3]);
    }

    #[test]
    fn reading_a_blob_is_using_it_and_examining_is_not() {
        let fixture = fixture();
        let [read, examined] = [&b"1"[..], b"2"].map(|content| fixture.blob(content, 40));
        std::io::copy(&mut fixture.cache.blob(&read, 1).unwrap(), &mut std::io::sink()).unwrap();
        fixture.cache.examine(&examined, 1).unwrap();
        assert_eq!(fixture.prune(Some(day(30)), None), [examined]);
    }

    #[test]
    fn what_is_damaged_goes_and_what_is_unfinished_stays_for_its_time() {
        let fixture = fixture();
        let digest = fixture.blob(b"hello", 0);
        fs::write(fixture.cache.blob_path(&digest), "hellO").unwrap();
        assert!(!fixture.cache.is_intact(&digest, 5).unwrap());
        let partial = fixture.cache.root().join("partial");
        fs::create_dir(&partial).unwrap();
        fs::write(partial.join("x.part"), "hel").unwrap();
        assert_eq!(fixture.kinds(), ["damaged", "unfinished"]);
        assert_eq!(fixture.prune(None, None), std::slice::from_ref(&digest));
        assert_eq!(fixture.kinds(), ["unfinished"]);
        let directory = fixture.cache.blob_path(&digest).with_extension("corrupt");
        fs::create_dir_all(directory.join("not/empty")).unwrap();
        assert_eq!(fixture.prune(None, None), [digest]);
        assert!(!directory.exists());
        fixture.age(&partial.join("x.part"), 8);
        fixture.prune(Some(day(7)), None);
        assert_eq!(fixture.kinds(), [""; 0]);
    }

    #[test]
    fn nothing_is_taken_out_while_others_use_the_cache() {
        let fixture = fixture();
        let digest = fixture.blob(b"hello", 40);
        let other = Cache::at(fixture.cache.root()).unwrap();
        let refuse = || Err(Error::try_again("busy"));
        let options = PruneOptions { older_than: Some(Duration::ZERO), max_size: None };
        let refused = fixture.cache.prune(options, refuse).unwrap_err();
        assert_eq!(refused.exit_code(), 75);
        assert!(fixture.cache.contains(&digest, 5));
        // What holds the lock is open files, which end with their process.
        drop(other);
        assert_eq!(fixture.cache.prune(options, refuse).unwrap().len(), 1);
        // The cache is everybody's again.
        Cache::at(fixture.cache.root()).unwrap();
    }
}
