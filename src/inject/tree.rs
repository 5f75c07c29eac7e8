//! A directory of the host as a whole root filesystem.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use ext4_writer::{Segment, Sink, Timestamp};
use rustix::fs::{FileType, SeekFrom, Stat};
use rustix::io::Errno;

use super::owners::{Class, Owners};
use super::walk::{Met, walk};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, Result};
use crate::flatten::Flattener;
use crate::layer::{Entry, EntryKind, Xattr};

/// How many stretches of data of one file are told apart; behind them holes become zeros.
const MAX_SEGMENTS: usize = 1 << 20;
/// The unit of `st_blocks` (stat(2)).
const SECTOR: u64 = 512;

/// A directory whose content is to be an image's.
///
/// Everything is kept as it is: owners, permissions, times of modification, extended attributes
/// and ACLs, hard links, holes, devices. The times of access and change are those of modification:
/// reading changes the one and nobody can set the other, so an image would never be made twice.
#[derive(Clone, Debug)]
pub struct HostTree {
    root: PathBuf,
    owners: Owners,
}

/// What a look at every name of a directory tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The digest of the listing: of every name, its kind, permissions, owners, size, time and
    /// target, though not of contents, which would all have to be read for it.
    pub digest: Digest,
    /// The bytes of all files, without their holes.
    pub bytes: u64,
}

impl HostTree {
    /// The directory `root`, with the owners that the image is to have.
    #[must_use]
    pub fn new(root: PathBuf, owners: Owners) -> Self {
        Self { root, owners }
    }

    /// Looks at every name, without reading contents.
    pub fn list(&self) -> Result<Listed> {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut bytes = 0_u64;
        let mut links = Links::default();
        walk(&self.root, &mut |met| {
            let Entry { path, kind, mode, uid, gid, modified, size, link, device, .. } =
                self.entry(met, &mut links)?;
            let line = format!(
                "{kind} {mode:o} {uid}:{gid} {size} {}.{:09} {device:?} {}:{} {}:{}\n",
                modified.seconds,
                modified.nanoseconds,
                path.len(),
                crate::shown::bytes(&path),
                link.len(),
                crate::shown::bytes(&link),
            );
            hasher.update(line.as_bytes());
            if kind == EntryKind::Regular {
                bytes = bytes.saturating_add(size.min(stored(&met.stat)));
            }
            Ok(())
        })?;
        Ok(Listed { digest: hasher.finish(), bytes })
    }

    /// What was met as an entry of a layer, but for its attributes.
    fn entry(&self, met: &Met<'_>, links: &mut Links) -> Result<Entry> {
        let Stat { st_uid, st_gid, .. } = met.stat;
        let (uid, gid) =
            (self.owner(met, Class::User, st_uid)?, self.owner(met, Class::Group, st_gid)?);
        let kind = match met.kind {
            FileType::Directory => EntryKind::Directory,
            FileType::RegularFile => EntryKind::Regular,
            FileType::Symlink => EntryKind::Symlink,
            FileType::CharacterDevice => EntryKind::CharacterDevice,
            FileType::BlockDevice => EntryKind::BlockDevice,
            FileType::Fifo => EntryKind::Fifo,
            FileType::Socket => EntryKind::Socket,
            FileType::Unknown => {
                return Err(Error::bad_data(format!("{} is of an unknown kind", met.shown())));
            }
        };
        let (kind, link) = match (kind, links.first(met)) {
            (EntryKind::Symlink, None) => (kind, met.target()?),
            (_, None) => (kind, Vec::new()),
            (_, Some(first)) => (EntryKind::HardLink, first),
        };
        let is_device = matches!(kind, EntryKind::CharacterDevice | EntryKind::BlockDevice);
        let device = (rustix::fs::major(met.stat.st_rdev), rustix::fs::minor(met.stat.st_rdev));
        let mode = u16::try_from(met.stat.st_mode & 0o7777).unwrap_or_default();
        Ok(Entry {
            uid,
            gid,
            size: if kind == EntryKind::Regular { size(&met.stat) } else { 0 },
            link,
            device: if is_device { device } else { (0, 0) },
            ..Entry::new(met.path, kind, mode, modified(&met.stat))
        })
    }

    fn owner(&self, met: &Met<'_>, class: Class, id: u32) -> Result<u32> {
        self.owners.number(class, id).ok_or_else(|| unknown(met, id))
    }

    fn xattrs(&self, met: &Met<'_>) -> Result<Vec<Xattr>> {
        let renumber = |Xattr { name, value }| match self.owners.renumber(&name, value) {
            Ok(value) => Ok(Xattr { name, value }),
            Err(id) => Err(unknown(met, id)),
        };
        met.xattrs()?.into_iter().map(renumber).collect()
    }
}

