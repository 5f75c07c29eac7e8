//! A filesystem that begins as the copy of another's bytes, until it has its name.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use ext4_writer::edit::Device;
use ext4_writer::reader::Source;
use ext4_writer::{InitialContents, Sink as _};
use rustix::fs::{SeekFrom, copy_file_range, seek};
use rustix::io::Errno;

use super::background_sync::BackgroundSync;
use super::interruption::Interruption;
use super::output::{self, Output, OutputTarget};
use crate::error::{Error, Result};

/// Where the superblock is. It is written last: a device on which it is missing holds no filesystem.
const SUPERBLOCK: Range<u64> = 1024..2048;
/// The magics of XFS, btrfs and bcachefs, whose files share blocks.
///
/// Source: kernel, `include/uapi/linux/magic.h`.
const SHARING: [rustix::fs::FsWord; 3] = [0x5846_5342, 0x9123_683e, 0xca45_1a4e];
/// So much of the start is written apart from the rest.
const START: usize = 4096;
/// So much is copied at once, and between two looks at what is to be synced.
const PIECE: usize = 16 << 20;
/// So much is read at once where the kernel does not copy.
const BUFFER: usize = 1 << 20;

/// A file without a name, or a device, that another filesystem is copied to.
#[derive(Debug)]
pub(crate) struct StagedCopy {
    output: Output,
    path: PathBuf,
    file: File,
    is_device: bool,
    /// Whether what is not written reads as zeros.
    has_zeros: bool,
    superblock: Vec<u8>,
    /// Whether the kernel copies from file to file.
    is_copied_by_kernel: bool,
    /// None where the filesystem shares what is copied: then there is little to sync.
    background_sync: Option<BackgroundSync>,
}

impl StagedCopy {
    /// Opens an output for a filesystem of `length` bytes.
    pub(crate) fn open(
        path: &Path,
        target: OutputTarget,
        replace: bool,
        length: u64,
        interruption: &Interruption,
    ) -> Result<Self> {
        output::check(path, &target, replace, Some(length))?;
        let is_device = matches!(target, OutputTarget::Device { .. });
        let (output, mut sink) = Output::open(path, target, replace, interruption)?;
        let file = output.file()?;
        let prepared = sink.prepare(Some(length)).and_then(|found| {
            if !is_device {
                file.set_len(length)?;
            }
            Ok(found)
        });
        let prepared = prepared.map_err(|error| cannot_write(path, error))?;
        let kind = rustix::fs::fstatfs(&file).map(|found| found.f_type);
        Ok(Self {
            output,
            path: path.to_owned(),
            file,
            is_device,
            has_zeros: matches!(prepared, InitialContents::Zeros),
            superblock: Vec::new(),
            is_copied_by_kernel: !is_device,
            background_sync: kind
                .is_ok_and(|kind| !SHARING.contains(&kind))
                .then(BackgroundSync::default),
        })
    }

    /// The place, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Copies ranges of bytes of another file to the same places, ascending; the bytes that were
    /// copied. Holes stay holes.
    pub(crate) fn copy(
        &mut self,
        from: &File,
        ranges: impl Iterator<Item = Result<Range<u64>>>,
    ) -> Result<u64> {
        let start = self.copy_start(from).map_err(|error| cannot_write(&self.path, error))?;
        let (mut end, mut copied) = (start, start);
        for range in ranges {
            let range = range?;
            let first = range.start.max(end);
            end = range.end.max(end);
            let done = self.copy_range(from, first, end);
            copied += done.map_err(|error| cannot_write(&self.path, error))?;
        }
        Ok(copied)
    }

    fn copy_start(&mut self, from: &File) -> io::Result<u64> {
        let mut start = vec![0; START];
        from.read_exact_at(&mut start, 0)?;
        let superblock = start.get_mut(place(SUPERBLOCK.start)..place(SUPERBLOCK.end));
        let superblock = superblock.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.superblock = superblock.to_vec();
        superblock.fill(0);
        self.file.write_all_at(&start, 0)?;
        Ok(u64::try_from(START).unwrap_or(u64::MAX))
    }

    fn copy_range(&mut self, from: &File, start: u64, end: u64) -> io::Result<u64> {
        let (mut at, mut copied) = (start, 0);
        while at < end {
            let data = match seek(from, SeekFrom::Data(at)) {
                Ok(data) => data.min(end),
                Err(Errno::NXIO) => end,
                Err(error) => return Err(error.into()),
            };
            if !self.has_zeros {
                self.write_zeros(at, data)?;
            }
            if data == end {
                break;
            }
            at = seek(from, SeekFrom::Hole(data))?.min(end);
            // Whole blocks of the host's can be shared.
            let first = data.next_multiple_of(BLOCK).min(at);
            let last = (at / BLOCK * BLOCK).max(first);
            for (start, end) in [(data, first), (first, last), (last, at)] {
                self.copy_data(from, start, end)?;
            }
            copied += at - data;
        }
        Ok(copied)
    }

