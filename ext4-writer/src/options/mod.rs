//! What the caller decides about an image.

mod format;
mod size;

use bitflags::bitflags;

use crate::format::features::Features;
use crate::format::hash::{DirectoryHash, HashedBytes};
use crate::metadata::Timestamp;

/// How large the filesystem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Exactly so many bytes of file and of filesystem.
    Fixed(u64),
    /// The smallest filesystem that holds the tree and leaves room.
    ///
    /// Content is never moved: what a removal freed and nothing filled again counts as room.
    Fit {
        /// Bytes that an ordinary user can still write.
        free_bytes: u64,
        /// Inodes that can still be made.
        free_inodes: u32,
    },
}

/// The journal, in which the kernel writes metadata first.
///
/// Source of the sizes: e2fsprogs, `lib/ext2fs/mkjournal.c`, `ext2fs_default_journal_size`, and
/// `misc/util.c`, `figure_journal_size`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Journal {
    /// As large as mke2fs makes it: none below 2,048 blocks, then 1,024 to 262,144 blocks.
    #[default]
    Default,
    /// So many bytes, rounded down to blocks, at least 1,024 blocks and at most 10,240,000.
    Size(u64),
    /// None: as the feature `^has_journal`.
    None,
}

/// The blocks that only root may fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// This share of all blocks, at most 50.
    Percent(u8),
    /// So many bytes, rounded down to blocks, at most half of the filesystem.
    Bytes(u64),
}

/// What the kernel does when it finds the filesystem damaged: `s_errors`.
///
/// Source: kernel, `fs/ext4/ext4.h`, `EXT4_ERRORS_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It carries on.
    #[default]
    Continue,
    /// It allows reading only.
    RemountReadOnly,
    /// It stops the machine.
    Panic,
}

bitflags! {
    /// The mount options that are on without being asked for: `s_default_mount_opts`, by the
    /// names of `tune2fs -o`.
    ///
    /// Source: kernel, `fs/ext4/ext4.h`, `EXT4_DEFM_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct MountOptions: u32 {
        /// `debug`: the kernel tells what it mounts.
        const DEBUG = 0x0001;
        /// `bsdgroups`: new files get the group of their directory.
        const BSD_GROUPS = 0x0002;
        /// `user_xattr`: attributes `user.*`; every current kernel has them on anyway.
        const USER_XATTR = 0x0004;
        /// `acl`: POSIX ACLs; every current kernel has them on anyway.
        const ACL = 0x0008;
        /// `uid16`: owners above 65,535 are not kept.
        const UID16 = 0x0010;
        /// `journal_data`: data goes through the journal.
        const JOURNAL_DATA = 0x0020;
        /// `journal_data_ordered`: data is written before its metadata; the kernel's default.
        const JOURNAL_DATA_ORDERED = 0x0040;
        /// `journal_data_writeback`: data may be written after its metadata.
        const JOURNAL_DATA_WRITEBACK = 0x0060;
        /// `nobarrier`: the disk is not asked to empty its cache.
        const NO_BARRIER = 0x0100;
        /// `block_validity`: block numbers are compared with the places of metadata.
        const BLOCK_VALIDITY = 0x0200;
        /// `discard`: the disk is told of freed blocks.
        const DISCARD = 0x0400;
        /// `nodelalloc`: blocks are allocated at once.
        const NO_DELAYED_ALLOCATION = 0x0800;
    }
}

impl MountOptions {
    /// The options of a list with commas, by the names of `tune2fs -o`; `None` if there is no
    /// such option.
    #[must_use]
    pub fn by_names(list: &str) -> Option<Self> {
        let words = list.split(',').filter(|word| !word.is_empty());
        words.map(Self::named).try_fold(Self::empty(), |all, one| Some(all | one?))
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "debug" => Self::DEBUG,
            "bsdgroups" => Self::BSD_GROUPS,
            "user_xattr" => Self::USER_XATTR,
            "acl" => Self::ACL,
            "uid16" => Self::UID16,
            "journal_data" => Self::JOURNAL_DATA,
            "journal_data_ordered" => Self::JOURNAL_DATA_ORDERED,
            "journal_data_writeback" => Self::JOURNAL_DATA_WRITEBACK,
            "nobarrier" => Self::NO_BARRIER,
            "block_validity" => Self::BLOCK_VALIDITY,
            "discard" => Self::DISCARD,
            "nodelalloc" => Self::NO_DELAYED_ALLOCATION,
            _ => return None,
        })
    }
}

/// A named choice of features and room, with a tested promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// What mke2fs 1.47 makes, less what older checkers and boot loaders refuse:
    /// [`Features::DEFAULT`].
    #[default]
    Default,
    /// All that this crate writes and Linux 6.12 can mount, write to and grow: the default with
    /// `orphan_file`, `metadata_csum_seed`, `inline_data`, `ea_inode` and `large_dir`.
    Max,
    /// What Linux 4.14 mounts for writing: today the default, and it stays so when that changes.
    Linux414,
    /// What GRUB 2.06 reads, as the disk of `/boot` or the root: today the default, and it stays
    /// so when that changes.
    Grub206,
    /// A disk that is never written to: no journal, no reserve, no room for more descriptors,
    /// and as small as the tree allows.
    ReadOnly,
}

