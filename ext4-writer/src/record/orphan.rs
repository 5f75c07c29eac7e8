//! The tail of a block of the file that lists orphans; before it stand inode numbers, all zero
//! while there are none.
//!
//! Source: kernel, `fs/ext4/ext4.h`, `struct ext4_orphan_block_tail`.

use std::mem::size_of;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `ob_magic`: `EXT4_ORPHAN_BLOCK_MAGIC`.
pub(crate) const MAGIC: u32 = 0x0b10_ca04;

/// The last bytes of every block.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Tail {
    pub magic: U32,
    pub checksum: U32,
}

const _: () = assert!(size_of::<Tail>() == 8);
