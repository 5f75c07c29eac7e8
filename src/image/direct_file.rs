//! A file that is written past the page cache where the page cache is slow.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use ext4_writer::Buffer;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// The bytes that go through the page cache first: what is small can be booted from there.
const CACHED: u64 = 64 << 20;
/// The bytes after which the throughput of the page cache is looked at.
const WINDOW: u64 = 16 << 20;
/// The throughput of the page cache, in bytes a second, below which it is passed by. Where the kernel
/// has pages at hand it takes some gigabytes a second; where a hypervisor has to find each of them,
/// a third of what the disk takes.
const SLOW: u64 = 1 << 30;
/// The bytes of a write that is worth it at least.
const LARGE: usize = 256 << 10;
/// What offsets, lengths and places in memory are multiples of.
const PAGE: u64 = 4096;

/// A second descriptor of a file, open with `O_DIRECT`.
#[derive(Debug)]
pub(super) struct DirectFile {
    file: File,
    /// The bytes that still go through the page cache, however slow it is.
    cached: u64,
    window: Window,
    is_used: bool,
}

/// What the page cache took of late.
#[derive(Debug, Default)]
struct Window {
    bytes: u64,
    time: Duration,
}

impl DirectFile {
    /// Opens an open file once more; none where that cannot be.
    pub(super) fn reopen(file: &File) -> Option<Self> {
        // Also for a file without a name.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
        let window = Window::default();
        Some(Self { file: file.into(), cached: CACHED, window, is_used: false })
    }

    /// Hears how long the page cache took for a write.
    pub(super) fn page_cache_took(&mut self, length: usize, time: Duration) {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        self.cached = self.cached.saturating_sub(length);
        self.window.bytes = self.window.bytes.saturating_add(length);
        self.window.time += time;
        if self.window.bytes >= WINDOW {
            let is_slow = self.window.is_slow();
            self.window = Window::default();
            self.is_used |= is_slow && self.cached == 0;
        }
    }

    /// Writes bytes, if they may be written so.
    ///
    /// Source of the alignment: kernel, `block/fops.c`, `blkdev_dio_invalid`, and
    /// `fs/iomap/direct-io.c`, `iomap_dio_bio_iter`: memory, offset and length are multiples of the
    /// logical block of the disk, which is a page at most on nearly all.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<Written> {
        let is_aligned = offset.is_multiple_of(PAGE)
            && bytes.len().is_multiple_of(Buffer::PAGE)
            && bytes.as_ptr().align_offset(Buffer::PAGE) == 0;
        if !self.is_used || !is_aligned || bytes.len() < LARGE {
            return Ok(Written::Not);
        }
        match self.file.write_all_at(bytes, offset) {
            Ok(()) => Ok(Written::All),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(Written::Never),
            Err(error) => Err(error),
        }
    }
}

impl Window {
    fn is_slow(&self) -> bool {
        let nanoseconds = self.time.as_nanos().max(1);
        u128::from(self.bytes) * 1_000_000_000 / nanoseconds < u128::from(SLOW)
    }
}

/// What became of bytes that were to be written past the page cache.
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

    const MILLISECOND: Duration = Duration::from_millis(1);
    const MIB: usize = 1 << 20;

    fn open(file: &File, time: Duration) -> Option<DirectFile> {
        let mut direct = DirectFile::reopen(file)?;
        for _ in 0..80 {
            direct.page_cache_took(MIB, time);
        }
        Some(direct)
    }

    #[test]
    fn a_slow_page_cache_is_passed_by_behind_the_first_bytes() {
        let file = tempfile::tempfile().unwrap();
        // A filesystem in memory may have no such thing.
        let Some(fast) = open(&file, MILLISECOND / 4) else { return };
        assert!(!fast.is_used && fast.cached == 0);
        let mut slow = DirectFile::reopen(&file).unwrap();
        for number in 0..80 {
            assert_eq!(slow.is_used, number >= 64, "after {number} MiB");
            slow.page_cache_took(MIB, MILLISECOND * 2);
        }
        // One slow write is nothing.
        let mut once = open(&file, MILLISECOND / 4).unwrap();
        once.page_cache_took(MIB, MILLISECOND * 8);
        (0..15).for_each(|_| once.page_cache_took(MIB, MILLISECOND / 4));
        assert!(!once.is_used);
    }

    #[test]
    fn large_pages_go_to_the_disk_and_all_of_them_are_there() {
        let file = tempfile::tempfile().unwrap();
        let Some(direct) = open(&file, MILLISECOND * 2) else { return };
        let mut buffer = Buffer::new(256).unwrap();
        for number in 0..3u8 {
            buffer.bytes_mut().fill(number);
            let offset = u64::from(number) << 20;
            if direct.write(offset, buffer.bytes()).unwrap() != Written::All {
                file.write_all_at(buffer.bytes(), offset).unwrap();
            }
        }
        for (offset, part) in [(512, 0..MIB), (0, 0..4096), (0, 0..MIB - 1), (0, 1..600_001)] {
            assert_eq!(direct.write(offset, &buffer.bytes()[part]).unwrap(), Written::Not);
        }
        let mut byte = [0];
        for number in 0..3u8 {
            file.read_exact_at(&mut byte, (u64::from(number) << 20) + 77).unwrap();
            assert_eq!(byte[0], number);
        }
    }
}
