//! Layers to an image file: flattened onto a filesystem, which is published when all is proven.

mod behind;
mod beside;
mod blank;
mod busy;
mod device;
mod file;
mod identity;
mod interruption;
mod output;
mod size;
mod vacancy;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ext4_writer::reader::Source;
use ext4_writer::{
    Builder, CountingSink, Metadata, Options, Sink, Size, Summary, Timestamp, WriteBehind,
};
use uuid::Uuid;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::flatten::{FlattenOptions, Flattened, Flattener, LayerSemantics};
use crate::guest::{Description, Guest};
use crate::inject::{Adding, Addition, HostTree, TreeHasher, add_files, add_tree, open_overlay};
use crate::layer::{LayerStream, LayerTotals, Limits, Memory};

pub use beside::check as check_description;
pub use blank::{Blank, Made, Root, random_uuid};
pub use device::DiscardingSink;
pub use file::{Draft, FileSink, check_output};
pub use interruption::interrupt;
pub use output::{ImageSink, Place};
pub use size::{ImageSize, parse_bytes};
pub use vacancy::{PlaceKind, Vacancy};

use identity::Key;
use output::Output;

/// A disk, but for what is on it.
#[derive(Clone, Debug)]
pub struct DiskSpec {
    /// Where it goes.
    pub output: PathBuf,
    /// What that is.
    pub place: Place,
    /// Whether it may replace what is there.
    pub replace: bool,
    /// How large it is to be.
    pub size: ImageSize,
    /// The filesystem's options, but for its time.
    pub filesystem: Options,
    /// Whose the root directory is, if not what its contents say.
    pub root: Root,
}

/// Everything that decides an image beside its layers.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Where the image goes.
    pub output: PathBuf,
    /// What that is.
    pub place: Place,
    /// Whether it may replace what is there.
    pub replace: bool,
    /// Whose the root directory is, if not what the layers say.
    pub root: Root,
    /// How large it is to be.
    pub size: ImageSize,
    /// The filesystem's options, but for its size and time. A UUID that nobody chose follows from
    /// what the image is made of.
    pub filesystem: Options,
    /// The time of what has none of its own.
    pub epoch: Timestamp,
    /// Files and directories of the host to put into the image.
    pub additions: Vec<Addition>,
    /// Archives to apply as last layers.
    pub overlays: Vec<PathBuf>,
    /// What makes a machine of the image, behind all layers.
    pub guest: Guest,
    /// The latest time that a file may bear.
    pub latest: Option<Timestamp>,
    /// What paths through symbolic links of lower layers mean.
    pub semantics: LayerSemantics,
    /// Whether a loss is an error.
    pub strict: bool,
    /// How much a hostile image may ask for.
    pub limits: Limits,
    /// What decompressing layers before their turn may take.
    pub memory: Memory,
}

/// A filesystem on its way to an output.
type ImageBuilder = Builder<WriteBehind<ImageSink>>;

/// A finished image.
#[derive(Debug)]
pub struct Built {
    /// Where it is.
    pub path: PathBuf,
    /// What the filesystem holds.
    pub summary: Summary,
    /// Whose the root directory is.
    pub root: Metadata,
    /// What was counted and lost on the way.
    pub flattened: Flattened,
    /// What names the content.
    pub identity: Digest,
    /// What was read of each layer.
    pub layers: Vec<LayerTotals>,
    /// What the image says of itself.
    pub description: Option<Description>,
    /// Where the same lies beside it.
    pub described: Option<PathBuf>,
    /// How long the layers took.
    pub flattening: Duration,
    /// How long the filesystem's own structures, the sync and the renaming took.
    pub finishing: Duration,
}

/// An image that is complete and synced, but has no name yet.
#[derive(Debug)]
pub struct Ready {
    output: Output,
    replace: bool,
    built: Built,
}

impl Ready {
    /// The image's bytes.
    pub fn file(&self) -> Result<File> {
        self.output.file()
    }

    /// Gives the image its name, when nothing can be wrong with it any more.
    pub fn publish(self) -> Result<Built> {
        let start = Instant::now();
        let output = &self.built.path;
        let described = match &self.built.description {
            Some(description) => {
                let document = description.beside(self.facts())?;
                Some(beside::prepare(output, self.replace, &document)?)
            }
            None => None,
        };
        let (path, described) = self.output.publish(described)?;
        let finishing = self.built.finishing.saturating_add(start.elapsed());
        Ok(Built { path, described, finishing, ..self.built })
    }

