//! Whether a filesystem is sound, as text, JSON or SARIF.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ext4_writer::check::{Judge, Kind};
use serde::Serialize;
use serde_json::{Value, json};

use super::lint::push_findings;
use super::{Report, print};
use crate::error::{Error, Result};
use crate::lint::{self, Severity};
use crate::look::Judged;

/// What SARIF calls its own schema.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// The result of `banger image check`.
#[derive(Serialize)]
struct Checked<'a> {
    path: &'a str,
    sound: bool,
    errors: u64,
    warnings: u64,
    inodes: u64,
    blocks: u64,
    replayed_transactions: Option<u32>,
    findings: Vec<Finding<'a>>,
}

/// A finding in the shape of those of `lint`, with its place beside it.
#[derive(Serialize)]
struct Finding<'a> {
    #[serde(flatten)]
    shared: lint::Finding,
    inode: Option<u32>,
    group: Option<u32>,
    file_block: Option<u64>,
    block: Option<u64>,
    field: Option<&'static str>,
    found: &'a str,
    expected: &'a str,
}

fn checked(judged: &Judged) -> Checked<'_> {
    let (errors, warnings) = counts(judged);
    let findings = judged.findings().map(|(found, shared)| Finding {
        shared,
        inode: found.place.inode,
        group: found.place.group,
        file_block: found.place.file_block,
        block: found.place.block,
        field: found.place.field,
        found: &found.found,
        expected: &found.expected,
    });
    Checked {
        path: &judged.name,
        sound: judged.is_sound(),
        errors,
        warnings,
        inodes: judged.report.inodes,
        blocks: judged.report.blocks,
        replayed_transactions: judged.report.recovery.map(|recovery| recovery.transactions),
        findings: findings.collect(),
    }
}

/// How many findings are damage, and how many are not.
fn counts(judged: &Judged) -> (u64, u64) {
    let counts = judged.report.counts;
    match judged.judge {
        Judge::Kernel => (counts.damage.saturating_add(counts.kernel_damage), counts.notices),
        Judge::E2fsck => (counts.damage, counts.kernel_damage.saturating_add(counts.notices)),
    }
}

fn text(judged: &Judged) -> String {
    let mut text = String::new();
    let findings: Vec<_> = judged.findings().map(|(_, finding)| finding).collect();
    push_findings(&mut text, &findings);
    let (errors, warnings) = counts(judged);
    let count =
        |number: u64, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let name = &judged.name;
    // Writing to a String cannot fail.
    let _ = if errors > 0 {
        write!(text, "{name}: damaged: {}, {}", count(errors, "error"), count(warnings, "warning"))
    } else if warnings > 0 {
        write!(text, "{name}: sound, with {}", count(warnings, "warning"))
    } else {
        let (inodes, blocks) = (judged.report.inodes, judged.report.blocks);
        write!(text, "{name}: sound: {inodes} inodes, {blocks} blocks")
    };
    let told = u64::try_from(findings.len()).unwrap_or(u64::MAX);
    let all = errors.saturating_add(warnings);
    if told < all {
        let _ = write!(text, "; {told} are shown, --max-findings shows more");
    }
    text
}

/// SARIF 2.1.0, section 3: one run of one tool, a rule for each kind that was found.
fn sarif(judged: &Judged) -> Value {
    let kinds: BTreeSet<Kind> = judged.report.findings.iter().map(|found| found.kind).collect();
    let rules: Vec<Value> = kinds
        .iter()
        .map(|kind| {
            let text = kind.description().meaning;
            json!({ "id": kind.id(), "shortDescription": { "text": text } })
        })
        .collect();
    let uri = encoded(&judged.name);
    let results: Vec<Value> = judged
        .findings()
        .map(|(_, finding)| {
            let level = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            let mut location =
                json!({ "physicalLocation": { "artifactLocation": { "uri": uri } } });
            if let (Some(path), Some(fields)) = (&finding.path, location.as_object_mut()) {
                let logical = json!([{ "fullyQualifiedName": path, "kind": "resource" }]);
                fields.insert("logicalLocations".to_owned(), logical);
            }
            json!({
                "ruleId": finding.id,
                "level": level,
                "message": { "text": finding.message },
                "locations": [location],
            })
        })
        .collect();
    let driver = json!({ "name": "banger", "version": env!("CARGO_PKG_VERSION"), "rules": rules });
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{ "tool": { "driver": driver }, "results": results }],
    })
}

/// A path as a relative reference of RFC 3986.
fn encoded(path: &str) -> String {
    path.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

impl Report {
    /// Prints whether an image is sound, and what is wrong with it.
    pub(crate) fn judged(self, judged: &Judged) -> Result<()> {
        self.result(&checked(judged), || text(judged))
    }

    /// The same in SARIF.
    pub(crate) fn sarif(judged: &Judged) -> Result<()> {
        print(&format!("{:#}", sarif(judged)))
            .map_err(|error| Error::io("cannot write to standard output").with_source(error))
    }
}
