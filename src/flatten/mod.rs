//! Tar entries onto the tree: whiteouts, links, scoped paths.
//!
//! The entries of a layer stream by once, in their order. For every node it is known which layer
//! last touched it, so that a whiteout hides lower layers only, wherever it stands. What a layer
//! takes out of the tree stays whole until the layer ends, so that a hard link can still name it.

mod acl;
mod attributes;
pub(crate) mod builder;
mod history;
mod links;
mod look;
mod missing;
mod names;
mod outcome;
mod path;
mod pending;
mod target;
#[cfg(test)]
pub(crate) mod tests;
mod walk;
mod whiteout;

use std::collections::BTreeSet;
use std::io::Read;

use ext4_writer::{FileContent, FileKind, Metadata, Special, Timestamp};

use crate::error::{Error, Result};
use crate::layer::{
    Archive, Entry, EntryKind, LayerStream, LayerTotals, Limits, Unsupported, flag,
};
use crate::shown::name as shown;
use history::{History, LayerNumber, Tombstones};
use missing::Missing;
use names::Names;
use path::{CleanPath, PathKind};
use pending::{PendingAcls, PendingLinks};

pub use look::Seen;
pub use outcome::{Bounded, Counts, Flattened, LowerLink, Remark};
pub use target::{NamedNode, ReadableTarget, Target};

/// What an entry's path means that leads through a symbolic link of a lower layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerSemantics {
    /// The link's target: what extracting one layer over the other gives.
    #[default]
    Follow,
    /// A new directory in the link's place: what overlayfs shows, which mounts each layer's own
    /// files over those below.
    Overlay,
}

/// How layers are flattened.
#[derive(Clone, Debug, Default)]
pub struct FlattenOptions {
    /// The times of directories that only paths speak of.
    pub epoch: Timestamp,
    /// The latest time that a file may bear; later ones become this one.
    pub latest: Option<Timestamp>,
    /// What paths through symbolic links of lower layers mean.
    pub semantics: LayerSemantics,
    /// Whether a loss is an error.
    pub strict: bool,
    /// How much a hostile image may ask for.
    pub limits: Limits,
}

/// Applies layers onto a filesystem, oldest first.
pub struct Flattener<'b, T: Target> {
    target: &'b mut T,
    options: FlattenOptions,
    outcome: Flattened,
    history: History<T::Node>,
    lost_and_found: Option<T::Node>,
    layer: LayerNumber,
    label: String,
    is_open: bool,
    /// Whether names mean nothing but themselves, as they do in a directory of the host.
    is_literal: bool,
    /// Whether attributes of overlays mean nothing but themselves, too.
    is_exact: bool,
    /// The entry being applied, for messages.
    current: Vec<u8>,
    /// What paths through symbolic links of lower layers mean in this layer.
    semantics: LayerSemantics,
    /// Bytes of names, targets and attributes so far.
    metadata_bytes: u64,
    /// Directories that were passed because of symbolic links, see [`Limits::traversals`].
    traversals: u64,
    tombstones: Tombstones<T::Node>,
    pending: PendingLinks<T::Node>,
    pending_acls: PendingAcls<T::Node>,
    followed: BTreeSet<T::Node>,
    /// The directory of the last entry: nearly always that of the next one too.
    last_parent: Option<(Vec<u8>, T::Node)>,
}

impl<T: ReadableTarget> Flattener<'_, T> {
    /// Applies a whole layer and verifies its diff ID.
    pub fn apply_layer(&mut self, stream: LayerStream) -> Result<LayerTotals> {
        self.apply_layer_with(stream, Self::read_names)
    }
}

impl<'b, T: Target> Flattener<'b, T> {
    /// Applies onto what `target` holds already.
    pub fn new(target: &'b mut T, options: FlattenOptions) -> Result<Self> {
        let lost_and_found = target
            .lookup(target.root(), b"lost+found")
            .map_err(|error| T::explain("cannot look for /lost+found".to_owned(), error))?;
        Ok(Self {
            target,
            options,
            outcome: Flattened::default(),
            history: History::default(),
            lost_and_found,
            layer: 0,
            label: String::new(),
            is_open: false,
            is_literal: false,
            is_exact: false,
            current: Vec::new(),
            semantics: LayerSemantics::default(),
            metadata_bytes: 0,
            traversals: 0,
            tombstones: Tombstones::default(),
            pending: PendingLinks::new(),
            pending_acls: PendingAcls::new(),
            followed: BTreeSet::new(),
            last_parent: None,
        })
    }

