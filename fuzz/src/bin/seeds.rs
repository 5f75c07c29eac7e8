//! Writes the cases to begin with: `seeds DIRECTORY` fills `DIRECTORY/edit`,
//! `DIRECTORY/operations` and `DIRECTORY/options`.

use std::path::Path;
use std::{env, fs, io};

use banger_fuzz::{operations, options};

fn write(directory: &Path, cases: impl Iterator<Item = Vec<u8>>) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for (number, bytes) in cases.enumerate() {
        fs::write(directory.join(format!("seed-{number:03}")), bytes)?;
    }
    Ok(())
}

/// Edits of sound images: of each of the three, all twelve kinds of steps, beginning with each.
fn edits() -> impl Iterator<Item = Vec<u8>> {
    (0..3u8).flat_map(|image| {
        (0..12u8).map(move |first| {
            let steps = (0..12u8).flat_map(|step| [first + step, step * 5, first * 16 + step]);
            [image, 0].into_iter().chain(steps).collect()
        })
    })
}

fn main() -> io::Result<()> {
    let Some(directory) = env::args_os().nth(1) else {
        return Err(io::Error::other("usage: seeds DIRECTORY"));
    };
    let directory = Path::new(&directory);
    write(&directory.join("edit"), edits())?;
    write(&directory.join("operations"), operations::seeds().iter().map(operations::Case::write))?;
    write(&directory.join("options"), options::seeds().iter().map(options::Case::write))
}
