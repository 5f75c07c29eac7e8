//! How large an image is asked to be: `4G`, `fit`, `fit+512M`.

use std::str::FromStr;

use ext4_writer::Size;

use crate::error::{Error, Result};

/// The size of an image as the user says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageSize {
    /// As small as it can be, and the larger of 256 MiB and a quarter of the content free.
    #[default]
    Automatic,
    /// As small as it can be with so many bytes free.
    Fit(u64),
    /// So many bytes.
    Fixed(u64),
}

/// What [`ImageSize::Automatic`] leaves free at least.
const LEAST_ROOM: u64 = 256 << 20;
/// The share of the content that [`ImageSize::Automatic`] leaves free: one part in so many.
const ROOM_SHARE: u64 = 4;
/// The free bytes for which a fitted image gets a free inode.
const BYTES_PER_INODE: u64 = 8 << 10;

impl ImageSize {
    /// The room of a fitted image around so many bytes of content; `None` for a fixed size.
    #[must_use]
    pub fn room(self, content: u64) -> Option<u64> {
        match self {
            Self::Automatic => Some(LEAST_ROOM.max(content / ROOM_SHARE)),
            Self::Fit(room) => Some(room),
            Self::Fixed(_) => None,
        }
    }

    /// The size of a filesystem with nothing in it.
    #[must_use]
    pub fn of_nothing(self) -> Size {
        match self {
            Self::Fixed(bytes) => Size::Fixed(bytes),
            Self::Automatic | Self::Fit(_) => {
                let free_bytes = self.room(0).unwrap_or_default();
                Size::Fit { free_bytes, free_inodes: Self::inodes_for(free_bytes) }
            }
        }
    }

    /// The inodes that a guest needs for files in so much room.
    #[must_use]
    pub fn inodes_for(room: u64) -> u32 {
        u32::try_from(room / BYTES_PER_INODE).unwrap_or(u32::MAX)
    }
}

impl FromStr for ImageSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || not_a_size(text).hint("sizes are 4G, 512M, fit or fit+512M");
        match text.strip_prefix("fit") {
            Some("") => Ok(Self::Fit(0)),
            Some(rest) => {
                let room = rest.strip_prefix('+').ok_or_else(wrong)?;
                parse_bytes(room).map(Self::Fit)
            }
            None if text.starts_with(|first: char| first.is_ascii_digit()) => {
                parse_bytes(text).map(Self::Fixed)
            }
            None => Err(wrong()),
        }
    }
}

/// Bytes with an optional unit of K, M, G or T, which are powers of 1,024.
pub fn parse_bytes(text: &str) -> Result<u64> {
    let unit_less = text.trim_end_matches("iB");
    let (digits, shift) = match unit_less.strip_suffix(['K', 'k', 'M', 'm', 'G', 'g', 'T', 't']) {
        Some(digits) => (digits, shift_of(unit_less)),
        None if unit_less.len() == text.len() => (text, 0),
        None => return Err(not_a_size(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(not_a_size(text));
    }
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| Error::usage(format!("{text} is more than 2^64 bytes")))
}

fn shift_of(text: &str) -> u32 {
    match text.as_bytes().last().map(u8::to_ascii_uppercase) {
        Some(b'K') => 10,
        Some(b'M') => 20,
        Some(b'G') => 30,
        Some(b'T') => 40,
        _ => 0,
    }
}

fn not_a_size(text: &str) -> Error {
    Error::usage(format!("\"{}\" is not a size", text.escape_debug()))
        .hint("a size is a number of bytes, or one with K, M, G or T, such as 512M")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, size) in [
            ("4G", ImageSize::Fixed(4 << 30)),
            ("512MiB", ImageSize::Fixed(512 << 20)),
            ("4096", ImageSize::Fixed(4096)),
            ("2t", ImageSize::Fixed(2 << 40)),
            ("fit", ImageSize::Fit(0)),
            ("fit+512M", ImageSize::Fit(512 << 20)),
        ] {
            assert_eq!(text.parse::<ImageSize>().unwrap(), size, "{text}");
        }
        for text in ["", "G", "4X", "-1", "fit512M", "fit+", "4iB", "+4G", "99999999999T", "1.5G"] {
            assert_eq!(text.parse::<ImageSize>().unwrap_err().exit_code(), 2, "{text}");
        }
    }

    #[test]
    fn the_automatic_room_grows_with_the_content() {
        assert_eq!(ImageSize::Automatic.room(0), Some(256 << 20));
        assert_eq!(ImageSize::Automatic.room(8 << 30), Some(2 << 30));
        assert_eq!(ImageSize::Fixed(1).room(5), None);
    }
}
