//! Random options, and which of them the library has to refuse.

use ext4_writer::{
    DirectoryHash, Error, Features, HashedBytes, Journal, MountOptions, OnError, Options, Profile,
    Reserved, Size, Timestamp,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What is added to a profile's features, or taken away.
const FEATURES: [&str; 27] = [
    "^has_journal",
    "^resize_inode",
    "^dir_index",
    "^64bit",
    "^flex_bg",
    "^metadata_csum",
    "^huge_file",
    "^dir_nlink",
    "^extra_isize",
    "^orphan_file",
    "^large_dir",
    "^metadata_csum_seed",
    "^inline_data",
    "has_journal",
    "resize_inode",
    "dir_index",
    "64bit",
    "flex_bg",
    "metadata_csum",
    "sparse_super2",
    "orphan_file",
    "metadata_csum_seed",
    "large_dir",
    "large_dir",
    "inline_data",
    "ea_inode",
    "extra_isize",
];

/// Features that no list may have.
const REFUSED_FEATURES: [&str; 7] =
    ["^large_file", "bigalloc", "^extent", "casefold", "^filetype", "quota", "mmp"];

/// Everything that is decided before the first operation.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    profile: Profile,
    /// As after `mke2fs -O`.
    features: Vec<&'static str>,
    pub(crate) size: Size,
    layout: Layout,
    room: Room,
    superblock_fields: SuperblockFields,
}

#[derive(Debug, Clone)]
struct Layout {
    block_size: u32,
    inode_size: u16,
    hash: DirectoryHash,
    hashed_bytes: HashedBytes,
    fill: u8,
    groups_per_flex: u32,
    stable_placement: bool,
}

#[derive(Debug, Clone)]
struct Room {
    journal: Journal,
    reserved: Reserved,
    inodes: Option<u32>,
    bytes_per_inode: Option<u64>,
    max_size: Option<u64>,
}

#[derive(Debug, Clone)]
struct SuperblockFields {
    label: Vec<u8>,
    last_mounted: Vec<u8>,
    uuid: Option<[u8; 16]>,
    hash_seed: Option<[u8; 16]>,
    epoch: i64,
    on_error: OnError,
    mount_options: MountOptions,
    lazy: [bool; 2],
}

/// Why options have to be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    UnknownFeature,
    RefusedFeature,
    Conflict(&'static str),
    Option(&'static str),
}

impl Refusal {
    pub(crate) fn explains(self, error: &Error) -> bool {
        match (self, error) {
            (Self::UnknownFeature, Error::UnknownFeature { .. })
            | (Self::RefusedFeature, Error::RefusedFeature { .. }) => true,
            (Self::Conflict(name), Error::FeatureConflict { feature, .. }) => feature == name,
            (Self::Option(name), Error::InvalidOption { option, .. }) => *option == name,
            _ => false,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::UnknownFeature => "an unknown feature",
            Self::RefusedFeature => "a feature that is not written",
            Self::Conflict(_) => "features that do not go together",
            Self::Option(name) => name,
        }
    }
}

/// What a tree takes of a filesystem, as far as a model can say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand {
    /// Inodes of the tree.
    pub(crate) inodes: u64,
    /// Bytes of contents, blocks of directories and of attributes, generously.
    pub(crate) bytes: u64,
}

impl Choice {
    /// The options; what the list of features says may be refused here already.
    pub(crate) fn options(&self) -> Result<Options, Error> {
        let mut options = Options::for_profile(self.profile, self.size);
        options.size = self.size;
        options.features = options.features.changed(&self.features.join(","))?;
        let Layout { block_size, inode_size, hash, hashed_bytes, fill, .. } = self.layout;
        (options.block_size, options.inode_size) = (block_size, inode_size);
        (options.directory_hash, options.hashed_bytes) = (hash, hashed_bytes);
        options.directory_fill = fill;
        options.groups_per_flex = self.layout.groups_per_flex;
        options.stable_placement = self.layout.stable_placement;
        (options.journal, options.reserved) = (self.room.journal, self.room.reserved);
        options.inodes = self.room.inodes;
        options.bytes_per_inode = self.room.bytes_per_inode;
        options.max_size = self.room.max_size;
        let fields = self.superblock_fields.clone();
        (options.label, options.last_mounted) = (fields.label, fields.last_mounted);
        (options.uuid, options.hash_seed) = (fields.uuid, fields.hash_seed);
        options.epoch = Timestamp::from_seconds(fields.epoch);
        (options.on_error, options.mount_options) = (fields.on_error, fields.mount_options);
        [options.lazy_itable_init, options.lazy_journal_init] = fields.lazy;
        Ok(options)
    }

