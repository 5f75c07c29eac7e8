//! The image as the check reads it: bytes behind its end read as zeros, so that what a cut-off
//! image still has can be judged.

use std::io;

use crate::format::units::{BlockIndex, BlockSize, widen};
use crate::reader::ReadResult;
use crate::reader::Source;
use crate::reader::device::{Device, Overlay};

/// A source with zeros behind its end.
pub(super) struct Padded<S> {
    source: S,
    length: u64,
}

impl<S: Source> Source for Padded<S> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let there = self.length.saturating_sub(offset).min(widen(buffer.len()));
        let there = usize::try_from(there).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let Some((front, behind)) = buffer.split_at_mut_checked(there) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        behind.fill(0);
        if front.is_empty() { Ok(()) } else { self.source.read_at(offset, front) }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.length)
    }
}

/// An image being checked.
pub(super) struct Image<S> {
    device: Device<Padded<S>>,
    pub length: u64,
}

impl<S: Source> Image<S> {
    pub(super) fn new(source: S) -> ReadResult<Self> {
        let whole = Device::new(source);
        let length = whole.length()?;
        let device = Device::new(Padded { source: whole.into_source(), length });
        Ok(Self { device, length })
    }

    /// The same, cut into so many blocks.
    pub(super) fn sized(self, block: BlockSize, blocks: u64) -> Self {
        Self { device: self.device.sized(block, blocks), ..self }
    }

    /// The same, with blocks replaced by those of the journal.
    pub(super) fn replaced(self, overlay: Overlay) -> Self {
        Self { device: self.device.replaced(overlay), ..self }
    }

    pub(super) const fn device(&self) -> &Device<Padded<S>> {
        &self.device
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> ReadResult<()> {
        self.device.read(offset, buffer)
    }

    /// Reads blocks from this one on, as many as the buffer has room for.
    pub(super) fn read_blocks(&self, block: u64, buffer: &mut [u8]) -> ReadResult<()> {
        self.read(self.device.block.offset(BlockIndex::new(block)), buffer)
    }

    /// One block.
    pub(super) fn block(&self, block: u64) -> ReadResult<Vec<u8>> {
        let mut bytes = vec![0; self.device.block.len()];
        self.read_blocks(block, &mut bytes)?;
        Ok(bytes)
    }
}
