//! Makes a filesystem from a directory: `from_dir DIRECTORY IMAGE [OPTIONS]`.
//!
//! `cargo run --example from_dir -- /srv/tree tree.img --size fit+512M --profile linux-4.14`
//!
//! [`Builder::add_tree`](ext4_writer::Builder::add_tree) says what of a directory is kept.

mod arguments;

use std::process::ExitCode;

use arguments::{Arguments, HELP, Image, Result};

fn main() -> ExitCode {
    arguments::exit(make())
}

fn make() -> Result<()> {
    let arguments = Arguments::read(std::env::args_os().skip(1))?;
    let [source, target] = arguments.paths.as_slice() else {
        return Err(format!("usage: from_dir DIRECTORY IMAGE [OPTIONS]\n{HELP}").into());
    };
    let image = Image::create(target)?;
    let mut builder = image.builder(arguments.options(None)?)?;
    builder.add_tree(builder.root(), source)?;
    image.finish(builder)
}
