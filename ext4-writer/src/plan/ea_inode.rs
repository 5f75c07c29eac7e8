//! Values of attributes that have inodes of their own: equal ones have one together.
//!
//! Source: kernel, `fs/ext4/xattr.c`, `ext4_xattr_inode_create`, `ext4_xattr_inode_set_ref` and
//! `ext4_xattr_inode_set_hash`: the time of the last change is the upper half of the count of
//! references, the version its lower half, and the time of the last access the value's hash.

use std::collections::BTreeMap;

use zerocopy::little_endian::{U16, U32};

use crate::alloc::Space;
use crate::attributes::Attribute;
use crate::checksum::FsSeed;
use crate::error::{Error, Result, internal};
use crate::format::Format;
use crate::metadata::Timestamp;
use crate::plan::inode::{encode, internal_file};
use crate::plan::own_file::OwnFile;
use crate::record::inode::{Flags, Inode};
use crate::record::{high16, high32, low16, low32};
use crate::sink::widen;
use crate::tree::Node;
use crate::units::{BlockCount, InodeNumber};

/// The inode of a value.
#[derive(Debug)]
pub(crate) struct EaInode<'a> {
    pub value: &'a [u8],
    /// Where the value is.
    pub file: OwnFile,
    uid: u32,
    gid: u32,
    /// The entries in inodes and blocks that have it; a shared block counts once.
    references: u64,
}

/// The inodes of all values, behind those of the nodes.
#[derive(Debug)]
pub(crate) struct EaInodes<'a> {
    inodes: Vec<EaInode<'a>>,
    by_value: BTreeMap<&'a [u8], usize>,
    /// The largest number of a node.
    before: InodeNumber,
}

const VALUES_HAVE_INODES: Error = internal("every value outside has an inode");

impl<'a> EaInodes<'a> {
    /// None yet; their numbers will follow this one.
    pub(crate) fn behind(before: InodeNumber) -> Self {
        Self { inodes: Vec::new(), by_value: BTreeMap::new(), before }
    }

    /// Counts an entry with this value; its inode has the owners of the first node.
    pub(crate) fn refer(&mut self, attribute: &'a Attribute, node: &Node) {
        let value = &*attribute.value;
        let place = *self.by_value.entry(value).or_insert(self.inodes.len());
        if let Some(inode) = self.inodes.get_mut(place) {
            inode.references += 1;
            return;
        }
        let (file, uid, gid) = (OwnFile::default(), node.uid, node.gid);
        self.inodes.push(EaInode { value, file, uid, gid, references: 1 });
    }

    /// Takes blocks for all values.
    pub(crate) fn place(&mut self, format: &Format, space: &mut Space) -> Result<()> {
        for inode in &mut self.inodes {
            inode.file = OwnFile::take(blocks(inode.value, format), format.block, space)?;
        }
        Ok(())
    }

    /// The largest number of a value's inode, or of a node if there is none.
    pub(crate) fn last(&self) -> Result<InodeNumber> {
        self.numbered(self.inodes.len())
    }

    /// The inode of a value.
    pub(crate) fn of(&self, attribute: &Attribute) -> Result<InodeNumber> {
        let place = self.by_value.get(&*attribute.value).ok_or(VALUES_HAVE_INODES)?;
        self.numbered(place + 1)
    }

    /// All inodes with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (InodeNumber, &EaInode<'a>)> {
        let first = self.before.get().saturating_add(1);
        (first..).map(InodeNumber::new).zip(&self.inodes)
    }

    fn numbered(&self, distance: usize) -> Result<InodeNumber> {
        let needed = u64::from(self.before.get()) + widen(distance);
        u32::try_from(needed)
            .map(InodeNumber::new)
            .map_err(|_| Error::TooFewInodes { needed, available: u64::from(u32::MAX) })
    }
}

/// The blocks of a value: its inode has them, and whoever has the attribute counts them too.
///
/// Source: kernel, `fs/ext4/xattr.c`, `ext4_xattr_inode_alloc_quota`; e2fsprogs,
/// `e2fsck/pass1.c`, `size_to_quota_blocks`.
pub(crate) fn blocks(value: &[u8], format: &Format) -> BlockCount {
    format.block.blocks_for(widen(value.len()))
}

impl EaInode<'_> {
    /// The fields of the inode, without its mapping.
    pub(crate) fn render(&self, format: &Format, epoch: Timestamp, seed: FsSeed) -> Inode {
        let blocks = blocks(self.value, format) + BlockCount::new(widen(self.file.nodes.len()));
        let mut inode = internal_file(format, epoch, widen(self.value.len()), blocks);
        (inode.uid_lo, inode.uid_high) = halves(self.uid);
        (inode.gid_lo, inode.gid_high) = halves(self.gid);
        inode.flags |= U32::new(Flags::EA_INODE.bits());
        inode.version = U32::new(low32(self.references));
        let as_time = |number: u32| encode(Timestamp::from_seconds(i64::from(number)));
        (inode.ctime, inode.ctime_extra) = as_time(high32(self.references));
        (inode.atime, inode.atime_extra) = as_time(seed.value(self.value));
        inode
    }
}

fn halves(id: u32) -> (U16, U16) {
    (U16::new(low16(id)), U16::new(high16(id)))
}
