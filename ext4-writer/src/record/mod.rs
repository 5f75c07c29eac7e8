//! The disk, field for field: structs whose memory is the format.
//!
//! No arithmetic and no I/O. Every record bears the kernel's field names without their prefix,
//! with a blank line every 16 bytes where a hex dump has its line.

pub(crate) mod acl;
pub(crate) mod directory;
pub(crate) mod extent;
pub(crate) mod group;
pub(crate) mod inode;
pub(crate) mod journal;
pub(crate) mod orphan;
pub(crate) mod superblock;
pub(crate) mod xattr;

/// The low 32 bits of a number that the format keeps in two halves.
pub(crate) fn low32(number: u64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The high 32 bits of a number that the format keeps in two halves.
pub(crate) fn high32(number: u64) -> u32 {
    let [_, _, _, _, a, b, c, d] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The low 16 bits of a number that the format keeps in two halves.
pub(crate) fn low16(number: u32) -> u16 {
    let [a, b, ..] = number.to_le_bytes();
    u16::from_le_bytes([a, b])
}

/// The high 16 bits of a number that the format keeps in two halves.
pub(crate) fn high16(number: u32) -> u16 {
    let [_, _, a, b] = number.to_le_bytes();
    u16::from_le_bytes([a, b])
}
