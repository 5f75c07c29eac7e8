//! The thread that reads and decompresses a layer's blob.

use std::io::{self, Read};
use std::sync::mpsc::{self, Sender};
use std::thread;

use ext4_writer::Buffer;

use super::buffer::allocate;
use super::check::Check;
use super::decompress::{Compression, Decompressor};
use super::gzip::Members;
use super::messages::{Chunk, Ended, Message, refuse_read};
use super::pool::{CHUNK, PLAIN_CHUNK, Share};
use super::turn::in_its_turn;
use super::{Limits, flag, widen};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, Result};

/// How much nicer than others a thread is that decompresses ahead: it gets what they leave, and
/// next to nothing of a processor that they want too.
const NICENESS: i32 = 15;

/// What the threads of a stream need.
pub(super) struct Producer {
    pub(super) name: String,
    pub(super) share: Share,
    pub(super) limits: Limits,
    pub(super) verified: Option<Digest>,
    /// What the archive is hashed by, if it is.
    pub(super) hashed_by: Option<Algorithm>,
}

impl Producer {
    /// Starts the thread that reads and decompresses.
    pub(super) fn spawn<R>(self, reader: R, messages: Sender<Result<Message>>) -> io::Result<()>
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
        in_its_turn(&self.share, ("ahead", NICENESS), |wanted| {
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
