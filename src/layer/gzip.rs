//! The gzip file format (RFC 1952): every member, however many and however empty.
//!
//! The framing is ours and the inflating is behind [`Inflate`], so that the library under it can
//! be exchanged. eStargz writes a member for each file, so a member must cost little.

use std::io::{self, Read};

use super::input::{Input, invalid};

pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Compression method 8 is deflate; RFC 1952 defines no other.
const DEFLATE: u8 = 8;
const FLAG_HEADER_CRC: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;
const FLAGS_RESERVED: u8 = 0b1110_0000;

/// The uncompressed bytes of all members.
pub(super) struct Gzip<R> {
    input: Input<R>,
    inflate: Inflate,
    state: State,
}

enum State {
    Between,
    Inside(flate2::Crc),
    Ended,
}

impl<R: Read + Send + 'static> Gzip<R> {
    pub(super) fn read_ahead(self) -> io::Result<Self> {
        Ok(Self { input: self.input.read_ahead()?, ..self })
    }
}

impl<R: Read> Gzip<R> {
    pub(super) fn new(input: Input<R>) -> Self {
        Self { input, inflate: Inflate::new(), state: State::Between }
    }

    pub(super) fn received(&self) -> u64 {
        self.input.received()
    }

    /// Enters the next member, or finds that nothing but padding is left.
    fn next_member(&mut self) -> io::Result<State> {
        if self.input.look(MAGIC.len())?.starts_with(&MAGIC) {
            self.read_header()?;
            self.inflate.reset();
            return Ok(State::Inside(flate2::Crc::new()));
        }
        self.input.expect_padding()?;
        Ok(State::Ended)
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

    fn read_trailer(input: &mut Input<R>, crc: &flate2::Crc) -> io::Result<()> {
        let expected = u32::from_le_bytes(input.array()?);
        let length = u32::from_le_bytes(input.array()?);
        if expected != crc.sum() {
            let got = crc.sum();
            return Err(invalid(format!("checksum is {got:#010x}, trailer says {expected:#010x}")));
        }
        if length != crc.amount() {
            let got = crc.amount();
            return Err(invalid(format!("length modulo 2^32 is {got}, trailer says {length}")));
        }
        Ok(())
    }
}

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.state {
                State::Ended => return Ok(0),
                State::Between => self.state = self.next_member()?,
                State::Inside(crc) => {
                    let progress = self.inflate.run(self.input.fill()?, out)?;
                    self.input.consume(progress.consumed);
                    crc.update(out.get(..progress.produced).unwrap_or_default());
                    if progress.ended {
                        Self::read_trailer(&mut self.input, crc)?;
                        self.state = State::Between;
                    }
                    if progress.produced > 0 {
                        return Ok(progress.produced);
                    }
                }
            }
        }
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
