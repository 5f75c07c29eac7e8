//! Extended attributes in the inode and in a block: which go where, and their bytes.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

use crate::attributes::Attribute;
use crate::checksum::{FsSeed, Sealed};
use crate::error::{Error, Result, internal};
use crate::format::Format;
use crate::plan::attribute_blocks::AttributeBlock;
use crate::plan::packing::fill;
use crate::record::xattr::{
    ALIGNMENT, DATA_NAME, END, Entry, Header, INDEX_SYSTEM, MAGIC, attribute_size,
};

/// What a block has for entries and values.
fn block_room(format: &Format) -> usize {
    format.block.len() - size_of::<Header>() - END
}

/// Which attributes of a node are in its inode and which in its block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Split<'a> {
    pub in_inode: Vec<&'a Attribute>,
    pub in_block: Vec<&'a Attribute>,
}

/// Whether the attributes leave room in the inode for content of which `rest` bytes are an
/// attribute too: it stays there if no block is needed for the attributes, or even without it.
pub(crate) fn leave_room(attributes: &[Attribute], rest: usize, format: &Format) -> Result<bool> {
    let Ok(beside) = Split::new(attributes, Some(rest), format) else { return Ok(false) };
    if beside.in_block.is_empty() {
        return Ok(true);
    }
    Ok(!Split::new(attributes, None, format)?.in_block.is_empty())
}

impl<'a> Split<'a> {
    /// Fills the inode as far as it can be filled, so that a block is needed only when nothing
    /// else helps and then has the least to hold. `rest` is the length of the attribute with
    /// content, which can be in the inode only.
    pub(crate) fn new(
        attributes: &'a [Attribute],
        rest: Option<usize>,
        format: &Format,
    ) -> Result<Self> {
        let content = rest.map_or(0, |rest| attribute_size(DATA_NAME.len(), rest));
        let room = format.attribute_list_room().checked_sub(content).ok_or(ATTRIBUTES_FIT)?;
        let sizes: Vec<usize> = attributes.iter().map(size).collect();
        let chosen = fill(&sizes, room, ALIGNMENT);
        let (mut in_inode, mut in_block) = (Vec::new(), Vec::new());
        for (attribute, inside) in attributes.iter().zip(chosen) {
            if inside { &mut in_inode } else { &mut in_block }.push(attribute);
        }
        let needed = in_block.iter().map(|attribute| size(attribute)).sum();
        let limit = block_room(format);
        if needed > limit {
            return Err(Error::AttributesTooLarge { needed, limit });
        }
        Ok(Self { in_inode, in_block })
    }

    /// The bytes behind the inode's fields, with the attribute of content if there is one; none
    /// without attributes.
    pub(crate) fn render_inode(&self, rest: Option<&[u8]>, format: &Format) -> Result<Vec<u8>> {
        // In the inode, values are counted from the first entry, and entries have no hash
        // (kernel: fs/ext4/xattr.c, ext4_xattr_set_entry).
        let mut listed: Vec<Listed<'_>> =
            self.in_inode.iter().map(|attribute| Listed::new(attribute, 0)).collect();
        listed.extend(rest.map(|value| Listed {
            index: INDEX_SYSTEM,
            suffix: DATA_NAME,
            value,
            hash: 0,
        }));
        if listed.is_empty() {
            return Ok(Vec::new());
        }
        let mut room = vec![0; format.attribute_room()];
        let (magic, list) = room.split_first_chunk_mut().ok_or(ATTRIBUTES_FIT)?;
        *magic = MAGIC.to_le_bytes();
        put_list(list, 0, listed.into_iter())?;
        Ok(room)
    }

    /// The bytes of the node's block.
    pub(crate) fn render_block(
        &self,
        place: AttributeBlock,
        format: &Format,
        seed: FsSeed,
    ) -> Result<Sealed<Vec<u8>>> {
        let mut block = vec![0; format.block.len()];
        let listed =
            self.in_block.iter().map(|attribute| Listed::new(attribute, entry_hash(attribute)));
        put_list(&mut block, size_of::<Header>(), listed)?;
        let header = Header {
            magic: U32::new(MAGIC),
            refcount: U32::new(place.references),
            blocks: U32::new(1),
            hash: U32::new(block_hash(&self.in_block)),
            checksum: U32::ZERO,
            reserved: [U32::ZERO; 3],
        };
        put(&mut block, 0, header.as_bytes())?;
        Ok(seed.seal_attributes(block, place.at))
    }
}

const ATTRIBUTES_FIT: Error = internal("attributes fit where the plan put them");

