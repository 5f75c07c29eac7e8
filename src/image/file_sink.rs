//! The bytes of an image file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use ext4_writer::reader::Source;
use ext4_writer::{Sink, zero_by_writing};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::background_sync::BackgroundSync;
use super::direct_file::{DirectFile, Written};

/// The magic of ext2, ext3 and ext4 (kernel: `include/uapi/linux/magic.h`). Other filesystems have
/// nothing to gain: tmpfs would clear pages that are written anyway, btrfs would not compress.
const EXT4: rustix::fs::FsWord = 0xef53;
/// The bytes of a write for which storage is asked for at least.
const RESERVED: usize = 256 << 10;
/// To give so much storage back takes as long as a sync of what was written last, if the disk is
/// told of it (`mount -o discard`).
const LONG: u64 = 16 << 20;

/// The file of a [`StagedFile`](super::StagedFile), which gives storage back where the filesystem can.
#[derive(Debug)]
pub struct FileSink {
    file: File,
    /// The same file past the page cache; none where nothing is gained by it.
    direct: Option<DirectFile>,
    /// None where the file is not going to be synced.
    background_sync: Option<BackgroundSync>,
    storage: Storage,
}

/// The storage of a file, which is asked for before what is large is written to it: ext4 then has
/// one extent to make instead of a page's worth for every page, a quarter of the time of a large
/// write.
#[derive(Debug)]
pub struct Storage {
    is_reserved: bool,
}

impl Storage {
    /// That of a file; it is asked for on ext4 alone.
    #[must_use]
    pub fn of(file: &File) -> Self {
        let is_file = file.metadata().is_ok_and(|found| found.is_file());
        let is_ext4 = || rustix::fs::fstatfs(file).is_ok_and(|found| found.f_type == EXT4);
        Self { is_reserved: is_file && is_ext4() }
    }

    /// Asks for that of what is about to be written.
    pub fn reserve(&mut self, file: &File, offset: u64, length: usize) {
        if self.is_reserved && length >= RESERVED {
            let length = u64::try_from(length).unwrap_or(u64::MAX);
            let asked = rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, offset, length);
            // Whatever is missing, the write says it.
            self.is_reserved = asked.is_ok();
        }
    }
}

impl FileSink {
    /// A sink over `file`.
    pub(super) fn new(file: File) -> Self {
        let storage = Storage::of(&file);
        let direct = if storage.is_reserved { DirectFile::reopen(&file) } else { None };
        Self { file, direct, background_sync: Some(BackgroundSync::default()), storage }
    }

    /// The same, with the time of writing left to the kernel: for a file that is not synced.
    #[must_use]
    pub fn unhurried(self) -> Self {
        Self { direct: None, background_sync: None, ..self }
    }

    /// Writes bytes past the page cache; says whether it did.
    fn write_direct(&mut self, offset: u64, bytes: &[u8]) -> io::Result<bool> {
        let Some(direct) = &self.direct else { return Ok(false) };
        let written = direct.write(offset, bytes)?;
        if written == Written::Never {
            self.direct = None;
        }
        Ok(written == Written::All)
    }

    /// Writes bytes into the page cache, and remembers how long it took.
    fn write_cached(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = Instant::now();
        self.file.write_all_at(bytes, offset)?;
        if let Some(direct) = &mut self.direct {
            direct.page_cache_took(bytes.len(), start.elapsed());
        }
        if let Some(background_sync) = &mut self.background_sync {
            background_sync.wrote(&self.file, bytes.len());
        }
        Ok(())
    }
}

impl Sink for FileSink {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.storage.reserve(&self.file, offset, bytes.len());
        if self.write_direct(offset, bytes)? {
            return Ok(());
        }
        self.write_cached(offset, bytes)
    }

    fn zero_at(&mut self, offset: u64, length: u64) -> io::Result<()> {
        if let Some(background_sync) = self.background_sync.as_mut().filter(|_| length >= LONG) {
            background_sync.hurry(&self.file);
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, offset, length) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => zero_by_writing(self, offset, length),
            done => Ok(done?),
        }
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.background_sync.as_mut().map_or(Ok(()), BackgroundSync::end)?;
        self.file.sync_all()
    }
}

/// What was written can be read back.
impl Source for FileSink {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}
