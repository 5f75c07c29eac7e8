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
/// decision.
#[test]
fn the_check_knows_nothing_of_the_writer() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/check");
    let writers = ["plan", "render", "emit", "builder", "edit", "tree", "geometry", "alloc"];
    for entry in std::fs::read_dir(src).expect("the check's own sources") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a source file");
        for writer in writers {
            let import = format!("crate::{writer}");
            assert!(!text.contains(&import), "{} imports {writer}", path.display());
        }
    }
}
