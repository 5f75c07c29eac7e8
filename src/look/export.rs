//! A filesystem's tree as one PAX archive.

use std::io::{self, Read, Write};

use ext4_writer::reader::{Inode, ReadError};
use ext4_writer::{FileKind, Segment};

use super::entries::{Entries, MAX_SEGMENTS};
use super::flags::settable_flags;
use super::{Image, Status, flag_letters};
use crate::error::{Error, Result};
use crate::flatten::{Bounded, Remark};
use crate::layer::{ArchiveWriter, Entry, EntryKind, Limits, flag};

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
    entries: Entries<'a>,
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
    let (entries, done) = (Entries::new(image), Exported::default());
    let mut export = Export { image, writer: ArchiveWriter::new(out), entries, done, seen };
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
        let mut entry = self.entries.entry(path, inode, &status)?;
        if entry.xattrs.is_empty() && self.is_of_mkfs(path, inode).map_err(failed)? {
            return Ok(());
        }
        self.note_name(path);
        if entry.kind == EntryKind::HardLink {
            return self.write(&entry, &mut io::empty(), unwritten);
        }
        self.note(path, &status);
        if entry.kind == EntryKind::Regular {
            return self.put_file(inode, &entry, unwritten);
        }
        match (path, status.kind) {
            (b"", _) => entry.path = b"./".to_vec(),
            (_, FileKind::Directory) => entry.path.push(b'/'),
            _ => {}
        }
        self.write(&entry, &mut io::empty(), unwritten)
    }

    fn put_file(
        &mut self,
        inode: &Inode,
        entry: &Entry,
        unwritten: &impl Fn(io::Error) -> Error,
    ) -> Result<()> {
        self.refuse_endless(&entry.path, entry.segments.as_deref())?;
        let mut body = self.entries.body(inode, entry, self.seen)?;
        let data = entry.segments.as_ref().map_or(entry.size, |segments| {
            segments.iter().fold(0, |sum: u64, segment| sum.saturating_add(segment.length))
        });
        self.done.file_bytes = self.done.file_bytes.saturating_add(data);
        if let Some(segments) = &entry.segments {
            self.note_segments(&entry.path, segments.len());
        }
        self.write(entry, &mut body, unwritten)
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
        self.writer.put(entry, body).map_err(|error| Error::from_io(error, unwritten))
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