    /// Every reason for which these options have to be refused, whatever the tree: the library
    /// may find any of them first.
    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        if self.features.contains(&"nonsense") {
            refusals.push(Refusal::UnknownFeature);
        }
        if self.features.iter().any(|word| REFUSED_FEATURES.contains(word)) {
            refusals.push(Refusal::RefusedFeature);
        }
        if let Ok(options) = self.options() {
            refusals.extend(conflicts(&options));
            refusals.extend(bad_options(&options));
        }
        refusals
    }

    /// The same with another fixed size.
    pub(crate) fn resized(&self, bytes: u64) -> Self {
        Self { size: Size::Fixed(bytes), ..self.clone() }
    }
}

/// Whether a refusal of lawful options is no surprise for a tree like this: it has no room.
pub(crate) fn has_no_room(options: &Options, demand: Demand, error: &Error) -> bool {
    let has = |feature| options.features.contains(feature);
    match error {
        Error::ImageFull { .. } => {
            let Size::Fixed(bytes) = options.size else { return is_all_tables(options) };
            bytes < demand.bytes + own_bytes(options, bytes, demand)
        }
        Error::TooFewInodes { .. } => match (options.inodes, options.size) {
            (Some(inodes), Size::Fixed(bytes)) => {
                // A group has as many as a block has bits.
                let bits = 8 * u64::from(options.block_size);
                let most = (bytes / (bits * u64::from(options.block_size)) + 1) * bits;
                u64::from(inodes) < demand.inodes + 12 || u64::from(inodes) > most
            }
            (Some(inodes), Size::Fit { free_inodes, .. }) => {
                u64::from(inodes) < demand.inodes + 12 + u64::from(free_inodes)
            }
            // Tables in their groups are as large as was said before the tree came.
            (None, Size::Fixed(bytes)) => {
                !has(Features::FLEX_BG)
                    && bytes / options.bytes_per_inode.unwrap_or(16_384) < demand.inodes + 12
            }
            (None, Size::Fit { .. }) => false,
        },
        // It says how large a fitted image can become.
        Error::InvalidOption { option: "max_size", .. } => {
            matches!(options.size, Size::Fit { .. })
                && (options.max_size.is_some() || is_all_tables(options))
        }
        // Descriptors and tables are more than a group has.
        Error::InvalidOption { option: "size", .. } => is_all_tables(options),
        _ => false,
    }
}

/// Whether the inodes of a group take nearly all of it: such a filesystem has no room for
/// anything, however large it is.
fn is_all_tables(options: &Options) -> bool {
    let ratio = options.bytes_per_inode.unwrap_or(16_384);
    u64::from(options.inode_size) * 4 > ratio * 3
}

/// What the filesystem may take for itself, generously.
fn own_bytes(options: &Options, bytes: u64, demand: Demand) -> u64 {
    let block = u64::from(options.block_size);
    let group = 8 * block * block;
    let groups = bytes / group + 1;
    let copies = groups.min(12) * (block / 4 + 4) * block;
    let ratio = options.bytes_per_inode.unwrap_or(4096);
    let by_ratio = bytes / ratio + groups * 64;
    let inodes = by_ratio.max(demand.inodes * 2).max(u64::from(options.inodes.unwrap_or(0)));
    let tables = inodes * u64::from(options.inode_size) + groups * 4 * block;
    let journal = match options.journal {
        Journal::Size(bytes) => bytes,
        _ => (bytes / 8).max(4096 * block),
    };
    copies + tables + journal + 64 * block + MIB
}

