//! What was declared: nodes, byte names, links, attributes. The only copy of the tree.

use std::collections::{BTreeMap, BTreeSet};

use crate::attributes::{Attribute, Attributes};
use crate::error::{Error, Result, internal};
use crate::format::Format;
use crate::format::extent::Extent;
use crate::format::features::Features;
use crate::format::limits::{LOST_AND_FOUND, MAX_LINKS, check_name};
use crate::format::units::index;
use crate::metadata::{FileFlags, FileKind, Metadata, Special, Timestamp};
use crate::names::Names;

/// A node of the tree: an inode to be.
///
/// It belongs to the builder that gave it out and stays valid until the node is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The nodes of a builder are numbered from 0 in the order in which they were added.
    #[must_use]
    pub fn index(self) -> usize {
        index(self.0)
    }

    fn at(index: usize) -> Result<Self> {
        u32::try_from(index).map(Self).map_err(|_| Error::TooFewInodes {
            needed: crate::format::units::widen(index),
            available: u64::from(u32::MAX),
        })
    }
}

/// The mappings of one file, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Extents {
    /// Nothing but holes.
    #[default]
    None,
    /// One run, as nearly every file has.
    One(Extent),
    /// Several.
    Many(Box<[Extent]>),
}

impl Extents {
    /// The mappings as a slice.
    pub(crate) fn as_slice(&self) -> &[Extent] {
        match self {
            Self::None => &[],
            Self::One(extent) => std::slice::from_ref(extent),
            Self::Many(extents) => extents,
        }
    }
}

impl From<Vec<Extent>> for Extents {
    fn from(extents: Vec<Extent>) -> Self {
        match extents.as_slice() {
            [] => Self::None,
            [one] => Self::One(*one),
            _ => Self::Many(extents.into_boxed_slice()),
        }
    }
}

/// What a node is and holds.
#[derive(Debug)]
pub(crate) enum Content {
    /// A directory and its entries.
    Directory(Box<Directory>),
    /// A regular file, `size` bytes long.
    Regular {
        /// Its length in bytes.
        size: u64,
        /// Where its blocks are.
        extents: Extents,
    },
    /// A small regular file that is to be inside its inode, with its bytes.
    Inline(Box<[u8]>),
    /// A symbolic link.
    Symlink(Box<[u8]>),
    /// A device, pipe or socket.
    Special(Special),
    /// Removed.
    Gone,
}

/// The entries of a directory.
#[derive(Debug)]
pub(crate) struct Directory {
    /// The directory that holds it; the root is its own parent.
    pub parent: NodeId,
    /// How many of the entries are directories.
    pub subdirectories: u32,
    /// The entries by name.
    pub entries: Names<NodeId>,
}

/// An inode to be.
#[derive(Debug)]
pub(crate) struct Node {
    pub content: Content,
    /// How many names it has; a directory's own are not counted here.
    pub names: u32,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub modified: Timestamp,
}

/// The times of a node that differ from its time of modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OtherTimes {
    pub accessed: Timestamp,
    pub changed: Timestamp,
    pub created: Timestamp,
}

/// What few nodes have beside permissions, owners and times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extra {
    pub flags: FileFlags,
    pub generation: u32,
    pub project: u32,
}

/// All nodes.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    times: BTreeMap<NodeId, OtherTimes>,
    extras: BTreeMap<NodeId, Extra>,
    attributes: BTreeMap<NodeId, Attributes>,
    /// The nodes of which a time was moved to a limit of the format.
    clamped: BTreeSet<NodeId>,
    format: Format,
}

impl Tree {
    /// The root and its `lost+found`.
    pub(crate) fn new(epoch: Timestamp, format: &Format) -> Result<Self> {
        let mut tree = Self {
            format: *format,
            nodes: Vec::new(),
            times: BTreeMap::new(),
            extras: BTreeMap::new(),
            attributes: BTreeMap::new(),
            clamped: BTreeSet::new(),
        };
        let public = Metadata::root_owned(0o755, epoch);
        tree.push(Self::ROOT, empty_directory(Self::ROOT), &public)?;
        let private = Metadata::root_owned(0o700, epoch);
        match tree.add(Self::ROOT, LOST_AND_FOUND, empty_directory(Self::ROOT), &private)? {
            Self::LOST => Ok(tree),
            _ => Err(internal("the root and lost+found are the first two nodes")),
        }
    }

    /// The root directory.
    pub(crate) const ROOT: NodeId = NodeId(0);
    /// The root's `lost+found`.
    pub(crate) const LOST: NodeId = NodeId(1);

    /// The node, unless it is gone.
    pub(crate) fn node(&self, node: NodeId) -> Result<&Node> {
        match self.nodes.get(node.index()) {
            Some(found) if !matches!(found.content, Content::Gone) => Ok(found),
            _ => Err(Error::StaleNode { index: node.index() }),
        }
    }

    /// The node for change, unless it is gone.
    pub(crate) fn node_mut(&mut self, node: NodeId) -> Result<&mut Node> {
        match self.nodes.get_mut(node.index()) {
            Some(found) if !matches!(found.content, Content::Gone) => Ok(found),
            _ => Err(Error::StaleNode { index: node.index() }),
        }
    }

