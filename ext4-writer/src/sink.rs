//! Where the bytes of an image go.

use std::fs::File;
use std::io::{self, Cursor};
use std::ops::Range;

use crate::buffer::Buffer;
use crate::error::internal;
use crate::format::units::{at_most, widen};
use crate::positional::write_all_at;

/// What a place holds where nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialContents {
    /// Zeros: a new file, a new vector, a device that was discarded to zeros.
    Zeros,
    /// Anything: a disk that was in use.
    Unknown,
}

/// A place for an image: writes at any position, in any order, never read back.
pub trait Sink {
    /// Says what is read where nothing is written; called once, before the first write. `length`
    /// is that of the image, in bytes, if it is known already.
    ///
    /// Where the answer is [`InitialContents::Zeros`], blocks of zeros are not written at all. Where it is
    /// [`InitialContents::Unknown`], all that the filesystem takes for zeros is written or given to
    /// [`zero_at`](Self::zero_at); what other formats left elsewhere in the place, such as the
    /// superblock of a RAID at its end, is this method's to wipe.
    ///
    /// # Errors
    /// Whatever the place answers; no builder is made.
    fn prepare(&mut self, length: Option<u64>) -> io::Result<InitialContents> {
        let _ = length;
        Ok(InitialContents::Zeros)
    }

    /// The most bytes that the place can hold, where it has an end of its own.
    fn capacity(&self) -> Option<u64> {
        None
    }

    /// Writes all of `bytes` at `offset` (in bytes).
    ///
    /// # Errors
    /// Whatever the place answers; the builder is poisoned by it.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Writes the bytes `part` of `buffer` at `offset`, now or before anything else that is asked
    /// for. It may keep the buffer and leave one of the same length in its place, with any bytes.
    ///
    /// # Errors
    /// Whatever the place answers; the builder is poisoned by it.
    fn write_buffer(
        &mut self,
        offset: u64,
        buffer: &mut Buffer,
        part: Range<usize>,
    ) -> io::Result<()> {
        self.write_at(offset, buffer.bytes().get(part).ok_or_else(part_is_inside)?)
    }

    /// Makes `length` bytes at `offset` read as zeros again, best by giving their storage back.
    ///
    /// # Errors
    /// Whatever the place answers; the builder is poisoned by it.
    fn zero_at(&mut self, offset: u64, length: u64) -> io::Result<()>;

    /// Returns when nothing that was written before can be lost while something that is written
    /// later stays. Called once, before the superblock is written, which makes a filesystem of
    /// the rest.
    ///
    /// A place that has a name only when all is done needs nothing here, which is the default; one
    /// that is written where it lies, such as a device, waits for its disk.
    ///
    /// # Errors
    /// Whatever the place answers; the builder is poisoned by it.
    fn barrier(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Makes the image exactly `length` bytes long.
    ///
    /// # Errors
    /// Whatever the place answers; the builder is poisoned by it.
    fn set_length(&mut self, length: u64) -> io::Result<()>;

    /// Returns when everything is as safe as the place can make it.
    ///
    /// # Errors
    /// Whatever the place answers; the builder is poisoned by it.
    fn sync(&mut self) -> io::Result<()>;
}

/// The methods of what leads to a sink.
macro_rules! forward {
    () => {
        fn prepare(&mut self, length: Option<u64>) -> io::Result<InitialContents> {
            (**self).prepare(length)
        }

        fn capacity(&self) -> Option<u64> {
            (**self).capacity()
        }

        fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            (**self).write_at(offset, bytes)
        }

        fn write_buffer(
            &mut self,
            offset: u64,
            buffer: &mut Buffer,
            part: Range<usize>,
        ) -> io::Result<()> {
            (**self).write_buffer(offset, buffer, part)
        }

        fn zero_at(&mut self, offset: u64, length: u64) -> io::Result<()> {
            (**self).zero_at(offset, length)
        }

        fn barrier(&mut self) -> io::Result<()> {
            (**self).barrier()
        }

        fn set_length(&mut self, length: u64) -> io::Result<()> {
            (**self).set_length(length)
        }

        fn sync(&mut self) -> io::Result<()> {
            (**self).sync()
        }
    };
}

impl<S: Sink + ?Sized> Sink for &mut S {
    forward!();
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    forward!();
}

/// A regular file.
///
/// The standard library cannot punch holes, so [`zero_at`](Sink::zero_at) writes zeros here; a
/// program that can do better brings a sink of its own.
#[derive(Debug)]
pub struct FileSink {
    file: File,
}

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

