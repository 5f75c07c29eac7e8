//! Any bytes as an image: the check has an answer, with no panic and no end of memory, and what is
//! sound has to be readable.

#![no_main]

use banger_fuzz::damaged;
use ext4_writer::check::{Judge, Options, check};
use ext4_writer::reader::{Reader, Source};
use libfuzzer_sys::fuzz_target;

fn ask<S: Source + Sync>(source: S) {
    let options = Options { threads: 1, ..Options::default() };
    let report = check(&source, &options).expect("memory can be read");
    assert!(report.findings.len() <= options.max_findings);
    if report.is_sound(Judge::Kernel) {
        let reader = Reader::open(&source).expect("what is sound can be opened");
        let root = reader.root().expect("what is sound has a root");
        for entry in reader.walk(&root) {
            entry.expect("what is sound can be walked");
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    ask(bytes);
    if let Some(image) = damaged::image(bytes) {
        ask(image);
    }
});
