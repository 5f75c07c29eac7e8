//! Reads ext2, ext3 and ext4 filesystems: what the kernel would show after mounting them.
//!
//! ```
//! use ext4_writer::reader::{Links, Reader};
//! # use ext4_writer::{Builder, FileContent, MemorySink, Metadata, Options, Size};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let size = Size::Fit { free_bytes: 1 << 20, free_inodes: 10 };
//! # let mut builder = Builder::create(MemorySink::new(), Options::new(size))?;
//! # let mut text = b"demo\n".as_slice();
//! # let content = FileContent::new(5, &mut text);
//! # builder.add_file(builder.root(), b"hostname", &Metadata::default(), content)?;
//! # let image = builder.finish()?.1.into_bytes();
//! let reader = Reader::open(image)?;
//! for entry in reader.walk(&reader.root()?) {
//!     let entry = entry?;
//!     println!("{:o} /{}", entry.inode.mode(), entry.path.escape_ascii());
//! }
//! let file = reader.lookup(b"/hostname", Links::Follow)?;
//! let mut text = String::new();
//! std::io::Read::read_to_string(&mut reader.contents(&file)?, &mut text)?;
//! assert_eq!(text, "demo\n");
//! # Ok(())
//! # }
//! ```
//!
//! # What is read
//!
//! Everything that mke2fs makes and the kernel mounts: files mapped by extents or by blocks, or
//! inside their inodes; directories with and without an index; attributes in inodes, in blocks and
//! in inodes of their own; blocks of 1 to 64 KiB, clusters, descriptors wherever `meta_bg` puts
//! them. All checksums are verified. Of an image that was not unmounted the journal is replayed in
//! memory; the source is never written to.
//!
//! What is not read is refused by its name: the contents of encrypted files, journals on other
//! devices, fast commits that were not replayed. In casefold directories names are found as they
//! are spelled; in encrypted ones they are shown as they stand on disk.
//!
//! # Any bytes
//!
//! A source may hold anything. No bytes lead to a panic; what is wrong is a [`ReadError`] that says
//! where. Memory is bounded by what is read: a block, a name, an attribute, the names of one
//! directory, the places of the journal's blocks. No count of the image sizes an allocation, and
//! no walk goes in circles: blocks of a file are counted, a directory has a block once, and is
//! walked once.

pub(crate) mod attribute_list;
pub(crate) mod attributes;
mod blockmap;
pub(crate) mod content;
pub(crate) mod device;
pub(crate) mod directory;
mod error;
pub(crate) mod extent;
mod extents;
pub(crate) mod features;
pub(crate) mod groups;
pub(crate) mod inode;
pub(crate) mod journal;
pub(crate) mod layout;
pub(crate) mod map;
mod path;
mod source;
pub(crate) mod space;
mod superblock_info;
pub(crate) mod tags;
mod walk;

pub use attribute_list::AttributePlace;
pub use attributes::Attribute;
pub use content::{Contents, FileSegment, SegmentKind, Segments};
pub use directory::{DirectoryEntry, ReadDirectory};
pub use error::{Part, ReadError, ReadResult};
pub use extent::Extent;
pub use features::FeatureWords;
pub use groups::{Group, GroupFlags};
pub use inode::{DeviceNumber, Inode};
pub use journal::Recovery;
pub use source::Source;
pub use space::FreeRun;
pub use superblock_info::SuperblockInfo;
pub use walk::{Walk, WalkEntry};

use std::fmt;

use crate::metadata::FileKind;
use crate::record::superblock::Superblock;
use device::{Device, Overlay};
use extent::MapItem;
use features::Feature;
use layout::{Layout, SUPERBLOCK_OFFSET};
use map::Map;

/// The number of the root's inode.
pub const ROOT_INODE: u32 = 2;

/// What to do with a symbolic link at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Go on to what it leads to, as `stat` does.
    Follow,
    /// Take the link itself, as `lstat` does.
    Keep,
}

/// A filesystem that is read.
pub struct Reader<S> {
    device: Device<S>,
    layout: Layout,
    superblock: SuperblockInfo,
    recovery: Option<Recovery>,
}