    /// Applies a whole layer. `read_names` is asked, at its end, whom the image knows.
    fn apply_layer_with(
        &mut self,
        mut stream: LayerStream,
        read_names: impl FnOnce(&mut Self) -> Result<Names>,
    ) -> Result<LayerTotals> {
        let label = stream.name().to_owned();
        let limits = self.options.limits.clone();
        stream.bound(limits.image.saturating_sub(self.outcome.counts.layer_bytes));
        self.begin_layer(&label)?;
        let mut archive = Archive::new(stream, label, &limits);
        while let Some(entry) = archive.next_entry()? {
            self.apply(&entry, &mut archive.body())?;
        }
        let totals = archive.into_inner().finish()?;
        let bytes = &mut self.outcome.counts.layer_bytes;
        *bytes = bytes.saturating_add(totals.uncompressed);
        self.add_pending_links()?;
        if !self.pending_acls.is_empty() {
            let names = read_names(self)?;
            self.set_pending_acls(&names)?;
        }
        self.end_layer()?;
        Ok(totals)
    }

    /// Begins a layer, which messages call `label`.
    pub fn begin_layer(&mut self, label: &str) -> Result<()> {
        if self.is_open {
            return Err(self.broken("the layer before was not ended"));
        }
        let limit = self.options.limits.layers;
        let next = self.layer.checked_add(1).filter(|_| self.outcome.counts.layers < limit.into());
        let Some(next) = next else {
            let error = Error::bad_data(format!("the image has more than {limit} layers"));
            return Err(error.with_hint(flag::raise(flag::LAYERS)));
        };
        (self.layer, self.is_open) = (next, true);
        label.clone_into(&mut self.label);
        self.semantics = self.options.semantics;
        self.outcome.counts.layers += 1;
        Ok(())
    }

    /// Begins a layer of the user's own files, whose paths are meant as the image has them.
    pub fn begin_addition(&mut self, label: &str) -> Result<()> {
        self.begin_layer(label)?;
        self.semantics = LayerSemantics::Follow;
        Ok(())
    }

    /// Applies one entry whose name means nothing but itself: a directory of the host may hold
    /// names that would hide others in a layer.
    pub fn apply_literally(&mut self, entry: &Entry, body: &mut dyn Read) -> Result<()> {
        self.is_literal = true;
        let applied = self.apply(entry, body);
        self.is_literal = false;
        applied
    }

    /// Applies one entry of another filesystem, where attributes of overlays are those of an overlay
    /// in the guest.
    pub fn apply_exactly(&mut self, entry: &Entry, body: &mut dyn Read) -> Result<()> {
        self.is_exact = true;
        let applied = self.apply_literally(entry, body);
        self.is_exact = false;
        applied
    }

