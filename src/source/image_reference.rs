//! The argument that says where an image comes from: one grammar for every transport.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::reference::without_login;
use super::{Reference, excerpt};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::shown;

/// Where an image comes from.
///
/// The prefixes are those of containers-transports(5): `REF` or `docker://REF`, `oci:DIR[:IMAGE]`,
/// `oci-archive:FILE[:IMAGE]`, `docker-archive:FILE[:IMAGE]`, `docker-daemon:IMAGE`; besides them
/// `tar:FILE`, `dir:PATH` and `ext4:FILE` for a root filesystem, and `-[:IMAGE]` for an archive of
/// either kind on standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageReference {
    /// An image in a registry.
    Registry(Reference),
    /// An OCI image layout in a directory.
    OciDirectory(PathReference),
    /// An OCI image layout in an archive.
    OciArchive(PathReference),
    /// What `docker save` writes.
    DockerArchive(PathReference),
    /// An image of the local Docker daemon.
    DockerDaemon(DaemonImage),
    /// One archive of a root filesystem.
    Tar(PathBuf),
    /// A root filesystem as a directory.
    Directory(PathBuf),
    /// A filesystem in a file or on a block device: ext4, ext3 or ext2.
    Filesystem(PathBuf),
    /// An archive on standard input, of whichever kind, and which of its images is meant.
    Stdin(Option<Choice>),
}

/// A file or directory that may hold several images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathReference {
    /// The file or directory.
    pub path: PathBuf,
    /// Which of its images is meant.
    pub choice: Option<Choice>,
}

/// One image of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The one with this name or tag.
    Name(String),
    /// The one at this place, from 0: `@0`.
    Number(usize),
    /// The one whose manifest has this digest: `@sha256:…`.
    Digest(Digest),
}

/// An image of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DaemonImage {
    /// By name.
    Named(Reference),
    /// By its ID, the digest of its config.
    Id(Digest),
    /// By the beginning of its ID, as `docker images` shows it, or a name that could be one: the
    /// daemon knows.
    Short(String),
}

/// As many digits of an ID as docker and podman show.
const SHORT_ID: usize = 12;

/// The endings of archives that are no part of their names.
const ARCHIVE_ENDINGS: [&str; 11] = [
    ".tar",
    ".tar.gz",
    ".tgz",
    ".tar.zst",
    ".tzst",
    ".tar.zstd",
    ".tar.xz",
    ".txz",
    ".tar.bz2",
    ".tbz2",
    ".tbz",
];

impl ImageReference {
    /// Reads the argument of a command; a path in it need not be UTF-8.
    pub fn parse(argument: &OsStr) -> Result<Self> {
        let bytes = argument.as_bytes();
        if bytes == b"-" {
            return Ok(Self::Stdin(None));
        }
        if let Some(name) = bytes.strip_prefix(b"-:") {
            return Choice::parse(argument, name).map(|choice| Self::Stdin(Some(choice)));
        }
        for (prefix, make) in PATHS {
            if let Some(rest) = bytes.strip_prefix(prefix.as_bytes()) {
                return make(argument, rest);
            }
        }
        let text = argument.to_str().ok_or_else(|| {
            Error::usage(format!(
                "\"{}\" is not an image reference",
                without_login(&shown::bytes(argument.as_bytes()).to_string())
            ))
            .with_hint("an image in a directory is oci:DIR, a root filesystem is dir:PATH")
        })?;
        if let Some(rest) = text.strip_prefix("docker-daemon:") {
            return DaemonImage::parse(rest).map(Self::DockerDaemon);
        }
        if let Some(image) = text.strip_prefix("containers-storage:") {
            return Err(Error::usage(format!("{} is in podman's own store", shown::text(text))).with_hint(
                format!(
                    "docker-daemon:{} with DOCKER_HOST=unix:///run/user/UID/podman/podman.sock asks \
                     podman, and dir:$(buildah mount CONTAINER) takes a root filesystem of buildah's",
                    shown::text(image)
                ),
            ));
        }
        let reference = text.strip_prefix("docker://").unwrap_or(text);
        reference.parse().map(Self::Registry).map_err(|error: Error| match text {
            // Who writes a path means a file.
            _ if text.starts_with(['/', '.']) => error
                .with_hint("local sources are tar:FILE, dir:PATH, oci:DIR, oci-archive:FILE, …"),
            _ => error,
        })
    }

