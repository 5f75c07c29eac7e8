//! A block device as the place of a filesystem, or any file that is not to be emptied first.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};

use crate::error::Error;
use crate::positional::write_all_at;
use crate::sink::{InitialContents, Sink, zero_by_writing};

/// The first bytes of a device in which other formats have their signatures: the last that
/// libblkid looks for is the second header of LUKS2, 4 MiB behind the start (util-linux:
/// `libblkid/src/superblocks/luks.c`).
const HEAD: u64 = 5 << 20;
/// The last bytes of a device in which other formats have theirs: the farthest from the end is
/// that of a RAID of Promise, 3,087 sectors (util-linux:
/// `libblkid/src/superblocks/promise_raid.c`); GPT's, MD's and ZFS's are nearer.
const TAIL: u64 = 2 << 20;

/// A block device of unknown content, or a file that is treated like one: it keeps its length,
/// and what it holds is not trusted.
///
/// The device belongs to the filesystem as a whole: the places where other formats have their
/// signatures are zeroed at its start and at its end, though the filesystem may be shorter.
///
/// An interrupted write leaves no filesystem there, neither the old nor the new one: the old
/// superblock is zeroed, and that safe on the disk, before anything else is written; the new one is
/// written last, when all else is safe on the disk ([`Sink::barrier`]).
///
/// The standard library can neither discard nor have zeros written by the device:
/// [`zero_at`](Sink::zero_at) writes them here. A program that can do better puts a sink of its
/// own around this one.
#[derive(Debug)]
pub struct DeviceSink {
    file: File,
    capacity: u64,
}

impl DeviceSink {
    /// Writes to `file`, which must be open for writing, up to its end.
    ///
    /// # Errors
    /// When it cannot be asked for its end.
    pub fn new(mut file: File) -> io::Result<Self> {
        let capacity = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, capacity })
    }

    /// The device.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The device.
    #[must_use]
    pub fn into_file(self) -> File {
        self.file
    }

    /// The start and the end of the device, where other formats have their signatures: offsets
    /// and lengths in bytes.
    #[must_use]
    pub fn signature_places(&self) -> [(u64, u64); 2] {
        let head = HEAD.min(self.capacity);
        let tail = TAIL.min(self.capacity - head);
        [(0, head), (self.capacity - tail, tail)]
    }

    /// Refuses to go on behind the end of the device.
    fn check(&self, end: Option<u64>) -> io::Result<()> {
        match end {
            Some(end) if end <= self.capacity => Ok(()),
            _ => {
                let size = end.unwrap_or(u64::MAX);
                let refusal = Error::DeviceTooSmall { size, capacity: self.capacity };
                Err(io::Error::new(io::ErrorKind::StorageFull, refusal))
            }
        }
    }
}

impl Sink for DeviceSink {
    fn prepare(&mut self, length: Option<u64>) -> io::Result<InitialContents> {
        if length.is_some() {
            self.check(length)?;
        }
        for (offset, length) in self.signature_places() {
            zero_by_writing(self, offset, length)?;
        }
        self.barrier()?;
        Ok(InitialContents::Unknown)
    }

    fn capacity(&self) -> Option<u64> {
        Some(self.capacity)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(offset.checked_add(crate::format::units::widen(bytes.len())))?;
        write_all_at(&self.file, offset, bytes)
    }

    fn zero_at(&mut self, offset: u64, length: u64) -> io::Result<()> {
        zero_by_writing(self, offset, length)
    }

    fn barrier(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.check(Some(length))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}
