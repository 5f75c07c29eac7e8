//! Sparse files: the old GNU form and PAX 0.0, 0.1 and 1.0, all to one list of segments.

use std::io::Read;

use ext4_writer::Segment;

use super::buffer::read_full;
use super::header::{BLOCK, BLOCK_BYTES, Reason, unsigned};
use super::{Limits, flag, widen};

/// The `GNU.sparse.*` records of one entry.
#[derive(Clone, Default)]
pub(super) struct SparseRecords {
    major: Option<u64>,
    minor: Option<u64>,
    name: Option<Vec<u8>>,
    size: Option<u64>,
    real_size: Option<u64>,
    /// How many segments there should be.
    segments: Option<u64>,
    /// Offsets and lengths in turn, from one record (0.1) or from many (0.0).
    numbers: Vec<u64>,
}

/// A regular file's size and where its stored bytes belong.
pub(super) struct Layout {
    pub(super) size: u64,
    pub(super) segments: Vec<Segment>,
}

impl SparseRecords {
    pub(super) fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), Reason> {
        match name {
            b"major" => self.major = Some(decimal(value)?),
            b"minor" => self.minor = Some(decimal(value)?),
            b"size" => self.size = Some(decimal(value)?),
            b"realsize" => self.real_size = Some(decimal(value)?),
            b"name" if value.contains(&0) => return Err("holds a NUL byte".to_owned()),
            b"name" => self.name = Some(value.to_vec()),
            b"map" if value.is_empty() => self.numbers.clear(),
            b"map" => {
                self.numbers =
                    value.split(|byte| *byte == b',').map(decimal).collect::<Result<_, _>>()?;
            }
            b"offset" | b"numbytes" => {
                if self.numbers.len().is_multiple_of(2) != (name == b"offset") {
                    return Err("is out of turn".to_owned());
                }
                self.numbers.push(decimal(value)?);
            }
            b"numblocks" => self.segments = Some(decimal(value)?),
            _ => return Err("is of no known sparse format".to_owned()),
        }
        Ok(())
    }

    /// The file's real name, which 0.1 and 1.0 hide behind a substitute.
    pub(super) fn real_name(&self) -> Option<Vec<u8>> {
        self.name.clone().filter(|name| self.is_sparse() && !name.is_empty())
    }

    pub(super) fn is_sparse(&self) -> bool {
        let given = [&self.major, &self.minor, &self.size, &self.real_size];
        given.iter().any(|number| number.is_some()) || !self.numbers.is_empty()
    }

    /// The layout of an entry of `stored` bytes; version 1.0 keeps its map at the body's start,
    /// which is read off `body`.
    pub(super) fn layout(
        self,
        stored: u64,
        body: &mut impl Read,
        limits: &Limits,
    ) -> Result<Layout, SparseError> {
        let numbers = match (self.major, self.minor) {
            (None, None) | (Some(0), Some(0 | 1)) => self.numbers,
            (Some(1), Some(0)) => read_map(body, limits)?,
            (major, minor) => {
                let [major, minor] = [major, minor].map(Option::unwrap_or_default);
                return Err(format!("its sparse format {major}.{minor} is unknown").into());
            }
        };
        let size = self.size.or(self.real_size).unwrap_or(stored);
        let segments = pair(&numbers, limits)?;
        let count = widen(segments.len());
        if let Some(wanted) = self.segments.filter(|wanted| *wanted != count) {
            let why = format!("its sparse map has {count} segments, its records say {wanted}");
            return Err(why.into());
        }
        Ok(Layout { size, segments })
    }
}

