//! The public way in: contents first, metadata at finish.

use std::borrow::Cow;

use crate::alignment::Alignment;
use crate::alloc::{Allocator, Position};
use crate::content;
use crate::emit::emit;
use crate::error::{Error, Result, internal};
use crate::format::Format;
use crate::format::features::Features;
use crate::format::group_layout::GroupLayout;
use crate::format::limits::{LOST_AND_FOUND, check_device, check_target};
use crate::format::units::{self, BlockCount, BlockIndex, at_most};
use crate::geometry::{self, Geometry, InodeDemand};
use crate::metadata::{FileContent, FileFlags, FileKind, Metadata, Segment, Special};
use crate::options::{Options, Size};
use crate::plan::split::Split;
use crate::plan::valid_sizes::check_fixed;
use crate::plan::{Allocated, Plan};
use crate::readback;
use crate::reader::Source;
use crate::sink::Sink;
use crate::tree::{Content, EMPTY, NodeId, Tree, empty_directory};
use crate::write_buffer::WriteBuffer;

/// A filesystem being made.
///
/// The content of a file goes to its final place in the sink while it is read; nothing else is
/// written before [`finish`](Builder::finish). Names are bytes. A new filesystem has a root
/// directory and in it `lost+found`.
///
/// After an error the builder is as it was before the call, unless the sink failed: then every
/// later call fails with [`Error::Poisoned`].
#[derive(Debug)]
pub struct Builder<S> {
    tree: Tree,
    allocated: Allocated,
    write_buffer: WriteBuffer<S>,
    options: Options,
    format: Format,
    /// Where files begin anew, if placement is to be stable.
    alignment: Option<Alignment>,
}

/// What a finished filesystem holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The length of the image, in bytes.
    pub size: u64,
    /// The bytes of a block.
    pub block_size: u64,
    /// The blocks of the filesystem.
    pub blocks: u64,
    /// The blocks that are free, with those for root and those that the kernel keeps for itself.
    pub free_blocks: u64,
    /// The bytes that an ordinary user can write: less those for root and the blocks that the
    /// kernel keeps for delayed allocation (kernel: `fs/ext4/super.c`,
    /// `ext4_calculate_resv_clusters`).
    pub available: u64,
    /// The inodes of the filesystem.
    pub inodes: u32,
    /// The inodes that are free.
    pub free_inodes: u32,
    /// The bytes of the journal; 0 without one.
    pub journal: u64,
    /// The bytes that the sink was given: all others are holes, or, on a device that held
    /// something else, zeroed or as they were.
    pub written: u64,
    /// The inodes of which a time lay beyond what ext4 stores and was moved to its limit.
    pub clamped_times: u64,
    /// The filesystem's UUID.
    pub uuid: [u8; 16],
    /// The features that it has: those asked for, less those of which its size leaves nothing.
    pub features: Features,
}

