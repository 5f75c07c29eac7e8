//! What failed, whether it may pass, and how long to wait before it is tried again.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::options::{MAX_RETRY_AFTER, Options};
use crate::error::{Error, ErrorKind, Result};
use crate::source::Warnings;

/// The longest pause between two tries that we choose.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// How many bytes earn the tries anew (containers/image: `body_reader.go`). A server that breaks off
/// after every few of them is given up.
const PROGRESS: u64 = 1 << 20;

/// An error, and what is to be done about it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// Whether the same request may succeed later.
    pub(super) transient: bool,
    /// How far the request came.
    pub(super) contact: Contact,
    /// What it means for the part of a blob that has been received.
    pub(super) part: Part,
    /// How long the server asks to wait.
    pub(super) after: Option<Duration>,
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contact {
    /// No connection came about, or none that speaks the protocol.
    None,
    /// There was a connection, and no answer in time.
    Silent,
    /// The connection broke off.
    Broken,
    /// TLS was spoken, and one of the two did not like the other.
    Tls,
    /// The server answered.
    Answered,
}

impl Contact {
    /// Whether another request is not worth its while.
    pub(super) fn is_down(self) -> bool {
        matches!(self, Self::None | Self::Silent | Self::Tls)
    }
}

/// What a failure means for the part of a blob that has been received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Nothing: the next try goes on behind it.
    Stands,
    /// The server does not begin in the middle of a blob, but may send all of it.
    Refused,
    /// The server has a blob of another length: the part is of no use.
    Contradicted,
}

impl Failure {
    pub(super) fn transient(error: Error) -> Self {
        Self { transient: true, ..Self::from(error) }
    }

    /// Whether an answer may be another one when all of a blob is asked for, and not the rest.
    pub(super) fn may_be_of_the_range(&self) -> bool {
        let is_limit = self.error.kind() == ErrorKind::TryAgain;
        self.contact == Contact::Answered && self.part != Part::Contradicted && !is_limit
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (contact, part) = (Contact::Answered, Part::Stands);
        Self { error, transient: false, contact, part, after: None }
    }
}

/// Whether an answer of this status may be another one later.
///
/// 499 and 522 are what proxies say for a connection that they lost.
pub(super) fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 499 | 500 | 502 | 503 | 504 | 522)
}

/// Whether an answer to a request for the rest of a blob may be another one to a request for all
/// of it: storage that knows no ranges says so in many ways, seldom by 416.
pub(super) fn may_refuse_range(status: StatusCode) -> bool {
    match status.as_u16() {
        // Who we are, and how much is asked of the server, is the same for both.
        401 | 407 => false,
        500 => true,
        _ => !may_pass(status) && (status.is_client_error() || status.is_server_error()),
    }
}

/// How long `Retry-After` asks to wait: seconds, or a date (RFC 9110, section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = SystemTime::from(chrono::DateTime::parse_from_rfc2822(text).ok()?);
    Some(date.duration_since(now).unwrap_or_default())
}

/// Counts the tries of one request.
#[derive(Debug)]
pub(super) struct Tries {
    given: u32,
    left: u32,
    first: Duration,
    delay: Duration,
    since: u64,
    warnings: Warnings,
}

impl Tries {
    pub(super) fn new(options: &Options) -> Self {
        let (given, first) = (options.retries, options.retry_delay);
        let warnings = options.warnings.clone();
        Self { given, left: given, first, delay: first, since: 0, warnings }
    }

    /// Whether nothing is tried again after this failure.
    pub(super) fn end_with(&self, failure: &Failure) -> bool {
        !failure.transient || self.left == 0
    }

    /// Says how many bytes have been received: enough of them, and the counting begins anew.
    pub(super) fn progressed_to(&mut self, received: u64) {
        if received.saturating_sub(self.since) >= PROGRESS {
            (self.left, self.delay, self.since) = (self.given, self.first, received);
        }
    }

    /// Waits before the next try, or gives up.
    pub(super) async fn again_after(&mut self, failure: Failure) -> Result<()> {
        if self.end_with(&failure) {
            return Err(failure.error);
        }
        if let Some(asked) = failure.after.filter(|asked| *asked > MAX_RETRY_AFTER) {
            return Err(failure
                .error
                .with_hint(format!("the registry asks to wait {} seconds", asked.as_secs())));
        }
        self.left = self.left.saturating_sub(1);
        let wait = jittered(self.delay, fastrand::f64()).max(failure.after.unwrap_or_default());
        self.warnings.announce(&format!(
            "{}; trying again in {:.1} s",
            failure.error.message(),
            wait.as_secs_f32()
        ));
        tokio::time::sleep(wait).await;
        self.delay = self.delay.saturating_mul(2).min(MAX_DELAY);
        Ok(())
    }
}

/// Between a half and the whole of `delay`, so that many clients do not come back at once.
/// `chance` is between 0 and 1.
fn jittered(delay: Duration, chance: f64) -> Duration {
    delay.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        retry_after(&headers, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(asked("7"), Some(7));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:57 GMT"), Some(20));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:17 GMT"), Some(0));
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("-1"), None);
    }

    #[test]
    fn pauses_are_scattered_below_the_delay() {
        let delay = Duration::from_secs(2);
        assert_eq!(jittered(delay, 0.0), Duration::from_secs(1));
        assert_eq!(jittered(delay, 1.0), delay);
    }

    #[test]
    fn a_range_may_be_refused_by_nearly_every_error() {
        let refuses = |status| may_refuse_range(StatusCode::from_u16(status).unwrap());
        for status in [400, 403, 404, 405, 410, 416, 500, 501, 505] {
            assert!(refuses(status), "{status}");
        }
        for status in [200, 206, 307, 401, 407, 408, 429, 502, 503, 504] {
            assert!(!refuses(status), "{status}");
        }
    }

    #[test]
    fn tries_are_earned_by_bytes_and_not_by_breaks() {
        let mut tries = Tries::new(&Options { retries: 2, ..Options::default() });
        tries.left = 0;
        tries.progressed_to(PROGRESS - 1);
        assert_eq!(tries.left, 0);
        tries.progressed_to(PROGRESS);
        assert_eq!(tries.left, 2);
        tries.left = 0;
        tries.progressed_to(PROGRESS + 1);
        assert_eq!(tries.left, 0);
    }

    #[tokio::test]
    async fn a_wait_beyond_patience_is_told_at_once() {
        let mut tries = Tries::new(&Options::default());
        let after = Some(Duration::from_secs(3600));
        let failure = Failure { after, ..Failure::transient(Error::try_again("slow down")) };
        let error = tries.again_after(failure).await.unwrap_err();
        assert_eq!(error.exit_code(), 75);
        assert!(error.to_string().contains("asks to wait 3600 seconds"), "{error}");
    }
}
