//! `banger disk create`: an empty filesystem, one that begins with a tree, or a copy of one.

mod copied;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Arg, Args, Subcommand};
use ext4_writer::Options;

use super::device::{DeviceOptions, refuse_standard_output, size_of_device};
use super::disk::Disk;
use super::epoch::{now, source_date_epoch};
use super::owners::owners;
use super::pull::SourceParser;
use super::registry::RegistryOptions;
use super::signals::interruption;
use super::source::SourceOptions;
use super::{OutputOptions, VoiceOptions};
use crate::error::{Error, Result};
use crate::image::{CheckedOutput, DiskSpec, EmptyDisk, ImageSize, OutputKind, Root, random_uuid};
use crate::inject::{Owner, OwnerRange};
use crate::look::must_be_sound;
use crate::pull::{Request, pull};
use crate::report::Report;
use crate::report::disk::Created;
use crate::shown;
use crate::source::ImageReference;
use crate::source::local::kind::is_filesystem;

#[derive(Debug, Subcommand)]
pub(super) enum DiskCommand {
    /// Make an ext4 filesystem, empty or with a tree in it, in a new file or on a block device
    Create(Box<Create>),
    /// Let a filesystem grow, with its file or up to the end of its device
    Resize(super::edit::Resize),
    /// Set label, UUID, reserve and mount options of a filesystem
    Set(Box<super::edit::Set>),
    /// Replay the journal of a disk that was not unmounted, and take back what was interrupted
    Recover(super::edit::Recover),
}

impl DiskCommand {
    pub(super) fn report(&self) -> Report {
        match self {
            Self::Create(create) => create.output_options.report(),
            Self::Resize(resize) => resize.output_options.report(),
            Self::Set(set) => set.output_options.report(),
            Self::Recover(recover) => recover.output_options.report(),
        }
    }

    pub(super) fn run(self) -> Result<()> {
        match self {
            Self::Create(create) => create.run(),
            Self::Resize(resize) => resize.run(),
            Self::Set(set) => set.run(),
            Self::Recover(recover) => recover.run(),
        }
    }
}

/// Make an ext4 filesystem, empty or with a tree in it, in a new file or on a block device
///
/// A file has its name only when it is finished and on the disk. A device is written in place, its
/// superblock last: what was interrupted is no filesystem. A file or device that is in use is
/// refused, even with --force, and what holds anything is kept without it: on a device, whatever is
/// not zero in its first 5 or last 2 MiB.
#[derive(Debug, Args)]
#[command(mut_args(of_disks), after_help = AFTER)]
pub(crate) struct Create {
    /// The file to make, or the block device to write to
    #[arg(value_name = "PATH")]
    place: PathBuf,
    #[command(flatten)]
    disk: Disk,
    /// Owner of the root directory [default: that of --from, else 0:0 whoever runs this]
    #[arg(long, value_name = "UID[:GID]", help_heading = "Disk")]
    owner: Option<Owner>,
    /// Permission bits of the root directory, in octal [default: those of --from, else 0755]
    #[arg(long, value_name = "MODE", value_parser = parse_mode, help_heading = "Disk")]
    mode: Option<u16>,
    #[command(flatten)]
    device: DeviceOptions,
    #[command(flatten)]
    seed: Seed,
    /// Overwrite what is there
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Check the finished filesystem before a file gets its name
    #[arg(long, help_heading = "Output")]
    check: bool,
    #[command(flatten)]
    output_options: OutputOptions,
    #[command(flatten)]
    voice: VoiceOptions,
}

/// What a filesystem begins with.
#[derive(Debug, Args)]
#[command(next_help_heading = "Contents")]
struct Seed {
    /// Begin as the copy of an ext4 image, or with the tree of a directory, a tar archive or an
    /// image
    #[arg(long, value_name = "DISK|DIR|TAR|IMAGE", allow_hyphen_values = true, value_parser = SourceParser)]
    from: Option<OsString>,
    /// Give everything of a directory to this user
    #[arg(long, value_name = "UID", conflicts_with = "owner_map")]
    uid: Option<u32>,
    /// Give everything of a directory to this group
    #[arg(long, value_name = "GID", conflicts_with = "owner_map")]
    gid: Option<u32>,
    /// Number the owners of a directory anew, such as 1000:0 or 100000:1:65536; u: or g: before it
    /// speaks of users or groups alone
    #[arg(long, value_name = "[u:|g:]HOST:DISK[:COUNT]")]
    owner_map: Vec<OwnerRange>,
    #[command(flatten)]
    source_options: SourceOptions,
}

