//! Which module of a crate imports which: the order in which the rooms of the house stand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every import below `src` that does not point downwards, a line each.
///
/// `order` lists the top-level modules from the uppermost to the lowest; a row's modules do not
/// import one another, and each must be there. `lib.rs` and `main.rs` stand above all; the tests at
/// the end of a file are free.
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
        for used in imports_of(src, &file).iter().filter(|used| *used != name) {
            if rank(used).is_some_and(|used| used <= own) {
                lines.push(format!("{} imports {used}, which stands above it", relative.display()));
            }
        }
    }
    lines
}

/// Every import of a module's files that is of no module in `allowed`, a line each.
#[must_use]
pub fn foreign(src: &Path, module: &str, allowed: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    for file in sources(&src.join(module)) {
        let used = imports_of(src, &file);
        let is_foreign = |used: &&String| {
            !used.is_empty() && *used != module && !allowed.contains(&used.as_str())
        };
        let foreign = used.iter().filter(is_foreign);
        let name = file.strip_prefix(src).expect("a file below src").display();
        lines.extend(foreign.map(|used| format!("{name} imports {used}")));
    }
    lines
}

/// Every module below `src` whose own text is beside its folder, not in it as `mod.rs`, a line each.
#[must_use]
pub fn beside_folders(src: &Path) -> Vec<String> {
    let has_folder = |file: &PathBuf| file.with_extension("").is_dir();
    sources(src)
        .iter()
        .filter(|file| has_folder(file))
        .map(|file| file.display().to_string())
        .collect()
}

/// Every circle in which files below `src` import one another, a line each.
///
/// What a `mod.rs` declares and hands on (`mod`, `pub use`) is no import; the tests at the end of a
/// file are free.
#[must_use]
pub fn circles(src: &Path) -> Vec<String> {
    let modules: BTreeMap<String, String> = sources(src)
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).expect("a readable source file");
            (module_of(src, &file), text)
        })
        .filter(|(module, _)| module != "lib" && module != "main")
        .collect();
    let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (module, text) in &modules {
        let used = paths(module, text);
        let known = used.iter().filter_map(|path| longest(&modules, path));
        graph.insert(module, known.filter(|used| used != module).collect());
    }
    // What imports nothing that is left is in no circle, and neither is what nothing left imports.
    loop {
        let left: BTreeSet<&str> = graph.keys().copied().collect();
        let imported: BTreeSet<&str> = graph.values().flatten().copied().collect();
        graph.retain(|module, used| {
            used.retain(|used| left.contains(used));
            !used.is_empty() && imported.contains(module)
        });
        if graph.len() == left.len() {
            break;
        }
    }
    let line = |(module, used): (&str, BTreeSet<&str>)| {
        let used: Vec<_> = used.into_iter().collect();
        format!("{module} is in a circle with {}", used.join(", "))
    };
    graph.into_iter().map(line).collect()
}

/// The module of a file: `a::b` for `a/b.rs` and `a/b/mod.rs`.
fn module_of(src: &Path, file: &Path) -> String {
    let relative = file.strip_prefix(src).expect("a file below src").with_extension("");
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
    let parts: Vec<_> = parts.iter().filter(|part| *part != "mod").map(|part| &**part).collect();
    parts.join("::")
}

/// The longest beginning of a path that is a module.
fn longest<'a>(modules: &'a BTreeMap<String, String>, path: &str) -> Option<&'a str> {
    let ends = path.match_indices("::").map(|(end, _)| end).chain([path.len()]);
    let beginnings: Vec<_> = ends.filter_map(|end| path.get(..end)).collect();
    let found = beginnings.into_iter().rev().find_map(|path| modules.get_key_value(path));
    found.map(|(module, _)| module.as_str())
}