    /// What a path asks for in the current entry.
    fn path_kind<'p>(&self, path: &'p CleanPath) -> Result<PathKind<'p>, String> {
        if self.is_literal { Ok(path.as_name()) } else { path.kind() }
    }

    /// Applies one entry; `body` gives its stored bytes.
    pub fn apply(&mut self, entry: &Entry, body: &mut dyn Read) -> Result<()> {
        if !self.is_open {
            return Err(self.broken("no layer was begun"));
        }
        self.current.clone_from(&entry.path);
        self.account(entry)?;
        let path = CleanPath::parse(&entry.path).map_err(|why| self.refuse(why))?;
        match self.path_kind(&path).map_err(|why| self.refuse(why))? {
            PathKind::Root => self.apply_root(entry),
            PathKind::Whiteout { parent, name } => {
                self.note_contents_of_whiteout(entry)?;
                self.apply_whiteout(parent, name)
            }
            PathKind::Opaque { directory } => {
                self.note_contents_of_whiteout(entry)?;
                self.apply_opaque(directory)
            }
            PathKind::Reserved => self.lose("it is bookkeeping of AUFS".to_owned()),
            PathKind::Name { parent, name } => self.place(parent, name, entry, body),
        }
    }

    /// Ends the layer: adds the links that waited for their targets, and gives back what was
    /// taken away.
    pub fn end_layer(&mut self) -> Result<()> {
        self.add_pending_links()?;
        // Those of a layer that is read elsewhere: the image's names are not to be read here.
        self.set_pending_acls(&Names::default())?;
        let mut directories = Vec::new();
        for node in self.tombstones.take() {
            // Files first: one with a name in a removed directory goes with that directory.
            if self.kind(node)? == FileKind::Directory {
                directories.push(node);
            } else {
                self.discard(node)?;
            }
        }
        for node in directories {
            self.discard(node)?;
        }
        self.history.end_layer();
        self.followed.clear();
        self.last_parent = None;
        self.is_open = false;
        Ok(())
    }

    /// What was counted and lost.
    pub fn finish(self) -> Result<Flattened> {
        if self.is_open {
            return Err(self.broken("the last layer was not ended"));
        }
        Ok(self.outcome)
    }

    /// Whether this path of the image leads to a directory, through symbolic links too.
    pub fn has_directory(&mut self, path: &[u8]) -> Result<bool> {
        path.clone_into(&mut self.current);
        let path = CleanPath::parse(path).map_err(|why| self.refuse(why))?;
        Ok(self.find(path.whole(), Missing::Look)?.is_some())
    }

    /// Counts the entry against the limits of an image.
    fn account(&mut self, entry: &Entry) -> Result<()> {
        let limits = &self.options.limits;
        let xattrs = entry.xattrs.iter().map(|xattr| xattr.name.len() + xattr.value.len());
        let sizes = xattrs.chain(entry.unsupported.iter().map(Unsupported::size));
        let sizes = sizes.chain([entry.acls.size()]);
        let bytes = sizes.fold(entry.path.len() + entry.link.len(), usize::saturating_add);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.metadata_bytes = self.metadata_bytes.saturating_add(bytes);
        self.outcome.counts.entries = self.outcome.counts.entries.saturating_add(1);
        if self.outcome.counts.entries > limits.entries {
            let why = format!("the image has more than {} entries", limits.entries);
            return Err(self.refuse(why).with_hint(flag::raise(flag::ENTRIES)));
        }
        if self.metadata_bytes > limits.metadata {
            let limit = limits.metadata;
            let why = format!("names, targets and attributes have more than {limit} bytes");
            return Err(self.refuse(why).with_hint(flag::raise(flag::METADATA)));
        }
        Ok(())
    }

    /// Counts a directory that is passed because of a symbolic link. Each link is short and each
    /// path too, but without a bound every entry of a hostile image could lead through forty links
    /// of two thousand directories.
    fn count_traversal(&mut self) -> Result<()> {
        self.traversals = self.traversals.saturating_add(1);
        let limit = self.options.limits.traversals;
        if self.traversals > limit {
            let why = format!("symbolic links of the image lead through over {limit} directories");
            return Err(self.refuse(why).with_hint(flag::raise(flag::TRAVERSALS)));
        }
        Ok(())
    }

    fn apply_root(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != EntryKind::Directory {
            return Err(self.refuse(format!("the root must be a directory, not a {}", entry.kind)));
        }
        self.outcome.counts.directories += 1;
        if entry.mode & 0o001 == 0 {
            let mode = entry.mode;
            self.warn(format!("the root has mode {mode:04o}: no program of a user can start"));
        }
        self.replace_attributes(self.target.root(), entry)
    }

    fn place(
        &mut self,
        parent: &[u8],
        name: &[u8],
        entry: &Entry,
        body: &mut dyn Read,
    ) -> Result<()> {
        let directory = self.enter(parent)?;
        if !self.pending.is_empty() {
            // The last entry of a name wins over a link that still waits for it.
            self.pending.remove(&(directory, name.to_vec()));
        }
        match entry.kind {
            EntryKind::HardLink => self.place_link(directory, name, entry),
            EntryKind::Directory => self.place_directory(directory, name, entry),
            _ => {
                let node = self.add_node(directory, name, entry, body)?;
                self.touch(directory)?;
                self.add_xattrs(node, entry)
            }
        }
    }

    /// A directory over a directory replaces its attributes and keeps what is in it.
    fn place_directory(&mut self, directory: T::Node, name: &[u8], entry: &Entry) -> Result<()> {
        self.outcome.counts.directories += 1;
        if let Some(node) = self.lookup(directory, name)?
            && self.kind(node)? == FileKind::Directory
        {
            self.touch(node)?;
            return self.replace_attributes(node, entry);
        }
        let metadata = self.metadata_of(entry)?;
        let node = self.add_directory(directory, name, &metadata)?;
        self.add_xattrs(node, entry)
    }

    /// Adds what is neither a directory nor a second name.
    fn add_node(
        &mut self,
        directory: T::Node,
        name: &[u8],
        entry: &Entry,
        body: &mut dyn Read,
    ) -> Result<T::Node> {
        if entry.kind == EntryKind::Regular {
            self.outcome.counts.files += 1;
            return self.add_file(directory, name, entry, body);
        }
        let metadata = self.metadata_of(entry)?;
        if entry.kind == EntryKind::CharacterDevice && entry.device == (0, 0) {
            // An overlay hides a name so; tools that unpack onto one write them by mistake.
            self.warn("a device 0:0 hides nothing in an image, it stays a device".to_owned());
        }
        let counts = &mut self.outcome.counts;
        let (major, minor) = entry.device;
        let special = match entry.kind {
            EntryKind::Symlink => {
                counts.symlinks += 1;
                let target = &entry.link;
                return self.add(directory, name, |tree| {
                    tree.add_symlink(directory, name, &metadata, target)
                });
            }
            EntryKind::CharacterDevice => Special::CharacterDevice { major, minor },
            EntryKind::BlockDevice => Special::BlockDevice { major, minor },
            EntryKind::Fifo => Special::Fifo,
            EntryKind::Socket => Special::Socket,
            kind => {
                return Err(self.broken(&format!("a {kind} is no new node")));
            }
        };
        counts.special_files += 1;
        self.add(directory, name, |tree| tree.add_special(directory, name, &metadata, special))
    }

    fn add_file(
        &mut self,
        directory: T::Node,
        name: &[u8],
        entry: &Entry,
        body: &mut dyn Read,
    ) -> Result<T::Node> {
        let stored = match &entry.segments {
            None => entry.size,
            Some(segments) => {
                segments.iter().fold(0, |sum: u64, segment| sum.saturating_add(segment.length))
            }
        };
        let bytes = &mut self.outcome.counts.file_bytes;
        *bytes = bytes.saturating_add(stored);
        let metadata = self.metadata_of(entry)?;
        self.add(directory, name, |tree| {
            let content = match &entry.segments {
                None => FileContent::new(entry.size, &mut *body),
                Some(segments) => FileContent::sparse(entry.size, segments, &mut *body),
            };
            tree.add_file(directory, name, &metadata, content)
        })
    }

    fn add_directory(
        &mut self,
        directory: T::Node,
        name: &[u8],
        metadata: &Metadata,
    ) -> Result<T::Node> {
        let node =
            self.add(directory, name, |tree| tree.add_directory(directory, name, metadata))?;
        self.born(directory, name, node)?;
        Ok(node)
    }

    /// Adds a node in the place of what stands at its name, if anything does. Whether something
    /// does is asked of `add` alone: it refuses before it reads, and nearly every name is new.
    fn add(
        &mut self,
        directory: T::Node,
        name: &[u8],
        mut add: impl FnMut(&mut T) -> std::result::Result<T::Node, T::Error>,
    ) -> Result<T::Node> {
        let added = match add(self.target) {
            Err(error) if T::is_taken(&error) => {
                self.detach(directory, name)?;
                add(self.target)
            }
            added => added,
        };
        let node = added.map_err(|error| self.fail(error))?;
        self.history.touch(T::index(node), self.layer);
        Ok(node)
    }

    /// Takes away what stands at a name, if anything does.
    fn vacate(&mut self, directory: T::Node, name: &[u8]) -> Result<()> {
        match self.lookup(directory, name)? {
            Some(_) => self.detach(directory, name),
            None => Ok(()),
        }
    }

    fn detach(&mut self, directory: T::Node, name: &[u8]) -> Result<()> {
        let node = self.target.detach(directory, name).map_err(|error| self.fail(error))?;
        self.tombstones.add((directory, name.to_vec()), node);
        self.outcome.counts.removed_names += 1;
        self.last_parent = None;
        Ok(())
    }

    /// Notes a new directory of this layer.
    fn born(&mut self, parent: T::Node, name: &[u8], node: T::Node) -> Result<()> {
        // Nothing of lower layers is below it.
        self.history.clear(T::index(node), self.layer);
        if let Some(old) = self.tombstone(parent, name)? {
            self.tombstones.succeed(node, old);
        }
        self.touch(parent)
    }

    /// Notes that this layer gave a name to a node that is no directory.
    fn touch_link(&mut self, (directory, name): (T::Node, &[u8]), node: T::Node) -> Result<()> {
        if !self.is_current((directory, name), node) {
            self.history.link((directory, name.to_vec()));
        }
        self.touch(directory)
    }

    /// Whether this layer touched what stands at a name: it added the node, touched something
    /// below it, or gave a node of a lower layer this name.
    fn is_current(&self, (directory, name): (T::Node, &[u8]), node: T::Node) -> bool {
        self.history.touched(T::index(node)) >= self.layer
            || self.history.is_linked(directory, name)
    }

    /// Notes that this layer touched something in `directory`. What is above a touched directory
    /// is touched too, so the way up ends at the first that was.
    fn touch(&mut self, directory: T::Node) -> Result<()> {
        let mut above = directory;
        while self.history.touch(T::index(above), self.layer) && above != self.target.root() {
            above = self.parent(above)?;
        }
        Ok(())
    }

    /// Notes something of the current entry that the image does not hold.
    pub(crate) fn lose(&mut self, reason: String) -> Result<()> {
        if self.options.strict {
            return Err(self
                .refuse(reason)
                .with_hint("without --strict it is left out and reported"));
        }
        self.outcome.losses.push(Remark { path: self.current.clone(), reason });
        Ok(())
    }

    /// Notes something odd of the current entry.
    fn warn(&mut self, reason: String) {
        self.outcome.warnings.push(Remark { path: self.current.clone(), reason });
    }

    fn discard(&mut self, node: T::Node) -> Result<()> {
        self.target.discard(node).map_err(|error| self.fail(error))
    }

    fn lookup(&self, directory: T::Node, name: &[u8]) -> Result<Option<T::Node>> {
        self.target.lookup(directory, name).map_err(|error| self.fail(error))
    }

    fn kind(&self, node: T::Node) -> Result<FileKind> {
        self.target.kind(node).map_err(|error| self.fail(error))
    }

    fn kind_of(&self, node: Option<T::Node>) -> Result<Option<FileKind>> {
        node.map(|node| self.kind(node)).transpose()
    }

    fn parent(&self, directory: T::Node) -> Result<T::Node> {
        self.target.parent(directory).map_err(|error| self.fail(error))
    }

    fn metadata(&self, node: T::Node) -> Result<Metadata> {
        self.target.metadata(node).map_err(|error| self.fail(error))
    }

    /// Bad data in the current entry.
    fn refuse(&self, why: impl AsRef<str>) -> Error {
        let (path, why) = (shown(&self.current), why.as_ref());
        Error::bad_data(format!("cannot apply \"{path}\" of {}: {why}", self.label))
    }

    /// A promise of this module that broke.
    fn broken(&self, what: &str) -> Error {
        Error::internal(format!("flattening {}: {what}", self.label))
    }

    /// What a refusal of the filesystem means for the current entry.
    fn fail(&self, error: T::Error) -> Error {
        let message = format!("cannot apply \"{}\" of {}", shown(&self.current), self.label);
        T::explain(message, error)
    }
}
