//! Names and what they lead to: added, linked, moved, removed.

use std::collections::BTreeSet;

use crate::edit::device::Device;
use crate::edit::directory::Directory;
use crate::edit::error::{EditError, EditResult, refused};
use crate::edit::filesystem::Filesystem;
use crate::edit::inode::Inode;
use crate::edit::map::FileMap;
use crate::error::{Error, internal};
use crate::format::limits::{LOST_AND_FOUND, MAX_LINKS, check_name};
use crate::metadata::{FileContent, FileKind, Metadata};
use crate::reader::directory::ReadDirectory;
use crate::reader::{DirectoryEntry, ROOT_INODE, ReadError};
use crate::record::feature::Feature;
use crate::record::inode::Flags;

/// `i_flags`: the content has a hash beside it that no other content has.
const VERITY: u32 = 0x0010_0000;

impl<D: Device> Filesystem<D> {
    /// The inode of a name, if the directory has it.
    pub(crate) fn look_up(&self, number: u32, name: &[u8]) -> EditResult<Option<u32>> {
        let found = self.find_inode(number)?;
        if !found.is(FileKind::Directory) {
            return Err(ReadError::WrongKind { inode: number, needs: "a directory" }.into());
        }
        let is_listed = found.has(Flags::INLINE_DATA)
            || found.has(Flags::CASEFOLD)
            || found.has(Flags::ENCRYPT)
            || found.has(Flags::INDEX) && !self.has(Feature::DIR_INDEX);
        if is_listed {
            let device = self.blocks();
            for entry in ReadDirectory::new(&device, &self.layout, &found)? {
                let entry = entry?;
                if entry.name == name {
                    return Ok(Some(entry.inode));
                }
            }
            return Ok(None);
        }
        let directory = Directory { inode: Inode::of(&found), map: self.file_map(&found)? };
        Ok(self.find_entry(&directory, name)?.map(|entry| entry.target.inode))
    }

    /// All names of a directory.
    pub(crate) fn names(&self, number: u32) -> EditResult<Vec<DirectoryEntry>> {
        let found = self.find_inode(number)?;
        let device = self.blocks();
        let names: Result<_, _> = ReadDirectory::new(&device, &self.layout, &found)?.collect();
        Ok(names?)
    }

    /// Adds a node that `fill` gives its content.
    pub(crate) fn add(
        &mut self,
        (parent, name): (u32, &[u8]),
        kind: FileKind,
        metadata: &Metadata,
        fill: impl FnOnce(&mut Self, &mut Inode) -> EditResult<()>,
    ) -> EditResult<u32> {
        let mut directory = self.directory(parent)?;
        let mut inode = self.make_inode(self.group_of_inode(parent), kind, metadata)?;
        fill(self, &mut inode)?;
        self.store(&inode)?;
        let target = self.target_of(inode.number, kind);
        self.insert_entry(&mut directory, name, target)?;
        self.close(directory)?;
        Ok(inode.number)
    }

    /// Adds an empty directory.
    pub(crate) fn add_directory(
        &mut self,
        (parent, name): (u32, &[u8]),
        metadata: &Metadata,
    ) -> EditResult<u32> {
        let kind = FileKind::Directory;
        let number = self.add((parent, name), kind, metadata, |filesystem, inode| {
            inode.set_links(2);
            inode.set_flag(Flags::EXTENTS, filesystem.has_extents());
            let mut directory = Directory { inode: inode.clone(), map: FileMap::default() };
            // A map without extents is one, too.
            filesystem.set_map(&mut directory.inode, &mut directory.map, 0)?;
            let block = filesystem.append_block(&mut directory)?;
            let bytes = filesystem.dot_block(inode.number, parent)?;
            filesystem.put_leaf(&directory, block, bytes)?;
            *inode = directory.inode;
            Ok(())
        })?;
        let mut directory = self.directory(parent)?;
        self.count_subdirectory(&mut directory)?;
        self.store(&directory.inode)?;
        Ok(number)
    }

    /// Counts one more `..` that names a directory.
    ///
    /// Source: kernel, `fs/ext4/namei.c`, `ext4_inc_count`, `EXT4_DIR_LINK_MAX`.
    fn count_subdirectory(&self, directory: &mut Directory) -> EditResult<()> {
        let links = directory.inode.links();
        if links == 1 {
            return Ok(());
        }
        if u32::from(links) < MAX_LINKS {
            directory.inode.set_links(links + 1);
            return Ok(());
        }
        if directory.is_indexed() && self.has(Feature::DIR_NLINK) {
            directory.inode.set_links(1);
            return Ok(());
        }
        Err(Error::TooManySubdirectories { subdirectories: MAX_LINKS - 2 }.into())
    }

