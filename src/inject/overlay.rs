//! Archives of the host that are applied as layers, and errors of the host's files.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::digest::Algorithm;
use crate::error::{Error, Result};
use crate::layer::{LayerBlob, LayerStream, Limits};
use crate::shown::path as shown;

/// Opens an archive, compressed or not, that is to be applied as the last layer; its digest is
/// among what was counted of it at its end.
pub(crate) fn open_overlay(path: &Path, limits: &Limits) -> Result<LayerStream> {
    let name = format!("overlay {}", shown(path));
    let reader = host("open", path, File::open(path))?;
    let blob = LayerBlob { name, reader, verified: None, diff_id: None };
    LayerStream::open_to_identify(blob, Algorithm::Blake3, limits)
}

/// The result of asking the host about a file, with the file's name in the error.
pub(super) fn host<T>(verb: &str, path: &Path, result: io::Result<T>) -> Result<T> {
    result.map_err(|error| Error::of_file(format!("cannot {verb} {}", shown(path)), error))
}
