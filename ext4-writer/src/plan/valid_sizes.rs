//! Which sizes are filesystems: those that end behind what their last group keeps for itself and
//! hold at least an empty root.

use crate::alloc::Allocator;
use crate::error::{Error, Result};
use crate::format::Format;
use crate::format::group_layout::GroupLayout;
use crate::format::units::{BlockCount, BlockIndex};
use crate::geometry::{self, Geometry, InodeDemand};
use crate::options::{Options, Size};
use crate::plan::places::FULL_IS_TOO_LITTLE;
use crate::plan::{Allocated, Plan};
use crate::sink::InitialContents;
use crate::tree::Tree;

/// The most blocks of which one in two may be taken by the filesystem itself without every place
/// being looked for: directories, maps and the like of an empty tree are far fewer than the rest.
const SMALL: u64 = 16 << 10;
const ONE: BlockCount = BlockCount::new(1);
/// How many groups, of all sizes together, are looked at before it is said that no size near is
/// valid.
const MAX_GROUPS_VISITED: u64 = 200_000;

/// Refuses a fixed size that is no filesystem, and names the nearest that are.
pub(crate) fn check_fixed(bytes: u64, options: &Options, format: &Format) -> Result<()> {
    let sizes = Sizes { options, format };
    let blocks = format.block.whole_blocks(bytes);
    let is_whole = format.block.bytes_in(blocks) == bytes;
    let next = sizes.next_valid(format.block.blocks_for(bytes))?;
    if is_whole && next == Some(blocks) {
        return Ok(());
    }
    let problem =
        if is_whole { "hold no whole filesystem" } else { "are no multiple of the block size" };
    let size = |blocks| format.block.bytes_in(blocks);
    let nearest = match (sizes.valid_below(blocks).map(size), next.map(size)) {
        (Some(below), Some(above)) => format!("the nearest valid sizes are {below} and {above}"),
        (None, Some(above)) => format!("the next valid size is {above}"),
        (_, None) => "the journal and the inodes asked for leave no room in any near size".into(),
    };
    let reason = format!("{bytes} bytes {problem}; {nearest}");
    Err(Error::InvalidOption { option: "size", reason })
}

