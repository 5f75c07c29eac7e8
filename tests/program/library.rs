//! The crate as a program uses it: the example that stands beside it.

use std::ffi::OsString;
use std::fs;

use banger_test_support::gate;
use banger_test_support::layers::{Compression, write_layout};
use banger_test_support::storm::assert_kernel_agrees;

use crate::banger::Bench;
use crate::image::{image, tree};

#[path = "../../examples/pull.rs"]
#[expect(dead_code, reason = "the example's main is not called here")]
mod example;

#[test]
fn the_example_makes_the_bytes_that_the_program_makes() {
    let bench = Bench::new();
    write_layout(&bench.path("layout"), &[image(Compression::Gzip)]);
    bench.build("oci:layout", "program.ext4", &[]);
    let mut source = OsString::from("oci:");
    source.push(bench.path("layout"));
    let output = bench.path("library.ext4");
    let pulled = example::disk_of(&source, &output).unwrap();
    assert_eq!(pulled.built.path, output);
    gate::assert_clean(&output);
    assert_kernel_agrees(&output, &tree());
    let program = fs::read(bench.path("program.ext4")).unwrap();
    assert!(program == fs::read(&output).unwrap(), "the two differ");
    let refusal = example::disk_of(&source, &output).unwrap_err();
    assert_eq!(refusal.exit_code(), 73, "{refusal}");
}
