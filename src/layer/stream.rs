//! A layer's uncompressed bytes, decompressed on a thread of their own, hashed and bounded.

use std::io::{self, Read};
use std::sync::mpsc::{self, Receiver};

use super::decompress::Compression;
use super::messages::{Chunk, Ended, Message};
use super::pool::{Pool, Share};
use super::producer::Producer;
use super::{Limits, flag, widen};
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};

/// A layer's blob and what its manifest says of it.
pub struct LayerBlob<R> {
    /// How messages call it, such as `layer 3 (sha256:0123456789ab)`.
    pub name: String,
    /// The compressed bytes.
    pub reader: R,
    /// The digest that `reader` itself verifies before it reports its end, if it does. Where the
    /// blob is a plain tar archive it is also the diff ID, which saves hashing it twice.
    pub verified: Option<Digest>,
    /// The digest that the uncompressed bytes must have.
    pub diff_id: Option<Digest>,
}

/// What was counted while a layer was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerTotals {
    /// How the blob was compressed.
    pub compression: Compression,
    /// Bytes of the blob.
    pub compressed: u64,
    /// Bytes of the archive.
    pub uncompressed: u64,
    /// The digest of the archive: the one that was promised, or that was to be found.
    pub digest: Option<Digest>,
}

/// The uncompressed bytes of a layer.
///
/// Reading, decompressing and hashing run ahead on threads of their own, in bounded memory. Plain
/// archives take the same way: what verifies the blob while it is read then has a processor of its
/// own. Dropping the stream ends the threads at their next chunk.
pub struct LayerStream {
    name: String,
    compression: Compression,
    messages: Receiver<Result<Message>>,
    share: Share,
    current: Option<Chunk>,
    position: usize,
    limit: u64,
    /// What lifts `limit`.
    limit_flag: &'static str,
    ignored: u64,
    uncompressed: u64,
    expected: Option<Digest>,
    end: Option<End>,
}

/// How the stream ended.
enum End {
    Clean(Ended),
    Failed,
}

impl LayerStream {
    /// Starts the threads, and waits for the first bytes of the blob to tell its compression.
    pub fn open<R: Read + Send + 'static>(blob: LayerBlob<R>, limits: &Limits) -> Result<Self> {
        let mut stream = Self::start(blob, limits, Pool::new(0).join(0))?;
        stream.begin()?;
        Ok(stream)
    }

    /// The same with an archive of which nothing is promised, whose digest is to be found while it
    /// is read.
    pub fn open_to_identify<R: Read + Send + 'static>(
        blob: LayerBlob<R>,
        algorithm: Algorithm,
        limits: &Limits,
    ) -> Result<Self> {
        let share = Pool::new(0).join(0);
        let mut stream = Self::start_with(blob, Some(algorithm), limits, share)?;
        stream.begin()?;
        Ok(stream)
    }

    /// Starts the threads. Nothing may be read before [`Self::begin`].
    pub(super) fn start<R: Read + Send + 'static>(
        blob: LayerBlob<R>,
        limits: &Limits,
        share: Share,
    ) -> Result<Self> {
        let hashed_by = blob.diff_id.as_ref().map(Digest::algorithm);
        Self::start_with(blob, hashed_by, limits, share)
    }

    fn start_with<R: Read + Send + 'static>(
        blob: LayerBlob<R>,
        hashed_by: Option<Algorithm>,
        limits: &Limits,
        share: Share,
    ) -> Result<Self> {
        let LayerBlob { name, reader, verified, diff_id: expected } = blob;
        let producer = Producer {
            name: name.clone(),
            share: share.clone(),
            limits: limits.clone(),
            verified,
            hashed_by,
        };
        let (sender, messages) = mpsc::channel();
        let start = || producer.spawn(reader, sender);
        start().map_err(|error| {
            Error::no_thread(format!("cannot start a thread for {name}"), error)
        })?;
        Ok(Self {
            name,
            compression: Compression::None,
            messages,
            share,
            current: None,
            position: 0,
            limit: limits.layer,
            limit_flag: flag::LAYER,
            ignored: limits.ignored,
            uncompressed: 0,
            expected,
            end: None,
        })
    }

    /// Waits for the first bytes of the blob.
    pub(super) fn begin(&mut self) -> Result<()> {
        match self.receive()? {
            Message::Begin(compression) => {
                self.compression = compression;
                Ok(())
            }
            Message::Data(_) | Message::End(_) => {
                Err(Error::internal(format!("{} was begun twice", self.name)))
            }
        }
    }

    /// How messages call this layer.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lowers the bound on uncompressed bytes to what an image may still have.
    pub fn bound(&mut self, remaining: u64) {
        if remaining < self.limit {
            (self.limit, self.limit_flag) = (remaining, flag::IMAGE);
        }
    }

    /// Reads what is left, and verifies the diff ID.
    ///
    /// Bytes after the end of the archive belong to the layer and to its digest.
    pub fn finish(mut self) -> Result<LayerTotals> {
        let mut rest = self.filled().len().saturating_sub(self.position);
        let mut trailing: u64 = 0;
        loop {
            trailing = trailing.saturating_add(widen(rest));
            if trailing > self.ignored {
                return Err(Error::bad_data(format!(
                    "{} is no layer: more than {} bytes follow the end of its archive",
                    self.name, self.ignored
                ))
                .with_hint(flag::raise(flag::IGNORED)));
            }
            if !self.next_chunk()? {
                break;
            }
            rest = self.filled().len();
        }
        let Some(End::Clean(Ended { compressed, diff_id })) = self.end.take() else {
            return Err(Error::internal(format!("{} was finished after it failed", self.name)));
        };
        if self.expected.is_some() && diff_id != self.expected {
            let text = |digest: &Option<Digest>| digest.as_ref().map(ToString::to_string);
            return Err(Error::bad_data(format!(
                "{} is not what the image's configuration lists: its diff ID is {}, expected {}",
                self.name,
                text(&diff_id).unwrap_or_default(),
                text(&self.expected).unwrap_or_default(),
            )));
        }
        Ok(LayerTotals {
            compression: self.compression,
            compressed,
            uncompressed: self.uncompressed,
            digest: diff_id,
        })
    }

    /// Takes the next chunk in; `false` at the end.
    fn next_chunk(&mut self) -> Result<bool> {
        match self.end {
            Some(End::Clean(_)) => return Ok(false),
            Some(End::Failed) => {
                return Err(Error::internal(format!("{} was read after it failed", self.name)));
            }
            None => {}
        }
        match self.receive()? {
            Message::Data(chunk) => self.accept(chunk).map(|()| true),
            Message::End(ended) => {
                self.end = Some(End::Clean(ended));
                Ok(false)
            }
            Message::Begin(_) => Err(Error::internal(format!("{} began in its middle", self.name))),
        }
    }

    fn receive(&mut self) -> Result<Message> {
        let lost = || Error::internal(format!("reading {} stopped without a word", self.name));
        let message = self.messages.recv().map_err(|_| lost()).and_then(|message| message);
        if message.is_err() {
            self.end = Some(End::Failed);
        }
        message
    }

    fn accept(&mut self, chunk: Chunk) -> Result<()> {
        let count = widen(chunk.filled);
        if let Some(spent) = self.current.replace(chunk) {
            self.share.give(spent.bytes);
        }
        self.position = 0;
        self.uncompressed = self.uncompressed.saturating_add(count);
        if self.uncompressed > self.limit {
            self.end = Some(End::Failed);
            self.current = None;
            return Err(Error::bad_data(format!(
                "{} is too large: more than {} bytes uncompressed",
                self.name, self.limit
            ))
            .with_hint(flag::raise(self.limit_flag)));
        }
        Ok(())
    }

    fn filled(&self) -> &[u8] {
        self.current.as_ref().map(Chunk::filled).unwrap_or_default()
    }
}

