//! Owners, modes, times and extended attributes: from an entry onto a node.

use ext4_writer::{FileKind, Metadata, Timestamp};

use super::target::Target;
use super::{Flattener, shown};
use crate::error::Result;
use crate::layer::{Entry, Unsupported, Xattr};
use crate::shown::MAX_SHOWN;

/// What becomes of an extended attribute.
pub(super) enum Fate {
    Keep,
    /// An overlay filesystem's own; it would mislead one that has this image as a lower layer.
    DropOverlay,
    Drop(&'static str),
}

impl<T: Target> Flattener<'_, T> {
    /// Gives a node the attributes of an entry in place of those it has.
    pub(super) fn replace_attributes(&mut self, node: T::Node, entry: &Entry) -> Result<()> {
        let metadata = self.metadata_of(entry)?;
        let set = self.target.set_metadata(node, &metadata);
        set.map_err(|error| self.fail(error))?;
        self.target.clear_xattrs(node).map_err(|error| self.fail(error))?;
        self.forget_acls(node);
        self.add_xattrs(node, entry)
    }

    /// The attributes in a hard link's header are its inode's, the last header's count (as
    /// containerd does it). Attributes that the header leaves out stay: archives tend to give
    /// them once.
    pub(super) fn set_link_attributes(&mut self, node: T::Node, entry: &Entry) -> Result<()> {
        let mut metadata = self.metadata_of(entry)?;
        if self.kind(node)? == FileKind::Symlink {
            metadata.mode = self.metadata(node)?.mode;
        }
        self.target.set_metadata(node, &metadata).map_err(|error| self.fail(error))?;
        self.add_xattrs(node, entry)
    }

    /// What an inode keeps of an entry, but for its attributes.
    pub(super) fn metadata_of(&mut self, entry: &Entry) -> Result<Metadata> {
        let Entry { mode, uid, gid, .. } = *entry;
        Ok(Metadata {
            mode,
            uid,
            gid,
            modified: self.time("mtime", entry.modified)?,
            accessed: entry.accessed.map(|time| self.time("atime", time)).transpose()?,
            changed: entry.changed.map(|time| self.time("ctime", time)).transpose()?,
            created: entry.created.map(|time| self.time("time of creation", time)).transpose()?,
        })
    }

    /// The latest time that was asked for stands for all that are later; what ext4 cannot store
    /// becomes the end of its range, and is a loss.
    fn time(&mut self, name: &str, given: Timestamp) -> Result<Timestamp> {
        let wanted = self.options.latest.map_or(given, |latest| given.min(latest));
        let stored = wanted.clamped();
        // Nanoseconds of a second's end and more are none.
        if stored.seconds != wanted.seconds {
            let (from, to) = (wanted.seconds, stored.seconds);
            self.lose(format!(
                "its {name} of {from} seconds is none that ext4 keeps: {to} is kept"
            ))?;
        }
        Ok(stored)
    }

    pub(super) fn add_xattrs(&mut self, node: T::Node, entry: &Entry) -> Result<()> {
        if !entry.flags.is_empty() {
            self.target.set_flags(node, entry.flags).map_err(|error| self.fail(error))?;
        }
        if entry.project != 0 {
            self.target.set_project(node, entry.project).map_err(|error| self.fail(error))?;
        }
        for Unsupported { keyword, why } in &entry.unsupported {
            let keyword = keyword.get(..MAX_SHOWN).unwrap_or(keyword);
            self.lose(format!("attribute \"{keyword}\" of the archive {why}"))?;
        }
        let kind = self.kind(node)?;
        for Xattr { name, value } in &entry.xattrs {
            match fate(name, kind) {
                Fate::DropOverlay if !self.is_exact => {
                    self.outcome.counts.overlay_xattrs += 1;
                    self.lose(format!("attribute \"{}\" is an overlay's own", shown(name)))?;
                }
                Fate::Keep | Fate::DropOverlay => {
                    let set = self.target.set_xattr(node, name, value);
                    set.map_err(|error| self.fail(error))?;
                }
                Fate::Drop(why) => {
                    self.lose(format!("attribute \"{}\" {why}", shown(name)))?;
                }
            }
        }
        self.add_acls(node, entry)
    }

    pub(super) fn copy_xattrs(&mut self, from: T::Node, to: T::Node) -> Result<()> {
        for Xattr { name, value } in self.target.xattrs(from).map_err(|error| self.fail(error))? {
            self.target.set_xattr(to, &name, &value).map_err(|error| self.fail(error))?;
        }
        Ok(())
    }
}

/// The kernel's rules for names: `user.` on files and directories only (xattr(7)), ACLs on what
/// has permissions of its own, default ACLs on directories.
pub(super) fn fate(name: &[u8], kind: FileKind) -> Fate {
    let is = |prefix: &[u8]| name.starts_with(prefix);
    let owner_less = !matches!(kind, FileKind::Regular | FileKind::Directory);
    match name {
        _ if is(b"trusted.overlay.") || is(b"user.overlay.") => Fate::DropOverlay,
        _ if is(b"user.") && owner_less => {
            Fate::Drop("cannot stand on what is neither file nor directory")
        }
        b"system.posix_acl_access" if kind == FileKind::Symlink => {
            Fate::Drop("cannot stand on a symbolic link")
        }
        b"system.posix_acl_default" if kind != FileKind::Directory => {
            Fate::Drop("can only stand on a directory")
        }
        b"system.posix_acl_access" | b"system.posix_acl_default" => Fate::Keep,
        _ if is(b"user.") || is(b"trusted.") || is(b"security.") => Fate::Keep,
        _ => Fate::Drop("has no place in ext4"),
    }
}