fn padded(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT)
}

fn size(attribute: &Attribute) -> usize {
    attribute_size(attribute.suffix.len(), attribute.value.len())
}

/// An attribute with the hash that its entry bears.
struct Listed<'a> {
    index: u8,
    suffix: &'a [u8],
    value: &'a [u8],
    hash: u32,
}

impl<'a> Listed<'a> {
    fn new(attribute: &'a Attribute, hash: u32) -> Self {
        let Attribute { index, suffix, value } = attribute;
        Self { index: *index, suffix, value, hash }
    }
}

/// Puts entries from `start` on and their values from the end; the offsets of values count from
/// the start of `area`.
fn put_list<'a>(
    area: &mut [u8],
    start: usize,
    listed: impl Iterator<Item = Listed<'a>>,
) -> Result<()> {
    let mut place = start;
    let mut end = area.len();
    for Listed { index, suffix, value, hash } in listed {
        let value_size = value.len();
        end -= padded(value_size);
        let entry = Entry {
            name_len: u8::try_from(suffix.len()).map_err(|_| ATTRIBUTES_FIT)?,
            name_index: index,
            value_offs: U16::new(if value_size == 0 {
                0
            } else {
                u16::try_from(end).map_err(|_| ATTRIBUTES_FIT)?
            }),
            value_inum: U32::ZERO,
            value_size: U32::new(u32::try_from(value_size).map_err(|_| ATTRIBUTES_FIT)?),
            hash: U32::new(hash),
        };
        put(area, place, entry.as_bytes())?;
        put(area, place + size_of::<Entry>(), suffix)?;
        put(area, end, value)?;
        place += size_of::<Entry>() + padded(suffix.len());
    }
    Ok(())
}

fn put(area: &mut [u8], place: usize, bytes: &[u8]) -> Result<()> {
    let target = area.get_mut(place..place + bytes.len()).ok_or(ATTRIBUTES_FIT)?;
    target.copy_from_slice(bytes);
    Ok(())
}

/// Source: kernel, `fs/ext4/xattr.c`, `ext4_xattr_hash_entry`: the name's bytes unsigned, then
/// the value in words.
fn entry_hash(attribute: &Attribute) -> u32 {
    let name =
        attribute.suffix.iter().fold(0u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
    attribute.value.chunks(ALIGNMENT).fold(name, |hash, chunk| {
        let mut word = [0; ALIGNMENT];
        for (byte, from) in word.iter_mut().zip(chunk) {
            *byte = *from;
        }
        hash.rotate_left(16) ^ u32::from_le_bytes(word)
    })
}

/// Source: kernel, `fs/ext4/xattr.c`, `ext4_xattr_rehash`.
pub(crate) fn block_hash(attributes: &[&Attribute]) -> u32 {
    let mut hash: u32 = 0;
    for attribute in attributes {
        let entry = entry_hash(attribute);
        if entry == 0 {
            // A block with such an entry is not to be shared.
            return 0;
        }
        hash = hash.rotate_left(16) ^ entry;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Attributes;
    use crate::options::{Options, Size};

    fn format() -> Format {
        Format::new(&Options::new(Size::Fixed(0))).unwrap()
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

    #[test]
    fn the_inode_is_filled_to_the_byte_before_a_block_is_taken() {
        let whole = attributes(&[68]);
        assert_eq!(format().attribute_list_room(), 88);
        assert!(Split::new(whole.as_slice(), None, &format()).unwrap().in_block.is_empty());
        let over = attributes(&[69]);
        assert_eq!(Split::new(over.as_slice(), None, &format()).unwrap().in_block.len(), 1);
    }

    #[test]
    fn the_choice_that_fills_the_inode_best_is_found() {
        // 40 + 48 fill the 88 bytes; taking them in order would waste 28.
        let some = attributes(&[40, 20, 28]);
        let split = Split::new(some.as_slice(), None, &format()).unwrap();
        let sizes: Vec<usize> = split.in_inode.iter().map(|one| one.value.len()).collect();
        assert_eq!(sizes, [20, 28]);
    }

    #[test]
    fn what_fits_nowhere_is_refused_with_its_size() {
        let full = attributes(&[4096 - 32 - 4 - 20]);
        assert!(Split::new(full.as_slice(), None, &format()).is_ok());
        let over = attributes(&[4096 - 32 - 4 - 19]);
        let refused = Split::new(over.as_slice(), None, &format());
        assert!(matches!(refused, Err(Error::AttributesTooLarge { needed: 4064, limit: 4060 })));
    }
}
