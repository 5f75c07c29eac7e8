//! Whether the filesystem of an image is sound.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ext4_writer::check::{Finding, Judge, Kind, Options, Report, check};

use super::foreign::{self, ForeignFormat};
use super::image::{self, Window};
use crate::error::{Error, Result};
use crate::lint::{self, Severity};
use crate::shown::name as shown;

/// What was found in an image.
#[derive(Debug)]
pub(crate) struct Judged {
    /// The image, as it is called in messages.
    pub name: String,
    /// In whose eyes it was judged.
    pub judge: Judge,
    /// What was found.
    pub report: Report,
    /// What there is in place of a filesystem, where that could be told.
    pub hint: Option<String>,
}

/// Checks the filesystem that begins at the byte `offset` of a file or a block device.
pub(crate) fn judge(path: &Path, offset: u64, judge: Judge, options: &Options) -> Result<Judged> {
    let name = path.display().to_string();
    let window = Window::open(path, offset)?;
    let report = check(&window, options).map_err(|error| image::unread(&name, error))?;
    let is_other = report.findings.iter().any(|finding| finding.kind == Kind::NotExt4);
    let other =
        if is_other { foreign::found(&window).or_else(|| foreign::archive(&window)) } else { None };
    let hint = other.map(|ForeignFormat { what, .. }| format!("it is {what}"));
    Ok(Judged { name, judge, report, hint })
}

impl Judged {
    /// Whether nothing is damaged.
    #[must_use]
    pub(crate) fn is_sound(&self) -> bool {
        self.report.is_sound(self.judge)
    }

    /// The findings, in the shape of those of `lint`.
    pub(crate) fn findings(&self) -> impl Iterator<Item = (&Finding, lint::Finding)> {
        self.report.findings.iter().map(|finding| (finding, self.finding(finding)))
    }

    fn finding(&self, finding: &Finding) -> lint::Finding {
        let is_damage = finding.kind.is_damage(self.judge);
        let hint = (finding.kind == Kind::NotExt4).then(|| self.hint.clone()).flatten();
        lint::Finding {
            id: finding.kind.id(),
            severity: if is_damage { Severity::Error } else { Severity::Warning },
            path: finding.place.path.as_deref().map(shown),
            message: finding.message(),
            hint,
        }
    }
}

/// Refuses an image if it is damaged.
pub(crate) fn refuse_damaged(path: &Path) -> Result<()> {
    refuse(path, &Window::open(path, 0)?)
}

/// Refuses the copy of an image, which has no name yet, if it is damaged.
pub(crate) fn refuse_damaged_copy(from: &Path, copy: File) -> Result<()> {
    refuse(from, &Window::whole(Arc::new(copy)))
}

fn refuse(path: &Path, window: &Window) -> Result<()> {
    let name = path.display().to_string();
    first_damage(&name, window)?.map_or(Ok(()), |finding| {
        Err(Error::bad_data(format!("{name} is damaged"))
            .with_source(finding)
            .with_hint(format!("banger image check {name} says all of it")))
    })
}

/// Checks an image that was made here and has no name yet; damage is a bug of ours.
pub(crate) fn must_be_sound(file: File) -> Result<()> {
    let window = Window::whole(Arc::new(file));
    first_damage("just made", &window)?.map_or(Ok(()), |finding| {
        Err(Error::internal("the filesystem that was made is damaged").with_source(finding))
    })
}

/// The worst finding in what messages call `name`, if it is damaged.
fn first_damage(name: &str, window: &Window) -> Result<Option<String>> {
    let options = Options { max_findings: 1, ..Options::default() };
    let report = check(window, &options).map_err(|error| image::unread(name, error))?;
    if report.is_sound(Judge::Kernel) {
        return Ok(None);
    }
    Ok(report.findings.first().map(ToString::to_string))
}
