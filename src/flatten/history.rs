//! Which layer last touched what, and what the current layer has taken out of the tree.

use std::collections::{BTreeMap, BTreeSet};

use ext4_writer::NodeId;

/// The number of a layer, from 1; 0 is before the first.
pub(super) type LayerNumber = u16;

/// A name in a directory.
pub(super) type Place = (NodeId, Vec<u8>);

/// What each layer touched, beside the mark that every name has of its own.
#[derive(Default)]
pub(super) struct History {
    /// By directory: the newest layer that touched a name below it.
    touched: Vec<LayerNumber>,
    /// By directory: the newest layer in which nothing of lower layers is left below it.
    cleared: Vec<LayerNumber>,
}

impl History {
    /// The newest layer that touched a name below `directory`.
    pub(super) fn touched(&self, directory: NodeId) -> LayerNumber {
        self.touched.get(directory.index()).copied().unwrap_or_default()
    }

    /// Notes a touch below `directory`; `false` when it was known, and known above it too.
    pub(super) fn touch(&mut self, directory: NodeId, layer: LayerNumber) -> bool {
        raise(&mut self.touched, directory, layer)
    }

    /// Notes that `directory` is being cleared; `false` when it was cleared in this layer before.
    pub(super) fn clear(&mut self, directory: NodeId, layer: LayerNumber) -> bool {
        raise(&mut self.cleared, directory, layer)
    }
}

fn raise(layers: &mut Vec<LayerNumber>, directory: NodeId, layer: LayerNumber) -> bool {
    let index = directory.index();
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
#[derive(Default)]
pub(super) struct Graveyard {
    /// What stood at a name before this layer took it away.
    ghosts: BTreeMap<Place, NodeId>,
    /// The directory that stood where this layer made a new one.
    predecessors: BTreeMap<NodeId, NodeId>,
    dead: BTreeSet<NodeId>,
}

impl Graveyard {
    /// Remembers what stood at `place`; of several the first, which is the lower layers'.
    pub(super) fn bury(&mut self, place: Place, node: NodeId) {
        self.ghosts.entry(place).or_insert(node);
        self.dead.insert(node);
    }

    /// Notes that the directory `new` stands where `old` stood.
    pub(super) fn succeed(&mut self, new: NodeId, old: NodeId) {
        self.predecessors.insert(new, old);
    }

    /// What was taken away from this name of this very directory.
    pub(super) fn ghost(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        if self.ghosts.is_empty() {
            return None;
        }
        self.ghosts.get(&(directory, name.to_vec())).copied()
    }

    /// The directory that stood where `directory` stands now.
    pub(super) fn predecessor(&self, directory: NodeId) -> Option<NodeId> {
        self.predecessors.get(&directory).copied()
    }

    /// Whether this node was taken out itself (not: with a directory above it).
    pub(super) fn holds(&self, node: NodeId) -> bool {
        self.dead.contains(&node)
    }

    /// Everything that was taken out.
    pub(super) fn empty(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(self).dead
    }
}
