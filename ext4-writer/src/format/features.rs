//! The features of the format by the names that mke2fs gives them: which are written, and why the
//! others are not.

use bitflags::bitflags;

use crate::error::{Error, Result};
use crate::record::feature::{Feature, NAMES};
use crate::record::low32;

/// Where the three words of the superblock stand in [`Features`].
const COMPATIBLE: u32 = 0;
const INCOMPATIBLE: u32 = 20;
const READ_ONLY: u32 = 40;
/// The bits of one word: the highest bit that any word knows is 17.
const WORD: u64 = (1 << 20) - 1;

/// The place of a feature in [`Features`].
const fn bit(feature: Feature) -> u64 {
    let (bit, word) = match feature {
        Feature::Compatible(bit) => (bit, COMPATIBLE),
        Feature::Incompatible(bit) => (bit, INCOMPATIBLE),
        Feature::ReadOnly(bit) => (bit, READ_ONLY),
    };
    // No bit is lost: `From` is not yet constant.
    let [a, b, c, d] = bit.to_le_bytes();
    u64::from_le_bytes([a, b, c, d, 0, 0, 0, 0]) << word
}

bitflags! {
    /// The features of a filesystem.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct Features: u64 {
        /// `has_journal`: changes of metadata go through a journal.
        const HAS_JOURNAL = bit(Feature::HAS_JOURNAL);
        /// `ext_attr`: inodes may have extended attributes.
        const EXT_ATTR = bit(Feature::EXT_ATTR);
        /// `resize_inode`: inode 7 holds blocks back for more group descriptors.
        const RESIZE_INODE = bit(Feature::RESIZE_INODE);
        /// `dir_index`: large directories have a hash index.
        const DIR_INDEX = bit(Feature::DIR_INDEX);
        /// `sparse_super2`: at most two groups hold backups. The kernel (to 6.12 at least)
        /// refuses to resize such a filesystem while it is mounted.
        const SPARSE_SUPER2 = bit(Feature::SPARSE_SUPER2);
        /// `orphan_file`: a file lists the inodes that are open but have no name. Linux before
        /// 5.15 ignores it; e2fsck before 1.47 refuses to check such a filesystem.
        const ORPHAN_FILE = bit(Feature::ORPHAN_FILE);

        /// `filetype`: directory entries tell the kind of what they name.
        const FILETYPE = bit(Feature::FILETYPE);
        /// `extent`: files are mapped by extents.
        const EXTENT = bit(Feature::EXTENT);
        /// `64bit`: block numbers are wider than 32 bits, descriptors 64 bytes long.
        const BIT_64 = bit(Feature::BIT_64);
        /// `flex_bg`: bitmaps and tables may lie in other groups than their own.
        const FLEX_BG = bit(Feature::FLEX_BG);
        /// `ea_inode`: values of attributes may have inodes of their own (Linux 4.13).
        const EA_INODE = bit(Feature::EA_INODE);
        /// `metadata_csum_seed`: the start of all checksums is in the superblock, so that the
        /// UUID can change (Linux 4.4, GRUB 2.12).
        const METADATA_CSUM_SEED = bit(Feature::CSUM_SEED);
        /// `large_dir`: directories beyond 2 GiB, with three levels of index (Linux 4.13, GRUB
        /// 2.12).
        const LARGE_DIR = bit(Feature::LARGE_DIR);
        /// `inline_data`: small files and directories are inside their inodes: up to 60 bytes and
        /// what extended attributes leave of the inode. GRUB and 7z cannot read it.
        const INLINE_DATA = bit(Feature::INLINE_DATA);

        /// `sparse_super`: only groups 0, 1 and the powers of 3, 5 and 7 hold backups.
        const SPARSE_SUPER = bit(Feature::SPARSE_SUPER);
        /// `large_file`: files may be longer than 2 GiB.
        const LARGE_FILE = bit(Feature::LARGE_FILE);
        /// `huge_file`: `i_blocks` is 48 bits wide.
        const HUGE_FILE = bit(Feature::HUGE_FILE);
        /// `dir_nlink`: directories may have more than 65,000 subdirectories; their count is
        /// then 1.
        const DIR_NLINK = bit(Feature::DIR_NLINK);
        /// `extra_isize`: inodes are longer than 128 bytes and say by how much.
        const EXTRA_ISIZE = bit(Feature::EXTRA_ISIZE);
        /// `metadata_csum`: all metadata has crc32c checksums.
        const METADATA_CSUM = bit(Feature::METADATA_CSUM);
    }
}

/// The features that every filesystem of this crate has, with the reason.
const FIXED: [(Features, &str); 5] = [
    (Features::EXT_ATTR, "every kernel with ext4 reads extended attributes"),
    (Features::FILETYPE, "every reader of ext4 knows it"),
    (Features::EXTENT, "files are mapped by extents alone, block maps are not written"),
    (
        Features::LARGE_FILE,
        "the kernel sets it with the first file beyond 2 GiB, and the resize inode is one",
    ),
    (
        Features::SPARSE_SUPER,
        "a backup in every group costs room and helps nobody; sparse_super2 leaves fewer",
    ),
];

