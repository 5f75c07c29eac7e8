//! Any operations on the builder: no panic, no broken promise of its own, and an image in which an
//! independent reader finds what the builder says it holds.

#![no_main]

use banger_fuzz::operations;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| operations::run(bytes));
