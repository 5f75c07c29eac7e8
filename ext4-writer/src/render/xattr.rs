//! The bytes of attributes in an inode and in a block, and their hashes.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

use crate::attributes::Attribute;
use crate::error::{Error, Result, internal};
use crate::format::Format;
use crate::format::checksum::{FsSeed, Sealed};
use crate::format::units::{BlockIndex, InodeNumber};
use crate::record::xattr::{
    ALIGNMENT, DATA_NAME, Entry, Header, INDEX_SYSTEM, MAGIC, attribute_size,
};

/// An attribute, and whether its value has an inode of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stored<'a> {
    pub attribute: &'a Attribute,
    pub in_ea_inode: bool,
}

impl Stored<'_> {
    /// The bytes of its entry, and of its value if that is not in an EA inode.
    pub(crate) fn size(&self) -> usize {
        let value = if self.in_ea_inode { 0 } else { self.attribute.value.len() };
        attribute_size(self.attribute.suffix.len(), value)
    }
}

/// What entries need to know beside their attributes.
pub(crate) struct Lists<'a> {
    pub format: &'a Format,
    pub seed: FsSeed,
    /// Finds the EA inode of a value.
    pub value_inode: &'a dyn Fn(&Attribute) -> Result<InodeNumber>,
}

const ATTRIBUTES_FIT: Error = internal("attributes fit where the plan put them");

impl Lists<'_> {
    /// The bytes behind an inode's fields, with the attribute of content if there is one; none
    /// without attributes.
    pub(crate) fn in_inode(&self, list: &[Stored<'_>], rest: Option<&[u8]>) -> Result<Vec<u8>> {
        if list.is_empty() && rest.is_none() {
            return Ok(Vec::new());
        }
        let mut listed = Vec::with_capacity(list.len() + 1);
        for stored in list {
            // In the inode, only values in EA inodes have a hash (kernel: fs/ext4/xattr.c,
            // ext4_xattr_set_entry).
            let hash = if stored.in_ea_inode { entry_hash(stored, self.seed) } else { 0 };
            listed.push(self.listed(stored, hash)?);
        }
        listed.extend(rest.map(|value| Listed {
            index: INDEX_SYSTEM,
            suffix: DATA_NAME,
            value,
            ea_inode: None,
            hash: 0,
        }));
        let mut room = vec![0; self.format.attribute_room()];
        let (magic, region) = room.split_first_chunk_mut().ok_or(ATTRIBUTES_FIT)?;
        *magic = MAGIC.to_le_bytes();
        // In the inode, values are counted from the first entry.
        put_list(region, 0, &listed)?;
        Ok(room)
    }

    /// The block at `at`, which so many inodes have.
    pub(crate) fn in_block(
        &self,
        list: &[Stored<'_>],
        at: BlockIndex,
        references: u32,
    ) -> Result<Sealed<Vec<u8>>> {
        let mut block = vec![0; self.format.block.len()];
        let listed = list
            .iter()
            .map(|stored| self.listed(stored, entry_hash(stored, self.seed)))
            .collect::<Result<Vec<_>>>()?;
        put_list(&mut block, size_of::<Header>(), &listed)?;
        let header = Header {
            magic: U32::new(MAGIC),
            refcount: U32::new(references),
            blocks: U32::new(1),
            hash: U32::new(block_hash(list, self.seed)),
            checksum: U32::ZERO,
            reserved: [U32::ZERO; 3],
        };
        put(&mut block, 0, header.as_bytes())?;
        self.seed.seal_attributes(block, at)
    }

    fn listed<'b>(&self, stored: &Stored<'b>, hash: u32) -> Result<Listed<'b>> {
        let attribute = stored.attribute;
        Ok(Listed {
            index: attribute.index,
            suffix: &attribute.suffix,
            value: &attribute.value,
            ea_inode: stored.in_ea_inode.then(|| (self.value_inode)(attribute)).transpose()?,
            hash,
        })
    }
}

/// An attribute with what its entry says.
struct Listed<'a> {
    index: u8,
    suffix: &'a [u8],
    value: &'a [u8],
    /// The inode that has the value.
    ea_inode: Option<InodeNumber>,
    hash: u32,
}

impl Listed<'_> {
    /// The value if it is here.
    fn inside(&self) -> &[u8] {
        if self.ea_inode.is_some() { &[] } else { self.value }
    }
}

fn padded(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT)
}

/// Puts entries from `start` on and their values from the end; the offsets of values count from
/// the start of `area`.
fn put_list(region: &mut [u8], start: usize, listed: &[Listed<'_>]) -> Result<()> {
    let mut place = start;
    let mut end = region.len();
    for one in listed {
        let inside = one.inside();
        end -= padded(inside.len());
        let offset = if inside.is_empty() { 0 } else { end };
        let entry = Entry {
            name_len: u8::try_from(one.suffix.len()).map_err(|_| ATTRIBUTES_FIT)?,
            name_index: one.index,
            value_offs: u16::try_from(offset).map(U16::new).map_err(|_| ATTRIBUTES_FIT)?,
            value_inum: U32::new(one.ea_inode.map_or(0, InodeNumber::get)),
            value_size: u32::try_from(one.value.len()).map(U32::new).map_err(|_| ATTRIBUTES_FIT)?,
            hash: U32::new(one.hash),
        };
        put(region, place, entry.as_bytes())?;
        put(region, place + size_of::<Entry>(), one.suffix)?;
        put(region, end, inside)?;
        place += size_of::<Entry>() + padded(one.suffix.len());
    }
    Ok(())
}

fn put(region: &mut [u8], place: usize, bytes: &[u8]) -> Result<()> {
    let target = region.get_mut(place..place + bytes.len()).ok_or(ATTRIBUTES_FIT)?;
    target.copy_from_slice(bytes);
    Ok(())
}

fn entry_hash(stored: &Stored<'_>, seed: FsSeed) -> u32 {
    let attribute = stored.attribute;
    if stored.in_ea_inode {
        return hash(&attribute.suffix, [seed.value(&attribute.value)]);
    }
    hash(&attribute.suffix, words(&attribute.value))
}

/// The hash of an entry: the name's bytes unsigned, then the value in words; of a value in an EA inode the
/// hash that its inode keeps.
///
/// Source: kernel, `fs/ext4/xattr.c`, `ext4_xattr_hash_entry`.
pub(crate) fn hash(suffix: &[u8], words: impl IntoIterator<Item = u32>) -> u32 {
    let name = suffix.iter().fold(0u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
    words.into_iter().fold(name, |hash, word| hash.rotate_left(16) ^ word)
}

/// A value in words, the last one padded with zeros.
pub(crate) fn words(value: &[u8]) -> impl Iterator<Item = u32> + '_ {
    value.chunks(ALIGNMENT).map(|chunk| {
        let mut word = [0; ALIGNMENT];
        for (byte, from) in word.iter_mut().zip(chunk) {
            *byte = *from;
        }
        u32::from_le_bytes(word)
    })
}

/// The hash of a block of attributes.
pub(crate) fn block_hash(list: &[Stored<'_>], seed: FsSeed) -> u32 {
    rehash(list.iter().map(|stored| entry_hash(stored, seed)))
}

/// The hash of a block from those of its entries.
///
/// Source: kernel, `fs/ext4/xattr.c`, `ext4_xattr_rehash`.
pub(crate) fn rehash(entries: impl Iterator<Item = u32>) -> u32 {
    let mut hash: u32 = 0;
    for entry in entries {
        if entry == 0 {
            // A block with such an entry is not to be shared.
            return 0;
        }
        hash = hash.rotate_left(16) ^ entry;
    }
    hash
}
