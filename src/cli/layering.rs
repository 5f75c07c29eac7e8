//! The words that decide how layers are applied, and how much of them is put up with.

use clap::Args;

use crate::error::{Error, Result};
use crate::flatten::LayerSemantics;
use crate::image::parse_bytes;
use crate::layer::{MAX_SYMLINK, MAX_XATTR};
use crate::source::Limits;

/// How layers become one tree.
#[derive(Debug, Args)]
pub(super) struct Layering {
    /// What a path means that leads through a symbolic link of a lower layer: where the link
    /// points to, or a new directory that hides it
    #[arg(long = "layer-semantics", value_enum, value_name = "HOW", default_value = "follow")]
    pub(super) semantics: Semantics,
    /// Fail when the image holds something that the disk cannot, instead of reporting it
    #[arg(long)]
    pub(super) strict: bool,
    #[command(flatten)]
    pub(super) limits: Bounds,
}

/// The words for [`LayerSemantics`].
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Semantics {
    /// As when one layer is extracted over the other
    Follow,
    /// As overlayfs shows it, which Docker and podman use
    Overlay,
}

impl From<Semantics> for LayerSemantics {
    fn from(word: Semantics) -> Self {
        match word {
            Semantics::Follow => Self::Follow,
            Semantics::Overlay => Self::Overlay,
        }
    }
}

/// The heading of the limits in the help.
pub(super) const LIMITS: &str = "Limits against hostile images";

