//! Where the image is that is edited: a file or device that is changed, or one that is only tried.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::PathBuf;

use ext4_writer::edit::{Device, Trial, Undo, UndoFile};
use ext4_writer::reader::Source;
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use crate::image::Storage;

/// The most bytes of free blocks that are kept to be brought back.
const MOST: usize = 6 << 20;

/// What holds an image while it is edited.
pub(super) enum Place {
    Real(ImageFile),
    Trial(Trial<File>),
}

impl Place {
    pub(super) fn new(file: File, is_trial: bool) -> io::Result<Self> {
        if is_trial {
            return Ok(Self::Trial(Trial::new(file)));
        }
        let is_device = file.metadata()?.file_type().is_block_device();
        let storage = Storage::of(&file);
        let before = Vec::new();
        Ok(Self::Real(ImageFile { file, is_device, before, kept: 0, length: None, storage }))
    }

    /// Whether it can be made longer than it is.
    pub(super) fn can_be_longer(&self) -> bool {
        match self {
            Self::Real(image) => !image.is_device,
            Self::Trial(_) => true,
        }
    }

    fn device(&mut self) -> &mut dyn Device {
        match self {
            Self::Real(file) => file,
            Self::Trial(trial) => trial,
        }
    }

    fn source(&self) -> &dyn Source {
        match self {
            Self::Real(image) => &image.file,
            Self::Trial(trial) => trial,
        }
    }
}

impl Source for Place {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.source().read_at(offset, buffer)
    }

    fn length(&self) -> io::Result<u64> {
        self.source().length()
    }
}

impl Device for Place {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.device().write_at(offset, bytes)
    }

    fn write_free_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.device().write_free_at(offset, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.device().sync()
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.device().set_length(length)
    }

    fn grows_with_zeros(&self) -> bool {
        match self {
            Self::Real(image) => !image.is_device,
            Self::Trial(trial) => trial.grows_with_zeros(),
        }
    }
}

/// An image that is changed. Of an edit that fails, what it wrote into free blocks of a file is
/// taken back: the file has the bytes that it had.
pub(super) struct ImageFile {
    file: File,
    is_device: bool,
    /// What was in free blocks that were written to, in the order of the writes.
    before: Vec<Before>,
    kept: usize,
    /// The length before it was changed.
    length: Option<u64>,
    storage: Storage,
}

/// A range as it was.
struct Before {
    offset: u64,
    length: u64,
    /// None of a hole.
    bytes: Option<Vec<u8>>,
}

impl ImageFile {
    /// Keeps what is in a range. Of a device nothing is kept, and not more than memory allows.
    fn keep(&mut self, offset: u64, length: usize) -> io::Result<()> {
        if self.is_device {
            return Ok(());
        }
        let bytes = match self.is_hole(offset, length)? {
            true => None,
            false if self.kept.saturating_add(length) > MOST => return Ok(()),
            false => {
                let mut bytes = vec![0; length];
                self.file.read_exact_at(&mut bytes, offset)?;
                // Zeros are brought back as a hole is, which no limit of the host's forbids.
                let bytes = Some(bytes).filter(|bytes| bytes.iter().any(|byte| *byte != 0));
                self.kept = self.kept.saturating_add(bytes.as_ref().map_or(0, Vec::len));
                bytes
            }
        };
        let length = u64::try_from(length).map_err(io::Error::other)?;
        self.before.push(Before { offset, length, bytes });
        Ok(())
    }

    /// Whether there is nothing in a range, so far as the host's filesystem says it.
    fn is_hole(&self, offset: u64, length: usize) -> io::Result<bool> {
        match seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => Ok(u64::try_from(length).is_ok_and(|length| data - offset >= length)),
            // There is no more data up to the end.
            Err(Errno::NXIO) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn restore(&mut self) -> io::Result<()> {
        let mut restored = Ok(());
        for before in self.before.drain(..).rev() {
            let done = match &before.bytes {
                Some(bytes) => self.file.write_all_at(bytes, before.offset),
                None => punch(&self.file, &before),
            };
            // One that cannot be brought back does not keep the others.
            restored = restored.and(done);
        }
        restored.and(self.length.take().map_or(Ok(()), |length| self.file.set_len(length)))
    }
}

/// Makes a range the hole that it was.
fn punch(file: &File, before: &Before) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, flags, before.offset, before.length) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let length = usize::try_from(before.length).map_err(io::Error::other)?;
            file.write_all_at(&vec![0; length], before.offset)
        }
        Err(error) => Err(error.into()),
    }
}

impl Source for ImageFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        Source::read_at(&self.file, offset, buffer)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}

impl Device for ImageFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        Device::write_at(&mut self.file, offset, bytes)
    }

    fn write_free_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.keep(offset, bytes.len())?;
        self.storage.reserve(&self.file, offset, bytes.len());
        Device::write_at(&mut self.file, offset, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        // What leads to the blocks may be written now.
        self.before.clear();
        self.length = None;
        Ok(())
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        if self.length.is_none() && !self.is_device {
            self.length = Some(self.file.length()?);
        }
        self.file.set_length(length)
    }

    fn grows_with_zeros(&self) -> bool {
        !self.is_device
    }
}

impl Drop for ImageFile {
    fn drop(&mut self) {
        // Only what the filesystem does not use would stay changed; there is nobody to tell.
        let _ = self.restore();
    }
}

/// An undo file that is read and left as it is.
pub(super) struct KeptUndo(UndoFile);

impl KeptUndo {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(UndoFile::new(path))
    }
}

impl Undo for KeptUndo {
    fn open(&mut self) -> io::Result<Option<Box<dyn Source>>> {
        self.0.open()
    }

    fn append(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn remove(&mut self) -> io::Result<()> {
        Ok(())
    }
}
