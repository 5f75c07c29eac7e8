//! Layers onto a new filesystem, and what else goes into the image.

use std::time::Instant;

use ext4_writer::{Builder, Summary, WriteBehind};

use super::output::{ImageSink, Output};
use super::ready::{Built, Ready};
use super::recipe::Recipe;
use super::refused::refused;
use super::size::ImageSize;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::flatten::{Flattener, ReadableTarget};
use crate::inject::{Adding, HostTree, TreeHasher, add_files, add_tree, open_overlay};
use crate::layer::{LayerStream, LayerTotals};

/// A filesystem on its way to an output.
type ImageBuilder = Builder<WriteBehind<ImageSink>>;

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
    /// Applies what the image begins with; returns what names it, and what was read of each layer.
    fn apply_base<T: ReadableTarget>(
        &self,
        base: Base<'_>,
        layers: impl Iterator<Item = Result<LayerStream>>,
        layering: &mut Flattener<'_, T>,
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
    fn apply_additions<T: ReadableTarget>(
        &self,
        layering: &mut Flattener<'_, T>,
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
}