impl<S: Sink> Builder<S> {
    /// Starts a filesystem on an empty sink, or on one that says that it is
    /// [not](crate::InitialContents::Unknown).
    ///
    /// # Errors
    /// [`Error::InvalidOption`] when an option cannot be met, [`Error::FeatureConflict`] and
    /// [`Error::RefusedFeature`] when features cannot be written together or left out,
    /// [`Error::DeviceTooSmall`] when the sink has no room for a fixed size,
    /// [`Error::WriteImage`] when it cannot be prepared.
    pub fn create(sink: S, options: Options) -> Result<Self> {
        let format = Format::new(&options)?;
        geometry::check(&options, &format)?;
        let layout = geometry::layout(&options, &format)?;
        let allocated = match options.size {
            Size::Fixed(bytes) => {
                check_fixed(bytes, &options, &format)?;
                let blocks = format.block.whole_blocks(bytes);
                let own = least_metadata(&options, &format, &layout, blocks)?;
                let allocator = Allocator::new(layout, Some(BlockIndex::new(blocks.get())));
                let mut allocated = Allocated::new(&options, &format, allocator)?;
                allocated.allocator.reserve(own);
                allocated
            }
            Size::Fit { .. } => Allocated::new(&options, &format, Allocator::new(layout, None))?,
        };
        let tree = Tree::new(options.epoch, &format)?;
        let write_buffer = prepare(sink, &options, &format)?;
        let alignment = options.stable_placement.then(|| Alignment::new(format.block));
        Ok(Self { tree, allocated, write_buffer, options, format, alignment })
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> NodeId {
        Tree::ROOT
    }

    /// The entry of this name, if there is one.
    #[must_use]
    pub fn lookup(&self, directory: NodeId, name: impl AsRef<[u8]>) -> Option<NodeId> {
        let directory = self.tree.directory(directory).ok()?;
        directory.entries.get(name.as_ref()).copied()
    }

    /// The entries of a directory in the order of their bytes, without `.` and `..`.
    ///
    /// # Errors
    /// When the node is no directory.
    pub fn names(&self, directory: NodeId) -> Result<impl Iterator<Item = (&[u8], NodeId)>> {
        let entries = &self.tree.directory(directory)?.entries;
        Ok(entries.iter().map(|(name, node)| (name, *node)))
    }

    /// The directory that holds this directory; the root is its own.
    ///
    /// # Errors
    /// When the node is no directory.
    pub fn parent(&self, directory: NodeId) -> Result<NodeId> {
        Ok(self.tree.directory(directory)?.parent)
    }

    /// What a node is.
    ///
    /// # Errors
    /// When the node was removed.
    pub fn kind(&self, node: NodeId) -> Result<FileKind> {
        Ok(self.tree.node(node)?.kind())
    }

    /// The permissions, owners and times of a node.
    ///
    /// # Errors
    /// When the node was removed.
    pub fn metadata(&self, node: NodeId) -> Result<Metadata> {
        self.tree.metadata(node)
    }

    /// The target of a symbolic link; `None` for anything else.
    #[must_use]
    pub fn symlink_target(&self, node: NodeId) -> Option<&[u8]> {
        match &self.tree.node(node).ok()?.content {
            Content::Symlink(target) => Some(target),
            _ => None,
        }
    }

    /// The length of a regular file in bytes; `None` for anything else.
    #[must_use]
    pub fn file_size(&self, node: NodeId) -> Option<u64> {
        match &self.tree.node(node).ok()?.content {
            Content::Regular { size, .. } => Some(*size),
            Content::Inline(bytes) => Some(crate::format::units::widen(bytes.len())),
            _ => None,
        }
    }

    /// What kind of special file a node is; `None` for anything else.
    #[must_use]
    pub fn special(&self, node: NodeId) -> Option<Special> {
        match &self.tree.node(node).ok()?.content {
            Content::Special(special) => Some(*special),
            _ => None,
        }
    }

    /// How many names a node has; 1 for a directory, 0 for what was detached.
    ///
    /// # Errors
    /// When the node was removed.
    pub fn link_count(&self, node: NodeId) -> Result<u32> {
        Ok(self.tree.node(node)?.names)
    }

    /// The extended attributes of a node: full names, and values as `getxattr` shows them.
    pub fn xattrs(&self, node: NodeId) -> impl Iterator<Item = (Vec<u8>, Cow<'_, [u8]>)> {
        self.tree.attributes(node).into_iter().flat_map(crate::attributes::Attributes::named)
    }

    /// Adds a directory. The root's `lost+found` exists already: adding it sets its metadata.
    ///
    /// # Errors
    /// When the name is bad or taken.
    pub fn add_directory(
        &mut self,
        directory: NodeId,
        name: impl AsRef<[u8]>,
        metadata: &Metadata,
    ) -> Result<NodeId> {
        let name = name.as_ref();
        self.write_buffer.check_usable()?;
        if is_lost_and_found(directory, name) {
            self.tree.set_metadata(Tree::LOST, metadata)?;
            return Ok(Tree::LOST);
        }
        self.tree.add(directory, name, empty_directory(directory), metadata)
    }

    /// Adds a regular file.
    ///
    /// # Errors
    /// When the name is bad or taken, the reader fails or has fewer or more bytes than were
    /// declared, segments overlap or pass the end, the image is full or the sink fails.
    pub fn add_file(
        &mut self,
        directory: NodeId,
        name: impl AsRef<[u8]>,
        metadata: &Metadata,
        content: FileContent<'_>,
    ) -> Result<NodeId> {
        let name = name.as_ref();
        self.write_buffer.check_usable()?;
        // With its node before its content, the name is looked for once.
        let node = self.tree.add(directory, name, EMPTY, metadata)?;
        let (alignment, position) = (self.alignment, self.allocated.allocator.position());
        if let Some(unit) = self.alignment.as_mut().and_then(|alignment| alignment.at(name)) {
            self.allocated.allocator.align(unit);
        }
        match self.set_content(node, content) {
            Ok(()) => Ok(node),
            Err(error) => {
                self.tree.detach(directory, name)?;
                self.tree.discard(node)?;
                self.alignment = alignment;
                self.return_to(position)?;
                Err(error)
            }
        }
    }

    /// Adds a symbolic link. Its permission bits are kept, though nothing asks for them.
    ///
    /// # Errors
    /// When the name is bad or taken, or the target is empty, has a NUL, is longer than 4,095
    /// bytes, or does not fit into a block with a NUL behind it.
    pub fn add_symlink(
        &mut self,
        directory: NodeId,
        name: impl AsRef<[u8]>,
        metadata: &Metadata,
        target: impl AsRef<[u8]>,
    ) -> Result<NodeId> {
        let (name, target) = (name.as_ref(), target.as_ref());
        self.write_buffer.check_usable()?;
        check_target(target, self.format.block)?;
        self.tree.add(directory, name, Content::Symlink(target.into()), metadata)
    }

    /// Adds a device, pipe or socket.
    ///
    /// # Errors
    /// When the name is bad or taken, or the device's numbers are beyond 4095:1048575.
    pub fn add_special(
        &mut self,
        directory: NodeId,
        name: impl AsRef<[u8]>,
        metadata: &Metadata,
        special: Special,
    ) -> Result<NodeId> {
        let name = name.as_ref();
        self.write_buffer.check_usable()?;
        check_device(special)?;
        self.tree.add(directory, name, Content::Special(special), metadata)
    }

    /// Gives a node another name: a hard link. A detached node gets a name again.
    ///
    /// # Errors
    /// When the name is bad or taken, the node is a directory, or it has 65,000 names (kernel:
    /// `fs/ext4/ext4.h`, `EXT4_LINK_MAX`).
    pub fn add_link(
        &mut self,
        directory: NodeId,
        name: impl AsRef<[u8]>,
        node: NodeId,
    ) -> Result<()> {
        self.write_buffer.check_usable()?;
        self.tree.attach(directory, name.as_ref(), node)
    }

    /// Gives a regular file another content; its names and metadata stay.
    ///
    /// # Errors
    /// When the node is no regular file, and those of [`add_file`](Self::add_file).
    pub fn set_content(&mut self, node: NodeId, content: FileContent<'_>) -> Result<()> {
        if self.file_size(node).is_none() {
            self.tree.node(node)?;
            let operation = "give the node content";
            return Err(Error::WrongKind { operation, needs: "a regular file" });
        }
        let position = self.allocated.allocator.position();
        let content = match self.store(content) {
            Ok(content) => content,
            Err(error) => {
                self.return_to(position)?;
                return Err(error);
            }
        };
        let old = self.tree.exchange_content(node, content)?;
        content::release(&mut self.write_buffer, &mut self.allocated.allocator, old.as_slice())
    }

    /// Takes blocks for what are holes of a regular file between byte `offset` and byte
    /// `offset + length`, as `fallocate --keep-size` does: they read as zeros, the file's length
    /// stays, and the guest can write to them without allocating. They may lie behind the end.
    ///
    /// # Errors
    /// When the node is no regular file, the end is beyond the longest file, or the image is full.
    pub fn preallocate(&mut self, node: NodeId, offset: u64, length: u64) -> Result<()> {
        self.write_buffer.check_usable()?;
        if self.file_size(node).is_none() {
            self.tree.node(node)?;
            let operation = "preallocate blocks";
            return Err(Error::WrongKind { operation, needs: "a regular file" });
        }
        let end = offset.saturating_add(length);
        content::check(end, &[], &self.format)?;
        if length == 0 {
            return Ok(());
        }
        self.give_blocks(node)?;
        let Content::Regular { size, extents } = &self.tree.node(node)?.content else {
            return Err(internal("a file with blocks is mapped by extents"));
        };
        let block_size = self.format.block;
        let range = block_size.whole_blocks(offset).get()..block_size.blocks_for(end).get();
        let (size, extents) =
            (*size, content::fill_holes(&mut self.allocated.allocator, extents.as_slice(), range)?);
        self.tree.exchange_content(node, Content::Regular { size, extents }).map(drop)
    }

    /// Sets the flags of a node that `chattr` would set.
    ///
    /// # Errors
    /// When the node was removed.
    pub fn set_flags(&mut self, node: NodeId, flags: FileFlags) -> Result<()> {
        self.write_buffer.check_usable()?;
        self.tree.extra_mut(node)?.flags = flags;
        Ok(())
    }

    /// Sets the generation of a node, by which NFS tells an inode from a later one of the same
    /// number; 0 if never set.
    ///
    /// # Errors
    /// When the node was removed.
    pub fn set_generation(&mut self, node: NodeId, generation: u32) -> Result<()> {
        self.write_buffer.check_usable()?;
        self.tree.extra_mut(node)?.generation = generation;
        Ok(())
    }

    /// Sets the project to which a node's blocks will be counted once the guest turns the feature
    /// `project` on; until then the kernel resets it with the first change of the inode.
    ///
    /// # Errors
    /// When the node was removed, or inodes of 128 bytes have no place for it.
    pub fn set_project(&mut self, node: NodeId, project: u32) -> Result<()> {
        self.write_buffer.check_usable()?;
        if !self.format.has_extra_fields() {
            let reason = "inodes of 128 bytes have no place for a project; take 256".to_owned();
            return Err(Error::InvalidOption { option: "inode_size", reason });
        }
        self.tree.extra_mut(node)?.project = project;
        Ok(())
    }

    /// Changes the permissions, owners and times of a node.
    ///
    /// # Errors
    /// When the node was removed.
    pub fn set_metadata(&mut self, node: NodeId, metadata: &Metadata) -> Result<()> {
        self.write_buffer.check_usable()?;
        self.tree.set_metadata(node, metadata)
    }

    /// Sets an extended attribute by its full name, such as `user.comment`. POSIX ACLs come in
    /// the form of `getxattr` (version 2) and are stored in ext4's.
    ///
    /// # Errors
    /// When ext4 has no place for the name or the value, or the node's attributes would no longer
    /// fit into the inode and one block; with the feature `ea_inode`, values do not count there
    /// that can have inodes of their own.
    pub fn set_xattr(&mut self, node: NodeId, name: &[u8], value: &[u8]) -> Result<()> {
        self.write_buffer.check_usable()?;
        let attributes = self.tree.attributes_mut(node)?;
        let change = attributes.set(name, value)?;
        match Split::new(attributes.as_slice(), None, &self.format) {
            Ok(_) => Ok(()),
            Err(error) => {
                attributes.undo(change);
                Err(error)
            }
        }
    }

    /// Takes all extended attributes of a node away.
    ///
    /// # Errors
    /// When the node was removed.
    pub fn clear_xattrs(&mut self, node: NodeId) -> Result<()> {
        self.write_buffer.check_usable()?;
        self.tree.clear_attributes(node)
    }

    /// Removes a name, and with the last name of a node the node; a directory goes with all that
    /// is below it. The blocks of what is gone are free and read as zeros. The root's
    /// `lost+found` stays and is emptied.
    ///
    /// # Errors
    /// When there is no such name, or the sink fails.
    pub fn remove(&mut self, directory: NodeId, name: impl AsRef<[u8]>) -> Result<()> {
        let name = name.as_ref();
        self.write_buffer.check_usable()?;
        if is_lost_and_found(directory, name) {
            let names: Vec<Vec<u8>> =
                self.names(Tree::LOST)?.map(|(name, _)| name.to_vec()).collect();
            return names.iter().try_for_each(|name| self.remove(Tree::LOST, name));
        }
        let node = self.tree.detach(directory, name)?;
        self.discard(node)
    }

    /// Takes a name away but keeps the node, and what is below it, until it is
    /// [discarded](Self::discard) or the filesystem finished; anything but a directory can also be
    /// [given a name again](Self::add_link).
    ///
    /// # Errors
    /// When there is no such name, or it is the root's `lost+found`.
    pub fn detach(&mut self, directory: NodeId, name: impl AsRef<[u8]>) -> Result<NodeId> {
        let name = name.as_ref();
        self.write_buffer.check_usable()?;
        if is_lost_and_found(directory, name) {
            return Err(Error::Protected { name: name.to_vec(), operation: "detach" });
        }
        self.tree.detach(directory, name)
    }

    /// Removes a node that has no name any more; one that has is left alone.
    ///
    /// # Errors
    /// When the node was removed already, or the sink fails.
    pub fn discard(&mut self, node: NodeId) -> Result<()> {
        self.write_buffer.check_usable()?;
        if node == Tree::ROOT {
            return Err(Error::Protected { name: b"/".to_vec(), operation: "discard" });
        }
        for extents in self.tree.discard(node)? {
            content::release(
                &mut self.write_buffer,
                &mut self.allocated.allocator,
                extents.as_slice(),
            )?;
        }
        Ok(())
    }

    /// The bytes of the blocks that contents take now.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.format.block.bytes_in(self.allocated.blocks())
    }

