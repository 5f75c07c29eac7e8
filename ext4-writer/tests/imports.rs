//! The modules of the library stand in an order, and imports point downwards only.

use std::path::Path;

use banger_test_support::imports;

/// From the uppermost to the lowest; the modules of a row do not import one another.
const ORDER: &[&[&str]] = &[
    &["host_tree", "paths", "io_errors"],
    &["builder", "edit", "device", "write_behind"],
    &["emit", "readback", "check"],
    &["plan", "content", "reader"],
    &["render"],
    &["tree", "geometry", "write_buffer", "alignment"],
    &["attributes", "alloc"],
    &["options", "sink", "pending_zeroes"],
    &["format"],
    &["metadata", "names"],
    &["record", "buffer"],
    &["error", "deferred_error", "positional"],
];

#[test]
fn imports_point_downwards() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(imports::upward(&src, ORDER), Vec::<String>::new());
}

#[test]
fn modules_with_folders_are_in_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(imports::beside_folders(&src), Vec::<String>::new());
}

#[test]
fn no_files_import_one_another() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(imports::circles(&src), Vec::<String>::new());
}

/// The check has to be able to catch the writer: it shares the format with it and no decision. What
/// it reads with shares no more; of sinks the reader knows the one in memory, which it can read, and
/// `positional` is what each system calls a read at an offset.
#[test]
fn check_and_reader_know_nothing_of_the_writer() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let check = ["reader", "format", "record", "metadata"];
    let reader = ["format", "record", "metadata", "sink", "positional"];
    assert_eq!(imports::foreign(&src, "check", &check), Vec::<String>::new());
    assert_eq!(imports::foreign(&src, "reader", &reader), Vec::<String>::new());
}
