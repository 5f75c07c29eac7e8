//! Layers onto a new filesystem, and what else goes into the image.

use std::time::Instant;

use ext4_writer::{Builder, Summary, WriteBehind};

use super::output::{ImageSink, Output};
use super::refused::refused;
use super::size::ImageSize;
use super::spec::ImageSpec;
use super::staged_image::{Built, StagedImage};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::flatten::{Flattener, ReadableTarget};
use crate::inject::{
    Adding, HostTree, Tree, TreeHasher, add_files, add_image, add_tree, open_overlay,
};
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
    /// Another filesystem, and no layers.
    Filesystem {
        /// Its tree.
        tree: &'a dyn Tree,
        /// Hears how many bytes were read.
        seen: &'a dyn Fn(u64),
    },
}

/// Applies layers onto a new filesystem.
///
/// `layers` gives each layer when it is wanted, oldest first.
pub fn build(
    spec: &ImageSpec,
    base: Base<'_>,
    layers: impl Iterator<Item = Result<LayerStream>>,
) -> Result<StagedImage> {
    let start = Instant::now();
    let (output, sink) =
        Output::open(&spec.output, spec.target.clone(), spec.replace, &spec.interruption)?;
    let sink = WriteBehind::new(sink).map_err(|error| {
        let output = spec.output.display();
        Error::no_thread(format!("cannot start a thread that writes {output}"), error)
    })?;
    let mut builder =
        Builder::create(sink, spec.options()).map_err(|error| refused(&spec.output, error))?;
    let mut layering = Flattener::new(&mut builder, spec.flatten_options())?;
    let (identity, layers) = spec.apply_base(base, layers, &mut layering)?;
    let mut hasher = TreeHasher::default();
    spec.apply_additions(&mut layering, &mut hasher)?;
    let mut description = spec.guest.description.clone();
    if let Some(description) = &mut description {
        description.set_content(&identity, &layers);
    }
    let description = spec.guest.apply(&mut layering, description, spec.epoch, &mut hasher)?;
    let flattened = layering.finish()?;
    spec.root.apply(&mut builder).map_err(|error| refused(&spec.output, error))?;
    let added = hasher.finish()?;
    if spec.filesystem.uuid.is_none() {
        builder.set_uuid(spec.derived_uuid(&identity, &added));
    }
    let root = builder.metadata(builder.root()).map_err(|error| refused(&spec.output, error))?;
    let flattening = start.elapsed();
    let summary = finish(spec, builder)?;
    let finishing = start.elapsed().saturating_sub(flattening);
    let path = spec.output.clone();
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
    let interruption = spec.interruption.clone();
    Ok(StagedImage { output, replace: spec.replace, interruption, built })
}

fn finish(spec: &ImageSpec, mut builder: ImageBuilder) -> Result<Summary> {
    let refused = |error| refused(&spec.output, error);
    if let Some(room) = spec.size.room(builder.content_bytes()) {
        builder.set_room(room, ImageSize::inodes_for(room)).map_err(refused)?;
    }
    let (summary, _) = builder.finish().map_err(refused)?;
    Ok(summary)
}

impl ImageSpec {
    /// Applies what the image begins with; returns what names it, and what was read of each layer.
    fn apply_base<T: ReadableTarget>(
        &self,
        base: Base<'_>,
        layers: impl Iterator<Item = Result<LayerStream>>,
        layering: &mut Flattener<'_, T>,
    ) -> Result<(Digest, Vec<LayerTotals>)> {
        let mut hasher = TreeHasher::default();
        match base {
            Base::Tree { tree, seen } => {
                add_tree(layering, tree, &mut self.adding(&mut hasher, seen))?;
            }
            Base::Filesystem { tree, seen } => {
                add_image(layering, tree, &mut self.adding(&mut hasher, seen))?;
            }
            Base::Image(_) | Base::Archive(_) => {}
        }
        let mut totals = Vec::new();
        for layer in layers {
            totals.push(layering.apply_layer(layer?)?);
        }
        let identity = match (base, totals.as_slice()) {
            (Base::Image(identity), _) => identity.clone(),
            (Base::Tree { .. } | Base::Filesystem { .. }, _) => hasher.finish()?,
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