    /// What the description beside the image says of its file.
    fn facts(&self) -> serde_json::Value {
        let Summary { size, block_size, inodes, uuid, .. } = self.built.summary;
        serde_json::json!({
            "name": self.built.path.file_name().map(|name| name.to_string_lossy()),
            "size": size,
            "block_size": block_size,
            "inodes": inodes,
            "uuid": Uuid::from_bytes(uuid).to_string(),
        })
    }
}

/// What an image begins with.
#[derive(Clone, Copy)]
pub enum Base<'a> {
    /// The layers of an image, which has a name.
    Image(&'a Digest),
    /// The one layer of an archive, which this is its path or the like of.
    Archive(&'a str),
    /// A directory of the host, and no layers.
    Tree {
        /// The directory.
        tree: &'a HostTree,
        /// Hears how many bytes were read.
        seen: &'a dyn Fn(u64),
    },
}

/// Applies layers onto a new filesystem.
///
/// `layers` gives each layer when it is wanted, oldest first.
pub fn build(
    recipe: &Recipe,
    base: Base<'_>,
    layers: impl Iterator<Item = Result<LayerStream>>,
) -> Result<Ready> {
    let start = Instant::now();
    let (output, sink) = Output::open(&recipe.output, recipe.place.clone(), recipe.replace)?;
    let sink = WriteBehind::new(sink).map_err(|error| {
        let output = recipe.output.display();
        Error::no_thread(format!("cannot start a thread that writes {output}"), error)
    })?;
    let mut builder =
        Builder::create(sink, recipe.options()).map_err(|error| refused(&recipe.output, error))?;
    let mut layering = Flattener::new(&mut builder, recipe.flatten_options())?;
    let (identity, layers) = recipe.apply_base(base, layers, &mut layering)?;
    let mut hasher = TreeHasher::default();
    recipe.apply_additions(&mut layering, &mut hasher)?;
    let mut description = recipe.guest.description.clone();
    if let Some(description) = &mut description {
        description.set_content(&identity, &layers);
    }
    let description = recipe.guest.apply(&mut layering, description, recipe.epoch, &mut hasher)?;
    let flattened = layering.finish()?;
    recipe.root.apply(&mut builder).map_err(|error| refused(&recipe.output, error))?;
    let added = hasher.finish()?;
    if recipe.filesystem.uuid.is_none() {
        builder.set_uuid(recipe.derived_uuid(&identity, &added));
    }
    let root = builder.metadata(builder.root()).map_err(|error| refused(&recipe.output, error))?;
    let flattening = start.elapsed();
    let summary = finish(recipe, builder)?;
    let finishing = start.elapsed().saturating_sub(flattening);
    let path = recipe.output.clone();
    let built = Built {
        path,
        summary,
        root,
        flattened,
        identity,
        layers,
        description,
        described: None,
        flattening,
        finishing,
    };
    Ok(Ready { output, replace: recipe.replace, built })
}

fn finish(recipe: &Recipe, mut builder: ImageBuilder) -> Result<Summary> {
    let refused = |error| refused(&recipe.output, error);
    if let Some(room) = recipe.size.room(builder.content_bytes()) {
        builder.set_room(room, ImageSize::inodes_for(room)).map_err(refused)?;
    }
    let (summary, _) = builder.finish().map_err(refused)?;
    Ok(summary)
}

impl Recipe {
    /// Refuses what cannot come to a good end, before the long work.
    pub fn check(&self) -> Result<()> {
        let length = match self.size {
            ImageSize::Fixed(length) => Some(length),
            ImageSize::Automatic | ImageSize::Fit(_) => None,
        };
        output::check(&self.output, &self.place, self.replace, length)?;
        if !matches!(self.place, Place::Device { .. }) {
            beside::check_old(&self.output)?;
        }
        // A builder that nothing is given to refuses what no tree can make good.
        Builder::create(CountingSink::new(), self.options())
            .map_err(|error| refused(&self.output, error))?;
        self.additions.iter().try_for_each(Addition::check)?;
        self.guest.bundles.iter().try_for_each(|bundle| bundle.check(&self.limits))?;
        for overlay in &self.overlays {
            open_overlay(overlay, &self.limits)?;
        }
        Ok(())
    }

    fn flatten_options(&self) -> FlattenOptions {
        FlattenOptions {
            epoch: self.epoch,
            latest: self.latest,
            semantics: self.semantics,
            strict: self.strict,
            limits: self.limits.clone(),
        }
    }

    fn options(&self) -> Options {
        let mut options = self.filesystem.clone();
        options.size = match self.size {
            ImageSize::Fixed(bytes) => Size::Fixed(bytes),
            // What is to be free is said when the content is known.
            ImageSize::Automatic | ImageSize::Fit(_) => Size::Fit { free_bytes: 0, free_inodes: 0 },
        };
        options.epoch = self.epoch;
        options
    }

    /// Applies what the image begins with; returns what names it, and what was read of each layer.
    fn apply_base<S: Sink + Source>(
        &self,
        base: Base<'_>,
        layers: impl Iterator<Item = Result<LayerStream>>,
        layering: &mut Flattener<'_, S>,
    ) -> Result<(Digest, Vec<LayerTotals>)> {
        let mut hasher = TreeHasher::default();
        if let Base::Tree { tree, seen } = base {
            add_tree(layering, tree, &mut self.adding(&mut hasher, seen))?;
        }
        let mut totals = Vec::new();
        for layer in layers {
            totals.push(layering.apply_layer(layer?)?);
        }
        let identity = match (base, totals.as_slice()) {
            (Base::Image(identity), _) => identity.clone(),
            (Base::Tree { .. }, _) => hasher.finish()?,
            // What a failed command pipes: an empty disk would be no answer to that.
            (Base::Archive(name), [LayerTotals { uncompressed: 0, .. }]) => {
                return Err(Error::bad_data(format!("{name} is empty")));
            }
            (Base::Archive(_), [LayerTotals { digest: Some(digest), .. }]) => digest.clone(),
            (Base::Archive(name), _) => {
                return Err(Error::internal(format!("{name} was read without its digest")));
            }
        };
        Ok((identity, totals))
    }

    /// Applies what the user puts over the image.
    fn apply_additions<S: Sink + Source>(
        &self,
        layering: &mut Flattener<'_, S>,
        hasher: &mut TreeHasher,
    ) -> Result<()> {
        let mut adding = self.adding(hasher, &|_| {});
        self.guest.apply_bundles(layering, &self.limits, &mut adding)?;
        if !self.additions.is_empty() {
            adding.hasher.field(b"files")?;
            add_files(layering, &self.additions, &mut adding)?;
        }
        for overlay in &self.overlays {
            let totals = layering.apply_layer(open_overlay(overlay, &self.limits)?)?;
            adding.hasher.archive(b"overlay", totals.digest.as_ref())?;
        }
        Ok(())
    }

    fn adding<'a>(&self, hasher: &'a mut TreeHasher, seen: &'a dyn Fn(u64)) -> Adding<'a> {
        Adding { hasher, epoch: self.epoch, limit: self.limits.layer, seen }
    }

    /// A UUID that follows from what names the image's content, from what is added to it and from
    /// what was asked for beside: the same image gives the same disk from wherever it comes and
    /// however its layers are packed, another one has another UUID.
    fn derived_uuid(&self, identity: &Digest, added: &Digest) -> [u8; 16] {
        let mut key = Key::new(Some(identity));
        key.image_size(self.size);
        key.filesystem(&self.filesystem);
        key.times(self.epoch, self.latest);
        key.semantics(self.semantics);
        key.root(self.root.owner, self.root.mode);
        key.added(added);
        key.uuid()
    }
}

/// An error of the writer that is about the image as a whole.
fn refused(output: &Path, error: ext4_writer::Error) -> Error {
    let message = format!("cannot make the filesystem {}", output.display());
    match error {
        ext4_writer::Error::WriteImage { ref source, .. } => {
            Error::of_write(message, source.kind()).with_source(error)
        }
        ext4_writer::Error::ImageFull { .. } => Error::cannot_create(message)
            .with_source(error)
            .with_hint("raise --size, or leave it out"),
        ext4_writer::Error::TooFewInodes { .. } => Error::cannot_create(message)
            .with_source(error)
            .with_hint("raise --inodes, or leave it out"),
        ext4_writer::Error::DeviceTooSmall { .. } => Error::cannot_create(message)
            .with_source(error)
            .with_hint("lower --size, or take a larger device"),
        ext4_writer::Error::InvalidOption { .. }
        | ext4_writer::Error::RefusedFeature { .. }
        | ext4_writer::Error::FeatureConflict { .. } => Error::usage(message).with_source(error),
        ext4_writer::Error::Poisoned => Error::io(message).with_source(error),
        ext4_writer::Error::Internal { .. } => Error::internal(message).with_source(error),
        _ => Error::bad_data(message).with_source(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_too_small_cannot_hold_the_output() {
        let error = ext4_writer::Error::DeviceTooSmall { size: 20, capacity: 10 };
        let error = refused(Path::new("/dev/x"), error);
        assert_eq!(error.exit_code(), 73);
        let message = error.to_string();
        assert!(message.contains("/dev/x") && message.contains("--size"), "{message}");
    }
}
