//! An image in a registry: found by its reference, its blobs fetched into the cache.
//!
//! This room owns the only asynchronous code of the program. Its runtime is private, its methods
//! block, and what leaves it are plain values and [`std::io::Read`].

mod download;
mod transport;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;

pub use download::{BlobProgress, Downloads, Progress};

use self::transport::{Object, Transport};
use super::blob::prefixed;
use super::manifest::{self, Config, Descriptor, Document, Index, MAX_CONFIG, MAX_MANIFEST};
use super::platform::{self, Platform};
use super::{Image, Layer, Reference};
use crate::cache::Cache;
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};

/// The threads of the runtime. Both work only when blobs arrive faster than one can hash them.
const WORKERS: usize = 2;

/// How to speak with a registry.
#[derive(Clone, Debug)]
pub struct Options {
    /// Speaks http where https would be spoken; on loopback http is always spoken.
    pub plain_http: bool,
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
}

impl Default for Options {
    fn default() -> Self {
        Self {
            plain_http: false,
            jobs: 4,
            retries: 4,
            retry_delay: Duration::from_millis(250),
            connect_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
        }
    }
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
    jobs: usize,
}

/// A document with the digest of its bytes.
struct Found {
    digest: Digest,
    body: Vec<u8>,
    content_type: Option<String>,
}