/// The features that mke2fs knows and this crate does not write, with the reason.
const REFUSED: [(&str, &str); 19] = [
    ("bigalloc", "clusters save nothing in a root disk and cost space in every small file"),
    ("casefold", "names of a root disk differ by case"),
    ("encrypt", "keys belong to a running system, not to an image"),
    ("mmp", "a disk that several machines write to is no image"),
    ("quota", "the guest can turn it on: tune2fs -O quota"),
    ("project", "the guest can turn it on: tune2fs -O project"),
    ("verity", "the guest can turn it on: tune2fs -O verity"),
    ("meta_bg", "resize_inode and max_size give room for descriptors"),
    ("uninit_bg", "metadata_csum does all of it and more"),
    ("fast_commit", "the guest can turn it on: tune2fs -O fast_commit"),
    ("stable_inodes", "it serves encryption only, which is not written"),
    ("journal_dev", "a journal on another device is no image"),
    ("dirdata", "no released kernel reads it"),
    ("snapshot_bitmap", "no released kernel reads it"),
    ("imagic_inodes", "no kernel with ext4 reads it"),
    ("dir_prealloc", "the kernel ignores it; directories have room as directory_fill says"),
    ("needs_recovery", "a finished filesystem needs none"),
    ("shared_blocks", "the kernel mounts it for reading only"),
    ("orphan_present", "a finished filesystem has no orphans"),
];

/// Other spellings that mke2fs takes.
const ALIASES: [(&str, &str); 6] = [
    ("extents", "extent"),
    ("ext_attrs", "ext_attr"),
    ("largedir", "large_dir"),
    ("metadata_checksum", "metadata_csum"),
    ("gdt_csum", "uninit_bg"),
    ("read-only", "shared_blocks"),
];

impl std::str::FromStr for Features {
    type Err = Error;

    /// Reads a list of changes of the [default](Features::DEFAULT), such as
    /// `orphan_file,^resize_inode`, as [`changed`](Features::changed) does.
    fn from_str(list: &str) -> Result<Self> {
        Self::DEFAULT.changed(list)
    }
}

impl Features {
    /// What mke2fs 1.47 makes, less `orphan_file`, which e2fsck before 1.47 refuses to check, and
    /// `metadata_csum_seed`, which GRUB before 2.12 and U-Boot refuse to read.
    ///
    /// Source: e2fsprogs, `misc/mke2fs.conf.in` and `doc/RelNotes/v1.47.0.txt`; GRUB,
    /// `grub-core/fs/ext2.c`, `EXT2_DRIVER_IGNORED_INCOMPAT`.
    pub const DEFAULT: Self = Self::HAS_JOURNAL
        .union(Self::EXT_ATTR)
        .union(Self::RESIZE_INODE)
        .union(Self::DIR_INDEX)
        .union(Self::FILETYPE)
        .union(Self::EXTENT)
        .union(Self::BIT_64)
        .union(Self::FLEX_BG)
        .union(Self::SPARSE_SUPER)
        .union(Self::LARGE_FILE)
        .union(Self::HUGE_FILE)
        .union(Self::DIR_NLINK)
        .union(Self::EXTRA_ISIZE)
        .union(Self::METADATA_CSUM);

    /// These features changed as `mke2fs -O` would: names between commas or spaces, with `^`
    /// before those that go, and `none` to begin with those that no filesystem is without.
    ///
    /// A feature that cannot do without another one takes that along when it goes: `^has_journal`
    /// also ends `orphan_file`, `^metadata_csum` also `metadata_csum_seed`, `^dir_index` also
    /// `large_dir`, unless the list asks for them.
    ///
    /// # Errors
    /// [`Error::UnknownFeature`] for a name that nobody knows, [`Error::RefusedFeature`] for one
    /// that is not written or cannot go.
    pub fn changed(self, list: &str) -> Result<Self> {
        let mut features = self;
        let mut asked = Self::empty();
        for word in list.split([',', ' ']).filter(|word| !word.is_empty()) {
            match word.strip_prefix('^') {
                _ if word == "none" => (features, asked) = (Self::always(), Self::empty()),
                None => {
                    let feature = by_name(word)?;
                    features |= feature;
                    asked |= feature;
                }
                Some(name) => {
                    let feature = by_name(name)?;
                    if let Some((_, reason)) = FIXED.iter().find(|(fixed, _)| *fixed == feature) {
                        return Err(feature.cannot_go(reason));
                    }
                    features -= feature | (dependants(feature) - asked);
                    asked -= feature;
                }
            }
        }
        Ok(features)
    }

