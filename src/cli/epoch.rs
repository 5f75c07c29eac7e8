//! The times that are not in an image.

use std::time::{SystemTime, UNIX_EPOCH};

use ext4_writer::Timestamp;

use crate::error::{Error, Result};
use crate::shown;

/// `SOURCE_DATE_EPOCH`: the time of what has none of its own, and the latest time of all.
///
/// Source: <https://reproducible-builds.org/specs/source-date-epoch/>.
pub(super) fn source_date_epoch() -> Result<Option<Timestamp>> {
    let Some(given) = std::env::var_os("SOURCE_DATE_EPOCH") else { return Ok(None) };
    let seconds = given.to_str().and_then(|text| text.parse::<u32>().ok()).ok_or_else(|| {
        Error::usage(format!(
            "SOURCE_DATE_EPOCH is \"{}\", not a number of seconds since 1970",
            shown::bytes(given.as_encoded_bytes())
        ))
    })?;
    Ok(Some(Timestamp::from_seconds(seconds.into())))
}

/// The time by the clock of this host.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_seconds(i64::try_from(since.as_secs()).unwrap_or_default())
}
