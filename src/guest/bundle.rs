//! Bundles of a guest's agents: files below `rootfs/`, and in `guest.toml` the units of systemd
//! that are to be enabled.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use serde::Deserialize;

use super::units::{UnitToEnable, enable};
use crate::error::{Error, Result};
use crate::flatten::{Flattener, ReadableTarget, Target};
use crate::inject::{Adding, Addition, TreeHasher, add_below, open_overlay};
use crate::layer::{Archive, Entry, EntryKind, Limits};
use crate::open;
use crate::shown;

/// What a bundle may have at its top.
const MANIFEST: &str = "guest.toml";
const FILES: &str = "rootfs";
/// The longest manifest that is read.
const MAX_MANIFEST: u64 = 64 << 10;
/// The most units that one bundle enables.
const MAX_UNITS: usize = 1000;

/// A directory or an archive of agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    path: PathBuf,
}

/// `guest.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    #[serde(default)]
    enable: Vec<Unit>,
}

/// A unit to enable: where its file says, or where the manifest does.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a unit is a name, or has unit and wanted-by")]
enum Unit {
    Name(String),
    Wanted(Named),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Named {
    unit: String,
    wanted_by: String,
}

impl Bundle {
    /// The bundle at a path: a directory, or an archive of one, compressed or not.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Its name, without the directories that it is in.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or(self.path.as_os_str())
    }

    /// Fails when it cannot be read, before any long work.
    pub fn check(&self, limits: &Limits) -> Result<()> {
        if self.is_directory()? {
            return self.top().and_then(|()| self.manifest()).map(drop);
        }
        open_overlay(&self.path, limits).map(drop)
    }

    /// Puts its files into the image as one layer, all of them root's, and enables its units.
    pub(super) fn apply<T: ReadableTarget>(
        &self,
        image: &mut Flattener<'_, T>,
        limits: &Limits,
        adding: &mut Adding<'_>,
    ) -> Result<()> {
        image.begin_addition(&format!("the guest bundle {}", self.shown()))?;
        adding.hasher.field(b"guest")?;
        let manifest = if self.is_directory()? {
            self.top()?;
            let files = self.path.join(FILES);
            if files.is_dir() {
                add_below(image, &Addition::contents(&files), adding)?;
            }
            self.manifest()?
        } else {
            self.unpack(image, limits, adding.hasher)?
        };
        if manifest.enable.len() > MAX_UNITS {
            let count = manifest.enable.len();
            return Err(self.refuse(format!("it enables {count} units, {MAX_UNITS} are the most")));
        }
        let units = manifest.enable.into_iter().map(|unit| match unit {
            Unit::Name(unit) => UnitToEnable { unit, by: None },
            Unit::Wanted(Named { unit, wanted_by }) => UnitToEnable { unit, by: Some(wanted_by) },
        });
        let units: Vec<UnitToEnable> = units.collect();
        for UnitToEnable { unit, by } in &units {
            adding.hasher.field(b"unit")?;
            adding.hasher.field(unit.as_bytes())?;
            adding.hasher.field(by.as_deref().unwrap_or_default().as_bytes())?;
        }
        enable(image, &self.shown(), units, adding.epoch)?;
        image.end_layer()
    }

    fn is_directory(&self) -> Result<bool> {
        self.host("read", fs::metadata(&self.path)).map(|found| found.is_dir())
    }

    /// Refuses a directory with anything but a bundle's parts: a tree given in its place would
    /// otherwise be left out in silence.
    fn top(&self) -> Result<()> {
        let mut is_empty = true;
        for entry in self.host("read", fs::read_dir(&self.path))? {
            let name = self.host("read", entry)?.file_name();
            let found = self.host("read", fs::metadata(self.path.join(&name)));
            if name == FILES {
                if !found?.is_dir() {
                    return Err(self.refuse(format!("its {FILES} is no directory")));
                }
            } else if name == MANIFEST {
                if !found?.is_file() {
                    return Err(self.refuse(format!("its {MANIFEST} is no file")));
                }
            } else {
                return Err(self.stranger(name.as_bytes()));
            }
            is_empty = false;
        }
        if is_empty { Err(self.nothing()) } else { Ok(()) }
    }

    fn nothing(&self) -> Error {
        self.refuse(format!("it has neither {MANIFEST} nor {FILES}/"))
    }

    fn manifest(&self) -> Result<Manifest> {
        let path = self.path.join(MANIFEST);
        if !path.exists() {
            return Ok(Manifest::default());
        }
        self.parse(&mut self.host("read", open::regular(&path))?)
    }

