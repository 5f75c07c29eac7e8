//! A layer's uncompressed bytes, decompressed on a thread of their own, hashed and bounded.

use std::io::{self, Read};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use ext4_writer::Buffer;

use super::buffer::allocate;
use super::decompress::{Compression, Decompressor};
use super::gzip::{Members, Trailer};
use super::limits::Excess;
use super::pool::{CHUNK, PLAIN_CHUNK, Pool, Share};
use super::{Limits, flag, widen};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, Result};

/// How much nicer than others a thread is whose work can wait: it gets what they leave, and next to
/// nothing of a processor that they want too. To hash can wait longer than to decompress: when all
/// of the memory is filled, there is still something to do.
const AHEAD: i32 = 15;
const HASHED_AHEAD: i32 = 19;

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

struct Chunk {
    bytes: Buffer,
    filled: usize,
    /// What is said of the bytes and was not compared with them yet.
    trailers: Vec<Trailer>,
}

/// What the threads say: first `Begin`, last `End` or an error.
enum Message {
    Begin(Compression),
    Data(Chunk),
    End(Ended),
}

/// A stream that came to its end.
#[derive(Clone)]
struct Ended {
    compressed: u64,
    diff_id: Option<Digest>,
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

impl Chunk {
    fn filled(&self) -> &[u8] {
        self.bytes.bytes().get(..self.filled).unwrap_or_default()
    }
}

/// The threads' side of a [`LayerStream`].
struct Producer {
    name: String,
    share: Share,
    limits: Limits,
    verified: Option<Digest>,
    /// What the archive is hashed by, if it is.
    hashed_by: Option<Algorithm>,
}

impl Producer {
    /// Starts the thread that reads and decompresses.
    fn spawn<R>(self, reader: R, messages: Sender<Result<Message>>) -> io::Result<()>
    where
        R: Read + Send + 'static,
    {
        thread::Builder::new().name("decompress".to_owned()).spawn(move || {
            let (failed, share) = (messages.clone(), self.share.clone());
            let ran = self.run(reader, messages);
            share.fill_no_more();
            if let Err(error) = ran {
                // Whoever does not listen any longer need not know.
                let _ = failed.send(Err(error));
            }
        })?;
        Ok(())
    }

    /// Works until the end, an error, or until nobody listens.
    fn run<R>(mut self, reader: R, messages: Sender<Result<Message>>) -> Result<()>
    where
        R: Read + Send + 'static,
    {
        let mut input = Decompressor::new(reader, self.limits.window_log, &self.share)
            .and_then(Decompressor::read_ahead)
            .map_err(|error| refuse_read(&self.name, None, error))?;
        let compression = input.compression();
        if messages.send(Ok(Message::Begin(compression))).is_err() {
            return Ok(());
        }
        let known = self.verified.take().filter(|got| {
            compression == Compression::None && self.hashed_by == Some(got.algorithm())
        });
        let hasher = self.hashed_by.filter(|_| known.is_none()).map(Hasher::new);
        let members = (compression == Compression::Gzip).then(Members::new);
        let is_little = hasher.is_none() && members.is_none();
        let mut check = Check { name: &self.name, share: &self.share, known, hasher, members };
        if is_little {
            self.produce(&mut input, |message| {
                messages.send(message.and_then(|message| check.pass(message))).is_ok()
            });
            return Ok(());
        }
        let (chunks, mut on_their_way) = mpsc::channel();
        thread::scope(|scope| {
            thread::Builder::new()
                .name("hash".to_owned())
                .spawn_scoped(scope, move || check.pass_all_on(&mut on_their_way, &messages))
                .map_err(|error| {
                    let name = &self.name;
                    Error::no_thread(format!("cannot start a thread for {name}"), error)
                })?;
            self.produce(&mut input, |message| chunks.send(message).is_ok());
            // Without it the hashing would wait for more.
            drop(chunks);
            Ok(())
        })
    }

    /// Decompresses until the end, an error, or until a message is not wanted. Before the layer's
    /// turn that is done where a processor has nothing better to do.
    fn produce<R: Read + Send>(
        &self,
        input: &mut Decompressor<R>,
        mut send: impl FnMut(Result<Message>) -> bool + Send,
    ) {
        let mut produced: u64 = 0;
        in_its_turn(&self.share, ("ahead", AHEAD), |wanted| {
            self.produce_while(wanted, input, &mut send, &mut produced)
        });
    }

    /// Decompresses as long as `wanted` says so; `false` when there will be nothing more.
    fn produce_while<R: Read>(
        &self,
        wanted: &dyn Fn() -> bool,
        input: &mut Decompressor<R>,
        send: &mut impl FnMut(Result<Message>) -> bool,
        produced: &mut u64,
    ) -> bool {
        while wanted() {
            let Some(bytes) = self.share.take() else { return false };
            let message = self.next_message(input, bytes, produced);
            let is_last = !matches!(message, Ok(Message::Data(_)));
            if !send(message) || is_last {
                return false;
            }
        }
        true
    }

