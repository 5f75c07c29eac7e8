//! Makes a filesystem from a directory: `from_dir DIRECTORY IMAGE [OPTIONS]`.
//!
//! `cargo run --example from_dir -- /srv/tree tree.img --size fit+512M --profile linux-4.14`
//!
//! Kept are names, permissions, owners, times of modification to the nanosecond, hard and symbolic
//! links, devices, pipes, sockets, holes, extended attributes of every namespace that the caller
//! may read, POSIX ACLs among them, and what `chattr` set. Only root can read `trusted.*` and other
//! people's files.
//!
//! Times of access and of change are not kept: reading a tree sets the former and copying it the
//! latter, so with them no two images of a tree were the same.

mod arguments;

use std::collections::BTreeMap;
use std::fs::{self, DirEntry, File, Metadata as Found};
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::process::ExitCode;

use ext4_writer::{
    Builder, FileContent, FileFlags, FileSink, Metadata, NodeId, Segment, Special, Timestamp,
};
use rustix::fs::{SeekFrom, ioctl_getflags, lgetxattr, llistxattr, seek};
use rustix::io::Errno;

use arguments::{Arguments, HELP, Image, Result};

fn main() -> ExitCode {
    arguments::exit(make())
}

fn make() -> Result<()> {
    let arguments = Arguments::read(std::env::args_os().skip(1))?;
    let [source, target] = arguments.paths.as_slice() else {
        return Err(format!("usage: from_dir DIRECTORY IMAGE [OPTIONS]\n{HELP}").into());
    };
    let source = Path::new(source);
    let found = named(source, fs::metadata(source).map_err(Into::into))?;
    let image = Image::create(target)?;
    let mut copy =
        Copy { builder: image.builder(arguments.options(None)?)?, linked: BTreeMap::new() };
    let root = copy.builder.root();
    copy.builder.set_metadata(root, &metadata(&found)?)?;
    named(source, copy.describe(root, source, &found))?;
    copy.entries(root, source)?;
    image.finish(copy.builder)
}

/// Says which file an error is about.
fn named<T>(path: &Path, result: Result<T>) -> Result<T> {
    result.map_err(|error| format!("{}: {error}", path.display()).into())
}

struct Copy {
    builder: Builder<FileSink>,
    /// The nodes of files with several names, by device and inode.
    linked: BTreeMap<(u64, u64), NodeId>,
}

impl Copy {
    /// Copies what is in a directory, in the order of the names, and so in the same order
    /// everywhere.
    fn entries(&mut self, directory: NodeId, path: &Path) -> Result<()> {
        let entries = fs::read_dir(path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let mut entries = named(path, entries.map_err(Into::into))?;
        entries.sort_by_key(DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name());
            let found = named(&path, path.symlink_metadata().map_err(Into::into))?;
            let node = named(&path, self.entry(directory, name.as_bytes(), &path, &found))?;
            if found.is_dir() {
                self.entries(node, &path)?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        directory: NodeId,
        name: &[u8],
        path: &Path,
        found: &Found,
    ) -> Result<NodeId> {
        let key = (found.dev(), found.ino());
        if let Some(node) = self.linked.get(&key) {
            self.builder.add_link(directory, name, *node)?;
            return Ok(*node);
        }
        let node = self.add(directory, name, path, found)?;
        self.describe(node, path, found)?;
        if !found.is_dir() && found.nlink() > 1 {
            self.linked.insert(key, node);
        }
        Ok(node)
    }

    fn add(
        &mut self,
        directory: NodeId,
        name: &[u8],
        path: &Path,
        found: &Found,
    ) -> Result<NodeId> {
        let builder = &mut self.builder;
        let (kind, metadata) = (found.file_type(), metadata(found)?);
        let (major, minor) = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
        let special = if kind.is_dir() {
            return Ok(builder.add_directory(directory, name, &metadata)?);
        } else if kind.is_file() {
            let file = File::open(path)?;
            let segments = segments(&file, found.len())?;
            let mut data = Data { file: &file, segments: &segments, done: 0 };
            let content = FileContent::sparse(found.len(), &segments, &mut data);
            return Ok(builder.add_file(directory, name, &metadata, content)?);
        } else if kind.is_symlink() {
            let target = fs::read_link(path)?;
            let target = target.as_os_str().as_bytes();
            return Ok(builder.add_symlink(directory, name, &metadata, target)?);
        } else if kind.is_char_device() {
            Special::CharacterDevice { major, minor }
        } else if kind.is_block_device() {
            Special::BlockDevice { major, minor }
        } else if kind.is_fifo() {
            Special::Fifo
        } else {
            Special::Socket
        };
        Ok(builder.add_special(directory, name, &metadata, special)?)
    }

    /// Adds what an inode has beside its metadata: extended attributes and flags.
    fn describe(&mut self, node: NodeId, path: &Path, found: &Found) -> Result<()> {
        for name in attribute_names(path)? {
            let value = grown(|buffer| lgetxattr(path, name.as_slice(), buffer))?;
            self.builder
                .set_xattr(node, &name, &value)
                .map_err(|error| format!("attribute {}: {error}", name.escape_ascii()))?;
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

fn metadata(found: &Found) -> Result<Metadata> {
    let nanoseconds = u32::try_from(found.mtime_nsec())?;
    let modified = Timestamp { seconds: found.mtime(), nanoseconds };
    let mode = u16::try_from(found.mode() & 0o7777)?;
    Ok(Metadata { uid: found.uid(), gid: found.gid(), ..Metadata::root_owned(mode, modified) })
}

/// The parts of a file that are no holes.
fn segments(file: &File, size: u64) -> Result<Vec<Segment>> {
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
        if offset >= end {
            break;
        }
        segments.push(Segment { offset, length: end - offset });
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
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Some((first, rest)) = self.segments.split_first() else { return Ok(0) };
        let left = usize::try_from(first.length - self.done).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let target = buffer.get_mut(..wanted).unwrap_or_default();
        // A file that became shorter ends here, which the builder does not take for its content.
        let got = self.file.read_at(target, first.offset + self.done)?;
        self.done += u64::try_from(got).unwrap_or(u64::MAX);
        if self.done == first.length {
            (self.segments, self.done) = (rest, 0);
        }
        Ok(got)
    }
}

/// The full names of a file's attributes, of a symbolic link's own.
fn attribute_names(path: &Path) -> Result<Vec<Vec<u8>>> {
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
    mut call: impl FnMut(&mut [u8]) -> std::result::Result<usize, Errno>,
) -> std::result::Result<Vec<u8>, Errno> {
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
