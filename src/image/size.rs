//! How large an image is asked to be: `4G`, `fit`, `fit+512M`.

use std::str::FromStr;

use ext4_writer::Size;

use crate::error::{Error, Result};
use crate::shown;

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
        let free_bytes = match self {
            Self::Fixed(bytes) => return Size::Fixed(bytes),
            Self::Automatic => LEAST_ROOM,
            Self::Fit(room) => room,
        };
        Size::Fit { free_bytes, free_inodes: Self::inodes_for(free_bytes) }
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
        let wrong = || not_a_size(text).with_hint("sizes are 4G, 1.5G, 512M, fit or fit+512M");
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

/// Bytes, with an optional unit: K, M, G, T or P, as `4G`, `4GB` or `4GiB` in either case. Every
/// unit is a power of 1,024, as docker, qemu-img and mke2fs have it. A fraction must make whole
/// bytes: `1.5G` does, `0.1G` does not.
pub fn parse_bytes(text: &str) -> Result<u64> {
    let (number, unit) =
        text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let shift = shift_of(unit).ok_or_else(|| not_a_size(text))?;
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if shift > 0 => (whole, Some(fraction)),
        Some(_) => return Err(not_a_size(text)),
        None => (number, None),
    };
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !fraction.is_none_or(is_number) {
        return Err(not_a_size(text));
    }
    let too_large = || Error::usage(format!("{} is more than 2^64 bytes", shown::text(text)));
    let whole = whole.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    let part = part_of(fraction.unwrap_or_default(), shift).ok_or_else(|| {
        Error::usage(format!("{} is no whole number of bytes", shown::text(text)))
            .with_hint("write it in a smaller unit, such as 100M for 0.1G")
    })?;
    whole.and_then(|whole| whole.checked_add(part)).ok_or_else(too_large)
}

/// The bytes of the digits behind a point; nothing when they make no whole number.
fn part_of(digits: &str, shift: u32) -> Option<u64> {
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let parts = 10_u128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    let bytes = digits.parse::<u128>().ok()?.checked_mul(1 << shift)?;
    (bytes % parts == 0).then_some(bytes / parts)?.try_into().ok()
}

/// The power of two that a unit is.
fn shift_of(unit: &str) -> Option<u32> {
    let unit = unit.to_ascii_lowercase();
    let mut letters = unit.chars();
    let shift = match letters.next() {
        None => return Some(0),
        Some('b') if unit == "b" => return Some(0),
        Some('k') => 10,
        Some('m') => 20,
        Some('g') => 30,
        Some('t') => 40,
        Some('p') => 50,
        Some(_) => return None,
    };
    matches!(letters.as_str(), "" | "b" | "ib").then_some(shift)
}

fn not_a_size(text: &str) -> Error {
    Error::usage(format!("\"{}\" is not a size", shown::text(text)))
        .with_hint("a size is a number of bytes, or one with K, M, G, T or P, such as 512M or 1.5G")
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
            ("8GB", ImageSize::Fixed(8 << 30)),
            ("8gib", ImageSize::Fixed(8 << 30)),
            ("1P", ImageSize::Fixed(1 << 50)),
            ("512B", ImageSize::Fixed(512)),
            ("1.5G", ImageSize::Fixed(3 << 29)),
            ("1.500GiB", ImageSize::Fixed(3 << 29)),
            ("0.0009765625k", ImageSize::Fixed(1)),
            ("1.0K", ImageSize::Fixed(1024)),
            ("fit", ImageSize::Fit(0)),
            ("fit+512M", ImageSize::Fit(512 << 20)),
            ("fit+0.5G", ImageSize::Fit(512 << 20)),
        ] {
            assert_eq!(text.parse::<ImageSize>().unwrap(), size, "{text}");
        }
        for text in [
            "",
            "G",
            "4X",
            "-1",
            "fit512M",
            "fit+",
            "4iB",
            "4i",
            "4Gi",
            "8MiBiB",
            "8GBB",
            "8 G",
            "+4G",
            "1.5",
            "1.5B",
            ".5G",
            "1.G",
            "1.5.5G",
            "1,5G",
            "0.1G",
            "1e3",
            "0x10",
            "16384P",
            "99999999999T",
            "0.00000000000000000000000000000000000000000001G",
        ] {
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
