//! The extended attributes of an inode that is changed: all of them are placed anew, in the inode
//! and in its block.
//!
//! Source: kernel, `fs/ext4/xattr.c`.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

use crate::attributes::Attributes;
use crate::edit::device::Device;
use crate::edit::error::{EditResult, refused};
use crate::edit::filesystem::Filesystem;
use crate::edit::inode::Inode;
use crate::error::{Error, internal};
use crate::format::units::{BlockIndex, widen};
use crate::metadata::Timestamp;
use crate::reader::attribute_list::{List, in_inode, read_block};
use crate::reader::{AttributePlace, Inode as Found, Part, ReadError};
use crate::record::feature::Feature;
use crate::record::inode::Flags;
use crate::record::xattr::{
    ALIGNMENT, DATA_NAME, END, Entry, Header, INDEX_SYSTEM, INODE_HEAD, MAGIC, attribute_size,
};
use crate::record::{high32, low16, low32};
use crate::render::xattr::{hash, rehash, words};

/// An attribute as it stands on disk.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub index: u8,
    pub name: Vec<u8>,
    /// Empty when the value is in an inode.
    pub value: Vec<u8>,
    pub outside: Option<Outside>,
}

/// A value in an inode of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outside {
    pub inode: u32,
    size: u32,
    hash: u32,
}

impl Held {
    /// The order in which the kernel looks for them in a block.
    fn order(&self) -> (u8, usize, &[u8]) {
        (self.index, self.name.len(), &self.name)
    }

    fn size(&self) -> usize {
        attribute_size(self.name.len(), self.value.len())
    }

    /// Content, which has to be in the inode.
    fn is_content(&self) -> bool {
        self.index == INDEX_SYSTEM && self.name == DATA_NAME
    }

    fn hash(&self) -> u32 {
        self.outside.map_or_else(|| hash(&self.name, words(&self.value)), |value| value.hash)
    }
}

/// Which attributes go where.
#[derive(Default)]
struct Places {
    inode: Vec<Held>,
    block: Vec<Held>,
}

fn held(list: &List<'_>) -> EditResult<Vec<Held>> {
    let entries = list.entries()?;
    let all = entries.iter().map(|raw| {
        let number = raw.entry.value_inum.get();
        let (size, hash) = (raw.entry.value_size.get(), raw.entry.hash.get());
        Held {
            index: raw.index,
            name: raw.name.to_vec(),
            value: raw.value.to_vec(),
            outside: (number != 0).then_some(Outside { inode: number, size, hash }),
        }
    });
    Ok(all.collect())
}

impl<D: Device> Filesystem<D> {
    /// All attributes of an inode: those in it, and those in its block.
    pub(crate) fn attributes(&self, found: &Found) -> EditResult<(Vec<Held>, Vec<Held>)> {
        let inside = in_inode(found).map_or_else(|| Ok(Vec::new()), |list| held(&list))?;
        let Some(block) = found.attribute_block() else { return Ok((inside, Vec::new())) };
        let area = read_block(&self.blocks(), &self.layout, found, block)?;
        let (place, part) = (AttributePlace::Block, Part::Attributes { block });
        let list = List { area: &area, first: size_of::<Header>(), place, part };
        Ok((inside, held(&list)?))
    }

    /// Sets an attribute, or takes it away, by its full name.
    pub(crate) fn set_attribute(
        &mut self,
        number: u32,
        name: &[u8],
        value: Option<&[u8]>,
    ) -> EditResult<()> {
        let mut parsed = Attributes::default();
        parsed.set(name, value.unwrap_or(b"\x02\0\0\0"))?;
        let parsed = parsed.as_slice().first().ok_or(internal("an attribute that was set"))?;
        let found = self.find_inode(number)?;
        let mut inode = Inode::of(&found);
        let mut all = self.all_attributes(&found)?;
        let place =
            all.iter().position(|one| one.index == parsed.index && *one.name == *parsed.suffix);
        if let Some(place) = place {
            let old = all.remove(place);
            self.drop_value(&mut inode, &old)?;
        } else if value.is_none() {
            return Err(Error::NotFound { name: name.to_vec() }.into());
        }
        if value.is_some() {
            let (index, name) = (parsed.index, parsed.suffix.to_vec());
            all.push(Held { index, name, value: parsed.value.to_vec(), outside: None });
        }
        inode.set_changed(self.stored(self.time));
        self.place_attributes(&mut inode, &found, all)?;
        self.store(&inode)
    }

