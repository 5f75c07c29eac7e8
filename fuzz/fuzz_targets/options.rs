//! Any options: a filesystem whose numbers add up, or a typed error; a size that is refused as
//! illegal names one that is not.

#![no_main]

use arbitrary::Arbitrary;
use ext4_writer::{
    Builder, CountingSink, DirectoryHash, Error, Features, HashedBytes, Journal, Options, Profile,
    Reserved, Result, Size, Summary,
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Choices {
    profile: u8,
    /// Features turned on and off, by their bits among those of the words.
    toggled: u64,
    block_log: u8,
    inode_log: u8,
    size: u64,
    free_inodes: u32,
    fitted: bool,
    inodes: Option<u32>,
    bytes_per_inode: Option<u64>,
    journal: Option<u64>,
    without_journal: bool,
    reserved: u64,
    percent: bool,
    max_size: Option<u64>,
    fill: u8,
    flex: u32,
    seconds: i64,
    tea: bool,
    unsigned: bool,
    stable: bool,
    label: Vec<u8>,
    last_mounted: Vec<u8>,
}

/// Group numbers are what costs time: no more than so many.
const GROUPS: u64 = 2048;

fn options(choices: &Choices) -> Options {
    let block_size = 1024_u32 << (choices.block_log % 8);
    let group = u64::from(block_size) * u64::from(block_size) * 8;
    let limited = |bytes: u64| bytes % (GROUPS * group).min(1 << 44);
    let size = if choices.fitted {
        Size::Fit { free_bytes: limited(choices.size), free_inodes: choices.free_inodes % 500_000 }
    } else {
        Size::Fixed(limited(choices.size))
    };
    let profile = Profile::ALL[usize::from(choices.profile) % Profile::ALL.len()];
    let mut options = Options::for_profile(profile, size);
    options.size = size;
    options.features ^= Features::from_bits_truncate(choices.toggled);
    options.block_size = block_size;
    options.inode_size = 64 << (choices.inode_log % 6);
    options.inodes = choices.inodes;
    options.bytes_per_inode = choices.bytes_per_inode;
    options.journal = match choices.journal {
        _ if choices.without_journal => Journal::None,
        Some(bytes) => Journal::Size(bytes),
        None => Journal::Default,
    };
    options.reserved = if choices.percent {
        Reserved::Percent(u8::try_from(choices.reserved % 101).unwrap_or_default())
    } else {
        Reserved::Bytes(choices.reserved)
    };
    options.max_size = choices.max_size;
    options.directory_fill = choices.fill;
    options.groups_per_flex = choices.flex;
    options.epoch = ext4_writer::Timestamp::from_seconds(choices.seconds);
    options.directory_hash =
        if choices.tea { DirectoryHash::Tea } else { DirectoryHash::HalfMd4 };
    options.hashed_bytes =
        if choices.unsigned { HashedBytes::Unsigned } else { HashedBytes::Signed };
    options.stable_placement = choices.stable;
    options.label.clone_from(&choices.label);
    options.last_mounted.clone_from(&choices.last_mounted);
    options
}

fn make(options: Options) -> Result<Summary> {
    Ok(Builder::create(CountingSink::new(), options)?.finish()?.0)
}

/// The last number of a message.
fn named(message: &str) -> Option<u64> {
    message.rsplit(|c: char| !c.is_ascii_digit()).find_map(|digits| digits.parse().ok())
}

fuzz_target!(|choices: Choices| {
    let options = options(&choices);
    match make(options.clone()) {
        Ok(summary) => {
            if let Size::Fixed(bytes) = options.size {
                assert_eq!(summary.size, bytes);
            }
            if let Size::Fit { free_bytes, free_inodes } = options.size {
                assert!(summary.available >= free_bytes, "{summary:?}");
                assert!(summary.free_inodes >= free_inodes, "{summary:?}");
            }
            assert_eq!(summary.size, summary.blocks * summary.block_size);
            assert!(summary.free_blocks < summary.blocks);
            assert!(summary.free_inodes < summary.inodes);
            assert!(summary.written <= summary.size);
        }
        Err(Error::InvalidOption { option: "size", reason })
            if reason.contains("legal size") && reason.contains("bytes") =>
        {
            let legal = named(&reason).expect("a legal size is named");
            let mut other = options;
            other.size = Size::Fixed(legal);
            let again = make(other);
            let full = matches!(
                again,
                Ok(_)
                    | Err(Error::ImageFull { .. }
                        | Error::TooFewInodes { .. }
                        | Error::InvalidOption { option: "reserved" | "journal", .. })
            );
            assert!(full, "{reason}, but {again:?}");
        }
        Err(error) => assert!(!matches!(error, Error::Internal { .. } | Error::Poisoned), "{error}"),
    }
});