    /// Changes how much room a [`Size::Fit`] filesystem is to have: it can be decided when the
    /// contents are known.
    ///
    /// # Errors
    /// When the size is fixed.
    pub fn set_room(&mut self, free_bytes: u64, free_inodes: u32) -> Result<()> {
        match self.options.size {
            Size::Fit { .. } => {
                self.options.size = Size::Fit { free_bytes, free_inodes };
                Ok(())
            }
            Size::Fixed(bytes) => Err(Error::InvalidOption {
                option: "size",
                reason: format!("it is fixed at {bytes} bytes, its room is what is left"),
            }),
        }
    }

    /// Gives the filesystem its UUID, whatever [`Options::uuid`] says: nothing depends on it before
    /// [`finish`](Builder::finish), so it can follow from what the tree was made of.
    pub fn set_uuid(&mut self, uuid: [u8; 16]) {
        self.options.uuid = Some(uuid);
    }

    /// Places and writes all metadata, gives the image its length and syncs the sink. Metadata is
    /// rendered on up to four threads, and the bytes are the same on one.
    ///
    /// # Errors
    /// [`Error::ImageFull`], [`Error::TooFewInodes`] and [`Error::DirectoryTooLarge`] when the tree
    /// does not fit, [`Error::InvalidOption`] when a fitted size would pass
    /// [`max_size`](Options::max_size), [`Error::DeviceTooSmall`] and [`Error::WriteImage`] when
    /// the sink has no room or fails.
    pub fn finish(mut self) -> Result<(Summary, S)> {
        self.write_buffer.check_usable()?;
        self.discard_detached()?;
        // A sink that writes behind is busy with what was freed while the rest is planned.
        self.write_buffer.flush()?;
        let initial = self.write_buffer.initial();
        let plan = Plan::new(&self.tree, self.allocated, &self.options, &self.format, initial)?;
        check_capacity(plan.size(), self.write_buffer.capacity())?;
        emit(&plan, &self.tree, &self.options, &mut self.write_buffer)?;
        let mut summary = summarise(&plan, &self.tree);
        // A sink that writes behind has still to do while this memory is given back.
        drop(plan);
        drop(self.tree);
        let (written, sink) = self.write_buffer.finish(summary.size)?;
        summary.written = written;
        Ok((summary, sink))
    }

