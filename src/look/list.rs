//! The names of a directory, or of all below it, in the order of `ls`.

use std::collections::{BTreeSet, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ext4_writer::FileKind;
use ext4_writer::reader::{DirectoryEntry, Inode, Links};
use serde::Serialize;

use super::{Image, Status, text};
use crate::error::{Error, Result};

/// The longest path that is listed, in bytes; programs cannot name longer ones, but make them.
const MAX_PATH: usize = 1 << 20;
/// The most bytes of names of directories that wait to be listed; the reader has such a bound for
/// the names of one.
const MAX_WAITING: usize = 256 << 20;
/// What a name that waits takes beside its bytes.
const WAITING_BESIDES: usize = 64;

/// How much is listed of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Itself.
    Itself,
    /// The names in it.
    Names,
    /// The names in all directories below, too.
    All,
}

/// What is listed of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// How much of a directory.
    pub depth: Depth,
    /// Of a link at the end of the path: the directory that it leads to, or itself.
    pub links: Links,
    /// Targets of links and names of attributes, which have to be read.
    pub details: bool,
}

/// A name.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    /// The whole path, from the root on.
    #[serde(flatten, serialize_with = "text::path")]
    pub path: Vec<u8>,
    /// The name in its directory, or the path as it was asked for.
    #[serde(skip)]
    pub name: Vec<u8>,
    /// What the inode says.
    #[serde(flatten)]
    pub status: Status,
    /// The target of a symbolic link.
    #[serde(flatten, serialize_with = "text::target")]
    pub target: Option<Vec<u8>>,
    /// The names of the extended attributes.
    #[serde(serialize_with = "text::names")]
    pub attributes: Vec<Vec<u8>>,
}

/// What is met on the way.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A directory whose names follow, by its path.
    Directory(Vec<u8>),
    /// A name.
    Name(Box<Line>),
}

impl Step {
    /// The name, if it is one.
    pub(crate) fn into_line(self) -> Option<Line> {
        match self {
            Self::Directory(_) => None,
            Self::Name(line) => Some(*line),
        }
    }
}

/// A listing while it is made: the names of one directory are held, and those of its directories
/// that are still to come.
#[derive(Debug)]
pub(crate) struct Listing<'a> {
    image: &'a Image,
    wanted: Wanted,
    /// What was asked for, until it is told.
    first: Option<(Vec<u8>, Inode)>,
    /// The path of the directory that is listed.
    path: Vec<u8>,
    /// The names of it that are left.
    names: std::vec::IntoIter<DirectoryEntry>,
    levels: Vec<Level>,
    visited: BTreeSet<u32>,
    /// How many more bytes of names may wait.
    room: usize,
    failed: bool,
}

/// A directory on the way.
#[derive(Debug)]
struct Level {
    /// How much of the path leads to it.
    length: usize,
    /// Its directories that are still to come.
    waiting: VecDeque<(Vec<u8>, u32)>,
}

/// `/a/b` for whatever way of writing it.
pub(super) fn absolute(path: &[u8]) -> Vec<u8> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    let joined = names.collect::<Vec<_>>().join(&b'/');
    [b"/", joined.as_slice()].concat()
}

impl<'a> Listing<'a> {
    /// Of the names at `path`; a link there is followed to a directory, if it leads to one.
    pub(crate) fn new(image: &'a Image, path: &[u8], wanted: Wanted) -> Result<Self> {
        let kept = image.resolve(path, Links::Keep)?;
        let follows = kept.is(FileKind::Symlink)
            && wanted.links == Links::Follow
            && wanted.depth != Depth::Itself;
        let followed = if follows { image.directory_behind(path)? } else { None };
        let inode = followed.unwrap_or(kept);
        Ok(Self {
            image,
            wanted,
            first: Some((path.to_vec(), inode)),
            path: Vec::new(),
            names: Vec::new().into_iter(),
            levels: Vec::new(),
            visited: BTreeSet::new(),
            room: MAX_WAITING,
            failed: false,
        })
    }

