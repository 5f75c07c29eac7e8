//! The arguments of the examples, as `mke2fs` and `banger` take them, and the file that they make.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ext4_writer::{Builder, FileSink, Options, Profile, Size, Summary};
use tempfile::NamedTempFile;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

pub(crate) const HELP: &str = "\
options:
  --profile NAME       default, max, linux-4.14, grub-2.06, read-only
  -O [^]FEATURE[,...]  features to add or to leave out
  --size SIZE          4G, fit, fit+512M: fixed, or the smallest with so much free
  --block-size BYTES   1024, 2048, 4096, ... 65536
  --inode-size BYTES   128, 256, 512, 1024
  --label NAME         at most 16 bytes";

/// Says what went wrong, in one line but for the help.
pub(crate) fn exit(result: Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    match writeln!(io::stderr(), "{error}") {
        // Nobody is there to be told more.
        Ok(()) | Err(_) => ExitCode::FAILURE,
    }
}

/// The free bytes for which a fitted image gets a free inode.
const BYTES_PER_INODE: u64 = 8 << 10;

/// The arguments that a command line had.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    /// Those that are no option.
    pub(crate) paths: Vec<OsString>,
    profile: Profile,
    features: Vec<String>,
    size: Option<Size>,
    block_size: Option<u32>,
    inode_size: Option<u16>,
    label: Option<String>,
}

impl Arguments {
    /// Reads the command line.
    pub(crate) fn read(mut given: impl Iterator<Item = OsString>) -> Result<Self> {
        let mut arguments = Self::default();
        while let Some(argument) = given.next() {
            let Some(option) = argument.to_str().filter(|argument| argument.starts_with('-'))
            else {
                arguments.paths.push(argument);
                continue;
            };
            let value = given.next().ok_or_else(|| format!("{option} needs a value"))?;
            let value = value.to_str().ok_or_else(|| format!("{option}: not UTF-8"))?;
            arguments.take(option, value).map_err(|error| format!("{option} {value}: {error}"))?;
        }
        Ok(arguments)
    }

    fn take(&mut self, option: &str, value: &str) -> Result<()> {
        match option {
            "--profile" => {
                self.profile = Profile::by_name(value).ok_or("there is no such profile")?;
            }
            "-O" => self.features.push(value.to_owned()),
            "--size" => self.size = Some(size(value)?),
            "--block-size" => self.block_size = Some(value.parse()?),
            "--inode-size" => self.inode_size = Some(value.parse()?),
            "--label" => self.label = Some(value.to_owned()),
            _ => return Err("there is no such option".into()),
        }
        Ok(())
    }

    /// The options of the library, for the size in a place if it has one.
    pub(crate) fn options(&self, place: Option<&OsStr>) -> Result<Options> {
        let of_place = match place {
            Some(place) => Some(size(place.to_str().ok_or("the size is not UTF-8")?)?),
            None => None,
        };
        let smallest = Size::Fit { free_bytes: 0, free_inodes: 0 };
        let mut options = Options::for_profile(self.profile, smallest);
        options.size = match (self.size, of_place) {
            (Some(_), Some(_)) => return Err("the size is given twice".into()),
            (size, of_place) => size.or(of_place).unwrap_or(options.size),
        };
        // One list, as with mke2fs: what is asked for in one word is not lost by another.
        options.features = options.features.changed(&self.features.join(","))?;
        options.block_size = self.block_size.unwrap_or(options.block_size);
        options.inode_size = self.inode_size.unwrap_or(options.inode_size);
        options.label = self.label.clone().unwrap_or_default().into_bytes();
        Ok(options)
    }
}

/// A size such as `4G`, `fit` or `fit+512M`.
fn size(text: &str) -> Result<Size> {
    let Some(rest) = text.strip_prefix("fit") else { return Ok(Size::Fixed(bytes(text)?)) };
    let free_bytes = match rest.strip_prefix('+') {
        Some(room) => bytes(room)?,
        None if rest.is_empty() => 0,
        None => return Err("a size is 4G, fit or fit+512M".into()),
    };
    let free_inodes = u32::try_from(free_bytes / BYTES_PER_INODE).unwrap_or(u32::MAX);
    Ok(Size::Fit { free_bytes, free_inodes })
}

/// Bytes with an optional unit, a power of 1,024.
fn bytes(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let shift = match text.strip_prefix(digits) {
        Some("") => 0,
        Some("K") => 10,
        Some("M") => 20,
        Some("G") => 30,
        Some("T") => 40,
        _ => return Err("a unit is K, M, G or T".into()),
    };
    let number: u64 = digits.parse()?;
    number.checked_mul(1 << shift).ok_or_else(|| "more than 64 bits of bytes".into())
}

/// An image that has its name only when it is finished.
pub(crate) struct Image {
    file: NamedTempFile,
    path: PathBuf,
}

impl Image {
    /// Begins an image that is to be at `path`.
    pub(crate) fn create(path: &OsStr) -> Result<Self> {
        let path = PathBuf::from(path);
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut file = tempfile::Builder::new();
        // Less the umask, as any new file.
        file.permissions(Permissions::from_mode(0o666));
        let file = file
            .tempfile_in(directory)
            .map_err(|error| format!("cannot create a file in {}: {error}", directory.display()))?;
        Ok(Self { file, path })
    }

    /// A builder that writes to it.
    pub(crate) fn builder(&self, options: Options) -> Result<Builder<FileSink>> {
        Ok(Builder::create(FileSink::new(self.file.reopen()?)?, options)?)
    }

    /// Finishes the filesystem, gives the file its name and says what is in it.
    pub(crate) fn finish(self, builder: Builder<FileSink>) -> Result<()> {
        let (summary, _): (Summary, FileSink) = builder.finish()?;
        let _: File = self.file.persist(&self.path)?;
        writeln!(
            io::stdout(),
            "{}: {} bytes in {} blocks of {}, {} free; {} inodes, {} free; {} bytes written",
            self.path.display(),
            summary.size,
            summary.blocks,
            summary.block_size,
            summary.free_blocks,
            summary.inodes,
            summary.free_inodes,
            summary.written
        )?;
        Ok(())
    }
}