    fn discard_detached(&mut self) -> Result<()> {
        let nameless = |(id, node): (NodeId, &crate::tree::Node)| {
            (node.names == 0 && id != Tree::ROOT).then_some(id)
        };
        let detached: Vec<NodeId> = self.tree.nodes().filter_map(nameless).collect();
        detached.into_iter().try_for_each(|node| self.discard(node))
    }

    /// Leaves the free blocks as they were before a file that failed. After a failure of the sink
    /// nothing comes back, and nothing more is placed.
    fn return_to(&mut self, position: Position) -> Result<()> {
        match self.write_buffer.check_usable() {
            Ok(()) => self.allocated.allocator.return_to(position),
            Err(_) => Ok(()),
        }
    }

    fn store(&mut self, content: FileContent<'_>) -> Result<Content> {
        let FileContent { size, segments, mut reader } = content;
        let whole = [Segment { offset: 0, length: size }];
        let segments = segments.unwrap_or(&whole);
        content::check(size, segments, &self.format)?;
        if let Some(length) = content::inline_length(size, segments, &self.format) {
            self.write_buffer.check_usable()?;
            return content::collect(length, segments, &mut reader).map(Content::Inline);
        }
        let extents = content::store(
            &mut self.write_buffer,
            &mut self.allocated.allocator,
            self.format.block,
            segments,
            &mut reader,
        )?;
        Ok(Content::Regular { size, extents })
    }

