//! A layer's blob as a stream of bytes, whether it lies in the cache or is still being fetched.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::local::section::VerifiedReader;
use crate::cache::CachedBlob;
use crate::digest::Digest;
use crate::error::{Error, Result};

/// The bytes of a blob, compressed as they are.
///
/// The end of the stream comes only after size and digest have been found right.
/// Any other end is an [`io::Error`] from which [`Error::from_io`] takes the
/// [`Error`]. Who stops before the end knows nothing about what was read.
#[derive(Debug)]
pub struct BlobReader(Source);

#[derive(Debug)]
enum Source {
    Cached(CachedBlob),
    InFlight(InFlightReader),
    Local(VerifiedReader),
}

impl From<CachedBlob> for BlobReader {
    fn from(blob: CachedBlob) -> Self {
        Self(Source::Cached(blob))
    }
}

impl From<InFlightReader> for BlobReader {
    fn from(reader: InFlightReader) -> Self {
        Self(Source::InFlight(reader))
    }
}

impl From<VerifiedReader> for BlobReader {
    fn from(reader: VerifiedReader) -> Self {
        Self(Source::Local(reader))
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Source::Cached(blob) => blob.read(buffer),
            Source::InFlight(reader) => reader.read(buffer),
            Source::Local(reader) => reader.read(buffer),
        }
    }
}

/// A blob on its way: what the one that fetches it tells those that read it.
#[derive(Debug)]
pub(super) struct InFlightDownload {
    digest: Digest,
    size: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    file: Option<Arc<File>>,
    /// The bytes that may be read.
    written: u64,
    /// The bytes that are there.
    received: u64,
    outcome: Option<Outcome>,
}

#[derive(Debug)]
enum Outcome {
    Verified,
    Failed(Error),
}

impl InFlightDownload {
    pub(super) fn new(digest: Digest, size: u64) -> Arc<Self> {
        Arc::new(Self { digest, size, state: Mutex::default(), changed: Condvar::new() })
    }

    pub(super) fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The bytes that have been received.
    pub(super) fn received_bytes(&self) -> u64 {
        self.state().received
    }

    /// Whether the blob is complete and verified.
    pub(super) fn is_verified(&self) -> bool {
        matches!(self.state().outcome, Some(Outcome::Verified))
    }

    /// Why the blob could not be fetched.
    pub(super) fn failure(&self) -> Option<Error> {
        match &self.state().outcome {
            Some(Outcome::Failed(error)) => Some(error.clone()),
            _ => None,
        }
    }

    /// So many bytes have been received, whether they may be read or not.
    pub(super) fn received(&self, received: u64) {
        self.state().received = received;
    }

    /// The first `written` bytes of `file` may be read.
    pub(super) fn grown(&self, file: &Arc<File>, written: u64) {
        let mut state = self.state();
        state.received = written;
        if state.file.is_none() {
            state.file = Some(Arc::clone(file));
        }
        state.written = written;
        self.changed.notify_all();
    }

    /// All bytes are there and are the right ones.
    pub(super) fn verified(&self) {
        self.end(Outcome::Verified);
    }

    /// The blob will not be fetched.
    pub(super) fn failed(&self, error: Error) {
        self.end(Outcome::Failed(error));
    }

    /// The first outcome counts.
    fn end(&self, outcome: Outcome) {
        self.state().outcome.get_or_insert(outcome);
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is more than `position`: the file and its readable length, or nothing at
    /// the verified end.
    fn wait_beyond(&self, position: u64) -> Result<Option<(Arc<File>, u64)>> {
        let mut state = self.state();
        loop {
            match (&state.outcome, &state.file) {
                (Some(Outcome::Failed(error)), _) => return Err(error.clone()),
                (_, Some(file)) if state.written > position => {
                    return Ok(Some((Arc::clone(file), state.written)));
                }
                (Some(Outcome::Verified), _) => return Ok(None),
                (None, _) => {}
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Marks a download as failed when its fetcher is dropped before the end, so that no reader waits
/// for ever.
#[derive(Debug)]
pub(super) struct DownloadGuard(pub(super) Arc<InFlightDownload>);

impl Drop for DownloadGuard {
    fn drop(&mut self) {
        let digest = &self.0.digest;
        self.0.failed(Error::interrupted(format!("the download of {digest} was stopped")));
    }
}

/// Reads a blob behind the one that writes it.
#[derive(Debug)]
pub(super) struct InFlightReader {
    in_flight: Arc<InFlightDownload>,
    position: u64,
}

impl InFlightReader {
    pub(super) fn new(in_flight: Arc<InFlightDownload>) -> Self {
        Self { in_flight, position: 0 }
    }
}

impl Read for InFlightReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let Some((file, written)) = self.in_flight.wait_beyond(self.position)? else {
            return Ok(0);
        };
        let ready = usize::try_from(written.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let (part, _) = buffer.split_at_mut(ready.min(buffer.len()));
        let count = file.read_at(part, self.position).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => Error::io(format!("cannot read blob {} from the cache", self.in_flight.digest))
                .with_source(error)
                .into(),
        })?;
        if count == 0 {
            return Err(Error::io(format!(
                "the temporary file of blob {} was cut at {} of {written} bytes",
                self.in_flight.digest, self.position
            ))
            .into());
        }
        self.position = self.position.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn in_flight() -> (Arc<InFlightDownload>, Arc<File>) {
        (
            InFlightDownload::new(Digest::sha256_of(b"hello"), 5),
            Arc::new(tempfile::tempfile().unwrap()),
        )
    }

    fn write(in_flight: &InFlightDownload, file: &Arc<File>, bytes: &[u8]) {
        (&**file).write_all(bytes).unwrap();
        in_flight.grown(file, (&**file).stream_position().unwrap());
    }

    #[test]
    fn a_reader_waits_for_bytes_and_for_the_proof() {
        let (in_flight, file) = in_flight();
        let reader = thread::spawn({
            let mut tail = BlobReader::from(InFlightReader::new(Arc::clone(&in_flight)));
            move || {
                let mut body = Vec::new();
                tail.read_to_end(&mut body).map(|_| body)
            }
        });
        for part in [&b"he"[..], b"llo"] {
            thread::sleep(Duration::from_millis(20));
            write(&in_flight, &file, part);
        }
        thread::sleep(Duration::from_millis(20));
        assert!(!reader.is_finished(), "the end came before the proof");
        in_flight.verified();
        assert_eq!(reader.join().unwrap().unwrap(), b"hello");
    }

    #[test]
    fn every_reader_is_told_the_failure() {
        let (in_flight, file) = in_flight();
        write(&in_flight, &file, b"hel");
        in_flight.failed(Error::not_found("gone").with_hint("look elsewhere"));
        in_flight.verified();
        for _ in 0..2 {
            let error = InFlightReader::new(Arc::clone(&in_flight)).read(&mut [0; 8]).unwrap_err();
            let error = Error::from_io(error, |error| panic!("{error} carries nothing"));
            assert_eq!((error.exit_code(), &*error.to_string()), (66, "gone; look elsewhere"));
        }
    }

    #[test]
    fn a_fetcher_that_vanishes_leaves_no_reader_waiting() {
        let (in_flight, _) = in_flight();
        drop(DownloadGuard(Arc::clone(&in_flight)));
        let error = InFlightReader::new(in_flight).read(&mut [0; 8]).unwrap_err();
        assert_eq!(Error::from_io(error, |error| panic!("{error}")).exit_code(), 130);
    }
}
