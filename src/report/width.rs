//! Text that keeps within the width of the terminal.

use terminal_size::terminal_size;

/// The width of texts where there is no terminal, or one that is wider than lines are read well.
const WIDEST: usize = 100;
/// Columns of a terminal that is too narrow to go by.
const NARROWEST: usize = 20;
/// Where a terminal is narrower, what a term means stands below it.
const NARROW: usize = 60;
/// What stands before a meaning below its term.
const BELOW: usize = 6;

/// The columns that a text may take: those of the terminal, or `COLUMNS`.
pub(crate) fn columns() -> usize {
    let given = || std::env::var("COLUMNS").ok()?.parse::<usize>().ok();
    let terminal = terminal_size().map(|(width, _)| usize::from(width.0));
    terminal.or_else(given).unwrap_or(WIDEST).clamp(NARROWEST, WIDEST)
}

/// The lines of a paragraph, of so many columns at most where words allow it.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Terms and what they mean, in two columns, or one below the other.
pub(crate) fn definitions<T: AsRef<str>>(rows: &[(T, T)], columns: usize) -> String {
    let widest = rows.iter().map(|(term, _)| term.as_ref().chars().count()).max().unwrap_or(0);
    let is_beside = columns >= NARROW && widest <= columns / 2;
    let indent = if is_beside { widest.saturating_add(4) } else { BELOW };
    let mut lines = Vec::new();
    for (term, meaning) in rows {
        let (term, meaning) = (term.as_ref(), meaning.as_ref());
        let mut meaning = wrap(meaning, columns.saturating_sub(indent)).into_iter();
        lines.push(match if is_beside { meaning.next() } else { None } {
            Some(first) => format!("  {term:widest$}  {first}"),
            None => format!("  {term}"),
        });
        lines.extend(meaning.map(|line| format!("{:indent$}{line}", "")));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_wider_than_the_terminal() {
        let rows =
            [("--size", "how large the disk is to be"), ("a-long-term", "and what it means")];
        for columns in [20, 40, 80] {
            let text = definitions(&rows, columns);
            assert!(text.lines().all(|line| line.chars().count() <= columns), "{text}");
        }
        assert_eq!(
            definitions(&rows, 80),
            "  --size       how large the disk is to be\n  a-long-term  and what it means\n"
        );
        assert!(
            definitions(&rows, 40).starts_with("  --size\n      how large the disk is to be\n")
        );
    }
}
