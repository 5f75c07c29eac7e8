//! Bodies that are small by right: errors, tokens. Of any other no more than a beginning is read.

use std::time::{Duration, Instant};

use reqwest::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue,
};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use crate::json;
use crate::source::excerpt;

/// A body that brings fewer bytes within the time that a server may be silent is as good as
/// silent.
pub(super) const MIN_THROUGHPUT: u64 = 1 << 10;

/// The coding of a body as it is.
pub(super) const IDENTITY: &str = "identity";

/// Whether an answer has the whole of what was asked for. A proxy that changed something about it
/// says 203 (RFC 9110, section 15.3.4); the digest tells whether the bytes are the right ones.
pub(super) fn is_whole(status: StatusCode) -> bool {
    matches!(status, StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION)
}

/// The coding that a body is said to have though none was asked for. Some storage says so of blobs
/// that are compressed by themselves, and means nothing by it.
pub(super) fn coding(headers: &HeaderMap) -> Option<String> {
    let said = headers.get(CONTENT_ENCODING)?.to_str().ok()?.trim();
    let is_none = said.is_empty() || said.eq_ignore_ascii_case(IDENTITY);
    (!is_none).then(|| excerpt(said))
}

/// Whether an answer is said to be a web page.
pub(super) fn is_page(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    media_type.is_some_and(|name| name.to_ascii_lowercase().starts_with(b"text/html"))
}

/// The length that a header announces; [`Response::content_length`] measures the body instead,
/// and the answer to a HEAD has none.
pub(super) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The bytes of a blob that an answer has, as `Content-Range` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    pub(super) first: u64,
    pub(super) last: u64,
    /// The length of the whole, which a server need not know.
    pub(super) whole: Option<u64>,
}

impl ContentRange {
    /// Source of the grammar: RFC 9110, section 14.4.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(CONTENT_RANGE)?.to_str().ok()?.trim();
        let (unit, text) = text.split_once(' ')?;
        let (range, whole) = text.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let number = |text: &str| text.trim().parse().ok();
        let whole = if whole.trim() == "*" { None } else { Some(number(whole)?) };
        let (first, last): (u64, u64) = (number(first)?, number(last)?);
        let makes_sense = first <= last && whole.is_none_or(|whole| last < whole);
        (unit.eq_ignore_ascii_case("bytes") && makes_sense).then_some(Self { first, last, whole })
    }
}

/// Whether enough bytes come.
pub(super) struct MinThroughput {
    pub(super) window: Duration,
    since: Instant,
    bytes: u64,
}

impl MinThroughput {
    pub(super) fn new(window: Duration) -> Self {
        Self { window, since: Instant::now(), bytes: 0 }
    }

    pub(super) fn holds(&mut self, length: u64) -> bool {
        self.bytes = self.bytes.saturating_add(length);
        if self.since.elapsed() < self.window {
            return true;
        }
        let enough = self.bytes >= MIN_THROUGHPUT;
        (self.since, self.bytes) = (Instant::now(), 0);
        enough
    }
}

/// The beginning of a body.
pub(super) struct BodyPrefix {
    pub(super) body: Vec<u8>,
    /// Why it is not all.
    pub(super) truncation: Option<Truncation>,
}

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truncation {
    /// It is longer than it may be.
    Long,
    /// It broke off, or came too slowly.
    Broken,
}

impl BodyPrefix {
    /// At most `limit` bytes of a body that may be as slow as any other.
    pub(super) async fn of(response: &mut Response, limit: u64, window: Duration) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let (mut body, mut throughput) = (Vec::new(), MinThroughput::new(window));
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Self { body, truncation: None },
                Err(_) => return Self { body, truncation: Some(Truncation::Broken) },
            };
            body.extend_from_slice(&chunk);
            if body.len() > limit {
                body.truncate(limit);
                return Self { body, truncation: Some(Truncation::Long) };
            }
            if !throughput.holds(u64::try_from(chunk.len()).unwrap_or(u64::MAX)) {
                return Self { body, truncation: Some(Truncation::Broken) };
            }
        }
    }
}

/// The text of an error's body: a registry's JSON, or the beginning of anything else.
///
/// Source of the format: OCI distribution-spec, "Error Codes".
pub(super) fn explained(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Envelope {
        errors: Vec<Reason>,
    }
    #[derive(Deserialize)]
    struct Reason {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let envelope: Option<Envelope> = json::from_slice(body).ok();
    match envelope.as_ref().and_then(|envelope| envelope.errors.first()) {
        Some(Reason { code, message }) if message.is_empty() => excerpt(code),
        Some(Reason { code, message }) => excerpt(&format!("{code}: {message}")),
        None => excerpt(String::from_utf8_lossy(body).trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Option<(u64, u64, Option<u64>)> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_RANGE, text.parse().unwrap());
        ContentRange::of(&headers).map(|range| (range.first, range.last, range.whole))
    }

    #[test]
    fn ranges_are_read_as_the_grammar_has_them() {
        assert_eq!(range("bytes 2-9/10"), Some((2, 9, Some(10))));
        assert_eq!(range("Bytes 2-5/*"), Some((2, 5, None)));
        assert_eq!(range("bytes 0-0/1"), Some((0, 0, Some(1))));
        for text in ["", "bytes", "bytes */10", "bytes 5-2/10", "bytes 2-10/10", "lines 2-9/10"] {
            assert_eq!(range(text), None, "{text}");
        }
    }

    #[test]
    fn a_coding_is_what_changes_the_bytes() {
        let coding = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_ENCODING, text.parse().unwrap());
            coding(&headers)
        };
        assert_eq!(coding("gzip").as_deref(), Some("gzip"));
        assert_eq!((coding("Identity"), coding("")), (None, None));
    }
}
