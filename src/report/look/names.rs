//! Names of an image, as `ls` lists them.

use std::io::{self, Write};

use ext4_writer::Timestamp;
use serde::Serialize;

use super::{Failure, Head, Output, Stream, document, shown};
use crate::error::Result;
use crate::look::{Image, Line, Step, mode_text, time_text};
use crate::report::{Format, Report};

/// How names are listed for people.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Style {
    /// With what `ls -l` shows.
    pub long: bool,
    /// Of directories below directories too, each with a line before it.
    pub recursive: bool,
    /// As they are, each ended by a NUL; whole paths where directories are below directories.
    pub zero: bool,
}

impl Report {
    /// Prints names; the exit code.
    pub(crate) fn names(
        self,
        image: &Image,
        steps: impl Iterator<Item = Result<Step>>,
        style: Style,
    ) -> Result<u8> {
        let mut out = Self::output();
        let done = match self.format {
            Format::Json => names_json(&mut out, image, steps),
            Format::Text => names_text(&mut out, steps, style).map(|()| 0),
        };
        out.end(done)
    }
}

#[derive(Serialize)]
#[serde(bound = "")]
struct NamesReport<'a, I>
where
    Stream<'a, I>: Serialize,
{
    #[serde(flatten)]
    head: Head,
    entries: Stream<'a, I>,
    error: &'a Failure,
}

fn names_json(
    out: &mut Output,
    image: &Image,
    steps: impl Iterator<Item = Result<Step>>,
) -> Result<u8> {
    let failure = Failure::default();
    let entries = steps.filter_map(|step| step.map(Step::into_line).transpose());
    let entries = Stream::new(entries, &failure);
    document(out, &NamesReport { head: Head::of(image), entries, error: &failure })?;
    Ok(failure.code())
}

/// Prints names for people.
pub(in crate::report) fn names_text(
    out: &mut Output,
    steps: impl Iterator<Item = Result<Step>>,
    style: Style,
) -> Result<()> {
    let mut is_first = true;
    for step in steps {
        let printed = match step? {
            Step::Directory(path) if style.recursive && !style.zero => {
                let gap = if is_first { "" } else { "\n" };
                writeln!(out, "{gap}{}:", shown(&path))
            }
            Step::Directory(_) => Ok(()),
            Step::Name(line) => print_line(out, &line, style),
        };
        printed.map_err(Output::unwritten)?;
        is_first = false;
    }
    Ok(())
}

fn print_line(out: &mut Output, line: &Line, style: Style) -> io::Result<()> {
    let name = if style.zero && style.recursive { &line.path } else { &line.name };
    if style.long {
        print_facts(out, line)?;
    }
    print_name(out, name, style)?;
    if let Some(target) = line.target.as_ref().filter(|_| style.long) {
        out.write_all(b" -> ")?;
        print_name(out, target, style)?;
    }
    out.write_all(if style.zero { b"\0" } else { b"\n" })
}

fn print_name(out: &mut Output, name: &[u8], style: Style) -> io::Result<()> {
    if style.zero { out.write_all(name) } else { out.write_all(shown(name).as_bytes()) }
}

/// What stands before the name. The columns have fixed widths, so that no directory has to be
/// held for them.
fn print_facts(out: &mut Output, line: &Line) -> io::Result<()> {
    let status = &line.status;
    let size = match status.device {
        Some(device) => format!("{}, {}", device.major, device.minor),
        None => status.size.to_string(),
    };
    let has_acl = line.attributes.iter().any(|name| name.starts_with(b"system.posix_acl_"));
    let time = Timestamp { nanoseconds: 0, ..status.modified };
    write!(
        out,
        "{}{} {:>3} {:>5} {:>5} {size:>10} {} ",
        mode_text(status.kind, status.mode),
        if has_acl { '+' } else { ' ' },
        status.links,
        status.uid,
        status.gid,
        time_text(time),
    )
}
