//! An image in a registry: found by its reference, its blobs fetched into the cache.
//!
//! This room owns the only asynchronous code of the program. Its runtime is private, its methods
//! block, and what leaves it are plain values and [`std::io::Read`].

mod causes;
mod challenge;
mod download;
mod endpoint;
mod names;
mod object;
mod proxy;
mod response;
mod retry;
mod route;
mod tls;
mod token;
mod transport;
mod trust;

use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fmt, io, thread};

use tokio::runtime::Runtime;
use tokio::task::JoinSet;

pub use download::{BlobProgress, Downloads, Progress};

use self::download::Claimed;
use self::object::{Length, Object};
use self::transport::Transport;
use super::credentials::Search;
use super::hosts::Wishes;
use super::limits::{Bound, Limits};
use super::manifest::{Config, Descriptor, Document};
use super::platform::Platform;
use super::{Image, Layer, Notices, Reference, select};
use crate::cache::Cache;
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, ErrorKind, Result};

/// The threads of the runtime. Both work only when blobs arrive faster than one can hash them.
const WORKERS: usize = 2;

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
    pub hosts: Wishes,
    /// Where credentials are looked for.
    pub credentials: Search,
    /// When the registry is asked at all.
    pub pull: Pull,
    /// How much the image and its registry may ask of us.
    pub limits: Limits,
    /// Hears what was passed over.
    pub notices: Notices,
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
            hosts: Wishes::default(),
            credentials: Search::default(),
            pull: Pull::default(),
            limits: Limits::default(),
            notices: Notices::default(),
            jobs: 4,
            retries: 4,
            retry_delay: Duration::from_millis(250),
            connect_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            patience: retry::MAX_RETRY_AFTER.saturating_mul(2),
        }
    }
}

/// What a registry says to the credentials that were found for it.
#[derive(Debug)]
pub struct LoginCheck {
    /// The file or helper that knew credentials.
    pub source: Option<String>,
    /// What they are, without what they say.
    pub kind: Option<&'static str>,
    /// The schemes that the registry asked for; none when it did not ask who we are.
    pub schemes: Vec<String>,
    /// Whether the image is there for us.
    pub exists: bool,
    /// Why the registry refused us.
    pub refusal: Option<Error>,
}

/// One repository of a registry.
pub struct Registry {
    connection: Arc<Connection>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.connection.reference).finish()
    }
}

/// What every request shares.
struct Connection {
    runtime: Runtime,
    transport: Transport,
    reference: Reference,
    cache: Cache,
    limits: Limits,
    jobs: usize,
    pull: Pull,
    patience: Duration,
}

/// A document with the digest of its bytes.
struct Found {
    digest: Digest,
    body: Vec<u8>,
    content_type: Option<String>,
}

/// How long a thread for calls that block waits for the next one. What is asked for when the
/// system grants no thread is only queued, and is done by such a thread or never: tokio 1.54,
/// `runtime/blocking/pool.rs`.
const WHOLE_RUN: Duration = Duration::from_secs(24 * 3600);

/// Whether the system grants so many threads more. The runtime panics where it does not: tokio
/// 1.54, `runtime/blocking/pool.rs`.
fn may_start(threads: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        // All of them at once, so none ends before the last has begun.
        let _closed = gate.lock();
        for _ in 0..threads {
            thread::Builder::new().spawn_scoped(scope, || drop(gate.lock()))?;
        }
        Ok(())
    })
}

