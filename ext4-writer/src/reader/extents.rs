//! The extent tree, from left to right.
//!
//! Source of the checks: kernel, `fs/ext4/extents.c`, `__ext4_ext_check`.

use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use crate::reader::device::Device;
use crate::reader::error::{Part, ReadError, ReadResult};
use crate::reader::extent::{Extent, MapItem};
use crate::reader::inode::Inode;
use crate::reader::source::Source;
use crate::record::extent::{ENTRY_SIZE, Header, Index, Leaf, MAGIC, MAX_DEPTH, MAX_LENGTH};
use crate::record::wide48;

/// The blocks that a file can have: their numbers have 32 bits.
const FILE_BLOCKS: u64 = 1 << 32;

/// The walk: the nodes from the root to the place that was reached.
pub(crate) struct ExtentMap {
    path: Vec<Node>,
    /// Everything before this block of the file was met, or is not asked for.
    from: u64,
}

/// A node on the way.
struct Node {
    bytes: Vec<u8>,
    part: Part,
    depth: u16,
    entries: usize,
    next: usize,
    /// Where the file blocks of this node begin and end, as the node above says.
    first: u64,
    end: u64,
}

impl ExtentMap {
    pub(crate) fn new(inode: &Inode, from: u64) -> ReadResult<Self> {
        let bytes = inode.record.block.to_vec();
        let root = Node::new(bytes, inode.part(), None, 0..FILE_BLOCKS)?;
        Ok(Self { path: vec![root], from })
    }

    pub(crate) fn next<S: Source>(
        &mut self,
        device: &Device<S>,
        inode: &Inode,
    ) -> Option<ReadResult<MapItem>> {
        while let Some(node) = self.path.last_mut() {
            if node.next == node.entries {
                self.path.pop();
                continue;
            }
            let step = if node.depth == 0 { node.run(self.from) } else { node.below(self.from) };
            match step {
                Ok(None) => {}
                Ok(Some(Step::Run(extent))) => {
                    self.from = extent.end();
                    return Some(Ok(MapItem::Run(extent)));
                }
                Ok(Some(Step::Down(down))) => return Some(self.descend(device, inode, &down)),
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }

    fn descend<S: Source>(
        &mut self,
        device: &Device<S>,
        inode: &Inode,
        down: &Down,
    ) -> ReadResult<MapItem> {
        let part = Part::MapNode { inode: inode.number(), block: down.block };
        let bytes = device.read_block(down.block, inode.part())?;
        verify(inode, &bytes, part)?;
        self.path.push(Node::new(bytes, part, Some(down.depth), down.first..down.end)?);
        Ok(MapItem::Node(down.block))
    }
}

/// What an entry leads to.
enum Step {
    Run(Extent),
    Down(Down),
}

struct Down {
    block: u64,
    depth: u16,
    first: u64,
    end: u64,
}

/// Compares the checksum behind the last possible entry.
fn verify(inode: &Inode, bytes: &[u8], part: Part) -> ReadResult<()> {
    if !inode.seed.is_enabled() {
        return Ok(());
    }
    let max = Header::read_from_prefix(bytes).map_or(0, |(header, _)| header.max.get());
    let tail = usize::from(max).saturating_add(1).saturating_mul(ENTRY_SIZE);
    let stored = bytes.get(tail..).and_then(|rest| U32::read_from_prefix(rest).ok());
    let Some((stored, _)) = stored else {
        return Err(ReadError::corrupt(part, format!("it has room for {max} entries")));
    };
    ReadError::verify(part, stored.get(), inode.seed.sum(bytes.get(..tail).unwrap_or_default()))
}

impl Node {
    /// Checks a node, which is at `depth` above the leaves if that is known.
    fn new(
        bytes: Vec<u8>,
        part: Part,
        depth: Option<u16>,
        blocks: std::ops::Range<u64>,
    ) -> ReadResult<Self> {
        let wrong = |detail: String| ReadError::corrupt(part, detail);
        let (header, _) = Header::read_from_prefix(&bytes)
            .map_err(|_| wrong("an extent node is cut short".to_owned()))?;
        let magic = header.magic.get();
        if magic != MAGIC {
            return Err(wrong(format!("the magic number of its extents is {magic:#06x}")));
        }
        let (found, entries) = (header.depth.get(), header.entries.get());
        if found > MAX_DEPTH || depth.is_some_and(|depth| depth != found) {
            return Err(wrong(format!("its extents are {found} levels above the leaves")));
        }
        let (room, max) = (bytes.len() / ENTRY_SIZE - 1, usize::from(header.max.get()));
        let is_empty = entries == 0 && found > 0;
        if max == 0 || max > room || usize::from(entries) > max || is_empty {
            return Err(wrong(format!(
                "it has {entries} extents, room for {max}, space for {room}"
            )));
        }
        let entries = usize::from(entries);
        let (first, end) = (blocks.start, blocks.end);
        Ok(Self { bytes, part, depth: found, entries, next: 0, first, end })
    }

    fn entry<T: FromBytes>(&self, number: usize) -> ReadResult<T> {
        let place = number.saturating_add(1).saturating_mul(ENTRY_SIZE);
        let entry = self.bytes.get(place..).and_then(|rest| T::read_from_prefix(rest).ok());
        entry.map(|(entry, _)| entry).ok_or_else(|| self.wrong(number, "is cut short"))
    }

    fn wrong(&self, number: usize, what: &str) -> ReadError {
        ReadError::corrupt(self.part, format!("extent {number} of {} {what}", self.entries))
    }

    /// The next extent, unless it ends before `from`.
    fn run(&mut self, from: u64) -> ReadResult<Option<Step>> {
        let leaf: Leaf = self.entry(self.next)?;
        let (first, raw) = (u64::from(leaf.block.get()), u64::from(leaf.len.get()));
        // A length above the longest is that of an unwritten extent.
        let unwritten = raw > MAX_LENGTH;
        let length = if unwritten { raw - MAX_LENGTH } else { raw };
        let end = first.saturating_add(length);
        if length == 0 || first < self.first || end > self.end {
            return Err(self.wrong(self.next, "is out of order"));
        }
        self.first = end;
        self.next = self.next.saturating_add(1);
        if end <= from {
            return Ok(None);
        }
        let skipped = from.saturating_sub(first);
        let start = wide48(leaf.start_lo, leaf.start_hi);
        Ok(Some(Step::Run(Extent {
            file_block: first.saturating_add(skipped),
            block: start.saturating_add(skipped),
            length: length - skipped,
            unwritten,
        })))
    }

    /// The next node below, unless all of it is before `from`.
    fn below(&mut self, from: u64) -> ReadResult<Option<Step>> {
        let index: Index = self.entry(self.next)?;
        let first = u64::from(index.block.get());
        let behind = self.next.saturating_add(1);
        let end = if behind < self.entries {
            u64::from(self.entry::<Index>(behind)?.block.get())
        } else {
            self.end
        };
        if first < self.first || end <= first {
            return Err(self.wrong(self.next, "is out of order"));
        }
        self.first = end;
        self.next = behind;
        if end <= from {
            return Ok(None);
        }
        let block = wide48(index.leaf_lo, index.leaf_hi);
        Ok(Some(Step::Down(Down { block, depth: self.depth - 1, first, end })))
    }
}
