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
    /// What is left of the directories on the way, the next name last.
    pending: Vec<Level>,
    visited: BTreeSet<u32>,
    failed: bool,
}

struct Level {
    path: Vec<u8>,
    names: Vec<DirectoryEntry>,
}

impl<'a, S: Source> Walk<'a, S> {
    pub(crate) fn new(reader: &'a Reader<S>, start: Inode) -> Self {
        let (pending, visited) = (Vec::new(), BTreeSet::new());
        Self { reader, start: Some(start), pending, visited, failed: false }
    }

    fn step(&mut self) -> Option<ReadResult<WalkEntry>> {
        if let Some(start) = self.start.take() {
            return Some(self.enter(Vec::new(), start));
        }
        loop {
            let level = self.pending.last_mut()?;
            let Some(entry) = level.names.pop() else {
                self.pending.pop();
                continue;
            };
            let separator: &[u8] = if level.path.is_empty() { b"" } else { b"/" };
            let path = [&level.path, separator, &entry.name].concat();
            return Some(self.reader.inode(entry.inode).and_then(|inode| self.enter(path, inode)));
        }
    }

    fn enter(&mut self, path: Vec<u8>, inode: Inode) -> ReadResult<WalkEntry> {
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
            let mut names: Vec<_> =
                self.reader.read_directory(&inode)?.collect::<ReadResult<_>>()?;
            names.sort_by(|one, other| other.name.cmp(&one.name));
            let behind = names.iter().skip(1);
            let mut pairs = names.iter().zip(behind);
            if let Some((one, _)) = pairs.find(|(one, other)| one.name == other.name) {
                let name = one.name.escape_ascii();
                return Err(inode.corrupt(format!("it has the name \"{name}\" twice")));
            }
            self.pending.push(Level { path: path.clone(), names });
        }
        Ok(WalkEntry { path, inode })
    }
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
