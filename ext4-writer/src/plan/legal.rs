//! Which sizes are filesystems: those that end behind what their last group keeps for itself and
//! hold at least an empty root.

use crate::alloc::{GroupLayout, Space};
use crate::error::{Error, Result};
use crate::format::Format;
use crate::geometry;
use crate::options::{Options, Size};
use crate::plan::Plan;
use crate::sink::Prior;
use crate::tree::Tree;
use crate::units::{BlockCount, BlockIndex};

/// The sizes in blocks among which some are too small for any tree.
const SMALL: u64 = 16 << 10;

/// The size itself, or, if it ends inside what a group keeps, the end of that.
pub(crate) fn whole_group(blocks: BlockCount, layout: &GroupLayout) -> BlockCount {
    let last = layout.groups_in(blocks) - 1;
    let end = layout.group_start(last) + layout.kept_in(last);
    blocks.max(BlockCount::new(end.get()))
}

/// Refuses a fixed size that is no filesystem, and names the nearest that are.
pub(crate) fn check_fixed(bytes: u64, options: &Options, format: &Format) -> Result<()> {
    let sizes = Sizes { options, format };
    let blocks = format.block.whole_blocks(bytes);
    let is_whole = format.block.bytes_in(blocks) == bytes;
    let next = sizes.next_legal(format.block.blocks_for(bytes))?;
    if is_whole && next == blocks {
        return Ok(());
    }
    let problem =
        if is_whole { "hold no whole filesystem" } else { "are no multiple of the block size" };
    let above = format.block.bytes_in(next);
    let nearest = match sizes.legal_below(blocks) {
        Some(below) => {
            let below = format.block.bytes_in(below);
            format!("the nearest legal sizes are {below} and {above}")
        }
        None => format!("the next legal size is {above}"),
    };
    let reason = format!("{bytes} bytes {problem}; {nearest}");
    Err(Error::InvalidOption { option: "size", reason })
}

struct Sizes<'a> {
    options: &'a Options,
    format: &'a Format,
}

impl Sizes<'_> {
    fn options_of(&self, blocks: BlockCount) -> Options {
        let size = Size::Fixed(self.format.block.bytes_in(blocks));
        Options { size, ..self.options.clone() }
    }

    /// What the groups of a filesystem of so many blocks keep: that grows with the size.
    fn layout(&self, blocks: BlockCount) -> Result<GroupLayout> {
        geometry::layout(&self.options_of(blocks), self.format)
    }

    /// The smallest legal size of at least so many blocks.
    fn next_legal(&self, from: BlockCount) -> Result<BlockCount> {
        let mut blocks = from.max(BlockCount::new(1));
        loop {
            let whole = whole_group(blocks, &self.layout(blocks)?);
            if whole != blocks {
                blocks = whole;
            } else if self.holds_a_root(blocks)? {
                return Ok(blocks);
            } else {
                blocks += BlockCount::new(1);
            }
        }
    }

    /// The largest legal size of fewer blocks, if it is easy to tell: that without the last group.
    fn legal_below(&self, blocks: BlockCount) -> Option<BlockCount> {
        let layout = self.layout(blocks).ok()?;
        let last = layout.groups_in(blocks).checked_sub(1).filter(|last| *last > 0)?;
        let below = match BlockCount::new(layout.group_start(last).get()) {
            start if whole_group(blocks, &layout) == blocks => start.max(blocks),
            start => start,
        };
        (self.next_legal(below).ok()? == below).then_some(below)
    }

    fn holds_a_root(&self, blocks: BlockCount) -> Result<bool> {
        if blocks.get() > SMALL {
            return Ok(true);
        }
        let options = self.options_of(blocks);
        let space = Space::new(self.layout(blocks)?, Some(BlockIndex::new(blocks.get())));
        let tree = Tree::new(options.epoch, self.format)?;
        match Plan::new(&tree, space, &options, self.format, Prior::Zeros) {
            Err(Error::ImageFull { .. }) => Ok(false),
            // Whatever else is wrong is said where it stands.
            Ok(_) | Err(_) => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: u64) -> Option<String> {
        let mut options = Options::new(Size::Fixed(bytes));
        options.max_size = Some(1 << 40);
        let format = Format::new(&options).unwrap();
        match check_fixed(bytes, &options, &format) {
            Err(Error::InvalidOption { reason, .. }) => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn an_illegal_size_names_legal_neighbours() {
        assert_eq!(refused(32_768 * 4096), None);
        // A terabyte has 128 blocks of descriptors: with the superblock a copy is 129.
        assert_eq!(refused((32_768 + 129) * 4096), None);
        // Group 2 has no backup, so one block of it is enough.
        assert_eq!(refused((65_536 + 1) * 4096), None);
        let inside = refused((32_768 + 5) * 4096).unwrap();
        assert!(inside.ends_with("sizes are 134217728 and 134746112"), "{inside}");
        let odd = refused(40_000 * 4096 + 1).unwrap();
        assert!(odd.ends_with("sizes are 163840000 and 163844096"), "{odd}");
        for tiny in [0, 1, 4096] {
            let tiny = refused(tiny).unwrap();
            assert!(tiny.contains("the next legal size is "), "{tiny}");
        }
    }
}
