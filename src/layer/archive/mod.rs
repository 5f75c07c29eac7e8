//! A tar archive's entries, with the semantics of Go's `archive/tar`.
//!
//! Where Go is laxer than an image may be (an extended header with no entry after it, a GNU long
//! name over a PAX path, entries of unknown type) the archive is refused or PAX wins.

mod bounds;
mod entries;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Seek, SeekFrom};

use crate::error::{Error, Result};
use crate::layer::buffer::read_full;
use crate::layer::entry::Entry;
use crate::layer::header::{BLOCK, BLOCK_BYTES, Header, until_nul};
use crate::layer::pax::{Records, Scope};
use crate::layer::{Limits, flag, widen};

/// Bodies that nobody reads are skipped in pieces of this size.
const SKIP: usize = 64 << 10;

/// Reads the entries of a tar archive, one after the other.
///
/// An entry's stored bytes are read from [`Archive::body`]; what was left is skipped. The bytes
/// after the end of the archive are the reader's, see [`crate::layer::LayerStream::finish`].
pub struct Archive<R> {
    reader: R,
    name: String,
    limits: Limits,
    /// Where the next byte of `reader` stands in the archive.
    position: u64,
    /// Where the current header stands.
    header_at: u64,
    /// Stored bytes of the current entry that were not read yet.
    remaining: u64,
    padding: u64,
    /// Bytes that went nowhere so far, see [`Limits::ignored`].
    ignored: u64,
    current: Vec<u8>,
    globals: Records,
    ended: bool,
}

/// What the headers before an entry say of it.
#[derive(Default)]
struct Extensions {
    /// The body of the PAX header.
    pax: Option<Vec<u8>>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: Read> Archive<R> {
    /// Reads the archive in `reader`, which messages call `name`.
    pub fn new(reader: R, name: impl Into<String>, limits: &Limits) -> Self {
        Self {
            reader,
            name: name.into(),
            limits: limits.clone(),
            position: 0,
            header_at: 0,
            remaining: 0,
            padding: 0,
            ignored: 0,
            current: Vec::new(),
            globals: Records::default(),
            ended: false,
        }
    }

    /// The reader, behind what was read of it.
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// The stored bytes of the current entry; for a sparse file those of its segments only.
    pub fn body(&mut self) -> Body<'_, R> {
        Body(self)
    }

