//! The modules of the library stand in an order, and imports point downwards only.

use std::path::Path;

/// From the uppermost to the lowest; the modules of a row do not import one another.
const ORDER: &[&[&str]] = &[
    &["builder", "edit", "device", "write_behind"],
    &["emit", "readback", "check"],
    &["plan", "content", "reader"],
    &["render"],
    &["tree", "geometry", "write_buffer", "alignment"],
    &["attributes", "alloc"],
    &["options"],
    &["format"],
    &["metadata", "checksum", "names"],
    &["record", "sink", "pending_zeroes"],
    &["units", "buffer"],
    &["error", "deferred_error"],
];

#[test]
fn imports_point_downwards() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(banger_test_support::imports::upward(&src, ORDER), Vec::<String>::new());
}

#[test]
fn no_files_import_one_another() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(banger_test_support::imports::circles(&src), Vec::<String>::new());
}

/// The check has to be able to catch the writer: it shares facts of the format with it and no
/// decision. What it reads with shares no more.
#[test]
fn check_and_reader_know_nothing_of_the_writer() {
    const SHARED: [&str; 8] =
        ["check", "reader", "checksum", "format", "metadata", "record", "sink", "units"];
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for folder in ["check", "reader"] {
        for entry in std::fs::read_dir(src.join(folder)).expect("its own sources") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("a source file");
            let code = text.split("mod tests {").next().expect("what is before the tests");
            let imports = code.lines().filter_map(|line| line.trim().strip_prefix("use crate::"));
            for import in imports {
                let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
                let module = import.split(|letter| !is_of_name(letter)).next();
                let is_shared = module.is_some_and(|module| SHARED.contains(&module));
                assert!(is_shared, "{} imports {import}", path.display());
            }
        }
    }
}
