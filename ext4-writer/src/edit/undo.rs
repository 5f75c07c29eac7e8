//! What was where before an image is changed in place: kept beside it until the change is done.
//!
//! It begins with a head, has the changed blocks as they were, each with sums of the sectors as
//! they will be, and ends with a sum of it all. By the sums an image to which it does not belong is
//! known: each of its sectors must be the old one or the new one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::edit::device::Device;
use crate::edit::error::{EditError, EditResult, refused};
use crate::edit::open::sync;
use crate::edit::overlay::write;
use crate::format::checksum::fold;
use crate::format::units::{BlockIndex, BlockSize, length, widen};
use crate::reader::Source;
use crate::reader::device::read;

/// The first bytes of an undo file.
const MAGIC: [u8; 8] = *b"ext4undo";
/// The last bytes, behind the sum.
const END: [u8; 8] = *b"undodone";
/// So much is written to the file at once.
const BUFFER: usize = 256 << 10;
/// The bytes that a disk writes as a whole.
const SECTOR: usize = 512;

/// Where the old content of blocks is kept while an image is changed in place.
pub trait Undo {
    /// What is kept, to be read; `None` if nothing is.
    ///
    /// # Errors
    /// Whatever the place answers.
    fn open(&mut self) -> io::Result<Option<Box<dyn Source>>>;

    /// Adds bytes to what will be kept.
    ///
    /// # Errors
    /// Whatever the place answers.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Keeps all that was added, and returns when that is safe on the disk; before, none of it is
    /// kept.
    ///
    /// # Errors
    /// Whatever the place answers.
    fn sync(&mut self) -> io::Result<()>;

    /// Keeps nothing any more, and returns when that is safe on the disk.
    ///
    /// # Errors
    /// Whatever the place answers.
    fn remove(&mut self) -> io::Result<()>;
}

/// An undo file in a directory. It has its name when it is whole; before, `.part` is behind it.
#[derive(Debug)]
pub struct UndoFile {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl UndoFile {
    /// The undo file of this path, which need not exist.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    fn part(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".part");
        name.into()
    }

    fn sync_directory(&self) -> io::Result<()> {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }
}

impl Undo for UndoFile {
    fn open(&mut self) -> io::Result<Option<Box<dyn Source>>> {
        let file = match fs::metadata(&self.path) {
            // Opening a pipe would wait for its other end.
            Ok(found) if !found.is_file() => {
                let reason = format!("{} is no regular file", self.path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
            }
            Ok(_) => File::open(&self.path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Box::new(file)))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            // What a cut left there is nobody's. No link is followed to a file of somebody else.
            match fs::remove_file(self.part()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {
                    let file = File::create_new(self.part())?;
                    self.file = Some(BufWriter::with_capacity(BUFFER, file));
                }
            }
        }
        self.file.as_mut().ok_or(io::ErrorKind::NotFound)?.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(self.part(), &self.path)?;
        self.file = None;
        self.sync_directory()
    }

    fn remove(&mut self) -> io::Result<()> {
        fs::remove_file(&self.path)?;
        self.sync_directory()
    }
}

/// What is not kept leaves nothing behind.
impl Drop for UndoFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            // What cannot be removed stays; there is nobody to tell.
            let _ = fs::remove_file(self.part());
        }
    }
}

/// The first fields of an undo file.
struct Head {
    block: u64,
    /// The bytes of the image before.
    length: u64,
}

impl Head {
    const LENGTH: usize = 24;

    fn bytes(&self) -> Vec<u8> {
        let numbers = [self.block, self.length];
        MAGIC.into_iter().chain(numbers.into_iter().flat_map(u64::to_le_bytes)).collect()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (block, rest) = bytes.strip_prefix(&MAGIC)?.split_first_chunk()?;
        let length = rest.first_chunk()?;
        Some(Self { block: u64::from_le_bytes(*block), length: u64::from_le_bytes(*length) })
    }
}

/// Keeps what blocks hold before they are changed.
pub(crate) struct Keeper<'a> {
    undo: &'a mut dyn Undo,
    block: BlockSize,
    /// The bytes of the image before.
    length: u64,
    sum: u32,
}

impl<'a> Keeper<'a> {
    /// Begins with an image of `length` bytes.
    pub(crate) fn new(undo: &'a mut dyn Undo, block: BlockSize, length: u64) -> EditResult<Self> {
        let mut keeper = Self { undo, block, length, sum: u32::MAX };
        keeper.append(&Head { block: block.bytes(), length }.bytes())?;
        Ok(keeper)
    }

    fn append(&mut self, bytes: &[u8]) -> EditResult<()> {
        self.sum = fold(self.sum, bytes);
        self.undo.append(bytes).map_err(failed)
    }

    /// Keeps what these blocks hold now, each of which is to be changed once. What is behind the
    /// end of the image before goes with its length.
    pub(crate) fn keep<'b, D: Device>(
        &mut self,
        device: &D,
        changed: impl Iterator<Item = (&'b u64, &'b Vec<u8>)>,
    ) -> EditResult<()> {
        let end = self.length / self.block.bytes();
        for (number, new) in changed.filter(|(number, _)| **number < end) {
            let mut old = vec![0; self.block.len()];
            read(device, self.block.offset(BlockIndex::new(*number)), &mut old)?;
            self.append(&number.to_le_bytes())?;
            self.append(&old)?;
            self.append(&sector_sums(new))?;
        }
        Ok(())
    }

    /// All is kept when this returns.
    pub(crate) fn finish(self) -> EditResult<()> {
        self.undo.append(&self.sum.to_le_bytes()).map_err(failed)?;
        self.undo.append(&END).map_err(failed)?;
        self.undo.sync().map_err(failed)
    }
}

