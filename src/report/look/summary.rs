//! A filesystem as a whole.

use std::io::{self, Write};

use serde::Serialize;

use super::{Head, Output, document, shown};
use crate::error::Result;
use crate::look::text::{LabelText, LastMountedText};
use crate::look::{Image, Oci, Summary, time_text};
use crate::report::{Format, Report, bytes};

impl Report {
    /// Prints what is known of a filesystem; the exit code.
    pub(crate) fn inspected(self, image: &Image, summary: &Summary) -> Result<u8> {
        let mut out = Self::output();
        let value = Text::new(image, summary);
        let done = match self.format {
            Format::Json => document(&mut out, &value),
            Format::Text => print(&mut out, &value).map_err(Output::unwritten),
        };
        out.end(done.map(|()| 0))
    }
}

#[derive(Serialize)]
struct Text<'a> {
    #[serde(flatten)]
    head: Head,
    #[serde(flatten)]
    label: LabelText,
    uuid: String,
    features: Vec<String>,
    profile: Option<&'static str>,
    size: u64,
    block_size: u64,
    cluster_size: u64,
    inode_size: u64,
    blocks: u64,
    free_blocks: u64,
    reserved_blocks: u64,
    inodes: u32,
    free_inodes: u64,
    groups: u32,
    groups_per_flex: u64,
    journal: Option<u64>,
    state: &'static str,
    errors: u32,
    mounts: u16,
    #[serde(flatten)]
    last_mounted: LastMountedText,
    made: String,
    mounted: Option<String>,
    written: Option<String>,
    checked: Option<String>,
    written_kib: u64,
    hash_seed: String,
    os: Option<String>,
    oci: Option<&'a serde_json::Value>,
    oci_problem: Option<String>,
}

