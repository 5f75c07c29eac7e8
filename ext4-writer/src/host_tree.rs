//! A directory of this host, with all that it holds.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry, File, Metadata as Found};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::vec::IntoIter;

use rustix::fs::{SeekFrom, ioctl_getflags, lgetxattr, llistxattr, seek};
use rustix::io::Errno;

use crate::builder::Builder;
use crate::error::{Error, Result};
use crate::format::units::widen;
use crate::metadata::{FileContent, FileFlags, Metadata, Segment, Special, Timestamp};
use crate::sink::Sink;
use crate::tree::NodeId;

impl<S: Sink> Builder<S> {
    /// Adds what a directory of this host holds to a directory of the image, which gets its metadata,
    /// attributes and flags too: `add_tree(builder.root(), "/srv/tree")` makes an image of a tree.
    ///
    /// Kept are names, permissions, owners, times of modification to the nanosecond, hard and symbolic
    /// links, devices, pipes, sockets, holes, extended attributes of every namespace that the caller
    /// may read, POSIX ACLs among them, and what `chattr` set. Only root can read `trusted.*` and other
    /// people's files. Times of access and of change become those of modification: reading a tree
    /// sets the former and copying it the latter, so with them no two images of a tree were the same.
    /// Entries are added in the order of their names. Other filesystems that are mounted below are
    /// entered.
    ///
    /// With the feature `tree`, which is on by default, on Linux.
    ///
    /// # Errors
    /// [`Error::HostFile`] with the path of what could not be read or added; what was added before it
    /// stays.
    pub fn add_tree(&mut self, directory: NodeId, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut walk = Walk { builder: self, linked: BTreeMap::new() };
        let found = fs::metadata(path).map_err(|error| host_file(path, error))?;
        walk.root(directory, path, &found).map_err(|error| host_file(path, error))?;
        let mut open = vec![(directory, entries(path)?)];
        while let Some((directory, rest)) = open.last_mut() {
            let Some(entry) = rest.next() else {
                open.pop();
                continue;
            };
            let (directory, path) = (*directory, entry.path());
            let added = walk.entry(directory, &entry, &path);
            if let Some(node) = added.map_err(|error| host_file(&path, error))? {
                open.push((node, entries(&path)?));
            }
        }
        Ok(())
    }
}

/// Says which file of the host an error is about.
fn host_file(path: &Path, error: impl Into<io::Error>) -> Error {
    Error::HostFile { path: path.to_path_buf(), source: error.into() }
}

/// What is in a directory, in the order of the names, and so in the same order everywhere.
fn entries(path: &Path) -> Result<IntoIter<DirEntry>> {
    let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = entries.map_err(|error| host_file(path, error))?;
    entries.sort_by_key(DirEntry::file_name);
    Ok(entries.into_iter())
}

struct Walk<'a, S> {
    builder: &'a mut Builder<S>,
    /// The nodes of files with several names, by device and inode.
    linked: BTreeMap<(u64, u64), NodeId>,
}