impl Registry {
    /// Prepares to speak with the registry of `reference`; nothing is sent yet. What is fetched
    /// goes into `cache`.
    pub fn connect(reference: &Reference, cache: &Cache, options: &Options) -> Result<Self> {
        let cannot = "cannot start the threads of the download";
        may_start(WORKERS + 1).map_err(|error| Error::no_thread(cannot, error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("registry")
            .thread_keep_alive(WHOLE_RUN)
            .enable_all()
            .build()
            .map_err(|error| Error::io(cannot).with_source(error))?;
        // Begins the thread that takes what the system grants no other for.
        drop(runtime.spawn_blocking(|| ()));
        let connection = Connection {
            runtime,
            transport: Transport::new(reference, options)?,
            reference: reference.clone(),
            cache: cache.clone(),
            limits: options.limits.clone(),
            jobs: options.jobs.max(1),
            pull: options.pull,
            patience: options.stall_timeout.saturating_add(options.patience),
        };
        Ok(Self { connection: Arc::new(connection) })
    }

    /// Finds the image for `platform`: index, manifest and config, each verified.
    pub fn resolve(&self, platform: &Platform) -> Result<Image> {
        self.connection.runtime.block_on(self.connection.resolve(platform))
    }

    /// Shows the registry the credentials that are found for it.
    pub fn check_login(&self) -> Result<LoginCheck> {
        self.connection.runtime.block_on(self.connection.check_login())
    }

    /// Asks for every layer that the cache does not have, so that a missing one is found before
    /// the long work.
    pub fn touch(&self, image: &Image) -> Result<()> {
        self.connection.runtime.block_on(Connection::touch(&self.connection, image))
    }

    /// Begins to fetch the layers that the cache does not have, several at a time, oldest first.
    #[must_use]
    pub fn download(&self, image: &Image) -> Downloads {
        Downloads::begin(&self.connection, &image.layers)
    }
}

impl Connection {
    async fn resolve(&self, platform: &Platform) -> Result<Image> {
        let mut found = self.root().await?;
        let mut index_digest = None;
        let mut promised = None;
        let origin = self.reference.to_string();
        for _ in 0..=self.limits.nesting {
            let declared = found.content_type.as_deref();
            let document = Document::parse(&found.body, declared, &self.limits)
                .map_err(|error| self.unusable(error))?;
            self.cache.store(&found.digest, &found.body)?;
            match document {
                Document::Index(index) => {
                    index_digest.get_or_insert(found.digest);
                    let entry = select::by_platform(index, platform, &origin)?;
                    promised = entry.platform.or(promised);
                    found = self.manifest(&entry.descriptor).await?;
                }
                Document::Manifest(manifest) => {
                    let config = self.config(&manifest.config).await?;
                    self.remember(index_digest.as_ref().unwrap_or(&found.digest))?;
                    let layers = manifest.layers(&config).map_err(|error| self.unusable(error))?;
                    return Ok(Image {
                        reference: origin.clone(),
                        index_digest,
                        manifest_digest: Some(found.digest),
                        identity: Some(manifest.config.digest.clone()),
                        platform: Some(select::settle(platform, promised, &config, &origin)?),
                        config,
                        layers,
                    });
                }
            }
        }
        Err(self.limits.nested_too_deep(&origin))
    }

    /// The document that the reference names.
    async fn root(&self) -> Result<Found> {
        let known = match self.reference.digest() {
            Some(digest) => Some(digest.clone()),
            None if self.pull == Pull::Always => None,
            None => self.cache.known(&self.reference.to_string()),
        };
        if let Some(digest) = &known
            && let Some(body) = self.cache.document(digest, self.limits.manifest)?
        {
            return Ok(Found { digest: digest.clone(), body, content_type: None });
        }
        let name = match self.reference.digest() {
            Some(digest) => digest.to_string(),
            None => self.reference.tag().unwrap_or("latest").to_owned(),
        };
        let object = Object::Manifest(name);
        let response =
            self.transport.document(&object, Length::AtMost(self.limits.of_manifest())).await?;
        let (body, content_type) = (response.body, response.content_type);
        if let Some(digest) = self.reference.digest() {
            return Ok(Found { digest: digest.clone(), body, content_type });
        }
        // The header is optional; its algorithm decides by which digest people know the image.
        let digest = match response.digest.as_deref().and_then(|digest| digest.parse().ok()) {
            Some(digest) => {
                self.transport.verify(&body, &digest)?;
                digest
            }
            None => Digest::of(Algorithm::Sha256, &body),
        };
        Ok(Found { digest, body, content_type })
    }

    /// Writes down what the tag names, for the next time.
    fn remember(&self, digest: &Digest) -> Result<()> {
        match self.reference.digest() {
            Some(_) => Ok(()),
            None => match self.cache.remember(&self.reference.to_string(), digest) {
                // A cache that may only be read serves all the same.
                Err(error) if error.kind() == ErrorKind::Denied => Ok(()),
                result => result,
            },
        }
    }

    /// The document behind an entry of an index.
    async fn manifest(&self, entry: &Descriptor) -> Result<Found> {
        let digest = entry.digest.clone();
        let object = Object::Manifest(digest.to_string());
        let body = self.body(entry, &object, self.limits.of_manifest()).await?;
        // What the index calls it binds as a server's word does.
        let content_type = Some(entry.media_type.clone()).filter(|name| !name.is_empty());
        Ok(Found { digest, body, content_type })
    }

    async fn config(&self, descriptor: &Descriptor) -> Result<Config> {
        let object = Object::Config(descriptor.digest.clone());
        let body = self.body(descriptor, &object, self.limits.of_config()).await?;
        Config::parse(body, &self.limits).map_err(|error| self.unusable(error))
    }

    /// The bytes of a manifest or a config, from the cache or the registry, verified.
    async fn body(
        &self,
        descriptor: &Descriptor,
        object: &Object,
        bound: Bound,
    ) -> Result<Vec<u8>> {
        let Descriptor { digest, size, .. } = descriptor;
        if *size > bound.bytes {
            return Err(bound.refuse(format!(
                "{object} of {} is {size} bytes long, at most {} are read",
                self.reference, bound.bytes
            )));
        }
        loop {
            // However many processes ask, one fetches it.
            let claimed = self.claim(digest, *size).await?;
            if let Some(body) = self.cache.document(digest, *size)? {
                return Ok(body);
            }
            let Claimed::Ours(mut incoming) = claimed else { continue };
            let body = self.transport.document(object, Length::Exactly(*size)).await?.body;
            incoming.restart()?;
            incoming.append(&body)?;
            incoming.verify()?.publish()?;
            return Ok(body);
        }
    }

    async fn check_login(&self) -> Result<LoginCheck> {
        let (status, refusal) = match self.transport.ask().await {
            // The token server's word is the registry's.
            Err(error) if error.kind() == ErrorKind::Denied => {
                (reqwest::StatusCode::UNAUTHORIZED, Some(error))
            }
            answer => answer?,
        };
        let origin = self.transport.origin()?;
        let found = origin.credentials().await?;
        let is_refused = matches!(status.as_u16(), 401 | 403);
        let is_missing = status.as_u16() == 404;
        let refusal = match refusal {
            Some(error) if !is_refused && !is_missing => return Err(error),
            refusal => refusal.filter(|_| is_refused),
        };
        Ok(LoginCheck {
            source: found.map(|found| found.source.clone()),
            kind: found.map(|found| found.credentials.kind()),
            schemes: origin.asked().await,
            exists: status.is_success(),
            refusal,
        })
    }

    fn unusable(&self, error: Error) -> Error {
        error.with_prefix(&format!("cannot use {}", self.reference))
    }

    /// Asks for the distinct layers, several at a time; of several failures the first layer's is
    /// told.
    async fn touch(connection: &Arc<Self>, image: &Image) -> Result<()> {
        let mut wanted = download::distinct(&image.layers)
            .into_iter()
            .filter(|layer| !connection.cache.contains(&layer.digest, layer.size));
        let count = image.layers.len();
        let mut tasks = JoinSet::new();
        let mut first: Option<(usize, Error)> = None;
        loop {
            while tasks.len() < connection.jobs
                && first.is_none()
                && let Some(layer) = wanted.next()
            {
                let (connection, layer) = (Arc::clone(connection), layer.clone());
                tasks.spawn(async move { connection.touch_layer(&layer, count).await });
            }
            match tasks.join_next().await {
                None => return first.map_or(Ok(()), |(_, error)| Err(error)),
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err((index, error)))) => {
                    if first.as_ref().is_none_or(|(earlier, _)| index < *earlier) {
                        first = Some((index, error));
                    }
                }
                Some(Err(error)) => {
                    return Err(Error::internal("asking for a layer failed").with_source(error));
                }
            }
        }
    }

    async fn touch_layer(&self, layer: &Layer, count: usize) -> Result<(), (usize, Error)> {
        let object = Object::layer(layer, count);
        self.transport.probe(&object, layer.size).await.map_err(|error| (layer.index, error))
    }
}

#[cfg(test)]
mod tests;