    /// Moves the content of a file from its inode to a block.
    fn give_blocks(&mut self, node: NodeId) -> Result<()> {
        let Content::Inline(bytes) = &self.tree.node(node)?.content else { return Ok(()) };
        let size = crate::format::units::widen(bytes.len());
        let (whole, block_size) = ([Segment { offset: 0, length: size }], self.format.block);
        let reader = &mut &**bytes;
        let extents = content::store(
            &mut self.write_buffer,
            &mut self.allocated.allocator,
            block_size,
            &whole,
            reader,
        )?;
        self.tree.exchange_content(node, Content::Regular { size, extents }).map(drop)
    }
}

impl<S: Sink + Source> Builder<S> {
    /// Fills `buffer` from the byte `offset` of a regular file on, as far as the file goes;
    /// returns how many bytes that were. What is still buffered is written first.
    ///
    /// # Errors
    /// When the node is no regular file, or the sink fails.
    pub fn read_at(&mut self, node: NodeId, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        const READ_IS_INSIDE: Error = internal("what is read of a file is inside it");
        self.write_buffer.flush()?;
        let content = &self.tree.node(node)?.content;
        let Some(size) = self.file_size(node) else {
            let operation = "read its content";
            return Err(Error::WrongKind { operation, needs: "a regular file" });
        };
        let Some(left) = size.checked_sub(offset) else { return Ok(0) };
        let length = at_most(left, buffer.len());
        let buffer = buffer.get_mut(..length).ok_or(READ_IS_INSIDE)?;
        match content {
            Content::Inline(bytes) => {
                let start = units::length(offset)?;
                let part = bytes.get(start..start + length).ok_or(READ_IS_INSIDE)?;
                buffer.copy_from_slice(part);
            }
            Content::Regular { extents, .. } => {
                let sink = self.write_buffer.sink();
                readback::load(sink, self.format.block, extents.as_slice(), offset, buffer)?;
            }
            _ => return Err(READ_IS_INSIDE),
        }
        Ok(length)
    }
}