impl<S> fmt::Debug for Reader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("device", &self.device)
            .field("superblock", &self.superblock)
            .field("recovery", &self.recovery)
            .finish_non_exhaustive()
    }
}

impl<S: Source> Reader<S> {
    /// Opens the filesystem in `source`, which begins at its first byte.
    ///
    /// If it was not unmounted, its journal is replayed in memory.
    ///
    /// # Errors
    /// When it is none, is cut short or damaged, or has features that are not read.
    pub fn open(source: S) -> ReadResult<Self> {
        let mut reader = Self::open_unreplayed(source)?;
        let must_replay =
            reader.layout.has(Feature::HAS_JOURNAL) && reader.layout.has(Feature::NEEDS_RECOVERY);
        if !must_replay {
            return Ok(reader);
        }
        let Some(number) = reader.superblock.journal_inode else {
            return Err(ReadError::Unsupported {
                what: "an image that was not unmounted".to_owned(),
                reason: "its journal is on another device; run e2fsck with that",
            });
        };
        let (overlay, recovery) = reader.replay(number)?;
        reader.device = reader.device.replaced(overlay);
        let superblock = read_superblock(&reader.device)?;
        // No kernel changes it, and the blocks of the journal are of the size before.
        let (before, block) =
            (reader.layout.block.bytes(), layout::block_size(&superblock)?.bytes());
        if block != before {
            let detail = format!(
                "the journal replaces it by one with blocks of {block} bytes, before they have \
                 {before}"
            );
            return Err(ReadError::corrupt(Part::Superblock, detail));
        }
        let layout = layout_of(&reader.device, &superblock)?;
        reader.device.blocks = layout.blocks;
        (reader.superblock, reader.layout) = (SuperblockInfo::new(&superblock, &layout), layout);
        reader.superblock.is_clean = false;
        reader.recovery = Some(recovery);
        Ok(reader)
    }

