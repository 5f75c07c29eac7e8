//! How a registry is spoken with.

use std::time::Duration;

use crate::source::credentials::Search;
use crate::source::hosts::HostOptions;
use crate::source::{Limits, Warnings};

/// The longest pause that a registry may ask for; who asks for more is told to the user at once.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// When a registry is asked what a tag names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Pull {
    /// Always; what the cache has is not fetched again.
    #[default]
    Always,
    /// Only when the cache does not know it.
    Missing,
    /// Never: the cache has the image, or it is not found.
    Never,
}

/// How to speak with a registry.
#[derive(Clone, Debug)]
pub struct Options {
    /// How TLS is spoken, and where mirrors are configured.
    pub hosts: HostOptions,
    /// Where credentials are looked for.
    pub credentials: Search,
    /// When the registry is asked at all.
    pub pull: Pull,
    /// How much the image and its registry may ask of us.
    pub limits: Limits,
    /// Hears what was passed over.
    pub warnings: Warnings,
    /// How many requests run at the same time.
    pub jobs: usize,
    /// How often a request is repeated that failed in a way that may pass.
    pub retries: u32,
    /// The pause before the first repetition; each later one is twice as long.
    pub retry_delay: Duration,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long a server may send nothing.
    pub stall_timeout: Duration,
    /// How long another process that fetches the same blob may make no progress, beyond the pauses
    /// that it may take itself.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hosts: HostOptions::default(),
            credentials: Search::default(),
            pull: Pull::default(),
            limits: Limits::default(),
            warnings: Warnings::default(),
            jobs: 4,
            retries: 4,
            retry_delay: Duration::from_millis(250),
            connect_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            patience: MAX_RETRY_AFTER.saturating_mul(2),
        }
    }
}
