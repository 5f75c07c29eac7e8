//! Layers onto a filesystem that is being built.

use std::borrow::Cow;

use ext4_writer::reader::Source;
use ext4_writer::{Builder, FileContent, FileFlags, FileKind, Metadata, NodeId, Sink, Special};

use super::target::{NamedNode, ReadableTarget, Target};
use crate::error::Error;
use crate::layer::Xattr;

type Result<T> = ext4_writer::Result<T>;

impl<S: Sink> Target for Builder<S> {
    type Node = NodeId;
    type Error = ext4_writer::Error;

    fn is_taken(error: &Self::Error) -> bool {
        matches!(error, ext4_writer::Error::Exists { .. })
    }

    fn explain(message: String, error: Self::Error) -> Error {
        explain(message, error)
    }

    fn index(node: NodeId) -> usize {
        node.index()
    }

    fn root(&self) -> NodeId {
        self.root()
    }

    fn lookup(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        Ok(self.lookup(directory, name))
    }

    fn names(&self, directory: NodeId) -> Result<impl Iterator<Item = NamedNode<'_, NodeId>>> {
        Ok(self.names(directory)?.map(|(name, node)| (Cow::Borrowed(name), node)))
    }

    fn parent(&self, directory: NodeId) -> Result<NodeId> {
        self.parent(directory)
    }

    fn kind(&self, node: NodeId) -> Result<FileKind> {
        self.kind(node)
    }

    fn metadata(&self, node: NodeId) -> Result<Metadata> {
        self.metadata(node)
    }

    fn symlink_target(&self, node: NodeId) -> Result<Cow<'_, [u8]>> {
        let target = self.symlink_target(node).map(Cow::Borrowed);
        target.ok_or(Self::Error::WrongKind { operation: "read its target", needs: "a symlink" })
    }

    fn link_count(&self, node: NodeId) -> Result<u32> {
        self.link_count(node)
    }

    fn xattrs(&self, node: NodeId) -> Result<Vec<Xattr>> {
        let owned = |(name, value): (_, Cow<'_, [u8]>)| Xattr { name, value: value.into_owned() };
        Ok(self.xattrs(node).map(owned).collect())
    }

    fn add_directory(
        &mut self,
        directory: NodeId,
        name: &[u8],
        metadata: &Metadata,
    ) -> Result<NodeId> {
        self.add_directory(directory, name, metadata)
    }

    fn add_file(
        &mut self,
        directory: NodeId,
        name: &[u8],
        metadata: &Metadata,
        content: FileContent<'_>,
    ) -> Result<NodeId> {
        self.add_file(directory, name, metadata, content)
    }

    fn add_symlink(
        &mut self,
        directory: NodeId,
        name: &[u8],
        metadata: &Metadata,
        target: &[u8],
    ) -> Result<NodeId> {
        self.add_symlink(directory, name, metadata, target)
    }

    fn add_special(
        &mut self,
        directory: NodeId,
        name: &[u8],
        metadata: &Metadata,
        special: Special,
    ) -> Result<NodeId> {
        self.add_special(directory, name, metadata, special)
    }

    fn add_link(&mut self, directory: NodeId, name: &[u8], node: NodeId) -> Result<()> {
        self.add_link(directory, name, node)
    }

    fn set_metadata(&mut self, node: NodeId, metadata: &Metadata) -> Result<()> {
        self.set_metadata(node, metadata)
    }

    fn set_xattr(&mut self, node: NodeId, name: &[u8], value: &[u8]) -> Result<()> {
        self.set_xattr(node, name, value)
    }

    fn set_flags(&mut self, node: NodeId, flags: FileFlags) -> Result<()> {
        self.set_flags(node, flags)
    }

    fn set_project(&mut self, node: NodeId, project: u32) -> Result<()> {
        self.set_project(node, project)
    }

    fn clear_xattrs(&mut self, node: NodeId) -> Result<()> {
        self.clear_xattrs(node)
    }

    fn detach(&mut self, directory: NodeId, name: &[u8]) -> Result<NodeId> {
        self.detach(directory, name)
    }

    fn discard(&mut self, node: NodeId) -> Result<()> {
        self.discard(node)
    }
}

impl<S: Sink + Source> ReadableTarget for Builder<S> {
    fn file_size(&self, node: NodeId) -> Result<u64> {
        let size = self.file_size(node);
        size.ok_or(Self::Error::WrongKind { operation: "read its size", needs: "a regular file" })
    }

    fn read(&mut self, node: NodeId, buffer: &mut [u8]) -> Result<usize> {
        self.read_at(node, 0, buffer)
    }
}

/// What a refusal of the filesystem means for what was being applied.
pub(crate) fn explain(message: String, error: ext4_writer::Error) -> Error {
    use ext4_writer::Error as E;
    match error {
        E::ReadContent { source, .. } => {
            Error::from_io(source, |source| Error::io(message).with_source(source))
        }
        E::ImageFull { .. } => {
            Error::cannot_create(message).with_source(error).with_hint("raise --size")
        }
        E::TooFewInodes { .. } => {
            Error::cannot_create(message).with_source(error).with_hint("raise --inodes")
        }
        E::WriteImage { ref source, .. } => {
            Error::of_write(message, source.kind()).with_source(error)
        }
        E::InvalidName { .. }
        | E::Protected { .. }
        | E::TooManyLinks { .. }
        | E::InvalidTarget { .. }
        | E::InvalidDevice { .. }
        | E::FileTooLarge { .. }
        | E::InvalidSegments { .. }
        | E::ContentShort { .. }
        | E::InvalidAttribute { .. }
        | E::AttributesTooLarge { .. }
        | E::DirectoryTooLarge { .. } => Error::bad_data(message).with_source(error),
        _ => Error::internal(message).with_source(error),
    }
}
