//! Words for a shell.

use crate::error::{Error, Result};

/// A word that a POSIX shell reads as exactly these bytes: between single quotes nothing has a
/// meaning but the single quote itself (POSIX.1-2017, XCU, section 2.2.2).
pub(super) fn word(text: &str) -> Result<String> {
    if text.contains('\0') {
        let shown = crate::shown::excerpt(text);
        return Err(Error::bad_data(format!("the image's config has a NUL in \"{shown}\"")));
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// Several words with blanks between them.
pub(super) fn words<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<String> {
    let words = texts.into_iter().map(|text| word(text.as_ref()));
    Ok(words.collect::<Result<Vec<_>>>()?.join(" "))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What must come through as it is.
    const AWKWARD: [&str; 16] = [
        "",
        "plain",
        "two words",
        "it's",
        "'",
        "''quoted''",
        "\"double\"",
        "$(touch /tmp/owned)",
        "`id`",
        "${HOME} $HOME $$",
        "back\\slash\\",
        "line\nbreak\n",
        "\ttab\r",
        "-n",
        "ünïcödé 北京 🦀",
        "* ? [a] ~ # ; & | < > ! {a,b}",
    ];

    #[test]
    fn every_shell_reads_a_word_as_the_text_it_was() {
        let script = format!("printf '%s\\0' {}", words(AWKWARD).unwrap());
        let expected = AWKWARD.map(|text| format!("{text}\0")).concat();
        let mut asked = 0;
        for shell in [&["sh"][..], &["dash"], &["bash"], &["busybox", "sh"]] {
            let command = Command::new(shell[0]).args(&shell[1..]).arg("-c").arg(&script).output();
            // Not every machine has every shell; sh is everywhere.
            let Ok(output) = command else { continue };
            assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{shell:?}");
            asked += 1;
        }
        assert!(asked > 0);
    }

    #[test]
    fn a_nul_is_refused() {
        let error = word("a\0b").unwrap_err();
        assert_eq!(error.exit_code(), 65);
        assert!(error.to_string().contains(r"a\x00b"), "{error}");
    }
}
