//! All names below a directory.

use std::collections::BTreeSet;

use crate::metadata::FileKind;
use crate::reader::Reader;
use crate::reader::directory::DirectoryEntry;
use crate::reader::error::{ReadError, ReadResult};
use crate::reader::inode::Inode;
use crate::reader::source::Source;
use crate::record::inode::Flags;

/// The longest path that is walked, in bytes; programs cannot name longer ones, but make them.
const MAX_PATH: usize = 1 << 20;

/// A name below the directory that is walked.
#[derive(Clone, Debug)]
pub struct WalkEntry {
    /// The names from that directory on, joined by `/`; empty for the directory itself.
    pub path: Vec<u8>,
    /// The inode.
    pub inode: Inode,
}

/// Everything below a directory, itself first: a directory before what is in it, names in the
/// order of their bytes.
///
/// No directory is walked twice: an image in which one is below itself ends with an error.
pub struct Walk<'a, S> {
    reader: &'a Reader<S>,
    start: Option<Inode>,
    /// Where the walk is: one path for all levels, which may be many and deep.
    path: Vec<u8>,
    /// What is left of the directories on the way.
    pending: Vec<Level>,
    visited: BTreeSet<u32>,
    failed: bool,
}

struct Level {
    /// How much of the path leads to the directory.
    length: usize,
    /// The next name last.
    names: Vec<DirectoryEntry>,
}

impl<'a, S: Source> Walk<'a, S> {
    pub(crate) fn new(reader: &'a Reader<S>, start: Inode) -> Self {
        let (path, pending, visited) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { reader, start: Some(start), path, pending, visited, failed: false }
    }

    fn step(&mut self) -> Option<ReadResult<WalkEntry>> {
        if let Some(start) = self.start.take() {
            return Some(self.enter(start));
        }
        loop {
            let level = self.pending.last_mut()?;
            self.path.truncate(level.length);
            let Some(entry) = level.names.pop() else {
                self.pending.pop();
                continue;
            };
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&entry.name);
            return Some(self.reader.inode(entry.inode).and_then(|inode| self.enter(inode)));
        }
    }

    fn enter(&mut self, inode: Inode) -> ReadResult<WalkEntry> {
        let path = &self.path;
        if inode.is(FileKind::Directory) {
            if inode.has(Flags::ENCRYPT) {
                return Err(ReadError::Encrypted { inode: inode.number() });
            }
            if !self.visited.insert(inode.number()) {
                let path = path.escape_ascii();
                return Err(inode.corrupt(format!("the directory has a second name, \"{path}\"")));
            }
            if path.len() > MAX_PATH {
                return Err(inode.corrupt(format!("its path has {} bytes", path.len())));
            }
            let mut names = names(self.reader, &inode)?;
            names.reverse();
            self.pending.push(Level { length: path.len(), names });
        }
        Ok(WalkEntry { path: path.clone(), inode })
    }
}

/// All names of a directory in the order of their bytes, each once.
pub(crate) fn names<S: Source>(
    reader: &Reader<S>,
    directory: &Inode,
) -> ReadResult<Vec<DirectoryEntry>> {
    let mut names: Vec<_> = reader.read_directory(directory)?.collect::<ReadResult<_>>()?;
    names.sort_by(|one, other| one.name.cmp(&other.name));
    let mut pairs = names.iter().zip(names.iter().skip(1));
    if let Some((one, _)) = pairs.find(|(one, other)| one.name == other.name) {
        let name = one.name.escape_ascii();
        return Err(directory.corrupt(format!("it has the name \"{name}\" twice")));
    }
    Ok(names)
}

impl<S: Source> Iterator for Walk<'_, S> {
    type Item = ReadResult<WalkEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let entry = self.step();
        self.failed = matches!(entry, Some(Err(_)));
        entry
    }
}