    /// Counts one less.
    fn uncount_subdirectory(directory: &mut Directory) {
        let links = directory.inode.links();
        if links > 2 {
            directory.inode.set_links(links - 1);
        }
    }

    /// Stores a directory of which an entry changed.
    fn close(&mut self, mut directory: Directory) -> EditResult<()> {
        let time = self.stored(self.time);
        directory.inode.set_modified(time);
        directory.inode.set_changed(time);
        self.store(&directory.inode)
    }

    /// Gives a node that is no directory another name; one that was detached gets a name again.
    pub(crate) fn add_link(&mut self, parent: u32, name: &[u8], node: u32) -> EditResult<()> {
        let mut inode = self.inode(node)?;
        let kind = self.find_inode(node)?.kind();
        let kind = kind.filter(|kind| *kind != FileKind::Directory);
        let kind = kind.ok_or(Error::WrongKind {
            operation: "make a hard link",
            needs: "anything but a directory",
        })?;
        if !self.detached.remove(&node) {
            self.add_name(&mut inode)?;
        }
        let mut directory = self.directory(parent)?;
        self.insert_entry(&mut directory, name, self.target_of(node, kind))?;
        self.close(directory)
    }

    /// Removes a name, and what it named if that was its last; all that is below a directory, too.
    pub(crate) fn remove(&mut self, parent: u32, name: &[u8]) -> EditResult<()> {
        let node = self.detach(parent, name)?;
        self.discard(node)
    }

    /// Removes a name. What it named stays, and what is below a directory.
    pub(crate) fn detach(&mut self, parent: u32, name: &[u8]) -> EditResult<u32> {
        let mut directory = self.directory(parent)?;
        let found = self.find_entry(&directory, name)?;
        let found = found.ok_or_else(|| Error::NotFound { name: name.to_vec() })?;
        let number = found.target.inode;
        let mut inode = self.inode(number)?;
        self.delete_entry(&directory, found.block, name)?;
        if inode.is_directory() {
            Self::uncount_subdirectory(&mut directory);
        }
        self.close(directory)?;
        if inode.is_directory() || inode.links() == 1 {
            // It counts its last name until it is discarded: to the reader it is in use.
            self.detached.insert(number);
            return Ok(number);
        }
        inode.set_links(inode.links() - 1);
        inode.set_changed(self.stored(self.time));
        self.store(&inode)?;
        Ok(number)
    }

    /// Removes a node that was detached, if it has got no name since; all that is below a directory,
    /// too.
    pub(crate) fn discard(&mut self, number: u32) -> EditResult<()> {
        if !self.detached.remove(&number) {
            return Ok(());
        }
        let inode = self.inode(number)?;
        if inode.is_directory() { self.remove_directories(number) } else { self.free_inode(&inode) }
    }

    /// Removes a directory and everything below.
    fn remove_directories(&mut self, number: u32) -> EditResult<()> {
        let mut pending = vec![number];
        let mut met = BTreeSet::new();
        while let Some(number) = pending.pop() {
            let inode = self.inode(number)?;
            if !met.insert(number) || number == ROOT_INODE {
                let detail = "the directory has two names";
                return Err(ReadError::corrupt(inode.part(), detail).into());
            }
            for entry in self.names(number)? {
                if self.find_inode(entry.inode)?.is(FileKind::Directory) {
                    pending.push(entry.inode);
                } else {
                    self.drop_link(entry.inode)?;
                }
            }
            self.free_inode(&inode)?;
        }
        Ok(())
    }

    /// Gives what a name names another one, maybe in another directory.
    pub(crate) fn rename(
        &mut self,
        (from, old): (u32, &[u8]),
        (to, new): (u32, &[u8]),
    ) -> EditResult<()> {
        let mut source = self.directory(from)?;
        let found = self.find_entry(&source, old)?;
        let found = found.ok_or_else(|| Error::NotFound { name: old.to_vec() })?;
        let number = found.target.inode;
        let mut inode = self.inode(number)?;
        let moves = inode.is_directory() && from != to;
        if from == to {
            self.insert_entry(&mut source, new, found.target)?;
        } else {
            let mut target = self.directory(to)?;
            self.insert_entry(&mut target, new, found.target)?;
            if moves {
                self.count_subdirectory(&mut target)?;
            }
            self.close(target)?;
        }
        // The new name may have moved the old one.
        let found = self.find_entry(&source, old)?.ok_or(internal("the old name is there"))?;
        self.delete_entry(&source, found.block, old)?;
        if moves {
            Self::uncount_subdirectory(&mut source);
        }
        self.close(source)?;
        if moves {
            let directory = self.directory(number)?;
            self.set_parent(&directory, to)?;
            inode = directory.inode;
        }
        inode.set_changed(self.stored(self.time));
        self.store(&inode)
    }

