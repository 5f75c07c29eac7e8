//! Changes finished images: files put in, taken out, renamed, in one step that is done or not.
//!
//! ```
//! use ext4_writer::edit::Editor;
//! use ext4_writer::reader::{Links, Reader};
//! use ext4_writer::{Builder, FileContent, MemorySink, Metadata, Options, Size, Timestamp};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let builder = Builder::create(MemorySink::new(), Options::new(Size::Fixed(16 << 20)))?;
//! let image = builder.finish()?.1.into_bytes();
//!
//! let now = Timestamp::from_seconds(1_767_225_600);
//! let mut editor = Editor::open(image, now)?;
//! let metadata = Metadata::root_owned(0o644, now);
//! let mut text = b"demo\n".as_slice();
//! editor.add_file(editor.root(), b"hostname", &metadata, FileContent::new(5, &mut text))?;
//! let image = editor.commit()?;
//!
//! let reader = Reader::open(image)?;
//! assert_eq!(reader.lookup(b"/hostname", Links::Keep)?.size(), 5);
//! # Ok(())
//! # }
//! ```
//!
//! # Which images
//!
//! Every image that the [`reader`](crate::reader) reads and the kernel would mount for writing, of
//! whatever maker: with and without extents, checksums, `uninit_bg`, `meta_bg`, indexes of
//! directories, content in inodes. A journal that holds transactions is replayed first, in the
//! image. What could not be kept true is refused by its name before anything is written: quota and
//! project files, clusters, several machines at once, an image that its superblock calls damaged,
//! names that are encrypted or casefolded, content that fs-verity seals.
//!
//! # Done or not
//!
//! Contents are written to free blocks while they are read. All else stays in memory, at most some
//! 20 MiB, until [`Editor::commit`] writes it as one transaction into the image's own journal and
//! then to its places. After a cut at any moment the next mount, `e2fsck` or [`Editor::open`]
//! finds the old filesystem or the new one. An editor that is dropped has changed nothing.
//!
//! What the kernel takes from the superblock before it replays a journal, size and UUID, cannot go
//! through one; nor can an edit that is larger than the journal, or any edit of an image without
//! one. Those are written in place, the superblock last, while an [`Undo`] file beside the image
//! keeps what was there: [`Editor::open_with_undo`] brings it back after a cut. Without an undo file
//! they are refused.
//!
//! # Determinism
//!
//! Times are inputs; the library has no clock. The same edit of the same image gives the same
//! bytes. As in the kernel, a directory of which a name changes gets the time of the edit.

mod attributes;
mod commit;
mod content;
mod device;
mod directory;
mod error;
mod filesystem;
mod group;
mod groups;
mod grow;
mod htree;
mod identity;
mod in_place;
mod inline;
mod inode;
mod journal;
mod map;
mod open;
mod overlay;
mod reseed;
mod runs;
mod space;
mod tree;
mod trial;
mod undo;

pub use device::Device;
pub use error::{EditError, EditResult};
pub use trial::Trial;
pub use undo::{Undo, UndoFile};

use std::fmt;
use std::io::Read as _;

use crate::error::Error;
use crate::format::limits::{check_device, check_target};
use crate::format::units::{BlockCount, widen};
use crate::metadata::{FileContent, FileFlags, FileKind, Metadata, Special, Timestamp};
use crate::options::{MountOptions, OnError, Reserved};
use crate::reader::{
    Attribute, DirectoryEntry, Inode, Links, ROOT_INODE, ReadError, Reader, Recovery,
};
use crate::reader::{attributes as read_attributes, content as read_content};
use crate::record::inode::Flags;
use crate::render::inode::device_block;
use filesystem::Filesystem;

/// What an image was recovered from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Whether an undo file took back a change that a cut had interrupted.
    pub is_undone: bool,
    /// What the journal was replayed for; `None` if the image was unmounted.
    pub journal: Option<Recovery>,
}

/// Brings an image to a state that needs no recovery, and nothing else: what the undo file keeps is
/// brought back, and a journal that holds transactions is replayed. Images with features that an
/// [`Editor`] refuses are recovered all the same.
///
/// # Errors
/// When there is no filesystem, its journal is damaged, or the undo file is, or of another image.
pub fn recover<D: Device>(device: &mut D, undo: Option<&mut dyn Undo>) -> EditResult<Recovered> {
    let is_undone = match undo {
        Some(undo) => undo::recover(undo, device)?,
        None => false,
    };
    Ok(Recovered { is_undone, journal: open::recover(device)? })
}