fn sector_sums(block: &[u8]) -> Vec<u8> {
    block.chunks(SECTOR).flat_map(|sector| fold(u32::MAX, sector).to_le_bytes()).collect()
}

pub(crate) fn failed(source: io::Error) -> EditError {
    EditError::Undo { source }
}

fn damaged() -> EditError {
    refused("an image with an undo file", "the undo file is damaged, or none")
}

/// Brings an image back to what it was if it was being changed in place; whether it was.
pub(crate) fn recover<D: Device>(undo: &mut dyn Undo, device: &mut D) -> EditResult<bool> {
    let Some(source) = undo.open().map_err(failed)? else { return Ok(false) };
    let kept = KeptBlocks::open(source.as_ref())?;
    kept.each(|entry| entry.verify(device, kept.block))?;
    kept.each(|entry| write(device, kept.block.offset(BlockIndex::new(entry.number)), entry.old))?;
    let before = kept.head.length;
    drop(source);
    sync(device)?;
    if device.length().map_err(|source| EditError::Sync { source })? != before {
        device.set_length(before).map_err(|source| EditError::Sync { source })?;
        sync(device)?;
    }
    undo.remove().map_err(failed)?;
    Ok(true)
}

/// What an undo file keeps, whose sum was compared.
struct KeptBlocks<'a> {
    source: &'a dyn Source,
    head: Head,
    block: BlockSize,
    count: u64,
}

impl<'a> KeptBlocks<'a> {
    fn open(source: &'a dyn Source) -> EditResult<Self> {
        let tail = widen(size_of::<u32>() + END.len());
        let all = source.length().map_err(failed)?;
        let end = all.checked_sub(tail).ok_or_else(damaged)?;
        let mut sum = u32::MAX;
        let mut piece = vec![0; BUFFER];
        for start in (0..end).step_by(BUFFER) {
            let left = usize::try_from(end - start).unwrap_or(usize::MAX).min(piece.len());
            let piece = piece.get_mut(..left).ok_or_else(damaged)?;
            source.read_at(start, piece).map_err(failed)?;
            sum = fold(sum, piece);
        }
        let mut stored = vec![0; length(tail)?];
        source.read_at(end, &mut stored).map_err(failed)?;
        if stored != [sum.to_le_bytes().as_slice(), &END].concat() {
            return Err(damaged());
        }
        let entries = end.checked_sub(widen(Head::LENGTH)).ok_or_else(damaged)?;
        let mut bytes = [0; Head::LENGTH];
        source.read_at(0, &mut bytes).map_err(failed)?;
        let head = Head::parse(&bytes).ok_or_else(damaged)?;
        let block = u32::try_from(head.block).ok().and_then(BlockSize::from_bytes);
        let block = block.ok_or_else(damaged)?;
        let size = widen(Entry::length(block));
        if entries % size != 0 {
            return Err(damaged());
        }
        Ok(Self { source, head, block, count: entries / size })
    }

    /// Shows each block that is kept.
    fn each(&self, mut look: impl FnMut(&Entry<'_>) -> EditResult<()>) -> EditResult<()> {
        let mut bytes = vec![0; Entry::length(self.block)];
        for number in 0..self.count {
            let offset = widen(Head::LENGTH) + number * widen(bytes.len());
            self.source.read_at(offset, &mut bytes).map_err(failed)?;
            look(&Entry::parse(&bytes, self.block).ok_or_else(damaged)?)?;
        }
        Ok(())
    }
}

/// A block of an undo file.
struct Entry<'a> {
    number: u64,
    old: &'a [u8],
    /// The sums of its new sectors.
    sums: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Its bytes.
    const fn length(block: BlockSize) -> usize {
        size_of::<u64>() + block.len() + block.len() / SECTOR * size_of::<u32>()
    }

    fn parse(bytes: &'a [u8], block: BlockSize) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk()?;
        let (old, sums) = rest.split_at_checked(block.len())?;
        (sums.len() == block.len() / SECTOR * 4).then(|| Self {
            number: u64::from_le_bytes(*number),
            old,
            sums,
        })
    }

    /// Refuses an image in which a sector is neither the old one nor the new one.
    fn verify<D: Device>(&self, device: &D, block: BlockSize) -> EditResult<()> {
        let other = || {
            let reason = "it belongs to another image, or to what this one was; remove it if the \
                image is as it should be";
            refused("an image with an undo file", reason)
        };
        let length = device.length().map_err(|source| EditError::Sync { source })?;
        let end = self.number.checked_add(1).and_then(|end| end.checked_mul(block.bytes()));
        if end.is_none_or(|end| end > length) {
            return Err(other());
        }
        let mut now = vec![0; block.len()];
        read(device, block.offset(BlockIndex::new(self.number)), &mut now)?;
        let sectors = now.chunks(SECTOR).zip(self.old.chunks(SECTOR)).zip(self.sums.chunks(4));
        for ((now, old), sum) in sectors {
            if now != old && fold(u32::MAX, now).to_le_bytes() != sum {
                return Err(other());
            }
        }
        Ok(())
    }
}
