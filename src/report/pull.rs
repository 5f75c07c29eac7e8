//! What was pulled, as it is printed.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::image::Image;
use super::kinds::Kinds;
use super::lint::push_findings;
use super::notes::{Note, push_notes};
use super::{Report, bytes};
use crate::digest::Digest;
use crate::error::Result;
use crate::flatten::{Counts, Flattened};
use crate::guest::Description;
use crate::layer::LayerTotals;
use crate::lint::Finding;
use crate::pull::Pulled;
use crate::source::{self, Transfer};

impl Report {
    /// Prints the result of a pull.
    pub(crate) fn pulled(self, pulled: &Pulled) -> Result<()> {
        let report = PullReport::new(pulled);
        self.result(&report, || match (self.quiet, self.verbose) {
            (true, _) => report.image.path.clone(),
            (false, verbose) => report.text(verbose) + &report.boot_text(),
        })
    }
}

/// The result of `banger image pull`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PullReport {
    /// What was asked for, in full.
    pub reference: String,
    /// The index that named the manifest.
    pub index: Option<String>,
    /// The digest of the manifest; an archive of docker save and a root filesystem have none.
    pub manifest: Option<String>,
    /// What names the content: the digest of the config, or of a root filesystem.
    pub identity: String,
    /// What the image runs on; a root filesystem does not say.
    pub platform: Option<String>,
    /// Its layers, oldest first.
    pub layers: Vec<LayerLine>,
    /// What the layers held.
    pub content: Content,
    /// The filesystem.
    pub image: Image,
    /// What the kernel has to be told so that the image starts as its config says.
    pub kernel_words: Option<String>,
    /// The file that describes the image.
    pub description: Option<String>,
    /// What would keep the image from booting, or surprise whoever boots it.
    pub findings: Vec<Finding>,
    /// How long everything took, in milliseconds.
    pub milliseconds: Stages,
    /// What the layers hold and the image does not.
    pub losses: Vec<Note>,
    /// How many losses there were; the list ends at some length.
    pub losses_total: u64,
    /// What the image holds, though hardly anybody can have meant it.
    pub warnings: Vec<Note>,
    /// How many warnings there were; the list ends at some length.
    pub warnings_total: u64,
    /// Symbolic links of lower layers that entries of upper layers were placed through.
    pub followed_symlinks: Vec<Note>,
    /// How many of them there were; the list ends at some length.
    pub followed_symlinks_total: u64,
    /// Symbolic links of lower layers that directories of upper layers hide.
    pub hidden_symlinks: Vec<Note>,
    /// How many of them there were; the list ends at some length.
    pub hidden_symlinks_total: u64,
    /// Configuration that was passed over since we may not read it.
    pub notices: Vec<String>,
}

/// A layer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LayerLine {
    /// The digest of the blob, when the image promises one.
    pub digest: Option<String>,
    /// The digest of the archive in it: the one that the image promises, or the one that names a
    /// root filesystem.
    pub diff_id: Option<String>,
    /// How it was compressed.
    pub compression: String,
    /// The bytes of the blob.
    pub compressed: u64,
    /// The bytes of the archive.
    pub uncompressed: u64,
}

impl LayerLine {
    fn all(image: &source::Image, layers: &[LayerTotals]) -> Vec<Self> {
        let line = |(number, totals): (usize, &LayerTotals)| {
            let layer = image.layers.get(number);
            let promised = layer.and_then(|layer| layer.diff_id.as_ref());
            Self {
                digest: layer.map(|layer| layer.digest.to_string()),
                diff_id: promised.or(totals.digest.as_ref()).map(ToString::to_string),
                compression: totals.compression.to_string(),
                compressed: totals.compressed,
                uncompressed: totals.uncompressed,
            }
        };
        layers.iter().enumerate().map(line).collect()
    }
}

/// What the layers held.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Content {
    /// Entries of all kinds.
    pub entries: u64,
    /// What they are.
    #[serde(flatten)]
    pub kinds: Kinds,
    /// Whiteouts, opaque ones too.
    pub whiteouts: u64,
    /// Bytes fetched from the registry.
    pub fetched: u64,
    /// Bytes that were in the cache already.
    pub cached: u64,
}

/// How long everything took, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Stages {
    /// Finding the image and asking for every layer.
    pub resolve: u64,
    /// Fetching, decompressing and placing the layers.
    pub layers: u64,
    /// Writing the filesystem's structures, syncing and naming the file.
    pub finish: u64,
    /// All of it.
    pub total: u64,
}