/// A finished image that is changed. Nodes are called by the numbers of their inodes.
///
/// Names are bytes. What is refused because of its arguments leaves the edit as it was; when
/// anything else fails, the edit cannot go on, and the image is as it was.
pub struct Editor<D> {
    filesystem: Filesystem<D>,
    undo: Option<Box<dyn Undo>>,
    is_undone: bool,
    stopped: bool,
}

impl<D> fmt::Debug for Editor<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Editor").field("stopped", &self.stopped).finish_non_exhaustive()
    }
}

impl<D: Device> Editor<D> {
    /// Opens the filesystem on `device`, which begins at its first byte; `time` is that of the edit.
    ///
    /// A journal that holds transactions is replayed, in the image.
    ///
    /// # Errors
    /// When there is no filesystem, it is damaged, or cannot be changed truthfully.
    pub fn open(device: D, time: Timestamp) -> EditResult<Self> {
        let filesystem = Filesystem::open(device, time)?;
        Ok(Self { filesystem, undo: None, is_undone: false, stopped: false })
    }

    /// The same with an undo file. What it keeps is brought back first; what cannot go through a
    /// journal is then changed in place, while it keeps what was there.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), and when the undo file is damaged or of another image.
    pub fn open_with_undo(
        mut device: D,
        mut undo: Box<dyn Undo>,
        time: Timestamp,
    ) -> EditResult<Self> {
        let is_undone = undo::recover(undo.as_mut(), &mut device)?;
        let filesystem = Filesystem::open(device, time)?;
        Ok(Self { filesystem, undo: Some(undo), is_undone, stopped: false })
    }