/// A buffer before the sink, when the sink is ready for the filesystem.
fn prepare<S: Sink>(mut sink: S, options: &Options, format: &Format) -> Result<WriteBuffer<S>> {
    let (known, length) = match options.size {
        Size::Fixed(bytes) => (Some(bytes), bytes),
        Size::Fit { .. } => (None, 0),
    };
    check_capacity(length, sink.capacity())?;
    let initial =
        sink.prepare(known).map_err(|source| Error::WriteImage { offset: 0, length, source })?;
    WriteBuffer::new(sink, initial, format.block)
}

fn check_capacity(size: u64, capacity: Option<u64>) -> Result<()> {
    match capacity {
        Some(capacity) if size > capacity => Err(Error::DeviceTooSmall { size, capacity }),
        _ => Ok(()),
    }
}

/// The blocks that a filesystem of fixed size takes for itself however empty it is.
fn least_metadata(
    options: &Options,
    format: &Format,
    layout: &GroupLayout,
    blocks: BlockCount,
) -> Result<BlockCount> {
    let empty = InodeDemand { used: 0 };
    let geometry = Geometry::new(options, format, layout, blocks, empty)?;
    Ok(geometry.own_blocks(layout))
}

fn summarise(plan: &Plan<'_>, tree: &Tree) -> Summary {
    let geometry = &plan.placed.geometry;
    let free = plan.groups.free_blocks;
    let block_size = geometry.format.block;
    Summary {
        size: plan.size(),
        block_size: block_size.bytes(),
        blocks: geometry.blocks.get(),
        free_blocks: free.get(),
        available: geometry.bytes_for_users(free),
        inodes: geometry.inodes(),
        free_inodes: plan.groups.free_inodes,
        journal: block_size.bytes_in(geometry.journal),
        written: 0,
        clamped_times: tree.clamped_times(),
        uuid: plan.identity.uuid,
        features: geometry.features(),
    }
}

