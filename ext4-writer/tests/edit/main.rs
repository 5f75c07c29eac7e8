//! The editor judged from outside: what it makes of images by mke2fs, by this library and by a
//! kernel is clean to e2fsck, and what the kernel shows is what was declared.

#![cfg(test)]

mod bed;
mod cuts;
mod operations;
mod random;
#[path = "../reader/seen.rs"]
#[allow(dead_code, reason = "the tests of the reader use all of it")]
mod seen;
mod shape;
