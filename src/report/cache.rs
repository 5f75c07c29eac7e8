//! The results of `banger cache`.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Report, bytes};
use crate::error::Result;

/// How many files, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Amount {
    /// Files.
    pub count: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Amount {
    /// One file more.
    #[must_use]
    pub(crate) fn with(self, size: u64) -> Self {
        Self { count: self.count.saturating_add(1), bytes: self.bytes.saturating_add(size) }
    }

    fn text(self, noun: &str) -> String {
        let plural = if self.count == 1 { "" } else { "s" };
        format!("{} {noun}{plural}, {}", self.count, bytes(self.bytes))
    }
}

/// The result of `banger cache ls`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Listing {
    /// Where the cache is.
    pub path: String,
    /// Its blobs, by digest.
    pub blobs: Vec<BlobLine>,
}

/// A blob of the cache.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BlobLine {
    /// Its digest.
    pub digest: String,
    /// `index`, `manifest`, `config` or `layer`.
    pub kind: &'static str,
    /// Its bytes.
    pub size: u64,
    /// When it was last used.
    pub used: String,
}

/// The result of `banger cache du`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Usage {
    /// Where the cache is.
    pub path: String,
    /// Layers.
    pub layers: Amount,
    /// Configs.
    pub configs: Amount,
    /// Manifests.
    pub manifests: Amount,
    /// Indexes.
    pub indexes: Amount,
    /// Blobs that were set aside.
    pub damaged: Amount,
    /// Blobs that have not arrived as a whole.
    pub unfinished: Amount,
    /// All of them.
    pub total: Amount,
}

/// The result of `banger cache prune`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Pruned {
    /// Where the cache is.
    pub path: String,
    /// What was taken out.
    pub removed: Amount,
    /// What is left.
    pub left: Amount,
}

/// The result of `banger cache verify`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verified {
    /// Where the cache is.
    pub path: String,
    /// The blobs that are what their digests say.
    pub intact: Amount,
    /// The digests of those that are not.
    pub damaged: Vec<String>,
    /// Whether those were set aside, which a cache that may only be read does not allow.
    pub aside: bool,
}

/// The result of `banger cache path`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Location {
    /// Where the cache is, or would be.
    pub path: String,
}

impl Report {
    /// Prints what is in the cache.
    pub(crate) fn listed(self, listing: &Listing) -> Result<()> {
        self.result(listing, || listing.text())
    }

    /// Prints how much space the cache takes.
    pub(crate) fn used(self, usage: &Usage) -> Result<()> {
        self.result(usage, || usage.text())
    }

    /// Prints what was taken out of the cache.
    pub(crate) fn pruned(self, pruned: &Pruned) -> Result<()> {
        self.result(pruned, || {
            let (removed, left) = (pruned.removed.text("file"), pruned.left.text("file"));
            format!("removed {removed}; left {left}")
        })
    }

    /// Prints what of the cache is what it should be.
    pub(crate) fn verified(self, verified: &Verified) -> Result<()> {
        self.result(verified, || verified.text())
    }

    /// Prints where the cache is.
    pub(crate) fn located(self, location: &Location) -> Result<()> {
        self.result(location, || location.path.clone())
    }
}

impl Listing {
    fn text(&self) -> String {
        let sizes: Vec<_> = self.blobs.iter().map(|blob| bytes(blob.size)).collect();
        let widest = sizes.iter().map(String::len).max().unwrap_or_default();
        self.blobs.iter().zip(&sizes).fold(String::new(), |mut text, (blob, size)| {
            // Writing to a String cannot fail.
            let _ =
                writeln!(text, "{:<8}  {size:>widest$}  {}  {}", blob.kind, blob.used, blob.digest);
            text
        })
    }
}

impl Usage {
    fn text(&self) -> String {
        let mut text = String::new();
        for (name, amount) in [
            ("layers", self.layers),
            ("configs", self.configs),
            ("manifests", self.manifests),
            ("indexes", self.indexes),
            ("damaged", self.damaged),
            ("unfinished", self.unfinished),
            ("total", self.total),
        ] {
            let _ = writeln!(text, "{name:<11} {:>7}  {}", amount.count, bytes(amount.bytes));
        }
        let _ = writeln!(text, "{:<11} {}", "path", self.path);
        text
    }
}

impl Verified {
    fn text(&self) -> String {
        let mut text = format!("intact: {}\n", self.intact.text("blob"));
        if !self.damaged.is_empty() {
            let done = if self.aside { "set aside" } else { "left where they are" };
            let _ = writeln!(text, "damaged, {done} ({}):", self.damaged.len());
            for digest in &self.damaged {
                let _ = writeln!(text, "  {digest}");
            }
        }
        text
    }
}
