//! The options that describe a filesystem, shared by the commands that make one.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use ext4_writer::{Features, Journal, MountOptions, OnError, Options, Profile, Reserved, Size};
use uuid::fmt::Hyphenated;

use crate::edit::Identity;
use crate::error::{Error, Result};
use crate::image::{ImageSize, parse_bytes, random_uuid};
use crate::shown;

/// The filesystem that is wanted.
#[derive(Debug, Args)]
#[command(next_help_heading = "Disk")]
pub(super) struct Disk {
    /// The disk's size: 4G, fit, fit+512M [default: fit and the larger of 256M and a quarter of
    /// the content; fit alone for the profile read-only]
    #[arg(long, value_name = "SIZE")]
    size: Option<ImageSize>,
    /// The volume's name, at most 16 bytes
    #[arg(long, short = 'L')]
    label: Option<String>,
    /// The filesystem's UUID, or random, or time for one by the clock [default: derived from the
    /// image and these options]
    #[arg(long, short = 'U', value_parser = parse_new_uuid)]
    uuid: Option<[u8; 16]>,
    /// A named choice of features: default, max (all that Linux 6.12 takes), linux-4.14,
    /// grub-2.06, read-only (no journal, no reserve, no room to grow, as small as its tree)
    #[arg(long, value_name = "NAME", value_parser = parse_profile)]
    profile: Option<Profile>,
    /// Features to add or, with ^, to leave out, as mke2fs names them
    #[arg(short = 'O', long = "features", value_name = "[^]FEATURE[,…]", value_delimiter = ',')]
    features: Vec<String>,
    /// The bytes of a block: 1024, 2048 or 4096; up to 65536 for kernels with such pages
    #[arg(long, short = 'b', value_name = "BYTES")]
    block_size: Option<u32>,
    /// The bytes of an inode: 128, 256, 512 or 1024
    #[arg(long, short = 'I', value_name = "BYTES")]
    inode_size: Option<u16>,
    /// How many inodes are made, rounded up to full blocks of them [default: one for 16 KiB, or a
    /// tenth more than needed]
    #[arg(long, short = 'N', value_name = "COUNT")]
    inodes: Option<u32>,
    /// The bytes of disk for which there is one inode
    #[arg(long, short = 'i', value_name = "SIZE", value_parser = parse_bytes)]
    #[arg(conflicts_with = "inodes")]
    bytes_per_inode: Option<u64>,
    /// The size of the journal, such as 64M [default: mke2fs's]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, conflicts_with = "no_journal")]
    journal_size: Option<u64>,
    /// Make no journal
    #[arg(long)]
    no_journal: bool,
    /// The blocks that only root may fill, such as 5% or 64M [default: 5%]
    #[arg(long, value_name = "SHARE", value_parser = parse_reserved)]
    reserved: Option<Reserved>,
    /// The same as a percentage without its sign, as mke2fs takes it
    #[arg(short = 'm', value_name = "PERCENT", value_parser = parse_percent)]
    #[arg(conflicts_with = "reserved")]
    percent: Option<Reserved>,
    /// How large the filesystem can grow in the guest without moving anything
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    max_size: Option<u64>,
    /// What the kernel does when it finds damage: continue, remount-ro or panic
    #[arg(long, value_name = "ACT", value_parser = parse_on_error)]
    on_error: Option<OnError>,
    /// The mount options that are on by default, as tune2fs -o names them
    #[arg(long, value_name = "OPTION[,…]", value_parser = parse_mount_options)]
    mount_options: Option<MountOptions>,
    /// Where the filesystem says it was last mounted
    #[arg(long, value_name = "DIR")]
    last_mounted: Option<String>,
    /// Leave gaps in which files can grow without moving others, for stores of chunks
    #[arg(long)]
    stable_placement: bool,
}

impl Disk {
    /// The size that was asked for.
    pub(super) fn size(&self) -> ImageSize {
        match self.profile {
            Some(Profile::ReadOnly) => self.size.unwrap_or(ImageSize::Fit(0)),
            _ => self.size.unwrap_or_default(),
        }
    }

    /// The size, if one was given.
    pub(super) fn given_size(&self) -> Option<ImageSize> {
        self.size
    }

    /// What a superblock is to say, as far as it was asked for.
    pub(super) fn identity(&self) -> Identity {
        let bytes = |text: &Option<String>| text.clone().map(String::into_bytes);
        Identity {
            label: bytes(&self.label),
            uuid: self.uuid,
            reserved: self.reserved.or(self.percent),
            on_error: self.on_error,
            mount_options: self.mount_options,
            last_mounted: bytes(&self.last_mounted),
        }
    }

