//! `banger image edit`, `disk resize`, `set` and `recover`: arguments to a change of a finished
//! image.

mod steps;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use clap::Args;
use ext4_writer::edit::Recovered;
use ext4_writer::{MountOptions, OnError, Reserved, Timestamp};

use super::OutputOptions;
use super::disk::{parse_mount_options, parse_on_error, parse_reserved, parse_uuid};
use super::epoch::{now, source_date_epoch};
use super::limits::Setting;
use super::signals::interruption;
use crate::edit::{Change, Identity, LayerOptions, Target};
use crate::error::{Error, Result};
use crate::image::{parse_bytes, random_uuid};
use crate::look::refuse_damaged;
use crate::report::edit::{Edited, Recovery, Resized, Settings};
use crate::source::Limits;
use steps::Steps;

/// Where the old content is kept of what is changed in place.
#[derive(Debug, Args)]
struct Undo {
    /// Where to keep, while it is changed, what was there before, if it cannot go through the
    /// journal [default: the image with .undo behind its name; none for a device]
    #[arg(long, value_name = "FILE")]
    undo: Option<PathBuf>,
}

impl Undo {
    fn target(self, path: PathBuf) -> Target {
        Target { path, undo: self.undo, is_trial: false, interruption: interruption() }
    }

    fn open(self, path: PathBuf) -> Result<Change> {
        Change::open(self.target(path), time()?)
    }
}

/// The time of a change.
fn time() -> Result<Timestamp> {
    Ok(source_date_epoch()?.unwrap_or_else(now))
}

/// Change a finished image: put files in, take files out, rename, set owners and permissions
///
/// All changes are done in the order given, in one step: a failure or a cut leaves the image as it
/// was. The image may be of any maker, ext2, ext3 or ext4. A journal that holds transactions is
/// replayed first, and stays so. An image that is mounted, attached or locked is refused.
///
/// Paths begin at the image's root and go through its symbolic links, never out of it. Without a
/// journal, and with more changes than the journal has room for, what was there is kept in
/// IMAGE.undo meanwhile; after a cut the next command that changes the image brings it back.
#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// The image: a file or a block device
    image: PathBuf,
    #[command(flatten)]
    steps: Steps,
    /// Fail when something added cannot be in the image, instead of reporting it
    #[arg(long)]
    strict: bool,
    /// Set a limit against hostile archives, such as layer=100G; `banger help limits` lists them
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    limits: Vec<Setting>,
    /// Say what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Check the filesystem before it is changed, and once more behind that
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    undo: Undo,
    #[command(flatten)]
    pub(super) output_options: OutputOptions,
}

impl Edit {
    pub(super) fn run(self) -> Result<()> {
        let steps = self.steps.into_list()?;
        let target = Target { is_trial: self.dry_run, ..self.undo.target(self.image) };
        if let Some(limit) = self.limits.iter().find(|limit| limit.is_of_servers()) {
            return Err(Error::usage(format!("{} has no meaning here", limit.shown())));
        }
        let mut limits = Limits::default();
        self.limits.into_iter().try_for_each(|limit| limit.apply(&mut limits))?;
        let layers = LayerOptions { strict: self.strict, limits: limits.layer };
        if self.check {
            refuse_damaged(&target.path)?;
        }
        let mut change = Change::open(target, time()?)?;
        let remarks = change.apply(&steps, &layers)?;
        let image = change.path().to_owned();
        let path = image.display().to_string();
        let recovery = recovery(change.recovered());
        change.commit()?;
        if self.check && !self.dry_run {
            refuse_damaged(&image)?;
        }
        let changes = steps.iter().map(ToString::to_string).collect();
        self.output_options.report().edited(&Edited {
            path,
            changes,
            remarks,
            dry_run: self.dry_run,
            recovery,
        })
    }
}

/// How a size is asked for.
#[derive(Clone, Copy, Debug)]
enum NewSize {
    /// So many bytes.
    Of(u64),
    /// So many more.
    More(u64),
}

fn parse_new_size(text: &str) -> Result<NewSize> {
    match text.strip_prefix('+') {
        Some(more) => parse_bytes(more).map(NewSize::More),
        None => parse_bytes(text).map(NewSize::Of),
    }
}