    /// Takes all attributes away that programs see.
    pub(crate) fn clear_attributes(&mut self, number: u32) -> EditResult<()> {
        let found = self.find_inode(number)?;
        let mut inode = Inode::of(&found);
        let (kept, gone): (Vec<Held>, Vec<Held>) =
            self.all_attributes(&found)?.into_iter().partition(|one| one.index == INDEX_SYSTEM);
        for old in &gone {
            self.drop_value(&mut inode, old)?;
        }
        inode.set_changed(self.stored(self.time));
        self.place_attributes(&mut inode, &found, kept)?;
        self.store(&inode)
    }

    fn all_attributes(&self, found: &Found) -> EditResult<Vec<Held>> {
        let (mut all, block) = self.attributes(found)?;
        // A value outside is counted for each block that has it: of a shared one this inode would
        // leave with a reference that nobody counted.
        let is_shared = found.attribute_block().map_or(Ok(1), |at| self.references(found, at))? > 1;
        if is_shared && block.iter().any(|one| one.outside.is_some()) {
            let what = format!("the attributes of inode {}", found.number());
            let reason = "other inodes share them, with values in inodes of their own";
            return Err(refused(what, reason));
        }
        all.extend(block);
        Ok(all)
    }

    /// How many inodes share a block of attributes.
    fn references(&self, found: &Found, block: u64) -> EditResult<u32> {
        let bytes = read_block(&self.blocks(), &self.layout, found, block)?;
        let header = Header::read_from_prefix(&bytes).map(|(header, _)| header.refcount.get());
        Ok(header.map_err(|_| internal("a block has a header"))?)
    }

    /// Places attributes anew in an inode, which is not stored, and in its block.
    pub(crate) fn place_attributes(
        &mut self,
        inode: &mut Inode,
        found: &Found,
        mut all: Vec<Held>,
    ) -> EditResult<()> {
        if !all.is_empty() && !self.has(Feature::EXT_ATTR) {
            return Err(refused("extended attributes", "the feature ext_attr is off"));
        }
        all.sort_by(|one, other| one.order().cmp(&other.order()));
        let room = inode.room_behind();
        let limits = (
            room.saturating_sub(INODE_HEAD + END),
            self.layout.block.len() - size_of::<Header>() - END,
        );
        let places = split(all, limits)?;
        place_inside(inode, &places.inode)?;
        self.place_block(inode, found, &places.block)
    }

    /// Gives an inode a block with these attributes, or none.
    fn place_block(&mut self, inode: &mut Inode, found: &Found, list: &[Held]) -> EditResult<()> {
        let old = found.attribute_block();
        let is_own = old.is_some_and(|at| matches!(self.references(found, at), Ok(0 | 1)));
        let at = match (old, list.is_empty()) {
            (None, true) => return Ok(()),
            (Some(at), false) if is_own => Some(at),
            (Some(at), empty) => {
                self.leave_block(found, at)?;
                if empty { None } else { Some(self.new_attribute_block(inode)?) }
            }
            (None, false) => Some(self.new_attribute_block(inode)?),
        };
        let change = i64::from(at.is_some()) - i64::from(old.is_some());
        self.count_blocks(inode, change)?;
        let place = at.unwrap_or(0);
        inode.record.file_acl_lo = U32::new(low32(place));
        if self.has(Feature::BIT_64) {
            inode.record.file_acl_high = U16::new(low16(high32(place)));
        }
        let Some(at) = at else { return Ok(()) };
        let mut block = vec![0; self.layout.block.len()];
        put_list(&mut block, size_of::<Header>(), list, Held::hash)?;
        let header = Header {
            magic: U32::new(MAGIC),
            refcount: U32::new(1),
            blocks: U32::new(1),
            hash: U32::new(rehash(list.iter().map(Held::hash))),
            checksum: U32::ZERO,
            reserved: [U32::ZERO; 3],
        };
        let place = block.get_mut(..size_of::<Header>()).ok_or(ATTRIBUTES_FIT)?;
        place.copy_from_slice(header.as_bytes());
        let sealed = self.layout.seed.seal_attributes(block, BlockIndex::new(at))?;
        self.put(at, &sealed)
    }

