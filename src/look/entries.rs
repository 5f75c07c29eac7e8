//! A filesystem's tree as entries: what an archive of it, or another filesystem, is made of.

use std::io::{self, Read, Seek as _, SeekFrom};

use ext4_writer::reader::{Contents, FileSegment, Inode, ReadError, SegmentKind};
use ext4_writer::{FileFlags, FileKind, Segment};

use super::flags::settable_flags;
use super::names::FirstNames;
use super::{Image, Status, Window, flag_letters};
use crate::error::Result;
use crate::inject::{EntrySink, Tree};
use crate::layer::{Entry, EntryKind, Xattr};

/// How many stretches of data of one file are told apart; behind them holes become zeros.
pub(super) const MAX_SEGMENTS: usize = 1 << 20;

/// The entries of an image, in the order in which they are asked for.
pub(super) struct Entries<'a> {
    image: &'a Image,
    links: FirstNames,
}

impl<'a> Entries<'a> {
    /// Those of an image.
    pub(super) fn new(image: &'a Image) -> Self {
        Self { image, links: FirstNames::default() }
    }

    /// What is said of an inode that was met at a path: a further name of one that was met before
    /// is a hard link.
    ///
    /// Times of access and change that are that of modification go without saying, as the builder
    /// of images takes it.
    pub(super) fn entry(&mut self, path: &[u8], inode: &Inode, status: &Status) -> Result<Entry> {
        let mut entry = described(path, status);
        let first = match status.kind {
            FileKind::Directory => None,
            _ => self.links.first(inode, path)?,
        };
        if let Some(first) = first {
            (entry.kind, entry.link, entry.size) = (EntryKind::HardLink, first.to_vec(), 0);
            return Ok(entry);
        }
        let reader = &self.image.reader;
        let failed = |error| self.image.failed_at(path, error);
        let attributes = reader.attributes(inode).map_err(failed)?;
        entry.xattrs =
            attributes.into_iter().map(|one| Xattr { name: one.name, value: one.value }).collect();
        // On disk they stand in any order.
        entry.xattrs.sort_by(|one, other| one.name.cmp(&other.name));
        match status.kind {
            FileKind::Symlink => entry.link = reader.read_link(inode).map_err(failed)?,
            FileKind::Regular => {
                let segments = reader.segments(inode).map_err(failed)?;
                entry.segments = sparse(segments, inode.size()).map_err(failed)?;
            }
            _ => {}
        }
        Ok(entry)
    }

    /// The stored bytes of a regular file, those of its segments one behind the other.
    pub(super) fn body<'b>(
        &self,
        inode: &'b Inode,
        entry: &Entry,
        seen: &'b dyn Fn(u64),
    ) -> Result<Stored<'b>>
    where
        'a: 'b,
    {
        let image = self.image;
        let contents = image.reader.contents(inode);
        let contents = contents.map_err(|error| image.failed_at(&entry.path, error))?;
        let whole = || vec![Segment { offset: 0, length: inode.size() }];
        let mut rest = entry.segments.clone().unwrap_or_else(whole);
        rest.reverse();
        Ok(Stored { image, path: entry.path.clone(), contents, rest, at: None, seen })
    }
}

fn described(path: &[u8], status: &Status) -> Entry {
    let kind = match status.kind {
        FileKind::Regular => EntryKind::Regular,
        FileKind::Directory => EntryKind::Directory,
        FileKind::Symlink => EntryKind::Symlink,
        FileKind::CharacterDevice => EntryKind::CharacterDevice,
        FileKind::BlockDevice => EntryKind::BlockDevice,
        FileKind::Fifo => EntryKind::Fifo,
        FileKind::Socket => EntryKind::Socket,
    };
    let beside = |time| Some(time).filter(|time| *time != status.modified);
    Entry {
        uid: status.uid,
        gid: status.gid,
        accessed: beside(status.accessed),
        changed: beside(status.changed),
        size: if kind == EntryKind::Regular { status.size } else { 0 },
        device: status.device.map_or((0, 0), |device| (device.major, device.minor)),
        ..Entry::new(path, kind, status.mode, status.modified)
    }
}

