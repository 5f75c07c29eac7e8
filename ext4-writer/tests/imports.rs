//! The modules of the library stand in an order, and imports point downwards only.

use std::path::Path;

/// From the uppermost to the lowest; the modules of a row do not import one another.
const ORDER: &[&[&str]] = &[
    &["builder", "edit", "device", "signature", "behind"],
    &["emit", "readback"],
    &["plan", "content", "reader"],
    &["render"],
    &["tree", "geometry", "batch", "anchors"],
    &["attributes", "alloc", "dirhash"],
    &["format"],
    &["options"],
    &["features"],
    &["metadata", "checksum", "names"],
    &["record", "sink", "stale"],
    &["units", "buffer"],
    &["error", "late"],
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