    fn new_attribute_block(&mut self, inode: &Inode) -> EditResult<u64> {
        let block = self.take_block(self.group_start(self.group_of_inode(inode.number)))?;
        // `i_file_acl` has 48 bits.
        if block >> 48 == 0 { Ok(block) } else { Err(ATTRIBUTES_FIT.into()) }
    }

    /// Takes one inode from those that share a block of attributes, and frees it with the last.
    fn leave_block(&mut self, found: &Found, at: u64) -> EditResult<()> {
        let mut bytes = read_block(&self.blocks(), &self.layout, found, at)?;
        let left = self.references(found, at)?.saturating_sub(1);
        if left == 0 {
            return self.give_back(at, 1, Part::Attributes { block: at });
        }
        let place = std::mem::offset_of!(Header, refcount);
        let field = bytes.get_mut(place..place + size_of::<U32>()).ok_or(ATTRIBUTES_FIT)?;
        field.copy_from_slice(&left.to_le_bytes());
        let sealed = self.layout.seed.seal_attributes(bytes, BlockIndex::new(at))?;
        self.put(at, &sealed)
    }

    /// Frees what the attributes of an inode take beside it.
    pub(crate) fn free_attributes(&mut self, found: &Found) -> EditResult<()> {
        let (inside, block) = self.attributes(found)?;
        for one in &inside {
            self.drop_reference(one)?;
        }
        let Some(at) = found.attribute_block() else { return Ok(()) };
        if self.references(found, at)? <= 1 {
            for one in &block {
                self.drop_reference(one)?;
            }
        }
        self.leave_block(found, at)
    }

    /// Takes an attribute from an inode, which counts the blocks of a value outside.
    fn drop_value(&mut self, inode: &mut Inode, old: &Held) -> EditResult<()> {
        if let Some(value) = old.outside {
            let blocks = self.layout.block.blocks_for(u64::from(value.size)).get();
            let blocks = i64::try_from(blocks).map_err(|_| ATTRIBUTES_FIT)?;
            self.count_blocks(inode, -blocks)?;
        }
        self.drop_reference(old)
    }

    /// Takes one attribute from those that share a value outside, and frees it with the last.
    ///
    /// Source: kernel, `fs/ext4/xattr.c`, `ext4_xattr_inode_update_ref`.
    fn drop_reference(&mut self, old: &Held) -> EditResult<()> {
        let Some(value) = old.outside else { return Ok(()) };
        let mut inode = self.inode(value.inode)?;
        if !inode.has(Flags::EA_INODE) {
            let part = Part::AttributeValue { inode: value.inode };
            return Err(ReadError::corrupt(part, "the inode is no value of an attribute").into());
        }
        let references =
            u64::from(inode.record.ctime.get()) << 32 | u64::from(inode.record.version.get());
        if references <= 1 {
            return self.free_inode(&inode);
        }
        let left = references - 1;
        inode.record.version = U32::new(low32(left));
        inode.set_changed(Timestamp::from_seconds(i64::from(high32(left))));
        self.store(&inode)
    }
}

