//! The gzip file format (RFC 1952): every member, however many and however empty.
//!
//! The framing is ours and the inflating is behind [`Inflate`], so that the library under it can
//! be exchanged. eStargz writes a member for each file, so a member must cost little. The checksums
//! are taken apart from the inflating, which is the longest of what has to be done in order.

use std::io::{self, Read};

use super::input::{Input, invalid};
use super::widen;

pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Compression method 8 is deflate; RFC 1952 defines no other.
const DEFLATE: u8 = 8;
const FLAG_HEADER_CRC: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;
const FLAGS_RESERVED: u8 = 0b1110_0000;

/// How many trailers may wait to be compared: a chunk of tiny members ends early.
const MOST_TRAILERS: usize = 256;

/// The uncompressed bytes of all members.
pub(super) struct Gzip<R> {
    input: Input<R>,
    inflate: Inflate,
    state: State,
    /// The uncompressed bytes so far, and those before this member.
    produced: u64,
    before: u64,
    /// Those of members whose bytes were given out since they were last asked for.
    trailers: Vec<Trailer>,
}

enum State {
    Between,
    Inside,
    Ended,
}

/// What a member says of its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trailer {
    /// Where the member ends in the uncompressed bytes of all.
    end: u64,
    crc: u32,
    /// The length modulo 2³².
    length: u32,
    /// The compressed bytes up to here.
    received: u64,
}

impl<R: Read + Send + 'static> Gzip<R> {
    pub(super) fn read_ahead(self) -> io::Result<Self> {
        Ok(Self { input: self.input.read_ahead()?, ..self })
    }
}

impl<R: Read> Gzip<R> {
    pub(super) fn new(input: Input<R>) -> Self {
        let (inflate, state) = (Inflate::new(), State::Between);
        Self { input, inflate, state, produced: 0, before: 0, trailers: Vec::new() }
    }

    pub(super) fn received(&self) -> u64 {
        self.input.received()
    }

    /// Fills `out` as far as the input reaches, or until many members have ended.
    pub(super) fn read_chunk(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(free) = out.get_mut(filled..).filter(|free| !free.is_empty())
            && self.trailers.len() < MOST_TRAILERS
        {
            let count = self.read_some(free)?;
            if count == 0 {
                break;
            }
            filled = filled.saturating_add(count);
        }
        Ok(filled)
    }

    /// The trailers of the members that ended in the chunks since the last call.
    pub(super) fn take_trailers(&mut self) -> Vec<Trailer> {
        std::mem::take(&mut self.trailers)
    }

    /// At least one byte; none at the end.
    fn read_some(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.state {
                State::Ended => return Ok(0),
                State::Between => self.state = self.next_member()?,
                State::Inside => {
                    let progress = self.inflate.run(self.input.fill()?, out)?;
                    self.input.consume(progress.consumed);
                    self.produced = self.produced.saturating_add(widen(progress.produced));
                    if progress.ended {
                        self.end_member()?;
                    }
                    if progress.produced > 0 {
                        return Ok(progress.produced);
                    }
                }
            }
        }
    }

    /// Enters the next member, or finds that nothing but padding is left.
    fn next_member(&mut self) -> io::Result<State> {
        if self.input.look(MAGIC.len())?.starts_with(&MAGIC) {
            self.read_header()?;
            self.inflate.reset();
            self.before = self.produced;
            return Ok(State::Inside);
        }
        self.input.expect_padding()?;
        Ok(State::Ended)
    }

    fn end_member(&mut self) -> io::Result<()> {
        let crc = u32::from_le_bytes(self.input.array()?);
        let length = u32::from_le_bytes(self.input.array()?);
        let trailer = Trailer { end: self.produced, crc, length, received: self.received() };
        if self.produced == self.before {
            // However many empty members there are, none of them waits.
            trailer.compare(&flate2::Crc::new())?;
        } else {
            self.trailers.push(trailer);
        }
        self.state = State::Between;
        Ok(())
    }

    fn read_header(&mut self) -> io::Result<()> {
        let [_, _, method, flags, ..] = self.input.array::<10>()?;
        if method != DEFLATE {
            return Err(invalid(format!("compression method {method} is not deflate")));
        }
        if flags & FLAGS_RESERVED != 0 {
            return Err(invalid(format!("reserved header flags {flags:#04x} are set")));
        }
        if flags & FLAG_EXTRA != 0 {
            for _ in 0..u16::from_le_bytes(self.input.array()?) {
                self.input.byte()?;
            }
        }
        for text in [FLAG_NAME, FLAG_COMMENT] {
            if flags & text != 0 {
                while self.input.byte()? != 0 {}
            }
        }
        if flags & FLAG_HEADER_CRC != 0 {
            self.input.array::<2>()?;
        }
        Ok(())
    }
}

impl Trailer {
    fn compare(&self, got: &flate2::Crc) -> io::Result<()> {
        let (crc, length) = (got.sum(), got.amount());
        if self.crc != crc {
            let said = self.crc;
            return Err(invalid(format!("checksum is {crc:#010x}, trailer says {said:#010x}")));
        }
        if self.length != length {
            let said = self.length;
            return Err(invalid(format!("length modulo 2^32 is {length}, trailer says {said}")));
        }
        Ok(())
    }

    /// The compressed bytes up to its end.
    pub(super) fn received(&self) -> u64 {
        self.received
    }
}

/// Compares the bytes of members with their trailers, on whatever thread has the time.
pub(super) struct Members {
    crc: flate2::Crc,
    position: u64,
}

impl Members {
    pub(super) fn new() -> Self {
        Self { crc: flate2::Crc::new(), position: 0 }
    }

    /// Takes the next bytes and the trailers of the members that end in them. An error comes with
    /// the trailer that it is about.
    pub(super) fn verify(
        &mut self,
        mut bytes: &[u8],
        trailers: &[Trailer],
    ) -> Result<(), (Trailer, io::Error)> {
        for trailer in trailers {
            let length = trailer.end.saturating_sub(self.position);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let (last, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
            self.take(last);
            trailer.compare(&self.crc).map_err(|error| (*trailer, error))?;
            self.crc.reset();
            bytes = rest;
        }
        self.take(bytes);
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        self.position = self.position.saturating_add(widen(bytes.len()));
    }
}

/// A raw deflate decoder: all that is used of the library.
struct Inflate(flate2::Decompress);

struct Progress {
    consumed: usize,
    produced: usize,
    ended: bool,
}

impl Inflate {
    fn new() -> Self {
        Self(flate2::Decompress::new(false))
    }

    fn reset(&mut self) {
        self.0.reset(false);
    }

    /// One step; `input` is empty only where the compressed bytes end.
    fn run(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<Progress> {
        let (consumed, produced) = (self.0.total_in(), self.0.total_out());
        let status = self
            .0
            .decompress(input, output, flate2::FlushDecompress::None)
            .map_err(|error| invalid(error.to_string()))?;
        let step = |total: u64, before: u64| {
            usize::try_from(total.saturating_sub(before)).map_err(io::Error::other)
        };
        let consumed = step(self.0.total_in(), consumed)?;
        let produced = step(self.0.total_out(), produced)?;
        let ended = matches!(status, flate2::Status::StreamEnd);
        if consumed == 0 && produced == 0 && !ended {
            return Err(if input.is_empty() {
                io::ErrorKind::UnexpectedEof.into()
            } else {
                invalid("the deflate stream makes no progress")
            });
        }
        Ok(Progress { consumed, produced, ended })
    }
}
