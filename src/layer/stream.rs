//! A layer's uncompressed bytes, decompressed on a thread of their own, hashed and bounded.

use std::io::{self, Read};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use super::buffer::Buffer;
use super::decompress::{Compression, Decompressor};
use super::input::{Excess, read_full};
use super::{Limits, flag};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result, carried};

/// Large enough that handing over costs nothing, small enough to stay in a processor's cache.
const CHUNK: usize = 512 << 10;
/// One being filled, one being read, and slack for the unevenness of the two.
const CHUNKS: usize = 6;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerTotals {
    /// How the blob was compressed.
    pub compression: Compression,
    /// Bytes of the blob.
    pub compressed: u64,
    /// Bytes of the archive.
    pub uncompressed: u64,
}

/// The uncompressed bytes of a layer.
///
/// Reading and decompressing run ahead on a thread, in bounded memory; hashing runs with the
/// reader of the stream. Plain archives take the same way: what verifies the blob while it is read
/// then has a processor of its own. Dropping the stream ends the thread at its next chunk.
pub struct LayerStream {
    name: String,
    compression: Compression,
    chunks: Receiver<Result<Message>>,
    empties: Sender<Buffer>,
    current: Chunk,
    position: usize,
    limit: u64,
    /// What lifts `limit`.
    limit_flag: &'static str,
    ignored: u64,
    uncompressed: u64,
    check: Check,
    end: Option<End>,
}

struct Chunk {
    bytes: Buffer,
    filled: usize,
}

/// What the thread says, the last time with `End` or an error.
enum Message {
    Data(Chunk),
    End { compressed: u64 },
}

/// How the stream ended.
#[derive(Clone, Copy)]
enum End {
    Clean { compressed: u64 },
    Failed,
}

/// How the diff ID is found.
enum Check {
    Hash { hasher: Box<Hasher>, expected: Digest },
    Known { got: Digest, expected: Digest },
    Nothing,
}

impl LayerStream {
    /// Reads the first bytes of the blob to tell its compression, then starts its thread.
    pub fn open<R: Read + Send + 'static>(blob: LayerBlob<R>, limits: &Limits) -> Result<Self> {
        let LayerBlob { name, reader, verified, diff_id } = blob;
        let input = Decompressor::new(reader, limits.zstd_window_log)
            .and_then(Decompressor::read_ahead)
            .map_err(|error| refuse_read(&name, None, error))?;
        let compression = input.compression();
        let check = match (diff_id, verified) {
            (None, _) => Check::Nothing,
            (Some(expected), Some(got))
                if compression == Compression::None && got.algorithm() == expected.algorithm() =>
            {
                Check::Known { got, expected }
            }
            (Some(expected), _) => {
                Check::Hash { hasher: Box::new(Hasher::new(expected.algorithm())), expected }
            }
        };
        let (filled, chunks) = mpsc::channel();
        let (empties, empty) = mpsc::channel();
        for _ in 1..CHUNKS {
            // The receiver lives in the next lines.
            let _ = empties.send(Buffer::default());
        }
        let producer =
            Producer { name: name.clone(), input, filled, empty, limits: limits.clone() };
        thread::Builder::new()
            .name("decompress".to_owned())
            .spawn(move || producer.run())
            .map_err(|error| {
                Error::io(format!("cannot start a thread for {name}")).because(error)
            })?;
        Ok(Self {
            name,
            compression,
            chunks,
            empties,
            current: Chunk { bytes: Buffer::default(), filled: 0 },
            position: 0,
            limit: limits.layer,
            limit_flag: flag::LAYER,
            ignored: limits.ignored,
            uncompressed: 0,
            check,
            end: None,
        })
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
        let mut rest = self.current.filled.saturating_sub(self.position);
        let mut trailing: u64 = 0;
        loop {
            trailing = trailing.saturating_add(u64::try_from(rest).unwrap_or(u64::MAX));
            if trailing > self.ignored {
                return Err(Error::bad_data(format!(
                    "{} is no layer: more than {} bytes follow the end of its archive",
                    self.name, self.ignored
                ))
                .hint(flag::raise(flag::IGNORED)));
            }
            if !self.next_chunk()? {
                break;
            }
            rest = self.current.filled;
        }
        let Some(End::Clean { compressed }) = self.end else {
            return Err(Error::internal(format!("{} was finished after it failed", self.name)));
        };
        let (got, expected) = match self.check {
            Check::Nothing => (None, None),
            Check::Known { got, expected } => (Some(got), Some(expected)),
            Check::Hash { hasher, expected } => (Some(hasher.finish()), Some(expected)),
        };
        if got != expected {
            let text = |digest: Option<Digest>| digest.map(|digest| digest.to_string());
            return Err(Error::bad_data(format!(
                "{} is not what the image's configuration lists: its diff ID is {}, expected {}",
                self.name,
                text(got).unwrap_or_default(),
                text(expected).unwrap_or_default(),
            )));
        }
        Ok(LayerTotals {
            compression: self.compression,
            compressed,
            uncompressed: self.uncompressed,
        })
    }

    /// Takes the next chunk in; `false` at the end.
    fn next_chunk(&mut self) -> Result<bool> {
        match self.end {
            Some(End::Clean { .. }) => return Ok(false),
            Some(End::Failed) => {
                return Err(Error::internal(format!("{} was read after it failed", self.name)));
            }
            None => {}
        }
        match self.chunks.recv() {
            Ok(Ok(Message::Data(chunk))) => self.accept(chunk).map(|()| true),
            Ok(Ok(Message::End { compressed })) => {
                self.end = Some(End::Clean { compressed });
                Ok(false)
            }
            Ok(Err(failure)) => {
                self.end = Some(End::Failed);
                Err(failure)
            }
            Err(mpsc::RecvError) => {
                self.end = Some(End::Failed);
                Err(Error::internal(format!("decompressing {} stopped without a word", self.name)))
            }
        }
    }

    fn accept(&mut self, chunk: Chunk) -> Result<()> {
        let spent = std::mem::replace(&mut self.current, chunk);
        self.position = 0;
        // The thread has gone when it has sent the last chunk.
        let _ = self.empties.send(spent.bytes);
        let count = u64::try_from(self.current.filled).unwrap_or(u64::MAX);
        self.uncompressed = self.uncompressed.saturating_add(count);
        if self.uncompressed > self.limit {
            self.end = Some(End::Failed);
            self.current.filled = 0;
            return Err(Error::bad_data(format!(
                "{} is too large: more than {} bytes uncompressed",
                self.name, self.limit
            ))
            .hint(flag::raise(self.limit_flag)));
        }
        if let Check::Hash { hasher, .. } = &mut self.check {
            hasher.update(self.current.filled());
        }
        Ok(())
    }
}