fn conflicts(options: &Options) -> Vec<Refusal> {
    let has = |feature| options.features.contains(feature);
    let mut refusals = Vec::new();
    let mut refuse = |condition, name| {
        if condition {
            refusals.push(Refusal::Conflict(name));
        }
    };
    let no_journal = !has(Features::HAS_JOURNAL) || options.journal == Journal::None;
    refuse(has(Features::ORPHAN_FILE) && no_journal, "orphan_file");
    refuse(
        !has(Features::HAS_JOURNAL) && matches!(options.journal, Journal::Size(_)),
        "^has_journal",
    );
    refuse(
        has(Features::METADATA_CSUM_SEED) && !has(Features::METADATA_CSUM),
        "metadata_csum_seed",
    );
    refuse(has(Features::LARGE_DIR) && !has(Features::DIR_INDEX), "large_dir");
    refuse(has(Features::INLINE_DATA) && options.inode_size == 128, "inline_data");
    refusals
}

fn bad_options(options: &Options) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut refuse = |condition, name| {
        if condition {
            refusals.push(Refusal::Option(name));
        }
    };
    let block = options.block_size;
    let power = |number: u32, least: u32, most: u32| {
        number.is_power_of_two() && (least..=most).contains(&number)
    };
    refuse(!power(block, 1024, 65_536), "block_size");
    let inode = u32::from(options.inode_size);
    refuse(!power(inode, 128, 1024) || inode > block, "inode_size");
    refuse(!(10..=100).contains(&options.directory_fill), "directory_fill");
    refuse(!options.groups_per_flex.is_power_of_two(), "groups_per_flex");
    refuse(options.label.len() > 16 || options.label.contains(&0), "label");
    let last_mounted = &options.last_mounted;
    refuse(last_mounted.len() > 63 || last_mounted.contains(&0), "last_mounted");
    let ratio = options.bytes_per_inode.unwrap_or(4096);
    refuse(!(1024..=64 * MIB).contains(&ratio), "bytes_per_inode");
    refuse(matches!(options.reserved, Reserved::Percent(51..)), "reserved");
    if let (Reserved::Bytes(reserved), Size::Fixed(bytes)) = (options.reserved, options.size) {
        let whole = |bytes: u64| bytes / u64::from(block.max(1));
        refuse(whole(reserved) > whole(bytes) / 2, "reserved");
    }
    if let Journal::Size(bytes) = options.journal {
        let blocks = bytes / u64::from(block.max(1));
        refuse(!(1024..=10_240_000).contains(&blocks), "journal");
    }
    let fits = matches!(options.size, Size::Fit { .. });
    let in_groups = !options.features.contains(Features::FLEX_BG);
    refuse(fits && in_groups && options.inodes.is_some(), "inodes");
    refusals
}

/// Nearly always what a lawful caller chooses, now and then what nobody may.
fn mostly<T: Clone + std::fmt::Debug + 'static>(
    lawful: impl Strategy<Value = T> + 'static,
    unlawful: Vec<T>,
) -> impl Strategy<Value = T> {
    prop_oneof![60 => lawful, 1 => select(unlawful)]
}

fn lists() -> impl Strategy<Value = Vec<&'static str>> {
    let features = vec(select(FEATURES.to_vec()), 0..6);
    let spoilt = [&REFUSED_FEATURES[..], &["nonsense"]].concat();
    (features, prop_oneof![40 => Just(None), 1 => select(spoilt).prop_map(Some)]).prop_map(
        |(mut features, spoilt)| {
            features.extend(spoilt);
            features
        },
    )
}

/// Fitted with some room or none; or fixed, of any length.
fn sizes() -> impl Strategy<Value = Size> {
    let fit = |free_bytes, free_inodes| Size::Fit { free_bytes, free_inodes };
    prop_oneof![
        6 => (0_u64..24, 0_u32..2000).prop_map(move |(mib, inodes)| fit(mib * MIB, inodes)),
        2 => Just(fit(0, 0)),
        4 => (1_u64..400_000).prop_map(|kib| Size::Fixed(kib * 4 * KIB / 4 * 4)),
        3 => (0_u64..12, 0_u64..600).prop_map(|(groups, more)| {
            // Around the ends of groups of every block size.
            Size::Fixed(groups * 32 * MIB + more * 4 * KIB)
        }),
        1 => (1_u64..200 * MIB).prop_map(Size::Fixed),
    ]
}

