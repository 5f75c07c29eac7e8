//! What was counted while layers were applied, and what of them the image does not hold.

use std::fmt;

/// The outcome of a flattening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flattened {
    /// Numbers.
    pub counts: Counts,
    /// What the layers hold and the image does not.
    pub losses: Bounded<Remark>,
    /// What the image holds, though hardly anybody can have meant it.
    pub warnings: Bounded<Remark>,
    /// Symbolic links of lower layers that entries of an upper layer were placed through, once
    /// for each layer. An overlay filesystem would hide them behind a new directory.
    pub followed: Bounded<LowerLink>,
    /// Symbolic links of lower layers that such a directory hides, because
    /// [`LayerSemantics::Overlay`](super::LayerSemantics::Overlay) was asked for.
    pub hidden: Bounded<LowerLink>,
}

/// How many of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Layers that were applied.
    pub layers: u64,
    /// Entries of all kinds in all layers.
    pub entries: u64,
    /// Uncompressed bytes of the layers that came as streams.
    pub layer_bytes: u64,
    /// Regular files.
    pub files: u64,
    /// Bytes in regular files, without the holes of sparse ones.
    pub file_bytes: u64,
    /// Directories with an entry of their own.
    pub directories: u64,
    /// Directories that only the paths of other entries speak of.
    pub implied_directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Hard links.
    pub hard_links: u64,
    /// Devices, pipes and sockets.
    pub special_files: u64,
    /// Whiteouts, whether or not they found something to hide.
    pub whiteouts: u64,
    /// Opaque whiteouts.
    pub opaque_whiteouts: u64,
    /// Names that were taken out of the tree, by whiteouts or by other files in their place.
    pub removed_names: u64,
    /// Attributes of overlay filesystems that were dropped.
    pub overlay_xattrs: u64,
}

/// Something to be said of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The path as it stands in the layer.
    pub path: Vec<u8>,
    /// What was lost, or is odd, and why.
    pub reason: String,
}

/// A symbolic link of a lower layer in the path of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LowerLink {
    /// Where the link stands in the image.
    pub symlink: Vec<u8>,
    /// The layer whose entries came upon it.
    pub layer: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", crate::shown::bytes(&self.path), self.reason)
    }
}

impl fmt::Display for LowerLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: by entries of {}", crate::shown::bytes(&self.symlink), self.layer)
    }
}

/// A list that a hostile image cannot make long: the first items, and how many there were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounded<T> {
    items: Vec<T>,
    total: u64,
}

/// As many as a person would read.
const KEPT: usize = 1000;

impl<T> Bounded<T> {
    /// The first items.
    #[must_use]
    pub fn items(&self) -> &[T] {
        &self.items
    }

    /// How many there were, kept or not.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Adds an item, which is kept if it is one of the first.
    pub fn push(&mut self, item: T) {
        self.total = self.total.saturating_add(1);
        if self.items.len() < KEPT {
            self.items.push(item);
        }
    }
}

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self { items: Vec::new(), total: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_keeps_its_beginning_and_its_total() {
        let mut list = Bounded::default();
        for item in 0..5000 {
            list.push(item);
        }
        assert_eq!(
            (list.items().len(), list.items().last(), list.total()),
            (1000, Some(&999), 5000)
        );
    }
}