/// Let a filesystem grow, with its file or up to the end of its device
///
/// In place, without moving anything. What was there is kept in PATH.undo meanwhile; after a cut
/// the next command that changes the disk brings it back. The filesystem gets the size that is
/// asked for, or the command fails and names the nearest sizes. A disk that is mounted, attached or
/// locked is refused.
#[derive(Debug, Args)]
pub(crate) struct Resize {
    /// The disk: a file or a block device
    path: PathBuf,
    /// The new size, such as 64G, or how much more, such as +10G [default: as far as the file or
    /// device goes]
    #[arg(long, value_name = "[+]SIZE", value_parser = parse_new_size)]
    size: Option<NewSize>,
    #[command(flatten)]
    undo: Undo,
    #[command(flatten)]
    pub(super) output_options: OutputOptions,
}

impl Resize {
    pub(super) fn run(self) -> Result<()> {
        let mut change = self.undo.open(self.path)?;
        let before = change.size();
        let size = match self.size {
            None => None,
            Some(NewSize::Of(bytes)) => Some(bytes),
            Some(NewSize::More(bytes)) => Some(before.checked_add(bytes).ok_or_else(|| {
                Error::usage(format!("{before} and {bytes} more are more than 2^64 bytes"))
            })?),
        };
        change.grow(size)?;
        let path = change.path().display().to_string();
        let recovery = recovery(change.recovered());
        let size = change.commit()?;
        self.output_options.report().resized(&Resized { path, before, size, recovery })
    }
}

fn recovery(recovered: Recovered) -> Recovery {
    Recovery {
        undone: recovered.is_undone,
        replayed_transactions: recovered.journal.map(|journal| journal.transactions),
    }
}

/// Set label, UUID, reserve and mount options of a filesystem
///
/// In one step, through the journal where there is one. A new UUID cannot go through it: what was
/// there is kept in PATH.undo meanwhile. A disk that is mounted, attached or locked is refused.
#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The disk: a file or a block device
    path: PathBuf,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    undo: Undo,
    #[command(flatten)]
    pub(super) output_options: OutputOptions,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct IdentityArgs {
    /// The volume's name, at most 16 bytes
    #[arg(long)]
    label: Option<OsString>,
    /// The filesystem's UUID, or random for a new one
    #[arg(long, value_name = "UUID|random", value_parser = parse_new_uuid)]
    uuid: Option<[u8; 16]>,
    /// The blocks that only root may fill, such as 5% or 64M
    #[arg(long, value_name = "SHARE", value_parser = parse_reserved)]
    reserved: Option<Reserved>,
    /// What the kernel does when it finds damage: continue, remount-ro or panic
    #[arg(long, value_name = "ACT", value_parser = parse_on_error)]
    on_error: Option<OnError>,
    /// The mount options that are on by default, all of them, as tune2fs -o names them
    #[arg(long, value_name = "OPTION[,…]", value_parser = parse_mount_options)]
    mount_options: Option<MountOptions>,
    /// Where the filesystem says it was last mounted
    #[arg(long, value_name = "DIR")]
    last_mounted: Option<OsString>,
}

fn parse_new_uuid(text: &str) -> Result<[u8; 16]> {
    if text == "random" { random_uuid() } else { parse_uuid(text) }
}

impl Set {
    pub(super) fn run(self) -> Result<()> {
        let given = self.identity;
        let identity = Identity {
            label: given.label.map(OsString::into_vec),
            uuid: given.uuid,
            reserved: given.reserved,
            on_error: given.on_error,
            mount_options: given.mount_options,
            last_mounted: given.last_mounted.map(OsString::into_vec),
        };
        let mut change = self.undo.open(self.path)?;
        change.set(&identity)?;
        let path = change.path().display().to_string();
        let recovery = recovery(change.recovered());
        change.commit()?;
        self.output_options.report().set(&Settings::new(path, &identity, recovery))
    }
}

/// Replay the journal of a disk that was not unmounted, and take back what was interrupted
///
/// Nothing else is changed. What a cut left of a resize or of another change in place is taken back
/// by its undo file.
#[derive(Debug, Args)]
pub(crate) struct Recover {
    /// The disk: a file or a block device
    path: PathBuf,
    #[command(flatten)]
    undo: Undo,
    #[command(flatten)]
    pub(super) output_options: OutputOptions,
}

impl Recover {
    pub(super) fn run(self) -> Result<()> {
        let target = self.undo.target(self.path);
        let recovered = target.recover()?;
        let path = target.path.display().to_string();
        self.output_options.report().recovered(path, recovery(recovered))
    }
}
