//! Any bytes as a layer's archive: entries and their contents, or an error of the class "bad data".

#![no_main]

use std::io::{self, Read as _};

use banger::layer::{Archive, Limits};
use libfuzzer_sys::fuzz_target;

/// Contents are read up to here: a sparse file of 8 EiB is an honest entry.
const CONTENT: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let mut archive = Archive::new(bytes, "fuzz", &Limits::default());
    loop {
        match archive.next_entry() {
            Ok(Some(entry)) => {
                assert!(entry.path.len() <= Limits::default().path);
                // An error of the content is the archive's, and comes again.
                let _ = io::copy(&mut archive.body().take(CONTENT), &mut io::sink());
            }
            Ok(None) => break,
            Err(error) => {
                assert_eq!(error.exit_code(), 65, "{error}");
                break;
            }
        }
    }
});
