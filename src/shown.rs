//! Texts from outside in messages: one line each, whatever bytes they have.

use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// As much of a name as a message shows.
pub(crate) const MAX_SHOWN: usize = 200;

/// Quotes are no danger to a terminal, and easier to read as they are.
const QUOTES: [char; 2] = ['"', '\''];

/// Bytes as text: control characters, what cannot be seen, bytes that are no UTF-8 and backslashes
/// are escaped, everything else is as it is.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for part in chunk.valid().split_inclusive(QUOTES) {
                let text = part.strip_suffix(QUOTES);
                write!(f, "{}", text.unwrap_or(part).escape_debug())?;
                if text.is_some() {
                    part.chars()
                        .next_back()
                        .into_iter()
                        .try_for_each(|quote| f.write_char(quote))?;
                }
            }
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

/// Some bytes.
pub(crate) fn bytes<T: AsRef<[u8]> + ?Sized>(bytes: &T) -> Shown<'_> {
    Shown(bytes.as_ref())
}

/// A text that is known to be short.
pub(crate) fn text(text: &str) -> Shown<'_> {
    Shown(text.as_bytes())
}

/// The beginning of a text that came from outside; hostile ones can be long.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", Shown(text.as_bytes().get(..end).unwrap_or_default())),
        None => Shown(text.as_bytes()).to_string(),
    }
}

/// A path of the host.
pub(crate) fn path(path: &Path) -> String {
    Shown(path.as_os_str().as_bytes()).to_string()
}

/// A name that came from outside; hostile ones can be long.
pub(crate) fn name(name: &[u8]) -> String {
    match name.get(..MAX_SHOWN) {
        Some(start) if name.len() > MAX_SHOWN => format!("{}...", Shown(start)),
        _ => Shown(name).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_letters_are_as_they_are_and_all_else_is_escaped() {
        for (given, expected) in [
            (&b"plain"[..], "plain"),
            (br#"a "b" 'c'"#, r#"a "b" 'c'"#),
            (b"\"", "\""),
            ("\u{fc}\u{65e5}e\u{301}".as_bytes(), "\u{fc}\u{65e5}e\u{301}"),
            (b"a\x1b[2J\r\n\t\0\x7f", r"a\u{1b}[2J\r\n\t\0\u{7f}"),
            ("\u{202e}\u{200b}".as_bytes(), r"\u{202e}\u{200b}"),
            (b"\xff\xc3(\xe2\x82", r"\xff\xc3(\xe2\x82"),
            (br"\x41", r"\\x41"),
        ] {
            assert_eq!(bytes(given).to_string(), expected);
        }
    }

    #[test]
    fn hostile_text_is_shortened() {
        assert_eq!(excerpt("a\u{1b}[2J\n"), r"a\u{1b}[2J\n");
        assert!(excerpt(&"x".repeat(1 << 20)).len() < 300);
        assert_eq!(excerpt(&"\u{fc}".repeat(200)), "\u{fc}".repeat(200));
        assert_eq!(name(&[b'x'; 201]), format!("{}...", "x".repeat(200)));
    }
}
