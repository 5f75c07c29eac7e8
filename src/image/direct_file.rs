//! A file that is written past the page cache.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use ext4_writer::Buffer;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// The large writes, a mebibyte most of them, that go through the page cache first: what is small
/// can be booted from there.
const CACHED: u32 = 64;
/// The bytes of a write that is worth it at least.
const LARGE: usize = 256 << 10;
/// What offsets, lengths and places in memory are multiples of.
const PAGE: u64 = 4096;

/// A file that is open with `O_DIRECT`.
///
/// A page cache that takes a gigabyte in has pages to find, to copy to and to write back; past it
/// the disk takes the bytes from where they are. Of an image of a gigabyte in small files that was
/// half of the time of the processors.
#[derive(Debug)]
pub(super) struct DirectFile {
    file: File,
    /// The large writes that still go through the page cache.
    cached: u32,
}

impl DirectFile {
    /// Opens an open file once more; none where that cannot be.
    pub(super) fn reopen(file: &File) -> Option<Self> {
        // Also for a file without a name.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
        Some(Self { file: file.into(), cached: CACHED })
    }

    /// Writes bytes, if they may be written so: none says that this file cannot.
    ///
    /// Source of the alignment: kernel, `block/fops.c`, `blkdev_dio_invalid`, and
    /// `fs/iomap/direct-io.c`, `iomap_dio_bio_iter`: memory, offset and length are multiples of the
    /// logical block of the disk, which is a page at most on nearly all.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<Written> {
        let is_aligned = offset.is_multiple_of(PAGE)
            && bytes.len().is_multiple_of(Buffer::PAGE)
            && bytes.as_ptr().align_offset(Buffer::PAGE) == 0;
        if !is_aligned || bytes.len() < LARGE {
            return Ok(Written::Not);
        }
        if let Some(left) = self.cached.checked_sub(1) {
            self.cached = left;
            return Ok(Written::Not);
        }
        match self.file.write_all_at(bytes, offset) {
            Ok(()) => Ok(Written::All),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(Written::Never),
            Err(error) => Err(error),
        }
    }
}

/// What became of bytes that were to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// They are written.
    All,
    /// They are to be written through the page cache.
    Not,
    /// They are too, and so is all that follows: the disk has other rules.
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_writes_go_past_the_page_cache_behind_the_first_and_all_is_there() {
        let file = tempfile::tempfile().unwrap();
        // A filesystem in memory may have no such thing.
        let Some(mut direct) = DirectFile::reopen(&file) else { return };
        let mut buffer = Buffer::new(256).unwrap();
        let mut all = 0;
        for number in 0..CACHED + 2 {
            buffer.bytes_mut().fill(u8::try_from(number).unwrap());
            let offset = u64::from(number) << 20;
            let written = direct.write(offset, buffer.bytes()).unwrap();
            if written == Written::Not {
                file.write_all_at(buffer.bytes(), offset).unwrap();
            }
            all += u32::from(written == Written::All);
        }
        assert!(all == 2 || all == 0, "{all}");
        for (offset, part) in
            [(512, 0..1 << 20), (0, 0..4096), (0, 0..(1 << 20) - 1), (0, 1..600_001)]
        {
            assert_eq!(direct.write(offset, &buffer.bytes()[part]).unwrap(), Written::Not);
        }
        let mut byte = [0];
        for number in 0..CACHED + 2 {
            file.read_exact_at(&mut byte, (u64::from(number) << 20) + 77).unwrap();
            assert_eq!(u32::from(byte[0]), number);
        }
    }
}
