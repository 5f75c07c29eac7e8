//! The bytes of a file of the host: where they are, and how they are read.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;

use ext4_writer::Segment;
use rustix::fs::{SeekFrom, Stat};
use rustix::io::Errno;
use tempfile::SpooledTempFile;

use crate::error::{Error, Result};
use crate::layer::{Entry, flag};
use crate::read::filled;
use crate::source::directory_of_copies;

/// How many stretches of data of one file are told apart; behind them holes become zeros.
const MAX_SEGMENTS: usize = 1 << 20;
/// The unit of `st_blocks` (stat(2)).
const SECTOR: u64 = 512;
/// How much of a copy stays in memory.
const IN_MEMORY: usize = 1 << 20;

/// What a file says of where its bytes are.
pub(super) enum Stored {
    /// All of its length is stored.
    Whole,
    /// So much of it; the rest are holes.
    Parts(Vec<Segment>),
    /// It takes no space: the kernel makes it up when it is read, and its length is a guess or 0,
    /// as below /proc and /sys.
    Unknown,
}

impl Stored {
    /// Asks a file. Source: lseek(2), `SEEK_DATA` and `SEEK_HOLE`.
    pub(super) fn find(file: &File, stat: &Stat) -> Result<Self, Errno> {
        let size = size(stat);
        if size == 0 {
            // A length of 0 may not be meant.
            return Ok(match file.read_at(&mut [0], 0) {
                Ok(0) => Self::Whole,
                Ok(_) | Err(_) => Self::Unknown,
            });
        }
        if bytes(stat) >= size {
            return Ok(Self::Whole);
        }
        let mut segments = Vec::new();
        let mut end = 0;
        while end < size {
            let offset = match rustix::fs::seek(file, SeekFrom::Data(end)) {
                Ok(offset) if offset < size => offset,
                // Nothing but a hole follows.
                Ok(_) | Err(Errno::NXIO) => break,
                // The filesystem does not tell.
                Err(Errno::INVAL) if bytes(stat) > 0 => return Ok(Self::Whole),
                Err(Errno::INVAL) => return Ok(Self::Unknown),
                Err(error) => return Err(error),
            };
            end = match segments.len() {
                MAX_SEGMENTS.. => size,
                _ => rustix::fs::seek(file, SeekFrom::Hole(offset))?.min(size),
            };
            if end <= offset {
                // It was cut meanwhile; its reader will say so.
                break;
            }
            segments.push(Segment { offset, length: end.saturating_sub(offset) });
        }
        if bytes(stat) == 0 && !segments.is_empty() {
            // Data that take no space. To ask for them has moved the file's position.
            rustix::fs::seek(file, SeekFrom::Start(0))?;
            return Ok(Self::Unknown);
        }
        Ok(Self::Parts(segments))
    }
}

/// The bytes that a file takes on its disk. The host's filesystem says so, and may say anything:
/// less than nothing is nothing.
pub(super) fn bytes(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(SECTOR)
}

/// The length of a file, as the host's filesystem says it; its bytes are counted when they are read.
pub(super) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

/// The stored bytes of a file, those of its segments one after the other.
pub(super) struct StoredContent<'a> {
    file: &'a File,
    /// The segments that are still to be read, the next one last.
    rest: Vec<Segment>,
    seen: &'a dyn Fn(u64),
}

impl<'a> StoredContent<'a> {
    pub(super) fn new(file: &'a File, entry: &Entry, seen: &'a dyn Fn(u64)) -> Self {
        let mut rest = match &entry.segments {
            Some(segments) => segments.clone(),
            None => vec![Segment { offset: 0, length: entry.size }],
        };
        rest.reverse();
        Self { file, rest, seen }
    }
}

impl Read for StoredContent<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let segment = loop {
            match self.rest.last_mut() {
                None => return Ok(0),
                Some(segment) if segment.length > 0 => break segment,
                Some(_) => self.rest.pop(),
            };
        };
        let length = usize::try_from(segment.length).unwrap_or(usize::MAX).min(buffer.len());
        let (part, _) = buffer.split_at_mut(length);
        let count = self.file.read_at(part, segment.offset)?;
        if count == 0 && !part.is_empty() {
            let message = "the file was cut while it was read";
            return Err(Error::try_again(message)
                .with_hint("run again when nobody writes in it")
                .into());
        }
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        (self.seen)(count);
        segment.offset = segment.offset.saturating_add(count);
        segment.length = segment.length.saturating_sub(count);
        usize::try_from(count).map_err(io::Error::other)
    }
}

/// Reads something of unknown length to its end, at most `limit` bytes; returns a copy at its
/// beginning, and how long it is.
pub(super) fn copy_of(
    reader: &mut dyn Read,
    name: &str,
    limit: u64,
) -> Result<(SpooledTempFile, u64)> {
    let failed =
        |error| Error::from_io(error, |error| Error::of_file(format!("cannot read {name}"), error));
    let directory = directory_of_copies();
    let unwritable = |error| {
        let directory = directory.display();
        Error::cannot_create(format!("cannot keep a copy of {name} in {directory}"))
            .with_source(error)
            .with_hint("TMPDIR names another directory")
    };
    let mut copy = tempfile::spooled_tempfile_in(IN_MEMORY, &directory);
    let mut buffer = vec![0; 256 << 10];
    let mut length = 0_u64;
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        length = length.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if length > limit {
            let message = format!("cannot add {name}: it has more than {limit} bytes");
            return Err(Error::bad_data(message).with_hint(flag::raise(flag::LAYER)));
        }
        copy.write_all(filled(&buffer, count).map_err(failed)?).map_err(unwritable)?;
    }
    copy.rewind().map_err(unwritable)?;
    Ok((copy, length))
}
