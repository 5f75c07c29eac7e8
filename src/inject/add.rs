//! Additions as one layer, in their order.

use std::fs::File;
use std::io;

use super::addition::{Addition, SourceKind};
use super::overlay::host;
use super::tree::{Adding, Copying, HostTree};
use super::walk::{look_at, walk};
use crate::error::Result;
use crate::flatten::{Flattener, Target};
use crate::shown::path as shown;

/// Applies additions as one layer, in their order.
pub(crate) fn add_files<T: Target>(
    flattener: &mut Flattener<'_, T>,
    additions: &[Addition],
    adding: &mut Adding<'_>,
) -> Result<()> {
    flattener.begin_addition("the added files")?;
    for addition in additions {
        add_below(flattener, addition, adding)?;
    }
    flattener.end_layer()
}

/// Adds one thing to the layer that was begun.
pub(crate) fn add_below<T: Target>(
    flattener: &mut Flattener<'_, T>,
    addition: &Addition,
    adding: &mut Adding<'_>,
) -> Result<()> {
    let kind = addition.kind()?;
    let target = addition.target(flattener)?;
    let source = &addition.source;
    let tree = HostTree::new(source.clone(), addition.owners());
    let mut copying = Copying::new(flattener, &tree, adding);
    copying.is_without_root = target.is_none();
    copying.target = target.unwrap_or_else(|| addition.destination.clone());
    while copying.target.ends_with(b"/") {
        copying.target.pop();
    }
    copying.keeps_directories = true;
    copying.mode = addition.mode;
    match kind {
        SourceKind::Directory => walk(source, &mut |met| copying.put(met)),
        SourceKind::File => look_at(source, &mut |met| copying.put(met)),
        SourceKind::Stream if addition.is_standard_input() => {
            copying.put_stream("standard input", &mut io::stdin().lock())
        }
        SourceKind::Stream => {
            let mut stream = host("add", source, File::open(source))?;
            copying.put_stream(&shown(source), &mut stream)
        }
    }
}