    /// The names of these features, in the order in which `dumpe2fs` lists them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES
            .into_iter()
            .filter(move |(feature, _)| self.bits() & bit(*feature) != 0)
            .map(|(_, name)| name)
    }

    fn cannot_go(self, reason: &str) -> Error {
        let name = format!("^{}", self.names().collect::<Vec<_>>().join(",^"));
        Error::RefusedFeature { name, reason: reason.to_owned() }
    }

    /// The features that no filesystem of this crate is without.
    fn always() -> Self {
        FIXED.iter().fold(Self::empty(), |all, (feature, _)| all | *feature)
    }

    /// `s_feature_compat`.
    pub(crate) fn compatible(self) -> u32 {
        self.word(COMPATIBLE)
    }

    /// `s_feature_incompat`.
    pub(crate) fn incompatible(self) -> u32 {
        self.word(INCOMPATIBLE)
    }

    /// `s_feature_ro_compat`.
    pub(crate) fn read_only(self) -> u32 {
        self.word(READ_ONLY)
    }

    fn word(self, place: u32) -> u32 {
        low32((self.bits() >> place) & WORD)
    }

    /// Refuses sets of which one feature cannot be written truthfully beside another, or without
    /// it.
    pub(crate) fn check(self) -> Result<()> {
        for (name, needs, needed) in NEEDS {
            if self.contains(name) && !self.contains(needs) {
                let name_of = |feature: Self| feature.names().collect::<String>();
                return Err(Error::FeatureConflict {
                    feature: name_of(name),
                    other: format!("^{}", name_of(needs)),
                    reason: needed.to_owned(),
                });
            }
        }
        if let Some((fixed, reason)) = FIXED.iter().find(|(fixed, _)| !self.contains(*fixed)) {
            return Err(fixed.cannot_go(reason));
        }
        Ok(())
    }
}

/// Features that need others, and for what.
const NEEDS: [(Features, Features, &str); 3] = [
    (
        Features::ORPHAN_FILE,
        Features::HAS_JOURNAL,
        "orphans are found again by replaying the journal",
    ),
    (Features::METADATA_CSUM_SEED, Features::METADATA_CSUM, "the seed starts the checksums"),
    (Features::LARGE_DIR, Features::DIR_INDEX, "it is a third level of the index"),
];

/// The features that end with another one.
fn dependants(feature: Features) -> Features {
    let ends = NEEDS.iter().filter(|(_, needs, _)| *needs == feature);
    ends.fold(Features::empty(), |all, (dependant, _, _)| all | *dependant)
}

fn by_name(name: &str) -> Result<Features> {
    let alias = ALIASES.iter().find(|(other, _)| *other == name);
    let name = alias.map_or(name, |(_, name)| *name);
    let known = NAMES.iter().find(|(_, known)| *known == name);
    if let Some(feature) = known.and_then(|(feature, _)| Features::from_bits(bit(*feature))) {
        return Ok(feature);
    }
    match REFUSED.iter().find(|(refused, _)| *refused == name) {
        Some((name, reason)) => {
            Err(Error::RefusedFeature { name: (*name).to_owned(), reason: (*reason).to_owned() })
        }
        None => Err(Error::UnknownFeature { name: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change_the_set_as_in_mke2fs() {
        let changed = |list: &str| Features::DEFAULT.changed(list).unwrap();
        assert_eq!(changed(""), Features::DEFAULT);
        assert_eq!(changed("^has_journal"), Features::DEFAULT - Features::HAS_JOURNAL);
        assert_eq!(
            changed("orphan_file,^64bit large_dir"),
            (Features::DEFAULT - Features::BIT_64) | Features::ORPHAN_FILE | Features::LARGE_DIR
        );
        assert_eq!(
            changed("orphan_file").changed("^has_journal").unwrap(),
            changed("^has_journal")
        );
        assert_eq!(changed("none,extents").names().count(), 5);
    }

    #[test]
    fn what_is_not_written_is_refused_by_name_with_the_reason() {
        for name in ["bigalloc", "casefold", "encrypt", "mmp", "quota", "project", "verity"] {
            let refused = Features::DEFAULT.changed(name).unwrap_err().to_string();
            assert!(refused.contains(name), "{refused}");
            assert!(refused.len() > name.len() + 20, "{refused}");
        }
        let refused = Features::DEFAULT.changed("^extent").unwrap_err();
        assert!(matches!(refused, Error::RefusedFeature { ref name, .. } if name == "^extent"));
        let unknown = Features::DEFAULT.changed("nonsense").unwrap_err();
        assert!(matches!(unknown, Error::UnknownFeature { ref name } if name == "nonsense"));
    }

    #[test]
    fn a_feature_without_what_it_needs_is_refused_with_both_names() {
        for (list, one, other) in [
            ("^has_journal,orphan_file", "orphan_file", "has_journal"),
            ("^metadata_csum,metadata_csum_seed", "metadata_csum_seed", "metadata_csum"),
            ("^dir_index,large_dir", "large_dir", "dir_index"),
        ] {
            let features = Features::DEFAULT.changed(list).unwrap();
            let refused = features.check().unwrap_err().to_string();
            assert!(refused.contains(one) && refused.contains(other), "{refused}");
        }
    }

    #[test]
    fn the_words_are_those_of_the_superblock() {
        assert_eq!(Features::DEFAULT.compatible(), 0x003c);
        assert_eq!(Features::DEFAULT.incompatible(), 0x02c2);
        assert_eq!(Features::DEFAULT.read_only(), 0x046b);
    }
}
