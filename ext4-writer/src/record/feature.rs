//! The features of the format: all that there are, by the names of e2fsprogs.
//!
//! Source of the bits: kernel, `fs/ext4/ext4.h`, `EXT4_FEATURE_*`; of the names: e2fsprogs,
//! `lib/e2p/feature.c`.

/// One feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    Compatible(u32),
    Incompatible(u32),
    ReadOnly(u32),
}

impl Feature {
    pub(crate) const HAS_JOURNAL: Self = Self::Compatible(0x0004);
    pub(crate) const EXT_ATTR: Self = Self::Compatible(0x0008);
    pub(crate) const DIR_INDEX: Self = Self::Compatible(0x0020);
    pub(crate) const SPARSE_SUPER2: Self = Self::Compatible(0x0200);
    pub(crate) const NEEDS_RECOVERY: Self = Self::Incompatible(0x0004);
    pub(crate) const EXTENT: Self = Self::Incompatible(0x0040);
    pub(crate) const META_BG: Self = Self::Incompatible(0x0010);
    pub(crate) const BIT_64: Self = Self::Incompatible(0x0080);
    pub(crate) const EA_INODE: Self = Self::Incompatible(0x0400);
    pub(crate) const CSUM_SEED: Self = Self::Incompatible(0x2000);
    pub(crate) const LARGE_DIR: Self = Self::Incompatible(0x4000);
    pub(crate) const INLINE_DATA: Self = Self::Incompatible(0x8000);
    pub(crate) const ENCRYPT: Self = Self::Incompatible(0x1_0000);
    pub(crate) const FILETYPE: Self = Self::Incompatible(0x0002);
    pub(crate) const SPARSE_SUPER: Self = Self::ReadOnly(0x0001);
    pub(crate) const LARGE_FILE: Self = Self::ReadOnly(0x0002);
    pub(crate) const DIR_NLINK: Self = Self::ReadOnly(0x0020);
    pub(crate) const HUGE_FILE: Self = Self::ReadOnly(0x0008);
    pub(crate) const UNINIT_BG: Self = Self::ReadOnly(0x0010);
    pub(crate) const BIGALLOC: Self = Self::ReadOnly(0x0200);
    pub(crate) const METADATA_CSUM: Self = Self::ReadOnly(0x0400);
    pub(crate) const PROJECT: Self = Self::ReadOnly(0x2000);

    pub(crate) const RESIZE_INODE: Self = Self::Compatible(0x0010);
    pub(crate) const ORPHAN_FILE: Self = Self::Compatible(0x1000);
    pub(crate) const IMAGIC: Self = Self::Compatible(0x0002);
    pub(crate) const MMP: Self = Self::Incompatible(0x0100);
    pub(crate) const CASEFOLD: Self = Self::Incompatible(0x2_0000);
    pub(crate) const QUOTA: Self = Self::ReadOnly(0x0100);
    pub(crate) const ORPHAN_PRESENT: Self = Self::ReadOnly(0x1_0000);
    pub(crate) const FLEX_BG: Self = Self::Incompatible(0x0200);
    pub(crate) const EXTRA_ISIZE: Self = Self::ReadOnly(0x0040);

    /// The name that dumpe2fs prints.
    pub(crate) fn name(self) -> String {
        if let Some((_, name)) = NAMES.iter().find(|(feature, _)| *feature == self) {
            return (*name).to_owned();
        }
        match self {
            Self::Compatible(bit) => format!("FEATURE_C{}", bit.trailing_zeros()),
            Self::Incompatible(bit) => format!("FEATURE_I{}", bit.trailing_zeros()),
            Self::ReadOnly(bit) => format!("FEATURE_R{}", bit.trailing_zeros()),
        }
    }
}

/// The names, in the order of the bits.
pub(crate) const NAMES: [(Feature, &str); 44] = [
    (Feature::Compatible(0x0001), "dir_prealloc"),
    (Feature::Compatible(0x0002), "imagic_inodes"),
    (Feature::Compatible(0x0004), "has_journal"),
    (Feature::Compatible(0x0008), "ext_attr"),
    (Feature::Compatible(0x0010), "resize_inode"),
    (Feature::Compatible(0x0020), "dir_index"),
    (Feature::Compatible(0x0040), "lazy_bg"),
    (Feature::Compatible(0x0100), "snapshot_bitmap"),
    (Feature::Compatible(0x0200), "sparse_super2"),
    (Feature::Compatible(0x0400), "fast_commit"),
    (Feature::Compatible(0x0800), "stable_inodes"),
    (Feature::Compatible(0x1000), "orphan_file"),
    (Feature::Incompatible(0x0001), "compression"),
    (Feature::Incompatible(0x0002), "filetype"),
    (Feature::Incompatible(0x0004), "needs_recovery"),
    (Feature::Incompatible(0x0008), "journal_dev"),
    (Feature::Incompatible(0x0010), "meta_bg"),
    (Feature::Incompatible(0x0040), "extent"),
    (Feature::Incompatible(0x0080), "64bit"),
    (Feature::Incompatible(0x0100), "mmp"),
    (Feature::Incompatible(0x0200), "flex_bg"),
    (Feature::Incompatible(0x0400), "ea_inode"),
    (Feature::Incompatible(0x1000), "dirdata"),
    (Feature::Incompatible(0x2000), "metadata_csum_seed"),
    (Feature::Incompatible(0x4000), "large_dir"),
    (Feature::Incompatible(0x8000), "inline_data"),
    (Feature::Incompatible(0x1_0000), "encrypt"),
    (Feature::Incompatible(0x2_0000), "casefold"),
    (Feature::ReadOnly(0x0001), "sparse_super"),
    (Feature::ReadOnly(0x0002), "large_file"),
    (Feature::ReadOnly(0x0008), "huge_file"),
    (Feature::ReadOnly(0x0010), "uninit_bg"),
    (Feature::ReadOnly(0x0020), "dir_nlink"),
    (Feature::ReadOnly(0x0040), "extra_isize"),
    (Feature::ReadOnly(0x0080), "snapshot"),
    (Feature::ReadOnly(0x0100), "quota"),
    (Feature::ReadOnly(0x0200), "bigalloc"),
    (Feature::ReadOnly(0x0400), "metadata_csum"),
    (Feature::ReadOnly(0x0800), "replica"),
    (Feature::ReadOnly(0x1000), "read-only"),
    (Feature::ReadOnly(0x2000), "project"),
    (Feature::ReadOnly(0x4000), "shared_blocks"),
    (Feature::ReadOnly(0x8000), "verity"),
    (Feature::ReadOnly(0x1_0000), "orphan_present"),
];
