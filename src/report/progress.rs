//! How far long work has come: one changing line on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal as _, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Format, Report};
use crate::pull::Observer;

/// How often a terminal's progress line is drawn again.
const REDRAW: Duration = Duration::from_millis(100);

/// How the progress of long work is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ProgressWhen {
    /// A line that changes on a terminal, lines elsewhere.
    #[default]
    Auto,
    /// Lines.
    Plain,
    /// Not at all; warnings are told.
    None,
}

impl Report {
    /// Shows how far work on so many bytes has come.
    #[must_use]
    pub(crate) fn progress(self, total: u64) -> Progress {
        let is_wanted = self.progress == ProgressWhen::Auto && !self.quiet;
        if !is_wanted || self.format != Format::Text || !io::stderr().is_terminal() {
            return Progress { bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let template =
            "{wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(REDRAW);
        Progress { bar }
    }

    /// Shows what a pull does while it does it.
    #[must_use]
    pub(crate) fn observer(self) -> Arc<dyn Observer> {
        Arc::new(PullProgress { report: self, progress: Mutex::default() })
    }
}

/// A progress line; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Counts so many bytes as done.
    pub(crate) fn advance(&self, count: u64) {
        self.bar.inc(count);
    }

    /// The same reader; what is read from it counts as done.
    pub(crate) fn watch<R: Read>(&self, reader: R) -> impl Read + use<R> {
        self.bar.wrap_read(reader)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// What a pull tells, with a progress line while bytes are read.
struct PullProgress {
    report: Report,
    progress: Mutex<Option<Progress>>,
}

impl PullProgress {
    fn progress(&self) -> MutexGuard<'_, Option<Progress>> {
        // Whatever panicked left a line that can be drawn.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for PullProgress {
    fn step(&self, line: &str) {
        match &*self.progress() {
            Some(Progress { bar }) if !bar.is_hidden() => bar.set_message(line.to_owned()),
            _ => self.report.step(line),
        }
    }

    fn warning(&self, line: &str) {
        match &*self.progress() {
            Some(Progress { bar }) => bar.suspend(|| self.report.warn(line)),
            None => self.report.warn(line),
        }
    }

    fn begin(&self, bytes: u64) {
        *self.progress() = Some(self.report.progress(bytes));
    }

    fn advance(&self, bytes: u64) {
        if let Some(progress) = &*self.progress() {
            progress.advance(bytes);
        }
    }

    fn end(&self) {
        *self.progress() = None;
    }
}
