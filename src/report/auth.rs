//! What a registry said to credentials.

use std::fmt::Write as _;

use serde::Serialize;

use super::Report;
use crate::error::Result;

/// The result of `banger auth check`, when the registry took what it was shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Checked {
    /// The image, in full, if one was asked about.
    pub reference: Option<String>,
    /// The registry.
    pub registry: String,
    /// The file or helper that knew credentials.
    pub source: Option<String>,
    /// What they are; what they say is nobody's business.
    pub kind: Option<&'static str>,
    /// The schemes that the registry asked for; none when it did not ask who we are.
    pub schemes: Vec<String>,
    /// Whether the image is there for us, if one was asked about.
    pub exists: Option<bool>,
    /// Configuration that was passed over since we may not read it.
    pub notices: Vec<String>,
}

impl Checked {
    fn text(&self) -> String {
        let source = self.source.as_deref().unwrap_or("none found");
        let answer = match (self.schemes.is_empty(), self.source.is_some()) {
            (true, _) => "does not ask who we are",
            (false, true) => "accepted",
            (false, false) => "accepted without credentials",
        };
        let mut text = String::new();
        let found = self.exists.map(|exists| if exists { "yes" } else { "no such image" });
        let subject =
            self.reference.as_deref().map_or(("host", &*self.registry), |it| ("image", it));
        for (name, value) in [
            (subject.0, Some(subject.1)),
            ("credentials", Some(source)),
            ("kind", Some(self.kind.unwrap_or("none"))),
            ("registry", Some(answer)),
            ("found", found),
        ] {
            let Some(value) = value else { continue };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<13}{value}");
        }
        text
    }
}

impl Report {
    /// Prints the result of a check of credentials.
    pub(crate) fn checked(self, checked: &Checked) -> Result<()> {
        self.result(checked, || checked.text())
    }
}