    /// The next entry, or `None` at the end of the archive.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        loop {
            let header = if self.ended { None } else { self.read_header()? };
            let Some(header) = header else {
                self.ended = true;
                return self.end(&extensions);
            };
            // As Go, BSD and GNU do: of two of a kind in a row the last one counts.
            let replaced = match header.typeflag() {
                b'x' => {
                    let replaced = extensions.pax.replace(self.read_extension(&header)?);
                    let body = replaced.as_deref().unwrap_or_default();
                    let read = Records::default().read(body, Scope::Entry);
                    read.map_err(|why| self.refuse(&why))?;
                    replaced
                }
                b'g' => {
                    let body = self.read_extension(&header)?;
                    self.read_globals(&body)?;
                    Some(body)
                }
                b'L' => extensions.long_name.replace(self.read_long_text(&header)?),
                b'K' => extensions.long_link.replace(self.read_long_text(&header)?),
                _ => return self.read_entry(&header, extensions).map(Some),
            };
            if let Some(body) = replaced {
                self.ignore(widen(body.len()).saturating_add(BLOCK_BYTES))?;
            }
        }
    }

    /// Counts bytes that go nowhere. Without a bound an archive of nothing else would be read for
    /// as long as it likes to be.
    fn ignore(&mut self, count: u64) -> Result<()> {
        self.ignored = self.ignored.saturating_add(count);
        let limit = self.limits.ignored;
        if self.ignored > limit {
            let why = format!("more than {limit} bytes of the archive have no use");
            return Err(self.refuse(&why).with_hint(flag::raise(flag::IGNORED)));
        }
        Ok(())
    }

    fn read_globals(&mut self, body: &[u8]) -> Result<()> {
        let mut globals = std::mem::take(&mut self.globals);
        globals.read(body, Scope::Global).map_err(|why| self.refuse(&why))?;
        let (size, limit) = (globals.size(), self.limits.extension);
        if size > limit {
            let why = format!("the global headers have {size} bytes, at most {limit} are kept");
            return Err(self.refuse(&why).with_hint(flag::raise(flag::HEADER)));
        }
        self.globals = globals;
        Ok(())
    }

    fn end(&self, extensions: &Extensions) -> Result<Option<Entry>> {
        let Extensions { pax, long_name, long_link } = extensions;
        if pax.is_some() || long_name.is_some() || long_link.is_some() {
            return Err(self.refuse("the archive ends after an extended header"));
        }
        Ok(None)
    }

    /// Skips what was not read; `false` where the archive ends in the padding, which is allowed.
    fn skip_body(&mut self) -> Result<bool> {
        if self.remaining > 0 {
            self.ignore(self.remaining)?;
            let mut scratch = vec![0; SKIP];
            while self.remaining > 0 {
                self.body().read(&mut scratch).map_err(|error| self.refuse_read(error))?;
            }
        }
        let mut scratch = [0; BLOCK];
        let wanted = usize::try_from(self.padding).unwrap_or(BLOCK);
        let count = self.read_up_to(scratch.get_mut(..wanted).unwrap_or_default())?;
        self.padding = 0;
        Ok(count == wanted)
    }

    /// The next header, or `None` at the end.
    ///
    /// Two zero blocks end an archive, and so does the end of its bytes: after a body, inside the
    /// body's padding, after one zero block. A zero block before anything else is an error.
    fn read_header(&mut self) -> Result<Option<Header>> {
        if !self.skip_body()? {
            return Ok(None);
        }
        self.header_at = self.position;
        self.current.clear();
        let Some(block) = self.read_block()? else { return Ok(None) };
        if block.iter().any(|byte| *byte != 0) {
            return Header::parse(&block).map(Some).map_err(|why| self.refuse(&why));
        }
        match self.read_block()? {
            Some(block) if block.iter().any(|byte| *byte != 0) => {
                Err(self.refuse("one zero block stands among the entries"))
            }
            _ => Ok(None),
        }
    }

    /// A whole block, or `None` at the end.
    fn read_block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        match self.read_up_to(&mut block)? {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            count => Err(self.refuse(&format!("the archive ends after {count} of 512 bytes"))),
        }
    }

    fn read_up_to(&mut self, out: &mut [u8]) -> Result<usize> {
        let count = read_full(&mut self.reader, out).map_err(|error| self.refuse_read(error))?;
        self.position = self.position.saturating_add(widen(count));
        Ok(count)
    }

    /// The body of a header that describes other headers. Their own size counts, never that of a
    /// PAX record (GHSA-3cv2-h65g-fgmm).
    fn read_extension(&mut self, header: &Header) -> Result<Vec<u8>> {
        let size = header.size().map_err(|why| self.refuse(&why))?;
        if size > self.limits.extension {
            let limit = self.limits.extension;
            let why = format!("its extended header has {size} bytes, at most {limit} are read");
            return Err(self.refuse(&why).with_hint(flag::raise(flag::HEADER)));
        }
        self.begin_body(size);
        let mut body = Vec::new();
        self.body().read_to_end(&mut body).map_err(|error| self.refuse_read(error))?;
        Ok(body)
    }

    fn read_long_text(&mut self, header: &Header) -> Result<Vec<u8>> {
        let body = self.read_extension(header)?;
        Ok(until_nul(&body).to_vec())
    }

    fn begin_body(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.wrapping_neg() % BLOCK_BYTES;
    }

    /// Bad data at the current header, or at the entry once its path is known.
    fn refuse(&self, why: &str) -> Error {
        let Self { name, header_at, current, .. } = self;
        let entry = if current.is_empty() {
            format!("the header at byte {header_at}")
        } else {
            format!("\"{}\" at byte {header_at}", shorten(current))
        };
        Error::bad_data(format!("cannot read {name}: {entry}: {why}"))
    }

    fn refuse_read(&self, error: io::Error) -> Error {
        Error::from_io(error, |error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.refuse("the archive ends inside its contents"),
            _ => Error::io(format!("cannot read {}", self.name)).with_source(error),
        })
    }
}

impl<R: Read + Seek> Archive<R> {
    /// Steps over the current entry's stored bytes without reading them; returns where they begin
    /// in an archive that was read from the reader's first byte. Whether the archive holds them
    /// all is not looked at.
    pub fn step_over(&mut self) -> Result<u64> {
        let start = self.position;
        let length = i64::try_from(self.remaining)
            .map_err(|_| self.refuse("its contents are longer than any file can be"))?;
        let end = self.reader.seek(SeekFrom::Current(length));
        end.map_err(|error| self.refuse_read(error))?;
        self.position = self.position.saturating_add(self.remaining);
        self.remaining = 0;
        Ok(start)
    }
}

/// The beginning of a path that may be as long as an extended header.
fn shorten(path: &[u8]) -> String {
    const SHOWN: usize = 200;
    match path.get(..SHOWN) {
        Some(start) if path.len() > SHOWN => format!("{}...", crate::shown::bytes(&start)),
        _ => crate::shown::bytes(&path).to_string(),
    }
}

/// The stored bytes of an [`Archive`]'s current entry.
pub struct Body<'a, R>(&'a mut Archive<R>);

impl<R: Read> Read for Body<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let archive = &mut *self.0;
        let most = usize::try_from(archive.remaining).unwrap_or(usize::MAX).min(out.len());
        let Some(out) = out.get_mut(..most).filter(|out| !out.is_empty()) else { return Ok(0) };
        let count = archive.reader.read(out)?;
        if count == 0 {
            let remaining = archive.remaining;
            let why = format!("the archive ends inside its contents, {remaining} bytes early");
            return Err(io::Error::from(archive.refuse(&why)));
        }
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        archive.remaining = archive.remaining.saturating_sub(count);
        archive.position = archive.position.saturating_add(count);
        usize::try_from(count).map_err(io::Error::other)
    }
}
