//! A block device as the place of a filesystem: zeroed by the device itself where it can.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use ext4_writer::{DeviceSink, InitialContents, Sink};
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;

use super::busy;
use crate::error::{Error, Result};

/// A block device, or a file that keeps its length and is treated like one.
///
/// Before the first write it asks the device to make all of the filesystem's place read as zeros
/// without sending them: a disk that can discard, a loop device, a sparse file. Then nothing has to
/// be written there, and nothing is left to the guest. Where it cannot, what has to be zeros is
/// written, as by [`DeviceSink`].
#[derive(Debug)]
pub struct DiscardingSink {
    device: DeviceSink,
    is_block_device: bool,
    discards: bool,
}

impl DiscardingSink {
    /// Opens a device for writing, for this process alone: one that is mounted, or otherwise in
    /// use, is refused.
    pub fn open(path: &Path) -> Result<Self> {
        let cannot = |error| cannot_write(path, error);
        // Only for block devices has O_EXCL a meaning without O_CREAT: open(2).
        let exclusive = OFlags::EXCL.bits().cast_signed();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(exclusive)
            .open(path)
            .map_err(cannot)?;
        Self::new(file).map_err(cannot)
    }

    pub(super) fn new(file: File) -> io::Result<Self> {
        let is_block_device = file.metadata()?.file_type().is_block_device();
        Ok(Self { device: DeviceSink::new(file)?, is_block_device, discards: true })
    }

    /// The same, but what has to be zeros is written, and the device not asked for them.
    #[must_use]
    pub fn without_discarding(self) -> Self {
        Self { discards: false, ..self }
    }

    /// The device.
    #[must_use]
    pub fn file(&self) -> &File {
        self.device.file()
    }

    /// Where other formats have their signatures.
    pub(super) fn signature_places(&self) -> [(u64, u64); 2] {
        self.device.signature_places()
    }

    pub(super) fn into_file(self) -> File {
        self.device.into_file()
    }

    /// Whether what was opened is a block device indeed.
    pub(super) fn is_block_device(&self) -> bool {
        self.is_block_device
    }

    /// Whether a range reads as zeros now without zeros having been sent to it.
    ///
    /// On a block device a punched hole is the command to write zeros, with leave to discard, and
    /// fails where there is no such command; zeroing a range would fall back to the kernel's
    /// writing of every block (kernel: `block/fops.c`, `blkdev_fallocate`). In a file both change
    /// the map of its blocks only.
    fn give_back(&self, offset: u64, length: u64) -> io::Result<bool> {
        if length == 0 || !self.discards {
            return Ok(length == 0);
        }
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let zero = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        let ways: &[FallocateFlags] = if self.is_block_device { &[punch] } else { &[punch, zero] };
        for way in ways {
            match rustix::fs::fallocate(self.device.file(), *way, offset, length) {
                Ok(()) => return Ok(true),
                // There is no such command, or not for ranges that are no whole sectors.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}

impl Sink for DiscardingSink {
    fn prepare(&mut self, length: Option<u64>) -> io::Result<InitialContents> {
        let length = match length {
            Some(length) => length,
            None => self.device.capacity().ok_or(io::ErrorKind::NotSeekable)?,
        };
        self.device.set_length(length)?;
        if !self.give_back(0, length)? {
            return self.device.prepare(Some(length));
        }
        // What is behind the filesystem keeps its bytes, but for other formats' signatures.
        for (offset, length) in self.device.signature_places() {
            self.zero_at(offset, length)?;
        }
        self.barrier()?;
        Ok(InitialContents::Zeros)
    }

    fn capacity(&self) -> Option<u64> {
        self.device.capacity()
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.device.write_at(offset, bytes)
    }

    fn zero_at(&mut self, offset: u64, length: u64) -> io::Result<()> {
        if self.give_back(offset, length)? {
            return Ok(());
        }
        self.device.zero_at(offset, length)
    }

    fn barrier(&mut self) -> io::Result<()> {
        self.device.barrier()
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.device.set_length(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.device.sync()
    }
}

fn cannot_write(path: &Path, error: io::Error) -> Error {
    let refusal = format!("cannot write to the device {}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::denied(refusal).with_source(error)
        }
        io::ErrorKind::ResourceBusy => {
            let users = std::fs::metadata(path).map(|found| busy::users_of_device(&found));
            let refusal = match users.unwrap_or_default().as_slice() {
                [] => Error::cannot_create(refusal).with_source(error),
                users => Error::cannot_create(format!("{refusal}: {}", users.join(", "))),
            };
            refusal.with_hint("unmount it, or end what uses it")
        }
        _ => Error::cannot_create(refusal).with_source(error),
    }
}