    /// The directory of this node.
    pub(crate) fn directory(&self, node: NodeId) -> Result<&Directory> {
        match &self.node(node)?.content {
            Content::Directory(directory) => Ok(directory),
            _ => Err(NOT_A_DIRECTORY),
        }
    }

    fn directory_mut(&mut self, node: NodeId) -> Result<&mut Directory> {
        match &mut self.node_mut(node)?.content {
            Content::Directory(directory) => Ok(directory),
            _ => Err(NOT_A_DIRECTORY),
        }
    }

    /// All nodes that exist, in the order in which they were added.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> + Clone {
        (0..)
            .map(NodeId)
            .zip(&self.nodes)
            .filter(|(_, node)| !matches!(node.content, Content::Gone))
    }

    /// One more than the largest index of a node.
    pub(crate) fn node_limit(&self) -> usize {
        self.nodes.len()
    }

    /// The times of a node beside that of modification.
    pub(crate) fn other_times(&self, node: NodeId) -> Option<OtherTimes> {
        self.times.get(&node).copied()
    }

    /// The flags, generation and project of a node.
    pub(crate) fn extra(&self, node: NodeId) -> Extra {
        self.extras.get(&node).copied().unwrap_or_default()
    }

    /// Those of a node for change.
    pub(crate) fn extra_mut(&mut self, node: NodeId) -> Result<&mut Extra> {
        self.node(node)?;
        Ok(self.extras.entry(node).or_default())
    }

    /// The extended attributes of a node.
    pub(crate) fn attributes(&self, node: NodeId) -> Option<&Attributes> {
        self.attributes.get(&node)
    }

    /// The same as a list, which is empty for most.
    pub(crate) fn attribute_list(&self, node: NodeId) -> &[Attribute] {
        self.attributes(node).map_or(&[], Attributes::as_slice)
    }

    /// How many nodes have a time that is not the one declared.
    pub(crate) fn clamped_times(&self) -> u64 {
        crate::format::units::widen(self.clamped.len())
    }

    /// Adds a node with its first name.
    pub(crate) fn add(
        &mut self,
        directory: NodeId,
        name: &[u8],
        content: Content,
        metadata: &Metadata,
    ) -> Result<NodeId> {
        let node = NodeId::at(self.nodes.len())?;
        let is_directory = matches!(content, Content::Directory(_));
        self.enter(directory, name, node, is_directory)?;
        self.push(node, content, metadata)?;
        self.node_mut(node)?.names = 1;
        Ok(node)
    }

    /// Gives a node, which is no directory, another name.
    pub(crate) fn attach(&mut self, directory: NodeId, name: &[u8], node: NodeId) -> Result<()> {
        let names = match self.node(node)? {
            Node { content: Content::Directory(_), .. } => return Err(NOT_ONE_NAME),
            found if found.names >= MAX_LINKS => {
                return Err(Error::TooManyLinks { links: MAX_LINKS });
            }
            found => found.names,
        };
        self.enter(directory, name, node, false)?;
        self.node_mut(node)?.names = names + 1;
        Ok(())
    }

    /// Writes a name into a directory.
    fn enter(
        &mut self,
        directory: NodeId,
        name: &[u8],
        node: NodeId,
        is_directory: bool,
    ) -> Result<()> {
        check_name(name)?;
        let is_counted = !self.format.has(Features::DIR_NLINK.union(Features::DIR_INDEX));
        let parent = self.directory_mut(directory)?;
        // Two links are the directory's own name and its `.`.
        let is_full = is_directory && is_counted && parent.subdirectories >= MAX_LINKS - 2;
        if is_full && parent.entries.get(name).is_none() {
            return Err(Error::TooManySubdirectories { subdirectories: MAX_LINKS - 2 });
        }
        if !parent.entries.add(name, node) {
            return Err(Error::Exists { name: name.to_vec() });
        }
        parent.subdirectories += u32::from(is_directory);
        Ok(())
    }

    /// Takes a name away; the node stays.
    pub(crate) fn detach(&mut self, directory: NodeId, name: &[u8]) -> Result<NodeId> {
        let parent = self.directory_mut(directory)?;
        let removed =
            parent.entries.remove(name).ok_or_else(|| Error::NotFound { name: name.to_vec() })?;
        let node = self.node_mut(removed)?;
        node.names = node.names.checked_sub(1).ok_or(NAMES_ARE_COUNTED)?;
        if matches!(node.content, Content::Directory(_)) {
            self.directory_mut(directory)?.subdirectories -= 1;
        }
        Ok(removed)
    }

    /// Removes a node without names, and below a directory all that thereby loses its last name.
    /// Returns the mappings of the files that are gone.
    pub(crate) fn discard(&mut self, node: NodeId) -> Result<Vec<Extents>> {
        let mut freed = Vec::new();
        let mut doomed = vec![node];
        while let Some(next) = doomed.pop() {
            let found = self.node_mut(next)?;
            if found.names > 0 {
                continue;
            }
            match std::mem::replace(&mut found.content, Content::Gone) {
                Content::Directory(directory) => {
                    for (_, child) in directory.entries.iter() {
                        let found = self.node_mut(*child)?;
                        found.names = found.names.checked_sub(1).ok_or(NAMES_ARE_COUNTED)?;
                        // Only now: a directory may hold several names of one node.
                        if found.names == 0 {
                            doomed.push(*child);
                        }
                    }
                }
                Content::Regular { extents, .. } => freed.push(extents),
                Content::Inline(_) | Content::Symlink(_) | Content::Special(_) | Content::Gone => {}
            }
            self.times.remove(&next);
            self.extras.remove(&next);
            self.clamped.remove(&next);
            self.attributes.remove(&next);
        }
        Ok(freed)
    }

    /// Gives a regular file another content and returns the mappings of the one before.
    pub(crate) fn exchange_content(&mut self, node: NodeId, new: Content) -> Result<Extents> {
        let content = &mut self.node_mut(node)?.content;
        if !matches!(content, Content::Regular { .. } | Content::Inline(_)) {
            return Err(NOT_A_FILE);
        }
        match std::mem::replace(content, new) {
            Content::Regular { extents, .. } => Ok(extents),
            _ => Ok(Extents::None),
        }
    }

    /// The permissions, owners and times of a node.
    pub(crate) fn metadata(&self, node: NodeId) -> Result<Metadata> {
        let found = self.node(node)?;
        let times = self.other_times(node);
        Ok(Metadata {
            mode: found.mode,
            uid: found.uid,
            gid: found.gid,
            modified: found.modified,
            accessed: times.map(|times| times.accessed),
            changed: times.map(|times| times.changed),
            created: times.map(|times| times.created),
        })
    }

    /// Changes the permissions, owners and times of a node.
    pub(crate) fn set_metadata(&mut self, node: NodeId, metadata: &Metadata) -> Result<()> {
        let format = self.format;
        let modified = format.stored(metadata.modified);
        let mut is_clamped = modified != metadata.modified;
        let mut other = |time: Option<Timestamp>| {
            let clamped = time.map_or(modified, |time| format.stored(time));
            is_clamped |= time.is_some_and(|time| time != clamped);
            clamped
        };
        let times = OtherTimes {
            accessed: other(metadata.accessed),
            changed: other(metadata.changed),
            created: other(metadata.created),
        };
        let found = self.node_mut(node)?;
        found.mode = metadata.mode & 0o7777;
        found.uid = metadata.uid;
        found.gid = metadata.gid;
        found.modified = modified;
        let same = OtherTimes { accessed: modified, changed: modified, created: modified };
        if times == same {
            self.times.remove(&node);
        } else {
            self.times.insert(node, times);
        }
        if is_clamped {
            self.clamped.insert(node);
        } else {
            self.clamped.remove(&node);
        }
        Ok(())
    }

    /// The extended attributes of a node for change.
    pub(crate) fn attributes_mut(&mut self, node: NodeId) -> Result<&mut Attributes> {
        self.node(node)?;
        Ok(self.attributes.entry(node).or_default())
    }

    /// Takes all extended attributes away.
    pub(crate) fn clear_attributes(&mut self, node: NodeId) -> Result<()> {
        self.node(node)?;
        self.attributes.remove(&node);
        Ok(())
    }

    /// Puts a node at its number, which is the next.
    fn push(&mut self, node: NodeId, content: Content, metadata: &Metadata) -> Result<()> {
        let modified = metadata.modified;
        self.nodes.push(Node { content, names: 0, mode: 0, uid: 0, gid: 0, modified });
        self.set_metadata(node, metadata)
    }
}

