//! Directories, block by block: lists of entries, the nodes of a hash index, and the lists inside
//! an inode.
//!
//! Source: kernel, `fs/ext4/dir.c`, `__ext4_check_dir_entry`; `fs/ext4/namei.c`,
//! `ext4_dirblock_csum_verify` and `ext4_dx_csum_verify`.

use std::collections::BTreeMap;
use std::mem::offset_of;

use zerocopy::FromBytes;

use crate::format::checksum::InodeSeed;
use crate::metadata::FileKind;
use crate::reader::content;
use crate::reader::device::Device;
use crate::reader::error::{Part, ReadError, ReadResult};
use crate::reader::extent::Extent;
use crate::reader::features::Feature;
use crate::reader::inode::Inode;
use crate::reader::layout::Layout;
use crate::reader::map::Map;
use crate::reader::source::Source;
use crate::record::directory::{
    DOT_ENTRY, ENTRY_HEAD, Entry, IndexCount, IndexEntry, IndexInfo, IndexTail, TAIL_FILE_TYPE,
    Tail, entry_size,
};
use crate::record::inode::{BLOCK_MAP_SIZE, Flags};

/// The bytes at the start of a list inside an inode that name the directory above.
const INLINE_PARENT: usize = 4;

/// A name in a directory; `.` and `..` are not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The name, as it stands on disk: in an encrypted directory it is encrypted.
    pub name: Vec<u8>,
    /// The inode that it names.
    pub inode: u32,
    /// What that is, where the entry tells.
    pub kind: Option<FileKind>,
}

/// The names of a directory, in the order in which they stand on disk.
pub struct ReadDirectory<'a, S> {
    device: &'a Device<S>,
    layout: &'a Layout,
    inode: &'a Inode,
    map: Map,
    /// The blocks that the map gave and that were not read yet.
    extent: Option<Extent>,
    /// How many blocks were read, which is the place of the next.
    block: u64,
    /// The blocks that were met, from the first to behind the last of each run.
    met: BTreeMap<u64, u64>,
    list: List,
    failed: bool,
}

/// A list of entries.
#[derive(Default)]
struct List {
    bytes: Vec<u8>,
    at: usize,
    end: usize,
    part: Option<Part>,
    /// How many entries may still be `.` or `..`.
    dots: u8,
    /// Whether `..` seems to take all of the block, as in the root of an index.
    is_root: bool,
    /// Whether names are encrypted, so that they may have any bytes.
    is_encrypted: bool,
    /// The lists inside an inode that are left.
    rest: Option<Vec<u8>>,
}

impl<'a, S: Source> ReadDirectory<'a, S> {
    pub(crate) fn new(
        device: &'a Device<S>,
        layout: &'a Layout,
        inode: &'a Inode,
    ) -> ReadResult<Self> {
        if !inode.is(FileKind::Directory) {
            return Err(ReadError::WrongKind { inode: inode.number(), needs: "a directory" });
        }
        let mut list = List::default();
        if inode.has(Flags::INLINE_DATA) {
            list = inline_list(inode, layout)?;
        } else if !inode.size().is_multiple_of(device.block.bytes()) || inode.size() == 0 {
            return Err(inode.corrupt(format!("the directory has {} bytes", inode.size())));
        }
        let map = Map::new(device, inode, 0)?;
        let (extent, block, met) = (None, 0, BTreeMap::new());
        Ok(Self { device, layout, inode, map, extent, block, met, list, failed: false })
    }

