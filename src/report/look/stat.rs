//! One inode, with everything that is known of it.

use std::io::{self, Write};

use ext4_writer::reader::{Attribute, AttributePlace, Extent};
use serde::Serialize;

use super::{Failure, Head, Output, Stream, bytes_text, document, hex, shown};
use crate::error::Result;
use crate::look::text::{NameText, PathText, TargetText};
use crate::look::{
    AttributeValue, Image, Stat, Status, decode, flag_letters, kind_word, mode_text, time_text,
};
use crate::report::{Format, Report};

/// How much of a value that is no text people see.
const BYTES_SHOWN: usize = 128;

impl Report {
    /// Prints what is known of an inode; the exit code.
    pub(crate) fn stat(self, image: &Image, stat: &Stat<'_>) -> Result<u8> {
        let mut out = Self::output();
        let done = match self.format {
            Format::Json => stat_json(&mut out, image, stat),
            Format::Text => stat_text(&mut out, stat).map(|()| 0),
        };
        out.end(done)
    }
}

#[derive(Serialize)]
#[serde(bound = "")]
struct StatReport<'a, E, M>
where
    Stream<'a, E>: Serialize,
    Stream<'a, M>: Serialize,
{
    #[serde(flatten)]
    head: Head,
    #[serde(flatten)]
    path: PathText,
    #[serde(flatten)]
    status: &'a Status,
    #[serde(flatten)]
    target: Option<TargetText>,
    attributes: Vec<AttributeText>,
    /// Where the inode is, in bytes.
    offset: u64,
    checksum: &'static str,
    inline: bool,
    extents: Stream<'a, E>,
    map_blocks: Stream<'a, M>,
    error: &'a Failure,
}

#[derive(Serialize)]
struct AttributeText {
    #[serde(flatten)]
    name: NameText,
    place: &'static str,
    inode: Option<u32>,
    text: Option<String>,
    hex: String,
}

#[derive(Serialize)]
struct ExtentText {
    logical: u64,
    physical: u64,
    length: u64,
    unwritten: bool,
}

fn stat_json(out: &mut Output, image: &Image, stat: &Stat<'_>) -> Result<u8> {
    let failure = Failure::default();
    let extents = stat.extents()?.map(|extent| {
        extent.map(|extent| ExtentText {
            logical: extent.file_block,
            physical: extent.block,
            length: extent.length,
            unwritten: extent.unwritten,
        })
    });
    let value = StatReport {
        head: Head::of(image),
        path: PathText::new(&stat.path),
        status: &stat.status,
        target: stat.target.as_deref().map(TargetText::new),
        attributes: stat.attributes.iter().map(attribute_json).collect(),
        offset: stat.place,
        checksum: checksum(stat),
        inline: stat.is_inline,
        extents: Stream::new(extents, &failure),
        map_blocks: Stream::new(stat.map_blocks()?, &failure),
        error: &failure,
    };
    document(out, &value)?;
    Ok(failure.code())
}

fn checksum(stat: &Stat<'_>) -> &'static str {
    if stat.is_summed { "verified" } else { "none" }
}

fn place(attribute: &Attribute) -> (&'static str, Option<u32>) {
    match attribute.place {
        AttributePlace::Inode => ("inode", None),
        AttributePlace::Block => ("block", None),
        AttributePlace::ValueInode(inode) => ("value-inode", Some(inode)),
    }
}

fn attribute_json(attribute: &Attribute) -> AttributeText {
    let (place, inode) = place(attribute);
    let text = match decode(&attribute.name, &attribute.value) {
        AttributeValue::Decoded(text) | AttributeValue::Text(text) => Some(text),
        AttributeValue::Bytes => None,
    };
    let name = NameText::new(&attribute.name);
    AttributeText { name, place, inode, text, hex: hex(&attribute.value) }
}

fn stat_text(out: &mut Output, stat: &Stat<'_>) -> Result<()> {
    print_facts(out, stat).map_err(Output::unwritten)?;
    for attribute in &stat.attributes {
        print_attribute(out, attribute).map_err(Output::unwritten)?;
    }
    let mut is_first = true;
    for extent in stat.extents()? {
        print_extent(out, extent?, is_first).map_err(Output::unwritten)?;
        is_first = false;
    }
    for block in stat.map_blocks()? {
        writeln!(out, "{:<12}{}", "map block", block?).map_err(Output::unwritten)?;
    }
    Ok(())
}

fn print_facts(out: &mut Output, stat: &Stat<'_>) -> io::Result<()> {
    let status = &stat.status;
    let mut line = |name: &str, value: &str| writeln!(out, "{name:<12}{value}");
    line("path", &shown(&stat.path))?;
    line("inode", &format!("{} (at byte {})", status.inode, stat.place))?;
    line("type", kind_word(status.kind))?;
    if let Some(target) = &stat.target {
        line("target", &shown(target))?;
    }
    line("mode", &format!("{:04o} {}", status.mode, mode_text(status.kind, status.mode)))?;
    line("owner", &format!("{}:{}", status.uid, status.gid))?;
    line("links", &status.links.to_string())?;
    line("size", &status.size.to_string())?;
    line("blocks", &format!("{} of 512 bytes", status.sectors))?;
    if let Some(device) = status.device_text() {
        line("device", &device)?;
    }
    line("modified", &time_text(status.modified))?;
    line("accessed", &time_text(status.accessed))?;
    line("changed", &time_text(status.changed))?;
    line("created", &status.created.map_or_else(|| "not recorded".to_owned(), time_text))?;
    line("flags", &format!("{:#x} {}", status.flags, flag_letters(status.flags)))?;
    line("generation", &status.generation.to_string())?;
    line("project", &status.project.to_string())?;
    line("checksum", checksum(stat))?;
    if stat.is_inline {
        line("content", "in the inode")?;
    }
    Ok(())
}

fn print_attribute(out: &mut Output, attribute: &Attribute) -> io::Result<()> {
    let value = match decode(&attribute.name, &attribute.value) {
        AttributeValue::Decoded(words) => words,
        AttributeValue::Text(text) => format!("\"{}\"", shown(text.as_bytes())),
        AttributeValue::Bytes => bytes_text(&attribute.value, BYTES_SHOWN),
    };
    let place = match place(attribute) {
        ("inode", _) => String::new(),
        (_, Some(inode)) => format!(" (in inode {inode})"),
        (place, None) => format!(" (in a {place})"),
    };
    writeln!(out, "{:<12}{} = {value}{place}", "attribute", shown(&attribute.name))
}

fn print_extent(out: &mut Output, extent: Extent, is_first: bool) -> io::Result<()> {
    if is_first {
        writeln!(out, "{:<12}{:>12} {:>12} {:>10}", "extents", "logical", "physical", "length")?;
    }
    let Extent { file_block, block, length, unwritten } = extent;
    let mark = if unwritten { " unwritten" } else { "" };
    writeln!(out, "{:<12}{file_block:>12} {block:>12} {length:>10}{mark}", "")
}