    fn step(&mut self) -> Result<Option<Step>> {
        if let Some((asked, inode)) = self.first.take() {
            self.path = absolute(&asked);
            if inode.is(FileKind::Directory) && self.wanted.depth != Depth::Itself {
                return self.enter(&inode).map(Some);
            }
            let path = self.path.clone();
            return self.line(asked, path, &inode).map(Some);
        }
        if let Some(DirectoryEntry { name, inode, .. }) = self.names.next() {
            return self.name(name, inode).map(Some);
        }
        while let Some(level) = self.levels.last_mut() {
            self.path.truncate(level.length);
            if let Some((name, inode)) = level.waiting.pop_front() {
                self.room = self.room.saturating_add(waiting_size(&name));
                push(&mut self.path, &name);
                let inode = self.read(inode)?;
                return self.enter(&inode).map(Some);
            }
            self.levels.pop();
        }
        Ok(None)
    }

    fn read(&self, inode: u32) -> Result<Inode> {
        self.image.reader.inode(inode).map_err(|error| self.image.failed_at(&self.path, error))
    }

    fn enter(&mut self, directory: &Inode) -> Result<Step> {
        let bad = |why: &str| {
            let (path, image) = (crate::shown::bytes(&self.path), self.image.name());
            Error::bad_data(format!("cannot read \"{path}\" in {image}: {why}"))
        };
        if !self.visited.insert(directory.number()) {
            let number = directory.number();
            return Err(bad(&format!("directory {number} has a second name")));
        }
        if self.path.len() > MAX_PATH {
            return Err(bad(&format!("the path has {} bytes", self.path.len())));
        }
        let names = self.image.reader.names(directory);
        let names = names.map_err(|error| self.image.failed_at(&self.path, error))?;
        self.names = names.into_iter();
        self.levels.push(Level { length: self.path.len(), waiting: VecDeque::new() });
        Ok(Step::Directory(self.path.clone()))
    }

    fn name(&mut self, name: Vec<u8>, number: u32) -> Result<Step> {
        let name = nameable(name);
        let inode = self.read(number)?;
        let mut path = self.path.clone();
        push(&mut path, &name);
        if self.wanted.depth == Depth::All
            && inode.is(FileKind::Directory)
            && let Some(level) = self.levels.last_mut()
        {
            self.room = self.room.checked_sub(waiting_size(&name)).ok_or_else(|| {
                let (path, image) = (crate::shown::bytes(&self.path), self.image.name());
                let what = "the directories on the way to it have names of more than";
                Error::bad_data(format!(
                    "cannot list \"{path}\" in {image}: {what} {MAX_WAITING} bytes"
                ))
            })?;
            level.waiting.push_back((name.clone(), number));
        }
        self.line(name, path, &inode)
    }

    fn line(&self, name: Vec<u8>, path: Vec<u8>, inode: &Inode) -> Result<Step> {
        let status = Status::new(inode, self.image.name())?;
        let (mut target, mut attributes) = (None, Vec::new());
        if self.wanted.details {
            let failed = |error| self.image.failed_at(&path, error);
            attributes = self.image.reader.attributes(inode).map_err(failed)?;
            target = self.image.target(inode).map_err(failed)?;
        }
        let attributes = attributes.into_iter().map(|attribute| attribute.name).collect();
        Ok(Step::Name(Box::new(Line { path, name, status, target, attributes })))
    }
}

/// A name as a part of a path: what is encrypted may have bytes that no name has, and is then told
/// in the letters of base64 for URLs, as the kernel tells encrypted names.
///
/// Source of the letters: kernel, `fs/crypto/fname.c`, `fscrypt_fname_disk_to_usr`.
fn nameable(name: Vec<u8>) -> Vec<u8> {
    let is_path = name.iter().any(|byte| b"/\0".contains(byte)) || name == b"." || name == b"..";
    if is_path { URL_SAFE_NO_PAD.encode(&name).into_bytes() } else { name }
}

fn waiting_size(name: &[u8]) -> usize {
    name.len().saturating_add(WAITING_BESIDES)
}

/// Adds a name to a path from the root.
fn push(path: &mut Vec<u8>, name: &[u8]) {
    if !path.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

impl Iterator for Listing<'_> {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step();
        self.failed = step.is_err();
        step.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encrypted_names_that_are_no_names_are_told_in_letters() {
        for (name, told) in [
            (&b"a/b"[..], &b"YS9i"[..]),
            (b"\0\xff", b"AP8"),
            (b"..", b"Li4"),
            (b"...", b"..."),
            (b"\xff\n", b"\xff\n"),
        ] {
            assert_eq!(nameable(name.to_vec()), told, "{}", name.escape_ascii());
        }
    }
}
