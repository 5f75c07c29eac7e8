//! Makes an empty ext4 filesystem: `empty_disk FILE BYTES`.

use std::error::Error;
use std::fs::File;

use ext4_writer::{Builder, FileSink, Options, Size};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(path), Some(bytes)) = (arguments.next(), arguments.next()) else {
        return Err("usage: empty_disk FILE BYTES".into());
    };
    let bytes = bytes.to_str().ok_or("BYTES is no number")?.parse()?;
    let sink = FileSink::new(File::create(path)?)?;
    let (summary, _) = Builder::create(sink, Options::new(Size::Fixed(bytes)))?.finish()?;
    // An example is the one place where printing is the point.
    writeln(&format!("{summary:?}"))?;
    Ok(())
}

fn writeln(line: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{line}")
}
