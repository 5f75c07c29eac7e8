//! Makes a disk of an image: `pull SOURCE OUTPUT.ext4`, where SOURCE is what `banger image pull`
//! takes.

use std::error::Error;
use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use banger::pull::{Observer, Pulled, Request, pull};
use banger::source::ImageReference;

/// Tells what is passed over, and nothing else.
struct Warnings;

impl Observer for Warnings {
    fn warning(&self, line: &str) {
        // There is no third place to complain about a standard error that is closed.
        let _ = writeln!(io::stderr(), "{line}");
    }
}

pub(crate) fn disk_of(source: &OsStr, output: &Path) -> banger::error::Result<Pulled> {
    let request = Request::new(ImageReference::parse(source)?, output);
    pull(&request, Arc::new(Warnings))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [source, output] = arguments.as_slice() else {
        return Err("usage: pull SOURCE OUTPUT.ext4".into());
    };
    let Pulled { built, .. } = disk_of(source, Path::new(output))?;
    writeln!(io::stdout(), "{}: {} bytes", built.path.display(), built.summary.size)?;
    Ok(())
}
