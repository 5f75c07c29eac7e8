//! In what two images differ.

use std::cell::Cell;
use std::io::{self, Write};

use serde::Serialize;

use super::{Failure, Head, Output, Stream, bytes_text, document, shown};
use crate::error::Result;
use crate::look::{Comparison, Detail, Difference, Kind, Value};
use crate::report::{Format, Report};

/// The exit code of a comparison that found differences, as `diff` has it.
const DIFFERENT: u8 = 1;
/// How much of a value that is no text people see.
const BYTES_SHOWN: usize = 32;

/// How many paths of each kind there were.
#[derive(Default)]
struct Counts {
    added: Cell<u64>,
    removed: Cell<u64>,
    changed: Cell<u64>,
}

impl Counts {
    fn count(&self, kind: Kind) {
        let cell = match kind {
            Kind::Added => &self.added,
            Kind::Removed => &self.removed,
            Kind::Changed => &self.changed,
        };
        cell.set(cell.get().saturating_add(1));
    }

    fn code(&self) -> u8 {
        let is_same = [&self.added, &self.removed, &self.changed].iter().all(|one| one.get() == 0);
        if is_same { 0 } else { DIFFERENT }
    }
}

impl Report {
    /// Prints the differences of two images; the exit code: 0 without any, 1 with some.
    pub(crate) fn differences(self, comparison: Comparison<'_>) -> Result<u8> {
        let (mut out, counts) = (Self::output(), Counts::default());
        let done = match self.format {
            Format::Json => differences_json(&mut out, comparison, &counts),
            Format::Text => differences_text(&mut out, comparison, &counts),
        };
        let done = out.end(done);
        if matches!(done, Ok(DIFFERENT)) {
            let Counts { added, removed, changed } = counts;
            let (added, removed, changed) = (added.get(), removed.get(), changed.get());
            self.step(&format!("{added} added, {removed} removed, {changed} changed"));
        }
        done
    }
}

#[derive(Serialize)]
#[serde(bound = "")]
struct DifferencesReport<'a, I>
where
    Stream<'a, I>: Serialize,
{
    a: Head,
    b: Head,
    differences: Stream<'a, I>,
    added: &'a Cell<u64>,
    removed: &'a Cell<u64>,
    changed: &'a Cell<u64>,
    error: &'a Failure,
}

fn differences_json(out: &mut Output, comparison: Comparison<'_>, counts: &Counts) -> Result<u8> {
    let failure = Failure::default();
    let differences = comparison.differences()?.inspect(|difference| {
        if let Ok(difference) = difference {
            counts.count(difference.kind);
        }
    });
    let value = DifferencesReport {
        a: Head::of(comparison.a),
        b: Head::of(comparison.b),
        differences: Stream::new(differences, &failure),
        added: &counts.added,
        removed: &counts.removed,
        changed: &counts.changed,
        error: &failure,
    };
    document(out, &value)?;
    Ok(match failure.code() {
        0 => counts.code(),
        code => code,
    })
}

fn differences_text(out: &mut Output, comparison: Comparison<'_>, counts: &Counts) -> Result<u8> {
    for difference in comparison.differences()? {
        let difference = difference?;
        counts.count(difference.kind);
        print(out, &difference).map_err(Output::unwritten)?;
    }
    Ok(counts.code())
}

fn print(out: &mut Output, difference: &Difference) -> io::Result<()> {
    let sign = match difference.kind {
        Kind::Added => '+',
        Kind::Removed => '-',
        Kind::Changed => '~',
    };
    let details: Vec<_> = difference.details.iter().map(detail).collect();
    let gap = if details.is_empty() { "" } else { "  " };
    writeln!(out, "{sign} {}{gap}{}", shown(&difference.path), details.join(", "))
}

fn detail(detail: &Detail) -> String {
    let fact = match &detail.attribute {
        Some(name) => format!("{} {}", detail.fact, shown(name)),
        None => detail.fact.to_owned(),
    };
    match (&detail.from, &detail.to) {
        (None, None) => fact,
        (from, to) => format!("{fact} {} -> {}", value(from.as_ref()), value(to.as_ref())),
    }
}

fn value(value: Option<&Value>) -> String {
    match value {
        None => "none".to_owned(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Text(text)) => shown(text.as_bytes()),
        // Quotes inside are escaped, so that the value ends where it seems to.
        Some(Value::Quoted(text)) => {
            format!("\"{}\"", shown(text.as_bytes()).replace('"', "\\\""))
        }
        Some(Value::Name(name)) => shown(name),
        Some(Value::Bytes(bytes)) => bytes_text(bytes, BYTES_SHOWN),
    }
}
