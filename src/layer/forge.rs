//! Makes tar archives for tests, the ill-formed ones too.

use std::io::Write as _;

use ext4_writer::Timestamp;

use super::header::BLOCK;
use super::{Archive, Entry, Limits};
use crate::error::Result;

/// An archive being made.
#[derive(Clone, Default)]
pub(crate) struct Forge {
    bytes: Vec<u8>,
    mode: Option<u32>,
    owner: (u64, u64),
    mtime: i64,
    /// Records for the next entry.
    records: Vec<(String, Vec<u8>)>,
    /// Bytes that replace others in the next entry's header, before it is sealed.
    edits: Vec<(usize, Vec<u8>)>,
    /// How far the next entry's checksum is from the right one.
    checksum_off: u32,
    /// Whether nothing may follow, not even the end.
    is_cut: bool,
}

/// Compressed by xz, as its program does it.
pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
    xz_at(6, bytes)
}

/// The same at a level, which says how large the window is.
pub(crate) fn xz_at(level: u32, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), level);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Compressed by bzip2.
pub(crate) fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes packed by gzip.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    gzip_at(flate2::Compression::fast(), bytes)
}

/// Bytes packed by gzip at this level.
pub(crate) fn gzip_at(level: flate2::Compression, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Types whose header is about another entry.
const EXTENSIONS: &[u8] = b"xgLK";

impl Forge {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The mode of the entries that follow; without one 0644, and 0755 for directories.
    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// The owner and group of the entries that follow.
    pub(crate) fn owner(mut self, uid: u64, gid: u64) -> Self {
        self.owner = (uid, gid);
        self
    }

    /// The mtime of the entries that follow.
    pub(crate) fn mtime(mut self, mtime: i64) -> Self {
        self.mtime = mtime;
        self
    }

    /// An entry of this type flag whose header `change` may alter before it is sealed.
    pub(crate) fn raw(
        mut self,
        flag: u8,
        path: impl AsRef<[u8]>,
        body: &[u8],
        change: impl FnOnce(&mut tar::Header),
    ) -> Self {
        let path = path.as_ref();
        if !EXTENSIONS.contains(&flag) {
            if path.len() > 100 {
                self = self.record("path", path);
            }
            let records = std::mem::take(&mut self.records);
            if !records.is_empty() {
                let records = records.iter().map(|(key, value)| (key.as_str(), &value[..]));
                self = self.pax(&records.collect::<Vec<_>>());
            }
        }
        let mut header = tar::Header::new_gnu();
        put(&mut header.as_old_mut().name, path);
        header.as_old_mut().linkflag = [flag];
        header.set_mode(self.mode.unwrap_or(if flag == b'5' { 0o755 } else { 0o644 }));
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(self.mtime.cast_unsigned());
        if self.mtime < 0 {
            let binary = [&[0xff; 4][..], &self.mtime.to_be_bytes()].concat();
            header.as_old_mut().mtime.copy_from_slice(&binary);
        }
        header.set_size(u64::try_from(body.len()).unwrap());
        change(&mut header);
        if !EXTENSIONS.contains(&flag) {
            for (at, bytes) in std::mem::take(&mut self.edits) {
                header.as_mut_bytes()[at..at + bytes.len()].copy_from_slice(&bytes);
            }
        }
        header.set_cksum();
        let off = std::mem::take(&mut self.checksum_off);
        if off != 0 {
            let sum = header.cksum().unwrap() + off;
            put(&mut header.as_old_mut().cksum, format!("{sum:06o}\0 ").as_bytes());
        }
        self.bytes.extend(header.as_bytes());
        self.data(body)
    }

    /// Bytes as they are, padded to whole blocks.
    pub(crate) fn data(mut self, body: &[u8]) -> Self {
        self.bytes.extend(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        self
    }

    pub(crate) fn file(self, path: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Self {
        self.raw(b'0', path, body.as_ref(), |_| {})
    }

    pub(crate) fn dir(self, path: impl AsRef<[u8]>) -> Self {
        self.raw(b'5', path, b"", |_| {})
    }

    pub(crate) fn symlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.link(b'2', path, target.as_ref())
    }

    pub(crate) fn hard_link(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.link(b'1', path, target.as_ref())
    }

    pub(crate) fn link(mut self, flag: u8, path: impl AsRef<[u8]>, target: &[u8]) -> Self {
        if target.len() > 100 {
            self = self.record("linkpath", target);
        }
        self.raw(flag, path, b"", |header| put(&mut header.as_old_mut().linkname, target))
    }

    pub(crate) fn device(self, flag: u8, path: &[u8], major: u32, minor: u32) -> Self {
        self.raw(flag, path, b"", |header| {
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        })
    }

    /// A record for the next entry, in one header with the others.
    pub(crate) fn record(mut self, key: &str, value: &[u8]) -> Self {
        self.records.push((key.to_owned(), value.to_vec()));
        self
    }

    /// Other bytes at this place of the next entry's header; its checksum will be right.
    pub(crate) fn edit(mut self, at: usize, bytes: &[u8]) -> Self {
        self.edits.push((at, bytes.to_vec()));
        self
    }

    /// A wrong checksum for the next entry.
    pub(crate) fn wrong_checksum(mut self) -> Self {
        self.checksum_off = 1;
        self
    }

    /// Bytes as they are.
    pub(crate) fn bare(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    /// Takes the last `count` bytes away, and lets nothing follow.
    pub(crate) fn cut(mut self, count: usize) -> Self {
        self.bytes.truncate(self.bytes.len() - count);
        self.is_cut = true;
        self
    }

    /// An extended header for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        self.extension(b'x', &pax_records(records))
    }

    /// A header of any extending type: `x`, `g`, `L`, `K`.
    pub(crate) fn extension(self, flag: u8, body: &[u8]) -> Self {
        self.raw(flag, "././@Extension", body, |_| {})
    }

    /// The archive without its end.
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if !self.is_cut {
            self.bytes.extend([0; 2 * BLOCK]);
        }
        self.bytes
    }
}

fn put(field: &mut [u8], text: &[u8]) {
    let count = text.len().min(field.len());
    field[..count].copy_from_slice(&text[..count]);
}

/// The body of an extended header.
pub(crate) fn pax_records(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length += 1;
        }
        write!(body, "{length} {key}=").unwrap();
        body.extend(*value);
        body.push(b'\n');
    }
    body
}

/// All entries with their stored bytes.
pub(crate) fn read(archive: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut archive = Archive::new(archive, "the archive", &Limits::default());
    let mut entries = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        let mut body = Vec::new();
        std::io::Read::read_to_end(&mut archive.body(), &mut body).map_err(|error| {
            crate::error::Error::from_io(error, |_| panic!("not an error of ours"))
        })?;
        entries.push((entry, body));
    }
    Ok(entries)
}

/// Whole seconds.
pub(crate) fn seconds(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanoseconds: 0 }
}
