//! A digest of entries and of what is in them, computed on a thread beside the work.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use ext4_writer::Timestamp;

use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, Result};
use crate::layer::{Entry, EntryKind};
use crate::read::filled;

/// The bytes that are handed over at once. What has fewer needs no thread.
const CHUNK: usize = 1 << 20;
/// The chunks that wait for the thread.
const WAITING: usize = 2;

/// Digests entries in the order in which they are put into an image: all that decides its bytes,
/// and nothing of where they came from. `docs/design.md` has the form.
#[derive(Default)]
pub struct TreeHasher {
    /// Whether nobody wants to know.
    is_idle: bool,
    chunk: Vec<u8>,
    worker: Option<Worker>,
}

/// The thread that hashes, and the way of the chunks there and back.
struct Worker {
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    thread: JoinHandle<Digest>,
}

impl TreeHasher {
    /// One that digests nothing, for what needs no name.
    #[must_use]
    pub fn idle() -> Self {
        Self { is_idle: true, ..Self::default() }
    }

    /// Adds a field; its length comes too, so that fields cannot run into each other.
    pub fn field(&mut self, bytes: &[u8]) -> Result<()> {
        self.number(length(bytes)?)?;
        self.feed(bytes)
    }

    /// Adds an archive that was read to its end.
    pub fn archive(&mut self, what: &[u8], digest: Option<&Digest>) -> Result<()> {
        let digest =
            digest.ok_or_else(|| Error::internal("an archive was read without a digest"))?;
        self.field(what)?;
        self.field(digest.to_string().as_bytes())
    }

    /// The digest of all that was added.
    pub fn finish(self) -> Result<Digest> {
        let Self { chunk, worker, .. } = self;
        let Some(Worker { full, empty, thread }) = worker else {
            return Ok(Digest::of(Algorithm::Blake3, &chunk));
        };
        full.send(chunk).map_err(|_| stopped())?;
        // Without them the thread would wait for more, or for somebody who takes chunks back.
        drop((full, empty));
        thread.join().map_err(|_| stopped())
    }

    /// Adds what an entry says of itself; its content is to follow.
    pub(super) fn entry(&mut self, entry: &Entry) -> Result<()> {
        let Entry { path, kind, mode, uid, gid, modified, accessed, changed, size, .. } = entry;
        let Entry { link, device: (major, minor), xattrs, segments, unsupported: _, .. } = entry;
        let Entry { created, flags, project, .. } = entry;
        let time = |time: Option<Timestamp>| match time {
            Some(Timestamp { seconds, nanoseconds }) => format!("{seconds}.{nanoseconds:09}"),
            None => "-".to_owned(),
        };
        self.field(format!("{kind} {mode:04o} {uid}:{gid} {size} {major}:{minor}").as_bytes())?;
        let times = [Some(*modified), *accessed, *changed].map(time).join(" ");
        self.field(times.as_bytes())?;
        self.field(&clean(path))?;
        match kind {
            EntryKind::HardLink => self.field(&clean(link))?,
            _ => self.field(link)?,
        }
        self.number(count(xattrs.len())?)?;
        for xattr in xattrs {
            self.field(&xattr.name)?;
            self.field(&xattr.value)?;
        }
        let segments = segments.as_ref();
        self.number(segments.map_or(Ok(u64::MAX), |segments| count(segments.len()))?)?;
        for segment in segments.into_iter().flatten() {
            self.number(segment.offset)?;
            self.number(segment.length)?;
        }
        // What archives and directories do not say leaves their digests as they are.
        if created.is_some() || !flags.is_empty() || *project != 0 {
            let (created, flags) = (time(*created), flags.bits());
            self.field(format!("{created} {flags:#010x} {project}").as_bytes())?;
        }
        Ok(())
    }

    /// A content that is hashed while it is read.
    pub(super) fn body<'a>(&'a mut self, reader: &'a mut dyn Read) -> Hashed<'a> {
        Hashed { reader, hasher: self, count: 0 }
    }

    fn number(&mut self, number: u64) -> Result<()> {
        self.feed(&number.to_le_bytes())
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<()> {
        if self.is_idle {
            return Ok(());
        }
        while !bytes.is_empty() {
            if self.chunk.len() >= CHUNK {
                self.hand_over()?;
            }
            let room = CHUNK.saturating_sub(self.chunk.len()).min(bytes.len());
            let (now, rest) = bytes.split_at(room);
            self.chunk.extend_from_slice(now);
            bytes = rest;
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<()> {
        let worker = match &mut self.worker {
            Some(worker) => worker,
            none => none.insert(Worker::start()?),
        };
        let next = worker.empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(CHUNK));
        let full = std::mem::replace(&mut self.chunk, next);
        worker.full.send(full).map_err(|_| stopped())
    }
}

impl Worker {
    fn start() -> Result<Self> {
        let (full, arriving) = sync_channel::<Vec<u8>>(WAITING);
        let (used, empty) = channel();
        let work = move || {
            let mut hasher = Hasher::new(Algorithm::Blake3);
            for mut chunk in arriving {
                hasher.update(&chunk);
                chunk.clear();
                // At the end nobody takes chunks back.
                let _ = used.send(chunk);
            }
            hasher.finish()
        };
        let thread = thread::Builder::new().name("identify".to_owned()).spawn(work);
        let thread = thread.map_err(|error| {
            Error::io("cannot start a thread that hashes what is added").with_source(error)
        })?;
        Ok(Self { full, empty, thread })
    }
}

/// A content on its way into an image. How much of it was read has to be added at its end.
pub(super) struct Hashed<'a> {
    reader: &'a mut dyn Read,
    hasher: &'a mut TreeHasher,
    count: u64,
}

impl Hashed<'_> {
    /// Ends the content.
    pub(super) fn finish(self) -> Result<()> {
        self.hasher.number(self.count)
    }
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.reader.read(buffer)?;
        let bytes = filled(buffer, got)?;
        self.hasher.feed(bytes)?;
        self.count = self.count.saturating_add(length(bytes)?);
        Ok(got)
    }
}