impl<S: Sink> Walk<'_, S> {
    fn root(&mut self, node: NodeId, path: &Path, found: &Found) -> io::Result<()> {
        self.builder.set_metadata(node, &metadata(found)?)?;
        self.describe(node, path, found)
    }

    /// Adds an entry; the node of a directory, which is to be entered.
    fn entry(
        &mut self,
        directory: NodeId,
        entry: &DirEntry,
        path: &Path,
    ) -> io::Result<Option<NodeId>> {
        let (name, found) = (entry.file_name(), path.symlink_metadata()?);
        let key = (found.dev(), found.ino());
        if let Some(node) = self.linked.get(&key) {
            self.builder.add_link(directory, name.as_bytes(), *node)?;
            return Ok(None);
        }
        let node = self.add(directory, name.as_bytes(), path, &found)?;
        self.describe(node, path, &found)?;
        if found.is_dir() {
            return Ok(Some(node));
        }
        if found.nlink() > 1 {
            self.linked.insert(key, node);
        }
        Ok(None)
    }

    fn add(
        &mut self,
        directory: NodeId,
        name: &[u8],
        path: &Path,
        found: &Found,
    ) -> io::Result<NodeId> {
        let (kind, metadata) = (found.file_type(), metadata(found)?);
        let (major, minor) = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
        let builder = &mut *self.builder;
        let added = if kind.is_dir() {
            builder.add_directory(directory, name, &metadata)
        } else if kind.is_file() {
            let file = File::open(path)?;
            let segments = segments(&file, found.len())?;
            let mut data = Data { file: &file, segments: &segments, done: 0 };
            let content = FileContent::sparse(found.len(), &segments, &mut data);
            builder.add_file(directory, name, &metadata, content)
        } else if kind.is_symlink() {
            let target = fs::read_link(path)?;
            builder.add_symlink(directory, name, &metadata, target.as_os_str().as_bytes())
        } else {
            let special = if kind.is_char_device() {
                Special::CharacterDevice { major, minor }
            } else if kind.is_block_device() {
                Special::BlockDevice { major, minor }
            } else if kind.is_fifo() {
                Special::Fifo
            } else {
                Special::Socket
            };
            builder.add_special(directory, name, &metadata, special)
        };
        Ok(added?)
    }

    /// Adds what an inode has beside its metadata: extended attributes and flags.
    fn describe(&mut self, node: NodeId, path: &Path, found: &Found) -> io::Result<()> {
        for name in attribute_names(path)? {
            let value = grown(|buffer| lgetxattr(path, name.as_slice(), buffer))?;
            self.builder.set_xattr(node, &name, &value)?;
        }
        if found.is_dir() || found.is_file() {
            let flags = match ioctl_getflags(File::open(path)?) {
                Ok(flags) => FileFlags::from_bits_truncate(flags.bits()),
                // The host's filesystem has none.
                Err(Errno::NOTTY | Errno::OPNOTSUPP) => FileFlags::empty(),
                Err(error) => return Err(error.into()),
            };
            self.builder.set_flags(node, flags)?;
        }
        Ok(())
    }
}

fn metadata(found: &Found) -> io::Result<Metadata> {
    let out_of_range = |_| io::ErrorKind::InvalidData;
    let nanoseconds = u32::try_from(found.mtime_nsec()).map_err(out_of_range)?;
    let modified = Timestamp { seconds: found.mtime(), nanoseconds };
    let mode = u16::try_from(found.mode() & 0o7777).map_err(out_of_range)?;
    Ok(Metadata { uid: found.uid(), gid: found.gid(), ..Metadata::root_owned(mode, modified) })
}

/// The parts of a file that are no holes.
fn segments(file: &File, size: u64) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    let mut at = 0;
    while at < size {
        let offset = match seek(file, SeekFrom::Data(at)) {
            Ok(offset) => offset,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(file, SeekFrom::Hole(offset))?.min(size);
        let Some(length) = end.checked_sub(offset).filter(|length| *length > 0) else { break };
        segments.push(Segment { offset, length });
        at = end;
    }
    Ok(segments)
}

/// The bytes of a file's segments, one behind the other.
struct Data<'a> {
    file: &'a File,
    /// Those that are not done.
    segments: &'a [Segment],
    /// What of the first of them is.
    done: u64,
}

impl Read for Data<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((first, rest)) = self.segments.split_first() else { return Ok(0) };
        let left = usize::try_from(first.length.saturating_sub(self.done)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let target = buffer.get_mut(..wanted).ok_or(io::ErrorKind::InvalidInput)?;
        // A file that became shorter ends here, which the builder does not take for its content.
        let at = first.offset.checked_add(self.done).ok_or(io::ErrorKind::FileTooLarge)?;
        let got = self.file.read_at(target, at)?;
        self.done += widen(got);
        if self.done == first.length {
            (self.segments, self.done) = (rest, 0);
        }
        Ok(got)
    }
}

/// The full names of a file's attributes, of a symbolic link's own.
fn attribute_names(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    match grown(|buffer| llistxattr(path, buffer)) {
        Ok(list) => {
            let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
            Ok(names.map(<[u8]>::to_vec).collect())
        }
        Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// What a call puts into a buffer, which is made larger until it suffices.
fn grown(
    mut call: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    /// The longest list and the longest value: `XATTR_LIST_MAX` and `XATTR_SIZE_MAX`.
    const MOST: usize = 64 << 10;
    let mut buffer = vec![0; 1 << 10];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < MOST => buffer.resize(MOST, 0),
            Err(error) => return Err(error),
        }
    }
}
