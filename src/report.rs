//! What happens and what came of it, as text or JSON; the only file that prints.

pub mod cache;
mod check;
pub mod disk;
mod lint;
pub mod look;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use crate::error::{Error, Result};
use crate::flatten::{Bounded, Remark};
use crate::lint::Finding;

pub use lint::Linted;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document on standard output, whatever happens.
    Json,
}

/// The voice of a command: progress and warnings on standard error, the result on standard
/// output.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    format: Format,
    quiet: bool,
}

/// How often a terminal's progress line is drawn again.
const REDRAW: Duration = Duration::from_millis(100);

impl Report {
    /// A voice that prints in this format, and nothing but results and errors when quiet.
    #[must_use]
    pub fn new(format: Format, quiet: bool) -> Self {
        Self { format, quiet }
    }

    /// Says what is being done now.
    pub fn step(self, line: &str) {
        if !self.quiet && self.format == Format::Text {
            say(&format!("banger: {line}"));
        }
    }

    /// Says what was passed over.
    pub fn notices(self, lines: &[String]) {
        for line in lines {
            self.warn(line);
        }
    }

    /// Says that something went wrong which may yet come right.
    pub fn warn(self, line: &str) {
        self.step(&format!("warning: {line}"));
    }

    /// Shows how far long work has come: one changing line on a terminal, plain lines elsewhere.
    #[must_use]
    pub fn progress(self, total: u64) -> Progress {
        let report = self;
        let shown = !self.quiet && self.format == Format::Text && io::stderr().is_terminal();
        if !shown {
            return Progress { bar: ProgressBar::hidden(), report };
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let template = "{wide_bar} {binary_bytes}/{binary_total_bytes} {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(REDRAW);
        Progress { bar, report }
    }

    /// Prints the result of a pull.
    pub fn pulled(self, pulled: &Pulled) -> Result<()> {
        self.result(pulled, || pulled.text())
    }

    /// Prints the result of the demonstration.
    pub fn demonstrated(self, demonstrated: &Demonstrated) -> Result<()> {
        self.result(demonstrated, || demonstrated.text())
    }

    /// Prints the result of a check of credentials.
    pub fn checked(self, checked: &Checked) -> Result<()> {
        self.result(checked, || checked.text())
    }

    /// Prints why a command failed.
    pub fn failed(self, error: &Error) {
        if self.format == Format::Text {
            say(&format!("banger: {error}"));
            return;
        }
        let document = json!({ "error": described(error) });
        // A standard output that cannot be written to leaves the exit code to tell.
        let _ = print(&format!("{document:#}"));
    }

    fn result<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> Result<()> {
        let document = match self.format {
            Format::Text => text(),
            Format::Json => serde_json::to_string_pretty(value)
                .map_err(|error| Error::internal("cannot write the report").with_source(error))?,
        };
        print(&document)
            .map_err(|error| Error::io("cannot write to standard output").with_source(error))
    }
}

/// A progress line; gone when it is dropped.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    report: Report,
}

impl Progress {
    /// Shows what is being worked on.
    pub fn now(&self, what: &str) {
        if self.bar.is_hidden() {
            self.report.step(what);
        } else {
            self.bar.set_message(what.to_owned());
        }
    }

    /// Says what [`Report::warn`] says, above the line; for any thread.
    pub fn warner(&self) -> impl Fn(&str) + Send + use<> {
        let (bar, report) = (self.bar.clone(), self.report);
        move |line: &str| bar.suspend(|| report.warn(line))
    }

    /// Counts so many bytes as done.
    pub fn advance(&self, count: u64) {
        self.bar.inc(count);
    }

