//! Directories that change: entries are found, put in and taken out, block by block.
//!
//! Source: kernel, `fs/ext4/namei.c`, `ext4_add_entry`, `add_dirent_to_buf`,
//! `ext4_generic_delete_entry`.

use std::ops::Range;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

use crate::edit::device::Device;
use crate::edit::error::{EditResult, refused};
use crate::edit::filesystem::Filesystem;
use crate::edit::inode::Inode;
use crate::edit::map::FileMap;
use crate::error::{Error, internal};
use crate::format::checksum::entries_tail;
use crate::format::extent::Extent;
use crate::format::units::{BlockCount, BlockIndex, FileBlock, Run};
use crate::metadata::FileKind;
use crate::reader::directory::{record_length, verify_entries};
use crate::reader::{Part, ReadError};
use crate::record::directory::{DOT_ENTRY, ENTRY_HEAD, Entry, entry_size};
use crate::record::feature::Feature;
use crate::record::inode::Flags;
use crate::render::directory as plan;

/// A directory that is changed.
pub(crate) struct Directory {
    pub inode: Inode,
    pub map: FileMap,
}

/// What an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub inode: u32,
    /// The byte for its kind; 0 where entries do not tell it.
    pub kind: u8,
}

/// An entry that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundEntry {
    /// The block of the directory.
    pub block: u64,
    pub target: Target,
}

/// An entry, or free room, in a block.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub at: usize,
    /// The bytes up to the next one.
    pub length: usize,
    pub target: Target,
    pub name: Range<usize>,
}

impl Slot {
    /// The bytes that the entry needs; none if there is none.
    pub(crate) fn used(&self) -> usize {
        if self.target.inode == 0 { 0 } else { entry_size(self.name.len()) }
    }

    /// Its name in the block that it is of.
    pub(crate) fn name_in<'a>(&self, bytes: &'a [u8]) -> EditResult<&'a [u8]> {
        let name = bytes.get(self.name.clone());
        Ok(name.ok_or(internal("the name of a checked entry is in its block"))?)
    }
}

impl Directory {
    /// How many blocks it has.
    pub(crate) fn blocks(&self, block: u64) -> u64 {
        u64::from(self.inode.record.size_lo.get())
            .saturating_add(u64::from(self.inode.record.size_high.get()) << 32)
            / block
    }

    pub(crate) fn is_indexed(&self) -> bool {
        self.inode.has(Flags::INDEX)
    }

    /// A block of it, as the place of an error.
    pub(crate) fn part(&self, block: u64) -> Part {
        let block = u32::try_from(block).unwrap_or(u32::MAX);
        Part::Directory { inode: self.inode.number, block }
    }
}

impl<D: Device> Filesystem<D> {
    /// A directory in which names are to be put or taken out; one inside its inode gets a block.
    pub(crate) fn directory(&mut self, number: u32) -> EditResult<Directory> {
        let found = self.find_inode(number)?;
        if !found.is(FileKind::Directory) {
            return Err(ReadError::WrongKind { inode: number, needs: "a directory" }.into());
        }
        let what = || format!("directory {number}");
        if found.has(Flags::ENCRYPT) {
            return Err(refused(what(), "its names are encrypted, and the key is not here"));
        }
        if found.has(Flags::CASEFOLD) {
            return Err(refused(what(), "its names are casefolded, which is not done here"));
        }
        if found.has(Flags::INDEX) && !self.has(Feature::DIR_INDEX) {
            return Err(refused(what(), "it has an index without dir_index; run e2fsck -D"));
        }
        if found.has(Flags::INLINE_DATA) {
            return self.expand_directory(&found);
        }
        let map = self.file_map(&found)?;
        let mut inode = Inode::of(&found);
        if !self.has(Feature::LARGE_DIR) {
            // Once `i_dir_acl`.
            inode.record.size_high = U32::ZERO;
        }
        if !found.size().is_multiple_of(self.layout.block.bytes()) || found.size() == 0 {
            return Err(found.corrupt(format!("the directory has {} bytes", found.size())).into());
        }
        Ok(Directory { inode, map })
    }

