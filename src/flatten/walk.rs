//! From a path to a directory: through the symbolic links of the image, never out of it.

use std::borrow::Cow;

use ext4_writer::FileKind;

use super::missing::Missing;
use super::outcome::LowerLink;
use super::target::Target;
use super::{Flattener, LayerSemantics};
use crate::error::Result;
use crate::layer::flag;

/// A path being walked.
struct Walk<'p, N> {
    /// The directory that was reached, and its path.
    at: N,
    trail: Vec<u8>,
    /// What is walked, and how far it has been.
    text: Cow<'p, [u8]>,
    position: usize,
    symlink_depth: u32,
}

impl<N> Walk<'_, N> {
    /// Whether nothing is left to walk.
    fn is_done(&self) -> bool {
        let rest = self.text.get(self.position..).unwrap_or_default();
        rest.iter().all(|byte| *byte == b'/')
    }

    /// The next part that is neither empty nor `.`.
    fn next_part(&mut self) -> Option<Vec<u8>> {
        loop {
            let rest = self.text.get(self.position..).filter(|rest| !rest.is_empty())?;
            let part = rest.split(|byte| *byte == b'/').next().unwrap_or_default();
            self.position = self.position.saturating_add(part.len()).saturating_add(1);
            if !matches!(part, b"" | b".") {
                return Some(part.to_vec());
            }
        }
    }

    fn descend(&mut self, name: &[u8], directory: N) {
        self.at = directory;
        self.trail.push(b'/');
        self.trail.extend_from_slice(name);
    }

    fn ascend(&mut self, parent: N) {
        self.at = parent;
        let slash = self.trail.iter().rposition(|byte| *byte == b'/');
        self.trail.truncate(slash.unwrap_or(0));
    }
}

