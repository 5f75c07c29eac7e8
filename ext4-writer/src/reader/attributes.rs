//! Extended attributes with their values, also those in inodes of their own, as `getxattr` shows
//! them.
//!
//! Source: kernel, `fs/ext4/xattr.c`.

use crate::format::acl;
use crate::reader::attribute_list::{AttributePlace, List, Raw, in_inode, read_block};
use crate::reader::content;
use crate::reader::device::Device;
use crate::reader::error::{Part, ReadError, ReadResult};
use crate::reader::features::Feature;
use crate::reader::inode::{self, Inode};
use crate::reader::layout::Layout;
use crate::reader::source::Source;
use crate::record::inode::Flags;
use crate::record::xattr::{
    Header, INDEX_ACL_ACCESS, INDEX_ACL_DEFAULT, INDEX_HURD, INDEX_SECURITY, INDEX_TRUSTED,
    INDEX_USER,
};

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

/// The attributes that the kernel shows, by the number of their prefix.
const SHOWN: [(u8, &[u8]); 6] = [
    (INDEX_USER, b"user."),
    (INDEX_ACL_ACCESS, b"system.posix_acl_access"),
    (INDEX_ACL_DEFAULT, b"system.posix_acl_default"),
    (INDEX_TRUSTED, b"trusted."),
    (INDEX_SECURITY, b"security."),
    (INDEX_HURD, b"gnu."),
];
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