impl Node {
    /// What the node is.
    pub(crate) fn kind(&self) -> FileKind {
        match &self.content {
            Content::Directory(_) => FileKind::Directory,
            Content::Regular { .. } | Content::Inline(_) | Content::Gone => FileKind::Regular,
            Content::Symlink(_) => FileKind::Symlink,
            Content::Special(Special::CharacterDevice { .. }) => FileKind::CharacterDevice,
            Content::Special(Special::BlockDevice { .. }) => FileKind::BlockDevice,
            Content::Special(Special::Fifo) => FileKind::Fifo,
            Content::Special(Special::Socket) => FileKind::Socket,
        }
    }
}

/// A file without content.
pub(crate) const EMPTY: Content = Content::Regular { size: 0, extents: Extents::None };

/// A directory without entries.
pub(crate) fn empty_directory(parent: NodeId) -> Content {
    Content::Directory(Box::new(Directory { parent, subdirectories: 0, entries: Names::new() }))
}

const NAMES_ARE_COUNTED: Error = internal("every name of a node is counted");
const NOT_A_DIRECTORY: Error =
    Error::WrongKind { operation: "use the node as a directory", needs: "a directory" };
const NOT_ONE_NAME: Error =
    Error::WrongKind { operation: "make a hard link", needs: "anything but a directory" };
const NOT_A_FILE: Error =
    Error::WrongKind { operation: "give the node content", needs: "a regular file" };