/// Puts attributes behind the fields of an inode, and nothing else there.
pub(crate) fn place_inside(inode: &mut Inode, list: &[Held]) -> EditResult<()> {
    let mut behind = vec![0; inode.room_behind()];
    if !list.is_empty() {
        let (magic, area) = behind.split_first_chunk_mut().ok_or(ATTRIBUTES_FIT)?;
        *magic = MAGIC.to_le_bytes();
        // In the inode, values are counted from the first entry, and only values outside have a
        // hash (kernel: ext4_xattr_set_entry).
        put_list(area, 0, list, |one| one.outside.map_or(0, |value| value.hash))?;
    }
    inode.set_behind(&behind)
}

const ATTRIBUTES_FIT: Error = internal("attributes fit where they were put");

/// What goes into the inode, and what into the block, each of which has so much room.
fn split(all: Vec<Held>, (inode, block): (usize, usize)) -> EditResult<Places> {
    let size = |list: &[Held]| list.iter().map(Held::size).sum::<usize>();
    let mut places = Places::default();
    let mut left = inode;
    let (content, others): (Vec<Held>, Vec<Held>) = all.into_iter().partition(Held::is_content);
    for one in content {
        left = left.checked_sub(one.size()).ok_or(ATTRIBUTES_FIT)?;
        places.inode.push(one);
    }
    let reserved = places.inode.len();
    for one in &others {
        match left.checked_sub(one.size()) {
            Some(rest) => {
                left = rest;
                places.inode.push(one.clone());
            }
            None => places.block.push(one.clone()),
        }
    }
    if size(&places.block) <= block {
        return Ok(places);
    }
    // The largest into the block first: the small ones fill what is left of the inode.
    places.inode.truncate(reserved);
    let mut left = inode - size(&places.inode);
    places.block.clear();
    let mut order: Vec<&Held> = others.iter().collect();
    order.sort_by_key(|one| std::cmp::Reverse(one.size()));
    let mut taken = 0;
    for one in order {
        if taken + one.size() <= block {
            taken += one.size();
            places.block.push(one.clone());
        } else if let Some(rest) = left.checked_sub(one.size()) {
            left = rest;
            places.inode.push(one.clone());
        } else {
            let needed = size(&others).saturating_sub(inode);
            return Err(Error::AttributesTooLarge { needed, limit: block }.into());
        }
    }
    places.block.sort_by(|one, other| one.order().cmp(&other.order()));
    Ok(places)
}

/// Puts entries from `start` on and their values from the end; the offsets of values count from the
/// start of `area`.
fn put_list(
    area: &mut [u8],
    start: usize,
    list: &[Held],
    hash: impl Fn(&Held) -> u32,
) -> EditResult<()> {
    let (mut place, mut end) = (start, area.len());
    for one in list {
        end -= one.value.len().next_multiple_of(ALIGNMENT);
        let offset = if one.value.is_empty() { 0 } else { end };
        let size = one.outside.map_or(widen(one.value.len()), |value| value.size.into());
        let entry = Entry {
            name_len: u8::try_from(one.name.len()).map_err(|_| ATTRIBUTES_FIT)?,
            name_index: one.index,
            value_offs: u16::try_from(offset).map(U16::new).map_err(|_| ATTRIBUTES_FIT)?,
            value_inum: U32::new(one.outside.map_or(0, |value| value.inode)),
            value_size: u32::try_from(size).map(U32::new).map_err(|_| ATTRIBUTES_FIT)?,
            hash: U32::new(hash(one)),
        };
        for (at, bytes) in
            [(place, entry.as_bytes()), (place + size_of::<Entry>(), &one.name), (end, &one.value)]
        {
            let target = area.get_mut(at..at + bytes.len()).ok_or(ATTRIBUTES_FIT)?;
            target.copy_from_slice(bytes);
        }
        place += size_of::<Entry>() + one.name.len().next_multiple_of(ALIGNMENT);
    }
    Ok(())
}
