//! Entries to a PAX archive: what an [`Archive`](super::Archive) reads back as the same entries.
//!
//! Numbers and texts stand in the ustar header where they fit, else in PAX records; times of access
//! and change, attributes and holes always stand in records. Sources: POSIX, `pax`, "pax Interchange Format";
//! GNU tar's manual, "Sparse Formats, PAX 1.0"; libarchive, `libarchive/tar.5`, for records that
//! bear the names of star and libarchive.

use std::io::{self, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ext4_writer::{Segment, Timestamp};

use super::header::{BLOCK, BLOCK_BYTES};
use super::{Entry, EntryKind, Xattr, widen};
use crate::read::filled;

/// The largest numbers of the fields of seven and eleven octal digits.
const OCTAL_7: u32 = 0o777_7777;
const OCTAL_11: u64 = 0o777_7777_7777;
/// The bytes of a name in a header.
const NAME: usize = 100;
/// How much of a body is copied at once.
const COPIED: usize = 256 << 10;

/// An archive that is written entry by entry.
#[derive(Debug)]
pub struct ArchiveWriter<W> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> ArchiveWriter<W> {
    /// An archive without entries.
    pub fn new(out: W) -> Self {
        Self { out, buffer: vec![0; COPIED] }
    }

    /// Adds an entry; `body` gives the stored bytes of a regular file, those of its segments one
    /// behind the other where it has holes.
    ///
    /// Errors of `body` are handed on as they are. Sockets have no type in a PAX archive, and are
    /// refused.
    pub fn put(&mut self, entry: &Entry, body: &mut dyn Read) -> io::Result<()> {
        let map = entry.segments.as_ref().map(|segments| sparse_map(segments));
        let map = map.unwrap_or_default();
        let data = match (&entry.segments, entry.kind) {
            (_, kind) if kind != EntryKind::Regular => 0,
            (None, _) => entry.size,
            (Some(segments), _) => {
                segments.iter().fold(0, |sum: u64, segment| sum.saturating_add(segment.length))
            }
        };
        let size = data.saturating_add(widen(map.len()));
        let (header, records) = headers(entry, size)?;
        if !records.is_empty() {
            self.put_extension(&entry.path, &records)?;
        }
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(&map)?;
        self.copy(body, data)?;
        self.pad(size)
    }

    /// Ends the archive; gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn put_extension(&mut self, path: &[u8], records: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::XHeader);
        // Only programs that do not know extended headers make a file of this name.
        set_field(&mut header.as_old_mut().name, &[b"PaxHeaders/", last_name(path)].concat());
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(widen(records.len()));
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(records)?;
        self.pad(widen(records.len()))
    }

    fn copy(&mut self, body: &mut dyn Read, mut left: u64) -> io::Result<()> {
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(COPIED).min(COPIED);
            let piece = self.buffer.get_mut(..length).unwrap_or_default();
            let count = match body.read(piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.out.write_all(filled(piece, count)?)?;
            left = left.saturating_sub(widen(count));
        }
        Ok(())
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = usize::try_from(size.wrapping_neg() % BLOCK_BYTES).unwrap_or_default();
        self.out.write_all([0; BLOCK].get(..padding).unwrap_or_default())
    }
}