/// The bounds of an image, for those who trust one that goes over them.
#[derive(Debug, Args)]
pub(super) struct Bounds {
    /// Layers [default: 1000]
    #[arg(long = "max-layers", value_name = "COUNT", hide_short_help = true, help_heading = LIMITS)]
    layers: Option<u16>,
    /// Compressed bytes of a layer [default: 32G]
    #[arg(long = "max-blob", value_name = "SIZE", value_parser = parse_bytes, hide_short_help = true, help_heading = LIMITS)]
    blob: Option<u64>,
    /// Uncompressed bytes of a layer [default: 64G]
    #[arg(long = "max-layer", value_name = "SIZE", value_parser = parse_bytes, hide_short_help = true, help_heading = LIMITS)]
    layer: Option<u64>,
    /// Uncompressed bytes of all layers [default: 128G]
    #[arg(long = "max-image", value_name = "SIZE", value_parser = parse_bytes, hide_short_help = true, help_heading = LIMITS)]
    image: Option<u64>,
    /// Uncompressed bytes for a compressed one, in layers over 1G [default: 1000]
    #[arg(long = "max-ratio", value_name = "COUNT", hide_short_help = true, help_heading = LIMITS)]
    ratio: Option<u64>,
    /// Bytes of a layer that are of no use, such as what follows its end [default: 64M]
    #[arg(long = "max-ignored", value_name = "SIZE", value_parser = parse_bytes, hide_short_help = true, help_heading = LIMITS)]
    ignored: Option<u64>,
    /// The window of zstd or xz, which takes as much memory [default: 128M]
    #[arg(long = "max-window", value_name = "SIZE", value_parser = parse_window, hide_short_help = true, help_heading = LIMITS)]
    window: Option<u32>,
    /// Entries of all layers [default: 4000000]
    #[arg(long = "max-entries", value_name = "COUNT", hide_short_help = true, help_heading = LIMITS)]
    entries: Option<u64>,
    /// Bytes of all names, link targets and attributes, which stay in memory [default: 1G]
    #[arg(long = "max-metadata", value_name = "SIZE", value_parser = parse_bytes, hide_short_help = true, help_heading = LIMITS)]
    metadata: Option<u64>,
    /// Bytes of one extended header of an archive [default: 1M]
    #[arg(long = "max-header", value_name = "SIZE", value_parser = parse_bytes, hide_short_help = true, help_heading = LIMITS)]
    header: Option<u64>,
    /// Bytes of a path [default: 4096]
    #[arg(long = "max-path", value_name = "BYTES", hide_short_help = true, help_heading = LIMITS)]
    path: Option<usize>,
    /// Bytes of the target of a symbolic link, not more than a kernel follows [default: 4095]
    #[arg(long = "max-link", value_name = "BYTES", value_parser = parse_symlink, hide_short_help = true, help_heading = LIMITS)]
    symlink: Option<usize>,
    /// Bytes of the value of an attribute, not more than a kernel shows [default: 64K]
    #[arg(long = "max-xattr-value", value_name = "SIZE", value_parser = parse_xattr, hide_short_help = true, help_heading = LIMITS)]
    xattr: Option<usize>,
    /// Bytes of the attributes of a file [default: 64K]
    #[arg(long = "max-xattrs", value_name = "SIZE", value_parser = parse_length, hide_short_help = true, help_heading = LIMITS)]
    xattrs: Option<usize>,
    /// Data segments of a sparse file [default: 10000]
    #[arg(long = "max-sparse", value_name = "COUNT", hide_short_help = true, help_heading = LIMITS)]
    sparse: Option<usize>,
    /// Symbolic links in a path [default: 40]
    #[arg(long = "max-hops", value_name = "COUNT", hide_short_help = true, help_heading = LIMITS)]
    hops: Option<u32>,
    /// Directories that symbolic links lead through, all paths together [default: 10000000]
    #[arg(long = "max-detours", value_name = "COUNT", hide_short_help = true, help_heading = LIMITS)]
    detours: Option<u64>,
    /// Bytes of an index or a manifest [default: 4M]
    #[arg(long = "max-manifest", value_name = "SIZE", value_parser = parse_bytes, hide_short_help = true, help_heading = LIMITS)]
    manifest: Option<u64>,
    /// Bytes of a config [default: 8M]
    #[arg(long = "max-config", value_name = "SIZE", value_parser = parse_bytes, hide_short_help = true, help_heading = LIMITS)]
    config: Option<u64>,
    /// Bytes of the list of images in a layout or an archive [default: 4M]
    #[arg(long = "max-archive-index", value_name = "SIZE", value_parser = parse_bytes, hide_short_help = true, help_heading = LIMITS)]
    list: Option<u64>,
    /// Entries of an index, and images in an archive [default: 10000]
    #[arg(long = "max-index-entries", value_name = "COUNT", hide_short_help = true, help_heading = LIMITS)]
    index_entries: Option<usize>,
    /// Indexes that lead to one another [default: 3]
    #[arg(long = "max-nesting", value_name = "COUNT", hide_short_help = true, help_heading = LIMITS)]
    nesting: Option<u16>,
}

impl Bounds {
    /// Sets the limits that were said.
    pub(super) fn apply(&self, limits: &mut Limits) {
        fn set<T: Copy>(limit: &mut T, said: Option<T>) {
            *limit = said.unwrap_or(*limit);
        }
        let layer = &mut limits.layer;
        set(&mut layer.layers, self.layers);
        set(&mut layer.blob, self.blob);
        set(&mut layer.layer, self.layer);
        set(&mut layer.image, self.image);
        set(&mut layer.ratio, self.ratio);
        set(&mut layer.ignored, self.ignored);
        set(&mut layer.window_log, self.window);
        set(&mut layer.entries, self.entries);
        set(&mut layer.metadata, self.metadata);
        set(&mut layer.extension, self.header);
        set(&mut layer.path, self.path);
        set(&mut layer.symlink, self.symlink);
        set(&mut layer.xattrs, self.xattrs);
        set(&mut layer.xattr, self.xattr);
        set(&mut layer.sparse_segments, self.sparse);
        set(&mut layer.hops, self.hops);
        set(&mut layer.detours, self.detours);
        set(&mut limits.manifest, self.manifest);
        set(&mut limits.config, self.config);
        set(&mut limits.list, self.list);
        set(&mut limits.entries, self.index_entries);
        set(&mut limits.nesting, self.nesting);
    }
}

