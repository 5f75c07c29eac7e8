//! Where the fields of the structures of an image are.

use std::collections::BTreeSet;

use ext4_writer::reader::{Inode, Reader, Walk};

/// What has to be summed anew when a field changes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seal {
    Superblock,
    Descriptor(u32),
    BlockBitmap(u32),
    InodeBitmap(u32),
    Inode(u32),
    Extents { inode: u32, block: u64 },
    Directory { inode: u32, block: u64 },
    Attributes { block: u64 },
    Journal { block: u64 },
    Orphans { inode: u32, block: u64 },
    Nothing,
}

/// A field.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub structure: &'static str,
    pub name: String,
    pub offset: usize,
    pub width: usize,
    pub is_big_endian: bool,
    pub seal: Seal,
}

/// Widths of the fields of a record, in their order.
type Widths = &'static [usize];

/// `struct ext4_super_block`, up to its checksum; long texts as one byte.
const SUPERBLOCK: Widths = &[
    4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 2, 2, 4, 2, 2, 4, 4, 4, 4,
    4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 1, 1, 2, 4, 4, 4, 4, 4,
    4, 4, 4, 4, 4, 1, 1, 2, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 2,
    2, 4, 2, 2, 8, 4, 1, 1, 1, 1, 8, 4, 4, 8, 4, 4, 4, 4, 8,
];
/// `struct ext4_group_desc`.
const DESCRIPTOR: Widths = &[4, 4, 4, 2, 2, 2, 2, 4, 2, 2, 2, 2, 4, 4, 4, 2, 2, 2, 2, 4, 2, 2, 4];
/// `struct ext4_inode`; `i_block` as words.
const INODE: Widths = &[
    2, 2, 4, 4, 4, 4, 4, 2, 2, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 2,
    2, 2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 4,
];
/// A header and two entries of an extent tree.
const EXTENTS: Widths = &[2, 2, 2, 2, 4, 4, 2, 2, 4, 4, 2, 2, 4];
/// `journal_superblock_t`, up to its checksum type.
const JOURNAL: Widths = &[4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 1];
/// The root of an index, behind the entries `.` and `..`, and two entries.
const ROOT: Widths = &[4, 2, 1, 1, 4, 4, 2, 1, 1, 4, 4, 1, 1, 1, 1, 2, 2, 4, 4, 4, 4, 4];
/// A node of an index: the entry that hides it, and two entries.
const NODE: Widths = &[4, 2, 1, 1, 2, 2, 4, 4, 4, 4, 4];
/// The head of a block of attributes, and of its first entry.
const ATTRIBUTES: Widths = &[4, 4, 4, 4, 4, 4, 4, 4, 1, 1, 2, 4, 4, 4, 4];
/// The head of an attribute in an inode, with its magic number.
const ATTRIBUTE: Widths = &[4, 1, 1, 2, 4, 4, 4, 4];

struct Fields {
    list: Vec<Field>,
}

impl Fields {
    fn add(&mut self, structure: &'static str, at: usize, widths: Widths, seal: Seal) {
        let mut place = 0;
        for width in widths {
            let name = format!("{place:#x}");
            let is_big_endian = structure == "journal";
            let (offset, width) = (at + place, *width);
            self.list.push(Field { structure, name, offset, width, is_big_endian, seal });
            place += width;
        }
    }