impl Profile {
    /// All profiles.
    pub const ALL: [Self; 5] =
        [Self::Default, Self::Max, Self::Linux414, Self::Grub206, Self::ReadOnly];

    /// The profile's name: `default`, `max`, `linux-4.14`, `grub-2.06` or `read-only`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Max => "max",
            Self::Linux414 => "linux-4.14",
            Self::Grub206 => "grub-2.06",
            Self::ReadOnly => "read-only",
        }
    }

    /// The profile of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// The features of the profile.
    #[must_use]
    pub const fn features(self) -> Features {
        match self {
            Self::Default | Self::Linux414 | Self::Grub206 => Features::DEFAULT,
            Self::Max => Features::DEFAULT
                .union(Features::ORPHAN_FILE)
                .union(Features::METADATA_CSUM_SEED)
                .union(Features::INLINE_DATA)
                .union(Features::EA_INODE)
                .union(Features::LARGE_DIR),
            Self::ReadOnly => Features::DEFAULT
                .difference(Features::HAS_JOURNAL)
                .difference(Features::RESIZE_INODE),
        }
    }
}

/// The most bytes for an inode that mke2fs takes: a disk that nobody writes to needs no more
/// inodes than its tree.
const FEW_INODES: u64 = 64 << 20;

/// Everything that is decided before the first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// How large the filesystem is.
    pub size: Size,
    /// The features of the format. What the size leaves no room for, such as a journal below 2,048
    /// blocks, the filesystem then does not claim.
    pub features: Features,
    /// The bytes of a block: 1,024, 2,048, 4,096, or up to 65,536, which only a kernel with
    /// pages as large can mount.
    pub block_size: u32,
    /// The bytes of an inode: 128, 256, 512 or 1,024. What is behind the first 160 is room for
    /// extended attributes and inline data; inodes of 128 bytes have neither, no nanoseconds
    /// and no times after 2038.
    pub inode_size: u16,
    /// The volume's name, at most 16 bytes, without NUL.
    pub label: Vec<u8>,
    /// The filesystem's UUID in the order in which it is written. When not given it is derived
    /// from the label, the size asked for and the tree: names, attributes, sizes and places, but
    /// not contents.
    pub uuid: Option<[u8; 16]>,
    /// The start of every name's hash; derived from the UUID when not given.
    pub hash_seed: Option<[u8; 16]>,
    /// The hash of names, which orders directories of several blocks.
    pub directory_hash: DirectoryHash,
    /// How that hash counts bytes.
    pub hashed_bytes: HashedBytes,
    /// How full the leaves of a hashed directory are made, in per cent, 10 to 100: in a full leaf
    /// the guest's first new name splits it.
    pub directory_fill: u8,
    /// The time that the filesystem says it was made, and that of nodes that nobody declared.
    pub epoch: Timestamp,
    /// How many inodes there are, rounded up to full blocks of every group's table; too few for
    /// the tree are an error. When not given: one for every `bytes_per_inode`, or what the tree
    /// needs (and a tenth more, where nobody chose that ratio), whichever is more.
    pub inodes: Option<u32>,
    /// The bytes of disk for which there is one inode, at least 1,024 and at most 67,108,864:
    /// mke2fs's ratio for the size when not given.
    pub bytes_per_inode: Option<u64>,
    /// The groups whose bitmaps and tables the kernel takes for neighbours: a power of two. It
    /// guides the guest's allocator; the tables of this crate lie together anyway.
    pub groups_per_flex: u32,
    /// The journal.
    pub journal: Journal,
    /// The blocks that only root may fill.
    pub reserved: Reserved,
    /// The size in bytes to which the filesystem can grow by `resize2fs` without moving anything:
    /// it decides how many blocks are reserved for group descriptors, of which there are at most
    /// a quarter as many as a block has bytes. When not given: 1,024 times the size as mke2fs
    /// does, and 2 TiB for [`Size::Fit`]. Without `resize_inode` it is the size that a fitted
    /// filesystem cannot exceed, 64 GiB when not given.
    pub max_size: Option<u64>,
    /// What the kernel does about damage, where the mount options do not say.
    pub on_error: OnError,
    /// The mount options that are on without being asked for.
    pub mount_options: MountOptions,
    /// Where the filesystem says it was last mounted, at most 63 bytes, without NUL.
    pub last_mounted: Vec<u8>,
    /// Leave gaps in which files can grow without moving others, so that images of nearly equal
    /// trees are nearly equal, block for block: for stores of chunks and snapshots. Give a `uuid`
    /// too: a derived one changes every checksum. It costs some per cent of the disk, more where
    /// there are few large files.
    pub stable_placement: bool,
    /// On a sink of unknown content, such as a disk that was in use: leave the unused inode
    /// tables to the guest's kernel, which zeroes them after its first mount. Elsewhere they are
    /// known to be zeros, and nobody has anything to do.
    pub lazy_itable_init: bool,
    /// On a sink of unknown content: write the journal's first block only. The numbers of its
    /// transactions then begin at one that follows from the UUID, so that what an old journal
    /// left in the same place is not taken for this one's after a crash.
    pub lazy_journal_init: bool,
}

