//! Any options: no panic, no broken promise, and a summary that agrees with itself; a valid size
//! never fails.

#![no_main]

use banger_fuzz::options;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| options::run(bytes));
