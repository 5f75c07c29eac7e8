//! What failed, whether it may pass, and how long to wait before it is tried again.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::Options;
use crate::error::{Error, Result};

/// The longest pause between two tries that we choose.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// The longest pause that a registry may ask for; who asks for more is told to the user at once.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// How many bytes earn the tries anew (containers/image: `body_reader.go`). A server that breaks off
/// after every few of them is given up.
const PROGRESS: u64 = 1 << 20;

/// An error, and what is to be done about it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// Whether the same request may succeed later.
    pub(super) transient: bool,
    /// Whether nobody answered at all.
    pub(super) unreachable: bool,
    /// Whether the server cannot begin in the middle of a blob.
    pub(super) from_the_start: bool,
    /// How long the server asks to wait.
    pub(super) after: Option<Duration>,
}

impl Failure {
    pub(super) fn transient(error: Error) -> Self {
        Self { transient: true, ..Self::from(error) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (transient, unreachable, from_the_start) = (false, false, false);
        Self { error, transient, unreachable, from_the_start, after: None }
    }
}

/// Whether an answer of this status may be another one later.
///
/// 499 and 522 are what proxies say for a connection that they lost.
pub(super) fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 499 | 500 | 502 | 503 | 504 | 522)
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
}

impl Tries {
    pub(super) fn new(options: &Options) -> Self {
        let (given, first) = (options.retries, options.retry_delay);
        Self { given, left: given, first, delay: first, since: 0 }
    }

    /// Says how many bytes have arrived: enough of them, and the counting begins anew.
    pub(super) fn progressed_to(&mut self, received: u64) {
        if received.saturating_sub(self.since) >= PROGRESS {
            (self.left, self.delay, self.since) = (self.given, self.first, received);
        }
    }

    /// Waits before the next try, or gives up.
    pub(super) async fn again_after(&mut self, failure: Failure) -> Result<()> {
        if !failure.transient || self.left == 0 {
            return Err(failure.error);
        }
        if let Some(asked) = failure.after.filter(|asked| *asked > MAX_RETRY_AFTER) {
            return Err(failure
                .error
                .hint(format!("the registry asks to wait {} seconds", asked.as_secs())));
        }
        self.left = self.left.saturating_sub(1);
        let wait = jittered(self.delay, fastrand::f64()).max(failure.after.unwrap_or_default());
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
