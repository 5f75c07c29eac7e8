//! How much the documents of an image, and the servers that give them, may ask of us.

use crate::error::Error;
use crate::layer;

/// The bounds of one image. The error of each names the limit, see [`flag`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an index or a manifest (containerd and containers/image: 4 MiB).
    pub manifest: u64,
    /// Bytes of a config.
    pub config: u64,
    /// Bytes of the list of images in a layout or in an archive of docker save.
    pub list: u64,
    /// Entries of an index, and images in such a list.
    pub entries: usize,
    /// Indexes that lead to one another.
    pub nesting: u16,
    /// Bytes of a token server's answer.
    pub token: u64,
    /// Bytes that are read of an answer which is an error.
    pub refusal: u64,
    /// Redirects of one request.
    pub redirects: u16,
    /// The bounds of the layers.
    pub layer: layer::Limits,
}

/// The names of the limits, as `--limit NAME=VALUE` takes them.
pub mod flag {
    pub use crate::layer::flag::{BLOB, LAYERS, raise};

    /// Sets [`Limits::manifest`](super::Limits::manifest).
    pub const MANIFEST: &str = "manifest";
    /// Sets [`Limits::config`](super::Limits::config).
    pub const CONFIG: &str = "config";
    /// Sets [`Limits::list`](super::Limits::list).
    pub const LIST: &str = "archive-index";
    /// Sets [`Limits::entries`](super::Limits::entries).
    pub const ENTRIES: &str = "index-entries";
    /// Sets [`Limits::nesting`](super::Limits::nesting).
    pub const NESTING: &str = "nesting";
    /// Sets [`Limits::token`](super::Limits::token).
    pub const TOKEN: &str = "token";
    /// Sets [`Limits::refusal`](super::Limits::refusal).
    pub const REFUSAL: &str = "error";
    /// Sets [`Limits::redirects`](super::Limits::redirects).
    pub const REDIRECTS: &str = "redirects";
}

impl Default for Limits {
    fn default() -> Self {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;
        Self {
            manifest: 4 * MIB,
            config: 8 * MIB,
            list: 4 * MIB,
            entries: 10_000,
            nesting: 3,
            token: MIB,
            refusal: 64 * KIB,
            redirects: 10,
            layer: layer::Limits::default(),
        }
    }
}

/// How long a document may be, and the limit that says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) bytes: u64,
    name: &'static str,
}

impl Bound {
    /// A bound that cannot be set, since nobody has a reason to.
    pub(super) const fn fixed(bytes: u64) -> Self {
        Self { bytes, name: "" }
    }

    /// An error about this bound.
    pub(super) fn refuse(self, message: String) -> Error {
        let error = Error::bad_data(message);
        if self.name.is_empty() { error } else { error.with_hint(flag::raise(self.name)) }
    }
}

impl Limits {
    pub(super) fn of_manifest(&self) -> Bound {
        Bound { bytes: self.manifest, name: flag::MANIFEST }
    }

    pub(super) fn of_config(&self) -> Bound {
        Bound { bytes: self.config, name: flag::CONFIG }
    }

    pub(super) fn of_list(&self) -> Bound {
        Bound { bytes: self.list, name: flag::LIST }
    }

    pub(super) fn of_token(&self) -> Bound {
        Bound { bytes: self.token, name: flag::TOKEN }
    }

    /// Refuses an index, or a list of images, with too many entries.
    pub(super) fn check_entries(&self, what: &str, count: usize) -> Result<(), Error> {
        let limit = self.entries;
        if count <= limit {
            return Ok(());
        }
        Err(Error::bad_data(format!("{what} has {count} entries, at most {limit} are read"))
            .with_hint(flag::raise(flag::ENTRIES)))
    }

    /// Refuses a document that lists too many layers.
    pub(super) fn check_layers(&self, what: &str, count: usize) -> Result<(), Error> {
        let limit = self.layer.layers;
        if count <= usize::from(limit) {
            return Ok(());
        }
        Err(Error::bad_data(format!("{what} has {count} layers, at most {limit} are read"))
            .with_hint(flag::raise(flag::LAYERS)))
    }

    /// The error of indexes that lead on and on; `what` leads to them.
    pub(super) fn nested_too_deep(&self, what: &str) -> Error {
        let limit = self.nesting;
        Error::bad_data(format!("{what} nests indexes more than {limit} deep"))
            .with_hint(flag::raise(flag::NESTING))
    }
}
