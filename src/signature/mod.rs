//! What a device or a file holds already, by the signatures that formats leave in it.
//!
//! A filesystem that is made over another one destroys it, so who makes one asks first. The names
//! are those of libblkid; the places are from util-linux, `libblkid/src/superblocks/` and
//! `libblkid/src/partitions/`, and from the formats' own descriptions where those are named.

use std::fmt;
use std::io::{self, ErrorKind};

use ext4_writer::reader::Source;

mod ext;
mod table;
mod tables;
mod volumes;

/// The first bytes that are looked at: up to the last uberblock of the first label of ZFS.
const HEAD: u64 = 256 << 10;
/// The last bytes that are looked at: those of an MD RAID of version 0.90 and of a backup GPT.
const TAIL: u64 = 132 << 10;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    /// The format's name, such as `ext4`, `xfs`, `crypto_LUKS` or `gpt`.
    pub format: &'static str,
    /// Where its signature begins, in bytes.
    pub offset: u64,
    /// The label, if the format has one; bytes as they are stored, usually UTF-8.
    pub label: Vec<u8>,
    /// The UUID or serial number in its usual notation, if the format has one.
    pub id: Option<String>,
    /// What else is known, such as `2 partitions`.
    pub detail: Option<String>,
}

impl Signature {
    fn new(format: &'static str, offset: u64) -> Self {
        Self { format, offset, label: Vec::new(), id: None, detail: None }
    }

    fn labelled(self, label: Option<&[u8]>) -> Self {
        Self { label: label.map(text).unwrap_or_default(), ..self }
    }

    fn identified(self, id: Option<String>) -> Self {
        Self { id, ..self }
    }

    fn detailed(self, detail: Option<String>) -> Self {
        Self { detail, ..self }
    }
}

/// `ext4 "work" (UUID 3201a0fc-…, last mounted on /srv)`.
impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.format)?;
        if !self.label.is_empty() {
            write!(f, " \"{}\"", self.label.escape_ascii())?;
        }
        let id = self.id.as_ref().map(|id| format!("UUID {id}"));
        let known: Vec<String> = id.into_iter().chain(self.detail.clone()).collect();
        if known.is_empty() { Ok(()) } else { write!(f, " ({})", known.join(", ")) }
    }
}

/// Looks for the signatures of filesystems, partition tables, encrypted, striped and logical
/// volumes, swap areas and disk images: all that are there, in the order of their places.
///
/// Nothing found does not mean nothing there. At most 400 KiB are read.
///
/// # Errors
/// Whatever the source answers but that it ends.
pub(crate) fn signatures<S: Source + ?Sized>(source: &S) -> io::Result<Vec<Signature>> {
    let view = View::new(source)?;
    let mut found = table::simple(&view);
    found.extend(ext::superblock(&view));
    found.extend(volumes::all(&view));
    found.extend(volumes::second_luks_header(source, &view)?);
    found.extend(tables::partitions(&view, &found));
    found.sort_by_key(|signature| signature.offset);
    Ok(found)
}

/// The first and the last bytes of a source.
struct View {
    length: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
    /// Where the tail begins.
    tail_start: u64,
}

impl View {
    fn new<S: Source + ?Sized>(source: &S) -> io::Result<Self> {
        let length = source.length()?;
        let head = read(source, 0, length.min(HEAD))?;
        let tail_start = length.saturating_sub(TAIL);
        let tail = read(source, tail_start, length.min(TAIL))?;
        Ok(Self { length, head, tail, tail_start })
    }

    /// The bytes at a place near one of the ends.
    fn at(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let part = |bytes: &'_ [u8], offset: u64| {
            let start = usize::try_from(offset).ok()?;
            let range = start..start.checked_add(length)?;
            bytes.get(range.clone()).map(|_| range)
        };
        if let Some(range) = part(&self.head, offset) {
            return self.head.get(range);
        }
        let range = part(&self.tail, offset.checked_sub(self.tail_start)?)?;
        self.tail.get(range)
    }

    fn bytes<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        self.at(offset, N)?.try_into().ok()
    }

    fn has(&self, offset: u64, magic: &[u8]) -> bool {
        self.at(offset, magic.len()) == Some(magic)
    }

    fn u16(&self, offset: u64) -> Option<u16> {
        self.bytes(offset).map(u16::from_le_bytes)
    }

    fn u32(&self, offset: u64) -> Option<u32> {
        self.bytes(offset).map(u32::from_le_bytes)
    }

    fn u64(&self, offset: u64) -> Option<u64> {
        self.bytes(offset).map(u64::from_le_bytes)
    }

    /// A UUID whose bytes stand in the order in which it is written; none of zeros.
    fn uuid(&self, offset: u64) -> Option<String> {
        self.bytes(offset).filter(|uuid| *uuid != [0; 16]).map(uuid_text)
    }

    /// A UUID as Microsoft stores it: the first three parts little-endian.
    fn guid(&self, offset: u64) -> Option<String> {
        let mut bytes: [u8; 16] = self.bytes(offset)?;
        for part in [0..4, 4..6, 6..8] {
            bytes.get_mut(part)?.reverse();
        }
        Some(uuid_text(bytes))
    }
}

/// Reads a range; nothing, if the source ends before: a file can shrink meanwhile.
fn read<S: Source + ?Sized>(source: &S, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    // At most HEAD.
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    match source.read_at(offset, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The bytes of a field up to its first NUL, without spaces at the end.
fn text(field: &[u8]) -> Vec<u8> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    field.get(..end).unwrap_or_default().trim_ascii_end().to_vec()
}

fn uuid_text(uuid: [u8; 16]) -> String {
    grouped(&format!("{:032x}", u128::from_be_bytes(uuid)), &[8, 12, 16, 20])
}

/// The text with a dash before each of these places.
fn grouped(text: &str, dashes: &[usize]) -> String {
    let mut shown = String::with_capacity(text.len() + dashes.len());
    for (place, character) in text.chars().enumerate() {
        if dashes.contains(&place) {
            shown.push('-');
        }
        shown.push(character);
    }
    shown
}

#[cfg(test)]
mod tests {
    use banger_test_support::device::{PLANTED, plant_signatures};

    use super::*;

    #[test]
    fn a_signature_is_shown_with_what_is_known() {
        let plain = Signature::new("zfs_member", 0);
        assert_eq!(plain.to_string(), "zfs_member");
        let all = Signature::new("ext4", 1024)
            .labelled(Some(b"wo\"rk\0garbage"))
            .identified(Some("1".to_owned()))
            .detailed(Some("last mounted on /srv".to_owned()));
        assert_eq!(all.to_string(), "ext4 \"wo\\\"rk\" (UUID 1, last mounted on /srv)");
    }

    #[test]
    fn all_planted_formats_are_found() {
        let mut bytes = vec![0; 16 << 20];
        plant_signatures(&mut bytes);
        let found = signatures(&bytes).unwrap();
        let mut names: Vec<&str> = found.iter().map(|signature| signature.format).collect();
        names.sort_unstable();
        assert_eq!(names, PLANTED);
    }

    #[test]
    fn no_length_and_no_bytes_are_too_strange() {
        for length in [0, 1, 511, 512, 1080, 4096, 65_536, 300_000] {
            for byte in [0, 0xff, 0x55] {
                signatures(&vec![byte; length]).unwrap();
            }
        }
    }
}
