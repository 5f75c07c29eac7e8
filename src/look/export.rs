//! A filesystem's tree as one PAX archive.

use std::io::{self, Read, Seek as _, SeekFrom, Write};

use ext4_writer::reader::{Contents, FileSegment, Inode, ReadError, SegmentKind};
use ext4_writer::{FileKind, Segment};

use super::flags::settable_flags;
use super::names::FirstNames;
use super::{Image, Status, Window, flag_letters};
use crate::error::{Error, Result};
use crate::flatten::{Bounded, Remark};
use crate::layer::{ArchiveWriter, Entry, EntryKind, Limits, Xattr, flag};

/// How many stretches of data of one file are told apart; behind them holes become zeros.
const MAX_SEGMENTS: usize = 1 << 20;
/// How mkfs makes `lost+found`, which every new filesystem has again.
const LOST_AND_FOUND: (&[u8], u16) = (b"lost+found", 0o700);

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Exported {
    /// Regular files.
    pub files: u64,
    /// Bytes in them, without their holes.
    pub file_bytes: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Further names of files.
    pub hard_links: u64,
    /// Devices and pipes.
    pub special_files: u64,
    /// What the image holds and the archive does not.
    pub losses: Bounded<Remark>,
}

/// An archive while it is written.
struct Export<'a, W> {
    image: &'a Image,
    writer: ArchiveWriter<W>,
    links: FirstNames,
    done: Exported,
    /// Hears how many bytes of files were read.
    seen: &'a dyn Fn(u64),
}

/// Writes everything in an image to `out`.
///
/// `unwritten` makes an error of what `out` answers; `seen` hears how many bytes of files were
/// read.
pub(crate) fn export<W: Write>(
    image: &Image,
    out: W,
    seen: &dyn Fn(u64),
    unwritten: impl Fn(io::Error) -> Error,
) -> Result<(W, Exported)> {
    let (links, done) = (FirstNames::default(), Exported::default());
    let mut export = Export { image, writer: ArchiveWriter::new(out), links, done, seen };
    let root = image.reader.root().map_err(|error| image.failed(error))?;
    for met in image.reader.walk(&root) {
        let met = met.map_err(|error| image.failed(error))?;
        export.put(&met.path, &met.inode, &unwritten)?;
    }
    let out = export.writer.finish().map_err(unwritten)?;
    Ok((out, export.done))
}