    /// The bytes of a block that entries can fill.
    pub(crate) fn leaf_room(&self) -> usize {
        self.layout.block.len() - entries_tail(self.layout.seed.is_enabled())
    }

    /// How many blocks a directory has.
    pub(crate) fn directory_blocks(&self, directory: &Directory) -> u64 {
        directory.blocks(self.layout.block.bytes())
    }

    /// A block of a directory, whatever is in it.
    pub(crate) fn read_directory_block(
        &self,
        directory: &Directory,
        block: u64,
    ) -> EditResult<Vec<u8>> {
        let place = directory.map.place(block).ok_or_else(|| {
            let detail = format!("block {block} of it is a hole");
            ReadError::corrupt(directory.inode.part(), detail)
        })?;
        Ok(self.blocks().read_block(place, directory.part(block))?)
    }

    /// A block of entries, with its sum compared.
    pub(crate) fn read_leaf(&self, directory: &Directory, block: u64) -> EditResult<Vec<u8>> {
        let bytes = self.read_directory_block(directory, block)?;
        let seed = self.seed_of(&directory.inode);
        if seed.is_enabled() {
            verify_entries(seed, &bytes, directory.part(block))?;
        }
        Ok(bytes)
    }

    /// Puts a block of entries back, with its sum.
    pub(crate) fn put_leaf(
        &mut self,
        directory: &Directory,
        block: u64,
        bytes: Vec<u8>,
    ) -> EditResult<()> {
        let place = directory.map.place(block).ok_or(BLOCK_HAS_A_PLACE)?;
        let sealed = self.seed_of(&directory.inode).seal_entries(bytes)?;
        self.put(place, &sealed)
    }

    /// The entries of a block, checked.
    pub(crate) fn slots(&self, bytes: &[u8], part: Part) -> EditResult<Vec<Slot>> {
        let (mut slots, mut at, end) = (Vec::new(), 0, self.leaf_room());
        while at < end {
            let wrong =
                |what: String| ReadError::corrupt(part, format!("the entry at byte {at} {what}"));
            let rest = bytes.get(at..end).unwrap_or_default();
            let (head, _) =
                Entry::read_from_prefix(rest).map_err(|_| wrong("is cut short".to_owned()))?;
            let length = record_length(head, bytes.len());
            let name_length = usize::from(head.name_len);
            let is_whole = length >= entry_size(1) && length.is_multiple_of(4);
            if !is_whole || length < entry_size(name_length) || length > rest.len() {
                let what = format!("has {length} bytes, its name {name_length}");
                return Err(wrong(what).into());
            }
            let name = at + ENTRY_HEAD..at + ENTRY_HEAD + name_length;
            let target = Target { inode: head.inode.get(), kind: head.file_type };
            slots.push(Slot { at, length, target, name });
            at += length;
        }
        Ok(slots)
    }

    /// The entry of a name in one block.
    pub(crate) fn find_in_leaf(
        &self,
        directory: &Directory,
        block: u64,
        name: &[u8],
    ) -> EditResult<Option<FoundEntry>> {
        let bytes = self.read_leaf(directory, block)?;
        let slots = self.slots(&bytes, directory.part(block))?;
        let found = slots
            .iter()
            .find(|slot| slot.target.inode != 0 && bytes.get(slot.name.clone()) == Some(name));
        let found = found.map(|slot| FoundEntry { block, target: slot.target });
        if let Some(entry) = found.filter(|entry| entry.target.inode > self.layout.inodes) {
            let detail = format!("an entry names inode {}", entry.target.inode);
            return Err(ReadError::corrupt(directory.part(block), detail).into());
        }
        Ok(found)
    }