/// 8-4-4-4-12 digits.
fn uuid(bytes: [u8; 16]) -> String {
    let number = u128::from_be_bytes(bytes);
    let digits = format!("{number:032x}");
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

impl<'a> Text<'a> {
    fn new(image: &Image, summary: &'a Summary) -> Self {
        let facts = &summary.facts;
        // A time of 0 is that of what never happened.
        let time = |time: ext4_writer::Timestamp| (time.seconds != 0).then(|| time_text(time));
        let (oci, oci_problem) = match &summary.oci {
            Oci::Unknown => (None, None),
            Oci::Known(value) => (Some(value), None),
            Oci::Unusable(why) => (None, Some(why.clone())),
        };
        Self {
            head: Head::of(image),
            label: LabelText::new(&facts.label),
            uuid: uuid(facts.uuid),
            features: facts.features.names(),
            profile: summary.profile,
            size: facts.blocks.saturating_mul(facts.block_size),
            block_size: facts.block_size,
            cluster_size: facts.cluster_size,
            inode_size: facts.inode_size,
            blocks: facts.blocks,
            free_blocks: summary.free_blocks,
            reserved_blocks: facts.reserved_blocks,
            inodes: facts.inodes,
            free_inodes: summary.free_inodes,
            groups: facts.groups,
            groups_per_flex: facts.groups_per_flex,
            journal: summary.journal,
            state: match (facts.has_errors, facts.is_clean) {
                (true, _) => "errors",
                (false, true) => "clean",
                (false, false) => "not clean",
            },
            errors: facts.errors,
            mounts: facts.mounts,
            last_mounted: LastMountedText::new(&facts.last_mounted),
            made: time_text(facts.made),
            mounted: time(facts.mounted),
            written: time(facts.written),
            checked: time(facts.checked),
            written_kib: facts.written_kib,
            hash_seed: uuid(facts.hash_seed),
            os: summary.os.clone(),
            oci,
            oci_problem,
        }
    }
}

fn print(out: &mut Output, text: &Text<'_>) -> io::Result<()> {
    let mut line = |name: &str, value: &str| writeln!(out, "{name:<12}{value}");
    let never = |time: &Option<String>| time.clone().unwrap_or_else(|| "never".to_owned());
    let free = text.free_blocks.saturating_mul(text.block_size);
    let reserved = text.reserved_blocks.saturating_mul(text.block_size);
    let block = match text.cluster_size {
        size if size == text.block_size => format!("{} bytes", text.block_size),
        size => format!("{} bytes, in clusters of {size}", text.block_size),
    };
    line("image", &shown(text.head.image.as_bytes()))?;
    line("label", &named(&text.label.label))?;
    line("uuid", &text.uuid)?;
    line("size", &format!("{} ({} blocks)", bytes(text.size), text.blocks))?;
    line("free", &format!("{} ({} blocks)", bytes(free), text.free_blocks))?;
    line("reserved", &format!("{} ({} blocks)", bytes(reserved), text.reserved_blocks))?;
    line("inodes", &format!("{} of {} free", text.free_inodes, text.inodes))?;
    line("block", &block)?;
    line("inode", &format!("{} bytes", text.inode_size))?;
    line("groups", &format!("{}, {} to a flex group", text.groups, text.groups_per_flex))?;
    line("journal", &text.journal.map_or_else(|| "none inside".to_owned(), bytes))?;
    line("features", &text.features.join(" "))?;
    line("profile", text.profile.unwrap_or("none has just these features"))?;
    line("state", &state(text))?;
    line("mounts", &format!("{} since the last check", text.mounts))?;
    line("mounted on", &named(&text.last_mounted.last_mounted))?;
    line("made", &text.made)?;
    line("mounted", &never(&text.mounted))?;
    line("written", &never(&text.written))?;
    line("checked", &never(&text.checked))?;
    line("system", &shown(text.os.as_deref().unwrap_or("unknown").as_bytes()))?;
    if let Some(problem) = &text.oci_problem {
        line("origin", &shown(problem.as_bytes()))?;
    }
    match &text.oci {
        Some(value) => {
            write!(out, "{:<12}", "origin")?;
            serde_json::to_writer_pretty(&mut Printable(&mut *out), value)?;
            writeln!(out)
        }
        None if text.oci_problem.is_none() => line("origin", "unknown"),
        None => Ok(()),
    }
}

/// A name that may be empty.
fn named(name: &str) -> String {
    if name.is_empty() { "none".to_owned() } else { shown(name.as_bytes()) }
}

fn state(text: &Text<'_>) -> String {
    match &text.head.recovery {
        Some(recovery) => format!(
            "{}, read as after its recovery ({} blocks of {} transactions)",
            text.state, recovery.blocks, recovery.transactions
        ),
        None if text.errors > 0 => format!("{} ({} of them)", text.state, text.errors),
        None => text.state.to_owned(),
    }
}

/// Takes JSON of several lines, and escapes in it what is not printable: what JSON escapes itself
/// is what a terminal would act on, but for few letters.
struct Printable<W>(W);

impl<W: Write> Write for Printable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Whoever makes JSON hands over whole letters.
        let json = str::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
        let is_seen = |letter: char| {
            letter == '\n' || !letter.is_control() && !crate::shown::is_invisible(letter)
        };
        let mut rest = json;
        while let Some((place, letter)) = rest.char_indices().find(|(_, one)| !is_seen(*one)) {
            let (seen, behind) = rest.split_at_checked(place).unwrap_or((rest, ""));
            self.0.write_all(seen.as_bytes())?;
            for unit in letter.encode_utf16(&mut [0; 2]) {
                write!(self.0, "\\u{unit:04x}")?;
            }
            rest = behind.get(letter.len_utf8()..).unwrap_or_default();
        }
        self.0.write_all(rest.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_shown_as_everybody_shows_them() {
        let bytes = std::array::from_fn(|place| u8::try_from(place).unwrap() * 17);
        assert_eq!(uuid(bytes), "00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn json_is_printed_with_what_is_not_seen_escaped() {
        let text = "gr\u{f6}\u{df}e\u{9b}\u{202e}\u{e0041}\u{1f600}\n\u{1b}";
        let value = serde_json::json!({ "a": [text, 1] });
        let mut bytes = Vec::new();
        serde_json::to_writer_pretty(&mut Printable(&mut bytes), &value).unwrap();
        let printed = String::from_utf8(bytes).unwrap();
        let line = r#""größe\u009b\u202e\udb40\udc41😀\n\u001b","#;
        assert_eq!(printed, format!("{{\n  \"a\": [\n    {line}\n    1\n  ]\n}}"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), value);
    }
}