    fn step(&mut self) -> Option<ReadResult<DirectoryEntry>> {
        loop {
            if self.list.at < self.list.end {
                match self.list.entry(self.layout) {
                    Ok(None) => continue,
                    Ok(Some(entry)) => return Some(Ok(entry)),
                    Err(error) => return Some(Err(error)),
                }
            }
            if let Some(rest) = self.list.rest.take() {
                self.list = List::inline(rest, self.inode, self.layout);
                continue;
            }
            match self.next_block() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Reads the next block with entries; `false` when there is none.
    fn next_block(&mut self) -> ReadResult<bool> {
        if self.inode.has(Flags::INLINE_DATA)
            || self.block >= self.inode.size() / self.device.block.bytes()
        {
            return Ok(false);
        }
        if self.extent.is_none() {
            self.extent = self.map.next_run(self.device, self.inode).transpose()?;
            if let Some(extent) = self.extent {
                self.meet(&extent)?;
            }
        }
        let is_there = |extent: &Extent| extent.file_block == self.block && !extent.unwritten;
        let Some(extent) = self.extent.filter(is_there) else {
            return Err(self.inode.corrupt(format!("block {} of it is a hole", self.block)));
        };
        let number = u32::try_from(self.block).unwrap_or(u32::MAX);
        let part = Part::Directory { inode: self.inode.number(), block: number };
        let bytes = self.device.read_block(extent.block, part)?;
        self.block = self.block.saturating_add(1);
        self.extent = (extent.length > 1).then(|| Extent {
            file_block: extent.file_block.saturating_add(1),
            block: extent.block.saturating_add(1),
            length: extent.length - 1,
            ..extent
        });
        self.list = self.list_of(bytes, part, number == 0)?;
        Ok(true)
    }

    /// Refuses blocks that the directory has already: names could be told without end.
    fn meet(&mut self, extent: &Extent) -> ReadResult<()> {
        let end = extent.block.saturating_add(extent.length);
        let before = self.met.range(..end).next_back();
        if before.is_some_and(|(_, met)| *met > extent.block) {
            let detail = format!("it has block {} twice", extent.block);
            return Err(self.inode.corrupt(detail));
        }
        self.met.insert(extent.block, end);
        Ok(())
    }

    /// Checks a block, and finds the entries in it.
    fn list_of(&self, bytes: Vec<u8>, part: Part, is_first: bool) -> ReadResult<List> {
        let is_indexed = self.inode.has(Flags::INDEX);
        let node = if is_indexed { count_place(&bytes, is_first) } else { None };
        let mut end = bytes.len();
        if let Some(count) = node {
            verify_node(self.inode.seed, &bytes, count, part)?;
        } else if self.inode.seed.is_enabled() {
            verify_entries(self.inode.seed, &bytes, part)?;
            end = end.saturating_sub(size_of::<Tail>());
        }
        if node.is_some() {
            // A node has no entries but the two of the first block.
            end = if is_first { 2 * DOT_ENTRY } else { 0 };
        }
        Ok(List {
            bytes,
            at: 0,
            end,
            part: Some(part),
            dots: if is_first { 2 } else { 0 },
            is_root: is_first && node.is_some(),
            is_encrypted: has_encrypted_names(self.inode, self.layout),
            rest: None,
        })
    }
}

impl<S: Source> Iterator for ReadDirectory<'_, S> {
    type Item = ReadResult<DirectoryEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let entry = self.step();
        self.failed = matches!(entry, Some(Err(_)));
        entry
    }
}

/// Compares the checksum at the end of a block of entries.
pub(crate) fn verify_entries(seed: InodeSeed, bytes: &[u8], part: Part) -> ReadResult<()> {
    let place = bytes.len().saturating_sub(size_of::<Tail>());
    let (covered, tail) = bytes.split_at_checked(place).unwrap_or_default();
    let tail = Tail::read_from_prefix(tail).map(|(tail, _)| tail).ok();
    let Some(tail) = tail.filter(|tail| {
        tail.reserved_zero1.get() == 0
            && usize::from(tail.rec_len.get()) == size_of::<Tail>()
            && tail.reserved_zero2 == 0
            && tail.reserved_ft == TAIL_FILE_TYPE
    }) else {
        return Err(ReadError::corrupt(part, "it has no checksum at its end"));
    };
    ReadError::verify(part, tail.checksum.get(), seed.sum(covered))
}

/// Checks the counts of an index node, which stand at `place`, and compares its checksum.
pub(crate) fn verify_node(
    seed: InodeSeed,
    bytes: &[u8],
    place: usize,
    part: Part,
) -> ReadResult<()> {
    let wrong = || ReadError::corrupt(part, "the counts of its index do not fit into it");
    let rest = bytes.get(place..).ok_or_else(wrong)?;
    let (counts, _) = IndexCount::read_from_prefix(rest).map_err(|_| wrong())?;
    let bytes_of = |entries: u16| {
        usize::from(entries).saturating_mul(size_of::<IndexEntry>()).saturating_add(place)
    };
    let (limit, count) = (counts.limit.get(), counts.count.get());
    let tail_place = bytes_of(limit);
    if count > limit || tail_place > bytes.len() {
        return Err(wrong());
    }
    if !seed.is_enabled() {
        return Ok(());
    }
    let tail = bytes.get(tail_place..).ok_or_else(wrong)?;
    let (tail, _) = IndexTail::read_from_prefix(tail).map_err(|_| wrong())?;
    let used = bytes.get(..bytes_of(count)).ok_or_else(wrong)?;
    ReadError::verify(part, tail.checksum.get(), seed.index_sum(used, tail))
}

/// Where the counts of an index node stand; `None` if the block is none.
///
/// Source: kernel, `fs/ext4/namei.c`, `get_dx_countlimit`.
pub(crate) fn count_place(bytes: &[u8], is_first: bool) -> Option<usize> {
    let entry = |place: usize| {
        let head = Entry::read_from_prefix(bytes.get(place..)?).ok()?.0;
        Some((head, record_length(head, bytes.len())))
    };
    if is_first {
        let (_, length) = entry(DOT_ENTRY)?;
        let info = bytes.get(2 * DOT_ENTRY..)?;
        let info = IndexInfo::read_from_prefix(info).ok()?.0;
        let is_root = length == bytes.len().checked_sub(DOT_ENTRY)?
            && info.reserved_zero.get() == 0
            && usize::from(info.info_length) == size_of::<IndexInfo>();
        return is_root.then_some(2 * DOT_ENTRY + size_of::<IndexInfo>());
    }
    let (head, length) = entry(0)?;
    (length == bytes.len() && head.inode.get() == 0 && head.name_len == 0).then_some(ENTRY_HEAD)
}