fn parse_symlink(text: &str) -> Result<usize> {
    at_most(MAX_SYMLINK, text)
}

fn parse_xattr(text: &str) -> Result<usize> {
    at_most(MAX_XATTR, text)
}

fn at_most(most: usize, text: &str) -> Result<usize> {
    match parse_length(text)? {
        length if length > most => {
            Err(Error::usage(format!("{length} bytes are more than the {most} of the kernel")))
        }
        length => Ok(length),
    }
}

fn parse_length(text: &str) -> Result<usize> {
    let bytes = parse_bytes(text)?;
    usize::try_from(bytes).map_err(|_| Error::usage(format!("{bytes} bytes are too many here")))
}

/// Windows are powers of two, from 1 KiB to the 2 GiB that the decoder can have: the logarithm of
/// the next one.
fn parse_window(text: &str) -> Result<u32> {
    let bytes = parse_bytes(text)?;
    let log = bytes.checked_next_power_of_two().map_or(u32::MAX, u64::trailing_zeros);
    if !(10..=31).contains(&log) {
        return Err(Error::usage(format!("a window of {bytes} bytes is not within 1K and 2G")));
    }
    Ok(log)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;
    use crate::layer::flag;
    use crate::source::limits::flag as documents;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        layering: Layering,
    }

    const FLAGS: [&str; 22] = [
        flag::LAYERS,
        flag::BLOB,
        flag::LAYER,
        flag::IMAGE,
        flag::RATIO,
        flag::IGNORED,
        flag::WINDOW,
        flag::ENTRIES,
        flag::METADATA,
        flag::HEADER,
        flag::PATH,
        flag::SYMLINK,
        flag::XATTRS,
        flag::XATTR,
        flag::SPARSE,
        flag::HOPS,
        flag::DETOURS,
        documents::MANIFEST,
        documents::CONFIG,
        documents::LIST,
        documents::ENTRIES,
        documents::NESTING,
    ];

    fn limits(words: &[&str]) -> Limits {
        let words = Words::try_parse_from([&["banger"], words].concat());
        let words = words.unwrap_or_else(|error| panic!("{error}"));
        let mut limits = Limits::default();
        words.layering.limits.apply(&mut limits);
        limits
    }

    #[test]
    fn every_flag_that_an_error_names_lifts_its_limit() {
        assert_eq!(limits(&[]), Limits::default());
        for flag in FLAGS {
            assert_ne!(limits(&[flag, "1234"]), Limits::default(), "{flag}");
        }
        let command = Words::command();
        let known = command.get_arguments().filter_map(clap::Arg::get_long);
        assert_eq!(known.filter(|long| long.starts_with("max-")).count(), FLAGS.len());
    }

    #[test]
    fn the_defaults_that_the_help_shows_are_those_of_the_limits() {
        let command = Words::command();
        for argument in command.get_arguments() {
            let Some(long) = argument.get_long().filter(|long| long.starts_with("max-")) else {
                continue;
            };
            let help = argument.get_help().unwrap().to_string();
            let (_, shown) = help.rsplit_once("[default: ").unwrap();
            let said = limits(&[&format!("--{long}"), &shown.replace(']', "")]);
            assert_eq!(said, Limits::default(), "{long}: {shown}");
        }
    }

    #[test]
    fn what_no_kernel_knows_is_no_limit() {
        for words in [["--max-link", "4096"], ["--max-xattr-value", "65537"]] {
            let error = Words::try_parse_from([&["banger"], &words[..]].concat()).err().unwrap();
            assert!(error.to_string().contains("more than the"), "{error}");
        }
    }

    #[test]
    fn windows_are_rounded_up_to_a_power_of_two() {
        assert_eq!(parse_window("128M").unwrap(), 27);
        assert_eq!(parse_window("100M").unwrap(), 27);
        assert_eq!(parse_window("2G").unwrap(), 31);
        for text in ["1", "3G", "100000000000G"] {
            assert_eq!(parse_window(text).unwrap_err().exit_code(), 2, "{text}");
        }
    }
}