impl PullReport {
    pub(super) fn new(pulled: &Pulled) -> Self {
        let Pulled { source, built, .. } = pulled;
        let Flattened { losses, warnings, followed, hidden, .. } = &built.flattened;
        let text = |digest: &Digest| digest.to_string();
        let description = built.description.as_ref();
        let kernel_words = description.and_then(Description::kernel_words);
        Self {
            reference: source.reference.clone(),
            index: source.index_digest.as_ref().map(text),
            manifest: source.manifest_digest.as_ref().map(text),
            identity: built.identity.to_string(),
            platform: source.platform.as_ref().map(ToString::to_string),
            layers: LayerLine::all(source, &built.layers),
            content: Content::new(&built.flattened.counts, pulled.transfer),
            image: Image::new(&built.path, &built.summary, &pulled.label),
            kernel_words: kernel_words.map(ToOwned::to_owned),
            description: built.described.as_ref().map(|path| path.display().to_string()),
            findings: pulled.findings.clone(),
            milliseconds: Stages::new(pulled),
            losses: Note::all(losses),
            losses_total: losses.total(),
            warnings: Note::all(warnings),
            warnings_total: warnings.total(),
            followed_symlinks: Note::links(followed),
            followed_symlinks_total: followed.total(),
            hidden_symlinks: Note::links(hidden),
            hidden_symlinks_total: hidden.total(),
            notices: pulled.warnings.clone(),
        }
    }

    /// The words for a kernel that has the image as its first disk.
    fn boot_text(&self) -> String {
        let is_read_only = !self.image.features.iter().any(|name| name == "has_journal");
        let mode = if is_read_only { "ro" } else { "rw" };
        let start = self.kernel_words.as_ref().map(|words| format!(" {words}"));
        let words = format!("root=/dev/vda {mode} console=ttyS0{}", start.unwrap_or_default());
        format!("{:<10}a kernel of your own with: {words}\n", "boot")
    }

    /// What people read: the image, its size and where it is, or all that is known.
    pub(super) fn text(&self, verbose: bool) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<10}{value}");
        };
        line("image", self.reference.clone());
        if verbose {
            match &self.manifest {
                Some(manifest) => line("manifest", manifest.clone()),
                None => line("identity", self.identity.clone()),
            }
            if let Some(platform) = &self.platform {
                line("platform", platform.clone());
            }
            line("layers", self.layers_text());
            line("content", self.content.text());
        }
        line("disk", self.image.text());
        if verbose {
            line("time", self.milliseconds.text());
        }
        line("path", self.image.path.clone());
        if verbose {
            line("features", self.image.features.join(" "));
        }
        if let Some(description) = &self.description {
            line("described", description.clone());
        }
        for (title, notes, total) in [
            ("not in the image", &self.losses, self.losses_total),
            ("warnings", &self.warnings, self.warnings_total),
            ("followed symbolic links", &self.followed_symlinks, self.followed_symlinks_total),
            ("hidden symbolic links", &self.hidden_symlinks, self.hidden_symlinks_total),
        ] {
            push_notes(&mut text, title, notes, total);
        }
        if !self.findings.is_empty() {
            let _ = writeln!(text, "before it boots ({}):", self.findings.len());
            let mut findings = String::new();
            push_findings(&mut findings, &self.findings);
            for line in findings.lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
        text
    }

    fn layers_text(&self) -> String {
        let compressed = self.layers.iter().map(|layer| layer.compressed).sum();
        let uncompressed = self.layers.iter().map(|layer| layer.uncompressed).sum();
        format!(
            "{} ({}, unpacked {}; fetched {}, cached {})",
            self.layers.len(),
            bytes(compressed),
            bytes(uncompressed),
            bytes(self.content.fetched),
            bytes(self.content.cached),
        )
    }
}

impl Content {
    fn new(counts: &Counts, transfer: Transfer) -> Self {
        Self {
            entries: counts.entries,
            kinds: Kinds {
                files: counts.files,
                file_bytes: counts.file_bytes,
                directories: counts.directories.saturating_add(counts.implied_directories),
                symlinks: counts.symlinks,
                hard_links: counts.hard_links,
                special_files: counts.special_files,
            },
            whiteouts: counts.whiteouts.saturating_add(counts.opaque_whiteouts),
            fetched: transfer.fetched,
            cached: transfer.cached,
        }
    }

    fn text(&self) -> String {
        format!("{}, {} whiteouts", self.kinds.text(), self.whiteouts)
    }
}

impl Stages {
    fn new(pulled: &Pulled) -> Self {
        let milliseconds =
            |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            resolve: milliseconds(pulled.resolving),
            layers: milliseconds(pulled.built.flattening),
            finish: milliseconds(pulled.built.finishing),
            total: milliseconds(pulled.total),
        }
    }

    fn text(self) -> String {
        let seconds = |milliseconds: u64| {
            format!("{}.{:02} s", milliseconds / 1000, milliseconds % 1000 / 10)
        };
        format!(
            "{} (resolve {}, layers {}, finish {})",
            seconds(self.total),
            seconds(self.resolve),
            seconds(self.layers),
            seconds(self.finish)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_shown_in_seconds() {
        let stages = Stages { resolve: 5, layers: 12_345, finish: 990, total: 13_340 };
        assert_eq!(stages.text(), "13.34 s (resolve 0.00 s, layers 12.34 s, finish 0.99 s)");
    }
}