    /// The entry of a name.
    pub(crate) fn find_entry(
        &self,
        directory: &Directory,
        name: &[u8],
    ) -> EditResult<Option<FoundEntry>> {
        if directory.is_indexed() {
            return self.find_by_index(directory, name);
        }
        for block in 0..self.directory_blocks(directory) {
            if let Some(found) = self.find_in_leaf(directory, block, name)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Puts a name in that is not there.
    pub(crate) fn insert_entry(
        &mut self,
        directory: &mut Directory,
        name: &[u8],
        target: Target,
    ) -> EditResult<()> {
        if directory.is_indexed() {
            return self.insert_by_index(directory, name, target);
        }
        let blocks = self.directory_blocks(directory);
        for block in 0..blocks {
            if self.insert_in_leaf(directory, block, name, target)? {
                return Ok(());
            }
        }
        if blocks == 1 && self.has(Feature::DIR_INDEX) {
            self.make_index(directory)?;
            return self.insert_by_index(directory, name, target);
        }
        let block = self.append_leaf(directory)?;
        if self.insert_in_leaf(directory, block, name, target)? {
            return Ok(());
        }
        Err(internal("a name fits into an empty block").into())
    }

    /// Puts a name into a block if it has room.
    pub(crate) fn insert_in_leaf(
        &mut self,
        directory: &Directory,
        block: u64,
        name: &[u8],
        target: Target,
    ) -> EditResult<bool> {
        let mut bytes = self.read_leaf(directory, block)?;
        let slots = self.slots(&bytes, directory.part(block))?;
        let needed = entry_size(name.len());
        let Some(slot) = slots.iter().find(|slot| slot.length - slot.used() >= needed) else {
            return Ok(false);
        };
        let used = slot.used();
        if used > 0 {
            put_length(&mut bytes, slot.at, used)?;
        }
        put_entry(&mut bytes, slot.at + used, slot.length - used, (name, target))?;
        self.put_leaf(directory, block, bytes)?;
        Ok(true)
    }

    /// Takes a name out; its room goes to the entry before it.
    pub(crate) fn delete_entry(
        &mut self,
        directory: &Directory,
        block: u64,
        name: &[u8],
    ) -> EditResult<()> {
        let mut bytes = self.read_leaf(directory, block)?;
        let slots = self.slots(&bytes, directory.part(block))?;
        let is_it =
            |slot: &Slot| slot.target.inode != 0 && bytes.get(slot.name.clone()) == Some(name);
        let place = slots.iter().position(is_it).ok_or(internal("the entry was found here"))?;
        let slot = slots.get(place).ok_or(internal("the entry was found here"))?;
        let clear = bytes.get_mut(slot.at..slot.at + slot.length);
        clear.ok_or(internal("an entry is within its block"))?.fill(0);
        match place.checked_sub(1).and_then(|before| slots.get(before)) {
            Some(before) => put_length(&mut bytes, before.at, before.length + slot.length)?,
            None => put_length(&mut bytes, slot.at, slot.length)?,
        }
        self.put_leaf(directory, block, bytes)
    }

    /// Lets an entry name something else.
    pub(crate) fn set_target(
        &mut self,
        directory: &Directory,
        block: u64,
        (name, target): (&[u8], Target),
    ) -> EditResult<()> {
        let mut bytes = self.read_leaf(directory, block)?;
        let slots = self.slots(&bytes, directory.part(block))?;
        let slot = slots
            .iter()
            .find(|slot| slot.target.inode != 0 && bytes.get(slot.name.clone()) == Some(name));
        let slot = slot.ok_or(internal("the entry was found here"))?;
        let (at, length) = (slot.at, slot.length);
        put_entry(&mut bytes, at, length, (name, target))?;
        self.put_leaf(directory, block, bytes)
    }

    /// Adds an empty block of entries at the end, and returns its place in the directory.
    pub(crate) fn append_leaf(&mut self, directory: &mut Directory) -> EditResult<u64> {
        let block = self.append_block(directory)?;
        let bytes = self.empty_leaf()?;
        self.put_leaf(directory, block, bytes)?;
        Ok(block)
    }

    /// A block without entries, its sum not yet in place.
    pub(crate) fn empty_leaf(&self) -> EditResult<Vec<u8>> {
        let mut bytes = vec![0; self.layout.block.len()];
        put_length(&mut bytes, 0, self.leaf_room())?;
        Ok(bytes)
    }

    /// Adds a block at the end, with anything in it, and returns its place in the directory.
    pub(crate) fn append_block(&mut self, directory: &mut Directory) -> EditResult<u64> {
        let size = self.layout.block.bytes();
        let block = self.directory_blocks(directory);
        let limit =
            if self.has(Feature::LARGE_DIR) { u64::from(u32::MAX) } else { (1 << 32) / size - 1 };
        let at = u32::try_from(block).ok().filter(|at| u64::from(*at) < limit);
        let Some(at) = at else {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            return Err(Error::DirectoryTooLarge { leaves: limit, limit }.into());
        };
        let goal = directory.map.last().map_or_else(
            || self.group_start(self.group_of_inode(directory.inode.number)),
            |last| last.saturating_add(1),
        );
        let start = BlockIndex::new(self.take_block(goal)?);
        let run = Run::new(start, BlockCount::new(1));
        directory.map.push(Extent::written(FileBlock::new(at), run));
        self.set_map(&mut directory.inode, &mut directory.map, goal)?;
        self.count_blocks(&mut directory.inode, 1)?;
        directory.inode.set_size((block + 1) * size);
        Ok(block)
    }

    /// The first block of a new directory.
    pub(crate) fn dot_block(&self, own: u32, parent: u32) -> EditResult<Vec<u8>> {
        let mut bytes = vec![0; self.layout.block.len()];
        let kind = self.entry_kind(FileKind::Directory);
        put_entry(&mut bytes, 0, DOT_ENTRY, (b".", Target { inode: own, kind }))?;
        let rest = self.leaf_room() - DOT_ENTRY;
        put_entry(&mut bytes, DOT_ENTRY, rest, (b"..", Target { inode: parent, kind }))?;
        Ok(bytes)
    }

    /// The byte that tells the kind in an entry.
    pub(crate) fn entry_kind(&self, kind: FileKind) -> u8 {
        if self.has(Feature::FILETYPE) { kind.entry_type() } else { 0 }
    }

    /// What an entry of an inode says.
    pub(crate) fn target_of(&self, inode: u32, kind: FileKind) -> Target {
        Target { inode, kind: self.entry_kind(kind) }
    }
}

pub(crate) const BLOCK_HAS_A_PLACE: Error = internal("a block of a directory has a place");

/// Writes an entry over `length` bytes at `at`.
pub(crate) fn put_entry(
    bytes: &mut [u8],
    at: usize,
    length: usize,
    (name, target): (&[u8], Target),
) -> EditResult<()> {
    let head = Entry {
        inode: U32::new(target.inode),
        rec_len: plan::record_length(length)?,
        name_len: u8::try_from(name.len()).map_err(|_| NAMES_ARE_SHORT)?,
        file_type: target.kind,
    };
    let place = bytes.get_mut(at..at + length).ok_or(ENTRY_FITS)?;
    place.fill(0);
    let (start, rest) = place.split_at_mut_checked(ENTRY_HEAD).ok_or(ENTRY_FITS)?;
    start.copy_from_slice(head.as_bytes());
    rest.get_mut(..name.len()).ok_or(ENTRY_FITS)?.copy_from_slice(name);
    Ok(())
}

/// Lets the entry at `at` reach over `length` bytes.
pub(crate) fn put_length(bytes: &mut [u8], at: usize, length: usize) -> EditResult<()> {
    let place = at + std::mem::offset_of!(Entry, rec_len);
    let field = bytes.get_mut(place..place + size_of::<U16>()).ok_or(ENTRY_FITS)?;
    field.copy_from_slice(plan::record_length(length)?.as_bytes());
    Ok(())
}

const NAMES_ARE_SHORT: Error = internal("a name has at most 255 bytes");
const ENTRY_FITS: Error = internal("an entry fits where it was put");