    /// Opens the filesystem as it lies, whatever its journal holds.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_unreplayed(source: S) -> ReadResult<Self> {
        // A block of the smallest size, as long as the superblock.
        let device = Device::new(source);
        let (superblock, layout) = superblock(&device)?;
        let device = device.sized(layout.block, layout.blocks);
        let info = SuperblockInfo::new(&superblock, &layout);
        Ok(Self { device, layout, superblock: info, recovery: None })
    }

    /// A filesystem of which the superblock is known, and that needs no recovery.
    pub(crate) fn over(device: Device<S>, layout: Layout, superblock: &Superblock) -> Self {
        let info = SuperblockInfo::new(superblock, &layout);
        Self { device, layout, superblock: info, recovery: None }
    }

    /// What the journal replaces.
    fn replay(&self, number: u32) -> ReadResult<(Overlay, Recovery)> {
        journal::replay(&self.device, &self.journal_inode(number)?)
    }

    /// What the journal replaced, if it was replayed in memory.
    pub(crate) fn into_replaced(self) -> Option<(Overlay, Recovery)> {
        let recovery = self.recovery?;
        Some((self.device.into_replaced(), recovery))
    }

    /// The inode of the journal. It is in one of the blocks that may not have been written yet, so
    /// where it is wrong the copy in the superblock counts.
    pub(crate) fn journal_inode(&self, number: u32) -> ReadResult<Inode> {
        let (device, layout) = (&self.device, &self.layout);
        let found = inode::read(device, layout, number);
        let is_journal = |inode: &Inode| inode.is(FileKind::Regular) && inode.links() > 0;
        match found {
            Ok(inode) if is_journal(&inode) => Ok(inode),
            Err(error @ ReadError::Io { .. }) => Err(error),
            unusable => {
                let superblock = read_superblock(device)?;
                inode::journal_backup(layout, &superblock, number)?.map_or(unusable, Ok)
            }
        }
    }

    /// What the superblock says, after the journal was replayed.
    #[must_use]
    pub const fn superblock(&self) -> &SuperblockInfo {
        &self.superblock
    }

    /// What the journal was replayed for; `None` if the image was unmounted.
    #[must_use]
    pub const fn recovery(&self) -> Option<Recovery> {
        self.recovery
    }

    /// The source.
    pub fn source(&self) -> &S {
        self.device.source()
    }

    /// The source, given back.
    #[must_use]
    pub fn into_source(self) -> S {
        self.device.into_source()
    }

    /// The root directory.
    ///
    /// # Errors
    /// When its inode is damaged, or no directory.
    pub fn root(&self) -> ReadResult<Inode> {
        let root = self.inode(ROOT_INODE)?;
        if !root.is(FileKind::Directory) {
            return Err(root.corrupt("it is to be the root, and is no directory"));
        }
        Ok(root)
    }

    /// An inode by its number.
    ///
    /// # Errors
    /// When there is none, it is not in use, or is damaged.
    pub fn inode(&self, number: u32) -> ReadResult<Inode> {
        let inode = inode::read(&self.device, &self.layout, number)?;
        if inode.links() == 0 {
            return Err(ReadError::FreeInode { inode: number });
        }
        Ok(inode)
    }

    /// Where an inode is in the filesystem, in bytes.
    ///
    /// # Errors
    /// When there is none of this number, or its group's descriptor is damaged.
    pub fn inode_offset(&self, number: u32) -> ReadResult<u64> {
        inode::offset(&self.device, &self.layout, number)
    }

    /// The names in a directory, without `.` and `..`, in the order in which they stand on disk.
    ///
    /// # Errors
    /// When it is no directory.
    pub fn read_directory<'a>(&'a self, directory: &'a Inode) -> ReadResult<ReadDirectory<'a, S>> {
        ReadDirectory::new(&self.device, &self.layout, directory)
    }

    /// The extended attributes of an inode, those that the kernel shows: of `user`, `trusted`,
    /// `security` and `gnu`, and the POSIX ACLs.
    ///
    /// # Errors
    /// When they are damaged.
    pub fn attributes(&self, inode: &Inode) -> ReadResult<Vec<Attribute>> {
        attributes::read(&self.device, &self.layout, inode)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// When it is none, is damaged or encrypted.
    pub fn read_link(&self, link: &Inode) -> ReadResult<Vec<u8>> {
        if !link.is(FileKind::Symlink) {
            return Err(ReadError::WrongKind { inode: link.number(), needs: "a symbolic link" });
        }
        content::read_link(&self.device, link, self.cluster_sectors())
    }

    /// The parts of a file: data, holes, reserved blocks.
    ///
    /// # Errors
    /// When the inode has no content, or its map is damaged.
    pub fn segments<'a>(&'a self, file: &'a Inode) -> ReadResult<Segments<'a, S>> {
        has_content(file)?;
        Segments::new(&self.device, file, 0)
    }

    /// Fills `buffer` from the byte `offset` of a file on, as far as the file goes; returns how
    /// many bytes that were.
    ///
    /// # Errors
    /// When the inode has no content, or its map is damaged.
    pub fn read_at(&self, file: &Inode, offset: u64, buffer: &mut [u8]) -> ReadResult<usize> {
        has_content(file)?;
        content::read_at(&self.device, file, offset, buffer)
    }

    /// The content of a file as a stream; its errors carry a [`ReadError`].
    ///
    /// # Errors
    /// When the inode has no content, or its map is damaged.
    pub fn contents<'a>(&'a self, file: &'a Inode) -> ReadResult<Contents<'a, S>> {
        has_content(file)?;
        Contents::new(&self.device, file)
    }

    /// Where the blocks of an inode are, in the order of the file. Blocks behind the file's size
    /// are told as well; content inside the inode has none.
    ///
    /// # Errors
    /// When the map is damaged.
    pub fn extents<'a>(
        &'a self,
        inode: &'a Inode,
    ) -> ReadResult<impl Iterator<Item = ReadResult<Extent>> + use<'a, S>> {
        let items = self.map(inode)?;
        Ok(items.filter_map(|item| match item {
            Ok(MapItem::Run(extent)) => Some(Ok(extent)),
            Ok(MapItem::Node(_)) => None,
            Err(error) => Some(Err(error)),
        }))
    }

    /// The blocks that the map of an inode itself takes: nodes of the extent tree, or blocks of
    /// addresses.
    ///
    /// # Errors
    /// When the map is damaged.
    pub fn map_blocks<'a>(
        &'a self,
        inode: &'a Inode,
    ) -> ReadResult<impl Iterator<Item = ReadResult<u64>> + use<'a, S>> {
        let items = self.map(inode)?;
        Ok(items.filter_map(|item| match item {
            Ok(MapItem::Node(block)) => Some(Ok(block)),
            Ok(MapItem::Run(_)) => None,
            Err(error) => Some(Err(error)),
        }))
    }

    /// A group's descriptor.
    ///
    /// # Errors
    /// When there is no such group, or it is damaged.
    pub fn group(&self, number: u32) -> ReadResult<Group> {
        if number >= self.layout.groups {
            let detail = format!("there are {} groups", self.layout.groups);
            return Err(ReadError::corrupt(Part::Group(number), detail));
        }
        groups::read(&self.device, &self.layout, number)
    }

    /// All groups' descriptors.
    pub fn groups(&self) -> impl Iterator<Item = ReadResult<Group>> + use<'_, S> {
        (0..self.layout.groups).map(|number| self.group(number))
    }

    /// The runs of free blocks of a group, by its bitmap.
    ///
    /// # Errors
    /// When the group's descriptor or bitmap is damaged.
    pub fn free_runs(&self, group: u32) -> ReadResult<Vec<FreeRun>> {
        self.group(group)?;
        space::free_runs(&self.device, &self.layout, group)
    }

    /// How many inodes of a group are free, by its bitmap.
    ///
    /// # Errors
    /// When the group's descriptor or bitmap is damaged.
    pub fn free_inodes(&self, group: u32) -> ReadResult<u64> {
        let group = self.group(group)?;
        Ok(space::inodes(&self.device, &self.layout, &group)?.free())
    }

    /// What a block of attributes adds to an inode's sectors, where that can be told.
    fn cluster_sectors(&self) -> Option<u64> {
        let sectors = self.superblock.cluster_size / 512;
        (!self.layout.has(Feature::EA_INODE)).then_some(sectors)
    }

    fn map<'a>(
        &'a self,
        inode: &'a Inode,
    ) -> ReadResult<impl Iterator<Item = ReadResult<MapItem>> + use<'a, S>> {
        let has_map = inode.is(FileKind::Regular)
            || inode.is(FileKind::Directory)
            || (inode.is(FileKind::Symlink)
                && !content::is_short_link(inode, self.cluster_sectors()));
        let mut map = has_map.then(|| Map::new(&self.device, inode, 0)).transpose()?;
        Ok(std::iter::from_fn(move || map.as_mut()?.next(&self.device, inode)))
    }
}