/// A path in one form, however its slashes were written.
fn clean(path: &[u8]) -> Vec<u8> {
    let parts = path.split(|byte| *byte == b'/');
    let parts = parts.filter(|part| !matches!(*part, b"" | b"."));
    parts.collect::<Vec<_>>().join(&b'/')
}

fn length(bytes: &[u8]) -> Result<u64> {
    count(bytes.len())
}

fn count(count: usize) -> Result<u64> {
    u64::try_from(count).map_err(|error| Error::internal(error.to_string()))
}

fn stopped() -> Error {
    Error::internal("the thread that hashes what is added stopped without a word")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ext4_writer::{FileFlags, Segment};

    use super::*;
    use crate::layer::Xattr;

    fn file(path: &str) -> Entry {
        let size = 3;
        Entry { size, ..Entry::new(path, EntryKind::Regular, 0o644, Timestamp::from_seconds(5)) }
    }

    fn digest(entry: &Entry, mut content: &[u8]) -> Digest {
        let mut hasher = TreeHasher::default();
        hasher.entry(entry).unwrap();
        let mut body = hasher.body(&mut content);
        io::copy(&mut body, &mut io::sink()).unwrap();
        body.finish().unwrap();
        hasher.finish().unwrap()
    }

    #[test]
    fn whatever_decides_bytes_of_an_image_decides_the_digest() {
        let xattr = |name: &str, value: &str| Xattr { name: name.into(), value: value.into() };
        let plain = file("a/b");
        let others = [
            Entry { path: b"a/c".to_vec(), ..plain.clone() },
            Entry { kind: EntryKind::Fifo, ..plain.clone() },
            Entry { mode: 0o600, ..plain.clone() },
            Entry { uid: 1, ..plain.clone() },
            Entry { gid: 1, ..plain.clone() },
            Entry { size: 4, ..plain.clone() },
            Entry { modified: Timestamp { seconds: 5, nanoseconds: 1 }, ..plain.clone() },
            Entry { accessed: Some(plain.modified), ..plain.clone() },
            Entry { changed: Some(plain.modified), ..plain.clone() },
            Entry { link: b"x".to_vec(), ..plain.clone() },
            Entry { device: (1, 0), ..plain.clone() },
            Entry { device: (0, 1), ..plain.clone() },
            Entry { xattrs: vec![xattr("user.a", "b")], ..plain.clone() },
            Entry { xattrs: vec![xattr("user.ab", "")], ..plain.clone() },
            Entry { segments: Some(Vec::new()), ..plain.clone() },
            Entry { created: Some(plain.modified), ..plain.clone() },
            Entry { flags: FileFlags::NO_DUMP, ..plain.clone() },
            Entry { project: 1, ..plain.clone() },
            Entry { segments: Some(vec![Segment { offset: 0, length: 3 }]), ..plain.clone() },
        ];
        let mut seen: BTreeSet<Digest> = others.iter().map(|entry| digest(entry, b"abc")).collect();
        seen.extend([digest(&plain, b"abc"), digest(&plain, b"abd"), digest(&plain, b"ab")]);
        assert_eq!(seen.len(), others.len() + 3);
        for same in ["/a/b", "./a//b", "a/./b/"] {
            assert_eq!(digest(&file(same), b"abc"), digest(&plain, b"abc"), "{same}");
        }
    }

    #[test]
    fn a_thread_hashes_what_is_long_and_nobody_sees_it() {
        for length in [0, 1, CHUNK - 8, CHUNK, CHUNK + 1, 9 * CHUNK + 77] {
            let bytes: Vec<u8> = (0..length).map(|n| n.to_le_bytes()[0]).collect();
            let mut hasher = TreeHasher::default();
            hasher.field(&bytes).unwrap();
            let whole = [&u64::try_from(length).unwrap().to_le_bytes()[..], &bytes].concat();
            let expected = Digest::of(Algorithm::Blake3, &whole);
            assert_eq!(hasher.finish().unwrap(), expected, "{length}");
        }
        let nothing = TreeHasher::default().finish().unwrap().to_string();
        // Source: the test vectors of BLAKE3, for an input of no bytes.
        assert!(nothing.starts_with("blake3:af1349b9f5f9a1a6a0404dea36dcc949"), "{nothing}");
    }

    #[test]
    fn a_hasher_that_is_dropped_leaves_no_thread_waiting() {
        let mut hasher = TreeHasher::default();
        hasher.feed(&vec![7; 3 * CHUNK]).unwrap();
        let Some(Worker { full, empty, thread }) = hasher.worker.take() else {
            panic!("no thread was started");
        };
        drop((hasher, full, empty));
        thread.join().unwrap();
    }
}
