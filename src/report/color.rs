//! The colours of what people read on standard error.

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};

use crate::error::Error;

/// When colours are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorWhen {
    /// What a name means; another name is told later, in the colours that are usual.
    pub(crate) fn named(name: Option<&str>) -> Self {
        match name {
            Some("always") => Self::Always,
            Some("never") => Self::Never,
            _ => Self::Auto,
        }
    }

    /// Makes it the choice for everything that is printed from now on.
    pub(crate) fn choose(self) {
        let choice = match self {
            Self::Auto => ColorChoice::Auto,
            Self::Always => ColorChoice::Always,
            Self::Never => ColorChoice::Never,
        };
        choice.write_global();
    }
}

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();

/// An error as it is printed; the styles go where there are no colours.
pub(super) fn error(error: &Error) -> String {
    format!("{ERROR}error:{ERROR:#} {error}")
}

/// A warning as it is printed.
pub(super) fn warning(line: &str) -> String {
    format!("{WARNING}warning:{WARNING:#} {line}")
}
