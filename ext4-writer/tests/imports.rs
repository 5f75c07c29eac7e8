//! The modules of the library stand in an order, and imports point downwards only. The checker
//! stands beside the builder and below nothing that writes: it has to be able to catch the writer.

use std::path::Path;

/// From the uppermost to the lowest; the modules of a row do not import one another.
const ORDER: &[&[&str]] = &[
    &["builder", "edit", "check"],
    &["emit", "reader"],
    &["plan"],
    &["tree", "alloc", "geometry"],
    &["attributes", "metadata"],
    &["dirhash", "sink"],
    &["checksum"],
    &["record"],
    &["units"],
    &["error"],
];

#[test]
fn imports_point_downwards() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(banger_test_support::imports::upward(&src, ORDER), Vec::<String>::new());
}
