//! Makes an empty ext4 filesystem: `empty_disk FILE SIZE [WORDS]`.
//!
//! `cargo run --example empty_disk -- disk.img 64G --profile max -O sparse_super2`

mod words;

use std::process::ExitCode;

use words::{HELP, Image, Result, Words};

fn main() -> ExitCode {
    words::exit(make())
}

fn make() -> Result<()> {
    let words = Words::read(std::env::args_os().skip(1))?;
    let [path, size] = words.places.as_slice() else {
        return Err(format!("usage: empty_disk FILE SIZE [WORDS]\n{HELP}").into());
    };
    let image = Image::create(path)?;
    let builder = image.builder(words.options(Some(size))?)?;
    image.finish(builder)
}