    /// Refuses to move a directory below itself.
    pub(crate) fn check_move(&self, moved: u32, to: u32) -> EditResult<()> {
        let mut at = to;
        let mut met = BTreeSet::new();
        while at != ROOT_INODE {
            if at == moved {
                let needs = "a directory outside of what is moved";
                return Err(Error::WrongKind { operation: "move a directory", needs }.into());
            }
            if !met.insert(at) {
                let detail = "the directories above it go in circles";
                return Err(ReadError::corrupt(crate::reader::Part::Inode(at), detail).into());
            }
            at = self.parent(at)?;
        }
        Ok(())
    }

    /// The directory above a directory.
    pub(crate) fn parent(&self, number: u32) -> EditResult<u32> {
        let found = self.find_inode(number)?;
        if found.has(Flags::INLINE_DATA) {
            let first = found.record.block.first_chunk().copied();
            return Ok(first.map(u32::from_le_bytes).ok_or(internal("i_block has 60 bytes"))?);
        }
        let directory = Directory { inode: Inode::of(&found), map: self.file_map(&found)? };
        let bytes = self.read_directory_block(&directory, 0)?;
        let slot = bytes.get(12..).and_then(<[u8]>::first_chunk).copied();
        let number = u32::from_le_bytes(slot.ok_or(internal("a block has 1024 bytes"))?);
        let is_one = (1..=self.layout.inodes).contains(&number);
        let wrong = || found.corrupt(format!("the directory above is to be inode {number}"));
        if is_one { Ok(number) } else { Err(wrong().into()) }
    }

    /// Gives a regular file another content.
    pub(crate) fn set_content(&mut self, number: u32, content: FileContent<'_>) -> EditResult<()> {
        let found = self.find_inode(number)?;
        let mut inode = Inode::of(&found);
        let flags = found.flags();
        if flags & VERITY != 0 {
            return Err(refused(format!("inode {number}"), "fs-verity seals its content"));
        }
        if found.has(Flags::ENCRYPT) {
            return Err(refused(format!("inode {number}"), "its content is encrypted"));
        }
        if !found.is(FileKind::Regular) || found.has(Flags::EA_INODE) {
            let operation = "give the node content";
            return Err(Error::WrongKind { operation, needs: "a regular file" }.into());
        }
        if found.has(Flags::INLINE_DATA) {
            self.empty_inline(&mut inode, &found)?;
        } else {
            let freed = self.free_content(&found)?;
            let freed = i64::try_from(freed).map_err(|_| internal("blocks are fewer than 2^63"))?;
            self.count_blocks(&mut inode, -freed)?;
        }
        self.write_content(&mut inode, content)?;
        let time = self.stored(self.time);
        inode.set_modified(time);
        inode.set_changed(time);
        self.store(&inode)
    }

    /// Refuses names that cannot be added.
    pub(crate) fn check_new(&self, parent: u32, name: &[u8]) -> EditResult<()> {
        check_name(name)?;
        match self.look_up(parent, name)? {
            None => Ok(()),
            Some(_) => Err(Error::Exists { name: name.to_vec() }.into()),
        }
    }

    /// Refuses to take a name away that the filesystem needs; what the name names else.
    pub(crate) fn check_old(
        &self,
        (parent, name): (u32, &[u8]),
        operation: &'static str,
    ) -> EditResult<u32> {
        if parent == ROOT_INODE && name == LOST_AND_FOUND {
            return Err(Error::Protected { name: name.to_vec(), operation }.into());
        }
        let found = self.look_up(parent, name)?;
        let number = found.ok_or_else(|| Error::NotFound { name: name.to_vec() })?;
        if number < self.first_inode() {
            let detail = "a name leads to it, and it is the filesystem's own";
            let part = crate::reader::Part::Inode(number);
            return Err(EditError::Read(ReadError::corrupt(part, detail)));
        }
        Ok(number)
    }
}