impl FileSink {
    /// Empties `file`, which must be open for writing, and writes to it.
    ///
    /// # Errors
    /// When the file cannot be emptied.
    pub fn new(file: File) -> io::Result<Self> {
        // ext4 starts the write-back of a file that was ever truncated when it is closed
        // (kernel: fs/ext4/inode.c, ext4_truncate, EXT4_STATE_DA_ALLOC_CLOSE).
        if file.metadata()?.len() > 0 {
            file.set_len(0)?;
        }
        Ok(Self { file })
    }

    /// The file.
    #[must_use]
    pub fn into_file(self) -> File {
        self.file
    }
}

impl Sink for FileSink {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_all_at(&self.file, offset, bytes)
    }

    fn zero_at(&mut self, offset: u64, length: u64) -> io::Result<()> {
        zero_by_writing(self, offset, length)
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// A part of a buffer that is not in it. Nothing may be taken for written then.
pub(crate) fn part_is_inside() -> io::Error {
    io::Error::other(internal("what is written of a buffer is inside it"))
}

/// [`Sink::zero_at`] for a sink that can do no better than write zeros.
///
/// # Errors
/// Those of [`Sink::write_at`].
pub fn zero_by_writing<S: Sink>(sink: &mut S, offset: u64, length: u64) -> io::Result<()> {
    let end = offset.checked_add(length).ok_or(io::ErrorKind::InvalidInput)?;
    let mut at = offset;
    while at < end {
        let part = ZEROS.get(..at_most(end - at, ZEROS.len())).ok_or_else(part_is_inside)?;
        sink.write_at(at, part)?;
        at += widen(part.len());
    }
    Ok(())
}

/// A vector: the whole image in memory.
#[derive(Clone, Debug, Default)]
pub struct MemorySink {
    bytes: Vec<u8>,
}

impl MemorySink {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The image so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The image.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn range(bytes: &mut Vec<u8>, offset: u64, length: usize) -> io::Result<&mut [u8]> {
    let start = usize::try_from(offset).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let end = start.checked_add(length).ok_or(io::ErrorKind::OutOfMemory)?;
    if bytes.len() < end {
        bytes.try_reserve(end - bytes.len())?;
        bytes.resize(end, 0);
    }
    bytes.get_mut(start..end).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// The vector becomes the image. What is in it already is taken for a disk that was in use.
impl Sink for Vec<u8> {
    fn prepare(&mut self, _length: Option<u64>) -> io::Result<InitialContents> {
        if self.iter().any(|byte| *byte != 0) {
            return Ok(InitialContents::Unknown);
        }
        Ok(InitialContents::Zeros)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        range(self, offset, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn zero_at(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        range(self, offset, length)?.fill(0);
        Ok(())
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        if let Some(more) = length.checked_sub(self.len()) {
            self.try_reserve(more)?;
        }
        self.resize(length, 0);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

macro_rules! in_a_vector {
    ($sink:ty, $self:ident => $vector:expr) => {
        impl Sink for $sink {
            fn prepare(&mut $self, length: Option<u64>) -> io::Result<InitialContents> {
                $vector.prepare(length)
            }

            fn write_at(&mut $self, offset: u64, bytes: &[u8]) -> io::Result<()> {
                $vector.write_at(offset, bytes)
            }

            fn zero_at(&mut $self, offset: u64, length: u64) -> io::Result<()> {
                $vector.zero_at(offset, length)
            }

            fn set_length(&mut $self, length: u64) -> io::Result<()> {
                $vector.set_length(length)
            }

            fn sync(&mut $self) -> io::Result<()> {
                $vector.sync()
            }
        }
    };
}

in_a_vector!(MemorySink, self => self.bytes);
// The position of a cursor is left as it is.
in_a_vector!(Cursor<Vec<u8>>, self => self.get_mut());

/// Keeps nothing but counts: how large would the image be, and how much of it written?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountingSink {
    written: u64,
    length: u64,
}

impl CountingSink {
    /// Nothing written yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes given to [`write_at`](Sink::write_at).
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The length of the image, in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl Sink for CountingSink {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let length = widen(bytes.len());
        let end = offset.checked_add(length).ok_or(io::ErrorKind::FileTooLarge)?;
        self.written = self.written.checked_add(length).ok_or(io::ErrorKind::FileTooLarge)?;
        self.length = self.length.max(end);
        Ok(())
    }

    fn zero_at(&mut self, _offset: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.length = length;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
