//! Hard links: to this layer's files and those below, taken away or still to come.

use ext4_writer::FileKind;

use super::history::EntryKey;
use super::missing::Missing;
use super::path::{CleanPath, PathKind};
use super::pending::PendingLink;
use super::target::Target;
use super::{Flattener, shown};
use crate::error::Result;
use crate::layer::Entry;

/// What a link's target leads to.
enum LinkTarget<N> {
    Node {
        directory: N,
        node: N,
    },
    /// No such name, in a directory that may be there.
    Missing(Option<EntryKey<N>>),
}

impl<T: Target> Flattener<'_, T> {
    /// Adds a hard link, or remembers it until its target comes.
    pub(super) fn place_link(
        &mut self,
        directory: T::Node,
        name: &[u8],
        entry: &Entry,
    ) -> Result<()> {
        let refuse = |flattener: &Self, why: &str| {
            flattener.refuse(format!("its target \"{}\": {why}", shown(&entry.link)))
        };
        let target = CleanPath::parse(&entry.link).map_err(|why| refuse(self, &why))?;
        match self.path_kind(&target).map_err(|why| refuse(self, &why))? {
            PathKind::Root => return Err(refuse(self, "a directory has one name only")),
            PathKind::Name { .. } => {}
            PathKind::Reserved => {
                return Err(refuse(self, "what AUFS keeps for itself is no file of an image"));
            }
            _ => return Err(refuse(self, "no file of an image can have that name")),
        }
        self.outcome.counts.hard_links += 1;
        match self.find_target(&target)? {
            LinkTarget::Node { directory: parent, node } => {
                self.link((directory, name), (parent, node), entry)
            }
            LinkTarget::Missing(_) => {
                self.vacate(directory, name)?;
                self.touch(directory)?;
                let link = PendingLink { target, entry: entry.clone() };
                self.pending.insert((directory, name.to_vec()), link);
                Ok(())
            }
        }
    }

    /// Adds the links whose targets came after them.
    ///
    /// A target may be such a link itself, so each is followed to its end first.
    pub(super) fn add_pending_links(&mut self) -> Result<()> {
        while let Some(first) = self.pending.pop_first() {
            let mut chain = vec![first];
            while let Some((place, link)) = chain.pop() {
                if !self.is_vacant(&place)? {
                    // Something later in the layer has the name, or took its directory's place.
                    continue;
                }
                self.current.clone_from(&link.entry.path);
                match self.find_target(&link.target)? {
                    LinkTarget::Node { directory, node } => {
                        self.link((place.0, &place.1), (directory, node), &link.entry)?;
                    }
                    LinkTarget::Missing(wanted) => {
                        let next = wanted.and_then(|wanted| self.pending.remove_entry(&wanted));
                        let Some(next) = next else {
                            let target = shown(&link.entry.link);
                            return Err(self.refuse(format!("its target \"{target}\" is missing")));
                        };
                        chain.push((place, link));
                        chain.push(next);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a pending link can still have its name.
    fn is_vacant(&mut self, (directory, name): &EntryKey<T::Node>) -> Result<bool> {
        if self.lookup(*directory, name)?.is_some() {
            return Ok(false);
        }
        let mut above = *directory;
        while above != self.target.root() {
            self.count_traversal()?;
            if self.tombstones.holds(above) {
                return Ok(false);
            }
            above = self.parent(above)?;
        }
        Ok(true)
    }

    /// The target's own name is not followed: a link to a symbolic link is its second name.
    fn find_target(&mut self, target: &CleanPath) -> Result<LinkTarget<T::Node>> {
        let Some(directory) = self.find(target.parent(), Missing::Removed)? else {
            return Ok(LinkTarget::Missing(None));
        };
        let name = target.name();
        let node = match self.lookup(directory, name)? {
            Some(node) => Some(node),
            None => self.tombstone(directory, name)?,
        };
        Ok(match node {
            Some(node) => LinkTarget::Node { directory, node },
            None => LinkTarget::Missing(Some((directory, name.to_vec()))),
        })
    }

    fn link(
        &mut self,
        (directory, name): (T::Node, &[u8]),
        (parent, node): (T::Node, T::Node),
        entry: &Entry,
    ) -> Result<()> {
        let target = shown(&entry.link);
        if self.kind(node)? == FileKind::Directory {
            return Err(self.refuse(format!("its target \"{target}\" is a directory")));
        }
        let present = self.lookup(directory, name)?;
        if present != Some(node) {
            if let Some(present) = present
                && self.is_within(parent, present)?
            {
                return Err(self.refuse(format!("its target \"{target}\" is below it")));
            }
            self.vacate(directory, name)?;
            self.target.add_link(directory, name, node).map_err(|error| self.fail(error))?;
        }
        self.touch_link((directory, name), node)?;
        self.set_link_attributes(node, entry)
    }

    fn is_within(&mut self, directory: T::Node, ancestor: T::Node) -> Result<bool> {
        let mut above = directory;
        loop {
            if above == ancestor {
                return Ok(true);
            }
            if above == self.target.root() {
                return Ok(false);
            }
            self.count_traversal()?;
            above = self.parent(above)?;
        }
    }
}
