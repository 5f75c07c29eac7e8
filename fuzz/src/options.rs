//! Any options, and an empty filesystem of them.

use ext4_writer::{
    Builder, CountingSink, DirectoryHash, Error, Features, HashedBytes, Journal, MountOptions,
    OnError, Options, Reserved, Size, Summary, Timestamp,
};

use crate::input::{Field, Input};

choice! {
    /// A number: a power of two, a small one, a multiple of a mebibyte, or any.
    Number {
        Power { exponent: u8 },
        NearPower { exponent: u8, minus: u8 },
        Small { number: u8 },
        Kibibytes { number: u16 },
        Mebibytes { number: u16 },
        Any { number: u64 },
    }
}

choice! {
    /// How large.
    Length {
        Fixed { bytes: Number },
        Blocks { number: u32 },
        Fit { free_bytes: Number, free_inodes: Number },
        Close { free_bytes: u16, free_inodes: u16 },
    }
}

choice! {
    /// The journal.
    Log {
        Default {},
        Without {},
        Sized { bytes: Number },
        Blocks { number: u16 },
    }
}

choice! {
    /// The reserve.
    Reserve {
        Percent { percent: u8 },
        Bytes { bytes: Number },
    }
}

record! {
    /// All options.
    Case {
        /// How large.
        length: Length,
        /// Those that are not as in the default.
        features: u64,
        /// Exponents of two, or any numbers.
        block_size: Number,
        /// The bytes of an inode.
        inode_size: Number,
        /// The journal.
        journal: Log,
        /// The reserve.
        reserved: Reserve,
        /// How many inodes.
        inodes: Option<Number>,
        /// Bytes for each.
        bytes_per_inode: Option<Number>,
        /// How large it can grow.
        max_size: Option<Number>,
        /// Groups in a flex group.
        groups_per_flex: Number,
        /// How full leaves are.
        fill: u8,
        /// Bits for what has two or three sides.
        sides: u8,
        /// `s_default_mount_opts`.
        mount_options: u32,
        /// Seconds.
        epoch: i64,
        /// The name.
        label: Vec<u8>,
        /// The last place.
        last_mounted: Vec<u8>,
    }
}

/// More groups than these make long runs, not new ones: 17 TiB in blocks of 4 KiB, beyond what
/// block numbers of 32 bits reach.
const MOST_GROUPS: u64 = 140_000;

impl Number {
    fn get(&self) -> u64 {
        match *self {
            Self::Power { exponent } => 1 << (exponent % 64),
            Self::NearPower { exponent, minus } => {
                (1_u64 << (exponent % 64)).wrapping_sub(u64::from(minus))
            }
            Self::Small { number } => number.into(),
            Self::Kibibytes { number } => u64::from(number) << 10,
            Self::Mebibytes { number } => u64::from(number) << 20,
            Self::Any { number } => number,
        }
    }

    fn get_32(&self) -> u32 {
        u32::try_from(self.get()).unwrap_or(u32::MAX)
    }
}

