//! The image as a row of blocks, with those that the journal replaces seen as replaced.

use std::collections::BTreeMap;
use std::fmt;

use crate::format::units::{BlockIndex, BlockSize, widen};
use crate::reader::error::{Part, ReadError, ReadResult};
use crate::reader::source::Source;
use crate::record::journal::MAGIC;

/// Where the journal has the content of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replacement {
    /// The block of the journal.
    pub at: BlockIndex,
    /// Its first four bytes were the journal's magic number.
    pub escaped: bool,
}

/// The blocks that the journal replaces.
pub(crate) type Overlay = BTreeMap<u64, Replacement>;

/// A source cut into blocks.
pub(crate) struct Device<S> {
    source: S,
    pub block: BlockSize,
    /// The blocks of the filesystem, all within the source.
    pub blocks: u64,
    overlay: Overlay,
}

impl<S> fmt::Debug for Device<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("block", &self.block)
            .field("blocks", &self.blocks)
            .field("replaced", &self.overlay.len())
            .finish_non_exhaustive()
    }
}

/// Reads bytes of a source.
pub(crate) fn read<S: Source>(source: &S, offset: u64, buffer: &mut [u8]) -> ReadResult<()> {
    source.read_at(offset, buffer).map_err(|error| ReadError::Io {
        offset,
        length: widen(buffer.len()),
        source: error,
    })
}

impl<S: Source> Device<S> {
    /// A source of which nothing is known yet but that a superblock may be in it.
    pub(crate) fn new(source: S) -> Self {
        Self { source, block: BlockSize::SMALLEST, blocks: 0, overlay: Overlay::new() }
    }

    /// The same, cut into so many blocks of this size.
    pub(crate) fn sized(self, block: BlockSize, blocks: u64) -> Self {
        Self { block, blocks, ..self }
    }

    /// The same, with blocks replaced.
    pub(crate) fn replaced(self, overlay: Overlay) -> Self {
        Self { overlay, ..self }
    }

    /// The bytes of the source.
    pub(crate) fn length(&self) -> ReadResult<u64> {
        let length = self.source.length();
        length.map_err(|source| ReadError::Io { offset: 0, length: 0, source })
    }

    /// The source itself.
    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    /// The blocks that are replaced.
    pub(crate) fn into_replaced(self) -> Overlay {
        self.overlay
    }

    /// The source, given back.
    pub(crate) fn into_source(self) -> S {
        self.source
    }

    /// Whether a run of blocks lies within the filesystem.
    pub(crate) fn holds(&self, start: u64, length: u64) -> bool {
        start.checked_add(length).is_some_and(|end| end <= self.blocks)
    }

    /// Where a block begins; `part` is what points at it.
    pub(crate) fn offset(&self, block: u64, part: Part) -> ReadResult<u64> {
        if block < self.blocks {
            return Ok(self.block.offset(BlockIndex::new(block)));
        }
        let detail = format!("it points at block {block} of {}", self.blocks);
        Err(ReadError::corrupt(part, detail))
    }

    /// A whole block, for `part` that points at it.
    pub(crate) fn read_block(&self, block: u64, part: Part) -> ReadResult<Vec<u8>> {
        let offset = self.offset(block, part)?;
        let mut bytes = vec![0; self.block.len()];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Bytes of the filesystem, in one or several blocks.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> ReadResult<()> {
        if self.overlay.is_empty() {
            return read(&self.source, offset, buffer);
        }
        let (mut offset, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let block = offset / self.block.bytes();
            let into = offset % self.block.bytes();
            let room = usize::try_from(self.block.bytes() - into).unwrap_or(usize::MAX);
            let length = room.min(rest.len());
            let (piece, behind) = rest.split_at_mut(length);
            match self.overlay.get(&block) {
                None => read(&self.source, offset, piece)?,
                Some(replacement) => self.read_replaced(*replacement, into, piece)?,
            }
            offset = offset.saturating_add(widen(length));
            rest = behind;
        }
        Ok(())
    }

    /// The bytes from `into` of a block that the journal has.
    fn read_replaced(&self, from: Replacement, into: u64, piece: &mut [u8]) -> ReadResult<()> {
        read(&self.source, self.block.offset(from.at).saturating_add(into), piece)?;
        if from.escaped {
            let start = usize::try_from(into).unwrap_or(usize::MAX);
            let hidden = MAGIC.to_be_bytes();
            let hidden = hidden.get(start..).unwrap_or_default();
            for (byte, magic) in piece.iter_mut().zip(hidden) {
                *byte = *magic;
            }
        }
        Ok(())
    }
}
