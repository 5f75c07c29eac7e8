//! A directory of the host on its way into an image, as the whole root or below some place.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::io::{self, Read};
use std::path::PathBuf;

use ext4_writer::Timestamp;
use rustix::fs::{FileType, Stat};

use super::hasher::TreeHasher;
use super::owners::{IdKind, Owners};
use super::stored::{Stored, StoredContent, bytes, copy_of, size};
use super::walk::{Met, walk};
use crate::error::{Error, Result};
use crate::flatten::{Flattener, Target};
use crate::layer::{Entry, EntryKind, Xattr};

/// The permissions of what comes from a pipe.
const PLAIN_MODE: u16 = 0o644;

/// What the host's things share on their way into an image.
pub struct Adding<'a> {
    /// Learns what they are.
    pub hasher: &'a mut TreeHasher,
    /// The time of what has none: a pipe, or a file that the kernel makes up.
    pub epoch: Timestamp,
    /// The most bytes that are read of something whose length nobody knows beforehand.
    pub limit: u64,
    /// Hears how many bytes were read.
    pub seen: &'a dyn Fn(u64),
}

/// A directory of the host.
///
/// Everything is kept as it is: owners, permissions, times of modification, extended attributes
/// and ACLs, hard links, holes, devices. The times of access and change are those of modification:
/// reading changes the one and nobody can set the other, so an image would never be made twice.
#[derive(Clone, Debug)]
pub struct HostTree {
    root: PathBuf,
    owners: Owners,
}

impl HostTree {
    /// The directory `root`, with the owners that the image is to have.
    #[must_use]
    pub fn new(root: PathBuf, owners: Owners) -> Self {
        Self { root, owners }
    }

    /// The bytes of all files, without their holes; looks at every name, and reads no contents.
    pub fn bytes(&self) -> Result<u64> {
        let mut sum = 0_u64;
        let mut links = Links::default();
        walk(&self.root, &mut |met| {
            let entry = self.entry(met, &mut links)?;
            if entry.kind == EntryKind::Regular {
                sum = sum.saturating_add(entry.size.min(bytes(&met.stat)));
            }
            Ok(())
        })?;
        Ok(sum)
    }

    /// What was met as an entry of a layer, but for its attributes.
    fn entry(&self, met: &Met<'_>, links: &mut Links) -> Result<Entry> {
        let Stat { st_uid, st_gid, .. } = met.stat;
        let (uid, gid) =
            (self.owner(met, IdKind::User, st_uid)?, self.owner(met, IdKind::Group, st_gid)?);
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
        let mode = u16::try_from(met.stat.st_mode & 0o7777)
            .map_err(|error| Error::internal("a mode has more than 12 bits").with_source(error))?;
        Ok(Entry {
            uid,
            gid,
            size: if kind == EntryKind::Regular { size(&met.stat) } else { 0 },
            link,
            device: if is_device { device } else { (0, 0) },
            ..Entry::new(met.path, kind, mode, modified(&met.stat))
        })
    }

    fn owner(&self, met: &Met<'_>, class: IdKind, id: u32) -> Result<u32> {
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
    Error::bad_data(format!(
        "{} belongs to {id}, or its ACL names {id}, which no --owner-map speaks of",
        met.shown()
    ))
    .with_hint(format!("add --owner-map {id}:N, or give everything one owner by --owner"))
}

/// Applies a directory as one layer that is the whole root.
pub(crate) fn add_tree<T: Target>(
    flattener: &mut Flattener<'_, T>,
    tree: &HostTree,
    adding: &mut Adding<'_>,
) -> Result<()> {
    flattener.begin_layer(&format!("the directory {}", tree.root.display()))?;
    let mut copying = Copying::new(flattener, tree, adding);
    walk(&tree.root, &mut |met| copying.put(met))?;
    flattener.end_layer()
}

/// Things of the host on their way into the layer that was begun.
///
/// Names mean nothing but themselves: a directory of the host may hold some that would hide others
/// in a layer.
pub(super) struct Copying<'c, 'a, 'f, 'b, T: Target> {
    flattener: &'f mut Flattener<'b, T>,
    tree: &'c HostTree,
    adding: &'c mut Adding<'a>,
    links: Links,
    /// Where the root of the tree goes.
    pub(super) target: Vec<u8>,
    /// Whether only what is in the root goes there.
    pub(super) is_without_root: bool,
    /// Whether directories that the image has already keep their attributes.
    pub(super) keeps_directories: bool,
    /// The permissions of files, where they are not the host's.
    pub(super) mode: Option<u16>,
}

impl<'c, 'a, 'f, 'b, T: Target> Copying<'c, 'a, 'f, 'b, T> {
    /// A tree that becomes the root as it is.
    pub(super) fn new(
        flattener: &'f mut Flattener<'b, T>,
        tree: &'c HostTree,
        adding: &'c mut Adding<'a>,
    ) -> Self {
        Self {
            flattener,
            tree,
            adding,
            links: Links::default(),
            target: Vec::new(),
            is_without_root: false,
            keeps_directories: false,
            mode: None,
        }
    }

