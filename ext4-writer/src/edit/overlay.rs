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
    /// While changes go to their places: what is made of them on the way.
    upper: Option<BTreeMap<u64, Vec<u8>>>,
    /// Whether free blocks were written to.
    is_written: bool,
    recent: RefCell<Recent>,
}

impl<D: Device> Overlay<D> {
    pub(crate) fn new(device: D, block: BlockSize, length: u64) -> Self {
        let changed = BTreeMap::new();
        let recent = RefCell::default();
        Self { device, block, length, changed, upper: None, is_written: false, recent }
    }

    /// The changed bytes of a block.
    fn get(&self, block: u64) -> Option<&Vec<u8>> {
        let upper = self.upper.as_ref().and_then(|upper| upper.get(&block));
        upper.or_else(|| self.changed.get(&block))
    }

    /// What takes changes now.
    fn top(&mut self) -> &mut BTreeMap<u64, Vec<u8>> {
        self.upper.as_mut().unwrap_or(&mut self.changed)
    }

    /// A block that is to be changed.
    fn block_mut(&mut self, block: u64) -> EditResult<&mut Vec<u8>> {
        if !self.top().contains_key(&block) {
            let mut bytes = vec![0; self.block.len()];
            let offset = self.block.offset(BlockIndex::new(block));
            let length = widen(bytes.len());
            let read = self.read_at(offset, &mut bytes);
            read.map_err(|source| ReadError::Io { offset, length, source })?;
            self.top().insert(block, bytes);
        }
        Ok(self.top().get_mut(&block).ok_or(internal("a block that was put is there"))?)
    }

    /// Whether a range of several blocks is as it is on the device, and within that.
    fn is_unchanged(&self, offset: u64, length: usize) -> bool {
        let end = offset.saturating_add(widen(length));
        let (first, last) = (offset / self.block.bytes(), end.div_ceil(self.block.bytes()));
        let is_free =
            |changed: &BTreeMap<u64, Vec<u8>>| changed.range(first..last).next().is_none();
        length > self.block.len()
            && end <= self.length
            && is_free(&self.changed)
            && self.upper.as_ref().is_none_or(is_free)
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
        self.top().insert(block, bytes.block().to_vec());
    }

    /// Changes bytes inside a block.
    pub(crate) fn patch(&mut self, offset: u64, bytes: &[u8]) -> EditResult<()> {
        let (block, into) = (offset / self.block.bytes(), offset % self.block.bytes());
        let start = usize::try_from(into).map_err(|_| WITHIN_A_BLOCK)?;
        let target = self.block_mut(block)?.get_mut(start..start + bytes.len());
        target.ok_or(WITHIN_A_BLOCK)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Changes whole blocks that lie side by side.
    pub(crate) fn put_all(&mut self, first: u64, bytes: &[u8]) {
        for (block, piece) in (first..).zip(bytes.chunks(self.block.len())) {
            self.top().insert(block, piece.to_vec());
        }
    }

    /// From now on changes are kept apart from those there were, which stay.
    pub(crate) fn lay_upper(&mut self) {
        self.upper = Some(BTreeMap::new());
    }

    /// How many blocks are changed since.
    pub(crate) fn upper_len(&self) -> usize {
        self.upper.as_ref().map_or(0, BTreeMap::len)
    }

    /// Takes those for which `takes` says so.
    pub(crate) fn take_upper(&mut self, takes: impl Fn(u64) -> bool) -> BTreeMap<u64, Vec<u8>> {
        let Some(upper) = &mut self.upper else { return BTreeMap::new() };
        let (sent, kept) =
            std::mem::take(upper).into_iter().partition(|(number, _)| takes(*number));
        *upper = kept;
        sent
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
        let mut run = Run::default();
        for block in blocks {
            let bytes = self.changed.remove(&block);
            let bytes = bytes.ok_or(internal("a block that is listed is changed"))?;
            if let Some((start, bytes)) = run.add(self.block, block, &bytes) {
                write_free(&mut self.device, start, &bytes)?;
            }
        }
        write_free(&mut self.device, run.start, &run.bytes)
    }

    /// Writes blocks to their places; of what was changed there nothing is left to do.
    pub(crate) fn write(&mut self, blocks: &BTreeMap<u64, Vec<u8>>) -> EditResult<()> {
        self.recent = RefCell::default();
        for block in blocks.keys() {
            self.changed.remove(block);
        }
        write_all(&mut self.device, self.block, blocks.iter().map(|(block, bytes)| (*block, bytes)))
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

    /// Makes the device so many bytes long, if it is shorter.
    pub(crate) fn lengthen(&mut self, needed: u64) -> io::Result<()> {
        self.recent = RefCell::default();
        let length = self.device.length()?;
        if length < needed {
            self.device.set_length(needed)?;
        }
        self.length = length.max(needed);
        Ok(())
    }

    /// What is to be changed.
    pub(crate) fn changed(&self) -> &BTreeMap<u64, Vec<u8>> {
        &self.changed
    }

    /// Takes what is to be changed.
    pub(crate) fn take_changed(&mut self) -> BTreeMap<u64, Vec<u8>> {
        std::mem::take(&mut self.changed)
    }

    /// The device, and what was to be changed.
    pub(crate) fn into_parts(self) -> (D, BTreeMap<u64, Vec<u8>>) {
        (self.device, self.changed)
    }
}

const WITHIN_A_BLOCK: Error = internal("a record lies within one block");

/// Bytes that lie side by side, and where they begin.
#[derive(Default)]
struct Run {
    start: u64,
    next: u64,
    bytes: Vec<u8>,
}

impl Run {
    /// Adds a block; what was there before if it does not lie behind that, or that is long.
    fn add(&mut self, size: BlockSize, block: u64, bytes: &[u8]) -> Option<(u64, Vec<u8>)> {
        let mut done = None;
        if block != self.next || self.bytes.len() >= PIECE {
            done = Some((self.start, std::mem::take(&mut self.bytes)));
            self.start = size.offset(BlockIndex::new(block));
        }
        self.bytes.extend_from_slice(bytes);
        self.next = block + 1;
        done.filter(|(_, bytes)| !bytes.is_empty())
    }
}

/// Writes blocks, ascending, to their places, those that lie side by side at once.
pub(crate) fn write_all<'a, D: Device>(
    device: &mut D,
    size: BlockSize,
    blocks: impl Iterator<Item = (u64, &'a Vec<u8>)>,
) -> EditResult<()> {
    let mut run = Run::default();
    for (block, bytes) in blocks {
        if let Some((start, bytes)) = run.add(size, block, bytes) {
            write(device, start, &bytes)?;
        }
    }
    if run.bytes.is_empty() { Ok(()) } else { write(device, run.start, &run.bytes) }
}

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
        if self.is_unchanged(offset, buffer.len()) {
            return self.device.read_at(offset, buffer);
        }
        let (mut offset, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let (block, into) = (offset / self.block.bytes(), offset % self.block.bytes());
            let room = usize::try_from(self.block.bytes() - into).unwrap_or(usize::MAX);
            let (piece, behind) = rest.split_at_mut(room.min(rest.len()));
            match self.get(block) {
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
