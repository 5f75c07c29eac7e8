//! Names and paths to inodes.

use crate::metadata::FileKind;
use crate::reader::directory::DirectoryEntry;
use crate::reader::error::{ReadError, ReadResult};
use crate::reader::inode::Inode;
use crate::reader::source::Source;
use crate::reader::{Links, Reader};
use crate::record::inode::Flags;

/// The symbolic links that the kernel follows on one path: `MAXSYMLINKS`.
const MAX_LINKS: u32 = 40;

impl<S: Source> Reader<S> {
    /// The inode at a path from the root, with or without a `/` before it.
    ///
    /// Links on the way are followed, up to 40 of them; `..` at the root stays there.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] with the path as far as it was followed, and what reading a
    /// directory can answer.
    pub fn lookup(&self, path: &[u8], links: Links) -> ReadResult<Inode> {
        lookup(self, path, links)
    }

    /// The entry of this name in a directory.
    ///
    /// # Errors
    /// When it is no directory, or is damaged; also when it is a casefold directory that has no
    /// entry spelled like this.
    pub fn entry(&self, directory: &Inode, name: &[u8]) -> ReadResult<Option<DirectoryEntry>> {
        entry(self, directory, name)
    }
}

/// A path while it is followed.
struct Walker<'a, S> {
    reader: &'a Reader<S>,
    /// The directories from the root to the place that was reached, with the names of all but the
    /// root.
    above: Vec<(Vec<u8>, Inode)>,
    root: Inode,
    /// The names that are left, the next one last.
    rest: Vec<Vec<u8>>,
    followed: u32,
}

impl<S: Source> Walker<'_, S> {
    /// The directory that was reached.
    fn here(&self) -> &Inode {
        self.above.last().map_or(&self.root, |(_, inode)| inode)
    }

    fn push(&mut self, path: &[u8]) {
        if path.starts_with(b"/") {
            self.above.clear();
        }
        let names =
            path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
        self.rest.extend(names.rev().map(<[u8]>::to_vec));
    }

    fn path(&self, name: &[u8]) -> Vec<u8> {
        let mut path = Vec::new();
        for (name, _) in &self.above {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        path.push(b'/');
        path.extend_from_slice(name);
        path
    }

    fn follow(&mut self, link: &Inode, name: &[u8]) -> ReadResult<()> {
        self.followed = self.followed.saturating_add(1);
        if self.followed > MAX_LINKS {
            return Err(ReadError::TooManyLinks { path: self.path(name), limit: MAX_LINKS });
        }
        let target = self.reader.read_link(link)?;
        self.push(&target);
        Ok(())
    }
}

/// The inode at `path`, from the root on.
pub(crate) fn lookup<S: Source>(
    reader: &Reader<S>,
    path: &[u8],
    links: Links,
) -> ReadResult<Inode> {
    let root = reader.root()?;
    let mut walker = Walker { reader, above: Vec::new(), root, rest: Vec::new(), followed: 0 };
    walker.push(path);
    // "name/" asks for what the link leads to, as in the kernel.
    let is_directory = path.ends_with(b"/") || path.ends_with(b"/.");
    while let Some(name) = walker.rest.pop() {
        if name == b".." {
            walker.above.pop();
            continue;
        }
        let found = entry(reader, walker.here(), &name)?;
        let found = found.ok_or_else(|| ReadError::NotFound { path: walker.path(&name) })?;
        let inode = reader.inode(found.inode)?;
        let is_last = walker.rest.is_empty();
        let follow = !is_last || links == Links::Follow || is_directory;
        if inode.is(FileKind::Symlink) && follow {
            walker.follow(&inode, &name)?;
        } else if !is_last || is_directory || inode.is(FileKind::Directory) {
            if !inode.is(FileKind::Directory) {
                let inode = inode.number();
                return Err(ReadError::WrongKind { inode, needs: "a directory" });
            }
            walker.above.push((name, inode));
        } else {
            return Ok(inode);
        }
    }
    Ok(walker.above.pop().map_or(walker.root, |(_, inode)| inode))
}

/// The entry of this name in a directory.
pub(crate) fn entry<S: Source>(
    reader: &Reader<S>,
    directory: &Inode,
    name: &[u8],
) -> ReadResult<Option<DirectoryEntry>> {
    for entry in reader.read_directory(directory)? {
        let entry = entry?;
        if entry.name == name {
            return Ok(Some(entry));
        }
    }
    if directory.has(Flags::CASEFOLD) {
        return Err(ReadError::Unsupported {
            what: format!("\"{}\" in a casefold directory", name.escape_ascii()),
            reason: "no entry is spelled like this, and other spellings are not compared",
        });
    }
    Ok(None)
}