/// The map that stands before the data of a sparse file: decimal lines, filled up to whole blocks.
///
/// A last segment without bytes tells readers that seek where the file ends.
fn sparse_map(segments: &[Segment]) -> Vec<u8> {
    let mut map = format!("{}\n", segments.len()).into_bytes();
    for Segment { offset, length } in segments {
        map.extend_from_slice(format!("{offset}\n{length}\n").as_bytes());
    }
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

/// The header of an entry of so many stored bytes, and the records that go before it.
fn headers(entry: &Entry, size: u64) -> io::Result<(tar::Header, Vec<u8>)> {
    let mut records = PaxText::default();
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(entry_type(entry.kind)?);
    header.set_mode(entry.mode.into());
    header.set_uid(records.number("uid", entry.uid, OCTAL_7).into());
    header.set_gid(records.number("gid", entry.gid, OCTAL_7).into());
    header.set_size(records.number("size", size, OCTAL_11));
    header.set_mtime(records.time(entry));
    let is_device = matches!(entry.kind, EntryKind::CharacterDevice | EntryKind::BlockDevice);
    let (major, minor) = if is_device { entry.device } else { (0, 0) };
    header.set_device_major(major)?;
    header.set_device_minor(minor)?;
    if entry.segments.is_some() {
        records.put(b"GNU.sparse.major", b"1");
        records.put(b"GNU.sparse.minor", b"0");
        records.put(b"GNU.sparse.name", &entry.path);
        records.put(b"GNU.sparse.realsize", entry.size.to_string().as_bytes());
        let substitute = [b"GNUSparseFile.0/", last_name(&entry.path)].concat();
        set_field(&mut header.as_old_mut().name, &substitute);
    } else {
        records.text(b"path", &entry.path, &mut header.as_old_mut().name);
    }
    records.text(b"linkpath", &entry.link, &mut header.as_old_mut().linkname);
    for xattr in &entry.xattrs {
        records.xattr(xattr);
    }
    header.set_cksum();
    Ok((header, records.0))
}

fn entry_type(kind: EntryKind) -> io::Result<tar::EntryType> {
    Ok(match kind {
        EntryKind::Regular => tar::EntryType::Regular,
        EntryKind::Directory => tar::EntryType::Directory,
        EntryKind::Symlink => tar::EntryType::Symlink,
        EntryKind::HardLink => tar::EntryType::Link,
        EntryKind::CharacterDevice => tar::EntryType::Char,
        EntryKind::BlockDevice => tar::EntryType::Block,
        EntryKind::Fifo => tar::EntryType::Fifo,
        EntryKind::Socket => return Err(io::ErrorKind::Unsupported.into()),
    })
}

/// Fills a field of text as far as it goes.
fn set_field(field: &mut [u8; NAME], text: &[u8]) {
    field.fill(0);
    for (byte, from) in field.iter_mut().zip(text) {
        *byte = *from;
    }
}

/// The last name of a path, with the slash of a directory.
fn last_name(path: &[u8]) -> &[u8] {
    let end = path.strip_suffix(b"/").unwrap_or(path);
    let start =
        end.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash.saturating_add(1));
    path.get(start..).unwrap_or_default()
}

/// The body of an extended header.
#[derive(Default)]
struct PaxText(Vec<u8>);

impl PaxText {
    /// `LENGTH KEY=VALUE\n`, where the length counts itself.
    fn put(&mut self, key: &[u8], value: &[u8]) {
        // The blank, the equals sign and the newline.
        let rest = key.len().saturating_add(value.len()).saturating_add(3);
        let mut length = rest.saturating_add(digits(rest));
        // Its own digits may make it longer by one.
        length = rest.saturating_add(digits(length));
        self.0.extend_from_slice(length.to_string().as_bytes());
        for part in [b" ", key, b"=", value, b"\n"] {
            self.0.extend_from_slice(part);
        }
    }

    /// The number for the header, the largest where it has none; then a record has it.
    fn number<T>(&mut self, key: &str, number: T, largest: T) -> T
    where
        T: Copy + Ord + std::fmt::Display,
    {
        if number > largest {
            self.put(key.as_bytes(), number.to_string().as_bytes());
        }
        number.min(largest)
    }

    /// The seconds for the header; records have what it cannot say.
    fn time(&mut self, entry: &Entry) -> u64 {
        let Timestamp { seconds, nanoseconds } = entry.modified;
        let whole = u64::try_from(seconds).ok().filter(|seconds| *seconds <= OCTAL_11);
        if whole.is_none() || nanoseconds != 0 {
            self.put(b"mtime", decimal(entry.modified).as_bytes());
        }
        for (key, time) in [(&b"atime"[..], entry.accessed), (b"ctime", entry.changed)] {
            if let Some(time) = time {
                self.put(key, decimal(time).as_bytes());
            }
        }
        whole.unwrap_or_default()
    }