    /// The same reader; what is read from it counts as done.
    pub fn watch<R: Read>(&self, reader: R) -> impl Read + use<R> {
        self.bar.wrap_read(reader)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// An error for machines.
fn described(error: &Error) -> serde_json::Value {
    json!({
        "kind": error.kind().name(),
        "message": error.message(),
        "hint": error.hint(),
        "exit_code": error.exit_code(),
    })
}

fn say(line: &str) {
    // There is no third place to complain about a standard error that is closed.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end())?;
    out.flush()
}

/// The result of `banger image pull`.
#[derive(Clone, Debug, Serialize)]
pub struct Pulled {
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
pub struct LayerLine {
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

/// How much of each kind a tree holds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Kinds {
    /// Regular files.
    pub files: u64,
    /// Bytes in them.
    pub file_bytes: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Hard links.
    pub hard_links: u64,
    /// Devices, pipes and sockets.
    pub special_files: u64,
}

/// What the layers held.
#[derive(Clone, Debug, Serialize)]
pub struct Content {
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

/// The filesystem.
#[derive(Clone, Debug, Serialize)]
pub struct Image {
    /// The file.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// The bytes of a block.
    pub block_size: u64,
    /// The blocks of the filesystem.
    pub blocks: u64,
    /// The blocks that are free, with those for root alone.
    pub free_blocks: u64,
    /// The bytes that an ordinary user can write.
    pub available: u64,
    /// The bytes that were written; all others are holes.
    pub written: u64,
    /// The inodes of the filesystem.
    pub inodes: u32,
    /// The inodes that are free.
    pub free_inodes: u32,
    /// The volume's name.
    pub label: String,
    /// The filesystem's UUID.
    pub uuid: String,
    /// The bytes of the journal.
    pub journal: u64,
    /// Times beyond what ext4 stores that were moved to its limits.
    pub clamped_times: u64,
    /// The features by the names that dumpe2fs gives them.
    pub features: Vec<&'static str>,
}

/// How long everything took, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Stages {
    /// Finding the image and asking for every layer.
    pub resolve: u64,
    /// Fetching, decompressing and placing the layers.
    pub layers: u64,
    /// Writing the filesystem's structures, syncing and naming the file.
    pub finish: u64,
    /// All of it.
    pub total: u64,
}

/// A path and what is to be said of it.
#[derive(Clone, Debug, Serialize)]
pub struct Note {
    /// The path, with bytes that are no plain text escaped.
    pub path: String,
    /// What is to be said.
    pub reason: String,
}

impl Note {
    /// What is to be said of a path, which may be any bytes.
    #[must_use]
    pub fn new(path: &[u8], reason: &str) -> Self {
        Self { path: crate::shown::bytes(&path).to_string(), reason: reason.to_owned() }
    }

    /// Those remarks of a list that were kept.
    #[must_use]
    pub fn all(remarks: &Bounded<Remark>) -> Vec<Self> {
        remarks.items().iter().map(|remark| Self::new(&remark.path, &remark.reason)).collect()
    }
}

/// The result of `banger auth check`, when the registry took what it was shown.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// The image, in full.
    pub reference: String,
    /// The registry.
    pub registry: String,
    /// The file or helper that knew credentials.
    pub source: Option<String>,
    /// What they are; what they say is nobody's business.
    pub kind: Option<&'static str>,
    /// The schemes that the registry asked for; none when it did not ask who we are.
    pub schemes: Vec<String>,
    /// Whether the image is there for us.
    pub exists: bool,
    /// Configuration that was passed over since we may not read it.
    pub notices: Vec<String>,
}

impl Checked {
    fn text(&self) -> String {
        let source = self.source.as_deref().unwrap_or("none found");
        let answer = match (self.schemes.is_empty(), self.source.is_some()) {
            (true, _) => "does not ask who we are",
            (false, true) => "accepted",
            (false, false) => "accepted without credentials",
        };
        let mut text = String::new();
        for (name, value) in [
            ("image", self.reference.as_str()),
            ("credentials", source),
            ("kind", self.kind.unwrap_or("none")),
            ("registry", answer),
            ("found", if self.exists { "yes" } else { "no such image" }),
        ] {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<13}{value}");
        }
        text
    }
}

/// The result of `banger demo`.
#[derive(Clone, Debug, Serialize)]
pub struct Demonstrated {
    /// The pull.
    pub pull: Pulled,
    /// The tree of the image.
    pub tree: Vec<TreeLine>,
}

/// One name of a tree.
#[derive(Clone, Debug, Serialize)]
pub struct TreeLine {
    /// Type and permissions as `ls -l` shows them.
    pub mode: String,
    /// The owner.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// How many names the inode has.
    pub links: u32,
    /// The size in bytes, the device's numbers, or nothing.
    pub size: String,
    /// The path, with bytes that are no plain text escaped.
    pub path: String,
    /// The target of a symbolic link.
    pub target: Option<String>,
    /// The names of its extended attributes.
    pub attributes: Vec<String>,
}

/// How many notes are shown to people; machines get them all.
const NOTES_SHOWN: usize = 10;

impl Pulled {
    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<10}{value}");
        };
        line("image", self.reference.clone());
        match &self.manifest {
            Some(manifest) => line("manifest", manifest.clone()),
            None => line("identity", self.identity.clone()),
        }
        if let Some(platform) = &self.platform {
            line("platform", platform.clone());
        }
        line("layers", self.layers_text());
        line("content", self.content.text());
        line("disk", self.image.text());
        line("time", self.milliseconds.text());
        line("path", self.image.path.clone());
        if let Some(description) = &self.description {
            line("described", description.clone());
        }
        if let Some(words) = &self.kernel_words {
            line("boot with", format!("{words} on the kernel's command line"));
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
            lint::push_findings(&mut findings, &self.findings);
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

impl Kinds {
    fn text(&self) -> String {
        format!(
            "{} files ({}), {} directories, {} symbolic links, {} hard links, {} special",
            self.files,
            bytes(self.file_bytes),
            self.directories,
            self.symlinks,
            self.hard_links,
            self.special_files,
        )
    }
}

impl Content {
    fn text(&self) -> String {
        format!("{}, {} whiteouts", self.kinds.text(), self.whiteouts)
    }
}

impl Image {
    fn text(&self) -> String {
        format!(
            "{} with {} and {} inodes free, UUID {}",
            bytes(self.size),
            bytes(self.available),
            self.free_inodes,
            self.uuid
        )
    }
}

impl Stages {
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

impl Demonstrated {
    fn text(&self) -> String {
        let widest = self.tree.iter().map(|line| line.size.len()).max().unwrap_or_default();
        let mut text = String::new();
        for line in &self.tree {
            let owner = format!("{}:{}", line.uid, line.gid);
            let size = &line.size;
            let _ = write!(text, "{} {:>2} {owner:<10} {size:>widest$} ", line.mode, line.links);
            text.push_str(&line.path);
            if let Some(target) = &line.target {
                let _ = write!(text, " -> {target}");
            }
            if !line.attributes.is_empty() {
                let _ = write!(text, "  [{}]", line.attributes.join(", "));
            }
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.pull.text());
        text.push_str(&next_steps(&self.pull.image.path));
        text
    }
}

fn next_steps(path: &str) -> String {
    format!(
        "
Every owner, mode, link, device and attribute above is in {path}; no mkfs, mount or root made it.
Try next:
  the reference checker agrees:            e2fsck -fn {path}
  look inside:                             banger image ls -l {path} /usr/bin
  let the kernel look:                     sudo mount -o loop,ro {path} /mnt
  a real image from a real registry:       banger image pull debian:bookworm-slim
"
    )
}

fn push_notes(text: &mut String, title: &str, notes: &[Note], total: u64) {
    if total == 0 {
        return;
    }
    let _ = writeln!(text, "{title} ({total}):");
    for note in notes.iter().take(NOTES_SHOWN) {
        let _ = writeln!(text, "  {}: {}", note.path, note.reason);
    }
    if total > u64::try_from(notes.len().min(NOTES_SHOWN)).unwrap_or(u64::MAX) {
        let _ = writeln!(text, "  … (--format json lists them)");
    }
}

/// A number of bytes for people.
fn bytes(number: u64) -> String {
    indicatif::BinaryBytes(number).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_shown_in_seconds() {
        let stages = Stages { resolve: 5, layers: 12_345, finish: 990, total: 13_340 };
        assert_eq!(stages.text(), "13.34 s (resolve 0.00 s, layers 12.34 s, finish 0.99 s)");
    }

    #[test]
    fn a_long_list_of_notes_is_cut_for_people() {
        let note = Note { path: "a".to_owned(), reason: "b".to_owned() };
        let mut text = String::new();
        push_notes(&mut text, "lost", &vec![note; 12], 12);
        assert_eq!(text.lines().count(), 1 + NOTES_SHOWN + 1);
        assert!(text.starts_with("lost (12):\n  a: b\n"));
    }
}