impl Options {
    /// The common choices for an image of this size.
    #[must_use]
    pub fn new(size: Size) -> Self {
        Self {
            size,
            features: Features::DEFAULT,
            block_size: 4096,
            inode_size: 256,
            label: Vec::new(),
            uuid: None,
            hash_seed: None,
            directory_hash: DirectoryHash::HalfMd4,
            hashed_bytes: HashedBytes::Signed,
            directory_fill: 80,
            epoch: Timestamp::from_seconds(0),
            inodes: None,
            bytes_per_inode: None,
            groups_per_flex: 16,
            journal: Journal::Default,
            reserved: Reserved::Percent(5),
            max_size: None,
            on_error: OnError::Continue,
            mount_options: MountOptions::USER_XATTR.union(MountOptions::ACL),
            last_mounted: Vec::new(),
            stable_placement: false,
            lazy_itable_init: true,
            lazy_journal_init: false,
        }
    }

    /// These options with other features: `Features::DEFAULT`, or a list such as
    /// `"orphan_file,^resize_inode".parse()?`.
    #[must_use]
    pub fn with_features(self, features: Features) -> Self {
        Self { features, ..self }
    }

    /// These options with blocks of so many bytes.
    #[must_use]
    pub fn with_block_size(self, block_size: u32) -> Self {
        Self { block_size, ..self }
    }

    /// These options with this name of the volume.
    #[must_use]
    pub fn with_label(self, label: impl AsRef<[u8]>) -> Self {
        Self { label: label.as_ref().to_vec(), ..self }
    }

    /// These options with this UUID.
    #[must_use]
    pub fn with_uuid(self, uuid: [u8; 16]) -> Self {
        Self { uuid: Some(uuid), ..self }
    }

    /// These options with the time of what nobody declared.
    #[must_use]
    pub fn with_epoch(self, epoch: impl Into<Timestamp>) -> Self {
        Self { epoch: epoch.into(), ..self }
    }

    /// These options with this journal.
    #[must_use]
    pub fn with_journal(self, journal: Journal) -> Self {
        Self { journal, ..self }
    }

    /// These options with so much for root alone.
    #[must_use]
    pub fn with_reserved(self, reserved: Reserved) -> Self {
        Self { reserved, ..self }
    }

    /// These options with so many inodes.
    #[must_use]
    pub fn with_inodes(self, inodes: u32) -> Self {
        Self { inodes: Some(inodes), ..self }
    }

    /// These options with room to grow to so many bytes.
    #[must_use]
    pub fn with_max_size(self, bytes: u64) -> Self {
        Self { max_size: Some(bytes), ..self }
    }

    /// These options with room to grow that costs an empty disk little, unless
    /// [`max_size`](Self::max_size) or a fitted size says otherwise: to 8 times its size and at
    /// least to 256 GiB, but neither beyond 16 TiB nor beyond 1,024 times its size, which is the
    /// usual room.
    ///
    /// Each 8 GiB of room (with blocks of 4 KiB) is a block of the resize inode that has to be
    /// written, and a block in every group with a backup: the usual room of a disk of 8 GiB is
    /// 4 MiB of writes, this one 128 KiB. A filesystem that has grown through its room still grows,
    /// mounted or not: Linux since 3.7 then places further descriptors in the groups they describe
    /// (kernel: `fs/ext4/resize.c`, `ext4_convert_meta_bg`).
    #[must_use]
    pub fn with_modest_growth(mut self) -> Self {
        const LEAST: u64 = 256 << 30;
        const MOST: u64 = 16 << 40;
        if let (Size::Fixed(bytes), None) = (self.size, self.max_size) {
            let usual = bytes.saturating_mul(1024);
            let modest = bytes.saturating_mul(8).max(LEAST).min(usual).min(MOST);
            self.max_size = Some(modest.max(bytes));
        }
        self
    }

    /// The choices of a profile.
    ///
    /// [`Profile::ReadOnly`] is as small as its tree whatever the room in `size`, if that is
    /// [`Size::Fit`].
    #[must_use]
    pub fn for_profile(profile: Profile, size: Size) -> Self {
        let mut options = Self::new(size);
        options.features = profile.features();
        if profile == Profile::ReadOnly {
            options.reserved = Reserved::Percent(0);
            options.journal = Journal::None;
            options.directory_fill = 100;
            options.bytes_per_inode = Some(FEW_INODES);
            if let Size::Fit { .. } = size {
                options.size = Size::Fit { free_bytes: 0, free_inodes: 0 };
            }
        }
        options
    }
}
