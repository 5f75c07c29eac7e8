//! Buffers, and reads that fill them though a signal comes.

use std::io::{self, Read};

use ext4_writer::Buffer;

/// Gives a buffer its bytes, in whole pages, if it has none yet.
pub(super) fn allocate(buffer: &mut Buffer, length: usize) -> io::Result<()> {
    if buffer.pages() == 0 {
        *buffer = Buffer::new(length / Buffer::PAGE)?;
    }
    Ok(())
}

/// One read that a signal does not end.
pub(super) fn read_some(reader: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Fills `out` as far as the input reaches.
pub(super) fn read_full(reader: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(free) = out.get_mut(filled..).filter(|free| !free.is_empty()) {
        let count = read_some(reader, free)?;
        if count == 0 {
            break;
        }
        filled = filled.saturating_add(count);
    }
    Ok(filled)
}