impl Drop for LayerStream {
    fn drop(&mut self) {
        self.share.close();
    }
}

impl Read for LayerStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            let mut rest = self.filled().get(self.position..).unwrap_or_default();
            if !rest.is_empty() {
                let count = rest.read(out)?;
                self.position = self.position.saturating_add(count);
                return Ok(count);
            }
            if !self.next_chunk().map_err(io::Error::from)? {
                return Ok(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::RecvTimeoutError;
    use std::time::Duration;

    use super::*;
    use crate::layer::buffer::read_full;
    use crate::layer::forge::{bzip2, gzip, xz};
    use crate::layer::pool::CHUNK;

    fn open(blob: Vec<u8>, diff_id: Option<Digest>, limits: &Limits) -> Result<LayerStream> {
        let reader = io::Cursor::new(blob);
        LayerStream::open(
            LayerBlob { name: "layer 1".to_owned(), reader, verified: None, diff_id },
            limits,
        )
    }

    fn failure(stream: LayerStream) -> Error {
        stream.finish().unwrap_err()
    }

    #[test]
    fn an_archive_of_which_nothing_is_promised_is_identified_however_it_is_packed() {
        let bytes = vec![b'x'; 2 * CHUNK + 77];
        for blob in [bytes.clone(), gzip(&bytes), zstd::encode_all(&bytes[..], 1).unwrap()] {
            for algorithm in [Algorithm::Blake3, Algorithm::Sha256] {
                let (name, reader) = ("archive".to_owned(), io::Cursor::new(blob.clone()));
                let blob = LayerBlob { name, reader, verified: None, diff_id: None };
                let limits = Limits::default();
                let stream = LayerStream::open_to_identify(blob, algorithm, &limits).unwrap();
                let digest = stream.finish().unwrap().digest;
                assert_eq!(digest, Some(Digest::of(algorithm, &bytes)));
            }
        }
        let unhashed = open(bytes, None, &Limits::default()).unwrap().finish().unwrap();
        assert_eq!(unhashed.digest, None);
    }

    #[test]
    fn c07_the_diff_id_covers_every_byte_whatever_was_read_before() {
        let bytes = vec![b'x'; 2 * CHUNK + 77];
        let diff_id = Digest::sha256_of(&bytes);
        let zstd = zstd::encode_all(&bytes[..], 1).unwrap();
        for blob in [bytes.clone(), gzip(&bytes), zstd, xz(&bytes), bzip2(&bytes)] {
            for wanted in [0, 1, CHUNK, CHUNK + 1, bytes.len(), bytes.len() + 1] {
                let mut stream =
                    open(blob.clone(), Some(diff_id.clone()), &Limits::default()).unwrap();
                let mut got = vec![0; wanted];
                let count = read_full(&mut stream, &mut got).unwrap();
                assert_eq!(got[..count], bytes[..wanted.min(bytes.len())]);
                let totals = stream.finish().unwrap();
                assert_eq!(totals.uncompressed, u64::try_from(bytes.len()).unwrap());
                assert_eq!(totals.compressed, u64::try_from(blob.len()).unwrap());
            }
        }
    }

    #[test]
    fn c08_a_wrong_diff_id_is_refused_with_both_digests() {
        let (right, wrong) = (Digest::sha256_of(b"right"), Digest::sha256_of(b"wrong"));
        for blob in [b"right".to_vec(), gzip(b"right")] {
            let error = failure(open(blob, Some(wrong.clone()), &Limits::default()).unwrap());
            assert_eq!(error.exit_code(), 65);
            for text in ["layer 1", &right.to_string(), &wrong.to_string()] {
                assert!(error.to_string().contains(text), "{error}");
            }
        }
    }

    #[test]
    fn a_verified_plain_blob_is_not_hashed_again_but_compared() {
        let (right, wrong) = (Digest::sha256_of(b"right"), Digest::sha256_of(b"wrong"));
        let open = |diff_id: &Digest| {
            let reader: &[u8] = b"right";
            let (verified, diff_id) = (Some(right.clone()), Some(diff_id.clone()));
            let blob = LayerBlob { name: "layer 1".to_owned(), reader, verified, diff_id };
            LayerStream::open(blob, &Limits::default()).unwrap().finish()
        };
        assert!(open(&right).is_ok());
        assert_eq!(open(&wrong).unwrap_err().exit_code(), 65);
    }

    #[test]
    fn c11_size_and_ratio_are_bounded() {
        let bytes = vec![0; 3 * CHUNK];
        let limit = u64::try_from(CHUNK).unwrap();
        let small = Limits { layer: limit, ..Limits::default() };
        let error = failure(open(bytes.clone(), None, &small).unwrap());
        assert!(error.to_string().contains("too large: more than 2097152 bytes"), "{error}");
        let dense = Limits { ratio: 10, ratio_free: 1000, ..Limits::default() };
        let error = failure(open(gzip(&bytes), None, &dense).unwrap());
        assert!(error.to_string().contains("bomb"), "{error}");
        assert!(open(gzip(&bytes), None, &Limits::default()).unwrap().finish().is_ok());
        let mut stream = open(bytes, None, &Limits::default()).unwrap();
        stream.bound(10);
        assert_eq!(failure(stream).exit_code(), 65);
    }

    #[test]
    fn f18_a_cut_blob_is_bad_data_that_names_the_layer() {
        let mut blob = gzip(&vec![7; 100_000]);
        blob.truncate(blob.len() - 3);
        let mut stream = open(blob, None, &Limits::default()).unwrap();
        let error = io::copy(&mut stream, &mut io::sink()).unwrap_err();
        let error = Error::from_io(error, |_| Error::internal("the error was lost"));
        assert_eq!(error.exit_code(), 65);
        assert!(error.to_string().contains("layer 1: its gzip stream is cut off"), "{error}");
    }

    #[test]
    fn the_error_of_the_source_comes_out_as_it_went_in() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from(Error::try_again("the registry is tired")))
            }
        }
        let reader = gzip(&vec![7; 100_000])[..50].to_vec();
        let reader = io::Cursor::new(reader).chain(Broken);
        let name = "layer 1".to_owned();
        let blob = LayerBlob { name, reader, verified: None, diff_id: None };
        let error = failure(LayerStream::open(blob, &Limits::default()).unwrap());
        assert_eq!((error.exit_code(), error.to_string().as_str()), (75, "the registry is tired"));
    }

    #[test]
    fn dropping_the_stream_ends_its_thread() {
        struct Endless(mpsc::Sender<()>);
        impl Read for Endless {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                let _ = self.0.send(());
                Ok(out.len())
            }
        }
        let (reads, seen) = mpsc::channel();
        let blob = LayerBlob {
            name: "layer 1".to_owned(),
            reader: Endless(reads),
            verified: None,
            diff_id: None,
        };
        let mut stream = LayerStream::open(blob, &Limits::default()).unwrap();
        stream.read_exact(&mut [0; 10]).unwrap();
        drop(stream);
        // The source is dropped with the thread, which closes the channel.
        loop {
            match seen.recv_timeout(Duration::from_secs(20)) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => panic!("the thread still runs"),
            }
        }
    }
}
