//! Extended attributes: in the inode, in a block, their values in inodes of their own; shown as
//! `getxattr` shows them.
//!
//! Source: kernel, `fs/ext4/xattr.c`.

use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use crate::reader::acl;
use crate::reader::content;
use crate::reader::device::Device;
use crate::reader::error::{Part, ReadError, ReadResult};
use crate::reader::features::Feature;
use crate::reader::inode::{self, Inode};
use crate::reader::layout::Layout;
use crate::reader::source::Source;
use crate::record::inode::Flags;
use crate::record::xattr::{
    ALIGNMENT, DATA_NAME, Entry, Header, INDEX_ACL_ACCESS, INDEX_ACL_DEFAULT, INDEX_HURD,
    INDEX_SECURITY, INDEX_SYSTEM, INDEX_TRUSTED, INDEX_USER, INODE_HEAD, MAGIC,
};
use crate::units::BlockIndex;

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// The whole name, prefix included.
    pub name: Vec<u8>,
    /// The value as `getxattr` gives it: ACLs in the form of programs.
    pub value: Vec<u8>,
    /// Where it is.
    pub place: AttributePlace,
}

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

/// The attributes that the kernel shows, by the number of their prefix.
const SHOWN: [(u8, &[u8]); 6] = [
    (INDEX_USER, b"user."),
    (INDEX_ACL_ACCESS, b"system.posix_acl_access"),
    (INDEX_ACL_DEFAULT, b"system.posix_acl_default"),
    (INDEX_TRUSTED, b"trusted."),
    (INDEX_SECURITY, b"security."),
    (INDEX_HURD, b"gnu."),
];
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

/// Everything that the kernel shows of an inode's attributes, those of the inode first.
pub(crate) fn read<S: Source>(
    device: &Device<S>,
    layout: &Layout,
    inode: &Inode,
) -> ReadResult<Vec<Attribute>> {
    let mut attributes = Vec::new();
    let mut add = |list: &List<'_>| -> ReadResult<()> {
        for raw in list.entries()? {
            let Some((_, prefix)) = SHOWN.iter().find(|(index, _)| *index == raw.index) else {
                continue;
            };
            attributes.push(shown(device, layout, inode, (list, &raw, prefix))?);
        }
        Ok(())
    };
    if let Some(list) = in_inode(inode) {
        add(&list)?;
    }
    if let Some(block) = inode.attribute_block() {
        let bytes = read_block(device, layout, inode, block)?;
        add(&List {
            area: &bytes,
            first: size_of::<Header>(),
            place: AttributePlace::Block,
            part: Part::Attributes { block },
        })?;
    }
    Ok(attributes)
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

fn shown<S: Source>(
    device: &Device<S>,
    layout: &Layout,
    owner: &Inode,
    (list, raw, prefix): (&List<'_>, &Raw<'_>, &[u8]),
) -> ReadResult<Attribute> {
    let name = [prefix, raw.name].concat();
    let (stored, place) = match raw.entry.value_inum.get() {
        0 => (raw.value.to_vec(), list.place),
        number => {
            let value = value_in_inode(device, layout, owner, (number, raw))?;
            (value, AttributePlace::ValueInode(number))
        }
    };
    let is_acl = matches!(raw.index, INDEX_ACL_ACCESS | INDEX_ACL_DEFAULT);
    let value = if is_acl {
        acl::from_disk(&stored).ok_or_else(|| {
            let shown = name.escape_ascii();
            ReadError::corrupt(list.part, format!("the attribute {shown} is not a POSIX ACL"))
        })?
    } else {
        stored
    };
    Ok(Attribute { name, value, place })
}

/// The value of an attribute that has an inode of its own, whose hash is in its time of access.
///
/// Source: kernel, `fs/ext4/xattr.c`, `ext4_xattr_inode_get` and
/// `ext4_xattr_inode_verify_hashes`.
fn value_in_inode<S: Source>(
    device: &Device<S>,
    layout: &Layout,
    owner: &Inode,
    (number, raw): (u32, &Raw<'_>),
) -> ReadResult<Vec<u8>> {
    let part = Part::AttributeValue { inode: number };
    let wrong = |detail: String| ReadError::corrupt(part, detail);
    if !layout.has(Feature::EA_INODE) {
        return Err(wrong("the filesystem is without the feature ea_inode".to_owned()));
    }
    let holder = inode::read(device, layout, number)?;
    let size = raw.entry.value_size.get();
    if !holder.has(Flags::EA_INODE) || holder.size() != u64::from(size) {
        let found = holder.size();
        return Err(wrong(format!("it is to have {size} bytes, inode {number} has {found}")));
    }
    let mut value = vec![0; usize::try_from(size).unwrap_or_default()];
    let length = content::read_at(device, &holder, 0, &mut value)?;
    if length != value.len() {
        return Err(wrong(format!("{length} of {} bytes were read", value.len())));
    }
    // Lustre's, which came first, point back at their owner and are not summed.
    let of_lustre =
        holder.record.mtime.get() == owner.number() && holder.generation() == owner.generation();
    let hash = layout.seed.value(&value);
    if of_lustre && hash != holder.record.atime.get() {
        return Ok(value);
    }
    ReadError::verify(part, holder.record.atime.get(), hash)?;
    let stored = raw.entry.hash.get();
    let computed = entry_hash(raw.name, hash, u32::from);
    let signed = |byte: u8| i32::from(byte.cast_signed()).cast_unsigned();
    if stored != computed && stored != entry_hash(raw.name, hash, signed) {
        return Err(ReadError::Checksum { part, stored, computed });
    }
    Ok(value)
}

/// The hash of an entry whose value has an inode: the name, its bytes with or without a sign, then
/// the value's own hash.
///
/// Source: kernel, `fs/ext4/xattr.c`, `ext4_xattr_hash_entry`, `ext4_xattr_hash_entry_signed`.
fn entry_hash(name: &[u8], value: u32, widened: impl Fn(u8) -> u32) -> u32 {
    let name = name.iter().fold(0u32, |hash, byte| hash.rotate_left(5) ^ widened(*byte));
    name.rotate_left(16) ^ value
}
