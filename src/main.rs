//! The command line of banger.

fn main() {}
