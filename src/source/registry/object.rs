//! What a registry is asked for, and how much of it.

use std::fmt;

use crate::digest::Digest;
use crate::error::Error;
use crate::source::Layer;
use crate::source::limits::Bound;
use crate::source::manifest::foreign_layer;

/// What is asked for.
#[derive(Debug)]
pub(super) enum Object {
    /// Nothing but who we are: the root of the API (distribution-spec, end-1).
    Root,
    /// A manifest or an index, by tag or digest.
    Manifest(String),
    /// A config.
    Config(Digest),
    /// A layer's blob, with its number, the number of all, and where else it is.
    Layer { digest: Digest, number: usize, count: usize, urls: Vec<String> },
}

impl Object {
    pub(super) fn layer(layer: &Layer, count: usize) -> Self {
        let number = layer.index.saturating_add(1);
        let (digest, urls) = (layer.digest.clone(), layer.urls.clone());
        Self::Layer { digest, number, count, urls }
    }

    /// The error of a registry that lacks it, with what the manifest says of it.
    pub(super) fn missing(&self, error: Error) -> Error {
        match self {
            Self::Layer { urls, .. } if !urls.is_empty() => error.with_hint(format!(
                "{}; crane copy --allow-nondistributable-artifacts makes a copy that has it",
                foreign_layer(urls)
            )),
            _ => error,
        }
    }

    pub(super) fn path(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Manifest(name) => format!("manifests/{name}"),
            Self::Config(digest) | Self::Layer { digest, .. } => format!("blobs/{digest}"),
        }
    }

    /// Its digest, when it is asked for by it.
    pub(super) fn digest(&self) -> Option<Digest> {
        match self {
            Self::Root => None,
            Self::Manifest(name) => name.parse().ok(),
            Self::Config(digest) | Self::Layer { digest, .. } => Some(digest.clone()),
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("the root of the API"),
            Self::Manifest(name) => write!(f, "manifest {name}"),
            Self::Config(digest) => write!(f, "config {digest}"),
            Self::Layer { digest, number, count, .. } => {
                write!(f, "layer {number} of {count} ({digest})")
            }
        }
    }
}

/// What a registry is asked for to learn what it says to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The image.
    Image,
    /// Nothing but who we are.
    Registry,
}

/// How much of an object is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Requested {
    /// Whether it is there.
    Header,
    /// Its first byte, for the same purpose.
    FirstByte,
    /// All of it, from this byte on.
    From(u64),
}

/// How long a document may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    AtMost(Bound),
    Exactly(u64),
}
