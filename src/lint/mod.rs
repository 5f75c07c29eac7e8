//! What would keep an image from booting, or make its guest a surprise, description before the machine
//! hangs: a look at a finished filesystem.

mod description;
mod elf;
mod programs;
mod system;
mod systemd;
mod tree;

use std::fmt;

use ext4_writer::reader::{ReadResult, Reader, Source};
use serde::Serialize;

use crate::guest::{DESCRIPTION_PATH, MAX_DESCRIPTION, places};
use crate::shown::name as shown;
use crate::source::Platform;
use description::Description;
use elf::Machine;
use tree::Tree;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The image does not boot, or not into what it is for.
    Error,
    /// It boots, and something will be missing or odd.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A name that stays the same from version to version.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about, if it is about one file.
    pub path: Option<String>,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Finding {
    fn new(id: &'static str, severity: Severity, message: impl Into<String>) -> Self {
        Self { id, severity, path: None, message: message.into(), hint: None }
    }

    fn error(id: &'static str, message: impl Into<String>) -> Self {
        Self::new(id, Severity::Error, message)
    }

    fn warning(id: &'static str, message: impl Into<String>) -> Self {
        Self::new(id, Severity::Warning, message)
    }

    fn at(mut self, path: &[u8]) -> Self {
        self.path = Some(shown(path));
        self
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// An image being looked at.
struct Look<'a, S> {
    tree: Tree<'a, S>,
    description: Description,
    has_generated_init: bool,
    /// What programs have to be made for: what is known, or what the first of them is.
    machine: Option<Machine>,
    findings: Vec<Finding>,
}

/// Looks at a filesystem; its programs are to be for `platform`, or else for what the image says,
/// or at least all for the same.
pub(crate) fn lint<S: Source>(
    reader: &Reader<S>,
    platform: Option<&Platform>,
) -> ReadResult<Vec<Finding>> {
    let tree = Tree { reader };
    let description = description(&tree)?;
    let wanted = platform.or(description.platform.as_ref());
    let machine = wanted.and_then(|platform| Machine::of(&platform.architecture));
    let has_generated_init = tree.file(places::INIT.as_bytes())?.is_some();
    let mut look = Look { tree, description, has_generated_init, machine, findings: Vec::new() };
    look.programs()?;
    look.systemd()?;
    look.system()?;
    Ok(look.findings)
}

/// The same where not being able to look is a finding too.
pub(crate) fn lint_or_say_why<S: Source>(source: S, platform: Option<&Platform>) -> Vec<Finding> {
    let found = Reader::open(source).and_then(|reader| lint(&reader, platform));
    found.unwrap_or_else(|error| {
        vec![Finding::error("unreadable", format!("the image cannot be looked at: {error}"))]
    })
}

impl<S> Look<'_, S> {
    fn find(&mut self, finding: Finding) {
        self.findings.push(finding);
    }
}

fn description<S: Source>(tree: &Tree<'_, S>) -> ReadResult<Description> {
    let limit = usize::try_from(MAX_DESCRIPTION).unwrap_or(usize::MAX);
    let document = tree.read(DESCRIPTION_PATH.as_bytes(), limit)?;
    Ok(document.map_or_else(Description::default, |document| Description::of(&document)))
}

#[cfg(test)]
mod tests;
