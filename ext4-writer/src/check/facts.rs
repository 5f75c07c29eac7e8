//! Facts of the format as the check asks for them.

/// The numbers of the filesystem's own inodes, as they stand in records.
pub(super) mod own {
    use crate::format::numbers;

    pub(in crate::check) const BAD_BLOCKS: u32 = numbers::BAD_BLOCKS.get();
    pub(in crate::check) const ROOT: u32 = numbers::ROOT.get();
    pub(in crate::check) const USER_QUOTA: u32 = numbers::USER_QUOTA.get();
    pub(in crate::check) const GROUP_QUOTA: u32 = numbers::GROUP_QUOTA.get();
    pub(in crate::check) const BOOT_LOADER: u32 = numbers::BOOT_LOADER.get();
    pub(in crate::check) const RESIZE: u32 = numbers::RESIZE.get();
    pub(in crate::check) const JOURNAL: u32 = numbers::JOURNAL.get();
}

/// Bits of `i_flags`, as they stand in records.
pub(super) mod flag {
    use crate::record::inode::Flags;

    pub(in crate::check) const IMMUTABLE: u32 = Flags::IMMUTABLE.bits();
    pub(in crate::check) const APPEND: u32 = Flags::APPEND.bits();
    pub(in crate::check) const ENCRYPT: u32 = Flags::ENCRYPT.bits();
    pub(in crate::check) const INDEX: u32 = Flags::INDEX.bits();
    pub(in crate::check) const IMAGIC: u32 = Flags::IMAGIC.bits();
    pub(in crate::check) const HUGE_FILE: u32 = Flags::HUGE_FILE.bits();
    pub(in crate::check) const EXTENTS: u32 = Flags::EXTENTS.bits();
    pub(in crate::check) const VERITY: u32 = Flags::VERITY.bits();
    pub(in crate::check) const EA_INODE: u32 = Flags::EA_INODE.bits();
    pub(in crate::check) const INLINE_DATA: u32 = Flags::INLINE_DATA.bits();
    pub(in crate::check) const CASEFOLD: u32 = Flags::CASEFOLD.bits();
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