fn unknown(met: &Met<'_>, id: u32) -> Error {
    Error::bad_data(format!("{} has owner {id}, which no --owner-map speaks of", met.shown()))
        .hint(format!("add --owner-map {id}:N, or give everything one owner by --owner"))
}

/// Applies a directory as one layer; `seen` hears how many bytes of it were read.
pub fn add_tree<S: Sink>(
    flattener: &mut Flattener<'_, S>,
    tree: &HostTree,
    seen: &dyn Fn(u64),
) -> Result<()> {
    flattener.begin_layer(&format!("the directory {}", tree.root.display()))?;
    let mut links = Links::default();
    walk(&tree.root, &mut |met| {
        let mut entry = tree.entry(met, &mut links)?;
        if entry.kind != EntryKind::HardLink {
            entry.xattrs = tree.xattrs(met)?;
        }
        if entry.kind != EntryKind::Regular {
            return flattener.apply_literally(&entry, &mut io::empty());
        }
        let file = met.open()?;
        entry.segments = segments(&file, &met.stat).map_err(|error| met.failed("read", error))?;
        let mut content = Content::new(&file, &entry, seen);
        flattener.apply_literally(&entry, &mut content)?;
        let after = rustix::fs::fstat(&file).map_err(|error| met.failed("read", error))?;
        if (size(&after), modified(&after)) != (size(&met.stat), modified(&met.stat)) {
            flattener.lose("it changed while it was read".to_owned())?;
        }
        Ok(())
    })?;
    flattener.end_layer()
}

/// The first name of every inode that has several.
#[derive(Default)]
struct Links(BTreeMap<(u64, u64), Vec<u8>>);

impl Links {
    /// The name under which the same inode was met before.
    fn first(&mut self, met: &Met<'_>) -> Option<Vec<u8>> {
        if met.kind == FileType::Directory || met.stat.st_nlink < 2 {
            return None;
        }
        match self.0.entry((met.stat.st_dev, met.stat.st_ino)) {
            Slot::Occupied(first) => Some(first.get().clone()),
            Slot::Vacant(slot) => {
                slot.insert(met.path.to_vec());
                None
            }
        }
    }
}

fn modified(stat: &Stat) -> Timestamp {
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
    Timestamp { seconds: stat.st_mtime, nanoseconds }
}

/// The bytes that a file takes on its disk.
fn stored(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(SECTOR)
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

/// Where the data of a file with holes are; `None` for one without.
///
/// Source: lseek(2), `SEEK_DATA` and `SEEK_HOLE`.
fn segments(file: &File, stat: &Stat) -> Result<Option<Vec<Segment>>, Errno> {
    let size = size(stat);
    if stored(stat) >= size {
        return Ok(None);
    }
    let mut segments = Vec::new();
    let mut end = 0;
    while end < size {
        let offset = match rustix::fs::seek(file, SeekFrom::Data(end)) {
            Ok(offset) if offset < size => offset,
            // Nothing but a hole follows.
            Ok(_) | Err(Errno::NXIO) => break,
            // The filesystem does not tell.
            Err(Errno::INVAL) => return Ok(None),
            Err(error) => return Err(error),
        };
        end = match segments.len() {
            MAX_SEGMENTS.. => size,
            _ => rustix::fs::seek(file, SeekFrom::Hole(offset))?.min(size),
        };
        if end <= offset {
            // It was cut meanwhile; its reader will say so.
            break;
        }
        segments.push(Segment { offset, length: end.saturating_sub(offset) });
    }
    Ok(Some(segments))
}

/// The stored bytes of a file, those of its segments one after the other.
struct Content<'a> {
    file: &'a File,
    /// The segments that are still to be read, the next one last.
    rest: Vec<Segment>,
    seen: &'a dyn Fn(u64),
}

impl<'a> Content<'a> {
    fn new(file: &'a File, entry: &Entry, seen: &'a dyn Fn(u64)) -> Self {
        let mut rest = match &entry.segments {
            Some(segments) => segments.clone(),
            None => vec![Segment { offset: 0, length: entry.size }],
        };
        rest.reverse();
        Self { file, rest, seen }
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let segment = loop {
            match self.rest.last_mut() {
                None => return Ok(0),
                Some(segment) if segment.length > 0 => break segment,
                Some(_) => self.rest.pop(),
            };
        };
        let length = usize::try_from(segment.length).unwrap_or(usize::MAX).min(buffer.len());
        let (part, _) = buffer.split_at_mut(length);
        let count = self.file.read_at(part, segment.offset)?;
        if count == 0 && !part.is_empty() {
            let message = "the file was cut while it was read";
            return Err(Error::try_again(message)
                .hint("run again when nobody writes in it")
                .into());
        }
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        (self.seen)(count);
        segment.offset = segment.offset.saturating_add(count);
        segment.length = segment.length.saturating_sub(count);
        usize::try_from(count).map_err(io::Error::other)
    }
}
