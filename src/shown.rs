//! Texts from outside in messages: one line each, whatever bytes they have.

use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// As much of a name as a message shows.
pub(crate) const MAX_SHOWN: usize = 200;

/// Bytes as text: one line, and nothing that a terminal acts on. What shows nothing, bytes that are
/// no UTF-8 and backslashes are escaped; quotes, and letters of every language, are as they are.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for letter in chunk.valid().chars() {
                match letter {
                    '\\' => f.write_str("\\\\")?,
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    letter if letter.is_control() || is_invisible(letter) => {
                        write_hex(f, letter.encode_utf8(&mut [0; 4]).as_bytes())?;
                    }
                    letter => f.write_char(letter)?,
                }
            }
            write_hex(f, chunk.invalid())?;
        }
        Ok(())
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

/// Letters that show nothing, or turn the direction of those that follow.
pub(crate) fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
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
    fn a_text_is_one_line_and_moves_no_cursor() {
        for (given, expected) in [
            (&b"plain text"[..], "plain text"),
            (br#"a "b" 'c'"#, r#"a "b" 'c'"#),
            ("gr\u{f6}\u{df}e \u{65e5} e\u{301}".as_bytes(), "gr\u{f6}\u{df}e \u{65e5} e\u{301}"),
            (b"a\nb\tc\r", r"a\nb\tc\r"),
            (b"\x1b[31mred\0\x7f", r"\x1b[31mred\x00\x7f"),
            (b"not \xff UTF-8 \xe2\x82", r"not \xff UTF-8 \xe2\x82"),
            (br"dev-disk\x2dby", r"dev-disk\\x2dby"),
            ("turn\u{202e}ed \u{85}".as_bytes(), r"turn\xe2\x80\xaeed \xc2\x85"),
        ] {
            assert_eq!(bytes(given).to_string(), expected);
        }
    }

    #[test]
    fn hostile_text_is_shortened() {
        assert_eq!(excerpt("a\u{1b}[2J\n"), r"a\x1b[2J\n");
        assert!(excerpt(&"x".repeat(1 << 20)).len() < 300);
        assert_eq!(excerpt(&"\u{fc}".repeat(200)), "\u{fc}".repeat(200));
        assert_eq!(name(&[b'x'; 201]), format!("{}...", "x".repeat(200)));
    }
}