/// All paths that a module names, from the crate's root.
fn paths(module: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let children: Vec<_> = code
        .lines()
        .filter_map(|line| line.strip_suffix(';')?.rsplit_once("mod ").map(|(_, name)| name))
        .collect();
    let mut found = Vec::new();
    for statement in code.split(';') {
        let statement = statement.trim_start();
        if statement.starts_with("pub use ") || statement.starts_with("pub(crate) use ") {
            continue;
        }
        for rest in statement.split("crate::").skip(1) {
            expand("", rest, &mut found);
        }
        // Of several in a row each goes one up.
        let mut root = module;
        for rest in statement.split("super::").skip(1) {
            root = root.rsplit_once("::").map_or("", |(parent, _)| parent);
            if !rest.is_empty() {
                expand(root, rest, &mut found);
                root = module;
            }
        }
        let own = statement.strip_prefix("use ").filter(|rest| {
            children
                .iter()
                .any(|child| rest.strip_prefix(child).is_some_and(|r| r.starts_with("::")))
        });
        if let Some(rest) = own {
            expand(module, rest, &mut found);
        }
    }
    found
}

/// Adds the paths of `a::b`, or of `{a::b, c::{d, e}}`, below `root`.
fn expand(root: &str, tree: &str, found: &mut Vec<String>) {
    let tree = tree.trim_start();
    let below = |name: &str| match root {
        "" => name.to_owned(),
        root => format!("{root}::{name}"),
    };
    if let Some(group) = tree.strip_prefix('{') {
        for branch in branches(group) {
            expand(root, branch, found);
        }
        return;
    }
    let name = identifier(tree);
    let path = below(&name);
    match tree.get(name.len()..).and_then(|rest| rest.strip_prefix("::")) {
        Some(rest) if !name.is_empty() => expand(&path, rest, found),
        _ => found.push(path),
    }
}

/// What stands between the commas of a group, up to its closing brace.
fn branches(group: &str) -> Vec<&str> {
    let (mut depth, mut start) = (0_usize, 0);
    let mut found = Vec::new();
    for (place, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                found.extend(group.get(start..place));
                start = place + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    found
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

/// A source file without its comments and its tests.
fn code(text: &str) -> String {
    let lines = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().lines();
    let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
    // How far something is seen is no import.
    lines.collect::<Vec<_>>().join("\n").replace("pub(in crate::", "pub(in ")
}

/// The top-level modules that a file imports.
fn imports_of(src: &Path, file: &Path) -> BTreeSet<String> {
    let depth = module_of(src, file).split("::").count();
    let text = fs::read_to_string(file).expect("a readable source file");
    imports(&text, depth)
}

/// The first names of all paths from the crate's root in `text`, a module `depth` deep.
fn imports(text: &str, depth: usize) -> BTreeSet<String> {
    let code = code(text).replace(&"super::".repeat(depth), "crate::");
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

    #[test]
    fn an_import_that_is_not_allowed_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let room = directory.path().join("room");
        fs::create_dir_all(room.join("below")).unwrap();
        fs::write(room.join("mod.rs"), "use crate::{room::below, low};").unwrap();
        fs::write(room.join("below/deep.rs"), "fn x() { super::super::super::high::y() }").unwrap();
        assert_eq!(
            foreign(directory.path(), "room", &["low"]),
            ["room/below/deep.rs imports high"]
        );
    }

    #[test]
    fn a_module_beside_its_folder_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("room/inner")).unwrap();
        fs::write(directory.path().join("room/mod.rs"), "").unwrap();
        assert_eq!(beside_folders(directory.path()), Vec::<String>::new());
        let file = directory.path().join("room/inner.rs");
        fs::write(&file, "").unwrap();
        assert_eq!(beside_folders(directory.path()), [file.display().to_string()]);
    }

    #[test]
    fn files_that_import_one_another_are_reported() {
        let directory = tempfile::tempdir().unwrap();
        let room = directory.path().join("room");
        fs::create_dir(&room).unwrap();
        fs::write(directory.path().join("low.rs"), "").unwrap();
        for (name, text) in [
            ("mod", "mod one;\nmod two;\npub use one::Thing;"),
            ("one", "use crate::{low::X, room::{two::{A, B}}};"),
            ("two", "use super::three;"),
            ("three", "fn x() { super::super::room::one::x() }"),
            ("four", "use crate::room::one::Thing;"),
        ] {
            fs::write(room.join(name).with_extension("rs"), text).unwrap();
        }
        assert_eq!(
            circles(directory.path()),
            [
                "room::one is in a circle with room::two",
                "room::three is in a circle with room::one",
                "room::two is in a circle with room::three"
            ]
        );
    }
}
