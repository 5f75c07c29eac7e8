//! The rooms of the program stand in an order, and imports point downwards only.

use std::path::Path;

/// From the uppermost to the lowest; the rooms of a row do not import one another.
const ORDER: &[&[&str]] = &[
    &["cli"],
    &["demo"],
    &["report"],
    &["pull"],
    &["image", "look"],
    &["lint"],
    &["guest"],
    &["inject"],
    &["flatten"],
    &["source"],
    &["layer", "cache"],
    &["digest"],
    &["error", "shown", "json", "open"],
];

#[test]
fn imports_point_downwards() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(banger_test_support::imports::upward(&src, ORDER), Vec::<String>::new());
}
