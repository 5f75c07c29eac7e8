//! What makes an image of an origin's layers: the words of all commands that do, as one job.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use ext4_writer::{Options, Summary, Timestamp};

use super::effort::Effort;
use super::guest::GuestWords;
use super::layering::Layering;
use super::network::Network;
use crate::cache::Cache;
use crate::digest::Algorithm;
use crate::error::{Error, ErrorKind, Result};
use crate::flatten::{Bounded, Flattened, LowerLink};
use crate::guest::Guest;
use crate::image::{
    Base, Built, ImageBuilder, ImageSize, Place, Ready, Recipe, Root, build, uuid_text,
};
use crate::inject::{HostTree, Owners};
use crate::layer::{LayerBlob, LayerStream, LayerTotals, Limits, LookAhead, flag};
use crate::lint::lint_or_say_why;
use crate::look::must_be_sound;
use crate::report::{Content, Image, Kinds, LayerLine, Note, Progress, Pulled, Report, Stages};
use crate::shown;
use crate::source::local::kind::check_directory;
use crate::source::{self, Blobs, Config, Flat, Found, Notices, Origin, Platform, Transfer};

/// How layers are got and read.
#[derive(Debug, Args)]
pub(super) struct Reading {
    /// Choose the image for this platform [default: linux on the host's architecture]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    #[command(flatten)]
    pub(super) network: Network,
    #[command(flatten)]
    effort: Effort,
    #[command(flatten)]
    layering: Layering,
}

impl Reading {
    /// Refuses words that have no meaning for an origin.
    pub(super) fn suits(&self, origin: &Origin) -> Result<()> {
        if self.platform.is_some() && !origin.has_platform() {
            return Err(Error::usage(format!("--platform has no meaning for {origin}"))
                .with_hint("a root filesystem is taken as it is"));
        }
        self.network.suits(origin)
    }
}

/// A filesystem whose words have been checked, but for what it begins with.
pub(super) struct Shape {
    pub(super) output: PathBuf,
    pub(super) place: Place,
    pub(super) replace: bool,
    pub(super) size: ImageSize,
    pub(super) filesystem: Options,
    pub(super) root: Root,
}

/// A pull whose words have been checked.
pub(super) struct Job {
    pub(super) origin: Origin,
    pub(super) platform: Platform,
    pub(super) options: source::Options,
    pub(super) recipe: Recipe,
    /// The directory that is the image's root, if it comes from one.
    pub(super) tree: Option<HostTree>,
    /// The time of what has none of its own, if not that at which the image was made.
    pub(super) now: Option<Timestamp>,
    /// What the image is to get beside its layers.
    pub(super) guest: GuestWords,
    /// Whether the finished image is looked at before it gets its name.
    pub(super) is_linted: bool,
    /// Whether it has to be sound before it gets its name.
    pub(super) is_checked: bool,
}

impl Job {
    /// A filesystem of this shape with what the origin holds and nothing beside it. It is to hold
    /// data, not to boot: nothing is looked for in it.
    pub(super) fn new(
        origin: Origin,
        owners: Owners,
        reading: Reading,
        shape: Shape,
    ) -> Result<Self> {
        let Reading { platform, network, effort, layering } = reading;
        let tree = match &origin {
            Origin::Directory(root) => {
                check_directory(root)?;
                Some(HostTree::new(root.clone(), owners))
            }
            _ => None,
        };
        let platform = platform.map_or_else(|| Ok(Platform::host()), |text| text.parse())?;
        let mut options = network.options(effort.jobs)?;
        layering.limits.apply(&mut options.limits);
        let Shape { output, place, replace, size, filesystem, root } = shape;
        let recipe = Recipe {
            output,
            place,
            replace,
            root,
            size,
            filesystem,
            epoch: Timestamp::default(),
            additions: Vec::new(),
            overlays: Vec::new(),
            guest: Guest::default(),
            latest: None,
            semantics: layering.semantics.into(),
            strict: layering.strict,
            limits: options.limits.layer.clone(),
            memory: effort.memory(),
        };
        Ok(Self {
            origin,
            platform,
            options,
            recipe,
            tree,
            now: None,
            guest: GuestWords::default(),
            is_linted: false,
            is_checked: false,
        })
    }