fn layouts() -> impl Strategy<Value = Layout> {
    let hash = select(vec![DirectoryHash::HalfMd4, DirectoryHash::Tea]);
    let hashed_bytes = select(vec![HashedBytes::Signed, HashedBytes::Unsigned]);
    (
        // No kernel of a machine with pages of 4 KiB mounts larger blocks.
        mostly(
            prop_oneof![
                20 => select(vec![1024_u32, 2048, 4096]),
                1 => select(vec![8192_u32, 65_536]),
            ],
            vec![0, 512, 3000, 131_072, u32::MAX],
        ),
        mostly(select(vec![128_u16, 256, 256, 512, 1024]), vec![0, 64, 300, 2048, u16::MAX]),
        hash,
        hashed_bytes,
        mostly(10_u8..=100, vec![0, 9, 101, 255]),
        mostly(select(vec![1_u32, 2, 16, 16, 64, 1 << 31]), vec![0, 3, u32::MAX]),
        any::<bool>(),
    )
        .prop_map(
            |(block_size, inode_size, hash, hashed_bytes, fill, groups_per_flex, stable)| Layout {
                block_size,
                inode_size,
                hash,
                hashed_bytes,
                fill,
                groups_per_flex,
                stable_placement: stable,
            },
        )
}

fn rooms() -> impl Strategy<Value = Room> {
    let journal = prop_oneof![
        4 => Just(Journal::Default),
        1 => Just(Journal::None),
        3 => (4_u64..12).prop_map(|mib| Journal::Size(mib * MIB)),
    ];
    let reserved = prop_oneof![
        3 => (0_u8..=50).prop_map(Reserved::Percent),
        1 => (0_u64..4 * MIB).prop_map(Reserved::Bytes),
    ];
    (
        mostly(journal, vec![Journal::Size(0), Journal::Size(5000), Journal::Size(u64::MAX)]),
        mostly(reserved, vec![Reserved::Percent(51), Reserved::Percent(255)]),
        prop_oneof![6 => Just(None), 1 => (1_u32..20_000).prop_map(Some)],
        mostly(
            prop_oneof![
                4 => Just(None),
                2 => (4096_u64..200_000).prop_map(Some),
                1 => (1024_u64..4096).prop_map(Some),
                1 => (200_000_u64..64 * MIB).prop_map(Some),
            ],
            vec![Some(0), Some(1023), Some(u64::MAX)],
        ),
        prop_oneof![4 => Just(None), 1 => (0_u64..1 << 44).prop_map(Some)],
    )
        .prop_map(|(journal, reserved, inodes, bytes_per_inode, max_size)| Room {
            journal,
            reserved,
            inodes,
            bytes_per_inode,
            max_size,
        })
}

fn superblock_fields() -> impl Strategy<Value = SuperblockFields> {
    let text = |most| vec(1_u8..=255, 0..=most);
    // Not `panic`: a kernel that finds an error would stop the machine of the tests. Not `uid16`,
    // `debug`, `journal_data` and `discard`: they change, or make noise of, what the kernel shows.
    let on_error = select(vec![OnError::Continue, OnError::RemountReadOnly]);
    let mount_options = subsequence(
        vec![
            MountOptions::BSD_GROUPS,
            MountOptions::USER_XATTR,
            MountOptions::ACL,
            MountOptions::JOURNAL_DATA_ORDERED,
            MountOptions::BLOCK_VALIDITY,
            MountOptions::NO_DELAYED_ALLOCATION,
        ],
        0..=6,
    );
    (
        mostly(text(16), vec![vec![b'x'; 17], b"a\0b".to_vec()]),
        mostly(text(63), vec![vec![b'/'; 64], vec![0]]),
        any::<Option<[u8; 16]>>(),
        any::<Option<[u8; 16]>>(),
        // e2fsck objects to a filesystem that was made in the future.
        0_i64..1_700_000_000,
        on_error,
        mount_options,
        any::<[bool; 2]>(),
    )
        .prop_map(
            |(label, last_mounted, uuid, hash_seed, epoch, on_error, mount_options, lazy)| {
                SuperblockFields {
                    label,
                    last_mounted,
                    uuid,
                    hash_seed,
                    epoch,
                    on_error,
                    mount_options: mount_options.into_iter().collect(),
                    lazy,
                }
            },
        )
}

pub(crate) fn choices() -> impl Strategy<Value = Choice> {
    (select(Profile::ALL.to_vec()), lists(), sizes(), layouts(), rooms(), superblock_fields())
        .prop_map(|(profile, features, size, layout, room, superblock_fields)| Choice {
            profile,
            features,
            size,
            layout,
            room,
            superblock_fields,
        })
}
