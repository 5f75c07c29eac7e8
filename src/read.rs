//! What a read has put into its buffer.

use std::io;

use crate::error::Error;

/// The bytes that a read says it gave: more than there was room for is a fault of the reader, and
/// nothing of it is believed.
pub(crate) fn filled(buffer: &[u8], count: usize) -> io::Result<&[u8]> {
    buffer.get(..count).ok_or_else(|| {
        let length = buffer.len();
        Error::internal(format!("a read gave {count} bytes into a buffer of {length}")).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_there_was_room_for_is_an_internal_error() {
        assert_eq!(filled(b"abc", 3).unwrap(), b"abc");
        let error = Error::from_io(filled(b"abc", 4).unwrap_err(), |_| panic!("not ours"));
        assert_eq!(error.exit_code(), 1, "{error}");
    }
}
