//! The Zstandard format (RFC 8878): every frame, and the skippable ones of zstd:chunked.

use std::io::{self, Read};

use zstd::stream::raw::{DParameter, Operation as _};

use super::input::{Input, invalid};
use super::limits::Excess;
use super::pool::Share;
use super::streams::{Decoder, Progress};
use super::{flag, widen};

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

/// Decompresses a frame.
pub(super) struct Zstandard {
    decoder: zstd::stream::raw::Decoder<'static>,
    window_log: u32,
    share: Share,
}

impl Zstandard {
    pub(super) fn new(window_log: u32, share: Share) -> io::Result<Self> {
        let mut decoder = zstd::stream::raw::Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(window_log))?;
        Ok(Self { decoder, window_log, share })
    }
}

impl Decoder for Zstandard {
    fn enter<R: Read>(&mut self, input: &mut Input<R>) -> io::Result<bool> {
        let start = input.look(MAX_HEADER)?;
        if !is_magic(start) {
            input.expect_padding()?;
            return Ok(false);
        }
        // A skippable frame has no window.
        let window = window(start).unwrap_or(0);
        let limit = 1_u64.checked_shl(self.window_log).unwrap_or(u64::MAX);
        if window > limit {
            let why = format!("a frame wants a window of {window} bytes, at most {limit}");
            return Err(Excess::error(why, flag::WINDOW));
        }
        if window > widen(USUAL_WINDOW) && !self.share.wait_for_turn() {
            return Err(io::Error::other("nobody reads the layer any longer"));
        }
        Ok(true)
    }

    fn decode(&mut self, input: &[u8], out: &mut [u8]) -> io::Result<Progress> {
        let status =
            self.decoder.run_on_buffers(input, out).map_err(|error| invalid(error.to_string()))?;
        let (consumed, produced) = (status.bytes_read, status.bytes_written);
        Ok(Progress { consumed, produced, is_end: status.remaining == 0 })
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