impl<W: Write> Export<'_, W> {
    fn put(
        &mut self,
        path: &[u8],
        inode: &Inode,
        unwritten: &impl Fn(io::Error) -> Error,
    ) -> Result<()> {
        let status = Status::new(inode, self.image.name())?;
        let failed = |error| self.image.failed_at(path, error);
        if status.kind == FileKind::Socket {
            self.lose(path, "a socket has no place in a tar archive".to_owned());
            return Ok(());
        }
        let attributes = self.image.reader.attributes(inode).map_err(failed)?;
        if attributes.is_empty() && self.is_of_mkfs(path, inode).map_err(failed)? {
            return Ok(());
        }
        self.note_name(path);
        let mut entry = entry(path, &status);
        let first = match status.kind {
            FileKind::Directory => None,
            _ => self.links.first(inode, path)?,
        };
        if let Some(first) = first {
            (entry.kind, entry.link, entry.size) = (EntryKind::HardLink, first.to_vec(), 0);
            return self.write(&entry, &mut io::empty(), unwritten);
        }
        self.note(path, &status);
        entry.xattrs =
            attributes.into_iter().map(|one| Xattr { name: one.name, value: one.value }).collect();
        // On disk they stand in any order.
        entry.xattrs.sort_by(|one, other| one.name.cmp(&other.name));
        match status.kind {
            FileKind::Regular => self.put_file(inode, entry, unwritten),
            FileKind::Symlink => {
                entry.link = self.image.reader.read_link(inode).map_err(failed)?;
                self.write(&entry, &mut io::empty(), unwritten)
            }
            _ => self.write(&entry, &mut io::empty(), unwritten),
        }
    }

    fn put_file(
        &mut self,
        inode: &Inode,
        mut entry: Entry,
        unwritten: &impl Fn(io::Error) -> Error,
    ) -> Result<()> {
        let image = self.image;
        let failed = |error| image.failed_at(&entry.path, error);
        let segments = image.reader.segments(inode).map_err(failed)?;
        let sparse = sparse(segments, inode.size()).map_err(failed)?;
        self.refuse_endless(&entry.path, sparse.as_deref())?;
        let contents = image.reader.contents(inode).map_err(failed)?;
        let whole = vec![Segment { offset: 0, length: inode.size() }];
        let mut rest = sparse.clone().unwrap_or(whole);
        let data = rest.iter().fold(0, |sum: u64, segment| sum.saturating_add(segment.length));
        self.done.file_bytes = self.done.file_bytes.saturating_add(data);
        rest.reverse();
        let mut body = Stored { contents, rest, at: None, seen: self.seen };
        if let Some(segments) = &sparse {
            self.note_segments(&entry.path, segments.len());
        }
        entry.segments = sparse;
        self.write(&entry, &mut body, unwritten)
    }

    fn write(
        &mut self,
        entry: &Entry,
        body: &mut dyn Read,
        unwritten: &impl Fn(io::Error) -> Error,
    ) -> Result<()> {
        let done = &mut self.done;
        let count = match entry.kind {
            EntryKind::Regular => &mut done.files,
            EntryKind::Directory => &mut done.directories,
            EntryKind::Symlink => &mut done.symlinks,
            EntryKind::HardLink => &mut done.hard_links,
            _ => &mut done.special_files,
        };
        *count = count.saturating_add(1);
        self.writer.put(entry, body).map_err(|error| match error.downcast::<ReadError>() {
            Ok(error) => self.image.failed_at(&entry.path, error),
            Err(error) => unwritten(error),
        })
    }

    fn is_of_mkfs(&self, path: &[u8], inode: &Inode) -> Result<bool, ReadError> {
        let is_it = (path, inode.mode()) == LOST_AND_FOUND
            && inode.is(FileKind::Directory)
            && (inode.uid(), inode.gid()) == (0, 0);
        Ok(is_it && self.image.reader.read_directory(inode)?.next().is_none())
    }

    /// Notes what the archive does not say of an inode, or says only to some.
    fn note(&mut self, path: &[u8], status: &Status) {
        let flags = settable_flags(status.flags);
        if flags != 0 {
            let letters = flag_letters(flags);
            self.lose(path, format!("its flags {letters} (chattr) have no place in an archive"));
        }
        if status.project != 0 {
            self.lose(path, format!("its project {} has no place in an archive", status.project));
        }
    }

    /// Notes a name that others take for something else.
    fn note_name(&mut self, path: &[u8]) {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if name.starts_with(b".wh.") {
            let why = "whoever builds an image of the archive takes it for a whiteout";
            self.lose(path, why.to_owned());
        }
    }

    /// Refuses a file whose holes would be stored and are larger than everything in the image.
    fn refuse_endless(&self, path: &[u8], segments: Option<&[Segment]>) -> Result<()> {
        let Some([.., last]) = segments.filter(|segments| segments.len() > MAX_SEGMENTS) else {
            return Ok(());
        };
        let facts = self.image.facts();
        let (length, most) = (last.length, facts.blocks.saturating_mul(facts.block_size));
        if length <= most {
            return Ok(());
        }
        let (path, image) = (crate::shown::bytes(&path), self.image.name());
        Err(Error::bad_data(format!(
            "cannot archive \"{path}\" of {image}: behind its first {MAX_SEGMENTS} stretches of \
             data are {length} bytes, most of them holes, and the filesystem has {most}"
        )))
    }

    fn note_segments(&mut self, path: &[u8], segments: usize) {
        if segments > MAX_SEGMENTS {
            let why = format!("holes behind its first {MAX_SEGMENTS} stretches of data are zeros");
            self.lose(path, why);
        } else if segments > Limits::default().sparse_segments {
            let (sparse, header) = (flag::SPARSE, flag::HEADER);
            let why = format!("it has {segments} stretches of data, which image build reads with");
            self.lose(path, format!("{why} --limit {sparse}={segments} and a larger {header}"));
        }
    }

    fn lose(&mut self, path: &[u8], reason: String) {
        self.done.losses.push(Remark { path: [b"/", path].concat(), reason });
    }
}

/// What an archive says of an inode, but for its attributes and content.
///
/// Times of access and change that are that of modification go without saying, as the builder of
/// images takes it.
fn entry(path: &[u8], status: &Status) -> Entry {
    let kind = match status.kind {
        FileKind::Regular => EntryKind::Regular,
        FileKind::Directory => EntryKind::Directory,
        FileKind::Symlink => EntryKind::Symlink,
        FileKind::CharacterDevice => EntryKind::CharacterDevice,
        FileKind::BlockDevice => EntryKind::BlockDevice,
        FileKind::Fifo => EntryKind::Fifo,
        FileKind::Socket => EntryKind::Socket,
    };
    let path = match (path, kind) {
        (b"", _) => b"./".to_vec(),
        (path, EntryKind::Directory) => [path, b"/"].concat(),
        (path, _) => path.to_vec(),
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

/// The stored bytes of a file, those of its segments one behind the other.
struct Stored<'a> {
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
        let count = self.contents.read(buffer.get_mut(..length).unwrap_or_default())?;
        let read = u64::try_from(count).unwrap_or(u64::MAX);
        segment.offset = segment.offset.saturating_add(read);
        segment.length = segment.length.saturating_sub(read);
        self.at = Some(segment.offset);
        (self.seen)(read);
        Ok(count)
    }
}
