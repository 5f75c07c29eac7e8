//! What a registry said to credentials.

use std::fmt::Write as _;

use serde::Serialize;

use super::Report;
use crate::error::Result;

/// The result of `banger auth check`, when the registry took what it was shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Checked {
    /// The image, in full.
    pub reference: String,
    /// The registry.
    pub registry: String,
    /// The file or helper that knew credentials.
    pub source: Option<String>,
    /// What they are; what they say is nobody's business.
    pub kind: Option<&'static str>,
    /// The schemes that the registry asked for; none when it did not ask who we are.
    pub schemes: Vec<String>,
    /// Whether the image is there for us.
    pub exists: bool,
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
        for (name, value) in [
            ("image", self.reference.as_str()),
            ("credentials", source),
            ("kind", self.kind.unwrap_or("none")),
            ("registry", answer),
            ("found", if self.exists { "yes" } else { "no such image" }),
        ] {
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
