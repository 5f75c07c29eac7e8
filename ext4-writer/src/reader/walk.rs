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
/// The most bytes of names that are held at once: those of the directories on the way. Directories
/// may share their blocks in an image that was built for it, so that its size is no bound.
const MAX_HELD: usize = 256 << 20;
/// What a name takes beside its bytes.
const HELD_BESIDES: usize = 64;

impl<S: Source> Reader<S> {
    /// All names in a directory, without `.` and `..`, in the order of their bytes; unlike
    /// [`read_directory`](Self::read_directory) it holds them all.
    ///
    /// # Errors
    /// When it is no directory, is damaged, or has a name twice.
    pub fn names(&self, directory: &Inode) -> ReadResult<Vec<DirectoryEntry>> {
        names(self, directory)
    }

    /// Everything from `start` on downwards, names in the order of their bytes.
    #[must_use]
    pub fn walk(&self, start: &Inode) -> Walk<'_, S> {
        Walk::new(self, start.clone())
    }
}

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
    /// How many more bytes of names may be held.
    room: usize,
    failed: bool,
}

struct Level {
    /// How much of the path leads to the directory.
    length: usize,
    /// The next name last.
    names: Vec<DirectoryEntry>,
    /// What all its names took.
    held: usize,
}

impl<'a, S: Source> Walk<'a, S> {
    pub(crate) fn new(reader: &'a Reader<S>, start: Inode) -> Self {
        let (path, pending, visited) = (Vec::new(), Vec::new(), BTreeSet::new());
        let (start, room) = (Some(start), MAX_HELD);
        Self { reader, start, path, pending, visited, room, failed: false }
    }

    fn step(&mut self) -> Option<ReadResult<WalkEntry>> {
        if let Some(start) = self.start.take() {
            return Some(self.enter(start));
        }
        loop {
            let level = self.pending.last_mut()?;
            self.path.truncate(level.length);
            let Some(entry) = level.names.pop() else {
                self.room = self.room.saturating_add(level.held);
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
            let before = self.room;
            let mut names = names_within(self.reader, &inode, &mut self.room)?;
            names.reverse();
            let held = before.saturating_sub(self.room);
            self.pending.push(Level { length: path.len(), names, held });
        }
        Ok(WalkEntry { path: path.clone(), inode })
    }
}

/// All names of a directory in the order of their bytes, each once.
pub(crate) fn names<S: Source>(
    reader: &Reader<S>,
    directory: &Inode,
) -> ReadResult<Vec<DirectoryEntry>> {
    names_within(reader, directory, &mut { MAX_HELD })
}

/// The same, as long as there is `room` for them, which they take.
fn names_within<S: Source>(
    reader: &Reader<S>,
    directory: &Inode,
    room: &mut usize,
) -> ReadResult<Vec<DirectoryEntry>> {
    let mut names = Vec::new();
    for entry in reader.read_directory(directory)? {
        let entry = entry?;
        let size = entry.name.len().saturating_add(HELD_BESIDES);
        *room = room.checked_sub(size).ok_or_else(|| {
            let what = "its names, with those of the directories above,";
            directory.corrupt(format!("{what} take more than {MAX_HELD} bytes"))
        })?;
        names.push(entry);
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, MemorySink, Metadata, Options, Size};

    /// Whether a walk with so much room for names comes to its end.
    fn ends(reader: &Reader<Vec<u8>>, room: usize) -> ReadResult<usize> {
        let mut walk = reader.walk(&reader.root()?);
        walk.room = room;
        let met = walk.try_fold(0, |met: usize, entry| entry.map(|_| met.saturating_add(1)))?;
        assert_eq!(walk.room, room, "all room is given back");
        Ok(met)
    }

    #[test]
    fn names_on_the_way_have_a_bound_and_those_left_behind_do_not_count() {
        let size = Size::Fit { free_bytes: 1 << 20, free_inodes: 10 };
        let mut builder = Builder::create(MemorySink::new(), Options::new(size)).unwrap();
        let (root, metadata) = (builder.root(), Metadata::default());
        let mut above = root;
        for _ in 0..10 {
            above = builder.add_directory(above, b"one-below", &metadata).unwrap();
            for number in 0..9 {
                let name = [b'a' + number];
                builder.add_symlink(above, name, &metadata, b"x").unwrap();
            }
        }
        let image = builder.finish().unwrap().1.into_bytes();
        let reader = Reader::open(image).unwrap();
        let refused = ends(&reader, 5000).unwrap_err();
        assert!(matches!(refused, ReadError::Corrupt { .. }), "{refused}");
        assert_eq!(ends(&reader, 10_000).unwrap(), 102);
        // As many directories beside each other are never held at once.
        let mut builder = Builder::create(MemorySink::new(), Options::new(size)).unwrap();
        for directory in 0..10 {
            let name = [b'a' + directory];
            let beside = builder.add_directory(root, name, &metadata).unwrap();
            for number in 0..9 {
                let name = [b'a' + number];
                builder.add_symlink(beside, name, &metadata, b"x").unwrap();
            }
        }
        let image = builder.finish().unwrap().1.into_bytes();
        assert_eq!(ends(&Reader::open(image).unwrap(), 2000).unwrap(), 102);
    }
}