    /// Puts what was met where it belongs.
    pub(super) fn put(&mut self, met: &Met<'_>) -> Result<()> {
        if met.path.is_empty() && self.is_without_root {
            return Ok(());
        }
        let mut entry = self.tree.entry(met, &mut self.links)?;
        entry.path = self.place_of(&entry.path);
        match entry.kind {
            EntryKind::HardLink => entry.link = self.place_of(&entry.link),
            EntryKind::Directory
                if self.keeps_directories && self.flattener.has_directory(&entry.path)? =>
            {
                return Ok(());
            }
            EntryKind::Regular => {
                entry.mode = self.mode.unwrap_or(entry.mode);
                entry.xattrs = self.tree.xattrs(met)?;
                return self.put_file(met, entry);
            }
            _ => entry.xattrs = self.tree.xattrs(met)?,
        }
        self.apply(&entry, &mut io::empty())
    }

    /// Puts what something gives until its end at the target.
    pub(super) fn put_stream(&mut self, name: &str, stream: &mut dyn Read) -> Result<()> {
        let (mut copy, size) = copy_of(stream, name, self.adding.limit)?;
        let (mode, time) = (self.mode.unwrap_or(PLAIN_MODE), self.adding.epoch);
        let owner = |class| {
            let owner = self.tree.owners.number(class, 0);
            owner.ok_or_else(|| Error::internal("nobody says who owns what is added"))
        };
        let (uid, gid) = (owner(IdKind::User)?, owner(IdKind::Group)?);
        let entry = Entry::new(self.target.clone(), EntryKind::Regular, mode, time);
        self.apply(&Entry { uid, gid, size, ..entry }, &mut copy)
    }

    fn put_file(&mut self, met: &Met<'_>, mut entry: Entry) -> Result<()> {
        let failed = |error| met.failed("read", error);
        let mut file = met.open()?;
        match Stored::find(&file, &met.stat).map_err(failed)? {
            Stored::Whole => {}
            Stored::Parts(segments) => entry.segments = Some(segments),
            Stored::Unknown => {
                let (mut copy, length) = copy_of(&mut file, &met.shown(), self.adding.limit)?;
                if entry.size == 0 && length > 0 {
                    // It was made at this moment, and so was its time.
                    entry.modified = self.adding.epoch;
                }
                entry.size = length;
                return self.apply(&entry, &mut copy);
            }
        }
        let seen = self.adding.seen;
        self.apply(&entry, &mut StoredContent::new(&file, &entry, seen))?;
        let after = rustix::fs::fstat(&file).map_err(failed)?;
        if (size(&after), modified(&after)) != (size(&met.stat), modified(&met.stat)) {
            self.flattener.lose("it changed while it was read".to_owned())?;
        }
        Ok(())
    }

    fn apply(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<()> {
        self.adding.hasher.entry(entry)?;
        let mut body = self.adding.hasher.body(content);
        self.flattener.apply_literally(entry, &mut body)?;
        body.finish()
    }

    /// The place in the image of a path below the root.
    fn place_of(&self, path: &[u8]) -> Vec<u8> {
        match (self.target.as_slice(), path) {
            (b"", path) => path.to_vec(),
            (target, b"") => target.to_vec(),
            (target, path) => [target, b"/", path].concat(),
        }
    }
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

/// The time of the last change; a part of a second that is none, from a filesystem that says
/// anything, is no part.
fn modified(stat: &Stat) -> Timestamp {
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
    Timestamp { seconds: stat.st_mtime, nanoseconds }
}
