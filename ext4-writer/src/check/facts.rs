//! Numbers of the format that only the check asks for.

/// Features that only the check asks for.
pub(super) mod feature {
    use crate::reader::features::Feature;

    pub(in crate::check) const IMAGIC: Feature = Feature::Compatible(0x0002);
    pub(in crate::check) const EXT_ATTR: Feature = Feature::Compatible(0x0008);
    pub(in crate::check) const RESIZE_INODE: Feature = Feature::Compatible(0x0010);
    pub(in crate::check) const DIR_INDEX: Feature = Feature::Compatible(0x0020);
    pub(in crate::check) const ORPHAN_FILE: Feature = Feature::Compatible(0x1000);
    pub(in crate::check) const EXTENT: Feature = Feature::Incompatible(0x0040);
    pub(in crate::check) const MMP: Feature = Feature::Incompatible(0x0100);
    pub(in crate::check) const FLEX_BG: Feature = Feature::Incompatible(0x0200);
    pub(in crate::check) const CASEFOLD: Feature = Feature::Incompatible(0x2_0000);
    pub(in crate::check) const LARGE_FILE: Feature = Feature::ReadOnly(0x0002);
    pub(in crate::check) const DIR_NLINK: Feature = Feature::ReadOnly(0x0020);
    pub(in crate::check) const QUOTA: Feature = Feature::ReadOnly(0x0100);
    pub(in crate::check) const ORPHAN_PRESENT: Feature = Feature::ReadOnly(0x1_0000);
}

/// The numbers of the filesystem's own inodes.
pub(super) mod own {
    pub(in crate::check) const BAD_BLOCKS: u32 = 1;
    pub(in crate::check) const ROOT: u32 = 2;
    pub(in crate::check) const USER_QUOTA: u32 = 3;
    pub(in crate::check) const GROUP_QUOTA: u32 = 4;
    pub(in crate::check) const BOOT_LOADER: u32 = 5;
    pub(in crate::check) const RESIZE: u32 = 7;
    pub(in crate::check) const JOURNAL: u32 = 8;
}

/// Bits of `i_flags`.
///
/// Source: kernel, `fs/ext4/ext4.h`, `EXT4_*_FL`.
pub(super) mod flag {
    pub(in crate::check) const IMMUTABLE: u32 = 0x0010;
    pub(in crate::check) const APPEND: u32 = 0x0020;
    pub(in crate::check) const ENCRYPT: u32 = 0x0800;
    pub(in crate::check) const INDEX: u32 = 0x1000;
    pub(in crate::check) const IMAGIC: u32 = 0x2000;
    pub(in crate::check) const HUGE_FILE: u32 = 0x4_0000;
    pub(in crate::check) const EXTENTS: u32 = 0x8_0000;
    pub(in crate::check) const VERITY: u32 = 0x10_0000;
    pub(in crate::check) const EA_INODE: u32 = 0x20_0000;
    pub(in crate::check) const INLINE_DATA: u32 = 0x1000_0000;
    pub(in crate::check) const CASEFOLD: u32 = 0x4000_0000;
}

/// What an inode in use is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Directory,
    Regular,
    Symlink,
    Character,
    Block,
    Fifo,
    Socket,
    /// A mode that is none of these.
    Unknown,
}

impl Sort {
    /// The kind of file that a mode tells: `S_IFMT`.
    pub(super) const fn of_mode(mode: u16) -> Self {
        match mode >> 12 {
            0x1 => Self::Fifo,
            0x2 => Self::Character,
            0x4 => Self::Directory,
            0x6 => Self::Block,
            0x8 => Self::Regular,
            0xa => Self::Symlink,
            0xc => Self::Socket,
            _ => Self::Unknown,
        }
    }

    /// The type in a directory entry: `EXT4_FT_*`.
    pub(super) const fn entry_type(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Regular => 1,
            Self::Directory => 2,
            Self::Character => 3,
            Self::Block => 4,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::Symlink => 7,
        }
    }

    pub(super) const fn of_entry_type(number: u32) -> Self {
        match number {
            1 => Self::Regular,
            2 => Self::Directory,
            3 => Self::Character,
            4 => Self::Block,
            5 => Self::Fifo,
            6 => Self::Socket,
            7 => Self::Symlink,
            _ => Self::Unknown,
        }
    }
}
