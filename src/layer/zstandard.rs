//! The Zstandard format (RFC 8878): every frame, and the skippable ones of zstd:chunked.

use std::io::{self, Read};

use zstd::stream::raw::{DParameter, Decoder, Operation as _};

use super::input::{Input, invalid};

const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

/// Whether these bytes begin a frame, or a skippable frame (RFC 8878, 3.1.2).
pub(super) fn is_magic(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
        || matches!(bytes, [low, 0x2a, 0x4d, 0x18, ..] if (0x50..=0x5f).contains(low))
}

/// The uncompressed bytes of all frames.
pub(super) struct Zstandard<R> {
    input: Input<R>,
    decoder: Decoder<'static>,
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
    pub(super) fn new(input: Input<R>, window_log: u32) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(window_log))?;
        Ok(Self { input, decoder, state: State::Between })
    }

    pub(super) fn received(&self) -> u64 {
        self.input.received()
    }

    fn next_frame(&mut self) -> io::Result<State> {
        if is_magic(self.input.look(MAGIC.len())?) {
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
