//! What was where before an image is changed in place: kept beside it until the change is done.
//!
//! It begins with a head, has the changed blocks as they were, each with sums of the sectors as
//! they will be, and ends with a sum of it all. By the sums an image to which it does not belong is
//! known: each of its sectors must be the old one or the new one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::edit::device::Device;
use crate::edit::error::{EditError, EditResult, refused};
use crate::edit::open::sync;
use crate::edit::overlay::write;
use crate::error::{Error, internal};
use crate::format::checksum::fold;
use crate::format::units::{BlockIndex, BlockSize, widen};
use crate::reader::device::read;

/// The first bytes of an undo file.
const MAGIC: [u8; 8] = *b"ext4undo";
/// The last bytes, behind the sum.
const END: [u8; 8] = *b"undodone";
/// So much is written to the file at once.
const BUFFER: usize = 256 << 10;
/// The bytes that a disk writes as a whole.
const SECTOR: usize = 512;
/// The longest undo file that is read: that of the largest edit, and more.
const MOST: u64 = 256 << 20;

/// Where the old content of blocks is kept while an image is changed in place.
pub trait Undo {
    /// All that is kept; `None` if nothing is.
    ///
    /// # Errors
    /// Whatever the place answers.
    fn read(&mut self) -> io::Result<Option<Vec<u8>>>;

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
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
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
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
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

fn failed(source: io::Error) -> EditError {
    EditError::Undo { source }
}

/// The first fields of an undo file.
struct Head {
    block: u64,
    /// The bytes of the image before.
    length: u64,
    count: u64,
}

impl Head {
    const LENGTH: usize = 32;

    fn bytes(&self) -> Vec<u8> {
        let numbers = [self.block, self.length, self.count];
        MAGIC.into_iter().chain(numbers.into_iter().flat_map(u64::to_le_bytes)).collect()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&MAGIC)?;
        let mut next = || {
            let (number, behind) = rest.split_first_chunk()?;
            rest = behind;
            Some(u64::from_le_bytes(*number))
        };
        Some(Self { block: next()?, length: next()?, count: next()? })
    }
}

fn sector_sums(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(SECTOR).flat_map(|sector| fold(u32::MAX, sector).to_le_bytes()).collect()
}

/// A device of which blocks are changed in place.
pub(crate) struct InPlace<'a, D> {
    pub device: &'a mut D,
    pub block: BlockSize,
}

impl<D: Device> InPlace<'_, D> {
    /// Writes changed blocks to their places, `last` at the end, while the undo file keeps what was
    /// there; then that goes.
    pub(crate) fn change(
        &mut self,
        undo: &mut dyn Undo,
        changed: &BTreeMap<u64, Vec<u8>>,
        last: u64,
    ) -> EditResult<()> {
        for (number, bytes) in changed.iter().filter(|(number, _)| **number != last) {
            write(self.device, self.block.offset(BlockIndex::new(*number)), bytes)?;
        }
        sync(self.device)?;
        let bytes = changed.get(&last).ok_or(MISSING)?;
        write(self.device, self.block.offset(BlockIndex::new(last)), bytes)?;
        sync(self.device)?;
        undo.remove().map_err(failed)
    }
}

/// Keeps what the changed blocks hold now, and that the device had `length` bytes.
pub(crate) fn keep<D: Device>(
    undo: &mut dyn Undo,
    (device, length): (&D, u64),
    block: BlockSize,
    changed: &BTreeMap<u64, Vec<u8>>,
) -> EditResult<()> {
    let mut sum = u32::MAX;
    let mut append = |undo: &mut dyn Undo, bytes: &[u8]| {
        sum = fold(sum, bytes);
        undo.append(bytes).map_err(failed)
    };
    append(undo, &Head { block: block.bytes(), length, count: widen(changed.len()) }.bytes())?;
    for (number, new) in changed {
        let mut old = vec![0; block.len()];
        read(device, block.offset(BlockIndex::new(*number)), &mut old)?;
        append(undo, &number.to_le_bytes())?;
        append(undo, &old)?;
        append(undo, &sector_sums(new))?;
    }
    undo.append(&sum.to_le_bytes()).map_err(failed)?;
    undo.append(&END).map_err(failed)?;
    undo.sync().map_err(failed)
}

/// Brings an image back to what it was if it was being changed in place; whether it was.
pub(crate) fn recover<D: Device>(undo: &mut dyn Undo, device: &mut D) -> EditResult<bool> {
    let Some(bytes) = undo.read().map_err(failed)? else { return Ok(false) };
    let damaged = || refused("an image with an undo file", "the undo file is damaged, or none");
    let body = bytes.strip_suffix(&END).ok_or_else(damaged)?;
    let (body, sum) = body.split_last_chunk().ok_or_else(damaged)?;
    if fold(u32::MAX, body) != u32::from_le_bytes(*sum) {
        return Err(damaged());
    }
    let head = Head::parse(body).ok_or_else(damaged)?;
    let block = u32::try_from(head.block).ok().and_then(BlockSize::from_bytes);
    let block = block.ok_or_else(damaged)?;
    let entries = body.get(Head::LENGTH..).unwrap_or_default();
    let entries = entries.chunks(8 + block.len() + block.len() / SECTOR * 4);
    if widen(entries.len()) != head.count {
        return Err(damaged());
    }
    let entries: Vec<Entry<'_>> = entries
        .map(|entry| Entry::parse(entry, block))
        .collect::<Option<_>>()
        .ok_or_else(damaged)?;
    for entry in &entries {
        entry.verify(device, block)?;
    }
    for entry in &entries {
        write(device, block.offset(BlockIndex::new(entry.number)), entry.old)?;
    }
    sync(device)?;
    if device.length().map_err(|source| EditError::Sync { source })? != head.length {
        device.set_length(head.length).map_err(|source| EditError::Sync { source })?;
        sync(device)?;
    }
    undo.remove().map_err(failed)?;
    Ok(true)
}

/// A block of an undo file.
struct Entry<'a> {
    number: u64,
    old: &'a [u8],
    /// The sums of its new sectors.
    sums: &'a [u8],
}

impl<'a> Entry<'a> {
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

const MISSING: Error = internal("the superblock is among the changes");
