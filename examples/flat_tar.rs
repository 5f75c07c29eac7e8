//! Makes a filesystem from one tar archive: `flat_tar [--no-sync] FLAT.tar OUTPUT.ext4`.
//!
//! The way of a layer without the registry: archive, tree, image. `--no-sync` leaves the bytes to
//! the kernel's write-back, as `cp` does, so that the two can be compared; only the name is synced.

use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use banger::flatten::{FlattenOptions, Flattener};
use banger::image::{FileSink, ImageSize, Interruption, StagedFile};
use banger::layer::{LayerBlob, LayerStream, Limits};
use ext4_writer::reader::Source;
use ext4_writer::{Builder, Options, Sink, Size, Timestamp, WriteBehind};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let is_synced = arguments.first().is_none_or(|first| first != "--no-sync");
    if !is_synced {
        arguments.remove(0);
    }
    let [archive, output] = arguments.as_slice() else {
        return Err("usage: flat_tar [--no-sync] FLAT.tar OUTPUT.ext4".into());
    };
    let limits = Limits::default();
    let layer = LayerBlob {
        name: archive.display().to_string(),
        reader: File::open(archive)?,
        verified: None,
        diff_id: None,
    };
    let layer = LayerStream::open(layer, &limits)?;
    let staged = StagedFile::create(Path::new(output), true, &Interruption::default())?;
    let file = staged.sink()?;
    let file = if is_synced { file } else { file.unhurried() };
    let sink = WriteBehind::new(Output { file, is_synced })?;

    // How much room there is to be is said when the content is known.
    let options = Options::new(Size::Fit { free_bytes: 0, free_inodes: 0 });
    let mut builder = Builder::create(sink, options)?;
    let epoch = Timestamp::default();
    let mut flattener = Flattener::new(
        &mut builder,
        FlattenOptions { epoch, limits, ..FlattenOptions::default() },
    )?;
    flattener.apply_layer(layer)?;
    let counts = flattener.finish()?.counts;
    if let Some(room) = ImageSize::Automatic.room(builder.content_bytes()) {
        builder.set_room(room, ImageSize::inodes_for(room))?;
    }
    let (summary, _) = builder.finish()?;
    staged.publish()?;
    let (entries, size, written) = (counts.entries, summary.size, summary.written);
    writeln!(io::stdout(), "{entries} entries, {size} bytes, {written} of them written")?;
    Ok(())
}

/// A file that is synced at the end or left to the kernel.
struct Output {
    file: FileSink,
    is_synced: bool,
}

impl Sink for Output {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn zero_at(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.file.zero_at(offset, length)
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.file.set_length(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.is_synced { self.file.sync() } else { Ok(()) }
    }
}

/// The flattener reads the image's own list of users where an ACL names one.
impl Source for Output {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}
