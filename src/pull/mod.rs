//! An image to a disk: the whole way, from a source to a file that has its name.

mod contents;
mod guest;
mod observer;
mod request;
mod root;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ext4_writer::Timestamp;

use crate::cache::Cache;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{Built, ImageSpec};
use crate::layer::{Limits, flag};
use crate::lint::{Finding, lint_or_say_why};
use crate::look::must_be_sound;
use crate::source::local::kind::check_archive;
use crate::source::{Config, Image, Options, ResolvedImage, Transfer, Warnings};

use contents::{Contents, Filling};
use root::Root;

pub use guest::GuestOptions;
pub use observer::Observer;
pub use request::Request;

/// What was pulled, and what became of it.
#[derive(Debug)]
pub struct Pulled {
    /// The image that the source named.
    pub source: Image,
    /// The disk that was made of it.
    pub built: Built,
    /// The name of its volume.
    pub label: Vec<u8>,
    /// How much of it came from where.
    pub transfer: Transfer,
    /// What would keep the disk from booting, or surprise whoever boots it.
    pub findings: Vec<Finding>,
    /// Configuration that was passed over since we may not read it.
    pub warnings: Vec<String>,
    /// How long it took to find the image and to ask for every layer.
    pub resolving: Duration,
    /// How long everything took.
    pub total: Duration,
}

/// Makes a disk of an image, as the request says. It has its name only when all of it was verified
/// and is on the disk; until then nothing is there, or what was there before.
///
/// The observer hears of what is done while it is done, from any thread.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use banger::pull::{Request, pull};
/// use banger::source::ImageReference;
///
/// let source = ImageReference::parse("debian:bookworm-slim".as_ref())?;
/// let pulled = pull(&Request::new(source, "debian.ext4"), Arc::new(()))?;
/// assert_eq!(pulled.built.summary.block_size, 4096);
/// # Ok::<(), banger::error::Error>(())
/// ```
pub fn pull(request: &Request, observer: Arc<dyn Observer>) -> Result<Pulled> {
    let start = Instant::now();
    let mut spec = request.spec();
    check(request, &spec)?;
    let root = Root::open(request)?;
    observer.step(&format!("resolving {}", request.source));
    let warnings = Warnings::default();
    let listener = Arc::clone(&observer);
    warnings.listen(move |line| listener.warning(line));
    let found = find(request, root.as_ref(), &warnings);
    warnings.take().iter().for_each(|line| observer.warning(line));
    let mut found = found?;
    if let Some(root) = &root {
        root.caveats().iter().for_each(|line| observer.warning(line));
        root.describe(&mut spec);
    }
    let archive = found.take_archive();
    within_limits(found.image(), &spec.limits)?;
    let resolving = start.elapsed();

    let created = || request.epoch.unwrap_or_else(|| created(&found.image().config));
    spec.epoch = spec.latest.unwrap_or_else(created);
    spec.guest = request.guest.guest(found.image(), &request.source, &spec)?;
    let contents = match (archive, &root) {
        (Some(archive), _) => Contents::Archive(archive),
        (None, Some(root)) => root.contents(),
        (None, None) => Contents::Layers,
    };
    let filling = Filling { spec: &spec, found: &found, observer };
    let mut filled = filling.run(contents);
    let is_bad = matches!(&filled, Err(error) if error.kind() == ErrorKind::BadData);
    if is_bad && found.was_damaged()? {
        filling.observer.step("a cached layer was damaged and is moved aside; pulling again");
        filled = filling.run(Contents::Layers);
    }
    let (ready, transfer) = filled?;
    let platform = found.image().platform.as_ref();
    let findings = if request.lint { lint_or_say_why(ready.file()?, platform) } else { Vec::new() };
    if request.check {
        filling.observer.step("checking the filesystem");
        must_be_sound(ready.file()?)?;
    }
    let built = ready.publish()?;
    Ok(Pulled {
        source: found.into_image(),
        built,
        label: spec.filesystem.label,
        transfer,
        findings,
        warnings: warnings.all(),
        resolving,
        total: start.elapsed(),
    })
}

/// Refuses what cannot come to a good end, before the long work.
fn check(request: &Request, spec: &ImageSpec) -> Result<()> {
    for overlay in &spec.overlays {
        check_archive(overlay, &spec.limits)?;
    }
    spec.check()?;
    request.guest.check_output(spec)
}

fn find(request: &Request, root: Option<&Root>, warnings: &Warnings) -> Result<ResolvedImage> {
    let Request { source, platform, registry, .. } = request;
    if !source.is_local() {
        let cache = request.cache.clone().map_or_else(Cache::open, Ok)?;
        let options = Options { warnings: warnings.clone(), ..registry.clone() };
        return ResolvedImage::remote(source, platform, &cache, &options);
    }
    match root {
        Some(root) => root.resolved(source),
        None => ResolvedImage::local(source, platform, &registry.limits),
    }
}

/// Refuses what is larger than it may be before it is fetched.
fn within_limits(image: &Image, limits: &Limits) -> Result<()> {
    let count = image.layers.len();
    if count > usize::from(limits.layers) {
        let (name, limit) = (&image.reference, limits.layers);
        let error = Error::bad_data(format!("{name} has {count} layers, at most {limit} are read"));
        return Err(error.with_hint(flag::raise(flag::LAYERS)));
    }
    if let Some(layer) = image.layers.iter().find(|layer| layer.size > limits.blob) {
        let (number, size, limit) = (layer.index.saturating_add(1), layer.size, limits.blob);
        let error = Error::bad_data(format!(
            "layer {number} of {} has {size} compressed bytes, at most {limit} are fetched",
            image.reference
        ));
        return Err(error.with_hint(flag::raise(flag::BLOB)));
    }
    Ok(())
}

/// When the image was made, for what has no time of its own.
fn created(config: &Config) -> Timestamp {
    let created = config.created.as_deref().map(chrono::DateTime::parse_from_rfc3339);
    // Builders that hide the time write none, or a zero one.
    match created {
        Some(Ok(time)) => Timestamp::from_seconds(time.timestamp().max(0)),
        Some(Err(_)) | None => Timestamp::from_seconds(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_time_is_of_1970() {
        let config = |created: Option<&str>| Config {
            created: created.map(ToOwned::to_owned),
            ..Default::default()
        };
        assert_eq!(created(&config(None)).seconds, 0);
        assert_eq!(created(&config(Some("yesterday"))).seconds, 0);
        assert_eq!(created(&config(Some("0001-01-01T00:00:00Z"))).seconds, 0);
        let new_year = created(&config(Some("2024-01-01T00:00:00.5Z")));
        assert_eq!(new_year.seconds, 1_704_067_200);
    }
}
