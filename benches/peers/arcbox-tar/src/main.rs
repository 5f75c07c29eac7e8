//! Makes a filesystem from one tar archive with the crate arcbox-ext4:
//! `arcbox-tar FLAT.tar OUTPUT.ext4 BYTES`.
//!
//! The crate reads archives itself; it is given a buffer of 1 MiB, as ours has. Nothing is synced.

use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use arcbox_ext4::{FormatOptions, Formatter};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [archive, output, bytes] = arguments.as_slice() else {
        return Err("usage: arcbox-tar FLAT.tar OUTPUT.ext4 BYTES".into());
    };
    let mut formatter =
        Formatter::with_options(Path::new(output), FormatOptions::new(bytes.parse()?))?;
    formatter.unpack_tar(BufReader::with_capacity(1 << 20, File::open(archive)?))?;
    formatter.close()?;
    Ok(())
}
