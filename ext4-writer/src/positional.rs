//! Reading and writing a file at an offset, on every system that has files.

#[cfg(any(unix, windows))]
pub(crate) use here::{read_exact_at, write_all_at};
#[cfg(not(any(unix, windows)))]
pub(crate) use with_a_position::{read_exact_at, write_all_at};

#[cfg(unix)]
mod here {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    /// Fills `buffer` with the bytes from `offset` on.
    pub(crate) fn read_exact_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        file.read_exact_at(buffer, offset)
    }

    /// Writes all of `bytes` at `offset`.
    pub(crate) fn write_all_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }
}

#[cfg(windows)]
mod here {
    use std::fs::File;
    use std::io;
    use std::os::windows::fs::FileExt;

    /// Fills `buffer` with the bytes from `offset` on.
    pub(crate) fn read_exact_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            match file.seek_read(rest, at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(got) => {
                    rest = rest.get_mut(got..).ok_or(io::ErrorKind::InvalidData)?;
                    at = advanced(at, got)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `bytes` at `offset`.
    pub(crate) fn write_all_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            match file.seek_write(rest, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = rest.get(written..).ok_or(io::ErrorKind::InvalidData)?;
                    at = advanced(at, written)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn advanced(at: u64, by: usize) -> io::Result<u64> {
        let by = u64::try_from(by).map_err(|_| io::ErrorKind::FileTooLarge)?;
        at.checked_add(by).ok_or_else(|| io::ErrorKind::FileTooLarge.into())
    }
}

/// Where a file has one position and no offsets, as in WebAssembly, which has no threads either.
#[cfg(not(any(unix, windows)))]
mod with_a_position {
    use std::fs::File;
    use std::io::{self, Read, Seek, SeekFrom, Write};

    /// Fills `buffer` with the bytes from `offset` on.
    pub(crate) fn read_exact_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut file = file;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(buffer)
    }

    /// Writes all of `bytes` at `offset`.
    pub(crate) fn write_all_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut file = file;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }
}