impl Registry {
    /// Prepares to speak with the registry of `reference`; nothing is sent yet. What is fetched
    /// goes into `cache`.
    pub fn connect(reference: &Reference, cache: &Cache, options: &Options) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("registry")
            .enable_all()
            .build()
            .map_err(|error| {
                Error::io("cannot start the threads of the download").because(error)
            })?;
        let connection = Connection {
            runtime,
            transport: Transport::new(reference, options)?,
            reference: reference.clone(),
            cache: cache.clone(),
            jobs: options.jobs.max(1),
        };
        Ok(Self { connection: Arc::new(connection) })
    }

    /// Finds the image for `platform`: index, manifest and config, each verified.
    pub fn resolve(&self, platform: &Platform) -> Result<Image> {
        self.connection.runtime.block_on(self.connection.resolve(platform))
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
        for _ in 0..=manifest::MAX_NESTING {
            let document = Document::parse(&found.body, found.content_type.as_deref())
                .map_err(|error| self.unusable(&error))?;
            self.cache.store(&found.digest, &found.body)?;
            match document {
                Document::Index(index) => {
                    index_digest.get_or_insert(found.digest);
                    let (entry, named) = self.choose(&index, platform)?;
                    promised = named.or(promised);
                    found = self.manifest(entry).await?;
                }
                Document::Manifest(manifest) => {
                    let config = self.config(&manifest.config).await?;
                    let layers = manifest.layers(&config).map_err(|error| self.unusable(&error))?;
                    return Ok(Image {
                        reference: self.reference.to_string(),
                        index_digest,
                        manifest_digest: found.digest,
                        platform: self.settle(platform, promised, &config)?,
                        config,
                        layers,
                    });
                }
            }
        }
        Err(Error::bad_data(format!(
            "{} nests indexes more than {} deep",
            self.reference,
            manifest::MAX_NESTING
        )))
    }

    /// The document that the reference names.
    async fn root(&self) -> Result<Found> {
        match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => {
                if let Some(body) = self.cache.document(digest, MAX_MANIFEST)? {
                    return Ok(Found { digest: digest.clone(), body, content_type: None });
                }
                let object = Object::Manifest(digest.to_string());
                let response = self.transport.document(&object, MAX_MANIFEST).await?;
                self.verify(&response.body, digest)?;
                let content_type = response.content_type;
                Ok(Found { digest: digest.clone(), body: response.body, content_type })
            }
            (None, tag) => {
                let object = Object::Manifest(tag.unwrap_or("latest").to_owned());
                let response = self.transport.document(&object, MAX_MANIFEST).await?;
                // The header is optional; its algorithm decides by which digest people know the
                // image.
                let claimed = response.digest.as_deref().and_then(|digest| digest.parse().ok());
                let digest = match claimed {
                    Some(digest) => {
                        self.verify(&response.body, &digest)?;
                        digest
                    }
                    None => Digest::of(Algorithm::Sha256, &response.body),
                };
                let content_type = response.content_type;
                Ok(Found { digest, body: response.body, content_type })
            }
        }
    }

    /// The document behind an entry of an index.
    async fn manifest(&self, entry: &Descriptor) -> Result<Found> {
        let (digest, body) = (entry.digest.clone(), self.body(entry, MAX_MANIFEST).await?);
        // What the index calls it binds as a server's word does.
        let content_type = Some(entry.media_type.clone()).filter(|name| !name.is_empty());
        Ok(Found { digest, body, content_type })
    }

    async fn config(&self, descriptor: &Descriptor) -> Result<Config> {
        let body = self.body(descriptor, MAX_CONFIG).await?;
        self.cache.store(&descriptor.digest, &body)?;
        Config::parse(body).map_err(|error| self.unusable(&error))
    }

    /// The bytes of a manifest or a config, from the cache or the registry, verified.
    async fn body(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        let Descriptor { digest, size, .. } = descriptor;
        if *size > limit {
            return Err(Error::bad_data(format!(
                "{digest} of {} is {size} bytes long; at most {limit} are read",
                self.reference
            )));
        }
        if self.cache.contains(digest, *size)
            && let Some(body) = self.cache.document(digest, *size)?
        {
            return Ok(body);
        }
        let object = match limit {
            MAX_CONFIG => Object::Config(digest.clone()),
            _ => Object::Manifest(digest.to_string()),
        };
        let body = self.transport.document(&object, *size).await?.body;
        if u64::try_from(body.len()).ok() != Some(*size) {
            return Err(Error::bad_data(format!(
                "the registry sent {} bytes of {digest} of {}, whose descriptor declares {size}",
                body.len(),
                self.reference
            )));
        }
        self.verify(&body, digest)?;
        Ok(body)
    }

    fn verify(&self, body: &[u8], digest: &Digest) -> Result<()> {
        let found = Digest::of(digest.algorithm(), body);
        if found == *digest {
            return Ok(());
        }
        Err(Error::bad_data(format!(
            "the registry sent other bytes than {digest} of {}: they are {found}",
            self.reference
        )))
    }

    /// The entry of an index that suits the platform best, and the platform it names.
    fn choose<'a>(
        &self,
        index: &'a Index,
        platform: &Platform,
    ) -> Result<(&'a Descriptor, Option<Platform>)> {
        let offers = || index.entries.iter().map(|entry| entry.platform.as_ref());
        let chosen = platform.choose(offers()).or_else(|| {
            // A lone entry without a platform may suit: its config will tell.
            let mut nameless = offers().enumerate().filter(|(_, offer)| offer.is_none());
            let (place, _) = nameless.next()?;
            nameless.next().is_none().then_some(place)
        });
        match chosen.and_then(|place| index.entries.get(place)) {
            Some(entry) => Ok((&entry.descriptor, entry.platform.clone())),
            None => Err(Error::not_found(format!(
                "{} has no image for {platform}; it has: {}",
                self.reference,
                platform::list(offers())
            ))
            .hint("--platform chooses another")),
        }
    }

    /// What the image runs on. The index is believed before the config: builders are known to
    /// leave their own architecture in the configs of other platforms.
    fn settle(
        &self,
        wanted: &Platform,
        promised: Option<Platform>,
        config: &Config,
    ) -> Result<Platform> {
        let Some(offered) = promised.or_else(|| config.platform()) else {
            return Ok(wanted.clone());
        };
        if wanted.distance(&offered).is_some() {
            return Ok(offered);
        }
        let offered = super::excerpt(&offered.to_string());
        Err(Error::not_found(format!("{} is for {offered}, not for {wanted}", self.reference))
            .hint(format!("--platform {offered} takes it as it is")))
    }

    fn unusable(&self, error: &Error) -> Error {
        prefixed(&format!("cannot use {}", self.reference), error)
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
                    return Err(Error::internal("asking for a layer failed").because(error));
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
