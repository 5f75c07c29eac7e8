//! The image with the blocks that an edit changed laid over it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use crate::edit::device::Device;
use crate::edit::error::EditResult;
use crate::error::{Error, internal};
use crate::format::checksum::Sealed;
use crate::format::units::{BlockIndex, BlockSize, widen};
use crate::reader::{ReadError, Source};

/// The blocks of the device that are kept when a part of them was read.
const RECENT: u64 = 16;
/// Longer reads are of what is not asked for again.
const SHORT: usize = 1024;
/// So much is written at once.
const PIECE: usize = 256 << 10;

/// Blocks that were read last, each in the place that its number gives: descriptors are asked for
/// with every inode.
#[derive(Default)]
struct Recent(BTreeMap<u64, (u64, Vec<u8>)>);

impl Recent {
    fn get(&self, block: u64) -> Option<&[u8]> {
        let (number, bytes) = self.0.get(&(block % RECENT))?;
        (*number == block).then_some(bytes)
    }

    fn put(&mut self, block: u64, bytes: Vec<u8>) {
        self.0.insert(block % RECENT, (block, bytes));
    }

    /// Forgets blocks that are written.
    fn forget(&mut self, first: u64, last: u64) {
        self.0.retain(|_, (number, _)| !(first..=last).contains(number));
    }
}

/// A device, and what of it is to be changed.
pub(crate) struct Overlay<D> {
    device: D,
    block: BlockSize,
    /// The bytes of the device; what an edit has behind them was never written, and is zeros.
    length: u64,
    changed: BTreeMap<u64, Vec<u8>>,
    /// Whether free blocks were written to.
    is_written: bool,
    recent: RefCell<Recent>,
}

impl<D: Device> Overlay<D> {
    pub(crate) fn new(device: D, block: BlockSize, length: u64) -> Self {
        let changed = BTreeMap::new();
        let recent = RefCell::default();
        Self { device, block, length, changed, is_written: false, recent }
    }

    /// A block that is to be changed.
    fn block_mut(&mut self, block: u64) -> EditResult<&mut Vec<u8>> {
        if !self.changed.contains_key(&block) {
            let mut bytes = vec![0; self.block.len()];
            let offset = self.block.offset(BlockIndex::new(block));
            let length = widen(bytes.len());
            let read = self.read_device(offset, &mut bytes);
            read.map_err(|source| ReadError::Io { offset, length, source })?;
            self.changed.insert(block, bytes);
        }
        Ok(self.changed.get_mut(&block).ok_or(internal("a block that was put is there"))?)
    }

    fn read_device(&self, offset: u64, piece: &mut [u8]) -> io::Result<()> {
        if offset >= self.length {
            piece.fill(0);
            return Ok(());
        }
        let block = offset / self.block.bytes();
        let start = self.block.offset(BlockIndex::new(block));
        if piece.len() > SHORT || start.saturating_add(self.block.bytes()) > self.length {
            return self.device.read_at(offset, piece);
        }
        let mut recent = self.recent.borrow_mut();
        if recent.get(block).is_none() {
            let mut bytes = vec![0; self.block.len()];
            self.device.read_at(start, &mut bytes)?;
            recent.put(block, bytes);
        }
        let missing = || io::Error::other("a block that was just read is not there");
        recent.get(block).ok_or_else(missing)?.read_at(offset - start, piece)
    }

    /// Changes a whole block.
    pub(crate) fn put(&mut self, block: u64, bytes: &Sealed<Vec<u8>>) {
        self.changed.insert(block, bytes.block().to_vec());
    }

    /// Changes bytes inside a block.
    pub(crate) fn patch(&mut self, offset: u64, bytes: &[u8]) -> EditResult<()> {
        let (block, into) = (offset / self.block.bytes(), offset % self.block.bytes());
        let start = usize::try_from(into).map_err(|_| WITHIN_A_BLOCK)?;
        let target = self.block_mut(block)?.get_mut(start..start + bytes.len());
        target.ok_or(WITHIN_A_BLOCK)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Takes the change of a block back.
    pub(crate) fn forget(&mut self, block: u64) {
        self.changed.remove(&block);
    }

    /// How many blocks are changed.
    pub(crate) fn len(&self) -> usize {
        self.changed.len()
    }

    /// Writes the changed blocks that were free before to their places, those that lie side by side
    /// at once.
    pub(crate) fn flush(&mut self, is_free: impl Fn(u64) -> bool) -> EditResult<()> {
        self.recent = RefCell::default();
        let blocks: Vec<u64> =
            self.changed.keys().copied().filter(|block| is_free(*block)).collect();
        self.is_written |= !blocks.is_empty();
        let (mut next, mut start, mut buffer) = (0, 0, Vec::new());
        for block in blocks {
            if block != next || buffer.len() >= PIECE {
                write_free(&mut self.device, start, &buffer)?;
                buffer.clear();
                start = self.block.offset(BlockIndex::new(block));
            }
            let bytes = self.changed.remove(&block);
            buffer.extend(bytes.ok_or(internal("a block that is listed is changed"))?);
            next = block + 1;
        }
        write_free(&mut self.device, start, &buffer)
    }

    /// Writes bytes to free blocks of the device, beside what is changed.
    pub(crate) fn write_free(&mut self, offset: u64, bytes: &[u8]) -> EditResult<()> {
        self.is_written = true;
        let end = offset.saturating_add(widen(bytes.len()));
        let (first, last) = (offset / self.block.bytes(), end / self.block.bytes());
        self.recent.borrow_mut().forget(first, last);
        write_free(&mut self.device, offset, bytes)
    }

    /// Whether free blocks were written to, which have to be safe before something leads there.
    pub(crate) fn is_written(&self) -> bool {
        self.is_written
    }

    /// The device.
    pub(crate) fn device(&self) -> &D {
        &self.device
    }

    /// The device.
    pub(crate) fn device_mut(&mut self) -> &mut D {
        self.recent = RefCell::default();
        &mut self.device
    }

    /// What is to be changed.
    pub(crate) fn changed(&self) -> &BTreeMap<u64, Vec<u8>> {
        &self.changed
    }

    /// The device, and what was to be changed.
    pub(crate) fn into_parts(self) -> (D, BTreeMap<u64, Vec<u8>>) {
        (self.device, self.changed)
    }
}

const WITHIN_A_BLOCK: Error = internal("a record lies within one block");

/// Writes bytes of the image.
pub(crate) fn write<D: Device>(device: &mut D, offset: u64, bytes: &[u8]) -> EditResult<()> {
    let written = device.write_at(offset, bytes);
    written.map_err(|source| failed(offset, bytes, source).into())
}

/// Writes bytes to blocks that nothing uses yet.
fn write_free<D: Device>(device: &mut D, offset: u64, bytes: &[u8]) -> EditResult<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let written = device.write_free_at(offset, bytes);
    written.map_err(|source| failed(offset, bytes, source).into())
}

fn failed(offset: u64, bytes: &[u8], source: io::Error) -> Error {
    Error::WriteImage { offset, length: widen(bytes.len()), source }
}

impl<D: Device> Source for Overlay<D> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let (mut offset, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let (block, into) = (offset / self.block.bytes(), offset % self.block.bytes());
            let room = usize::try_from(self.block.bytes() - into).unwrap_or(usize::MAX);
            let (piece, behind) = rest.split_at_mut(room.min(rest.len()));
            match self.changed.get(&block) {
                None => self.read_device(offset, piece)?,
                Some(bytes) => bytes.as_slice().read_at(into, piece)?,
            }
            offset = offset.saturating_add(widen(piece.len()));
            rest = behind;
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        self.device.length()
    }
}