    /// The file name to use when none is given: `<name>-<tag>.ext4`.
    pub fn default_output_name(&self) -> Result<String> {
        let place = |place: &PathReference| match &place.choice {
            Some(Choice::Name(name)) => format!("{}-{}", stem(&place.path), flat(name)),
            Some(Choice::Number(number)) => format!("{}-{number}", stem(&place.path)),
            Some(Choice::Digest(digest)) => format!("{}-{}", stem(&place.path), digest.short()),
            None => stem(&place.path),
        };
        let name = match self {
            Self::Registry(reference) | Self::DockerDaemon(DaemonImage::Named(reference)) => {
                return Ok(reference.default_output_name());
            }
            Self::DockerDaemon(DaemonImage::Id(id)) => id.short().to_owned(),
            Self::DockerDaemon(DaemonImage::Short(word)) => word.clone(),
            Self::OciDirectory(found) | Self::OciArchive(found) | Self::DockerArchive(found) => {
                place(found)
            }
            Self::Tar(path) if path.as_os_str() == "-" => String::new(),
            Self::Tar(path) | Self::Directory(path) => stem(path),
            Self::Stdin(Some(Choice::Name(name))) => flat(name),
            // By its own name a filesystem would be the file that it is made of.
            Self::Stdin(_) | Self::Filesystem(_) => String::new(),
        };
        if name.is_empty() {
            return Err(Error::usage(format!("{self} has no name that the image could have"))
                .with_hint("name the file to write after it"));
        }
        Ok(format!("{name}.ext4"))
    }

    /// Whether an argument ends as the name of an archive does.
    #[must_use]
    pub fn is_archive(argument: &OsStr) -> bool {
        let argument = argument.as_bytes().to_ascii_lowercase();
        ARCHIVE_ENDINGS.iter().any(|ending| argument.ends_with(ending.as_bytes()))
    }

    /// Whether nothing but this host is asked.
    #[must_use]
    pub fn is_local(&self) -> bool {
        !matches!(self, Self::Registry(_))
    }

    /// Whether it is read from standard input.
    #[must_use]
    pub fn is_standard_input(&self) -> bool {
        match self {
            Self::Stdin(_) => true,
            Self::Tar(path) => path.as_os_str() == "-",
            _ => false,
        }
    }

    /// Whether there is a platform to choose or to compare with.
    #[must_use]
    pub fn has_platform(&self) -> bool {
        !matches!(self, Self::Tar(_) | Self::Directory(_) | Self::Filesystem(_))
    }
}

type Make = fn(&OsStr, &[u8]) -> Result<ImageReference>;

/// The transports that name paths, by their prefixes.
const PATHS: [(&str, Make); 6] = [
    ("oci:", |argument, rest| {
        PathReference::parse(argument, rest).map(ImageReference::OciDirectory)
    }),
    ("oci-archive:", |argument, rest| {
        PathReference::parse(argument, rest).map(ImageReference::OciArchive)
    }),
    ("docker-archive:", |argument, rest| {
        PathReference::parse(argument, rest).map(ImageReference::DockerArchive)
    }),
    ("tar:", |argument, rest| path(argument, rest).map(ImageReference::Tar)),
    ("dir:", |argument, rest| path(argument, rest).map(ImageReference::Directory)),
    ("ext4:", |argument, rest| path(argument, rest).map(ImageReference::Filesystem)),
];

impl PathReference {
    /// Reads `PATH[:IMAGE]`. As in skopeo the first colon ends the path: a name may have colons
    /// of its own.
    fn parse(argument: &OsStr, rest: &[u8]) -> Result<Self> {
        let mut parts = rest.splitn(2, |byte| *byte == b':');
        let path = path(argument, parts.next().unwrap_or_default())?;
        let choice = parts.next().map(|name| Choice::parse(argument, name)).transpose()?;
        Ok(Self { path, choice })
    }
}

