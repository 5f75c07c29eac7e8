//! `--limit NAME=VALUE`: how much an image and the servers that give it may ask for.

use std::str::FromStr;

use Field::{AtMost, U16, U32, U64, Usize, Window};
use Unit::{Bytes, Count};

use crate::error::{Error, Result};
use crate::image::parse_bytes;
use crate::layer::{MAX_SYMLINK, MAX_XATTR, flag as layers};
use crate::shown;
use crate::source::Limits;
use crate::source::limits::flag as documents;

/// What a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Count,
    /// Bytes, which may be written as `512M`.
    Bytes,
}

/// Whose demands a limit bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Image,
    Server,
}

/// Where a limit is kept.
enum Field<'a> {
    U16(&'a mut u16),
    U32(&'a mut u32),
    U64(&'a mut u64),
    /// Not more than a kernel takes.
    AtMost(&'a mut usize, usize),
    Usize(&'a mut usize),
    /// The logarithm of a power of two, from 1 KiB to the 2 GiB that decoders can have.
    Window(&'a mut u32),
}

/// A limit that can be set.
struct Limit {
    name: &'static str,
    whose: Whose,
    unit: Unit,
    meaning: &'static str,
    field: fn(&mut Limits) -> Field<'_>,
}

const fn of_image(
    name: &'static str,
    unit: Unit,
    meaning: &'static str,
    field: fn(&mut Limits) -> Field<'_>,
) -> Limit {
    Limit { name, whose: Whose::Image, unit, meaning, field }
}

const fn of_server(
    name: &'static str,
    unit: Unit,
    meaning: &'static str,
    field: fn(&mut Limits) -> Field<'_>,
) -> Limit {
    Limit { name, whose: Whose::Server, unit, meaning, field }
}

/// All limits that can be set.
const LIMITS: [Limit; 25] = [
    of_image(layers::LAYERS, Count, "layers", |l| U16(&mut l.layer.layers)),
    of_image(layers::BLOB, Bytes, "compressed bytes of a layer", |l| U64(&mut l.layer.blob)),
    of_image(layers::LAYER, Bytes, "uncompressed bytes of a layer", |l| U64(&mut l.layer.layer)),
    of_image(layers::IMAGE, Bytes, "uncompressed bytes of all layers", |l| U64(&mut l.layer.image)),
    of_image(
        layers::RATIO,
        Count,
        "uncompressed bytes for a compressed one, in layers over 1G",
        |l| U64(&mut l.layer.ratio),
    ),
    of_image(
        layers::IGNORED,
        Bytes,
        "bytes of a layer that are of no use, such as what follows its end",
        |l| U64(&mut l.layer.ignored),
    ),
    of_image(layers::WINDOW, Bytes, "the window of zstd or xz, which takes as much memory", |l| {
        Window(&mut l.layer.window_log)
    }),
    of_image(layers::ENTRIES, Count, "entries of all layers", |l| U64(&mut l.layer.entries)),
    of_image(
        layers::METADATA,
        Bytes,
        "bytes of all names, link targets and attributes, which stay in memory",
        |l| U64(&mut l.layer.metadata),
    ),
    of_image(layers::HEADER, Bytes, "bytes of one extended header of an archive", |l| {
        U64(&mut l.layer.extension)
    }),
    of_image(layers::PATH, Bytes, "bytes of a path", |l| Usize(&mut l.layer.path)),
    of_image(
        layers::SYMLINK,
        Bytes,
        "bytes of the target of a symbolic link, not more than a kernel follows",
        |l| AtMost(&mut l.layer.symlink, MAX_SYMLINK),
    ),
    of_image(
        layers::XATTR,
        Bytes,
        "bytes of the value of an attribute, not more than a kernel shows",
        |l| AtMost(&mut l.layer.xattr, MAX_XATTR),
    ),
    of_image(layers::XATTRS, Bytes, "bytes of the attributes of a file", |l| {
        Usize(&mut l.layer.xattrs)
    }),
    of_image(layers::SPARSE, Count, "data segments of a sparse file", |l| {
        Usize(&mut l.layer.sparse_segments)
    }),
    of_image(layers::SYMLINK_DEPTH, Count, "symbolic links in a path", |l| {
        U32(&mut l.layer.symlink_depth)
    }),
    of_image(
        layers::TRAVERSALS,
        Count,
        "directories that symbolic links lead through, all paths together",
        |l| U64(&mut l.layer.traversals),
    ),
    of_image(documents::MANIFEST, Bytes, "bytes of an index or a manifest", |l| {
        U64(&mut l.manifest)
    }),
    of_image(documents::CONFIG, Bytes, "bytes of a config", |l| U64(&mut l.config)),
    of_image(
        documents::LIST,
        Bytes,
        "bytes of the list of images in a layout or an archive",
        |l| U64(&mut l.list),
    ),
    of_image(documents::ENTRIES, Count, "entries of an index, and images in an archive", |l| {
        Usize(&mut l.entries)
    }),
    of_image(
        documents::NESTING,
        Count,
        "indexes that lead to one another",
        |l| U16(&mut l.nesting),
    ),
    of_server(documents::TOKEN, Bytes, "bytes of a token server's answer", |l| U64(&mut l.token)),
    of_server(documents::REFUSAL, Bytes, "bytes that are read of a server's error", |l| {
        U64(&mut l.refusal)
    }),
    of_server(documents::REDIRECTS, Count, "redirects of a request", |l| U16(&mut l.redirects)),
];

/// A limit that was set on the command line.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    limit: &'static Limit,
    value: u64,
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.limit.name, self.value)
    }
}

impl FromStr for Setting {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Error::usage(format!("\"{}\" is not NAME=VALUE", shown::text(text)))
                .with_hint("banger help limits lists the names"));
        };
        let Some(limit) = LIMITS.iter().find(|limit| limit.name == name) else {
            return Err(Error::usage(format!("there is no limit \"{}\"", shown::text(name)))
                .with_hint("banger help limits lists them"));
        };
        let value = match limit.unit {
            Bytes => parse_bytes(value)?,
            Count => value.parse().map_err(|_| {
                Error::usage(format!("\"{}\" is not a whole number", shown::text(value)))
            })?,
        };
        let setting = Self { limit, value };
        setting.apply(&mut Limits::default())?;
        Ok(setting)
    }
}