    /// The same for an image that nobody has before the edit is done, such as a copy in a file
    /// without a name: changes go to their places whenever memory needs room, and nothing keeps what
    /// was there. After a failure or a cut the image is of no use.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_unpublished(device: D, time: Timestamp) -> EditResult<Self> {
        let mut filesystem = Filesystem::open(device, time)?;
        filesystem.is_unpublished = true;
        Ok(Self { filesystem, undo: None, is_undone: false, stopped: false })
    }

    /// What the image was recovered from when it was opened.
    #[must_use]
    pub fn recovered(&self) -> Recovered {
        Recovered { is_undone: self.is_undone, journal: self.filesystem.recovery }
    }

    /// What holds the image. Changes that wait for [`commit`](Self::commit) are not in it.
    #[must_use]
    pub fn device(&self) -> &D {
        self.filesystem.overlay.device()
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> u32 {
        ROOT_INODE
    }

    /// The bytes of the filesystem.
    #[must_use]
    pub fn size(&self) -> u64 {
        let layout = &self.filesystem.layout;
        layout.block.bytes_in(BlockCount::new(layout.blocks))
    }

    /// The entry of this name, if there is one.
    ///
    /// # Errors
    /// When the node is no directory, or it is damaged.
    pub fn lookup(&self, directory: u32, name: &[u8]) -> EditResult<Option<u32>> {
        self.filesystem.look_up(directory, name)
    }

    /// The node at a path from the root, with or without a `/` before it. Links on the way are
    /// followed, inside the image; `..` at the root stays there.
    ///
    /// # Errors
    /// When nothing is there, a link leads in circles, or something on the way is damaged.
    pub fn resolve(&self, path: &[u8], links: Links) -> EditResult<u32> {
        let Filesystem { layout, superblock, .. } = &self.filesystem;
        let reader = Reader::over(self.filesystem.blocks(), layout.clone(), superblock);
        Ok(reader.lookup(path, links)?.number())
    }

    /// The names in a directory, without `.` and `..`, in the order in which they stand on disk.
    ///
    /// # Errors
    /// When the node is no directory, or it is damaged.
    pub fn names(&self, directory: u32) -> EditResult<Vec<DirectoryEntry>> {
        self.filesystem.names(directory)
    }

    /// The directory that holds this directory; the root is its own.
    ///
    /// # Errors
    /// When the node is no directory, or it is damaged.
    pub fn parent(&self, directory: u32) -> EditResult<u32> {
        self.filesystem.parent(directory)
    }

    /// What the inode of a node says.
    ///
    /// # Errors
    /// When there is no such node, or it is damaged.
    pub fn inode(&self, node: u32) -> EditResult<Inode> {
        self.filesystem.find_inode(node)
    }

    /// The target of a symbolic link; `None` for anything else.
    ///
    /// # Errors
    /// When the node is damaged.
    pub fn symlink_target(&self, node: u32) -> EditResult<Option<Vec<u8>>> {
        let found = self.inode(node)?;
        if !found.is(FileKind::Symlink) {
            return Ok(None);
        }
        let short = self.filesystem.attribute_sectors();
        Ok(Some(read_content::read_link(&self.filesystem.blocks(), &found, short)?))
    }

    /// The extended attributes of a node: full names, and values as `getxattr` shows them.
    ///
    /// # Errors
    /// When the node is damaged.
    pub fn xattrs(&self, node: u32) -> EditResult<Vec<Attribute>> {
        let found = self.inode(node)?;
        let filesystem = &self.filesystem;
        Ok(read_attributes::read(&filesystem.blocks(), &filesystem.layout, &found)?)
    }

    /// Adds an empty directory.
    ///
    /// # Errors
    /// When the name is bad or taken, or the image is full.
    pub fn add_directory(
        &mut self,
        directory: u32,
        name: &[u8],
        metadata: &Metadata,
    ) -> EditResult<u32> {
        self.check_new(directory, name)?;
        self.change(|filesystem| filesystem.add_directory((directory, name), metadata))
    }

    /// Adds a regular file.
    ///
    /// # Errors
    /// When the name is bad or taken, the reader fails or has fewer or more bytes than were
    /// declared, segments overlap or pass the end, or the image is full.
    pub fn add_file(
        &mut self,
        directory: u32,
        name: &[u8],
        metadata: &Metadata,
        content: FileContent<'_>,
    ) -> EditResult<u32> {
        self.check_new(directory, name)?;
        self.change(|filesystem| {
            let kind = FileKind::Regular;
            filesystem.add((directory, name), kind, metadata, |filesystem, inode| {
                filesystem.write_content(inode, content)
            })
        })
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// When the name is bad or taken, the target is empty, has a NUL, is longer than 4,095 bytes
    /// or does not fit into a block with a NUL behind it, or the image is full.
    pub fn add_symlink(
        &mut self,
        directory: u32,
        name: &[u8],
        metadata: &Metadata,
        target: &[u8],
    ) -> EditResult<u32> {
        check_target(target, self.filesystem.layout.block)?;
        self.check_new(directory, name)?;
        self.change(|filesystem| {
            let kind = FileKind::Symlink;
            filesystem.add((directory, name), kind, metadata, |filesystem, inode| {
                filesystem.write_target(inode, target)
            })
        })
    }

    /// Adds a device, pipe or socket.
    ///
    /// # Errors
    /// When the name is bad or taken, the device's numbers are beyond 4095:1048575, or there is no
    /// inode left.
    pub fn add_special(
        &mut self,
        directory: u32,
        name: &[u8],
        metadata: &Metadata,
        special: Special,
    ) -> EditResult<u32> {
        check_device(special)?;
        let kind = match special {
            Special::CharacterDevice { .. } => FileKind::CharacterDevice,
            Special::BlockDevice { .. } => FileKind::BlockDevice,
            Special::Fifo => FileKind::Fifo,
            Special::Socket => FileKind::Socket,
        };
        self.check_new(directory, name)?;
        self.change(|filesystem| {
            filesystem.add((directory, name), kind, metadata, |_, inode| {
                inode.record.block = device_block(special);
                Ok(())
            })
        })
    }

    /// Gives a node another name: a hard link.
    ///
    /// # Errors
    /// When the name is bad or taken, the node is a directory, or it has 65,000 names.
    pub fn add_link(&mut self, directory: u32, name: &[u8], node: u32) -> EditResult<()> {
        self.check_new(directory, name)?;
        let found = self.inode(node)?;
        if found.is(FileKind::Directory) || found.has(Flags::EA_INODE) {
            let (operation, needs) = ("make a hard link", "anything but a directory");
            return Err(Error::WrongKind { operation, needs }.into());
        }
        self.change(|filesystem| filesystem.add_link(directory, name, node))
    }

    /// Gives a regular file another content; its names and metadata stay, but for its times.
    ///
    /// # Errors
    /// When the node is no regular file, fs-verity seals it, it is encrypted, and those of
    /// [`add_file`](Self::add_file).
    pub fn set_content(&mut self, node: u32, content: FileContent<'_>) -> EditResult<()> {
        if !self.inode(node)?.is(FileKind::Regular) {
            let operation = "give the node content";
            return Err(Error::WrongKind { operation, needs: "a regular file" }.into());
        }
        self.change(|filesystem| filesystem.set_content(node, content))
    }

    /// Sets permissions, owners and times of a node; the time of creation only if it is given.
    ///
    /// # Errors
    /// When there is no such node, or it is damaged.
    pub fn set_metadata(&mut self, node: u32, metadata: &Metadata) -> EditResult<()> {
        let mut inode = inode::Inode::of(&self.inode(node)?);
        self.change(|filesystem| {
            filesystem.set_metadata(&mut inode, metadata);
            filesystem.store(&inode)
        })
    }

    /// Sets the flags of a node that `chattr` would set.
    ///
    /// # Errors
    /// When there is no such node, or it is damaged.
    pub fn set_flags(&mut self, node: u32, flags: FileFlags) -> EditResult<()> {
        let mut inode = inode::Inode::of(&self.inode(node)?);
        let others = inode.record.flags.get() & !FileFlags::all().bits();
        inode.record.flags = (others | flags.bits()).into();
        self.change(|filesystem| filesystem.store(&inode))
    }

    /// Sets the project of a node, which the kernel resets with the next change of the inode
    /// unless the feature `project` is turned on before.
    ///
    /// # Errors
    /// When there is no such node, it is damaged, or its inode has no place for a project.
    pub fn set_project(&mut self, node: u32, project: u32) -> EditResult<()> {
        let mut inode = inode::Inode::of(&self.inode(node)?);
        if !inode.set_project(project) {
            let reason = "the inode has no place for a project".to_owned();
            return Err(Error::InvalidOption { option: "inode_size", reason }.into());
        }
        self.change(|filesystem| filesystem.store(&inode))
    }

    /// Sets an extended attribute by its full name; ACLs in the form that `getxattr` shows.
    ///
    /// # Errors
    /// When ext4 cannot hold it, or the attributes do not fit into the inode and one block.
    pub fn set_xattr(&mut self, node: u32, name: &[u8], value: &[u8]) -> EditResult<()> {
        crate::attributes::Attributes::default().set(name, value)?;
        self.inode(node)?;
        self.change(|filesystem| filesystem.set_attribute(node, name, Some(value)))
    }

    /// Takes an extended attribute away.
    ///
    /// # Errors
    /// When the node does not have it.
    pub fn remove_xattr(&mut self, node: u32, name: &[u8]) -> EditResult<()> {
        if !self.xattrs(node)?.iter().any(|attribute| attribute.name == name) {
            return Err(Error::NotFound { name: name.to_vec() }.into());
        }
        self.change(|filesystem| filesystem.set_attribute(node, name, None))
    }

    /// Takes all extended attributes of a node away.
    ///
    /// # Errors
    /// When there is no such node, or it is damaged.
    pub fn clear_xattrs(&mut self, node: u32) -> EditResult<()> {
        self.inode(node)?;
        self.change(|filesystem| filesystem.clear_attributes(node))
    }

    /// Removes a name. A node without a name is gone, and below a directory everything that thereby
    /// loses its last name. What is gone can be read in the image's free blocks until they are used
    /// again.
    ///
    /// # Errors
    /// When there is no such name, or it is the root's `lost+found`.
    pub fn remove(&mut self, directory: u32, name: &[u8]) -> EditResult<()> {
        self.filesystem.check_old((directory, name), "remove")?;
        self.change(|filesystem| filesystem.remove(directory, name))
    }

    /// Takes a name away. The node stays, with all that is below it, until it is
    /// [discarded](Self::discard); it may get a name [again](Self::add_link) before, unless it is a
    /// directory. An edit that leaves something detached is not committed.
    ///
    /// # Errors
    /// When there is no such name, or it is the root's `lost+found`.
    pub fn detach(&mut self, directory: u32, name: &[u8]) -> EditResult<u32> {
        self.filesystem.check_old((directory, name), "detach")?;
        self.change(|filesystem| filesystem.detach(directory, name))
    }

    /// Removes a node that has no name, and below a directory everything that thereby loses its
    /// last name. A node with a name is left alone.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn discard(&mut self, node: u32) -> EditResult<()> {
        self.change(|filesystem| filesystem.discard(node))
    }

    /// How many names a node has; none of what was detached. Those of a directory are what its
    /// inode counts.
    ///
    /// # Errors
    /// When there is no such node, or it is damaged.
    pub fn link_count(&self, node: u32) -> EditResult<u32> {
        let links = self.inode(node)?.links();
        Ok(if self.filesystem.detached.contains(&node) { 0 } else { links.into() })
    }

    /// Fills `buffer` from the start of a regular file; returns how many bytes that were.
    ///
    /// # Errors
    /// When it is no regular file, it is encrypted, or damaged.
    pub fn read(&self, node: u32, buffer: &mut [u8]) -> EditResult<usize> {
        let Filesystem { layout, superblock, .. } = &self.filesystem;
        let reader = Reader::over(self.filesystem.blocks(), layout.clone(), superblock);
        let found = self.inode(node)?;
        let mut contents = reader.contents(&found)?;
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match contents.read(rest) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let (offset, length) = (widen(filled), widen(rest.len()));
                    return Err(ReadError::Io { offset, length, source }.into());
                }
            }
        }
        Ok(filled)
    }

    /// Gives what is called `name` the name `new_name` in `new_directory`.
    ///
    /// # Errors
    /// When there is no such name, it is the root's `lost+found`, the new name is bad or taken, or
    /// a directory would be below itself.
    pub fn rename(
        &mut self,
        directory: u32,
        name: &[u8],
        new_directory: u32,
        new_name: &[u8],
    ) -> EditResult<()> {
        let node = self.filesystem.check_old((directory, name), "rename")?;
        self.check_new(new_directory, new_name)?;
        if self.inode(node)?.is(FileKind::Directory) {
            self.filesystem.check_move(node, new_directory)?;
        }
        self.change(|filesystem| filesystem.rename((directory, name), (new_directory, new_name)))
    }

    /// Sets the label, at most 16 bytes.
    ///
    /// # Errors
    /// When it is longer, or has a NUL.
    pub fn set_label(&mut self, label: &[u8]) -> EditResult<()> {
        self.filesystem.set_label(label)
    }

    /// Sets where the filesystem was mounted last, at most 63 bytes.
    ///
    /// # Errors
    /// When it is longer, or has a NUL.
    pub fn set_last_mounted(&mut self, path: &[u8]) -> EditResult<()> {
        self.filesystem.set_last_mounted(path)
    }

    /// Sets the options that it is mounted with by default.
    pub fn set_mount_options(&mut self, options: MountOptions) {
        self.filesystem.set_mount_options(options);
    }

    /// Sets what the kernel does when it finds the filesystem damaged.
    pub fn set_on_error(&mut self, on_error: OnError) {
        self.filesystem.set_on_error(on_error);
    }

    /// Sets how much only root may fill.
    ///
    /// # Errors
    /// When that is more than half.
    pub fn set_reserved(&mut self, reserved: Reserved) -> EditResult<()> {
        self.filesystem.set_reserved(reserved)
    }

    /// Gives the filesystem another UUID, in place under the undo file. With `metadata_csum`, and
    /// without `metadata_csum_seed`, all metadata gets new checksums when the edit is
    /// [committed](Self::commit), and is read and written for that; what is damaged is refused then.
    ///
    /// # Errors
    /// With `stable_inodes`, and with `ea_inode` without `metadata_csum_seed`, as keys of files and
    /// hashes of attributes begin with the UUID.
    pub fn set_uuid(&mut self, uuid: [u8; 16]) -> EditResult<()> {
        self.change(|filesystem| filesystem.set_uuid(uuid))
    }

    /// The bytes of the longest filesystem that this one could grow to within so many: whole blocks,
    /// and no last group that would be too short to be of use.
    #[must_use]
    pub fn longest_within(&self, bytes: u64) -> u64 {
        self.filesystem.longest_within(bytes)
    }

    /// Lets the filesystem, and its device, grow to so many bytes, in place under the undo file. The
    /// device is made longer by the [commit](Self::commit), or before it when the bitmaps of the new
    /// groups are more than 6 MiB.
    ///
    /// # Errors
    /// When it is longer already ([`EditError::Shorter`]), no filesystem has this size
    /// ([`EditError::InvalidSize`]), too few blocks are reserved for descriptors, or it has a
    /// feature with which it is not grown here: `meta_bg`, `sparse_super2`.
    pub fn grow(&mut self, bytes: u64) -> EditResult<()> {
        let zeros = self.filesystem.overlay.device().grows_with_zeros();
        self.change(|filesystem| filesystem.grow(bytes, zeros))
    }

    /// Brings all changes to the device in one step, and gives it back.
    ///
    /// # Errors
    /// When an earlier operation failed, an undo file is needed and there is none, or the device
    /// fails. Then the image is as it was, or, if the device failed late, as it will be when its
    /// journal is replayed or its undo file applied.
    pub fn commit(self) -> EditResult<D> {
        if self.stopped {
            return Err(EditError::Stopped);
        }
        self.filesystem.commit(self.undo)
    }

    fn check_new(&self, directory: u32, name: &[u8]) -> EditResult<()> {
        self.filesystem.check_new(directory, name)
    }

    /// Does what leaves the edit useless when it fails.
    fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Filesystem<D>) -> EditResult<T>,
    ) -> EditResult<T> {
        if self.stopped {
            return Err(EditError::Stopped);
        }
        let done = change(&mut self.filesystem);
        self.stopped = done.is_err();
        done
    }
}
