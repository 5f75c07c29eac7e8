//! An entry out of its header, its extended headers and the map of its contents.

use std::io::{self, Read};

use ext4_writer::{FileFlags, Segment};

use super::{Archive, Extensions};
use crate::error::Result;
use crate::layer::entry::{Entry, EntryKind};
use crate::layer::flag;
use crate::layer::header::{Header, Reason};
use crate::layer::pax::{Records, Rights, Scope};
use crate::layer::sparse::{self, Layout, SparseError};

/// A regular file's size, stored bytes and segments.
struct BodyLayout {
    size: u64,
    segments: Option<Vec<Segment>>,
}

impl<R: Read> Archive<R> {
    pub(super) fn read_entry(&mut self, header: &Header, extensions: Extensions) -> Result<Entry> {
        let Extensions { pax, long_name, long_link } = extensions;
        let mut records = self.globals.clone();
        let pax = pax.unwrap_or_default();
        records.read(&pax, Scope::Entry).map_err(|why| self.refuse(&why))?;
        let mut path = records.path.take().or(long_name).unwrap_or_else(|| header.path());
        if let Some(name) = records.sparse.real_name() {
            path = name;
        }
        self.current.clone_from(&path);
        let kind = kind(header.typeflag(), &path).map_err(|why| self.refuse(&why))?;
        let content = self.read_content(header, kind, &mut records)?;
        let link = match kind {
            EntryKind::Symlink | EntryKind::HardLink => {
                records.link.take().or(long_link).unwrap_or_else(|| header.link().to_vec())
            }
            _ => Vec::new(),
        };
        self.verify_lengths(kind, &path, &link)?;
        let entry = describe(header, kind, records).map_err(|why| self.refuse(&why))?;
        self.verify_xattrs(&entry)?;
        Ok(Entry { path, link, size: content.size, segments: content.segments, ..entry })
    }

    /// Sets the body up. Only regular files have one: the size in any other header means nothing.
    fn read_content(
        &mut self,
        header: &Header,
        kind: EntryKind,
        records: &mut Records,
    ) -> Result<BodyLayout> {
        let sparse = std::mem::take(&mut records.sparse);
        let old_sparse = header.typeflag() == b'S';
        // Go ignores the size of header-only types, and a directory is one if its flag says so; one
        // that is told by its slash alone has the size of the regular file that its flag means.
        let slashed = kind == EntryKind::Directory && header.typeflag() == b'0';
        let has_body = slashed || matches!(kind, EntryKind::Regular | EntryKind::Socket);
        if (!has_body || slashed) && sparse.is_sparse() {
            return Err(self.refuse(&format!("a {kind} cannot be sparse")));
        }
        let stored = match (has_body, records.size) {
            (false, _) => 0,
            (true, Some(size)) => size,
            (true, None) => header.size().map_err(|why| self.refuse(&why))?,
        };
        let layout = if old_sparse {
            self.read_old_sparse(header)
        } else if sparse.is_sparse() {
            self.begin_body(stored);
            let limits = self.limits.clone();
            sparse.layout(stored, &mut self.body(), &limits)
        } else {
            self.begin_body(stored);
            let size = if slashed { 0 } else { stored };
            return Ok(BodyLayout { size, segments: None });
        };
        let layout = layout.map_err(|error| match error {
            SparseError::Refused(why) => self.refuse(&why),
            SparseError::TooMany(why, flag) => self.refuse(&why).with_hint(flag::raise(flag)),
            SparseError::Read(error) => self.refuse_read(error),
        })?;
        if old_sparse {
            self.begin_body(stored);
        }
        let layout = layout.verify(self.remaining).map_err(|why| self.refuse(&why))?;
        Ok(BodyLayout { size: layout.size, segments: Some(layout.segments) })
    }

    fn read_old_sparse(&mut self, header: &Header) -> Result<Layout, SparseError> {
        let gnu = header.gnu().ok_or_else(|| "it is sparse, but not of GNU form".to_owned())?;
        let limits = self.limits.clone();
        sparse::gnu_layout(gnu, &limits, || match self.read_block() {
            Ok(Some(block)) => Ok(block),
            Ok(None) => Err("the archive ends inside its sparse map".to_owned().into()),
            Err(error) => Err(SparseError::Read(io::Error::from(error))),
        })
    }
}

/// The type of an entry, from its flag; old archives mark directories by a slash alone.
fn kind(typeflag: u8, path: &[u8]) -> Result<EntryKind, Reason> {
    Ok(match typeflag {
        0 | b'0' if path.ends_with(b"/") => EntryKind::Directory,
        // Contiguous files are regular to everyone who has no contiguous files.
        0 | b'0' | b'7' | b'S' => EntryKind::Regular,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharacterDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        b's' => EntryKind::Socket,
        other => {
            let flag = other.escape_ascii();
            return Err(format!("entries of type '{flag}' do not belong in a layer"));
        }
    })
}

/// Everything but names and contents.
fn describe(header: &Header, kind: EntryKind, mut records: Records) -> Result<Entry, Reason> {
    let device = match kind {
        EntryKind::CharacterDevice | EntryKind::BlockDevice => {
            let (major, minor) = header.device()?;
            (records.major.unwrap_or(major), records.minor.unwrap_or(minor))
        }
        _ => (0, 0),
    };
    let xattrs = records.xattrs();
    let mut unsupported = records.unsupported();
    let Rights { acls, withheld } = records.rights(&xattrs, &mut unsupported);
    Ok(Entry {
        path: Vec::new(),
        kind,
        mode: header.mode()? & !withheld,
        uid: records.uid.map_or_else(|| header.uid(), Ok)?,
        gid: records.gid.map_or_else(|| header.gid(), Ok)?,
        modified: records.modified.map_or_else(|| header.modified(), Ok)?,
        accessed: records.accessed.map_or_else(|| header.accessed(), |time| Ok(Some(time)))?,
        changed: records.changed.map_or_else(|| header.changed(), |time| Ok(Some(time)))?,
        created: records.created,
        size: 0,
        link: Vec::new(),
        device,
        xattrs,
        segments: None,
        flags: FileFlags::empty(),
        project: 0,
        acls,
        unsupported,
    })
}