impl Setting {
    /// Sets the limit.
    pub(super) fn apply(self, limits: &mut Limits) -> Result<()> {
        let Self { limit, value } = self;
        let most = |most: u64| {
            let name = limit.name;
            Error::usage(format!("the limit {name} can be {most} at most, {value} was given"))
        };
        match (limit.field)(limits) {
            U16(field) => *field = u16::try_from(value).map_err(|_| most(u16::MAX.into()))?,
            U32(field) => *field = u32::try_from(value).map_err(|_| most(u32::MAX.into()))?,
            U64(field) => *field = value,
            Usize(field) => {
                *field = usize::try_from(value).map_err(|_| most(u64::from(u32::MAX)))?;
            }
            AtMost(field, kernel) => {
                let value = usize::try_from(value).ok().filter(|value| *value <= kernel);
                let kernel = u64::try_from(kernel).map_err(|_| most(u64::MAX))?;
                *field = value.ok_or_else(|| most(kernel))?;
            }
            Window(field) => *field = window(value)?,
        }
        Ok(())
    }

    /// Whether it bounds what servers ask for, and not what an image does.
    pub(super) fn is_of_servers(self) -> bool {
        self.limit.whose == Whose::Server
    }

    /// The option and the name, as they were given.
    pub(super) fn shown(self) -> String {
        format!("--limit {}", self.limit.name)
    }
}

/// The logarithm of the next power of two.
fn window(bytes: u64) -> Result<u32> {
    let log = bytes.checked_next_power_of_two().map_or(u32::MAX, u64::trailing_zeros);
    if !(10..=31).contains(&log) {
        return Err(Error::usage(format!("a window of {bytes} bytes is not within 1K and 2G")));
    }
    Ok(log)
}

impl Limit {
    /// The value that is taken when no other is given, as it would be written.
    fn default_text(&self) -> String {
        let value = match (self.field)(&mut Limits::default()) {
            U16(field) => u64::from(*field),
            U32(field) => u64::from(*field),
            U64(field) => *field,
            // No host has a usize that is wider.
            Usize(field) | AtMost(field, _) => u64::try_from(*field).unwrap_or(u64::MAX),
            Window(log) => 1 << *log,
        };
        let units = [(30, "G"), (20, "M"), (10, "K")];
        let whole = units.iter().find(|(shift, _)| value > 0 && value % (1 << shift) == 0);
        match whole {
            Some((shift, letter)) if self.unit == Bytes => format!("{}{letter}", value >> shift),
            _ => value.to_string(),
        }
    }
}

/// All limits for people: name and value, and what is limited.
pub(super) fn rows() -> Vec<(String, &'static str)> {
    let row =
        |limit: &Limit| (format!("{:<18}{:>9}", limit.name, limit.default_text()), limit.meaning);
    LIMITS.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(text: &str) -> Limits {
        let mut limits = Limits::default();
        let setting: Setting = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        setting.apply(&mut limits).unwrap();
        limits
    }

    #[test]
    fn every_limit_has_a_name_of_its_own_and_a_field_of_its_own() {
        for (number, limit) in LIMITS.iter().enumerate() {
            let changed = limits(&format!("{}=1234", limit.name));
            assert_ne!(changed, Limits::default(), "{}", limit.name);
            for other in &LIMITS[..number] {
                assert_ne!(other.name, limit.name);
                assert_ne!(changed, limits(&format!("{}=1234", other.name)), "{}", limit.name);
            }
        }
    }

    #[test]
    fn the_values_that_the_table_shows_are_those_that_are_taken() {
        let rows = rows();
        assert_eq!(rows.len(), LIMITS.len());
        for (row, _) in rows {
            let words: Vec<&str> = row.split_whitespace().collect();
            assert_eq!(limits(&words.join("=")), Limits::default(), "{row}");
        }
    }

    #[test]
    fn a_value_that_cannot_be_is_refused_with_the_largest_that_can() {
        for (text, told) in [
            ("link=4096", "4095 at most"),
            ("xattr-value=65537", "65536 at most"),
            ("layers=65536", "65535 at most"),
            ("window=1", "not within 1K and 2G"),
            ("window=3G", "not within 1K and 2G"),
            ("window=1.5", "not a size"),
            ("layers=1K", "not a whole number"),
            ("layers=-1", "not a whole number"),
            ("layers", "not NAME=VALUE"),
            ("max-layers=1", "no limit \"max-layers\""),
            ("=1", "no limit \"\""),
        ] {
            let error = text.parse::<Setting>().unwrap_err();
            assert_eq!(error.exit_code(), 2, "{text}");
            assert!(error.to_string().contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn windows_are_rounded_up_to_a_power_of_two() {
        assert_eq!(limits("window=100M").layer.window_log, 27);
        assert_eq!(limits("window=2G").layer.window_log, 31);
    }
}
