//! The hashing of decompressed bytes, and their comparison with gzip's trailers.

use std::sync::mpsc::{Receiver, Sender};

use super::decompress::Compression;
use super::gzip::Members;
use super::messages::{Ended, Message, refuse_read};
use super::pool::Share;
use super::turn::in_its_turn;
use crate::digest::{Digest, Hasher};
use crate::error::Result;

/// How much nicer than others a thread is that hashes ahead: nicer than one that decompresses, so
/// that there is still something to do when all of the memory is filled.
const NICENESS: i32 = 19;

/// What is done to the decompressed bytes besides handing them on.
pub(super) struct Check<'a> {
    pub(super) name: &'a str,
    pub(super) share: &'a Share,
    /// The diff ID, where it is known without hashing.
    pub(super) known: Option<Digest>,
    pub(super) hasher: Option<Hasher>,
    /// What gzip's trailers are compared with.
    pub(super) members: Option<Members>,
}

impl Check<'_> {
    /// Looks at what passes, and says at the end what came of it. Before the layer's turn that is
    /// done where a processor has nothing better to do.
    pub(super) fn pass_all_on(
        &mut self,
        chunks: &mut Receiver<Result<Message>>,
        messages: &Sender<Result<Message>>,
    ) {
        in_its_turn(self.share, ("hash ahead", NICENESS), |wanted| {
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

    pub(super) fn pass(&mut self, message: Message) -> Result<Message> {
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
