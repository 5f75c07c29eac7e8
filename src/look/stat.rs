//! Everything that can be said of one inode.

use ext4_writer::reader::{Attribute, Extent, Inode, Links};

use super::list::absolute;
use super::{Image, Status};
use crate::error::Result;

/// `EXT4_INLINE_DATA_FL`.
///
/// Source: kernel, `fs/ext4/ext4.h`.
const INLINE_DATA: u32 = 0x1000_0000;

/// What is known of an inode.
#[derive(Debug)]
pub(crate) struct Stat<'a> {
    image: &'a Image,
    inode: Inode,
    /// The path, as it was asked for.
    pub path: Vec<u8>,
    /// What every inode says.
    pub status: Status,
    /// The target of a symbolic link.
    pub target: Option<Vec<u8>>,
    /// The extended attributes.
    pub attributes: Vec<Attribute>,
    /// Where the inode is in the filesystem, in bytes.
    pub place: u64,
    /// Whether the content is in the inode.
    pub is_inline: bool,
    /// Whether the inode bears a checksum; a wrong one is an error.
    pub is_summed: bool,
}

impl<'a> Stat<'a> {
    /// Of the inode at `path`; a link is told itself, unless a slash follows it.
    pub(crate) fn new(image: &'a Image, path: &[u8]) -> Result<Self> {
        let inode = image.resolve(path, Links::Keep)?;
        let status = Status::new(&inode, image.name())?;
        let failed = |error| image.failed_at(path, error);
        let attributes = image.reader.attributes(&inode).map_err(failed)?;
        let target = image.target(&inode).map_err(failed)?;
        Ok(Self {
            image,
            path: if path.starts_with(b"<") { path.to_vec() } else { absolute(path) },
            target,
            attributes,
            place: image.reader.inode_offset(inode.number()).map_err(failed)?,
            is_inline: status.flags & INLINE_DATA != 0,
            is_summed: image.facts().features.has_name("metadata_csum"),
            status,
            inode,
        })
    }

    /// Where its blocks are, in the order of the file.
    pub(crate) fn extents(&self) -> Result<impl Iterator<Item = Result<Extent>>> {
        let failed = |error| self.image.failed_at(&self.path, error);
        let extents = self.image.reader.extents(&self.inode).map_err(failed)?;
        Ok(extents.map(move |extent| extent.map_err(failed)))
    }

    /// The blocks that the map of its blocks takes.
    pub(crate) fn map_blocks(&self) -> Result<impl Iterator<Item = Result<u64>>> {
        let failed = |error| self.image.failed_at(&self.path, error);
        let blocks = self.image.reader.map_blocks(&self.inode).map_err(failed)?;
        Ok(blocks.map(move |block| block.map_err(failed)))
    }
}
