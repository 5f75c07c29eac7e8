//! What keeps an image from booting, as text or JSON.

use std::fmt::Write as _;

use serde::Serialize;

use super::Report;
use crate::error::Result;
use crate::lint::Finding;

/// The result of `banger image lint`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Linted {
    /// The image.
    pub path: String,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Prints what was found in an image.
    pub(crate) fn linted(self, linted: &Linted) -> Result<()> {
        self.result(linted, || match linted.findings.as_slice() {
            [] => format!("{}: nothing found", linted.path),
            findings => {
                let mut text = String::new();
                push_findings(&mut text, findings);
                text
            }
        })
    }
}

/// A line for each finding.
pub(super) fn push_findings(text: &mut String, findings: &[Finding]) {
    for Finding { id, severity, path, message, hint } in findings {
        let path = path.as_deref().map(|path| format!("{path}: ")).unwrap_or_default();
        let hint = hint.as_deref().map(|hint| format!("; {hint}")).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{severity} {id}: {path}{message}{hint}");
    }
}
