//! The Zstandard format (RFC 8878): every frame, and the skippable ones of zstd:chunked.

use std::io::{self, Read};

use zstd::stream::raw::{DParameter, Decoder, Operation as _};

use super::flag;
use super::input::{Excess, Input, invalid};
use super::pool::Share;

const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

/// Whether these bytes begin a frame, or a skippable frame (RFC 8878, 3.1.2).
pub(super) fn is_magic(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
        || matches!(bytes, [low, 0x2a, 0x4d, 0x18, ..] if (0x50..=0x5f).contains(low))
}

/// The window that every decoder should have room for (RFC 8878, 3.1.1.1.2), and that layers may take
/// before their turn. A larger one is only asked for when nothing else is read.
pub(super) const USUAL_WINDOW: usize = 8 << 20;

const USUAL_WINDOW_BYTES: u64 = 8 << 20;
const _: () = assert!(1 << 23 == USUAL_WINDOW && 1 << 23 == USUAL_WINDOW_BYTES);

/// A frame's magic and header at their longest (RFC 8878, 3.1.1.1).
const MAX_HEADER: usize = 18;

/// The bytes that must be remembered to decompress a frame (RFC 8878, 3.1.1.1.2): its window, or
/// all of its content where it is one segment.
fn window(frame: &[u8]) -> Option<u64> {
    let (magic, header) = frame.split_at_checked(MAGIC.len())?;
    if magic != MAGIC {
        return None;
    }
    let (descriptor, rest) = header.split_first()?;
    if descriptor & 0x20 == 0 {
        let window = rest.first()?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    let dictionary = [0, 1, 2, 4].get(usize::from(descriptor & 3))?;
    let size = rest.get(*dictionary..)?;
    Some(match descriptor >> 6 {
        0 => u64::from(*size.first()?),
        1 => 256 + u64::from(u16::from_le_bytes(*size.first_chunk()?)),
        2 => u64::from(u32::from_le_bytes(*size.first_chunk()?)),
        _ => u64::from_le_bytes(*size.first_chunk()?),
    })
}

/// The uncompressed bytes of all frames.
pub(super) struct Zstandard<R> {
    input: Input<R>,
    decoder: Decoder<'static>,
    window_log: u32,
    share: Share,
    state: State,
}

enum State {
    Between,
    Inside,
    Ended,
}

impl<R: Read + Send + 'static> Zstandard<R> {
    pub(super) fn read_ahead(self) -> io::Result<Self> {
        Ok(Self { input: self.input.read_ahead()?, ..self })
    }
}

impl<R: Read> Zstandard<R> {
    pub(super) fn new(input: Input<R>, window_log: u32, share: Share) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(window_log))?;
        Ok(Self { input, decoder, window_log, share, state: State::Between })
    }

    pub(super) fn received(&self) -> u64 {
        self.input.received()
    }

    fn next_frame(&mut self) -> io::Result<State> {
        let start = self.input.look(MAX_HEADER)?;
        if is_magic(start) {
            let window = window(start).unwrap_or_default();
            let limit = 1_u64.checked_shl(self.window_log).unwrap_or(u64::MAX);
            if window > limit {
                let why = format!("a frame wants a window of {window} bytes, at most {limit}");
                return Err(Excess::error(why, flag::WINDOW));
            }
            let usual = u64::try_from(USUAL_WINDOW).unwrap_or(u64::MAX);
            if window > usual && !self.share.wait_for_turn() {
                return Err(io::Error::other("nobody reads the layer any longer"));
            }
            return Ok(State::Inside);
        }
        self.input.expect_padding()?;
        Ok(State::Ended)
    }
}

impl<R: Read> Read for Zstandard<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state {
                State::Ended => return Ok(0),
                State::Between => self.state = self.next_frame()?,
                State::Inside => {
                    let input = self.input.fill()?;
                    let at_end = input.is_empty();
                    let status = self
                        .decoder
                        .run_on_buffers(input, out)
                        .map_err(|error| invalid(error.to_string()))?;
                    self.input.consume(status.bytes_read);
                    if status.remaining == 0 {
                        self.state = State::Between;
                    } else if at_end && status.bytes_written == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    if status.bytes_written > 0 {
                        return Ok(status.bytes_written);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c03_the_window_of_a_frame_is_read_from_its_header() {
        let frame = |header: &[u8]| window(&[&MAGIC[..], header].concat());
        assert_eq!(frame(&[0x00, 0x00]), Some(1 << 10));
        assert_eq!(frame(&[0x00, 0x89]), Some((1 << 27) + (1 << 24)));
        assert_eq!(frame(&[0x00, 0xff]), Some((1 << 41) + 7 * (1 << 38)));
        assert_eq!(frame(&[0x20, 7]), Some(7));
        assert_eq!(frame(&[0x61, 0xdd, 0x01, 0x02]), Some(0x201 + 256));
        assert_eq!(frame(&[0xa2, 0, 0, 1, 2, 3, 4]), Some(0x0403_0201));
        assert_eq!(frame(&[0xe3, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]), Some((1 << 56) + 1));
        assert_eq!(frame(&[0xe0, 1]), None);
        assert_eq!(window(b"\x50\x2a\x4d\x18\xff\xff\xff\xff"), None);
    }
}
