//! What an image says of itself, as far as the checks want to know.
//!
//! Whoever made the image may have written anything there, so nothing else of it is kept.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

use crate::json::fold;
use crate::source::Platform;

/// What is description.
#[derive(Default)]
pub(super) struct Description {
    pub(super) platform: Option<Platform>,
    /// The program that the generated init starts, its PATH and its directory.
    pub(super) command: Option<String>,
    pub(super) path: Option<String>,
    pub(super) directory: String,
}

#[derive(serde::Deserialize)]
struct StoredDescription {
    platform: Option<String>,
    start: Option<Start>,
}

#[derive(serde::Deserialize)]
struct Start {
    command: First,
    environment: LastPath,
    directory: String,
}

impl Description {
    /// What a document says; one that is no description says nothing.
    pub(super) fn of(document: &[u8]) -> Self {
        let Ok(StoredDescription { platform, start }) = serde_json::from_slice(document) else {
            return Self::default();
        };
        let platform = platform.and_then(|platform| platform.parse().ok());
        let Some(Start { command, environment, directory }) = start else {
            return Self { platform, ..Self::default() };
        };
        Self { platform, command: command.0, path: environment.0, directory }
    }
}

/// The first word of a list.
struct First(Option<String>);

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = First;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of words")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<First, A::Error> {
                let first = words.next_element()?;
                while words.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// The last value of PATH in a list of variables.
struct LastPath(Option<String>);

impl<'de> Deserialize<'de> for LastPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let last = |last: Option<String>, variable: String| {
            variable.strip_prefix("PATH=").map(ToOwned::to_owned).or(last)
        };
        fold(deserializer, "a list of variables", None, last).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_is_kept_of_a_document() {
        let description = Description::of(
            br#"{"config":{"a":[1]},"platform":"linux/arm64","start":{"command":["run","x"],
            "environment":["PATH=/a","B=c","PATH=/b"],"directory":"/d","uid":5}}"#,
        );
        assert_eq!(description.platform.unwrap().to_string(), "linux/arm64");
        assert_eq!(description.command.as_deref(), Some("run"));
        assert_eq!(
            (description.path.as_deref(), description.directory.as_str()),
            (Some("/b"), "/d")
        );
        for nothing in ["", "5", r#"{"platform":5}"#, r#"{"start":{"command":5}}"#] {
            let description = Description::of(nothing.as_bytes());
            assert!(description.platform.is_none() && description.command.is_none(), "{nothing}");
        }
        // Words behind the first may be anything, and any number of things.
        let many = format!(
            r#"{{"start":{{"command":["run"{}],"environment":[],"directory":""}}}}"#,
            ",[]".repeat(100_000)
        );
        assert_eq!(Description::of(many.as_bytes()).command.as_deref(), Some("run"));
    }
}