const AFTER: &str = "\
What --from names is an ext4 image, a directory or a tar archive if there is one of that name, else
an image in a registry if it has a tag, a digest or a port. All sources of image pull are taken here
too: oci:DIR, oci-archive:FILE, docker-archive:FILE, docker-daemon:IMAGE, tar:FILE, dir:PATH,
ext4:FILE, docker://REF, and - for an archive on standard input.

An ext4 image is copied: its used blocks alone, shared with it where the filesystem of the host can.
The copy has another UUID, is as large as --size says, and keeps everything else. ext4:FILE makes a
new filesystem with the same tree instead, smaller or of another block size too.

UUID and times are new with every disk; with SOURCE_DATE_EPOCH set the same options give the
same bytes.";

/// The help of the options that all commands share, as it is for disks.
fn of_disks(word: Arg) -> Arg {
    let help = match word.get_id().as_str() {
        "size" => {
            "The filesystem's size, such as 8G; fit+1G is the smallest with so much free [default: \
             that of the device or of the file that is there]"
        }
        "uuid" => {
            "The filesystem's UUID, or random, or time for one by the clock [default: a random one]"
        }
        "max_size" => {
            "How large the filesystem can grow in the guest without moving anything [default: 8 \
             times its size, at least 256G]"
        }
        _ if needs_source(&word) => return word.requires("from"),
        _ => return word,
    };
    word.help(help)
}

/// Whether a word has no meaning for an empty filesystem.
fn needs_source(word: &Arg) -> bool {
    const LAYERS: [&str; 5] = ["semantics", "strict", "platform", "jobs", "memory"];
    const OWNERS: [&str; 3] = ["uid", "gid", "owner_map"];
    let id = word.get_id().as_str();
    LAYERS.contains(&id) || OWNERS.contains(&id) || RegistryOptions::NAMES.contains(&id)
}

fn parse_mode(text: &str) -> Result<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    match u16::from_str_radix(text, 8) {
        Ok(mode) if digits && mode <= 0o7777 => Ok(mode),
        _ => Err(Error::usage(format!("\"{}\" is no mode", shown::text(text)))
            .with_hint("write permission bits in octal, such as 0755 or 1777")),
    }
}

impl Create {
    /// Whether a registry has the content.
    pub(super) fn asks_a_registry(&self) -> bool {
        let reference = self.seed.from.as_deref().map(source);
        reference.is_some_and(|found| found.is_ok_and(|reference| !reference.is_local()))
    }

    pub(super) fn run(self) -> Result<()> {
        let start = Instant::now();
        let report = self.output_options.report().with(self.voice);
        refuse_standard_output(&self.place)?;
        let checked = CheckedOutput::look(&self.place, self.force)?;
        let is_device = matches!(checked.kind, OutputKind::Device(_));
        if is_device {
            report.step(&format!("writing to the device {}", checked.path.display()));
        }
        let reference = self.seed.from.as_deref().map(SeedSource::of).transpose()?;
        let made = match reference {
            None => {
                let check = self.check;
                empty(self.spec(&checked)?.0, check)?
            }
            Some(SeedSource::Copy(from)) => {
                let copied = self.copied(from.clone(), &checked)?;
                copied.caveats.iter().for_each(|line| report.warn(line));
                Created::copied(&checked.path, &from, &copied)
            }
            Some(SeedSource::Tree(reference)) => {
                let check = self.check;
                let (spec, seed) = self.spec(&checked)?;
                seeded(&Request { check, ..request(spec, seed, reference)? }, report)?
            }
        };
        report.created(&Created {
            is_device,
            replaced: checked.existing_content,
            microseconds: u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
            ..made
        })
    }

    fn spec(self, checked: &CheckedOutput) -> Result<(DiskSpec, Seed)> {
        let target = self.device.target(checked, self.force);
        let (given, usual) = (self.disk.given_size(), self.disk.size());
        let mut filesystem = self.disk.options()?;
        self.device.apply(&mut filesystem);
        let usual = self.seed.from.as_ref().map(|_| usual);
        let size = match given {
            Some(size) => size,
            None => size_of(checked, &filesystem)?.or(usual).ok_or_else(|| {
                let path = checked.path.display();
                Error::usage(format!("nobody says how large the filesystem {path} is to be"))
                    .with_hint("write --size 8G")
            })?,
        };
        filesystem.size = size.of_nothing();
        if filesystem.uuid.is_none() && source_date_epoch()?.is_none() {
            filesystem.uuid = Some(random_uuid()?);
        }
        let spec = DiskSpec {
            output: checked.path.clone(),
            target,
            replace: self.force && checked.length.is_some(),
            size,
            filesystem: filesystem.with_modest_growth(),
            root: Root { owner: self.owner, mode: self.mode },
            interruption: interruption(),
        };
        Ok((spec, self.seed))
    }
}

