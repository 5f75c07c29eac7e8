//! Checksums, computed anew over what was changed: by the format's description, and by nothing of
//! the library.
//!
//! Source: kernel, `Documentation/filesystems/ext4/checksums.rst`.

use ext4_writer::reader::Reader;

use super::places::{Field, Seal};

/// crc32c whose register is neither inverted before nor after.
fn fold(register: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!register, bytes)
}

fn fold16(register: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(register, |register, byte| {
        (0..8).fold(register ^ u16::from(*byte), |bits, _| {
            if bits & 1 == 1 { (bits >> 1) ^ 0xa001 } else { bits >> 1 }
        })
    })
}

/// What of a filesystem the sums depend on.
struct Layout {
    uuid: [u8; 16],
    seed: u32,
    block: usize,
    descriptor: usize,
    inode: usize,
    inodes_per_group: u32,
    clusters_per_group: u32,
    has_sums: bool,
    has_old_sums: bool,
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

fn layout(base: &[u8]) -> Layout {
    let reader = Reader::open_unreplayed(base).unwrap();
    let facts = reader.superblock();
    let word = |place: usize| u32::from_le_bytes(base[place..place + 4].try_into().unwrap());
    let seed = if facts.features.has_name("metadata_csum_seed") {
        word(1024 + 0x270)
    } else {
        fold(u32::MAX, &facts.uuid)
    };
    Layout {
        uuid: facts.uuid,
        seed,
        block: size(facts.block_size),
        descriptor: size(facts.descriptor_size),
        inode: size(facts.inode_size),
        inodes_per_group: facts.inodes_per_group,
        clusters_per_group: word(1024 + 0x24),
        has_sums: facts.features.has_name("metadata_csum"),
        has_old_sums: facts.features.has_name("uninit_bg"),
    }
}

/// Sums what holds the field.
pub(super) fn seal(base: &[u8], image: &mut [u8], field: &Field) {
    let layout = layout(base);
    if let Seal::Journal { block } = field.seal {
        journal(image, size(block) * layout.block);
        return;
    }
    if !layout.has_sums && !layout.has_old_sums {
        return;
    }
    let reader = Reader::open_unreplayed(base).unwrap();
    match field.seal {
        Seal::Descriptor(group) => descriptor(&layout, image, group),
        _ if !layout.has_sums => {}
        Seal::Superblock => {
            let sum = fold(u32::MAX, &image[1024..1024 + 1020]);
            image[2044..2048].copy_from_slice(&sum.to_le_bytes());
        }
        Seal::BlockBitmap(group) => {
            let start = size(reader.group(group).unwrap().block_bitmap) * layout.block;
            let length = size(layout.clusters_per_group.into()) / 8;
            let sum = fold(layout.seed, &image[start..start + length]);
            bitmap_sum(&layout, image, (group, 0x18, 0x38), sum);
        }
        Seal::InodeBitmap(group) => {
            let start = size(reader.group(group).unwrap().inode_bitmap) * layout.block;
            let length = size(layout.inodes_per_group.into()) / 8;
            let sum = fold(layout.seed, &image[start..start + length]);
            bitmap_sum(&layout, image, (group, 0x1a, 0x3a), sum);
        }
        Seal::Inode(number) => {
            let start = size(reader.inode_offset(number).unwrap());
            inode(&layout, &mut image[start..start + layout.inode], number);
        }
        Seal::Extents { inode, block } => {
            let seed = inode_seed(&layout, &reader, image, inode);
            let start = size(block) * layout.block;
            extents(seed, &mut image[start..start + layout.block]);
        }
        Seal::Directory { inode, block } => {
            let seed = inode_seed(&layout, &reader, image, inode);
            let start = size(block) * layout.block;
            directory(seed, &mut image[start..start + layout.block]);
        }
        Seal::Attributes { block } => {
            let start = size(block) * layout.block;
            let bytes = &mut image[start..start + layout.block];
            bytes[16..20].fill(0);
            let sum = fold(fold(layout.seed, &block.to_le_bytes()), bytes);
            bytes[16..20].copy_from_slice(&sum.to_le_bytes());
        }
        Seal::Orphans { inode, block } => {
            let seed = inode_seed(&layout, &reader, image, inode);
            let start = size(block) * layout.block;
            let end = start + layout.block - 8;
            let sum = fold(fold(seed, &block.to_le_bytes()), &image[start..end]);
            image[end + 4..end + 8].copy_from_slice(&sum.to_le_bytes());
        }
        Seal::Journal { .. } | Seal::Nothing => {}
    }
}

fn extents(seed: u32, bytes: &mut [u8]) {
    let max = usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
    let tail = (max + 1) * 12;
    if tail + 4 <= bytes.len() {
        let sum = fold(seed, &bytes[..tail]);
        bytes[tail..tail + 4].copy_from_slice(&sum.to_le_bytes());
    }
}

fn descriptor(layout: &Layout, image: &mut [u8], group: u32) {
    let first = if layout.block == 1024 { 2048 } else { layout.block };
    let start = first + size(group.into()) * layout.descriptor;
    let bytes = &mut image[start..start + layout.descriptor];
    if layout.has_sums {
        bytes[0x1e..0x20].fill(0);
        let sum = fold(fold(layout.seed, &group.to_le_bytes()), bytes);
        bytes[0x1e..0x20].copy_from_slice(&sum.to_le_bytes()[..2]);
    } else {
        let sum = fold16(fold16(u16::MAX, &layout.uuid), &group.to_le_bytes());
        let sum = fold16(fold16(sum, &bytes[..0x1e]), &bytes[0x20..]);
        bytes[0x1e..0x20].copy_from_slice(&sum.to_le_bytes());
    }
}

fn bitmap_sum(
    layout: &Layout,
    image: &mut [u8],
    (group, low, high): (u32, usize, usize),
    sum: u32,
) {
    let first = if layout.block == 1024 { 2048 } else { layout.block };
    let start = first + size(group.into()) * layout.descriptor;
    let sum = sum.to_le_bytes();
    image[start + low..start + low + 2].copy_from_slice(&sum[..2]);
    if layout.descriptor == 64 {
        image[start + high..start + high + 2].copy_from_slice(&sum[2..]);
    }
    descriptor(layout, image, group);
}

fn inode(layout: &Layout, bytes: &mut [u8], number: u32) {
    let extra = if bytes.len() > 128 { u16::from_le_bytes([bytes[128], bytes[129]]) } else { 0 };
    let is_whole = bytes.len() > 128 && extra >= 4;
    bytes[0x7c..0x7e].fill(0);
    if is_whole {
        bytes[0x82..0x84].fill(0);
    }
    let sum = fold(fold(layout.seed, &number.to_le_bytes()), &bytes[0x64..0x68]);
    let sum = fold(sum, bytes).to_le_bytes();
    bytes[0x7c..0x7e].copy_from_slice(&sum[..2]);
    if is_whole {
        bytes[0x82..0x84].copy_from_slice(&sum[2..]);
    }
}

fn inode_seed(layout: &Layout, reader: &Reader<&[u8]>, image: &[u8], number: u32) -> u32 {
    let start = size(reader.inode_offset(number).unwrap());
    let generation = &image[start + 0x64..start + 0x68];
    fold(fold(layout.seed, &number.to_le_bytes()), generation)
}

/// A block of entries with a tail, or else a node of an index.
fn directory(seed: u32, bytes: &mut [u8]) {
    let end = bytes.len();
    let word = |place: usize| u16::from_le_bytes([bytes[place], bytes[place + 1]]);
    let is_tail =
        bytes[end - 12..end - 8] == [0; 4] && word(end - 8) == 12 && bytes[end - 5] == 0xde;
    if is_tail {
        let sum = fold(seed, &bytes[..end - 12]);
        bytes[end - 4..].copy_from_slice(&sum.to_le_bytes());
        return;
    }
    let start = if usize::from(word(4)) == end { 8 } else { 32 };
    let (limit, count) = (usize::from(word(start)), usize::from(word(start + 2)));
    let (used, tail) = (start + count * 8, start + limit * 8);
    if used > end || tail + 8 > end {
        return;
    }
    let sum = fold(seed, &bytes[..used]);
    let sum = fold(fold(sum, &bytes[tail..tail + 4]), &[0; 4]);
    bytes[tail + 4..tail + 8].copy_from_slice(&sum.to_le_bytes());
}

fn journal(image: &mut [u8], start: usize) {
    let bytes = &mut image[start..start + 1024];
    // csum_v2 and csum_v3
    if bytes[0x2b] & 0x18 == 0 {
        return;
    }
    bytes[0xfc..0x100].fill(0);
    let sum = fold(u32::MAX, bytes);
    bytes[0xfc..0x100].copy_from_slice(&sum.to_be_bytes());
}
