//! Values of attributes that have inodes of their own: equal ones have one together.

use std::collections::BTreeMap;

use crate::alloc::Allocator;
use crate::attributes::Attribute;
use crate::error::{Error, Result, internal};
use crate::format::Format;
use crate::format::units::{BlockCount, InodeNumber, widen};
use crate::plan::internal_file::InternalFile;
use crate::render::inode::ValueFile;
use crate::tree::Node;

/// The inode of a value.
#[derive(Debug)]
pub(crate) struct EaInode<'a> {
    pub value: &'a [u8],
    /// Where the value is.
    pub file: InternalFile,
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

const VALUES_HAVE_INODES: Error = internal("every value that needs an EA inode has one");

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
        let (file, uid, gid) = (InternalFile::default(), node.uid, node.gid);
        self.inodes.push(EaInode { value, file, uid, gid, references: 1 });
    }

    /// Takes blocks for all values.
    pub(crate) fn place(&mut self, format: &Format, allocator: &mut Allocator) -> Result<()> {
        for inode in &mut self.inodes {
            inode.file =
                InternalFile::allocate(blocks(inode.value, format), format.block, allocator)?;
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
        // That there is a number for each is checked where the last is asked for.
        (self.before.get()..=u32::MAX).skip(1).map(InodeNumber::new).zip(&self.inodes)
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
    /// What its inode states.
    pub(crate) fn file(&self) -> ValueFile<'_> {
        let Self { value, ref file, uid, gid, references } = *self;
        ValueFile { value, blocks: file.blocks(), uid, gid, references }
    }
}
