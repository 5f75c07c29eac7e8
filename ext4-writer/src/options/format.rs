//! The format that options ask for.

use crate::error::{Error, Result};
use crate::format::Format;
use crate::format::features::Features;
use crate::format::units::BlockSize;
use crate::options::{Journal, Options};
use crate::record::inode::GOOD_OLD_SIZE;

/// The bytes of a label: `s_volume_name`.
const MAX_LABEL: usize = 16;
/// The bytes of `s_last_mounted`, less the NUL that ends it.
const MAX_LAST_MOUNTED: usize = 63;
/// What mke2fs takes as bytes for one inode: `EXT2_MIN_BLOCK_SIZE` and 1,024 times
/// `EXT2_MAX_BLOCK_SIZE` (e2fsprogs: `misc/mke2fs.c`).
const INODE_RATIOS: std::ops::RangeInclusive<u64> = 1024..=1024 * 65_536;

impl Format {
    /// The format that the options describe.
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let block = BlockSize::from_bytes(options.block_size).ok_or_else(|| {
            let reason = format!("{} is no power of two from 1024 to 65536", options.block_size);
            Error::InvalidOption { option: "block_size", reason }
        })?;
        check_words(options)?;
        check_numbers(options, block)?;
        let features = features(options)?;
        Ok(Self {
            block,
            inode_size: options.inode_size,
            features,
            hash: options.directory_hash,
            hashed_bytes: options.hashed_bytes,
            directory_fill: usize::from(options.directory_fill),
        })
    }
}

/// The features, less what another option rules out.
fn features(options: &Options) -> Result<Features> {
    let mut features = options.features;
    features.check()?;
    let conflict = |feature: &str, other: String, reason: &str| {
        let (feature, reason) = (feature.to_owned(), reason.to_owned());
        Err(Error::FeatureConflict { feature, other, reason })
    };
    match options.journal {
        Journal::None if features.contains(Features::ORPHAN_FILE) => {
            let reason = "orphans are found again by replaying the journal";
            return conflict("orphan_file", "^has_journal".to_owned(), reason);
        }
        Journal::None => features -= Features::HAS_JOURNAL,
        Journal::Size(bytes) if !features.contains(Features::HAS_JOURNAL) => {
            let other = format!("a journal of {bytes} bytes");
            return conflict("^has_journal", other, "there is one or there is none");
        }
        Journal::Size(_) | Journal::Default => {}
    }
    if usize::from(options.inode_size) == GOOD_OLD_SIZE {
        if features.contains(Features::INLINE_DATA) {
            let reason = "the data needs room in the inode; take inodes of 256 bytes or more";
            return conflict("inline_data", "inode_size 128".to_owned(), reason);
        }
        features -= Features::EXTRA_ISIZE;
    }
    Ok(features)
}

fn check_words(options: &Options) -> Result<()> {
    let limited = [
        ("label", &options.label, MAX_LABEL),
        ("last_mounted", &options.last_mounted, MAX_LAST_MOUNTED),
    ];
    for (option, bytes, limit) in limited {
        let reason = if bytes.len() > limit {
            format!("it has {} bytes, {limit} is the most", bytes.len())
        } else if bytes.contains(&0) {
            "it has a NUL".to_owned()
        } else {
            continue;
        };
        return Err(Error::InvalidOption { option, reason });
    }
    Ok(())
}

fn check_numbers(options: &Options, block: BlockSize) -> Result<()> {
    let refuse = |option, reason| Err(Error::InvalidOption { option, reason });
    let inode_size = options.inode_size;
    if !inode_size.is_power_of_two()
        || !(128..=1024).contains(&inode_size)
        || u64::from(inode_size) > block.bytes()
    {
        let reason = format!("{inode_size} is no power of two from 128 to 1024 within a block");
        return refuse("inode_size", reason);
    }
    if !(10..=100).contains(&options.directory_fill) {
        let reason = format!("{} per cent are not between 10 and 100", options.directory_fill);
        return refuse("directory_fill", reason);
    }
    if !options.groups_per_flex.is_power_of_two() {
        let reason = format!("{} is no power of two", options.groups_per_flex);
        return refuse("groups_per_flex", reason);
    }
    if let Some(ratio) = options.bytes_per_inode
        && !INODE_RATIOS.contains(&ratio)
    {
        let (least, most) = INODE_RATIOS.into_inner();
        return refuse("bytes_per_inode", format!("{ratio} is not between {least} and {most}"));
    }
    Ok(())
}
