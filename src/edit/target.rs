//! Layers onto a finished filesystem.

use std::borrow::Cow;

use ext4_writer::edit::{Device, EditError, Editor};
use ext4_writer::reader::ReadError;
use ext4_writer::{Error as Refusal, FileContent, FileFlags, FileKind, Metadata, Special};

use super::failure::failed;
use crate::error::Error;
use crate::flatten::{NamedNode, ReadableTarget, Target};
use crate::layer::Xattr;

type Result<T> = std::result::Result<T, EditError>;

impl<D: Device> Target for Editor<D> {
    type Node = u32;
    type Error = EditError;

    fn is_taken(error: &EditError) -> bool {
        matches!(error, EditError::Change(Refusal::Exists { .. }))
    }

    fn explain(message: String, error: EditError) -> Error {
        failed(message, error)
    }

    fn index(node: u32) -> usize {
        usize::try_from(node).unwrap_or(usize::MAX)
    }

    fn root(&self) -> u32 {
        self.root()
    }

    fn lookup(&self, directory: u32, name: &[u8]) -> Result<Option<u32>> {
        match self.lookup(directory, name) {
            Err(EditError::Read(ReadError::WrongKind { .. })) => Ok(None),
            found => found,
        }
    }

    fn names(&self, directory: u32) -> Result<impl Iterator<Item = NamedNode<'_, u32>>> {
        let entries = self.names(directory)?.into_iter();
        Ok(entries.map(|entry| (Cow::Owned(entry.name), entry.inode)))
    }

    fn parent(&self, directory: u32) -> Result<u32> {
        self.parent(directory)
    }

    fn kind(&self, node: u32) -> Result<FileKind> {
        let inode = self.inode(node)?;
        let unknown = EditError::Read(ReadError::WrongKind { inode: node, needs: "a known kind" });
        inode.kind().ok_or(unknown)
    }

    fn metadata(&self, node: u32) -> Result<Metadata> {
        let inode = self.inode(node)?;
        Ok(Metadata {
            mode: inode.mode(),
            uid: inode.uid(),
            gid: inode.gid(),
            modified: inode.modified(),
            accessed: Some(inode.accessed()),
            changed: Some(inode.changed()),
            created: inode.created(),
        })
    }

    fn symlink_target(&self, node: u32) -> Result<Cow<'_, [u8]>> {
        let target = self.symlink_target(node)?.map(Cow::Owned);
        let (operation, needs) = ("read its target", "a symbolic link");
        target.ok_or(EditError::Change(Refusal::WrongKind { operation, needs }))
    }

    fn link_count(&self, node: u32) -> Result<u32> {
        self.link_count(node)
    }

    fn xattrs(&self, node: u32) -> Result<Vec<Xattr>> {
        let found = self.xattrs(node)?.into_iter();
        Ok(found.map(|found| Xattr { name: found.name, value: found.value }).collect())
    }

    fn add_directory(&mut self, directory: u32, name: &[u8], metadata: &Metadata) -> Result<u32> {
        self.add_directory(directory, name, metadata)
    }

    fn add_file(
        &mut self,
        directory: u32,
        name: &[u8],
        metadata: &Metadata,
        content: FileContent<'_>,
    ) -> Result<u32> {
        self.add_file(directory, name, metadata, content)
    }

    fn add_symlink(
        &mut self,
        directory: u32,
        name: &[u8],
        metadata: &Metadata,
        target: &[u8],
    ) -> Result<u32> {
        self.add_symlink(directory, name, metadata, target)
    }

    fn add_special(
        &mut self,
        directory: u32,
        name: &[u8],
        metadata: &Metadata,
        special: Special,
    ) -> Result<u32> {
        self.add_special(directory, name, metadata, special)
    }

    fn add_link(&mut self, directory: u32, name: &[u8], node: u32) -> Result<()> {
        self.add_link(directory, name, node)
    }

    fn set_metadata(&mut self, node: u32, metadata: &Metadata) -> Result<()> {
        self.set_metadata(node, metadata)
    }

    fn set_xattr(&mut self, node: u32, name: &[u8], value: &[u8]) -> Result<()> {
        self.set_xattr(node, name, value)
    }

    fn set_flags(&mut self, node: u32, flags: FileFlags) -> Result<()> {
        self.set_flags(node, flags)
    }

    fn set_project(&mut self, node: u32, project: u32) -> Result<()> {
        self.set_project(node, project)
    }

    fn clear_xattrs(&mut self, node: u32) -> Result<()> {
        self.clear_xattrs(node)
    }

    fn detach(&mut self, directory: u32, name: &[u8]) -> Result<u32> {
        self.detach(directory, name)
    }

    fn discard(&mut self, node: u32) -> Result<()> {
        self.discard(node)
    }
}

impl<D: Device> ReadableTarget for Editor<D> {
    fn file_size(&self, node: u32) -> Result<u64> {
        let inode = self.inode(node)?;
        let (operation, needs) = ("read its size", "a regular file");
        let is_file = inode.is(FileKind::Regular);
        let wrong = EditError::Change(Refusal::WrongKind { operation, needs });
        if is_file { Ok(inode.size()) } else { Err(wrong) }
    }

    fn read(&mut self, node: u32, buffer: &mut [u8]) -> Result<usize> {
        Editor::read(self, node, buffer)
    }
}
