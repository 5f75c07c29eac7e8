//! What layers are applied to: a tree of files that names and nodes can be put into and taken from.

use std::borrow::Cow;
use std::fmt::Debug;

use ext4_writer::{FileContent, FileFlags, FileKind, Metadata, Special};

use crate::error::Error;
use crate::layer::Xattr;

/// An entry of a directory: its name, and what that names.
pub type NamedNode<'a, N> = (Cow<'a, [u8]>, N);

/// A filesystem that a [`Flattener`](super::Flattener) applies layers to: one being built, or a
/// finished one being edited.
///
/// A node is a file of any kind, with as many names as it has. What is [detached](Self::detach)
/// stays whole, with all below it, until it is [discarded](Self::discard).
pub trait Target {
    /// Names a node as long as it exists; another may be called the same afterwards.
    type Node: Copy + Ord + Debug;
    /// Why something was not done.
    type Error;

    /// Whether the error says that the name is taken, before anything was done or read.
    fn is_taken(error: &Self::Error) -> bool;

    /// The program's error: `message` says what was being done, `error` why that failed.
    fn explain(message: String, error: Self::Error) -> Error;

    /// A number of the node that no other node has; small, as tables are indexed by it.
    fn index(node: Self::Node) -> usize;

    /// The root directory.
    fn root(&self) -> Self::Node;

    /// The entry of this name, if there is one. A node that is no directory has none.
    fn lookup(&self, directory: Self::Node, name: &[u8])
    -> Result<Option<Self::Node>, Self::Error>;

    /// The entries of a directory without `.` and `..`, in an order that follows from the tree.
    fn names(
        &self,
        directory: Self::Node,
    ) -> Result<impl Iterator<Item = NamedNode<'_, Self::Node>>, Self::Error>;

    /// The directory that holds this directory, or held it until it was detached; the root is its
    /// own.
    fn parent(&self, directory: Self::Node) -> Result<Self::Node, Self::Error>;

    /// What a node is.
    fn kind(&self, node: Self::Node) -> Result<FileKind, Self::Error>;

    /// The permissions, owners and times of a node.
    fn metadata(&self, node: Self::Node) -> Result<Metadata, Self::Error>;

    /// The target of a symbolic link.
    fn symlink_target(&self, node: Self::Node) -> Result<Cow<'_, [u8]>, Self::Error>;

    /// How many names a node has; 0 for what was detached.
    fn link_count(&self, node: Self::Node) -> Result<u32, Self::Error>;

    /// The extended attributes of a node: full names, and values as `getxattr` shows them.
    fn xattrs(&self, node: Self::Node) -> Result<Vec<Xattr>, Self::Error>;

    /// Adds an empty directory.
    fn add_directory(
        &mut self,
        directory: Self::Node,
        name: &[u8],
        metadata: &Metadata,
    ) -> Result<Self::Node, Self::Error>;

    /// Adds a regular file.
    fn add_file(
        &mut self,
        directory: Self::Node,
        name: &[u8],
        metadata: &Metadata,
        content: FileContent<'_>,
    ) -> Result<Self::Node, Self::Error>;

    /// Adds a symbolic link.
    fn add_symlink(
        &mut self,
        directory: Self::Node,
        name: &[u8],
        metadata: &Metadata,
        target: &[u8],
    ) -> Result<Self::Node, Self::Error>;

    /// Adds a device, pipe or socket.
    fn add_special(
        &mut self,
        directory: Self::Node,
        name: &[u8],
        metadata: &Metadata,
        special: Special,
    ) -> Result<Self::Node, Self::Error>;

    /// Gives a node that is no directory another name; one that was detached gets a name again.
    fn add_link(
        &mut self,
        directory: Self::Node,
        name: &[u8],
        node: Self::Node,
    ) -> Result<(), Self::Error>;

    /// Changes the permissions, owners and times of a node.
    fn set_metadata(&mut self, node: Self::Node, metadata: &Metadata) -> Result<(), Self::Error>;

    /// Sets an extended attribute by its full name.
    fn set_xattr(&mut self, node: Self::Node, name: &[u8], value: &[u8])
    -> Result<(), Self::Error>;

    /// Sets the flags of a node that `chattr` would set.
    fn set_flags(&mut self, node: Self::Node, flags: FileFlags) -> Result<(), Self::Error>;

    /// Sets the project of a node.
    fn set_project(&mut self, node: Self::Node, project: u32) -> Result<(), Self::Error>;

    /// Takes all extended attributes of a node away.
    fn clear_xattrs(&mut self, node: Self::Node) -> Result<(), Self::Error>;

    /// Takes a name away; the node stays, and what is below it.
    fn detach(&mut self, directory: Self::Node, name: &[u8]) -> Result<Self::Node, Self::Error>;

    /// Removes a node that has no name, and below a directory all that thereby loses its last
    /// name. A node with a name is left alone.
    fn discard(&mut self, node: Self::Node) -> Result<(), Self::Error>;
}

/// A target whose contents can be read.
pub trait ReadableTarget: Target {
    /// The length of a regular file in bytes.
    fn file_size(&self, node: Self::Node) -> Result<u64, Self::Error>;

    /// Fills `buffer` from the start of a regular file; returns how many bytes that were.
    fn read(&mut self, node: Self::Node, buffer: &mut [u8]) -> Result<usize, Self::Error>;
}
