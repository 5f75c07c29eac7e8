//! Which content lies inside its inode, and which names of a directory in which of its regions.

use crate::format::Format;
use crate::plan::packing::fill;
use crate::record::directory::{ALIGNMENT, entry_size};
use crate::record::inode::BLOCK_MAP_SIZE;
use crate::render::inline::{FIRST_REGION, InlineRegions};

/// The regions of a directory with these names, if it is small enough for the longest value.
pub(crate) fn choose<'a>(
    names: impl Iterator<Item = &'a [u8]>,
    format: &Format,
) -> Option<InlineRegions> {
    let most = format.inline_capacity()? - BLOCK_MAP_SIZE;
    let mut sizes = Vec::new();
    let mut total = 0;
    for name in names {
        let size = entry_size(name.len());
        total += size;
        if total > FIRST_REGION + most {
            return None;
        }
        sizes.push(size);
    }
    let in_first = fill(&sizes, FIRST_REGION, ALIGNMENT);
    let others = sizes.iter().zip(&in_first).filter(|(_, first)| !**first);
    let rest = others.map(|(size, _)| size).sum();
    (rest <= most).then(|| InlineRegions::new(in_first, rest))
}

/// The length of `system.data` for a file of these bytes.
pub(crate) fn rest_of_file(bytes: &[u8]) -> usize {
    bytes.get(BLOCK_MAP_SIZE..).map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::features::Features;
    use crate::format::units::InodeNumber;
    use crate::metadata::FileKind;
    use crate::options::{Options, Size};
    use crate::render::directory::{Dots, Named};

    fn format() -> Format {
        let mut options = Options::new(Size::Fixed(0));
        options.features |= Features::INLINE_DATA;
        Format::new(&options).unwrap()
    }

    fn regions(lengths: &[usize]) -> Option<InlineRegions> {
        let names: Vec<Vec<u8>> = lengths.iter().map(|length| vec![b'n'; *length]).collect();
        choose(names.iter().map(Vec::as_slice), &format())
    }

    #[test]
    fn both_regions_are_filled_to_the_byte() {
        // 56 bytes behind the parent and 256 - 128 - 32 - 4 - 4 - 20 = 68 in the value.
        assert_eq!(regions(&[48, 60]).unwrap().rest(), 68);
        assert_eq!(regions(&[48, 61]), None);
        // 20 + 36 fill the first region: in their order, 20 + 24 would.
        assert_eq!(regions(&[12, 16, 28, 36]).unwrap().rest(), 24 + 44);
        assert_eq!(regions(&[49, 49]), None);
        assert_eq!(regions(&[]).unwrap().rest(), 0);
    }

    #[test]
    fn the_last_entry_of_a_region_reaches_to_its_end() {
        let [own, parent, inode] = [2, 7, 12].map(InodeNumber::new);
        let named = [Named { name: b"n", inode, kind: FileKind::Regular }];
        let data = regions(&[1]).unwrap().render(Dots { own, parent }, &named).unwrap();
        assert_eq!((data.size, data.rest.len()), (60, 0));
        assert_eq!(data.block[..13], [7, 0, 0, 0, 12, 0, 0, 0, 56, 0, 1, 1, b'n']);
        let empty = regions(&[]).unwrap().render(Dots { own, parent }, &[]).unwrap();
        assert_eq!(empty.block[..12], [7, 0, 0, 0, 0, 0, 0, 0, 56, 0, 0, 0]);
    }
}
