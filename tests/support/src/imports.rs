//! Which module of a crate imports which: the order in which the rooms of the house stand.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every import below `src` that does not point downwards, a line each.
///
/// `order` lists the top-level modules from the uppermost to the lowest; a row's modules do not
/// import one another, and each must be there. `lib.rs` and `main.rs` stand above all; the tests at the end of a file are
/// free.
#[must_use]
pub fn upward(src: &Path, order: &[&[&str]]) -> Vec<String> {
    let rank = |module: &str| order.iter().position(|row| row.contains(&module));
    let is_there =
        |module: &str| src.join(module).is_dir() || src.join(module).with_extension("rs").is_file();
    let listed = order.iter().flat_map(|row| row.iter());
    let mut lines: Vec<_> = listed
        .filter(|module| !is_there(module))
        .map(|module| format!("{module} has a place in the order, and is not there"))
        .collect();
    for file in sources(src) {
        let relative = file.strip_prefix(src).expect("a file below src").with_extension("");
        let module: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
        let Some(name) = module.first().filter(|name| *name != "lib" && *name != "main") else {
            continue;
        };
        let Some(own) = rank(name) else {
            lines.push(format!("{name} has no place in the order"));
            continue;
        };
        let depth = module.iter().filter(|part| *part != "mod").count();
        let text = fs::read_to_string(&file).expect("a readable source file");
        for used in imports(&text, depth).iter().filter(|used| *used != name) {
            if rank(used).is_some_and(|used| used <= own) {
                lines.push(format!("{} imports {used}, which stands above it", relative.display()));
            }
        }
    }
    lines
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The first names of all paths from the crate's root in `text`, a module `depth` deep.
fn imports(text: &str, depth: usize) -> BTreeSet<String> {
    let code: String = text
        .split("#[cfg(test)]\nmod ")
        .next()
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
        .replace(&"super::".repeat(depth), "crate::");
    code.split("crate::")
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(group) => first_names(group),
            None => vec![identifier(rest)],
        })
        .collect()
}

/// The first names in `a::{b, c}, d as e}`, up to the closing brace.
fn first_names(group: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let mut names = vec![identifier(group)];
    for (place, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(identifier(group.get(place + 1..).unwrap_or_default())),
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_import_is_seen() {
        let text = "use crate::a::B;\nuse crate::{c::{D, E}, f,\n g as h};\nfn x() { super::i::j() }\n\
            // crate::comment\n#[cfg(test)]\nmod tests { use crate::k; }";
        let found: Vec<_> = imports(text, 1).into_iter().filter(|name| !name.is_empty()).collect();
        assert_eq!(found, ["a", "c", "f", "g", "i"]);
        assert!(!imports("super::sibling::x", 2).contains("sibling"));
    }

    #[test]
    fn an_import_that_points_upwards_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("low.rs"), "use crate::high::Thing;").unwrap();
        fs::write(directory.path().join("high.rs"), "use crate::low::Thing;").unwrap();
        fs::write(directory.path().join("lost.rs"), "").unwrap();
        assert_eq!(
            upward(directory.path(), &[&["high"], &["gone", "low"]]),
            [
                "gone has a place in the order, and is not there",
                "lost has no place in the order",
                "low imports high, which stands above it"
            ]
        );
    }
}
