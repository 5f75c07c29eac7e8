//! What names a blob or a document.

use serde::Deserialize;

use super::lists::list;
use crate::digest::Digest;
use crate::source::excerpt;

/// How many addresses a descriptor may name.
pub(super) const MAX_URLS: usize = 100;
/// A blob or a document, by name, length and type.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The type that it is declared to have.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Where else a layer is. Nobody is asked there: what is missing is named in the error.
    #[serde(default, deserialize_with = "list::<_, _, MAX_URLS>")]
    pub urls: Vec<String>,
}

/// What is said of a layer that is missing and has `urls`. They are never fetched: whoever made the
/// image chose them, and registries hold such layers nowadays. A path or a query may be a secret.
pub(in crate::source) fn foreign_layer(urls: &[String]) -> String {
    let url: Option<reqwest::Url> = urls.first().and_then(|url| url.parse().ok());
    let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or("a foreign server");
    format!("the manifest has urls for it, at {}, which are never fetched", excerpt(host))
}