    fn parse(&self, reader: &mut dyn Read) -> Result<Manifest> {
        let mut text = String::new();
        let read = reader.take(MAX_MANIFEST + 1).read_to_string(&mut text);
        let length = read.map_err(|error| self.refuse(MANIFEST).with_source(error))?;
        if u64::try_from(length).unwrap_or(u64::MAX) > MAX_MANIFEST {
            return Err(self.refuse(format!("{MANIFEST} has over {MAX_MANIFEST} bytes")));
        }
        toml::from_str(&text).map_err(|error| {
            // One line: what, and where.
            let why = error.message().replace('\n', " ");
            let line = error.span().map(|span| text.get(..span.start).unwrap_or_default());
            let line = line.map_or(0, |before| before.split('\n').count());
            self.refuse(format!("line {line} of {MANIFEST}: {why}"))
                .with_hint("write enable = [\"NAME.service\", { unit = \"…\", wanted-by = \"…\" }]")
        })
    }

    /// Applies the entries of an archive, whose paths begin with `rootfs/`.
    fn unpack<T: Target>(
        &self,
        image: &mut Flattener<'_, T>,
        limits: &Limits,
        hasher: &mut TreeHasher,
    ) -> Result<Manifest> {
        let stream = open_overlay(&self.path, limits)?;
        let mut archive = Archive::new(stream, self.shown(), limits);
        let (mut manifest, mut has_files) = (None, false);
        while let Some(mut entry) = archive.next_entry()? {
            let path = clean(&entry.path);
            if path == MANIFEST.as_bytes() && entry.kind == EntryKind::Regular {
                manifest = Some(self.parse(&mut archive.body())?);
                continue;
            }
            if path.is_empty() {
                continue;
            }
            has_files = true;
            entry.path = below(path).ok_or_else(|| self.stranger(path))?.to_vec();
            if entry.kind == EntryKind::HardLink {
                let target = clean(&entry.link);
                entry.link = below(target).ok_or_else(|| self.stranger(target))?.to_vec();
            }
            if entry.path.split(|byte| *byte == b'/').any(|part| part.starts_with(b".wh.")) {
                let shown = crate::shown::bytes(&entry.path);
                return Err(self.refuse(format!(
                    "\"{shown}\" would hide another file: in a layer that is what .wh. means"
                )));
            }
            let is_known =
                entry.kind == EntryKind::Directory && image.has_directory(&entry.path)?;
            if !is_known {
                image.apply(&owned_by_root(entry), &mut archive.body())?;
            }
        }
        let totals = archive.into_inner().finish()?;
        hasher.archive(b"archive", totals.digest.as_ref())?;
        match manifest {
            None if !has_files => Err(self.nothing()),
            manifest => Ok(manifest.unwrap_or_default()),
        }
    }

    fn stranger(&self, name: &[u8]) -> Error {
        let name = crate::shown::bytes(&name);
        self.refuse(format!("it has \"{name}\" beside {MANIFEST} and {FILES}/"))
            .with_hint(format!("put files that belong into the image below {FILES}/"))
    }

    fn refuse(&self, why: impl AsRef<str>) -> Error {
        Error::bad_data(format!("cannot take the guest bundle {}: {}", self.shown(), why.as_ref()))
    }

    fn shown(&self) -> String {
        shown::path(&self.path)
    }

    fn host<T>(&self, verb: &str, result: io::Result<T>) -> Result<T> {
        result.map_err(|error| {
            let message = format!("cannot {verb} the guest bundle {}", self.shown());
            Error::of_file(message, error)
        })
    }
}

/// A path without what archivers put before it and after it.
fn clean(path: &[u8]) -> &[u8] {
    let mut path = path;
    while let Some(rest) = path.strip_prefix(b"./").or_else(|| path.strip_prefix(b"/")) {
        path = rest;
    }
    let path = path.strip_suffix(b"/").unwrap_or(path);
    if path == b"." { b"" } else { path }
}

/// What of a path is below the bundle's files; the directory itself is the root.
fn below(path: &[u8]) -> Option<&[u8]> {
    let rest = path.strip_prefix(FILES.as_bytes())?;
    if rest.is_empty() { Some(b"/") } else { rest.strip_prefix(b"/") }
}

fn owned_by_root(entry: Entry) -> Entry {
    Entry { uid: 0, gid: 0, ..entry }
}