impl Case {
    /// The case that bytes stand for.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        Self::take(&mut Input::new(bytes))
    }

    /// Bytes that stand for the case.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut output = Vec::new();
        self.put(&mut output);
        output
    }

    fn options(&self) -> Options {
        let block_size = self.block_size.get_32();
        let block = u64::from(block_size).clamp(1024, 65_536);
        let most = block * block * 8 * MOST_GROUPS;
        let capped = |number: &Number| number.get().min(most);
        let size = match &self.length {
            Length::Fixed { bytes } => Size::Fixed(capped(bytes)),
            Length::Blocks { number } => Size::Fixed((u64::from(*number) * block).min(most)),
            Length::Fit { free_bytes, free_inodes } => {
                let free_inodes = free_inodes.get_32();
                Size::Fit { free_bytes: capped(free_bytes) / 2, free_inodes }
            }
            Length::Close { free_bytes, free_inodes } => {
                Size::Fit { free_bytes: (*free_bytes).into(), free_inodes: (*free_inodes).into() }
            }
        };
        let mut options = Options::new(size);
        options.features ^= Features::from_bits_truncate(self.features);
        options.block_size = block_size;
        options.inode_size = u16::try_from(self.inode_size.get()).unwrap_or(u16::MAX);
        options.journal = match &self.journal {
            Log::Default {} => Journal::Default,
            Log::Without {} => Journal::None,
            Log::Sized { bytes } => Journal::Size(bytes.get()),
            Log::Blocks { number } => Journal::Size(u64::from(*number) * block),
        };
        options.reserved = match &self.reserved {
            Reserve::Percent { percent } => Reserved::Percent(*percent),
            Reserve::Bytes { bytes } => Reserved::Bytes(capped(bytes) / 4),
        };
        options.inodes = self.inodes.as_ref().map(Number::get_32);
        options.bytes_per_inode = self.bytes_per_inode.as_ref().map(Number::get);
        options.max_size = self.max_size.as_ref().map(Number::get);
        options.groups_per_flex = self.groups_per_flex.get_32();
        options.directory_fill = self.fill;
        self.set_words(&mut options);
        options
    }

    fn set_words(&self, options: &mut Options) {
        let side = |bit: u8| self.sides & bit != 0;
        if side(1) {
            options.directory_hash = DirectoryHash::Tea;
        }
        if side(2) {
            options.hashed_bytes = HashedBytes::Unsigned;
        }
        options.on_error = match (side(4), side(8)) {
            (true, _) => OnError::Panic,
            (_, true) => OnError::RemountReadOnly,
            _ => OnError::Continue,
        };
        options.stable_placement = side(16);
        options.lazy_itable_init = side(32);
        options.lazy_journal_init = side(64);
        options.mount_options = MountOptions::from_bits_truncate(self.mount_options);
        options.epoch = Timestamp::from_seconds(self.epoch);
        options.label.clone_from(&self.label);
        options.last_mounted.clone_from(&self.last_mounted);
    }
}

fn empty(options: &Options) -> Result<Summary, Error> {
    let (summary, sink) = Builder::create(CountingSink::new(), options.clone())?.finish()?;
    assert_eq!(sink.length(), summary.size, "the image is as long as its summary says");
    assert_eq!(sink.written(), summary.written, "what was written is what the sink was given");
    Ok(summary)
}

/// Panics unless the numbers of a summary agree with each other and with what was asked for.
fn check(options: &Options, summary: &Summary) {
    assert_eq!(summary.block_size, u64::from(options.block_size));
    assert_eq!(Some(summary.size), summary.blocks.checked_mul(summary.block_size));
    assert!(summary.free_blocks < summary.blocks);
    assert!(summary.available <= summary.free_blocks * summary.block_size);
    assert!(summary.free_inodes < summary.inodes);
    assert!(summary.journal < summary.size);
    assert!(options.inodes.is_none_or(|inodes| summary.inodes >= inodes));
    match options.size {
        Size::Fixed(bytes) => assert_eq!(summary.size, bytes),
        Size::Fit { free_bytes, free_inodes } => {
            assert!(summary.available >= free_bytes, "{} bytes free", summary.available);
            assert!(summary.free_inodes >= free_inodes, "{} inodes free", summary.free_inodes);
        }
    }
}

/// The valid size that the refusal of another one names last.
fn named_size(reason: &str) -> Option<u64> {
    let (_, sizes) = reason.split_once("valid size")?;
    sizes.rsplit(|c: char| !c.is_ascii_digit()).find_map(|digits| digits.parse().ok())
}

/// Memory does not fail, so neither do the library's own promises.
fn expected(error: &Error) -> bool {
    !matches!(error, Error::Internal { .. } | Error::Poisoned | Error::WriteImage { .. })
}

