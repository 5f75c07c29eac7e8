//! Where an image is that is changed in place.

use std::fs::File;
use std::io;

use crate::positional::write_all_at;
use crate::reader::Source;

/// A place that holds an image and can be written to.
///
/// What is written may reach the disk in any order until [`sync`](Device::sync) returns; all that
/// was written before it is then safe.
pub trait Device: Source {
    /// Writes all of `bytes` at `offset` (in bytes), never behind the end.
    ///
    /// # Errors
    /// Whatever the place answers.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// The same in blocks that the filesystem does not use, before anything leads to them: what was
    /// there may be brought back until the next [`sync`](Device::sync), if the edit fails.
    ///
    /// # Errors
    /// Whatever the place answers.
    fn write_free_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_at(offset, bytes)
    }

    /// Returns when everything that was written is safe on the disk.
    ///
    /// # Errors
    /// Whatever the place answers.
    fn sync(&mut self) -> io::Result<()>;

    /// Makes room for so many bytes, or leaves no more; a block device only tells whether it has them.
    ///
    /// # Errors
    /// When there is no room, and whatever the place answers.
    fn set_length(&mut self, length: u64) -> io::Result<()>;

    /// Whether room that [`set_length`](Device::set_length) makes reads as zeros.
    fn grows_with_zeros(&self) -> bool;
}

/// A regular file or a block device, open for reading and writing.
impl Device for File {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_all_at(self, offset, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        if self.metadata()?.is_file() {
            return self.set_len(length);
        }
        if self.length()? < length { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn grows_with_zeros(&self) -> bool {
        self.metadata().is_ok_and(|metadata| metadata.is_file())
    }
}

/// An image in memory.
impl Device for Vec<u8> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let place = self.get_mut(start..).and_then(|rest| rest.get_mut(..bytes.len()));
        place.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.resize(length, 0);
        Ok(())
    }

    fn grows_with_zeros(&self) -> bool {
        true
    }
}