    /// Makes the image; `cache` is asked for when there is something to fetch, `look` sees the
    /// finished tree.
    pub(super) fn run(
        mut self,
        cache: impl FnOnce() -> Result<Cache>,
        report: Report,
        mut look: impl FnMut(&ImageBuilder) -> Result<()>,
    ) -> Result<Pulled> {
        let start = Instant::now();
        self.recipe.check()?;
        self.guest.check_output(&self.recipe)?;
        report.step(&format!("resolving {}", self.origin));
        self.options.notices.listen(move |line| report.warn(line));
        let found = self.find(cache);
        report.notices(&self.options.notices.take());
        let mut found = found?;
        let archive = found.take_archive();
        let image = found.image();
        within_limits(image, &self.recipe.limits)?;
        let resolved = start.elapsed();

        self.recipe.latest = source_date_epoch()?;
        let now = || self.now.unwrap_or_else(|| created(&image.config));
        self.recipe.epoch = self.recipe.latest.unwrap_or_else(now);
        self.recipe.guest = self.guest.guest(image, &self.origin, &self.recipe)?;
        let tree = self.tree.as_ref();
        let content = match (archive, tree) {
            (Some(archive), _) => Beginning::Archive(archive),
            (None, Some(tree)) => Beginning::Tree(tree),
            (None, None) => Beginning::Layers,
        };
        let notices = self.options.notices.clone();
        let voice = (report, &notices);
        let mut filled = fill(&self.recipe, content, &found, voice, &mut look);
        let is_bad = matches!(&filled, Err(error) if error.kind() == ErrorKind::BadData);
        if is_bad && found.was_damaged()? {
            report.step("a cached layer was damaged and is moved aside; pulling again");
            filled = fill(&self.recipe, Beginning::Layers, &found, voice, &mut look);
        }
        let (ready, transfer) = filled?;
        let findings = if self.is_linted {
            lint_or_say_why(ready.file()?, image.platform.as_ref())
        } else {
            Vec::new()
        };
        if self.is_checked {
            report.step("checking the filesystem");
            must_be_sound(ready.file()?)?;
        }
        let built = ready.publish()?;
        let mut pulled = describe(image, &built, &self.recipe);
        pulled.findings = findings;
        pulled.content.fetched = transfer.fetched;
        pulled.content.cached = transfer.cached;
        pulled.notices = self.options.notices.all();
        pulled.milliseconds = Stages {
            resolve: milliseconds(resolved),
            layers: milliseconds(built.flattening),
            finish: milliseconds(built.finishing),
            total: milliseconds(start.elapsed()),
        };
        Ok(pulled)
    }

    fn find(&self, cache: impl FnOnce() -> Result<Cache>) -> Result<Found> {
        let Self { origin, platform, .. } = self;
        if !origin.is_local() {
            return Found::remote(origin, platform, &cache()?, &self.options);
        }
        let Some(tree) = &self.tree else {
            return Found::local(origin, platform, &self.options.limits);
        };
        Ok(Found::tree(origin, tree.bytes()?))
    }
}

/// Where an image's content comes from.
enum Beginning<'a> {
    Layers,
    Archive(Flat),
    Tree(&'a HostTree),
}

/// Applies the layers as they arrive. The image is ready for its name when all of them are proven
/// and those that were fetched are safe in the cache.
fn fill(
    recipe: &Recipe,
    content: Beginning<'_>,
    found: &Found,
    (report, notices): (Report, &Notices),
    look: &mut dyn FnMut(&ImageBuilder) -> Result<()>,
) -> Result<(Ready, Transfer)> {
    let (image, blobs) = (found.image(), found.blobs());
    let transfer = blobs.transfer();
    report.step(&announcement(image, transfer.fetched, recipe));
    let progress = report.progress(found.bytes());
    notices.listen(progress.warner());
    let ready = match content {
        Beginning::Layers => layered(recipe, image, &blobs, &progress, look)?,
        Beginning::Archive(archive) => {
            let name = archive.name().to_owned();
            let reader = progress.watch(archive.into_reader());
            let blob = LayerBlob { name: name.clone(), reader, verified: None, diff_id: None };
            let limits = &recipe.limits;
            let stream = LayerStream::open_to_identify(blob, Algorithm::Blake3, limits);
            build(recipe, Base::Archive(&name), std::iter::once(stream), look)?
        }
        Beginning::Tree(tree) => {
            let seen = |count| progress.advance(count);
            build(recipe, Base::Tree { tree, seen: &seen }, std::iter::empty(), look)?
        }
    };
    if !image.layers.is_empty() {
        progress.now("proving the layers");
    }
    blobs.finish()?;
    Ok((ready, transfer))
}

fn layered(
    recipe: &Recipe,
    image: &source::Image,
    blobs: &Blobs<'_>,
    progress: &Progress,
    look: &mut dyn FnMut(&ImageBuilder) -> Result<()>,
) -> Result<Ready> {
    let count = image.layers.len();
    let opened = image.layers.iter().map(|layer| {
        Ok(LayerBlob {
            name: format!("layer {} of {count} ({})", layer.index + 1, layer.digest),
            reader: progress.watch(blobs.open(layer)?),
            verified: Some(layer.digest.clone()),
            diff_id: layer.diff_id.clone(),
        })
    });
    let mut ahead = LookAhead::new(opened, &recipe.limits, recipe.memory);
    let layers = image.layers.iter().map_while(|layer| {
        progress.now(&format!("layer {} of {count}", layer.index + 1));
        ahead.next()
    });
    let identity = image.identity.as_ref();
    let identity = identity.ok_or_else(|| Error::internal("an image of layers has no name"))?;
    build(recipe, Base::Image(identity), layers, look)
}