/// The largest size of a filesystem with these options on a device of so many bytes: nearly always
/// all of it but for less than a block, else all whole groups. The size in the options does not
/// count.
///
/// # Errors
/// [`Error::InvalidOption`] when the device is too small, and whatever is wrong with the options.
pub fn largest_size(options: &Options, capacity: u64) -> Result<u64> {
    let format = Format::new(options)?;
    let sizes = Sizes { options, format: &format };
    let blocks = format.block.whole_blocks(capacity);
    let bytes = format.block.bytes_in(blocks);
    if blocks > BlockCount::ZERO && sizes.next_valid(blocks)? == Some(blocks) {
        return Ok(bytes);
    }
    let below = sizes.valid_below(blocks.max(ONE)).map(|below| format.block.bytes_in(below));
    below.ok_or_else(|| {
        let reason = format!("{capacity} bytes hold no whole filesystem");
        Error::InvalidOption { option: "size", reason }
    })
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

    /// The smallest valid size of at least so many blocks, if it can be found.
    ///
    /// As in fitting, no size between one that misses some blocks and one that is larger by as
    /// many can do, unless there is a group more.
    fn next_valid(&self, from: BlockCount) -> Result<Option<BlockCount>> {
        let mut blocks = from.max(BlockCount::new(1));
        let mut visited = 0;
        while visited < MAX_GROUPS_VISITED {
            let layout = self.layout(blocks)?;
            visited += 10 + layout.groups_in(blocks);
            let whole = layout.whole_group(blocks);
            if whole != blocks {
                blocks = whole;
                continue;
            }
            let missing = self.missing_for_a_root(blocks, &layout)?;
            if missing == BlockCount::ZERO {
                return Ok(Some(blocks));
            }
            let next_group = layout.group_start(layout.groups_in(blocks));
            let larger = blocks + missing;
            blocks = larger.min(BlockCount::new(next_group.get()).max(blocks + ONE));
        }
        Ok(None)
    }

    /// The largest valid size of fewer blocks, if it is easy to tell: that without the last group.
    fn valid_below(&self, blocks: BlockCount) -> Option<BlockCount> {
        let layout = self.layout(blocks).ok()?;
        let last = layout.groups_in(blocks).checked_sub(1).filter(|last| *last > 0)?;
        let below = match BlockCount::new(layout.group_start(last).get()) {
            start if layout.whole_group(blocks) == blocks => start.max(blocks),
            start => start,
        };
        (self.next_valid(below).ok()? == Some(below)).then_some(below)
    }

    /// The blocks that an empty root misses in a filesystem of so many.
    fn missing_for_a_root(&self, blocks: BlockCount, layout: &GroupLayout) -> Result<BlockCount> {
        let options = self.options_of(blocks);
        let empty = InodeDemand { used: 0 };
        // Whatever is wrong but the room is said where it stands.
        let Ok(geometry) = Geometry::new(&options, self.format, layout, blocks, empty) else {
            return Ok(BlockCount::ZERO);
        };
        let own = layout.kept_below(geometry.end()) + geometry.own_blocks(layout);
        if blocks.get() > SMALL && own.get() < blocks.get() / 2 {
            return Ok(BlockCount::ZERO);
        }
        let allocator = Allocator::new(layout.clone(), Some(BlockIndex::new(blocks.get())));
        let tree = Tree::new(options.epoch, self.format)?;
        let plan = Allocated::new(&options, self.format, allocator).and_then(|allocated| {
            Plan::new(&tree, allocated, &options, self.format, InitialContents::Zeros).map(drop)
        });
        match plan {
            Err(Error::ImageFull { needed, available }) => {
                let missing = needed.checked_sub(available).ok_or(FULL_IS_TOO_LITTLE)?;
                Ok(BlockCount::new(missing).max(ONE))
            }
            Ok(()) | Err(_) => Ok(BlockCount::ZERO),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::Builder;
    use crate::format::features::Features;
    use crate::options::Journal;
    use crate::sink::CountingSink;

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
    fn an_invalid_size_names_valid_neighbours() {
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
            assert!(tiny.contains("the next valid size is "), "{tiny}");
        }
    }

    /// Whatever takes the room: the next valid size is one.
    #[test]
    fn the_next_valid_size_has_room_for_all_that_was_asked_for() {
        type Change = fn(&mut Options);
        let changes: [(u64, Change); 4] = [
            (2 << 20, |options| options.journal = Journal::Size(256 << 20)),
            (2 << 20, |options| options.inodes = Some(30_000)),
            (32 << 10, |options| options.bytes_per_inode = Some(1024)),
            (32 << 10, |options| options.features -= Features::FLEX_BG),
        ];
        for (small, change) in changes {
            let mut options = Options::new(Size::Fixed(small));
            change(&mut options);
            let format = Format::new(&options).unwrap();
            let named = check_fixed(small, &options, &format).unwrap_err().to_string();
            let valid = named.rsplit(' ').next().unwrap().parse().unwrap();
            for (bytes, is_valid) in [(valid, true), (valid - 4096, false)] {
                options.size = Size::Fixed(bytes);
                assert_eq!(check_fixed(bytes, &options, &format).is_ok(), is_valid, "{named}");
            }
            options.size = Size::Fixed(valid);
            Builder::create(CountingSink::new(), options).unwrap().finish().unwrap();
        }
    }

    #[test]
    fn a_filesystem_that_is_all_inodes_has_no_valid_size() {
        let mut options = Options::new(Size::Fixed(1 << 30));
        (options.block_size, options.inode_size, options.bytes_per_inode) =
            (1024, 1024, Some(1024));
        let format = Format::new(&options).unwrap();
        let refused = check_fixed(1 << 30, &options, &format).unwrap_err().to_string();
        assert!(refused.contains("leave no room"), "{refused}");
    }
}
