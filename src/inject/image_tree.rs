//! Another filesystem's tree on its way into an image, as the whole root.

use std::io::Read;

use super::tree::Adding;
use crate::error::Result;
use crate::flatten::{Flattener, Target};
use crate::layer::Entry;

/// A root filesystem that tells its entries one after the other.
pub trait Tree {
    /// What messages call it.
    fn name(&self) -> String;

    /// Shows every entry to `sink`, directories before what they hold, the root first, by the path
    /// from the root. `seen` hears how many bytes of files were read.
    fn each(&self, seen: &dyn Fn(u64), sink: &mut dyn EntrySink) -> Result<()>;
}

/// What takes the entries of a [`Tree`].
pub trait EntrySink {
    /// Takes an entry; `body` gives its stored bytes.
    fn put(&mut self, entry: &Entry, body: &mut dyn Read) -> Result<()>;

    /// Takes note of something that the last entry did not say, though its file has it.
    fn lose(&mut self, what: String) -> Result<()>;
}

/// Applies a tree as one layer that is the whole root. Names mean nothing but themselves.
pub(crate) fn add_image<T: Target>(
    flattener: &mut Flattener<'_, T>,
    tree: &dyn Tree,
    adding: &mut Adding<'_>,
) -> Result<()> {
    flattener.begin_layer(&tree.name())?;
    let seen = adding.seen;
    tree.each(seen, &mut Copying { flattener, adding })?;
    flattener.end_layer()
}

struct Copying<'c, 'a, 'f, 'b, T: Target> {
    flattener: &'f mut Flattener<'b, T>,
    adding: &'c mut Adding<'a>,
}

impl<T: Target> EntrySink for Copying<'_, '_, '_, '_, T> {
    fn put(&mut self, entry: &Entry, body: &mut dyn Read) -> Result<()> {
        self.adding.hasher.entry(entry)?;
        let mut body = self.adding.hasher.body(body);
        self.flattener.apply_exactly(entry, &mut body)?;
        body.finish()
    }

    fn lose(&mut self, what: String) -> Result<()> {
        self.flattener.lose(what)
    }
}