fn is_lost_and_found(directory: NodeId, name: &[u8]) -> bool {
    directory == Tree::ROOT && name == LOST_AND_FOUND
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Journal, Profile, Reserved};
    use crate::sink::CountingSink;

    fn fit(free_bytes: u64, free_inodes: u32) -> Options {
        Options::new(Size::Fit { free_bytes, free_inodes })
    }

    fn builder(options: Options) -> Builder<CountingSink> {
        Builder::create(CountingSink::new(), options).unwrap()
    }

    #[test]
    fn a_file_that_ends_early_leaves_the_image_as_small_as_it_was() {
        let mut builder = builder(fit(0, 0));
        let mut bytes = b"abc".as_slice();
        let short = FileContent::new(1 << 40, &mut bytes);
        let failed = builder.add_file(Tree::ROOT, b"f", &Metadata::default(), short);
        assert!(matches!(failed, Err(Error::ContentShort { got: 3, .. })));
        assert_eq!((builder.content_bytes(), builder.lookup(Tree::ROOT, b"f")), (0, None));
        let (summary, _) = builder.finish().unwrap();
        assert!(summary.size < 8 << 20, "{} bytes", summary.size);
    }

    /// A file of one block, whose bytes may end early.
    fn add(builder: &mut Builder<CountingSink>, number: usize, bytes: u64) -> Result<NodeId> {
        let mut reader = std::io::Read::take(std::io::repeat(1), bytes);
        let content = FileContent::new(4096, &mut reader);
        let name = format!("{number}");
        builder.add_file(Tree::ROOT, name.as_bytes(), &Metadata::default(), content)
    }

    #[test]
    fn a_failed_file_leaves_a_stable_placement_as_it_was() {
        for size in [fit(0, 0).size, Size::Fixed(16 << 20)] {
            let mut options = Options::new(size);
            options.stable_placement = true;
            let build = |fails: bool| {
                let mut builder = builder(options.clone());
                for number in 0..3000 {
                    if fails && number > 200 {
                        add(&mut builder, number, 4095).unwrap_err();
                        add(&mut builder, number, 4097).unwrap_err();
                        let mut short = [1u8; 5000].as_slice();
                        let content = FileContent::new(1 << 40, &mut short);
                        let name = format!("{number}");
                        let whole = &Metadata::default();
                        builder.add_file(Tree::ROOT, name.as_bytes(), whole, content).unwrap_err();
                    }
                    if let Err(error) = add(&mut builder, number, 4096) {
                        assert!(matches!(error, Error::ImageFull { .. }), "{error}");
                        break;
                    }
                }
                builder
            };
            let (one, other) = (build(false), build(true));
            assert_eq!(one.allocated.allocator, other.allocated.allocator, "{size:?}");
            assert_eq!(one.alignment, other.alignment);
        }
    }

    #[test]
    fn empty_segments_hold_nothing() {
        let mut builder = builder(fit(0, 0));
        let empty = |offset| Segment { offset, length: 0 };
        for segments in [
            vec![empty(4095), Segment { offset: 4096, length: 10 }],
            vec![Segment { offset: 0, length: 10 }, empty(4096), empty(1 << 30)],
        ] {
            let mut bytes = [7u8; 10].as_slice();
            let content = FileContent::sparse(1 << 30, &segments, &mut bytes);
            let name = segments.len().to_string();
            builder.add_file(Tree::ROOT, name.as_bytes(), &Metadata::default(), content).unwrap();
        }
        assert_eq!(builder.content_bytes(), 2 * 4096);
    }

    #[test]
    fn a_fitted_image_has_the_inodes_that_were_asked_for() {
        for free_inodes in [0, 100, 100_000] {
            let (summary, _) = builder(fit(0, free_inodes)).finish().unwrap();
            assert!(summary.free_inodes >= free_inodes, "{}", summary.free_inodes);
        }
        let all = builder(fit(0, u32::MAX)).finish();
        assert!(matches!(all, Err(Error::TooFewInodes { .. })), "{all:?}");
    }

    #[test]
    fn a_fitted_image_grows_around_its_reserved_blocks() {
        let mut options = fit(1 << 30, 0);
        options.reserved = Reserved::Bytes(16 << 20);
        let (summary, _) = builder(options).finish().unwrap();
        assert!(summary.available >= 1 << 30);
    }

    #[test]
    fn a_uuid_that_is_set_late_gives_the_bytes_of_one_that_was_asked_for() {
        use crate::sink::MemorySink;
        let uuid = *b"0123456789abcdef";
        for profile in Profile::ALL {
            let options = |uuid| Options { uuid, ..Options::for_profile(profile, fit(0, 0).size) };
            let image = |asked, set: Option<[u8; 16]>| {
                let mut builder = Builder::create(MemorySink::new(), options(asked)).unwrap();
                for number in 0..300_u32 {
                    let name = format!("a name that fills a directory {number}");
                    let metadata = Metadata::default();
                    builder.add_directory(Tree::ROOT, name.as_bytes(), &metadata).unwrap();
                }
                if let Some(uuid) = set {
                    builder.set_uuid(uuid);
                }
                let (summary, sink) = builder.finish().unwrap();
                assert_eq!(Some(summary.uuid), set.or(asked));
                sink.into_bytes()
            };
            let asked = image(Some(uuid), None);
            assert!(image(None, Some(uuid)) == asked, "{}", profile.name());
            assert!(image(Some([7; 16]), Some(uuid)) == asked, "{}", profile.name());
        }
    }

    #[test]
    fn options_that_nothing_can_meet_are_refused_at_once() {
        let refused = |change: fn(&mut Options)| {
            let mut options = fit(0, 0);
            change(&mut options);
            matches!(
                Builder::create(CountingSink::new(), options),
                Err(Error::InvalidOption { .. })
            )
        };
        assert!(refused(|options| options.reserved = Reserved::Percent(51)));
        assert!(refused(|options| options.journal = Journal::Size(4096)));
        assert!(refused(|options| options.journal = Journal::Size(u64::MAX)));
        assert!(refused(|options| options.label = vec![b'x'; 17]));
        assert!(refused(|options| options.size = Size::Fixed(4095)));
    }

    #[test]
    fn an_image_filled_to_the_last_block_can_be_finished() {
        let mut builder = builder(Options::new(Size::Fixed(128 << 20)));
        let mut added = 0;
        loop {
            let name = format!("{added}");
            let mut block = [1u8; 4096].as_slice();
            let content = FileContent::new(4096, &mut block);
            match builder.add_file(Tree::ROOT, name.as_bytes(), &Metadata::default(), content) {
                Ok(_) => added += 1,
                Err(Error::ImageFull { needed: 1, available: 0 }) => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(added > 20_000, "{added}");
        for number in (0..added).step_by(2) {
            builder.remove(Tree::ROOT, format!("{number}").as_bytes()).unwrap();
        }
        let (summary, _) = builder.finish().unwrap();
        assert_eq!(summary.size, 128 << 20);
    }

    #[test]
    fn contents_are_read_back_with_their_holes_and_zeros() {
        use crate::sink::MemorySink;
        for profile in [crate::Profile::Default, crate::Profile::Max] {
            let options = Options::for_profile(profile, fit(0, 0).size);
            let mut builder = Builder::create(MemorySink::new(), options).unwrap();
            let text: Vec<u8> = (0..10_000_u32).map(|n| n.to_le_bytes()[0]).collect();
            let mut add = |name: &[u8], size, segments: &[Segment], mut bytes: &[u8]| {
                let content = FileContent::sparse(size, segments, &mut bytes);
                let added = builder.add_file(Tree::ROOT, name, &Metadata::default(), content);
                let added = added.unwrap();
                (added, builder.file_size(added).unwrap())
            };
            let part = |offset, length| Segment { offset, length };
            let short = add(b"short", 5, &[part(0, 5)], b"hello");
            let sparse = add(b"sparse", 40_000, &[part(9_000, 10_000)], &text);
            let zeros = add(b"zeros", 9_000, &[part(0, 9_000)], &[0; 9_000]);
            let hole = add(b"hole", 1 << 30, &[], b"");
            let mut read = |(node, size): (NodeId, u64), offset, length: usize| {
                let mut buffer = vec![0xaa; length];
                let got = builder.read_at(node, offset, &mut buffer).unwrap();
                assert_eq!(
                    u64::try_from(got).unwrap(),
                    size.saturating_sub(offset).min(crate::format::units::widen(length))
                );
                buffer.truncate(got);
                buffer
            };
            assert_eq!(read(short, 0, 100), b"hello");
            assert_eq!(read(short, 3, 1), b"l");
            assert_eq!(read(short, 9, 1), b"");
            let whole = [vec![0; 9_000], text.clone(), vec![0; 21_000]].concat();
            assert!(read(sparse, 0, 50_000) == whole);
            assert!(read(sparse, 8_999, 5_000) == whole[8_999..13_999]);
            assert!(read(zeros, 0, 9_000) == vec![0; 9_000]);
            assert!(read(hole, (1 << 30) - 5, 100) == vec![0; 5]);
            let directory = builder.read_at(Tree::ROOT, 0, &mut [0]);
            assert!(matches!(directory, Err(Error::WrongKind { .. })), "{directory:?}");
        }
    }

    #[test]
    fn times_are_counted_by_the_inodes_that_keep_them() {
        let mut builder = builder(fit(0, 0));
        let far = crate::metadata::Timestamp::from_seconds(i64::MAX);
        let metadata = Metadata::root_owned(0o755, far);
        for name in [b"a", b"b"] {
            let node = builder.add_directory(Tree::ROOT, name, &metadata).unwrap();
            builder.set_metadata(node, &metadata).unwrap();
        }
        builder.remove(Tree::ROOT, b"a").unwrap();
        assert_eq!(builder.finish().unwrap().0.clamped_times, 1);
    }
}