    fn next_message<R: Read>(
        &self,
        input: &mut Decompressor<R>,
        mut bytes: Buffer,
        produced: &mut u64,
    ) -> Result<Message> {
        let length = match input.compression() {
            Compression::None => PLAIN_CHUNK,
            Compression::Gzip | Compression::Zstd | Compression::Xz | Compression::Bzip2 => CHUNK,
        };
        let read = allocate(&mut bytes, length).and_then(|()| {
            // The buffer may be another stream's.
            let room = bytes.bytes_mut();
            let length = length.min(room.len());
            input.read_chunk(room.get_mut(..length).unwrap_or_default())
        });
        let filled = read.map_err(|error| {
            let progress = (input.compression(), input.received());
            refuse_read(&self.name, Some(progress), error)
        })?;
        let trailers = input.take_trailers();
        if filled == 0 && trailers.is_empty() {
            return Ok(Message::End(Ended { compressed: input.received(), diff_id: None }));
        }
        *produced = produced.saturating_add(widen(filled));
        let received = input.received();
        if *produced > self.limits.ratio_free
            && *produced > received.saturating_mul(self.limits.ratio)
        {
            return Err(Error::bad_data(format!(
                "{} looks like a decompression bomb: {received} compressed bytes became {produced}",
                self.name
            ))
            .with_hint(flag::raise(flag::RATIO)));
        }
        if received > self.limits.blob {
            return Err(Error::bad_data(format!(
                "{} is too large: more than {} compressed bytes",
                self.name, self.limits.blob
            ))
            .with_hint(flag::raise(flag::BLOB)));
        }
        Ok(Message::Data(Chunk { bytes, filled, trailers }))
    }
}

/// Does work for as long as the function that it is given says so, and until it says itself that
/// there will be nothing more. Before the turn of `share` that is on a thread that lets others have
/// the processor first, and could not take it back; without a thread nothing is done before.
fn in_its_turn(
    share: &Share,
    (name, nicer): (&str, i32),
    mut work: impl FnMut(&dyn Fn() -> bool) -> bool + Send,
) {
    let mut ahead = || {
        // A kernel that refuses is as good.
        let _ = rustix::process::nice(nicer);
        work(&|| !share.is_turn())
    };
    let goes_on = share.is_turn()
        || thread::scope(|scope| {
            let thread = thread::Builder::new().name(name.to_owned());
            let started = thread.spawn_scoped(scope, &mut ahead);
            started.map_or(true, |thread| thread.join().unwrap_or(false))
        });
    if goes_on {
        work(&|| true);
    }
}

/// What is done to the decompressed bytes beside handing them on.
struct Check<'a> {
    name: &'a str,
    share: &'a Share,
    /// The diff ID, where it is known without hashing.
    known: Option<Digest>,
    hasher: Option<Hasher>,
    /// What gzip's trailers are compared with.
    members: Option<Members>,
}

impl Check<'_> {
    /// Looks at what passes, and says at the end what came of it. Before the layer's turn that is
    /// done where a processor has nothing better to do.
    fn pass_all_on(
        &mut self,
        chunks: &mut Receiver<Result<Message>>,
        messages: &Sender<Result<Message>>,
    ) {
        in_its_turn(self.share, ("hash ahead", HASHED_AHEAD), |wanted| {
            self.pass_on_while(wanted, chunks, messages)
        });
    }

    /// Looks at what passes as long as `wanted` says so; `false` when there will be nothing more.
    fn pass_on_while(
        &mut self,
        wanted: &dyn Fn() -> bool,
        chunks: &mut Receiver<Result<Message>>,
        messages: &Sender<Result<Message>>,
    ) -> bool {
        while wanted() {
            let Ok(message) = chunks.recv() else { return false };
            let message = message.and_then(|message| self.pass(message));
            let is_broken = message.is_err();
            if messages.send(message).is_err() || is_broken {
                return false;
            }
        }
        true
    }

    fn pass(&mut self, message: Message) -> Result<Message> {
        match message {
            Message::Data(chunk) => {
                if let Some(members) = &mut self.members {
                    let verified = members.verify(chunk.filled(), &chunk.trailers);
                    verified.map_err(|(trailer, error)| {
                        let progress = (Compression::Gzip, trailer.received());
                        refuse_read(self.name, Some(progress), error)
                    })?;
                }
                if let Some(hasher) = &mut self.hasher {
                    hasher.update(chunk.filled());
                }
                Ok(Message::Data(chunk))
            }
            Message::End(ended) => {
                let hashed = || self.hasher.take().map(Hasher::finish);
                let diff_id = self.known.take().or_else(hashed);
                Ok(Message::End(Ended { diff_id, ..ended }))
            }
            Message::Begin(compression) => Ok(Message::Begin(compression)),
        }
    }
}

/// What a failed read of a blob means: bad compressed bytes, or a fault below them.
fn refuse_read(name: &str, progress: Option<(Compression, u64)>, error: io::Error) -> Error {
    Error::from_io(error, |error| match (error.kind(), progress) {
        (io::ErrorKind::InvalidData, Some((compression, received))) => {
            let excess = error.get_ref().and_then(|inner| inner.downcast_ref::<Excess>());
            let lift = excess.map(|excess| flag::raise(excess.flag));
            let refused = Error::bad_data(format!(
                "cannot decompress {name}: its {compression} stream is broken near byte {received}"
            ))
            .with_source(error);
            match lift {
                Some(lift) => refused.with_hint(lift),
                None => refused,
            }
        }
        (io::ErrorKind::InvalidData, None) => {
            Error::bad_data(format!("cannot decompress {name}")).with_source(error)
        }
        (io::ErrorKind::UnexpectedEof, Some((compression, received))) => Error::bad_data(format!(
            "cannot decompress {name}: its {compression} stream is cut off at byte {received}"
        )),
        _ => Error::io(format!("cannot read {name}")).with_source(error),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::RecvTimeoutError;
    use std::time::Duration;

    use super::*;
    use crate::layer::buffer::read_full;
    use crate::layer::forge::{bzip2, gzip, xz};

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