/// An image from which another one is made, with all that inodes say of themselves.
impl Tree for Image {
    fn name(&self) -> String {
        format!("the image {}", Self::name(self))
    }

    fn each(&self, seen: &dyn Fn(u64), sink: &mut dyn EntrySink) -> Result<()> {
        let mut entries = Entries::new(self);
        let root = self.reader.root().map_err(|error| self.failed(error))?;
        for met in self.reader.walk(&root) {
            let met = met.map_err(|error| self.failed(error))?;
            let status = Status::new(&met.inode, Self::name(self))?;
            let mut entry = entries.entry(&met.path, &met.inode, &status)?;
            entry.flags = FileFlags::from_bits_truncate(status.flags);
            entry.project = status.project;
            entry.created = status.created;
            match entry.kind {
                EntryKind::Regular => {
                    let mut body = entries.body(&met.inode, &entry, seen)?;
                    sink.put(&entry, &mut body)?;
                }
                _ => sink.put(&entry, &mut io::empty())?,
            }
            let others = settable_flags(status.flags) & !FileFlags::all().bits();
            if others != 0 && entry.kind != EntryKind::HardLink {
                sink.lose(format!("its flags {} (lsattr) are not kept", flag_letters(others)))?;
            }
        }
        Ok(())
    }
}

/// Where the data of a file with holes are, the last segment ending where the file does; `None`
/// for a file without holes.
fn sparse(
    parts: impl Iterator<Item = Result<FileSegment, ReadError>>,
    size: u64,
) -> Result<Option<Vec<Segment>>, ReadError> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut data = 0_u64;
    for part in parts {
        let FileSegment { offset, length, kind } = part?;
        if matches!(kind, SegmentKind::Hole | SegmentKind::Unwritten) {
            continue;
        }
        if segments.len() >= MAX_SEGMENTS {
            segments.push(Segment { offset, length: size.saturating_sub(offset) });
            return Ok(Some(segments));
        }
        data = data.saturating_add(length);
        match segments.last_mut() {
            Some(last) if last.offset.saturating_add(last.length) == offset => {
                last.length = last.length.saturating_add(length);
            }
            _ => segments.push(Segment { offset, length }),
        }
    }
    if data == size {
        return Ok(None);
    }
    let end = segments.last().map_or(0, |last| last.offset.saturating_add(last.length));
    if end < size {
        segments.push(Segment { offset: size, length: 0 });
    }
    Ok(Some(segments))
}

/// The stored bytes of a file. What is wrong with the image is an error of the program.
pub(super) struct Stored<'a> {
    image: &'a Image,
    path: Vec<u8>,
    contents: Contents<'a, Window>,
    /// The segments that are still to be read, the next one last.
    rest: Vec<Segment>,
    /// Where the stream is, once it was told.
    at: Option<u64>,
    seen: &'a dyn Fn(u64),
}

impl Read for Stored<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.last().is_some_and(|segment| segment.length == 0) {
            self.rest.pop();
        }
        let Some(segment) = self.rest.last_mut() else { return Ok(0) };
        if self.at != Some(segment.offset) {
            self.contents.seek(SeekFrom::Start(segment.offset))?;
        }
        let length = usize::try_from(segment.length).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.contents.read(buffer.get_mut(..length).unwrap_or_default());
        let count = count.map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => self.image.broken_at(&self.path, error).into(),
        })?;
        let read = u64::try_from(count).unwrap_or(u64::MAX);
        segment.offset = segment.offset.saturating_add(read);
        segment.length = segment.length.saturating_sub(read);
        self.at = Some(segment.offset);
        (self.seen)(read);
        Ok(count)
    }
}
