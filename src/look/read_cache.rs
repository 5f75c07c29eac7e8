//! What was read of an image of late.

use std::io;
use std::sync::{Mutex, PoisonError};

/// The bytes that are read at once: inodes that are listed together lie together.
const CHUNK: u16 = 32 << 10;
/// The chunks that are kept.
const SLOTS: u8 = 128;
/// The longest read that is answered from a chunk; a longer one is worth a system call.
const SMALL: usize = 4096;

/// Answers small reads from chunks, 4 MiB of them at most. A name that is listed takes three reads
/// of some hundred bytes, each of which would be a system call.
#[derive(Debug, Default)]
pub(super) struct ReadCache(Mutex<Vec<Slot>>);

#[derive(Clone, Debug, Default)]
struct Slot {
    start: u64,
    /// None before the first read.
    bytes: Vec<u8>,
}

impl ReadCache {
    /// Reads `buffer` from `offset`, by `read` where it is not there yet. `length` is that of all.
    pub(super) fn read(
        &self,
        (offset, length): (u64, u64),
        buffer: &mut [u8],
        read: impl Fn(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some((start, into)) = place(offset, buffer.len()) else {
            return read(offset, buffer);
        };
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.is_empty() {
            slots.resize(SLOTS.into(), Slot::default());
        }
        let index = usize::try_from(start / u64::from(CHUNK) % u64::from(SLOTS)).unwrap_or(0);
        let Some(slot) = slots.get_mut(index) else { return read(offset, buffer) };
        if slot.start != start || slot.bytes.is_empty() {
            let left = usize::try_from(length.saturating_sub(start)).unwrap_or(usize::MAX);
            slot.bytes.resize(left.min(CHUNK.into()), 0);
            slot.start = start;
            if read(start, &mut slot.bytes).is_err() {
                // A bad block may lie beside what is wanted.
                slot.bytes.clear();
                return read(offset, buffer);
            }
        }
        match slot.bytes.get(into..into + buffer.len()) {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            // It reaches behind the end, which the file says better.
            None => read(offset, buffer),
        }
    }
}

/// The chunk that holds a small read, and where in it; none if it is none or lies in two.
fn place(offset: u64, length: usize) -> Option<(u64, usize)> {
    let chunk = u64::from(CHUNK);
    let into = usize::try_from(offset % chunk).ok()?;
    let fits = length <= SMALL && into + length <= usize::from(CHUNK);
    fits.then_some((offset - offset % chunk, into))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn reads_are_those_of_the_file_and_fewer() {
        let all: Vec<u8> = (0..200_001u32).map(|number| number.to_le_bytes()[0]).collect();
        let reads = Cell::new(0);
        let read = |offset: u64, buffer: &mut [u8]| {
            reads.set(reads.get() + 1);
            let start = usize::try_from(offset).unwrap();
            let bytes = all.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(bytes);
            Ok(())
        };
        let cache = ReadCache::default();
        let mut buffer = vec![0; 8192];
        let length = 200_001;
        for offset in (0..200_001 - 256).step_by(128) {
            cache.read((offset, length), &mut buffer[..256], read).unwrap();
            let start = usize::try_from(offset).unwrap();
            assert_eq!(buffer[..256], all[start..start + 256]);
        }
        // Seven chunks, and a read across each of their borders.
        assert_eq!(reads.get(), 13);
        cache.read((100, length), &mut buffer, read).unwrap();
        assert_eq!((reads.get(), &buffer[..]), (14, &all[100..8292]));
        cache.read((200_000, length), &mut buffer[..1], read).unwrap();
        assert_eq!(reads.get(), 14);
        let behind = cache.read((200_000, length), &mut buffer[..2], read).unwrap_err();
        assert_eq!(behind.kind(), io::ErrorKind::UnexpectedEof);
        let chunk = u64::from(CHUNK);
        assert_eq!(place(chunk * 128 + 5, 3), Some((chunk * 128, 5)));
        assert_eq!((place(0, SMALL + 1), place(chunk - 1, 2)), (None, None));
    }

    #[test]
    fn a_read_that_fails_is_tried_by_itself_and_nothing_is_kept_of_it() {
        let cache = ReadCache::default();
        let mut byte = [0];
        // A bad block beside what is wanted.
        let read = |_: u64, buffer: &mut [u8]| {
            if buffer.len() > 1 {
                return Err(io::Error::other("a bad block"));
            }
            buffer.fill(7);
            Ok(())
        };
        cache.read((3, 100), &mut byte, read).unwrap();
        assert_eq!(byte, [7]);
        let error = cache.read((3, 100), &mut [0; 2], read).unwrap_err();
        assert_eq!(error.to_string(), "a bad block");
    }
}
