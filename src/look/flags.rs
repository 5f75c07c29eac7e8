//! The letters of inode flags.

use ext4_writer::FileFlags;

/// Flags beside those of [`FileFlags`] that people set: `C`, `x`, `P`, `F` and `V` of `lsattr`.
const MORE_FLAGS: u32 = 0x0080_0000 | 0x0200_0000 | 0x2000_0000 | 0x4000_0000 | 0x0010_0000;

/// The flags that have letters, in the order of `lsattr`.
///
/// Source: e2fsprogs, `lib/e2p/pf.c`, `flags_array`.
const LETTERS: [(u32, char); 22] = [
    (0x0000_0001, 's'),
    (0x0000_0002, 'u'),
    (0x0000_0008, 'S'),
    (0x0001_0000, 'D'),
    (0x0000_0010, 'i'),
    (0x0000_0020, 'a'),
    (0x0000_0040, 'd'),
    (0x0000_0080, 'A'),
    (0x0000_0004, 'c'),
    (0x0000_0800, 'E'),
    (0x0000_4000, 'j'),
    (0x0000_1000, 'I'),
    (0x0000_8000, 't'),
    (0x0002_0000, 'T'),
    (0x0008_0000, 'e'),
    (0x0080_0000, 'C'),
    (0x0200_0000, 'x'),
    (0x4000_0000, 'F'),
    (0x1000_0000, 'N'),
    (0x2000_0000, 'P'),
    (0x0010_0000, 'V'),
    (0x0000_0400, 'm'),
];

/// The letters of the flags that are set, as `lsattr` has them.
#[must_use]
pub(crate) fn flag_letters(flags: u32) -> String {
    LETTERS.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, letter)| *letter).collect()
}

/// Those of the flags that people set, not the filesystem for itself.
pub(super) fn settable_flags(flags: u32) -> u32 {
    flags & (FileFlags::all().bits() | MORE_FLAGS)
}