/// The bytes of an entry: in blocks of 64 KiB they do not fit into the field.
///
/// Source: kernel, `fs/ext4/ext4.h`, `ext4_rec_len_from_disk`.
pub(crate) fn record_length(entry: Entry, block: usize) -> usize {
    let length = usize::from(entry.rec_len.get());
    if block < 0x1_0000 {
        length
    } else if length == 0xffff || length == 0 {
        block
    } else {
        length & 0xfffc | (length & 3) << 16
    }
}

/// Whether the names of a directory may have any bytes; the flag alone, in a filesystem without the
/// feature, is no leave for that.
fn has_encrypted_names(inode: &Inode, layout: &Layout) -> bool {
    inode.has(Flags::ENCRYPT) && layout.has(Feature::ENCRYPT)
}

/// The first list of a directory inside its inode: what is left of `i_block`.
fn inline_list(inode: &Inode, layout: &Layout) -> ReadResult<List> {
    let bytes = content::inline(inode)?;
    let size = usize::try_from(inode.size()).unwrap_or(usize::MAX);
    let bytes = bytes.get(..size).ok_or_else(|| {
        inode.corrupt(format!("the directory has {size} bytes, the inode {}", bytes.len()))
    })?;
    let (first, rest) = bytes.split_at_checked(BLOCK_MAP_SIZE).unwrap_or((bytes, &[]));
    let first = first.get(INLINE_PARENT..).unwrap_or_default().to_vec();
    let mut list = List::inline(first, inode, layout);
    list.rest = (!rest.is_empty()).then(|| rest.to_vec());
    Ok(list)
}

impl List {
    fn inline(bytes: Vec<u8>, inode: &Inode, layout: &Layout) -> Self {
        let end = bytes.len();
        let is_encrypted = has_encrypted_names(inode, layout);
        Self { bytes, end, part: Some(inode.part()), is_encrypted, ..Self::default() }
    }

    /// The next entry; `None` if it is free, or one of the two that every directory has.
    fn entry(&mut self, layout: &Layout) -> ReadResult<Option<DirectoryEntry>> {
        let at = self.at;
        let rest = self.bytes.get(at..self.end).unwrap_or_default();
        let (head, behind) =
            Entry::read_from_prefix(rest).map_err(|_| self.wrong("is cut short"))?;
        let mut length = record_length(head, self.bytes.len());
        if self.is_root && at == DOT_ENTRY {
            length = DOT_ENTRY;
        }
        let name_length = usize::from(head.name_len);
        if length < entry_size(1)
            || !length.is_multiple_of(4)
            || length < entry_size(name_length)
            || length > rest.len()
        {
            return Err(self.wrong(&format!("has {length} bytes, its name {name_length}")));
        }
        self.at = at.saturating_add(length);
        let inode = head.inode.get();
        if inode == 0 {
            return Ok(None);
        }
        if inode > layout.inodes {
            return Err(self.wrong(&format!("names inode {inode} of {}", layout.inodes)));
        }
        let name = behind.get(..name_length).unwrap_or_default();
        let name = name.to_vec();
        if self.dots > 0 && name == b"..".get(..usize::from(3 - self.dots)).unwrap_or_default() {
            self.dots -= 1;
            return Ok(None);
        }
        self.dots = 0;
        let is_path =
            name == b"." || name == b".." || name.iter().any(|byte| b"/\0".contains(byte));
        if name.is_empty() || is_path && !self.is_encrypted {
            return Err(self.wrong(&format!("has the name \"{}\"", name.escape_ascii())));
        }
        let kind = if layout.has(Feature::FILETYPE) { kind(head.file_type) } else { None };
        Ok(Some(DirectoryEntry { name, inode, kind }))
    }

    fn wrong(&self, what: &str) -> ReadError {
        let part = self.part.unwrap_or(Part::Superblock);
        ReadError::corrupt(part, format!("the entry at byte {} {what}", self.at))
    }
}

/// What the `file_type` byte says.
fn kind(byte: u8) -> Option<FileKind> {
    const KINDS: [FileKind; 7] = [
        FileKind::Regular,
        FileKind::Directory,
        FileKind::CharacterDevice,
        FileKind::BlockDevice,
        FileKind::Fifo,
        FileKind::Socket,
        FileKind::Symlink,
    ];
    KINDS.into_iter().find(|kind| kind.entry_type() == byte & 7)
}

const _: () = assert!(offset_of!(IndexCount, limit) == 0);