/// The superblock and what follows from it.
pub(crate) fn superblock<S: Source>(device: &Device<S>) -> ReadResult<(Superblock, Layout)> {
    let superblock = read_superblock(device)?;
    let layout = layout_of(device, &superblock)?;
    Ok((superblock, layout))
}

fn read_superblock<S: Source>(device: &Device<S>) -> ReadResult<Superblock> {
    let mut bytes = [0; size_of::<Superblock>()];
    let length = device.length()?;
    if length < SUPERBLOCK_OFFSET.saturating_mul(2) {
        let detail = format!("{length} bytes are too few for a superblock");
        return Err(ReadError::NotExt4 { detail });
    }
    device.read(SUPERBLOCK_OFFSET, &mut bytes)?;
    layout::parse(&bytes)
}

/// What follows from a superblock.
fn layout_of<S: Source>(device: &Device<S>, superblock: &Superblock) -> ReadResult<Layout> {
    let layout = Layout::new(superblock)?;
    let (needed, length) = (layout.bytes()?, device.length()?);
    if needed > length {
        return Err(ReadError::Truncated { needed, length });
    }
    Ok(layout)
}

fn has_content(inode: &Inode) -> ReadResult<()> {
    if inode.is(FileKind::Regular) {
        return Ok(());
    }
    Err(ReadError::WrongKind { inode: inode.number(), needs: "a regular file" })
}
