//! The first names of inodes that have several.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ext4_writer::reader::Inode;

use crate::error::{Error, Result};
use crate::layer::Limits;

/// For each inode with several names, that which was met first.
#[derive(Debug)]
pub(super) struct FirstNames {
    names: BTreeMap<u32, Vec<u8>>,
    /// How many more bytes of names are kept.
    left: u64,
}

impl Default for FirstNames {
    fn default() -> Self {
        Self { names: BTreeMap::new(), left: Limits::default().metadata }
    }
}

impl FirstNames {
    /// The name under which an inode was met before; this one is kept if there was none.
    pub(super) fn first(&mut self, inode: &Inode, path: &[u8]) -> Result<Option<&[u8]>> {
        if inode.links() < 2 {
            return Ok(None);
        }
        match self.names.entry(inode.number()) {
            Entry::Occupied(first) => Ok(Some(first.into_mut())),
            Entry::Vacant(slot) => {
                let length = u64::try_from(path.len()).unwrap_or(u64::MAX);
                self.left = self.left.checked_sub(length).ok_or_else(|| {
                    let limit = Limits::default().metadata;
                    let what = "the names of files with several have more than";
                    Error::bad_data(format!("{what} {limit} bytes"))
                })?;
                slot.insert(path.to_vec());
                Ok(None)
            }
        }
    }
}