/// The archive is bad, its map too large, or reading it failed.
pub(super) enum SparseError {
    Refused(Reason),
    /// Over a bound, which this flag lifts.
    TooMany(Reason, &'static str),
    Read(std::io::Error),
}

impl From<Reason> for SparseError {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

impl From<std::io::Error> for SparseError {
    fn from(error: std::io::Error) -> Self {
        Self::Read(error)
    }
}

/// The map of PAX 1.0: decimal lines in whole blocks, the number of segments first.
fn read_map(body: &mut impl Read, limits: &Limits) -> Result<Vec<u64>, SparseError> {
    let mut numbers = Vec::new();
    let mut line = Vec::new();
    let mut wanted = None;
    let mut block = [0; BLOCK];
    let mut read: u64 = 0;
    while wanted != Some(numbers.len()) {
        if read_full(body, &mut block)? < BLOCK {
            return Err("its sparse map is cut off".to_owned().into());
        }
        read = read.saturating_add(BLOCK_BYTES);
        if read > limits.extension {
            let why = format!("its sparse map has more than {} bytes", limits.extension);
            return Err(SparseError::TooMany(why, flag::HEADER));
        }
        for byte in block {
            if wanted == Some(numbers.len()) {
                break;
            }
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            let value = decimal(&line)?;
            line.clear();
            if wanted.is_none() {
                wanted = Some(segment_numbers(value, limits)?);
            } else {
                numbers.push(value);
            }
        }
    }
    Ok(numbers)
}

fn segment_numbers(segments: u64, limits: &Limits) -> Result<usize, SparseError> {
    usize::try_from(segments)
        .ok()
        .filter(|segments| *segments <= limits.sparse_segments)
        .and_then(|segments| segments.checked_mul(2))
        .ok_or_else(|| too_many(limits))
}

fn too_many(limits: &Limits) -> SparseError {
    let limit = limits.sparse_segments;
    SparseError::TooMany(format!("its sparse map has more than {limit} segments"), flag::SPARSE)
}

fn pair(numbers: &[u64], limits: &Limits) -> Result<Vec<Segment>, SparseError> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("its sparse map ends with an offset".to_owned().into());
    }
    if pairs.len() > limits.sparse_segments {
        return Err(too_many(limits));
    }
    Ok(pairs.iter().map(|[offset, length]| Segment { offset: *offset, length: *length }).collect())
}

/// The layout of an old GNU sparse file; more of its map may stand in blocks after the header,
/// which `next_block` reads.
pub(super) fn gnu_layout(
    header: &tar::GnuHeader,
    limits: &Limits,
    mut next_block: impl FnMut() -> Result<[u8; BLOCK], SparseError>,
) -> Result<Layout, SparseError> {
    let size = unsigned("real size", &header.realsize)?;
    let mut segments = Vec::new();
    let mut add = |records: &[tar::GnuSparseHeader]| -> Result<(), SparseError> {
        // The first unused record begins with NUL.
        for record in records.iter().take_while(|record| !record.offset.starts_with(&[0])) {
            if segments.len() >= limits.sparse_segments {
                return Err(too_many(limits));
            }
            let offset = unsigned("sparse offset", &record.offset)?;
            let length = unsigned("sparse length", &record.numbytes)?;
            segments.push(Segment { offset, length });
        }
        Ok(())
    };
    add(&header.sparse)?;
    let mut extended = header.isextended != [0];
    while extended {
        let block = next_block()?;
        let mut extension = tar::GnuExtSparseHeader::new();
        extension.as_mut_bytes().copy_from_slice(&block);
        if extension.sparse.first().is_none_or(|record| record.offset.starts_with(&[0])) {
            return Err("its sparse map goes on with an empty block".to_owned().into());
        }
        add(&extension.sparse)?;
        extended = extension.isextended != [0];
    }
    Ok(Layout { size, segments })
}

impl Layout {
    /// Checks the map against the file's size and its stored bytes, and drops empty segments.
    pub(super) fn verify(mut self, stored: u64) -> Result<Self, Reason> {
        let mut end: u64 = 0;
        let mut total: u64 = 0;
        for Segment { offset, length } in &self.segments {
            if *offset < end {
                return Err(format!("its sparse segment at {offset} overlaps the one before"));
            }
            end = offset
                .checked_add(*length)
                .filter(|end| *end <= self.size)
                .ok_or_else(|| format!("its sparse segment at {offset} reaches over its size"))?;
            total = total.saturating_add(*length);
        }
        if total != stored {
            return Err(format!("its sparse map wants {total} bytes, {stored} are stored"));
        }
        self.segments.retain(|segment| segment.length > 0);
        Ok(self)
    }
}

fn decimal(text: &[u8]) -> Result<u64, Reason> {
    Some(text)
        .filter(|text| text.iter().all(u8::is_ascii_digit))
        .and_then(|text| str::from_utf8(text).ok()?.parse().ok())
        .ok_or_else(|| {
            let start = text.get(..text.len().min(40)).unwrap_or_default();
            format!("has \"{}\" where a number belongs", crate::shown::bytes(&start))
        })
}
