//! Which attributes of a node are in its inode, which in its block, and whose values are in EA
//! inodes.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::attributes::Attribute;
use crate::error::{Error, Result, internal};
use crate::format::Format;
use crate::format::features::Features;
use crate::plan::packing::fill;
use crate::record::xattr::{ALIGNMENT, DATA_NAME, END, Header, attribute_size};
use crate::render::xattr::Stored;

/// The places of a node's attributes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Split<'a> {
    pub in_inode: Vec<Stored<'a>>,
    pub in_block: Vec<Stored<'a>>,
}

const CONTENT_FITS: Error = internal("content in an inode is no longer than the inode");

impl<'a> Split<'a> {
    /// Fills the inode as far as it can be filled, so that a block is needed only when nothing
    /// else helps and then has the least to hold; and if that is too much for a block, puts the
    /// largest values into EA inodes, as few as are needed. `rest` is the length of the attribute with
    /// content, which can be in the inode only.
    pub(crate) fn new(
        attributes: &'a [Attribute],
        rest: Option<usize>,
        format: &Format,
    ) -> Result<Self> {
        let content = rest.map_or(0, |rest| attribute_size(DATA_NAME.len(), rest));
        let room = format.attribute_list_room().checked_sub(content).ok_or(CONTENT_FITS)?;
        let limit = format.block.len() - size_of::<Header>() - END;
        let whole = Self::with_ea_inodes(attributes, [].iter(), room);
        if whole.block_size() <= limit || !format.has(Features::EA_INODE) {
            return whole.within(limit);
        }
        let largest = largest_first(attributes);
        let with = |count| Self::with_ea_inodes(attributes, largest.iter().take(count), room);
        // What is in EA inodes makes room: with one more nothing stops fitting.
        let counts: Vec<usize> = (1..=largest.len()).collect();
        let fitting = counts.partition_point(|count| with(*count).block_size() > limit);
        with(fitting + 1).within(limit)
    }

    fn with_ea_inodes<'p>(
        attributes: &'a [Attribute],
        in_ea_inodes: impl Iterator<Item = &'p usize>,
        room: usize,
    ) -> Self {
        let in_ea_inodes: BTreeSet<&usize> = in_ea_inodes.collect();
        let stored = attributes.iter().enumerate().map(|(place, attribute)| Stored {
            attribute,
            in_ea_inode: in_ea_inodes.contains(&place),
        });
        let stored: Vec<Stored<'a>> = stored.collect();
        let sizes: Vec<usize> = stored.iter().map(Stored::size).collect();
        let mut split = Self { in_inode: Vec::new(), in_block: Vec::new() };
        for (stored, inside) in stored.into_iter().zip(fill(&sizes, room, ALIGNMENT)) {
            if inside { &mut split.in_inode } else { &mut split.in_block }.push(stored);
        }
        split
    }

    fn block_size(&self) -> usize {
        self.in_block.iter().map(Stored::size).sum()
    }

    fn within(self, limit: usize) -> Result<Self> {
        let needed = self.block_size();
        if needed > limit { Err(Error::AttributesTooLarge { needed, limit }) } else { Ok(self) }
    }

    /// The attributes whose values are in EA inodes.
    pub(crate) fn in_ea_inodes(&self) -> impl Iterator<Item = &'a Attribute> {
        let all = self.in_inode.iter().chain(&self.in_block);
        all.filter(|stored| stored.in_ea_inode).map(|stored| stored.attribute)
    }

    /// With a block if there are values in EA inodes, in which then at least one of their entries is.
    pub(crate) fn with_block_for_ea_inodes(mut self) -> Self {
        let in_ea_inodes = self.in_inode.iter().position(|stored| stored.in_ea_inode);
        if let Some(place) = in_ea_inodes
            && self.in_block.is_empty()
        {
            self.in_block.push(self.in_inode.remove(place));
        }
        self
    }

    /// What it costs beside the inode: inodes first, then a block.
    fn cost(&self) -> (usize, bool) {
        (self.in_ea_inodes().count(), !self.in_block.is_empty())
    }
}

/// The places of values that can be in EA inodes. An empty one cannot.
///
/// Source: kernel, `fs/ext4/xattr.c`, `ext4_xattr_set_handle`.
fn largest_first(attributes: &[Attribute]) -> Vec<usize> {
    let lengths = attributes.iter().map(|attribute| attribute.value.len()).enumerate();
    let mut places: Vec<(usize, usize)> = lengths.filter(|(_, length)| *length > 0).collect();
    places.sort_by_key(|(_, length)| Reverse(*length));
    places.into_iter().map(|(place, _)| place).collect()
}