/// The size that a place has by itself.
fn size_of(checked: &CheckedOutput, filesystem: &Options) -> Result<Option<ImageSize>> {
    let Some(length) = checked.length.filter(|length| *length > 0) else { return Ok(None) };
    if matches!(checked.kind, OutputKind::File) {
        return Ok(Some(ImageSize::Fixed(length)));
    }
    size_of_device(checked, filesystem).map(Some)
}

fn empty(disk: DiskSpec, check: bool) -> Result<Created> {
    let DiskSpec { output, target, replace, mut filesystem, root, interruption, size: _ } = disk;
    filesystem.epoch = source_date_epoch()?.unwrap_or_else(now);
    let empty = EmptyDisk { output, target, replace, filesystem, root, interruption };
    let made = empty.create(|file| if check { must_be_sound(file) } else { Ok(()) })?;
    Ok(Created::empty(&empty.output, &made, &empty.filesystem.label))
}

fn seeded(request: &Request, report: Report) -> Result<Created> {
    let pulled = pull(request, report.observer())?;
    Ok(Created::pulled(&pulled))
}

/// The disk is to hold data, not to boot: nothing is looked for in it.
fn request(disk: DiskSpec, seed: Seed, reference: ImageReference) -> Result<Request> {
    seed.source_options.suits(&reference)?;
    let one = Owner { uid: seed.uid, gid: seed.gid };
    let one = Some(one).filter(|one| one.uid.is_some() || one.gid.is_some());
    let options = ("--uid, --gid and --owner-map", "a directory takes them");
    let owners = owners(one, seed.owner_map, &reference, options)?;
    let request = seed.source_options.request(reference, owners, disk)?;
    Ok(Request { epoch: Some(now()), lint: false, ..request })
}

/// What `--from` names.
enum SeedSource {
    /// A filesystem in a file or on a device, to be copied as it is.
    Copy(PathBuf),
    /// A tree.
    Tree(ImageReference),
}

impl SeedSource {
    fn of(argument: &OsStr) -> Result<Self> {
        let path = Path::new(argument);
        // What was not named as anything else may be a disk.
        if !argument.as_bytes().contains(&b':') && path.exists() && is_filesystem(path) {
            return Ok(Self::Copy(path.to_owned()));
        }
        Ok(match source(argument)? {
            ImageReference::Tar(path) if path.as_os_str() == argument && is_filesystem(&path) => {
                Self::Copy(path)
            }
            source => Self::Tree(source),
        })
    }
}

/// The source that `--from` names: a directory or an archive of that name, if there is one.
fn source(argument: &OsStr) -> Result<ImageReference> {
    let bytes = argument.as_bytes();
    // What has no colon names no transport. To tell whether it names a repository takes 20 ms.
    if !bytes.contains(&b':') && bytes != b"-" {
        match fs::metadata(argument) {
            Ok(found) if found.is_dir() => {
                return Ok(ImageReference::Directory(PathBuf::from(argument)));
            }
            Ok(_) => return Ok(ImageReference::Tar(PathBuf::from(argument))),
            Err(_) => {}
        }
    }
    let parsed = ImageReference::parse(argument);
    match &parsed {
        Ok(reference) if reference.is_local() || bytes.starts_with(b"docker://") => return parsed,
        _ => {}
    }
    match fs::metadata(argument) {
        Ok(found) if found.is_dir() => Ok(ImageReference::Directory(PathBuf::from(argument))),
        Ok(_) => Ok(ImageReference::Tar(PathBuf::from(argument))),
        Err(error) if bytes.starts_with(b"/") || bytes.starts_with(b".") => {
            let message = format!("cannot read {}", shown::bytes(bytes));
            Err(match error.kind() {
                ErrorKind::PermissionDenied => Error::denied(message),
                _ => Error::not_found(message),
            }
            .with_source(error))
        }
        // A mistyped path asks nobody: an image in a registry has a tag, a digest or a port.
        Err(_) if parsed.is_ok() && !bytes.iter().any(|byte| b":@".contains(byte)) => {
            let argument = shown::bytes(bytes);
            Err(Error::not_found(format!("there is no file or directory {argument}"))
                .with_hint(format!("an image in a registry is docker://{argument}, or has a tag")))
        }
        Err(_) => parsed,
    }
}
