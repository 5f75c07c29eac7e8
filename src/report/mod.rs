//! What happens and what came of it, as text or JSON; the only file that prints.

pub(crate) mod auth;
pub(crate) mod cache;
mod check;
mod color;
mod demo;
pub(crate) mod disk;
pub(crate) mod edit;
mod image;
mod kinds;
mod lint;
pub(crate) mod look;
mod notes;
mod progress;
pub(crate) mod pull;
pub(crate) mod width;

use std::io::{self, Write as _};

use clap::builder::StyledStr;
use serde::Serialize;
use serde_json::json;

use crate::error::{Error, Result};

pub(crate) use color::ColorWhen;
pub(crate) use lint::Linted;
pub(crate) use progress::{Progress, ProgressWhen};

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document on standard output, whatever happens.
    Json,
}

/// The voice of a command: progress and warnings on standard error, the result on standard
/// output.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    format: Format,
    quiet: bool,
    verbose: bool,
    progress: ProgressWhen,
}

impl Report {
    /// A voice that prints in this format, and nothing but results and errors when quiet.
    #[must_use]
    pub(crate) fn new(format: Format, quiet: bool) -> Self {
        Self { format, quiet, ..Self::default() }
    }

    /// The same, with all of a report.
    #[must_use]
    pub(crate) fn verbose(self, verbose: bool) -> Self {
        Self { verbose, ..self }
    }

    /// The same, with its progress shown so.
    #[must_use]
    pub(crate) fn showing(self, progress: ProgressWhen) -> Self {
        Self { progress, ..self }
    }

    /// Says what is being done now.
    pub(crate) fn step(self, line: &str) {
        let is_shown = self.progress != ProgressWhen::None;
        if is_shown && !self.quiet && self.format == Format::Text {
            say(&format!("banger: {line}"));
        }
    }

    /// Says what was passed over.
    pub(crate) fn warn_all(self, lines: &[String]) {
        for line in lines {
            self.warn(line);
        }
    }

    /// Says that something went wrong which may yet come right.
    pub(crate) fn warn(self, line: &str) {
        if !self.quiet && self.format == Format::Text {
            say(&color::warning(line));
        }
    }

    /// Prints a text that is for people alone.
    pub(crate) fn text(text: &str) -> Result<()> {
        print(text).map_err(unprinted)
    }

    /// Prints a help.
    pub(crate) fn styled(text: &StyledStr) -> Result<()> {
        let mut out = anstream::stdout().lock();
        write!(out, "{}", text.ansi()).and_then(|()| out.flush()).map_err(unprinted)
    }

    /// Prints what is wrong with the arguments, with their usage.
    pub(crate) fn complain(text: &StyledStr) {
        // There is no third place to complain about a standard error that is closed.
        let _ = write!(anstream::stderr().lock(), "{}", text.ansi());
    }

    /// Prints why a command failed.
    pub(crate) fn failed(self, error: &Error) {
        if self.format == Format::Text {
            say(&color::error(error));
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
        print(&document).map_err(unprinted)
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
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end())?;
    out.flush()
}

fn unprinted(error: io::Error) -> Error {
    Error::io("cannot write to standard output").with_source(error)
}

/// A number of bytes for people.
fn bytes(number: u64) -> String {
    indicatif::BinaryBytes(number).to_string()
}
