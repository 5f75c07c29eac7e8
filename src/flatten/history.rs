//! Which layer last touched what, and what the current layer has taken out of the tree.

use std::collections::{BTreeMap, BTreeSet};

/// The number of a layer, from 1; 0 is before the first.
pub(super) type LayerNumber = u16;

/// A name in a directory.
pub(super) type EntryKey<N> = (N, Vec<u8>);

/// What the layers touched. A later layer forgets nothing: a number below its own is as good as
/// none, so that nothing has to be reset between layers.
pub(super) struct History<N> {
    /// By node: the newest layer that added it, or, of a directory, touched it or a name below it.
    touched: Vec<LayerNumber>,
    /// By directory: the newest layer in which nothing of lower layers is left below it.
    cleared: Vec<LayerNumber>,
    /// Names that the current layer gave to nodes of lower layers.
    linked: BTreeSet<EntryKey<N>>,
}

impl<N> Default for History<N> {
    fn default() -> Self {
        Self { touched: Vec::new(), cleared: Vec::new(), linked: BTreeSet::new() }
    }
}

impl<N: Ord> History<N> {
    /// The newest layer that touched the node of this index.
    pub(super) fn touched(&self, index: usize) -> LayerNumber {
        // A node that no layer touched is of the tree before the first.
        self.touched.get(index).copied().unwrap_or(0)
    }

    /// Notes a touch of the node of this index; `false` when it was known, and known above it too.
    pub(super) fn touch(&mut self, index: usize, layer: LayerNumber) -> bool {
        raise(&mut self.touched, index, layer)
    }

    /// Notes that the directory is being cleared; `false` when it was cleared in this layer before.
    pub(super) fn clear(&mut self, index: usize, layer: LayerNumber) -> bool {
        raise(&mut self.cleared, index, layer)
    }

    /// Notes that the current layer gave this name to a node of a lower one.
    pub(super) fn link(&mut self, name: EntryKey<N>) {
        self.linked.insert(name);
    }

    /// Whether the current layer gave this name to a node of a lower one.
    pub(super) fn is_linked(&self, directory: N, name: &[u8]) -> bool {
        !self.linked.is_empty() && self.linked.contains(&(directory, name.to_vec()))
    }

    /// Ends the current layer.
    pub(super) fn end_layer(&mut self) {
        self.linked.clear();
    }
}

fn raise(layers: &mut Vec<LayerNumber>, index: usize, layer: LayerNumber) -> bool {
    if layers.len() <= index {
        layers.resize(index.saturating_add(1), 0);
    }
    match layers.get_mut(index) {
        Some(known) if *known < layer => {
            *known = layer;
            true
        }
        _ => false,
    }
}

/// What the current layer took out of the tree. It stays whole until the layer ends, because a
/// hard link later in the layer may name it.
pub(super) struct Tombstones<N> {
    /// What stood at a name before this layer took it away.
    by_name: BTreeMap<EntryKey<N>, N>,
    /// The directory that stood where this layer made a new one.
    predecessors: BTreeMap<N, N>,
    nodes: BTreeSet<N>,
}

impl<N> Default for Tombstones<N> {
    fn default() -> Self {
        let (by_name, predecessors) = (BTreeMap::new(), BTreeMap::new());
        Self { by_name, predecessors, nodes: BTreeSet::new() }
    }
}

impl<N: Copy + Ord> Tombstones<N> {
    /// Remembers what stood at `name`; of several the first, which is the lower layers'.
    pub(super) fn add(&mut self, name: EntryKey<N>, node: N) {
        self.by_name.entry(name).or_insert(node);
        self.nodes.insert(node);
    }

    /// Notes that the directory `new` stands where `old` stood.
    pub(super) fn succeed(&mut self, new: N, old: N) {
        self.predecessors.insert(new, old);
    }

    /// What was taken away from this name of this very directory.
    pub(super) fn get(&self, directory: N, name: &[u8]) -> Option<N> {
        if self.by_name.is_empty() {
            return None;
        }
        self.by_name.get(&(directory, name.to_vec())).copied()
    }

    /// The directory that stood where `directory` stands now.
    pub(super) fn predecessor(&self, directory: N) -> Option<N> {
        self.predecessors.get(&directory).copied()
    }

    /// Whether this node was taken out itself (not: with a directory above it).
    pub(super) fn holds(&self, node: N) -> bool {
        self.nodes.contains(&node)
    }

    /// Everything that was taken out, which is forgotten.
    pub(super) fn take(&mut self) -> BTreeSet<N> {
        std::mem::take(self).nodes
    }
}
