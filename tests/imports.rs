//! The rooms of the program stand in an order, and imports point downwards only.

use std::path::Path;

/// From the uppermost to the lowest; the rooms of a row do not import one another.
const ORDER: &[&[&str]] = &[
    &["cli"],
    &["demo"],
    &["report"],
    &["pull", "edit"],
    &["image", "look"],
    &["lint"],
    &["guest"],
    &["inject"],
    &["flatten"],
    &["source"],
    &["layer", "cache"],
    &["digest", "read", "signature"],
    &["error", "shown", "json", "open"],
];

#[test]
fn imports_point_downwards() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(banger_test_support::imports::upward(&src, ORDER), Vec::<String>::new());
}

#[test]
fn modules_with_folders_are_in_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(banger_test_support::imports::beside_folders(&src), Vec::<String>::new());
}

#[test]
fn no_files_import_one_another() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(banger_test_support::imports::circles(&src), Vec::<String>::new());
}

#[test]
fn every_file_that_the_design_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let design = std::fs::read_to_string(root.join("docs/design.md")).expect("the design");
    let words = design.split('`').map(Path::new).filter(|word| word.starts_with("src"));
    let named: Vec<_> = words.filter(|word| word.extension().is_some()).collect();
    assert!(named.len() > 20, "{named:?}");
    let missing: Vec<_> = named.iter().filter(|file| !root.join(file).is_file()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