impl Choice {
    fn parse(argument: &OsStr, name: &[u8]) -> Result<Self> {
        let refuse = |why: &str| {
            Error::usage(format!("cannot understand {}: {why}", shown::bytes(argument.as_bytes())))
        };
        let name = str::from_utf8(name).map_err(|_| refuse("the image's name is not UTF-8"))?;
        match name.strip_prefix('@') {
            _ if name.is_empty() => Err(refuse("no image follows the colon")),
            None => Ok(Self::Name(name.to_owned())),
            Some(digest) if digest.contains(':') => match digest.parse() {
                Ok(digest) => Ok(Self::Digest(digest)),
                Err(error) => Err(refuse(&error.to_string())),
            },
            Some(number) => match number.parse() {
                Ok(number) => Ok(Self::Number(number)),
                Err(_) => Err(refuse("after :@ stands a number from 0, or a digest")),
            },
        }
    }
}

impl DaemonImage {
    fn parse(text: &str) -> Result<Self> {
        if text.starts_with("sha256:") || text.starts_with("sha512:") {
            let id = text.parse();
            return id.map(Self::Id).map_err(|error: Error| Error::usage(error.message()));
        }
        // A bare ID, as docker images prints it in full.
        if let Ok(id) = format!("sha256:{text}").parse::<Digest>() {
            return Ok(Self::Id(id));
        }
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() >= SHORT_ID && text.bytes().all(is_hex) {
            return Ok(Self::Short(text.to_owned()));
        }
        text.parse().map(Self::Named)
    }
}

fn path(argument: &OsStr, bytes: &[u8]) -> Result<PathBuf> {
    if bytes.is_empty() {
        let argument = shown::bytes(argument.as_bytes());
        return Err(Error::usage(format!("{argument} names no file or directory")));
    }
    Ok(PathBuf::from(OsString::from_vec(bytes.to_vec())))
}

/// The last part of a path without the ending of an archive.
fn stem(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let lower = name.to_ascii_lowercase();
    let longest =
        ARCHIVE_ENDINGS.iter().filter(|ending| lower.ends_with(**ending)).max_by_key(|e| e.len());
    match longest {
        Some(ending) => {
            name.get(..name.len().saturating_sub(ending.len())).unwrap_or(&name).to_owned()
        }
        None => name,
    }
}

