//! Content that was inside an inode and moves into blocks.
//!
//! Source: kernel, `fs/ext4/inline.c`, `ext4_convert_inline_data_nolock`.

use crate::edit::attributes::place_inside;
use crate::edit::device::Device;
use crate::edit::directory::{Directory, Target, put_entry, put_length};
use crate::edit::error::EditResult;
use crate::edit::filesystem::Filesystem;
use crate::edit::inode::Inode;
use crate::edit::map::FileMap;
use crate::error::internal;
use crate::reader::directory::ReadDirectory;
use crate::reader::{Inode as Found, ReadError, content};
use crate::record::directory::{DOT_ENTRY, entry_size};
use crate::record::inode::{BLOCK_MAP_SIZE, Flags};
use crate::record::xattr::{DATA_NAME, INDEX_SYSTEM};

impl<D: Device> Filesystem<D> {
    /// An inode that keeps no content inside any more; it has an empty map then.
    pub(crate) fn empty_inline(&self, inode: &mut Inode, found: &Found) -> EditResult<()> {
        let (mut inside, _) = self.attributes(found)?;
        inside.retain(|one| one.index != INDEX_SYSTEM || one.name != DATA_NAME);
        place_inside(inode, &inside)?;
        inode.set_flag(Flags::INLINE_DATA, false);
        inode.set_flag(Flags::EXTENTS, self.has_extents());
        inode.record.block = [0; BLOCK_MAP_SIZE];
        Ok(())
    }

    /// A directory whose entries move from its inode into a block.
    pub(crate) fn expand_directory(&mut self, found: &Found) -> EditResult<Directory> {
        let bytes = content::inline(found)?;
        let parent = bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let parent = parent.ok_or(internal("content in an inode has 60 bytes at least"))?;
        if parent == 0 || parent > self.layout.inodes {
            let detail = format!("the directory above is to be inode {parent}");
            return Err(ReadError::corrupt(found.part(), detail).into());
        }
        let mut names = Vec::new();
        for entry in ReadDirectory::new(&self.blocks(), &self.layout, found)? {
            names.push(entry?);
        }
        let mut inode = Inode::of(found);
        self.empty_inline(&mut inode, found)?;
        inode.set_size(0);
        let mut directory = Directory { inode, map: FileMap::default() };
        let block = self.append_block(&mut directory)?;
        let mut bytes = self.dot_block(found.number(), parent)?;
        let (mut last, mut at) = (DOT_ENTRY, 2 * DOT_ENTRY);
        for entry in &names {
            let kind = entry.kind.map_or(0, |kind| self.entry_kind(kind));
            let length = entry_size(entry.name.len());
            put_length(&mut bytes, last, at - last)?;
            let target = Target { inode: entry.inode, kind };
            put_entry(&mut bytes, at, length, (&entry.name, target))?;
            (last, at) = (at, at + length);
        }
        put_length(&mut bytes, last, self.leaf_room() - last)?;
        self.put_leaf(&directory, block, bytes)?;
        self.store(&directory.inode)?;
        Ok(directory)
    }
}
