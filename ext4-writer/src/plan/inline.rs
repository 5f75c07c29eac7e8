//! Content inside its inode: the bytes of small files, and the entries of small directories.
//!
//! Source: kernel, `fs/ext4/inline.c`: the first 60 bytes are in `i_block`, what is behind them is
//! the value of the attribute `system.data`, which is there even when it is empty. In a directory
//! the first four bytes are the parent, and entries fill what is left of `i_block` and, anew, the
//! value.

use crate::error::{Error, Result, internal};
use crate::format::Format;
use crate::plan::directory::{Dots, Named, entry_area};
use crate::plan::nodes::NodePlan;
use crate::plan::packing::fill;
use crate::record::directory::{ALIGNMENT, entry_size};
use crate::record::inode::BLOCK_MAP_SIZE;
use crate::sink::widen;
use crate::tree::{Content, Node};

/// The bytes of a directory's parent: `EXT4_INLINE_DOTDOT_SIZE`.
const PARENT: usize = 4;
/// What of `i_block` is left for entries.
const FIRST_AREA: usize = BLOCK_MAP_SIZE - PARENT;

/// Content as an inode holds it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InlineData {
    /// `i_size`.
    pub size: u64,
    /// `i_block`.
    pub block: [u8; BLOCK_MAP_SIZE],
    /// The value of `system.data`.
    pub rest: Vec<u8>,
}

/// Which of a directory's names are in which area.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Areas {
    /// In the order of the names.
    in_first: Vec<bool>,
    /// The bytes of the others' entries.
    rest: usize,
}

impl Areas {
    /// The areas of a directory with these names, if it is small enough for the longest value.
    pub(crate) fn choose<'a>(
        names: impl Iterator<Item = &'a [u8]>,
        format: &Format,
    ) -> Option<Self> {
        let most = format.inline_capacity()? - BLOCK_MAP_SIZE;
        let mut sizes = Vec::new();
        let mut total = 0;
        for name in names {
            let size = entry_size(name.len());
            total += size;
            if total > FIRST_AREA + most {
                return None;
            }
            sizes.push(size);
        }
        let in_first = fill(&sizes, FIRST_AREA, ALIGNMENT);
        let others = sizes.iter().zip(&in_first).filter(|(_, first)| !**first);
        let rest = others.map(|(size, _)| size).sum();
        (rest <= most).then_some(Self { in_first, rest })
    }

    /// The length of `system.data`.
    pub(crate) fn rest(&self) -> usize {
        self.rest
    }

    /// The directory's content.
    pub(crate) fn render(&self, dots: Dots, names: &[Named<'_>]) -> Result<InlineData> {
        let area = |first: bool, length| {
            let chosen = names.iter().zip(&self.in_first).filter(|(_, is)| **is == first);
            entry_area(chosen.map(|(name, _)| name), length)
        };
        let mut bytes = dots.parent.get().to_le_bytes().to_vec();
        bytes.extend(area(true, FIRST_AREA)?);
        let block = bytes.try_into().map_err(|_| AREAS_ARE_FULL)?;
        let rest = area(false, self.rest)?;
        Ok(InlineData { size: widen(BLOCK_MAP_SIZE + self.rest), block, rest })
    }
}

const AREAS_ARE_FULL: Error = internal("the entries of a small directory fill their areas");

impl InlineData {
    /// The content of a file.
    pub(crate) fn of_file(bytes: &[u8]) -> Self {
        let mut block = [0; BLOCK_MAP_SIZE];
        for (place, byte) in block.iter_mut().zip(bytes) {
            *place = *byte;
        }
        let rest = bytes.get(BLOCK_MAP_SIZE..).unwrap_or_default().to_vec();
        Self { size: widen(bytes.len()), block, rest }
    }
}

/// The length of `system.data` for a file of these bytes.
pub(crate) fn rest_of_file(bytes: &[u8]) -> usize {
    bytes.len().saturating_sub(BLOCK_MAP_SIZE)
}

/// The length of the node's `system.data` if its content is in its inode.
pub(crate) fn rest(node: &Node, plan: &NodePlan) -> Option<usize> {
    match &node.content {
        Content::Inline(bytes) if plan.blocks.as_slice().is_empty() => Some(rest_of_file(bytes)),
        Content::Directory(_) => plan.areas.as_ref().map(Areas::rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Features;
    use crate::metadata::FileKind;
    use crate::options::{Options, Size};
    use crate::units::InodeNumber;

    fn format() -> Format {
        let mut options = Options::new(Size::Fixed(0));
        options.features |= Features::INLINE_DATA;
        Format::new(&options).unwrap()
    }

    fn areas(lengths: &[usize]) -> Option<Areas> {
        let names: Vec<Vec<u8>> = lengths.iter().map(|length| vec![b'n'; *length]).collect();
        Areas::choose(names.iter().map(Vec::as_slice), &format())
    }

    #[test]
    fn both_areas_are_filled_to_the_byte() {
        // 56 bytes behind the parent and 256 - 128 - 32 - 4 - 4 - 20 = 68 in the value.
        assert_eq!(areas(&[48, 60]).unwrap().rest, 68);
        assert_eq!(areas(&[48, 61]), None);
        // 20 + 36 fill the first area: in their order, 20 + 24 would.
        assert_eq!(areas(&[12, 16, 28, 36]).unwrap().rest, 24 + 44);
        assert_eq!(areas(&[49, 49]), None);
        assert_eq!(areas(&[]).unwrap().rest, 0);
    }

    #[test]
    fn the_last_entry_of_an_area_reaches_to_its_end() {
        let [own, parent, inode] = [2, 7, 12].map(InodeNumber::new);
        let named = [Named { name: b"n", inode, kind: FileKind::Regular }];
        let data = areas(&[1]).unwrap().render(Dots { own, parent }, &named).unwrap();
        assert_eq!((data.size, data.rest.len()), (60, 0));
        assert_eq!(data.block[..13], [7, 0, 0, 0, 12, 0, 0, 0, 56, 0, 1, 1, b'n']);
        let empty = areas(&[]).unwrap().render(Dots { own, parent }, &[]).unwrap();
        assert_eq!(empty.block[..12], [7, 0, 0, 0, 0, 0, 0, 0, 56, 0, 0, 0]);
    }
}
