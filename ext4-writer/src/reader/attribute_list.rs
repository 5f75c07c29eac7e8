//! The lists of extended attributes, in the inode and in a block, as they stand on disk.
//!
//! Source: kernel, `fs/ext4/xattr.c`.

use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use crate::format::units::BlockIndex;
use crate::reader::device::Device;
use crate::reader::error::{Part, ReadError, ReadResult};
use crate::reader::inode::Inode;
use crate::reader::layout::Layout;
use crate::reader::source::Source;
use crate::record::xattr::{ALIGNMENT, DATA_NAME, Entry, Header, INDEX_SYSTEM, INODE_HEAD, MAGIC};

/// Where an extended attribute is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributePlace {
    /// In the inode itself.
    Inode,
    /// In the inode's block of attributes.
    Block,
    /// The value fills an inode of this number.
    ValueInode(u32),
}

/// The longest value that the kernel hands to a program: `XATTR_SIZE_MAX`.
const MAX_VALUE: u32 = 65_536;

/// Entries and their values.
pub(crate) struct List<'a> {
    /// Entries begin at `first`, values are counted from the start.
    pub area: &'a [u8],
    pub first: usize,
    pub place: AttributePlace,
    pub part: Part,
}

/// An entry as it stands on disk.
pub(crate) struct Raw<'a> {
    pub index: u8,
    pub name: &'a [u8],
    pub entry: Entry,
    /// Empty when the value is in an inode.
    pub value: &'a [u8],
}

/// The rest of the content that an inode holds: the value of `system.data`.
pub(crate) fn inline_rest(inode: &Inode) -> ReadResult<Option<&[u8]>> {
    let Some(list) = in_inode(inode) else { return Ok(None) };
    let rest = list.entries()?;
    let data = rest.iter().find(|raw| raw.index == INDEX_SYSTEM && raw.name == DATA_NAME);
    Ok(data.map(|raw| raw.value))
}

/// The attributes behind an inode's fields, if there are any.
pub(crate) fn in_inode(inode: &Inode) -> Option<List<'_>> {
    let (magic, area) = inode.behind_fields().split_at_checked(INODE_HEAD)?;
    let (place, part) = (AttributePlace::Inode, inode.part());
    (magic == MAGIC.to_le_bytes()).then_some(List { area, first: 0, place, part })
}

/// The block of an inode's attributes, checked.
pub(crate) fn read_block<S: Source>(
    device: &Device<S>,
    layout: &Layout,
    inode: &Inode,
    block: u64,
) -> ReadResult<Vec<u8>> {
    let part = Part::Attributes { block };
    let bytes = device.read_block(block, inode.part())?;
    let header = Header::read_from_prefix(&bytes).map(|(header, _)| header);
    let header = header.map_err(|_| ReadError::corrupt(part, "it is cut short"))?;
    let (magic, blocks) = (header.magic.get(), header.blocks.get());
    if magic != MAGIC || blocks != 1 {
        let detail = format!("its magic number is {magic:#010x}, its length {blocks} blocks");
        return Err(ReadError::corrupt(part, detail));
    }
    if layout.seed.is_enabled() {
        let computed = layout.seed.attributes_sum(&bytes, BlockIndex::new(block));
        ReadError::verify(part, header.checksum.get(), computed)?;
    }
    Ok(bytes)
}

impl<'a> List<'a> {
    /// Source of the checks: `check_xattrs`.
    pub(crate) fn entries(&self) -> ReadResult<Vec<Raw<'a>>> {
        let mut entries = Vec::new();
        let mut place = self.first;
        loop {
            let head = self.area.get(place..).and_then(<[u8]>::first_chunk);
            match head {
                Some([0, 0, 0, 0]) => break,
                Some(_) => {}
                None => return Err(self.wrong("its list of attributes has no end")),
            }
            let raw = self.entry(place)?;
            place = place
                .saturating_add(size_of::<Entry>())
                .saturating_add(raw.name.len().next_multiple_of(ALIGNMENT));
            entries.push(raw);
        }
        // Values are behind the list and its end.
        let behind = place.saturating_add(size_of::<U32>());
        let is_inside = |raw: &Raw<'_>| {
            !raw.value.is_empty() && usize::from(raw.entry.value_offs.get()) < behind
        };
        if entries.iter().any(is_inside) {
            return Err(self.wrong("the value of an attribute is inside the list"));
        }
        Ok(entries)
    }

    fn entry(&self, place: usize) -> ReadResult<Raw<'a>> {
        let cut = || self.wrong("an attribute reaches behind the end");
        let rest = self.area.get(place..).ok_or_else(cut)?;
        let (entry, rest) = Entry::read_from_prefix(rest).map_err(|_| cut())?;
        let name = rest.get(..usize::from(entry.name_len)).ok_or_else(cut)?;
        if name.contains(&0) {
            return Err(self.wrong("the name of an attribute has a NUL"));
        }
        let size = entry.value_size.get();
        if size > MAX_VALUE {
            return Err(self.wrong("the value of an attribute is longer than 65536 bytes"));
        }
        let value = if entry.value_inum.get() != 0 || size == 0 {
            &[]
        } else {
            let start = usize::from(entry.value_offs.get());
            let length = usize::try_from(size).map_err(|_| cut())?;
            let value = self.area.get(start..).and_then(|rest| rest.get(..length));
            value.ok_or_else(cut)?
        };
        Ok(Raw { index: entry.name_index, name, entry, value })
    }

    fn wrong(&self, detail: &str) -> ReadError {
        ReadError::corrupt(self.part, detail)
    }
}