/// Makes an empty filesystem of the options that the bytes say, or has them refused.
///
/// # Panics
/// When the library breaks a promise.
pub fn run(bytes: &[u8]) {
    let mut options = Case::read(bytes).options();
    match empty(&options) {
        Ok(summary) => check(&options, &summary),
        Err(Error::InvalidOption { option: "size", reason }) => {
            let (Size::Fixed(refused), Some(valid)) = (options.size, named_size(&reason)) else {
                return;
            };
            assert!(valid > refused, "{reason}");
            options.size = Size::Fixed(valid);
            match empty(&options) {
                Ok(summary) => check(&options, &summary),
                // Another option was wrong, and is wrong still; or its limit is the size.
                Err(Error::InvalidOption { option, .. }) if option != "size" => {}
                Err(Error::TooFewInodes { .. }) if options.inodes.is_some() => {}
                Err(error) => panic!("{reason}; but of {valid} bytes: {error}"),
            }
        }
        Err(Error::ImageFull { .. }) if matches!(options.size, Size::Fixed(_)) => {
            panic!("a valid size has no room for a root: {options:?}")
        }
        Err(error) => assert!(expected(&error), "{error:?}"),
    }
}

/// Cases to begin with: the default, and one step away from it in every direction.
#[must_use]
pub fn seeds() -> Vec<Case> {
    let default = Case {
        length: Length::Fixed { bytes: Number::Mebibytes { number: 512 } },
        features: 0,
        block_size: Number::Power { exponent: 12 },
        inode_size: Number::Power { exponent: 8 },
        journal: Log::Default {},
        reserved: Reserve::Percent { percent: 5 },
        inodes: None,
        bytes_per_inode: None,
        max_size: None,
        groups_per_flex: Number::Power { exponent: 4 },
        fill: 80,
        sides: 0,
        mount_options: 12,
        epoch: 1_700_000_000,
        label: b"label".to_vec(),
        last_mounted: b"/".to_vec(),
    };
    let mut cases = vec![default.clone()];
    let mut add = |change: &dyn Fn(&mut Case)| {
        let mut case = default.clone();
        change(&mut case);
        cases.push(case);
    };
    for exponent in [10, 11, 13, 16] {
        add(&|case| case.block_size = Number::Power { exponent });
    }
    for exponent in [7, 9, 10] {
        add(&|case| case.inode_size = Number::Power { exponent });
    }
    for number in [1, 8, 100, 2049, 2051, u16::MAX] {
        add(&|case| case.length = Length::Fixed { bytes: Number::Mebibytes { number } });
        add(&|case| case.length = Length::Blocks { number: u32::from(number) * 257 });
    }
    for exponent in [32, 40, 43, 44, 45] {
        add(&|case| case.length = Length::Fixed { bytes: Number::Power { exponent } });
    }
    add(&|case| case.length = Length::Close { free_bytes: 0, free_inodes: 0 });
    add(&|case| {
        let free_bytes = Number::Mebibytes { number: 900 };
        let free_inodes = Number::Kibibytes { number: 100 };
        case.length = Length::Fit { free_bytes, free_inodes };
    });
    for feature in Features::all() {
        add(&|case| case.features = feature.bits());
    }
    add(&|case| case.journal = Log::Without {});
    add(&|case| case.journal = Log::Blocks { number: 1024 });
    add(&|case| case.journal = Log::Sized { bytes: Number::Mebibytes { number: 64 } });
    // The next valid size is far from the one that is refused.
    add(&|case| {
        case.length = Length::Fixed { bytes: Number::Mebibytes { number: 2 } };
        case.journal = Log::Sized { bytes: Number::Mebibytes { number: 256 } };
    });
    add(&|case| case.reserved = Reserve::Percent { percent: 50 });
    add(&|case| case.reserved = Reserve::Bytes { bytes: Number::Mebibytes { number: 40 } });
    add(&|case| case.inodes = Some(Number::Kibibytes { number: 20 }));
    // More than the groups can have, with their tables in them.
    add(&|case| {
        case.features = Features::FLEX_BG.bits();
        case.inodes = Some(Number::Mebibytes { number: 100 });
    });
    add(&|case| case.bytes_per_inode = Some(Number::Power { exponent: 10 }));
    add(&|case| case.max_size = Some(Number::Power { exponent: 44 }));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_read_as_it_was_written_and_passes() {
        for case in seeds() {
            let bytes = case.write();
            assert_eq!(Case::read(&bytes), case);
            run(&bytes);
        }
    }

    #[test]
    fn any_few_bytes_are_a_case() {
        for byte in (0..=u8::MAX).step_by(7) {
            for length in [0, 1, 7, 60] {
                run(&vec![byte; length]);
            }
        }
    }
}
