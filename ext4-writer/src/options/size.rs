//! Sizes and profiles as people write them.

use std::str::FromStr;

use super::{Profile, Size};
use crate::error::{Error, Result};

impl FromStr for Size {
    type Err = Error;

    /// Reads `8G` ([`Size::Fixed`]), `fit` and `fit+512M` ([`Size::Fit`], without a word of inodes).
    /// K, M, G, T and P are powers of 1,024, also as `KB` and `KiB`, in either case; `1.5G` is a
    /// size, what makes no whole bytes is none.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for anything else.
    fn from_str(text: &str) -> Result<Self> {
        let Some(rest) = text.strip_prefix("fit") else { return bytes(text).map(Self::Fixed) };
        let free_bytes = match rest.strip_prefix('+') {
            Some(room) => bytes(room)?,
            None if rest.is_empty() => 0,
            None => return Err(no_size(text)),
        };
        Ok(Self::Fit { free_bytes, free_inodes: 0 })
    }
}

impl FromStr for Profile {
    type Err = Error;

    /// Reads a [name](Profile::name).
    ///
    /// # Errors
    /// [`Error::InvalidOption`] when no profile has it.
    fn from_str(name: &str) -> Result<Self> {
        Self::by_name(name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            let reason = format!("there is no \"{name}\", only {names}");
            Error::InvalidOption { option: "profile", reason }
        })
    }
}

fn no_size(text: &str) -> Error {
    let reason = format!("\"{text}\" is none; 8G, 1.5G, 512MiB, fit and fit+512M are");
    Error::InvalidOption { option: "size", reason }
}

/// A number with an optional unit.
fn bytes(text: &str) -> Result<u64> {
    exact_bytes(text).ok_or_else(|| no_size(text))
}

fn exact_bytes(text: &str) -> Option<u64> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = 1_u128 << shift(unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let parts = digits(fraction)?.checked_mul(unit)?;
    let whole = digits(whole)?.checked_mul(unit)?;
    // What makes no whole bytes is no size.
    let rest = (parts % scale == 0).then_some(parts / scale)?;
    u64::try_from(whole.checked_add(rest)?).ok()
}

fn digits(text: &str) -> Option<u128> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    text.parse().ok()
}

fn shift(unit: &str) -> Option<u32> {
    Some(match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        "P" | "PB" | "PIB" => 50,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("8G", 8 << 30),
            ("8GiB", 8 << 30),
            ("8gb", 8 << 30),
            ("1.5G", 3 << 29),
            ("4096", 4096),
            ("0.5K", 512),
        ] {
            assert_eq!(text.parse::<Size>().unwrap(), Size::Fixed(bytes), "{text}");
        }
        let room = Size::Fit { free_bytes: 512 << 20, free_inodes: 0 };
        assert_eq!("fit+512M".parse::<Size>().unwrap(), room);
        assert_eq!("fit".parse::<Size>().unwrap(), Size::Fit { free_bytes: 0, free_inodes: 0 });
        for text in
            ["", "G", "8X", "0.3", "fit512M", "fit+", "-1", "+1", "1.5.5G", "99999999P", "."]
        {
            let refused = text.parse::<Size>();
            assert!(matches!(refused, Err(Error::InvalidOption { option: "size", .. })), "{text}");
        }
    }

    #[test]
    fn profiles_are_read_by_their_names() {
        for profile in Profile::ALL {
            assert_eq!(profile.name().parse::<Profile>().unwrap(), profile);
        }
        let refused = "smallest".parse::<Profile>().unwrap_err().to_string();
        assert!(refused.contains("read-only"), "{refused}");
    }
}
