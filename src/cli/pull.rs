//! `banger image pull` and `build`: arguments to a request.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::TypedValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::device::{DeviceOptions, refuse_standard_output, size_of_device};
use super::disk::Disk;
use super::guest::GuestArguments;
use super::owners::OwnerOptions;
use super::signals::interruption;
use super::source::SourceOptions;
use super::{OutputOptions, VoiceOptions};
use crate::error::{Error, Result};
use crate::image::{CheckedOutput, DiskSpec, OutputTarget, Root};
use crate::inject::Addition;
use crate::pull::{Request, pull};
use crate::shown;
use crate::source::local::kind::words_for;
use crate::source::{ImageReference, Limits};

/// Write an image as an ext4 disk
#[derive(Debug, Args)]
#[command(mut_arg("platform", |word| word.display_order(0)))]
pub(crate) struct Pull {
    /// The image, such as debian:bookworm-slim or oci:DIR:TAG; all forms stand below
    #[arg(value_name = "SOURCE", allow_hyphen_values = true, value_parser = SourceParser)]
    source: OsString,
    /// The file or the block device to write [default: <name>-<tag>.ext4 in the current directory]
    output: Option<PathBuf>,
    #[command(flatten)]
    disk: Disk,
    #[command(flatten)]
    device: DeviceOptions,
    #[command(flatten)]
    inject: Inject,
    #[command(flatten)]
    guest: GuestArguments,
    #[command(flatten)]
    source_options: SourceOptions,
    #[command(flatten)]
    owners: OwnerOptions,
    /// Replace OUTPUT if it exists; of a symbolic link the link, not what it leads to
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Check the finished filesystem before it gets its name
    #[arg(long, help_heading = "Output")]
    check: bool,
    #[command(flatten)]
    pub(super) output_options: OutputOptions,
    #[command(flatten)]
    voice: VoiceOptions,
}

/// What the user adds to the image.
#[derive(Debug, Args)]
#[command(next_help_heading = "Contents")]
struct Inject {
    /// Put a file or directory of the host into the image, root's unless said otherwise; SRC is -
    /// for what comes on standard input
    #[arg(long, value_name = "SRC:DST[:MODE[:UID:GID]]", value_parser = AdditionParser, allow_hyphen_values = true)]
    add: Vec<Addition>,
    /// Apply a tar archive as a last layer
    #[arg(long, value_name = "FILE.tar")]
    overlay: Vec<PathBuf>,
}

impl Inject {
    /// Refuses to read standard input twice.
    fn suits(&self, reference: &ImageReference, is_login: bool) -> Result<()> {
        let added = self.add.iter().filter(|addition| addition.is_standard_input()).count();
        let source = usize::from(reference.is_standard_input());
        if added > 0 && added + source + usize::from(is_login) > 1 {
            let message = "standard input can be read for one thing only";
            return Err(Error::usage(message).with_hint("name a file, or a pipe as /dev/fd/N"));
        }
        Ok(())
    }
}

/// Reads a source, which may be `-:IMAGE`; other arguments that begin so are options that do not exist.
#[derive(Clone)]
pub(super) struct SourceParser;

impl TypedValueParser for SourceParser {
    type Value = OsString;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> std::result::Result<OsString, clap::Error> {
        let bytes = value.as_bytes();
        if !bytes.starts_with(b"-") || bytes == b"-" || bytes.starts_with(b"-:") {
            return Ok(value.to_owned());
        }
        let mut error = clap::Error::new(ErrorKind::UnknownArgument).with_cmd(command);
        let shown = ContextValue::String(shown::bytes(bytes).to_string());
        error.insert(ContextKind::InvalidArg, shown);
        Err(error)
    }
}

/// Reads `--add` with the names of files as they are, which need not be UTF-8.
#[derive(Clone)]
struct AdditionParser;

impl TypedValueParser for AdditionParser {
    type Value = Addition;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> std::result::Result<Addition, clap::Error> {
        Addition::parse(value)
            .map_err(|error| command.clone().error(ErrorKind::ValueValidation, error))
    }
}

impl Pull {
    pub(super) fn run(self) -> Result<()> {
        let report = self.output_options.report().with(self.voice);
        let pulled = pull(&self.request()?, report.observer())?;
        report.pulled(&pulled)
    }

    /// What the argument names. What is on this host is asked for by a prefix.
    pub(super) fn reference(&self) -> Result<ImageReference> {
        let parsed = ImageReference::parse(&self.source);
        match (&parsed, self.unprefixed()) {
            (Err(_), Some(words)) => {
                parsed.map_err(|error| error.with_hint(format!("write {words}")))
            }
            (Ok(_), Some(words)) if ImageReference::is_archive(&self.source) => Err(Error::usage(
                format!("{} is a file of this host", shown::bytes(self.source.as_bytes())),
            )
            .with_hint(format!("write {words}, or docker:// before an image in a registry"))),
            _ => parsed,
        }
    }

    /// How a source is written that was given by its path alone.
    pub(super) fn unprefixed(&self) -> Option<String> {
        match ImageReference::parse(&self.source) {
            Ok(reference) if reference.is_local() => None,
            _ if self.names_a_registry() => None,
            _ => words_for(Path::new(&self.source), &Limits::default().layer),
        }
    }

    /// Whether a registry has the image.
    pub(super) fn asks_a_registry(&self) -> bool {
        ImageReference::parse(&self.source).is_ok_and(|reference| !reference.is_local())
    }

    /// Whether the argument says that a registry has the image.
    pub(super) fn names_a_registry(&self) -> bool {
        self.source.as_bytes().starts_with(b"docker://")
    }

    /// The source as it was given, for people.
    pub(super) fn source(&self) -> String {
        shown::bytes(self.source.as_bytes()).to_string()
    }

    fn request(self) -> Result<Request> {
        let reference = self.reference()?;
        self.source_options.suits(&reference)?;
        let owners = self.owners.owners(&reference)?;
        let output = match self.output {
            Some(output) => output,
            None => PathBuf::from(reference.default_output_name()?),
        };
        refuse_standard_output(&output)?;
        let (given, usual) = (self.disk.given_size(), self.disk.size());
        let mut disk = DiskSpec {
            output,
            target: OutputTarget::File,
            replace: self.force,
            size: usual,
            filesystem: self.disk.options()?,
            root: Root::default(),
            interruption: interruption(),
        };
        let kind = fs::metadata(&disk.output).map(|found| found.file_type());
        if kind.is_ok_and(|kind| kind.is_block_device()) {
            // By the rules of disk create: what is there is named and kept without --force.
            let checked = CheckedOutput::look(&disk.output, self.force)?;
            self.device.apply(&mut disk.filesystem);
            disk.size = given.map_or_else(|| size_of_device(&checked, &disk.filesystem), Ok)?;
            disk.target = self.device.target(&checked, self.force);
            disk.output = checked.path;
        }
        self.inject.suits(&reference, self.source_options.registry.reads_standard_input())?;
        let request = self.source_options.request(reference, owners, disk)?;
        Ok(Request {
            additions: self.inject.add,
            overlays: self.inject.overlay,
            guest: self.guest.into(),
            check: self.check,
            ..request
        })
    }
}
