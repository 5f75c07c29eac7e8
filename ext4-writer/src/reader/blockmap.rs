//! The block map of ext2 and ext3: twelve addresses, then blocks of addresses, up to three deep.
//!
//! Source: kernel, `fs/ext4/indirect.c`.

use crate::format::units::BlockSize;
use crate::reader::device::Device;
use crate::reader::error::{Part, ReadResult};
use crate::reader::extent::{Extent, MapItem};
use crate::reader::inode::Inode;
use crate::reader::source::Source;

/// The addresses of the file's first blocks: `EXT4_NDIR_BLOCKS`.
const DIRECT: u64 = 12;
/// The bytes of an address.
const ADDRESS: usize = 4;

/// The walk: the blocks of addresses from the inode to the place that was reached.
pub(crate) struct BlockMap {
    path: Vec<Level>,
    from: u64,
    /// The addresses in a block.
    per_block: u64,
    /// A run that grew until the next address was met.
    run: Option<Extent>,
    /// What was met behind the run.
    held: Option<MapItem>,
}

/// Addresses on the way.
struct Level {
    addresses: Vec<u8>,
    next: usize,
    /// The block of the file that the next address stands for.
    file_block: u64,
    /// How many levels of addresses are below; in the inode it depends on the address.
    depth: Option<u32>,
}

impl BlockMap {
    pub(crate) fn new(inode: &Inode, block: BlockSize, from: u64) -> Self {
        let addresses = inode.record.block.to_vec();
        let root = Level { addresses, next: 0, file_block: 0, depth: None };
        Self { path: vec![root], from, per_block: block.addresses(), run: None, held: None }
    }

    /// Runs are as long as their blocks follow one another.
    pub(crate) fn next<S: Source>(
        &mut self,
        device: &Device<S>,
        inode: &Inode,
    ) -> Option<ReadResult<MapItem>> {
        if let Some(item) = self.held.take() {
            return Some(Ok(item));
        }
        loop {
            match self.step(device, inode) {
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(MapItem::Run(one))) => match &mut self.run {
                    Some(run) if follows(run, &one) => run.length = run.length.saturating_add(1),
                    run => {
                        if let Some(run) = run.replace(one) {
                            return Some(Ok(MapItem::Run(run)));
                        }
                    }
                },
                Some(Ok(node)) => {
                    let Some(run) = self.run.take() else { return Some(Ok(node)) };
                    self.held = Some(node);
                    return Some(Ok(MapItem::Run(run)));
                }
                None => return self.run.take().map(|run| Ok(MapItem::Run(run))),
            }
        }
    }

    /// The next address that is not a hole's: a block of the file or of addresses.
    fn step<S: Source>(
        &mut self,
        device: &Device<S>,
        inode: &Inode,
    ) -> Option<ReadResult<MapItem>> {
        while let Some(level) = self.path.last_mut() {
            let place = level.next.saturating_mul(ADDRESS);
            let Some(bytes) = level.addresses.get(place..).and_then(|rest| rest.first_chunk())
            else {
                self.path.pop();
                continue;
            };
            let block = u64::from(u32::from_le_bytes(*bytes));
            let depth = level.depth.unwrap_or_else(|| root_depth(level.next));
            let (first, span) = (level.file_block, self.per_block.saturating_pow(depth));
            level.next = level.next.saturating_add(1);
            level.file_block = first.saturating_add(span);
            if block == 0 || level.file_block <= self.from {
                continue;
            }
            if depth == 0 {
                let extent = Extent { file_block: first, block, length: 1, unwritten: false };
                return Some(Ok(MapItem::Run(extent)));
            }
            let below =
                Level { addresses: Vec::new(), next: 0, file_block: first, depth: Some(depth - 1) };
            return Some(self.descend(device, inode, block, below));
        }
        None
    }

    fn descend<S: Source>(
        &mut self,
        device: &Device<S>,
        inode: &Inode,
        block: u64,
        mut below: Level,
    ) -> ReadResult<MapItem> {
        below.addresses =
            device.read_block(block, Part::MapNode { inode: inode.number(), block })?;
        self.path.push(below);
        Ok(MapItem::Node(block))
    }
}

fn follows(run: &Extent, one: &Extent) -> bool {
    one.file_block == run.end() && one.block == run.block.saturating_add(run.length)
}

/// How many levels of addresses are below an address of the inode.
fn root_depth(place: usize) -> u32 {
    match u64::try_from(place).unwrap_or(u64::MAX).checked_sub(DIRECT) {
        None => 0,
        Some(0) => 1,
        Some(1) => 2,
        Some(_) => 3,
    }
}
