//! The map of an inode's blocks, walked in the order of the file: what both kinds of maps have in
//! common.

use crate::reader::blockmap::BlockMap;
use crate::reader::device::Device;
use crate::reader::error::{ReadError, ReadResult};
use crate::reader::extent::{Extent, MapItem};
use crate::reader::extents::ExtentMap;
use crate::reader::inode::Inode;
use crate::reader::source::Source;
use crate::record::inode::Flags;

enum Kind {
    /// The content is elsewhere.
    Nothing,
    Extents(ExtentMap),
    Blocks(BlockMap),
}

/// A walk through the map of one inode.
pub(crate) struct Map {
    kind: Kind,
    /// How many more blocks the filesystem has than were met: no block can be met twice.
    left: u64,
    failed: bool,
}

impl Map {
    /// A walk from the block `from` of the file on.
    pub(crate) fn new<S: Source>(device: &Device<S>, inode: &Inode, from: u64) -> ReadResult<Self> {
        let kind = if inode.has(Flags::INLINE_DATA) {
            Kind::Nothing
        } else if inode.has(Flags::EXTENTS) {
            Kind::Extents(ExtentMap::new(inode, from)?)
        } else {
            Kind::Blocks(BlockMap::new(inode, device.block, from))
        };
        Ok(Self { kind, left: device.blocks, failed: false })
    }

    /// The next thing, checked to lie within the filesystem.
    pub(crate) fn next<S: Source>(
        &mut self,
        device: &Device<S>,
        inode: &Inode,
    ) -> Option<ReadResult<MapItem>> {
        if self.failed {
            return None;
        }
        let item = match &mut self.kind {
            Kind::Nothing => return None,
            Kind::Extents(map) => map.next(device, inode)?,
            Kind::Blocks(map) => map.next(device, inode)?,
        };
        let item = item.and_then(|item| self.count(device, inode, item));
        self.failed = item.is_err();
        Some(item)
    }

    /// The next blocks of the file.
    pub(crate) fn next_run<S: Source>(
        &mut self,
        device: &Device<S>,
        inode: &Inode,
    ) -> Option<ReadResult<Extent>> {
        loop {
            match self.next(device, inode)? {
                Ok(MapItem::Node(_)) => {}
                Ok(MapItem::Run(extent)) => return Some(Ok(extent)),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn count<S: Source>(
        &mut self,
        device: &Device<S>,
        inode: &Inode,
        item: MapItem,
    ) -> ReadResult<MapItem> {
        let (start, length) = match item {
            MapItem::Node(block) => (block, 1),
            MapItem::Run(extent) => (extent.block, extent.length),
        };
        if start == 0 || !device.holds(start, length) {
            return Err(outside(device, inode, start, length));
        }
        self.left = self.left.checked_sub(length).ok_or_else(|| {
            inode.corrupt(format!("it has more blocks than the filesystem, {}", device.blocks))
        })?;
        Ok(item)
    }
}

fn outside<S: Source>(device: &Device<S>, inode: &Inode, start: u64, length: u64) -> ReadError {
    inode.corrupt(format!("it maps {length} blocks from block {start} on, of {}", device.blocks))
}