    /// Puts a text into its field, and into a record too where it does not fit or is UTF-8 beyond
    /// ASCII. What is not UTF-8 stands in the field alone if it fits: records are UTF-8 by rule, and
    /// not all readers know the record that says otherwise.
    fn text(&mut self, key: &[u8], text: &[u8], field: &mut [u8; NAME]) {
        set_field(field, text);
        let (fits, is_utf8) = (text.len() <= NAME, str::from_utf8(text).is_ok());
        if fits && (text.is_ascii() || !is_utf8) {
            return;
        }
        if !is_utf8 {
            self.put(b"hdrcharset", b"BINARY");
        }
        self.put(key, text);
    }

    /// An attribute in star's form, or in libarchive's where its name would end the key or be
    /// taken for escapes (GNU tar, `src/xheader.c`, `xattr_decode_keyword`).
    fn xattr(&mut self, Xattr { name, value }: &Xattr) {
        if !name.iter().any(|byte| b"=%".contains(byte)) {
            return self.put(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
        let mut key = b"LIBARCHIVE.xattr.".to_vec();
        for byte in name {
            if byte.is_ascii_graphic() && !b"=%".contains(byte) {
                key.push(*byte);
            } else {
                key.extend_from_slice(format!("%{byte:02X}").as_bytes());
            }
        }
        self.put(&key, STANDARD_NO_PAD.encode(value).as_bytes());
    }
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

/// A time as a decimal number: one before 1970 is negative as a whole, -0.25 s is `-0.250000000`.
fn decimal(time: Timestamp) -> String {
    let Timestamp { seconds, nanoseconds } = time;
    if nanoseconds == 0 {
        return seconds.to_string();
    }
    if seconds >= 0 {
        return format!("{seconds}.{nanoseconds:09}");
    }
    let whole = seconds.saturating_add(1).unsigned_abs();
    format!("-{whole}.{:09}", 1_000_000_000_u32.saturating_sub(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{Archive, Limits};

    fn entry(kind: EntryKind, path: &[u8]) -> Entry {
        Entry::new(path, kind, 0o644, Timestamp::from_seconds(1_700_000_000))
    }

    /// Writes entries and bodies, and reads them back.
    fn round_trip(entries: &[(Entry, Vec<u8>)]) -> Vec<(Entry, Vec<u8>)> {
        let mut writer = ArchiveWriter::new(Vec::new());
        for (entry, body) in entries {
            writer.put(entry, &mut body.as_slice()).unwrap();
        }
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut archive = Archive::new(bytes.as_slice(), "test".to_owned(), &Limits::default());
        let mut found = Vec::new();
        while let Some(entry) = archive.next_entry().unwrap() {
            let mut body = Vec::new();
            archive.body().read_to_end(&mut body).unwrap();
            found.push((entry, body));
        }
        found
    }

    #[track_caller]
    fn survives(entry: Entry, body: &[u8]) {
        let given = [(entry, body.to_vec())];
        assert_eq!(round_trip(&given), given);
    }

    #[test]
    fn every_kind_of_entry_is_read_back() {
        let linked = |kind, link: &[u8]| Entry { link: link.to_vec(), ..entry(kind, b"a/link") };
        let device = |kind, device| Entry { device, ..entry(kind, b"dev/d") };
        survives(Entry { size: 5, ..entry(EntryKind::Regular, b"a/file") }, b"12345");
        survives(entry(EntryKind::Regular, b"empty"), b"");
        survives(entry(EntryKind::Directory, b"a/"), b"");
        survives(linked(EntryKind::Symlink, b"../t"), b"");
        survives(linked(EntryKind::Symlink, &[b't'; 4000]), b"");
        survives(linked(EntryKind::HardLink, b"a/file"), b"");
        survives(device(EntryKind::CharacterDevice, (1, 3)), b"");
        survives(device(EntryKind::BlockDevice, (4095, 1_048_575)), b"");
        survives(entry(EntryKind::Fifo, b"pipe"), b"");
    }

    #[test]
    fn what_a_header_cannot_say_is_read_back_from_records() {
        let file = |path: &[u8]| entry(EntryKind::Regular, path);
        for length in [99, 100, 101, 155, 256, 4096] {
            survives(file(&vec![b'n'; length]), b"");
        }
        survives(file("größe".as_bytes()), b"");
        survives(file(b"not \xff UTF-8"), b"");
        survives(file(&[b'\xff'; 300]), b"");
        survives(file(b"new\nline=and\\more"), b"");
        survives(Entry { uid: u32::MAX, gid: OCTAL_7 + 1, mode: 0o7777, ..file(b"ids") }, b"");
        for (seconds, nanoseconds) in
            [(0, 1), (-1, 750_000_000), (-2, 0), (-0x8000_0000, 1), (15_032_385_535, 999_999_999)]
        {
            let modified = Timestamp { seconds, nanoseconds };
            let accessed = Some(Timestamp { seconds, nanoseconds: nanoseconds / 2 });
            survives(Entry { modified, accessed, changed: accessed, ..file(b"t") }, b"");
        }
    }

    #[test]
    fn records_of_every_length_count_themselves() {
        for length in (0..120).chain(900..1100).chain(9_960..10_010) {
            let xattr = Xattr { name: b"user.a".to_vec(), value: vec![b'v'; length] };
            survives(Entry { xattrs: vec![xattr], ..entry(EntryKind::Regular, b"x") }, b"");
        }
    }

    #[test]
    fn attributes_of_every_name_and_value_are_read_back() {
        let names: [&[u8]; 6] = [
            b"security.capability",
            b"user.a=b",
            b"user.a%3Db",
            b"user.\xff\n",
            b"user.empty",
            b"user.\x80=\xff %",
        ];
        let mut xattrs: Vec<_> = names
            .map(|name| Xattr { name: name.to_vec(), value: b"\0=\n\xff".to_vec() })
            .into_iter()
            .collect();
        xattrs.sort_by(|one, other| one.name.cmp(&other.name));
        survives(Entry { xattrs, ..entry(EntryKind::Regular, b"x") }, b"");
        let empty = vec![Xattr { name: b"user.empty".to_vec(), value: Vec::new() }];
        survives(Entry { xattrs: empty, ..entry(EntryKind::Directory, b"x/") }, b"");
    }

    #[test]
    fn holes_are_read_back() {
        let sparse = |size, segments: &[(u64, u64)]| Entry {
            size,
            segments: Some(
                segments
                    .iter()
                    .map(|(offset, length)| Segment { offset: *offset, length: *length })
                    .collect(),
            ),
            ..entry(EntryKind::Regular, &[b's'; 120])
        };
        survives(sparse(1 << 40, &[(4096, 3), ((1 << 40) - 1, 1)]), b"abcd");
        let many: Vec<_> = (0..2000).map(|number| (number * 8192, 2)).collect();
        survives(sparse(1 << 30, &many), &[b'm'; 4000]);
        // A segment without bytes only says where the file ends.
        let ended = [(sparse(1 << 30, &[(0, 1), (1 << 30, 0)]), b"x".to_vec())];
        let found = round_trip(&ended);
        assert_eq!(found[0].0, sparse(1 << 30, &[(0, 1)]));
    }

    #[test]
    fn a_body_that_ends_early_and_a_socket_are_errors() {
        let mut writer = ArchiveWriter::new(Vec::new());
        let file = Entry { size: 5, ..entry(EntryKind::Regular, b"f") };
        let short = writer.put(&file, &mut b"1234".as_slice()).unwrap_err();
        assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
        let socket = writer.put(&entry(EntryKind::Socket, b"s"), &mut io::empty()).unwrap_err();
        assert_eq!(socket.kind(), io::ErrorKind::Unsupported);
    }
}