/// A name as a part of a file's name.
fn flat(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect()
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(&excerpt(name)),
            Self::Number(number) => write!(f, "@{number}"),
            Self::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, path, choice) = match self {
            Self::Registry(reference) => return reference.fmt(f),
            Self::Stdin(None) => return f.write_str("standard input"),
            Self::Stdin(Some(choice)) => return write!(f, "-:{choice}"),
            Self::DockerDaemon(DaemonImage::Named(name)) => {
                return write!(f, "docker-daemon:{name}");
            }
            Self::DockerDaemon(DaemonImage::Id(id)) => return write!(f, "docker-daemon:{id}"),
            Self::DockerDaemon(DaemonImage::Short(word)) => {
                return write!(f, "docker-daemon:{word}");
            }
            Self::OciDirectory(place) => ("oci", &place.path, place.choice.as_ref()),
            Self::OciArchive(place) => ("oci-archive", &place.path, place.choice.as_ref()),
            Self::DockerArchive(place) => ("docker-archive", &place.path, place.choice.as_ref()),
            Self::Tar(path) => ("tar", path, None),
            Self::Directory(path) => ("dir", path, None),
            Self::Filesystem(path) => ("ext4", path, None),
        };
        write!(f, "{prefix}:{}", shown::path(path))?;
        choice.map_or(Ok(()), |choice| write!(f, ":{choice}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ImageReference> {
        ImageReference::parse(OsStr::new(text))
    }

    #[test]
    fn every_origin_has_its_words_and_a_name_for_its_image() {
        let id = format!("docker-daemon:sha256:{}", "e".repeat(64));
        let digest = format!("oci:layout:@sha256:{}", "e".repeat(64));
        for (text, shown, output) in [
            ("alpine", "docker.io/library/alpine:latest", "alpine-latest.ext4"),
            ("docker://alpine:3", "docker.io/library/alpine:3", "alpine-3.ext4"),
            ("oci:a/layout", "oci:a/layout", "layout.ext4"),
            ("oci:layout:v1", "oci:layout:v1", "layout-v1.ext4"),
            (
                "oci:layout:ghcr.io/a/b:v1",
                "oci:layout:ghcr.io/a/b:v1",
                "layout-ghcr.io-a-b-v1.ext4",
            ),
            ("oci:layout:@1", "oci:layout:@1", "layout-1.ext4"),
            (&digest, &digest, "layout-eeeeeeeeeeee.ext4"),
            ("oci-archive:/x/app.tar", "oci-archive:/x/app.tar", "app.ext4"),
            ("docker-archive:app.tar.gz:a:1", "docker-archive:app.tar.gz:a:1", "app-a-1.ext4"),
            ("docker-daemon:a", "docker-daemon:docker.io/library/a:latest", "a-latest.ext4"),
            (&id, &id, "eeeeeeeeeeee.ext4"),
            ("docker-daemon:0123456789ab", "docker-daemon:0123456789ab", "0123456789ab.ext4"),
            (
                "docker-daemon:cafe",
                "docker-daemon:docker.io/library/cafe:latest",
                "cafe-latest.ext4",
            ),
            ("-:app:1", "-:app:1", "app-1.ext4"),
            ("-:ghcr.io/a/b:v1", "-:ghcr.io/a/b:v1", "ghcr.io-a-b-v1.ext4"),
            ("tar:root.TAR.zst", "tar:root.TAR.zst", "root.ext4"),
            ("tar:a:b", "tar:a:b", "a:b.ext4"),
            ("dir:/srv/root/", "dir:/srv/root/", "root.ext4"),
            ("dir:my.tarball", "dir:my.tarball", "my.tarball.ext4"),
        ] {
            let origin = parse(text).unwrap();
            assert_eq!(origin.to_string(), shown, "{text}");
            assert_eq!(origin.default_output_name().unwrap(), output, "{text}");
        }
    }

    #[test]
    fn words_without_sense_are_usage_errors() {
        for text in [
            "oci:",
            "oci::tag",
            "oci:dir:",
            "oci:dir:@",
            "oci:dir:@-1",
            "oci:dir:@sha256:00",
            "tar:",
            "dir:",
            "docker-archive:",
            "docker-daemon:",
            "docker-daemon:UPPER",
            "docker://",
            "",
            "docker-daemon:sha256:00",
            "./rootfs",
            "-:",
            "-:@",
            "-:@x",
            "-x",
            "containers-storage:localhost/app",
        ] {
            assert_eq!(parse(text).unwrap_err().exit_code(), 2, "{text}");
        }
        assert!(parse("./rootfs").unwrap_err().to_string().contains("dir:PATH"));
        let storage = parse("containers-storage:localhost/app:1").unwrap_err();
        for way in ["docker-daemon:localhost/app:1", "podman.sock", "dir:$(buildah mount"] {
            assert!(storage.hint().unwrap().contains(way), "{way}");
        }
    }

    #[test]
    fn what_has_no_name_needs_one_for_its_image() {
        for text in ["-", "-:@0", "dir:/", "dir:..", "tar:.tar", "ext4:disk.ext4"] {
            assert_eq!(
                parse(text).unwrap().default_output_name().unwrap_err().exit_code(),
                2,
                "{text}"
            );
        }
    }

    #[test]
    fn a_path_need_not_be_utf_8() {
        let origin = ImageReference::parse(OsStr::from_bytes(b"dir:/srv/\xff")).unwrap();
        assert_eq!(
            origin,
            ImageReference::Directory(PathBuf::from(OsStr::from_bytes(b"/srv/\xff")))
        );
        assert_eq!(origin.to_string(), "dir:/srv/\\xff");
        let error =
            ImageReference::parse(OsStr::from_bytes(b"user:hunter2@alpine\xff")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert_eq!(parse("dir:it's \u{fc}").unwrap().to_string(), "dir:it's \u{fc}");
    }
}