    /// An option that was given and says how a new filesystem is laid out.
    pub(super) fn option_of_new(&self) -> Option<&'static str> {
        let given = [
            (self.profile.is_some(), "--profile"),
            (!self.features.is_empty(), "--features"),
            (self.block_size.is_some(), "--block-size"),
            (self.inode_size.is_some(), "--inode-size"),
            (self.inodes.is_some(), "--inodes"),
            (self.bytes_per_inode.is_some(), "--bytes-per-inode"),
            (self.journal_size.is_some(), "--journal-size"),
            (self.no_journal, "--no-journal"),
            (self.max_size.is_some(), "--max-size"),
            (self.stable_placement, "--stable-placement"),
        ];
        given.into_iter().find_map(|(is_given, option)| is_given.then_some(option))
    }

    /// Everything but the size and the time.
    pub(super) fn options(self) -> Result<Options> {
        let size = Size::Fit { free_bytes: 0, free_inodes: 0 };
        let mut options = Options::for_profile(self.profile.unwrap_or_default(), size);
        options.features = self.features(options.features)?;
        options.label = self.label.unwrap_or_default().into_bytes();
        options.uuid = self.uuid;
        options.block_size = self.block_size.unwrap_or(options.block_size);
        options.inode_size = self.inode_size.unwrap_or(options.inode_size);
        options.inodes = self.inodes;
        options.bytes_per_inode = self.bytes_per_inode.or(options.bytes_per_inode);
        options.journal = match (self.journal_size, self.no_journal) {
            (_, true) => Journal::None,
            (Some(bytes), false) => Journal::Size(bytes),
            (None, false) => options.journal,
        };
        options.reserved = self.reserved.or(self.percent).unwrap_or(options.reserved);
        options.max_size = self.max_size;
        options.on_error = self.on_error.unwrap_or_default();
        options.mount_options = self.mount_options.unwrap_or(options.mount_options);
        options.stable_placement = self.stable_placement;
        options.last_mounted = self.last_mounted.unwrap_or_default().into_bytes();
        Ok(options)
    }

    fn features(&self, of_profile: Features) -> Result<Features> {
        of_profile.changed(&self.features.join(",")).map_err(|error| {
            let is_unknown = matches!(error, ext4_writer::Error::UnknownFeature { .. });
            let failed = Error::usage("cannot read --features").with_source(error);
            if !is_unknown {
                return failed;
            }
            let names = Features::all().names().collect::<Vec<_>>().join(", ");
            failed.with_hint(format!("features are {names}"))
        })
    }
}

fn parse_profile(text: &str) -> Result<Profile> {
    Profile::by_name(text).ok_or_else(|| {
        let names: Vec<_> = Profile::ALL.iter().map(|profile| profile.name()).collect();
        Error::usage(format!("there is no profile \"{text}\""))
            .with_hint(format!("there are {}", names.join(", ")))
    })
}

pub(super) fn parse_reserved(text: &str) -> Result<Reserved> {
    match text.strip_suffix('%') {
        Some(percent) => match percent.parse() {
            Ok(percent) => Ok(Reserved::Percent(percent)),
            Err(_) => Err(Error::usage(format!("\"{text}\" is no share such as 5%"))),
        },
        None => parse_bytes(text).map(Reserved::Bytes),
    }
}

/// A percentage as mke2fs takes it, in whole numbers.
fn parse_percent(text: &str) -> Result<Reserved> {
    match text.parse() {
        Ok(percent) if percent <= 50 => Ok(Reserved::Percent(percent)),
        _ => Err(Error::usage(format!("\"{}\" is no percentage from 0 to 50", shown::text(text)))
            .with_hint("--reserved 64M says it in bytes")),
    }
}

pub(super) fn parse_on_error(text: &str) -> Result<OnError> {
    match text {
        "continue" => Ok(OnError::Continue),
        "remount-ro" => Ok(OnError::RemountReadOnly),
        "panic" => Ok(OnError::Panic),
        _ => Err(Error::usage(format!("\"{text}\" is not continue, remount-ro or panic"))),
    }
}

pub(super) fn parse_mount_options(text: &str) -> Result<MountOptions> {
    let unknown = || Error::usage(format!("\"{text}\" has an option that tune2fs -o does not"));
    MountOptions::by_names(text).ok_or_else(unknown)
}

/// A UUID, or how one is made, as mke2fs has it.
fn parse_new_uuid(text: &str) -> Result<[u8; 16]> {
    match text {
        "random" => random_uuid(),
        "time" => uuid_of_time(),
        "clear" => Err(Error::usage("a filesystem without a UUID is not made")
            .with_hint("e2fsck would give it one; write random, time or a UUID")),
        _ => parse_uuid(text),
    }
}

/// A UUID by the clock, with random bytes in the place of an address (RFC 9562, version 1).
fn uuid_of_time() -> Result<[u8; 16]> {
    /// The tenths of microseconds from 1582-10-15 to 1970.
    const GREGORIAN: u64 = 0x01b2_1dd2_1381_4000;
    let random = random_uuid()?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ticks = u64::try_from(since.as_nanos() / 100).unwrap_or_default();
    let [high, low, .., first, second, third, fourth, fifth, sixth] = random;
    // The multicast bit says that it is nobody's address: section 6.10.
    let node = [first | 1, second, third, fourth, fifth, sixth];
    let ticks = GREGORIAN.saturating_add(ticks);
    let counter = u16::from_be_bytes([high, low]);
    Ok(uuid::Builder::from_gregorian_timestamp(ticks, counter, &node).into_uuid().into_bytes())
}

pub(super) fn parse_uuid(text: &str) -> Result<[u8; 16]> {
    let parsed: Result<Hyphenated, _> = text.parse();
    parsed.map(|uuid| uuid.into_uuid().into_bytes()).map_err(|_| {
        Error::usage(format!("\"{}\" is not a UUID", shown::text(text)))
            .with_hint("a UUID is 8-4-4-4-12 hexadecimal digits; or write random or time")
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn uuids_are_read_and_shown_alike() {
        let text = "3201a0fc-c532-4b89-b15a-c2fc3b1fd3a9";
        assert_eq!(Uuid::from_bytes(parse_uuid(text).unwrap()).to_string(), text);
        for text in ["", "3201a0fcc5324b89b15ac2fc3b1fd3a9", "+201a0fc-c532-4b89-b15a-c2fc3b1fd3a9"]
        {
            assert_eq!(parse_uuid(text).unwrap_err().exit_code(), 2, "{text}");
        }
    }
}
