//! The disk, field for field: structs whose memory is the format.
//!
//! No arithmetic and no I/O. Every record bears the kernel's field names without their prefix,
//! with a blank line every 16 bytes where a hex dump has its line.

pub(crate) mod acl;
pub(crate) mod directory;
pub(crate) mod extent;
pub(crate) mod feature;
pub(crate) mod group;
pub(crate) mod inode;
pub(crate) mod journal;
pub(crate) mod orphan;
pub(crate) mod superblock;
pub(crate) mod xattr;

use zerocopy::little_endian::{U16, U32};

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

/// A number from its two halves of 32 bits.
pub(crate) fn wide(low: U32, high: U32) -> u64 {
    u64::from(low.get()) | u64::from(high.get()) << 32
}

/// A number from its lower half of 32 bits and its upper one of 16.
pub(crate) fn wide48(low: U32, high: U16) -> u64 {
    u64::from(low.get()) | u64::from(high.get()) << 32
}

/// A number from its two halves of 16 bits.
pub(crate) fn wide32(low: U16, high: U16) -> u32 {
    u32::from(low.get()) | u32::from(high.get()) << 16
}
