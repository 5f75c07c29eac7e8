//! Makes an empty ext4 filesystem: `empty_disk FILE SIZE [OPTIONS]`.
//!
//! `cargo run --example empty_disk -- disk.img 64G --profile max -O sparse_super2`

mod arguments;

use std::process::ExitCode;

use arguments::{Arguments, HELP, Image, Result};

fn main() -> ExitCode {
    arguments::exit(make())
}

fn make() -> Result<()> {
    let arguments = Arguments::read(std::env::args_os().skip(1))?;
    let [path, size] = arguments.paths.as_slice() else {
        return Err(format!("usage: empty_disk FILE SIZE [OPTIONS]\n{HELP}").into());
    };
    let image = Image::create(path)?;
    let builder = image.builder(arguments.options(Some(size))?)?;
    image.finish(builder)
}