    fn copy_data(&mut self, from: &File, start: u64, end: u64) -> io::Result<()> {
        let (mut at, mut buffer) = (start, Vec::new());
        while at < end {
            let length = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let count = if let Some(count) = self.copy_by_kernel(from, at, length)? {
                count
            } else {
                buffer.resize(length.min(BUFFER), 0);
                from.read_exact_at(&mut buffer, at)?;
                self.file.write_all_at(&buffer, at)?;
                buffer.len()
            };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(background_sync) = &mut self.background_sync {
                background_sync.wrote(&self.file, count);
            }
            at += u64::try_from(count).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    /// Lets the kernel copy, which shares blocks where the filesystem can (`copy_file_range(2)`);
    /// nothing where it does not, as from a device or from another filesystem.
    fn copy_by_kernel(&mut self, from: &File, at: u64, length: usize) -> io::Result<Option<usize>> {
        if !self.is_copied_by_kernel {
            return Ok(None);
        }
        let (mut source, mut target) = (at, at);
        let done = copy_file_range(from, Some(&mut source), &self.file, Some(&mut target), length);
        match done {
            Ok(count) => Ok(Some(count)),
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM) => {
                self.is_copied_by_kernel = false;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn write_zeros(&self, start: u64, end: u64) -> io::Result<()> {
        let zeros = vec![0; BUFFER];
        let mut at = start;
        while at < end {
            let length = usize::try_from(end - at).unwrap_or(BUFFER).min(BUFFER);
            let piece = zeros.get(..length).ok_or(io::ErrorKind::InvalidInput)?;
            self.file.write_all_at(piece, at)?;
            at += u64::try_from(length).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    /// Makes the filesystem whole and safe on the disk, and gives a file its name if `judge` finds
    /// nothing wrong with it.
    pub(crate) fn publish(mut self, judge: impl FnOnce(File) -> Result<()>) -> Result<()> {
        let written = self.finish();
        written.map_err(|error| cannot_write(&self.path, error))?;
        judge(self.output.file()?)?;
        self.output.publish(None).map(drop)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.background_sync.as_mut().map_or(Ok(()), BackgroundSync::end)?;
        if self.is_device {
            self.file.sync_data()?;
        }
        self.file.write_all_at(&self.superblock, SUPERBLOCK.start)?;
        self.file.sync_all()
    }

    /// The bytes of the superblock within those at `offset`: where they are there, and in it.
    fn overlap(&self, offset: u64, length: usize) -> Option<(Range<usize>, Range<usize>)> {
        let end = offset.checked_add(u64::try_from(length).ok()?)?;
        let from = offset.max(SUPERBLOCK.start);
        let to = end.min(SUPERBLOCK.end);
        if from >= to || self.superblock.is_empty() {
            return None;
        }
        let outside = place(from - offset)..place(to - offset);
        Some((outside, place(from - SUPERBLOCK.start)..place(to - SUPERBLOCK.start)))
    }
}

/// The bytes of a block on most filesystems of hosts.
const BLOCK: u64 = 4096;

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn cannot_write(path: &Path, error: io::Error) -> Error {
    let message = format!("cannot make the filesystem {}", path.display());
    Error::of_write(message, error.kind()).with_source(error)
}

impl Source for StagedCopy {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        Source::read_at(&self.file, offset, buffer)?;
        if let Some((outside, inside)) = self.overlap(offset, buffer.len()) {
            let target = buffer.get_mut(outside).ok_or(io::ErrorKind::UnexpectedEof)?;
            let held = self.superblock.get(inside).ok_or(io::ErrorKind::UnexpectedEof)?;
            target.copy_from_slice(held);
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}

/// Nobody sees it before it is published: until then nothing has to be safe.
impl Device for StagedCopy {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Some((outside, inside)) = self.overlap(offset, bytes.len()) else {
            return self.file.write_all_at(bytes, offset);
        };
        let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let held = self.superblock.get_mut(inside).ok_or_else(short)?;
        held.copy_from_slice(bytes.get(outside.clone()).ok_or_else(short)?);
        let (before, behind) = (bytes.get(..outside.start), bytes.get(outside.end..));
        self.file.write_all_at(before.ok_or_else(short)?, offset)?;
        let end = offset + u64::try_from(outside.end).unwrap_or(u64::MAX);
        self.file.write_all_at(behind.ok_or_else(short)?, end)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        Device::set_length(&mut self.file, length)
    }

    fn grows_with_zeros(&self) -> bool {
        self.has_zeros
    }
}
