//! Credentials on standard input.

use std::io::Read;

use super::secret::Credentials;
use crate::error::{Error, Result};

/// The longest user name and password that are read from standard input.
const MAX_GIVEN: u64 = 64 << 10;

/// Reads `USER:PASSWORD` from `input`, up to the end or the first line's.
pub fn from_input(input: impl Read) -> Result<Credentials> {
    let refuse = |why: &str| Error::usage(format!("cannot use the credentials given: {why}"));
    let mut text = String::new();
    input.take(MAX_GIVEN.saturating_add(1)).read_to_string(&mut text).map_err(|error| {
        Error::io("cannot read credentials from standard input").with_source(error)
    })?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_GIVEN) {
        return Err(refuse("they are longer than 64 KiB"));
    }
    let line = text.lines().next().unwrap_or_default();
    match line.split_once(':') {
        Some((user, password)) if !user.is_empty() => {
            Ok(Credentials::of_user(user.to_owned(), password.to_owned()))
        }
        _ => Err(refuse("standard input does not begin with USER:PASSWORD")),
    }
}