fn announcement(image: &source::Image, missing: u64, recipe: &Recipe) -> String {
    let name = image.manifest_digest.as_ref().or(image.identity.as_ref());
    let platform = image.platform.as_ref().map(|platform| format!(" for {platform}"));
    let platform = platform.unwrap_or_default();
    let output = recipe.output.display();
    match name {
        None => format!("reading {} into {output}", image.reference),
        Some(name) => {
            let count = image.layers.len();
            format!("{name}{platform}: {count} layers, {missing} bytes to fetch, into {output}")
        }
    }
}

/// Refuses what is larger than it may be before it is fetched.
fn within_limits(image: &source::Image, limits: &Limits) -> Result<()> {
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

/// `SOURCE_DATE_EPOCH`: the time of what has none of its own, and the latest time of all.
///
/// Source: <https://reproducible-builds.org/specs/source-date-epoch/>.
pub(super) fn source_date_epoch() -> Result<Option<Timestamp>> {
    let Some(given) = std::env::var_os("SOURCE_DATE_EPOCH") else { return Ok(None) };
    let seconds = given.to_str().and_then(|text| text.parse::<u32>().ok()).ok_or_else(|| {
        Error::usage(format!(
            "SOURCE_DATE_EPOCH is \"{}\", not a number of seconds since 1970",
            shown::bytes(given.as_encoded_bytes())
        ))
    })?;
    Ok(Some(Timestamp::from_seconds(seconds.into())))
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

fn describe(image: &source::Image, built: &Built, recipe: &Recipe) -> Pulled {
    let layer = |(number, totals): (usize, &LayerTotals)| {
        let layer = image.layers.get(number);
        let promised = layer.and_then(|layer| layer.diff_id.as_ref());
        LayerLine {
            digest: layer.map(|layer| layer.digest.to_string()),
            diff_id: promised.or(totals.digest.as_ref()).map(ToString::to_string),
            compression: totals.compression.to_string(),
            compressed: totals.compressed,
            uncompressed: totals.uncompressed,
        }
    };
    let Flattened { losses, warnings, followed, hidden, .. } = &built.flattened;
    Pulled {
        reference: image.reference.clone(),
        index: image.index_digest.as_ref().map(ToString::to_string),
        manifest: image.manifest_digest.as_ref().map(ToString::to_string),
        identity: built.identity.to_string(),
        platform: image.platform.as_ref().map(ToString::to_string),
        layers: built.layers.iter().enumerate().map(layer).collect(),
        content: content(&built.flattened),
        image: self::image(&built.path, &built.summary, &recipe.filesystem.label),
        kernel_words: built
            .description
            .as_ref()
            .and_then(|description| description.kernel_words().map(ToOwned::to_owned)),
        findings: Vec::new(),
        description: built.described.as_ref().map(|path| path.display().to_string()),
        milliseconds: Stages { resolve: 0, layers: 0, finish: 0, total: 0 },
        losses: Note::all(losses),
        losses_total: losses.total(),
        warnings: Note::all(warnings),
        warnings_total: warnings.total(),
        followed_symlinks: lower_links(followed),
        followed_symlinks_total: followed.total(),
        hidden_symlinks: lower_links(hidden),
        hidden_symlinks_total: hidden.total(),
        notices: Vec::new(),
    }
}

fn content(flattened: &Flattened) -> Content {
    let counts = &flattened.counts;
    Content {
        entries: counts.entries,
        kinds: Kinds {
            files: counts.files,
            file_bytes: counts.file_bytes,
            directories: counts.directories.saturating_add(counts.implied_directories),
            symlinks: counts.symlinks,
            hard_links: counts.hard_links,
            special_files: counts.special_files,
        },
        whiteouts: counts.whiteouts.saturating_add(counts.opaque_whiteouts),
        fetched: 0,
        cached: 0,
    }
}

/// What is said of a filesystem.
pub(super) fn image(path: &Path, summary: &Summary, label: &[u8]) -> Image {
    Image {
        path: path.display().to_string(),
        size: summary.size,
        block_size: summary.block_size,
        blocks: summary.blocks,
        free_blocks: summary.free_blocks,
        available: summary.available,
        written: summary.written,
        inodes: summary.inodes,
        free_inodes: summary.free_inodes,
        label: shown::bytes(label).to_string(),
        uuid: uuid_text(summary.uuid),
        journal: summary.journal,
        clamped_times: summary.clamped_times,
        features: summary.features.names().collect(),
    }
}

fn lower_links(list: &Bounded<LowerLink>) -> Vec<Note> {
    list.items().iter().map(|link| Note::new(&link.symlink, &link.layer)).collect()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::disk::parse_uuid;
    use super::*;

    #[test]
    fn uuids_are_read_and_shown_alike() {
        let text = "3201a0fc-c532-4b89-b15a-c2fc3b1fd3a9";
        assert_eq!(uuid_text(parse_uuid(text).unwrap()), text);
        for text in ["", "3201a0fcc5324b89b15ac2fc3b1fd3a9", "+201a0fc-c532-4b89-b15a-c2fc3b1fd3a9"]
        {
            assert_eq!(parse_uuid(text).unwrap_err().exit_code(), 2, "{text}");
        }
    }

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
