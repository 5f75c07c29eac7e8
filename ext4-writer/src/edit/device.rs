//! Where an image is that is changed in place.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

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

    /// Returns when everything that was written is safe on the disk.
    ///
    /// # Errors
    /// Whatever the place answers.
    fn sync(&mut self) -> io::Result<()>;
}

/// A regular file or a block device, open for reading and writing.
impl Device for File {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
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
}