impl Read for LayerStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            let mut rest = self.current.filled().get(self.position..).unwrap_or_default();
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

impl Chunk {
    fn filled(&self) -> &[u8] {
        self.bytes.bytes().get(..self.filled).unwrap_or_default()
    }
}

/// The thread's side of a [`LayerStream`].
struct Producer<R> {
    name: String,
    input: Decompressor<R>,
    filled: Sender<Result<Message>>,
    empty: Receiver<Buffer>,
    limits: Limits,
}

impl<R: Read> Producer<R> {
    /// Works until the end, an error, or until nobody listens.
    fn run(mut self) {
        let mut produced: u64 = 0;
        while let Ok(bytes) = self.empty.recv() {
            let message = self.next_message(bytes, &mut produced);
            let last = !matches!(message, Ok(Message::Data(_)));
            if self.filled.send(message).is_err() || last {
                return;
            }
        }
    }

    fn next_message(&mut self, mut bytes: Buffer, produced: &mut u64) -> Result<Message> {
        if bytes.len() == 0 {
            bytes = Buffer::new(CHUNK);
        }
        let filled = read_full(&mut self.input, bytes.bytes_mut()).map_err(|error| {
            let progress = (self.input.compression(), self.input.received());
            refuse_read(&self.name, Some(progress), error)
        })?;
        if filled == 0 {
            return Ok(Message::End { compressed: self.input.received() });
        }
        *produced = produced.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        let received = self.input.received();
        if *produced > self.limits.ratio_free
            && *produced > received.saturating_mul(self.limits.ratio)
        {
            return Err(Error::bad_data(format!(
                "{} looks like a decompression bomb: {received} compressed bytes became {produced}",
                self.name
            ))
            .hint(flag::raise(flag::RATIO)));
        }
        if received > self.limits.blob {
            return Err(Error::bad_data(format!(
                "{} is too large: more than {} compressed bytes",
                self.name, self.limits.blob
            ))
            .hint(flag::raise(flag::BLOB)));
        }
        Ok(Message::Data(Chunk { bytes, filled }))
    }
}

/// What a failed read of a blob means: bad compressed bytes, or a fault below them.
fn refuse_read(name: &str, progress: Option<(Compression, u64)>, error: io::Error) -> Error {
    carried(error, |error| match (error.kind(), progress) {
        (io::ErrorKind::InvalidData, Some((compression, received))) => {
            let excess = error.get_ref().and_then(|inner| inner.downcast_ref::<Excess>());
            let lift = excess.map(|excess| flag::raise(excess.flag));
            let refused = Error::bad_data(format!(
                "cannot decompress {name}: its {compression} stream is broken near byte {received}"
            ))
            .because(error);
            match lift {
                Some(lift) => refused.hint(lift),
                None => refused,
            }
        }
        (io::ErrorKind::InvalidData, None) => {
            Error::bad_data(format!("cannot decompress {name}")).because(error)
        }
        (io::ErrorKind::UnexpectedEof, Some((compression, received))) => Error::bad_data(format!(
            "cannot decompress {name}: its {compression} stream is cut off at byte {received}"
        )),
        _ => Error::io(format!("cannot read {name}")).because(error),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::RecvTimeoutError;
    use std::time::Duration;

    use super::*;
    use crate::layer::forge::gzip;

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
    fn c07_the_diff_id_covers_every_byte_whatever_was_read_before() {
        let bytes = vec![b'x'; 2 * CHUNK + 77];
        let diff_id = Digest::sha256_of(&bytes);
        for blob in [bytes.clone(), gzip(&bytes), zstd::encode_all(&bytes[..], 1).unwrap()] {
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
        assert!(error.to_string().contains("too large: more than 524288 bytes"), "{error}");
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
        let error = carried(error, |_| Error::internal("the error was lost"));
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