    fn byte(&mut self, structure: &'static str, offset: usize, seal: Seal) {
        let name = format!("byte {offset:#x}");
        self.list.push(Field { structure, name, offset, width: 1, is_big_endian: false, seal });
    }
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

fn word(image: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(image[offset..offset + 4].try_into().unwrap())
}

/// All fields that are tried.
pub(super) fn fields(image: &[u8]) -> Vec<Field> {
    let reader = Reader::open_unreplayed(image).unwrap();
    let facts = reader.superblock().clone();
    let block = size(facts.block_size);
    let mut fields = Fields { list: Vec::new() };
    fields.add("superblock", 1024, SUPERBLOCK, Seal::Superblock);
    let first = if block == 1024 { 2048 } else { block };
    for group in reader.groups() {
        let group = group.unwrap();
        let number = size(group.number.into());
        // Elsewhere with meta_bg.
        if !facts.features.has_name("meta_bg") || group.number == 0 {
            let at = first + number * size(facts.descriptor_size);
            let count = if facts.descriptor_size == 64 { DESCRIPTOR.len() } else { 12 };
            fields.add("descriptor", at, &DESCRIPTOR[..count], Seal::Descriptor(group.number));
        }
        for into in [0, 1, 17, 100, block / 8, block / 2, block - 1] {
            let (blocks, inodes) = (size(group.block_bitmap), size(group.inode_bitmap));
            fields.byte("block bitmap", blocks * block + into, Seal::BlockBitmap(group.number));
            fields.byte("inode bitmap", inodes * block + into, Seal::InodeBitmap(group.number));
        }
    }
    let mut seen = BTreeSet::new();
    let own = (1..=10).filter_map(|number| reader.inode(number).ok());
    let root = reader.root().unwrap();
    let walk: Walk<'_, _> = reader.walk(&root);
    let files = walk.filter_map(|entry| entry.ok().map(|entry| entry.inode));
    let mut alike = 0;
    for inode in own.chain(files) {
        // One file of many that are alike is enough.
        alike += usize::from(inode.size() == 0);
        if seen.insert(inode.number()) && (inode.size() > 0 || alike < 4) {
            of_inode(&reader, image, &inode, &mut fields);
        }
    }
    fields.list.retain(|field| field.offset + field.width <= image.len());
    fields.list
}

fn of_inode(reader: &Reader<&[u8]>, image: &[u8], inode: &Inode, fields: &mut Fields) {
    let number = inode.number();
    let block = size(reader.superblock().block_size);
    let length = size(reader.superblock().inode_size);
    let offset = size(reader.inode_offset(number).unwrap());
    let name = if number < 11 { "own inode" } else { "inode" };
    let count = if length == 128 { 39 } else { INODE.len() };
    fields.add(name, offset, &INODE[..count], Seal::Inode(number));
    let extra = usize::from(image[offset + 128 % length]);
    let attributes = offset + 128 + extra;
    if length > 128 && word(image, attributes) == 0xea02_0000 {
        fields.add("attribute in an inode", attributes, ATTRIBUTE, Seal::Inode(number));
        fields.byte("attribute in an inode", offset + length - 3, Seal::Inode(number));
    }
    if let Some(attributes) = inode.attribute_block() {
        let at = size(attributes) * block;
        fields.add("attribute block", at, ATTRIBUTES, Seal::Attributes { block: attributes });
        fields.byte("attribute block", at + block - 2, Seal::Attributes { block: attributes });
    }
    let is_mapped = inode.flags() & 0x8_0000 != 0;
    if let Ok(nodes) = reader.map_blocks(inode) {
        for node in nodes.flatten().take(3) {
            let at = size(node) * block;
            if is_mapped {
                fields.add(
                    "extent node",
                    at,
                    EXTENTS,
                    Seal::Extents { inode: number, block: node },
                );
            } else {
                fields.add("addresses", at, &[4, 4, 4, 4], Seal::Nothing);
            }
        }
    }
    let Ok(extents) = reader.extents(inode) else { return };
    let runs: Vec<_> = extents.flatten().collect();
    let first = runs.first().map(|run| run.block);
    if number == 8
        && let Some(first) = first
    {
        fields.add("journal", size(first) * block, JOURNAL, Seal::Journal { block: first });
    }
    let is_directory = inode.is(ext4_writer::FileKind::Directory);
    if is_directory {
        let blocks = runs.iter().flat_map(|run| run.block..run.block + run.length);
        for (place, at) in blocks.enumerate().take(6) {
            of_directory(image, inode, (place, at, block), fields);
        }
    }
    if reader.superblock().features.has_name("orphan_file") && number == orphan_file(image) {
        for at in runs.iter().flat_map(|run| run.block..run.block + run.length).take(2) {
            let seal = Seal::Orphans { inode: number, block: at };
            fields.add("orphan file", size(at) * block, &[4, 4], seal);
            fields.add("orphan file", size(at + 1) * block - 8, &[4, 4], seal);
        }
    }
}

/// `s_orphan_file_inum`
fn orphan_file(image: &[u8]) -> u32 {
    word(image, 1024 + 0x280)
}

fn of_directory(
    image: &[u8],
    inode: &Inode,
    (place, at, block): (usize, u64, usize),
    fields: &mut Fields,
) {
    let start = size(at) * block;
    let seal = Seal::Directory { inode: inode.number(), block: at };
    let is_indexed = inode.flags() & 0x1000 != 0;
    if is_indexed && place == 0 {
        fields.add("index root", start, ROOT, seal);
        return;
    }
    let length =
        |offset: usize| usize::from(u16::from_le_bytes([image[offset + 4], image[offset + 5]]));
    if is_indexed && word(image, start) == 0 && length(start) == block {
        fields.add("index node", start, NODE, seal);
        return;
    }
    let mut entry = start;
    for _ in 0..5 {
        if entry + 12 > start + block {
            break;
        }
        fields.add("entry", entry, &[4, 2, 1, 1, 1, 1], seal);
        entry += length(entry).max(8);
    }
    // The tail, where there is one.
    fields.add("entry", start + block - 12, &[4, 2, 1, 1, 4], seal);
}