impl<T: Target> Flattener<'_, T> {
    /// The directory at this clean path; what is missing is made.
    pub(super) fn enter(&mut self, path: &[u8]) -> Result<T::Node> {
        if let Some((known, directory)) = &self.last_parent
            && known == path
        {
            return Ok(*directory);
        }
        let found = self.walk(path, Missing::Make)?;
        let directory = found.ok_or_else(|| self.broken("a directory was not made"))?;
        self.last_parent = Some((path.to_vec(), directory));
        Ok(directory)
    }

    /// The directory at this clean path, if there is one.
    pub(super) fn find(&mut self, path: &[u8], missing: Missing) -> Result<Option<T::Node>> {
        match &self.last_parent {
            Some((known, directory)) if known == path => Ok(Some(*directory)),
            _ => self.walk(path, missing),
        }
    }

    /// What this clean path leads to, links at its end too.
    pub(super) fn leaf(&mut self, path: &[u8]) -> Result<Option<T::Node>> {
        self.walk(path, Missing::Leaf)
    }

    fn walk(&mut self, path: &[u8], missing: Missing) -> Result<Option<T::Node>> {
        let root = self.target.root();
        let text = Cow::Borrowed(path);
        self.walk_on(
            Walk { at: root, trail: Vec::new(), text, position: 0, symlink_depth: 0 },
            missing,
        )
    }

    fn walk_on(
        &mut self,
        mut walk: Walk<'_, T::Node>,
        missing: Missing,
    ) -> Result<Option<T::Node>> {
        while let Some(part) = walk.next_part() {
            if walk.symlink_depth > 0 {
                self.count_traversal()?;
            }
            if part == b".." {
                // Only a link's target has it; at the root it stays there, as in a chroot.
                walk.ascend(self.parent(walk.at)?);
                continue;
            }
            let live = self.lookup(walk.at, &part)?;
            let node = match missing {
                Missing::Removed => match self.passable(live)? {
                    None => self.tombstone(walk.at, &part)?,
                    passable => passable,
                },
                Missing::Make | Missing::Stop | Missing::Look | Missing::Leaf => live,
            };
            match (node, self.kind_of(node)?) {
                (Some(node), Some(FileKind::Directory)) => walk.descend(&part, node),
                (Some(node), Some(FileKind::Symlink)) => {
                    let is_live = live == Some(node);
                    if !self.pass_symlink(&mut walk, &part, (node, is_live), missing)? {
                        return Ok(None);
                    }
                }
                (Some(node), Some(_)) if missing == Missing::Leaf && walk.is_done() => {
                    return Ok(Some(node));
                }
                _ if missing == Missing::Make => {
                    let node = self.imply_directory(walk.at, &part)?;
                    walk.descend(&part, node);
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(walk.at))
    }

    /// Goes through a symbolic link, or through a directory that hides it; `false` where the last of
    /// a path has led through too many.
    fn pass_symlink(
        &mut self,
        walk: &mut Walk<'_, T::Node>,
        part: &[u8],
        (node, is_live): (T::Node, bool),
        missing: Missing,
    ) -> Result<bool> {
        let is_lower = is_live && !self.is_current((walk.at, part), node);
        let is_meant = matches!(missing, Missing::Make | Missing::Stop);
        if is_lower && is_meant && self.semantics == LayerSemantics::Overlay {
            let directory = self.hide(walk, part, node)?;
            walk.descend(part, directory);
            return Ok(true);
        }
        if is_lower
            && !matches!(missing, Missing::Look | Missing::Leaf)
            && let Some(link) = self.lower_link(walk, part, node)
        {
            self.outcome.followed.push(link);
        }
        if missing == Missing::Leaf && walk.symlink_depth >= self.options.limits.symlink_depth {
            return Ok(false);
        }
        self.follow(walk, node)?;
        Ok(true)
    }

    /// A node that a path can lead through.
    fn passable(&self, node: Option<T::Node>) -> Result<Option<T::Node>> {
        let kind = self.kind_of(node)?;
        Ok(node.filter(|_| matches!(kind, Some(FileKind::Directory | FileKind::Symlink))))
    }

    /// Goes where a symbolic link points to: the only place where one is followed.
    fn follow(&mut self, walk: &mut Walk<'_, T::Node>, symlink: T::Node) -> Result<()> {
        walk.symlink_depth = walk.symlink_depth.saturating_add(1);
        let limit = self.options.limits.symlink_depth;
        if walk.symlink_depth > limit {
            let error = self.refuse(format!("more than {limit} symbolic links lead to it"));
            return Err(error.with_hint(flag::raise(flag::SYMLINK_DEPTH)));
        }
        let target = self.target.symlink_target(symlink).map_err(|error| self.fail(error))?;
        let target = target.into_owned();
        if target.starts_with(b"/") {
            walk.at = self.target.root();
            walk.trail.clear();
        }
        let rest = walk.text.get(walk.position..).unwrap_or_default();
        walk.text = Cow::Owned([&target, &b"/"[..], rest].concat());
        walk.position = 0;
        Ok(())
    }

    /// Puts a directory in the place of a lower layer's symbolic link, as an overlay shows it. It
    /// has the attributes of the directory that the link leads to (containerd: archive/tar.go,
    /// `mkparent`).
    fn hide(&mut self, walk: &Walk<'_, T::Node>, name: &[u8], symlink: T::Node) -> Result<T::Node> {
        let Walk { at, ref trail, symlink_depth, .. } = *walk;
        let text = Cow::Borrowed(name);
        let sight = Walk { at, trail: trail.clone(), text, position: 0, symlink_depth };
        let model = self.walk_on(sight, Missing::Look)?;
        if let Some(link) = self.lower_link(walk, name, symlink) {
            self.outcome.hidden.push(link);
        }
        self.make_directory(at, name, model)
    }

    /// A lower layer's symbolic link in the path of an entry, to be noted once in a layer.
    fn lower_link(
        &mut self,
        walk: &Walk<'_, T::Node>,
        name: &[u8],
        symlink: T::Node,
    ) -> Option<LowerLink> {
        if !self.followed.insert(symlink) {
            return None;
        }
        // Through links the way can be longer than any path.
        let far = walk.trail.len().saturating_sub(self.options.limits.path);
        let start = if far > 0 { &b"..."[..] } else { b"" };
        let trail = walk.trail.get(far..).unwrap_or_default();
        let symlink = [start, trail, b"/", name].concat();
        Some(LowerLink { symlink, layer: self.label.clone() })
    }

    /// What this layer has taken away from a name, of this directory or of one that stood here.
    ///
    /// In a directory that was taken away itself, its names are what was taken away with it.
    pub(super) fn tombstone(&self, directory: T::Node, name: &[u8]) -> Result<Option<T::Node>> {
        let mut directory = directory;
        loop {
            if let Some(node) = self.tombstones.get(directory, name) {
                return Ok(Some(node));
            }
            let Some(before) = self.tombstones.predecessor(directory) else { return Ok(None) };
            directory = before;
            if let Some(node) = self.lookup(directory, name)? {
                return Ok(Some(node));
            }
        }
    }

    /// Makes a directory that only the path of an entry speaks of.
    ///
    /// Where this layer hid a directory, the new one has its attributes: a whiteout behind the
    /// entry would have left it in place, and whiteouts mean the same wherever they stand.
    fn imply_directory(&mut self, parent: T::Node, name: &[u8]) -> Result<T::Node> {
        let removed = self.tombstone(parent, name)?;
        let is_directory = self.kind_of(removed)? == Some(FileKind::Directory);
        let model = removed.filter(|_| is_directory);
        if name.starts_with(b".wh.") {
            self.warn("a directory in its path is called like a whiteout, but is none".to_owned());
        }
        self.make_directory(parent, name, model)
    }

    /// Makes a directory with the attributes of another one.
    fn make_directory(
        &mut self,
        parent: T::Node,
        name: &[u8],
        model: Option<T::Node>,
    ) -> Result<T::Node> {
        let metadata = match model {
            Some(model) => self.metadata(model)?,
            None => ext4_writer::Metadata::root_owned(0o755, self.options.epoch),
        };
        let node = self.add_directory(parent, name, &metadata)?;
        if let Some(model) = model {
            self.copy_xattrs(model, node)?;
        }
        self.outcome.counts.implied_directories += 1;
        Ok(node)
    }
}