/// Whether the attributes leave room in the inode for content of which `rest` bytes are an
/// attribute too: it stays there unless they then cost more than without it.
pub(crate) fn leave_room(attributes: &[Attribute], rest: usize, format: &Format) -> Result<bool> {
    match Split::new(attributes, Some(rest), format) {
        Ok(beside) => {
            let cost = beside.cost();
            Ok(cost == (0, false) || cost <= Split::new(attributes, None, format)?.cost())
        }
        Err(Error::AttributesTooLarge { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Attributes;
    use crate::options::{Options, Size};

    fn format(features: Features) -> Format {
        let mut options = Options::new(Size::Fixed(0));
        options.features |= features;
        Format::new(&options).unwrap()
    }

    fn plain() -> Format {
        format(Features::empty())
    }

    fn attributes(sizes: &[usize]) -> Attributes {
        let mut attributes = Attributes::default();
        for (number, size) in sizes.iter().enumerate() {
            // Two letters, padded to four: 20 bytes and the value.
            let name = format!("user.{number:02}");
            attributes.set(name.as_bytes(), &vec![b'v'; *size]).unwrap();
        }
        attributes
    }

    fn in_ea_inodes(sizes: &[usize]) -> Vec<usize> {
        let attributes = attributes(sizes);
        let split = Split::new(attributes.as_slice(), None, &format(Features::EA_INODE)).unwrap();
        split.in_ea_inodes().map(|attribute| attribute.value.len()).collect()
    }

    #[test]
    fn the_inode_is_filled_to_the_byte_before_a_block_is_taken() {
        let whole = attributes(&[68]);
        assert_eq!(plain().attribute_list_room(), 88);
        assert!(Split::new(whole.as_slice(), None, &plain()).unwrap().in_block.is_empty());
        let over = attributes(&[69]);
        assert_eq!(Split::new(over.as_slice(), None, &plain()).unwrap().in_block.len(), 1);
    }

    #[test]
    fn the_choice_that_fills_the_inode_best_is_found() {
        // 40 + 48 fill the 88 bytes; taking them in order would waste 28.
        let some = attributes(&[40, 20, 28]);
        let split = Split::new(some.as_slice(), None, &plain()).unwrap();
        let sizes: Vec<usize> =
            split.in_inode.iter().map(|one| one.attribute.value.len()).collect();
        assert_eq!(sizes, [20, 28]);
    }

    #[test]
    fn what_fits_nowhere_is_refused_with_its_size() {
        let full = attributes(&[4096 - 32 - 4 - 20]);
        assert!(Split::new(full.as_slice(), None, &plain()).is_ok());
        let over = attributes(&[4096 - 32 - 4 - 19]);
        let refused = Split::new(over.as_slice(), None, &plain());
        assert!(matches!(refused, Err(Error::AttributesTooLarge { needed: 4064, limit: 4060 })));
    }

    #[test]
    fn no_more_values_have_ea_inodes_than_must() {
        assert_eq!(in_ea_inodes(&[68, 4040]), [0; 0]);
        assert_eq!(in_ea_inodes(&[4041]), [4041]);
        assert_eq!(in_ea_inodes(&[65_536, 65_536, 68, 4000]), [65_536, 65_536]);
        assert_eq!(in_ea_inodes(&[2000, 2001, 2002]), [2002]);
        assert_eq!(in_ea_inodes(&[1000; 10]), [1000; 7]);
    }

    #[test]
    fn entries_alone_can_be_too_many() {
        let many = attributes(&[0; 100]);
        assert!(Split::new(many.as_slice(), None, &format(Features::EA_INODE)).is_ok());
        let mut too_many = Attributes::default();
        for number in 0..20 {
            let name = format!("user.{number:0250}");
            too_many.set(name.as_bytes(), b"value").unwrap();
        }
        let refused = Split::new(too_many.as_slice(), None, &format(Features::EA_INODE));
        assert!(matches!(refused, Err(Error::AttributesTooLarge { .. })), "{refused:?}");
    }

    #[test]
    fn content_leaves_the_inode_rather_than_a_value() {
        let both = format(Features::EA_INODE | Features::INLINE_DATA);
        let full = attributes(&[68, 4040]);
        assert!(!leave_room(full.as_slice(), 0, &both).unwrap());
        let one = attributes(&[48]);
        assert!(leave_room(one.as_slice(), 0, &both).unwrap());
        assert!(!leave_room(one.as_slice(), 1, &both).unwrap());
        let in_ea_inodes = attributes(&[65_536]);
        assert!(leave_room(in_ea_inodes.as_slice(), 48, &both).unwrap());
    }
}
