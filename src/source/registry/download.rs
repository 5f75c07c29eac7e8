//! Blobs fetched in the background while the first of them are being read.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, block_in_place};

use super::Connection;
use super::transport::{Failure, Object};
use crate::cache::Incoming;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::source::Layer;
use crate::source::blob::{Arrival, BlobReader, Delivery, Tail, prefixed};

/// The layers of an image on their way into the cache.
///
/// Dropping it stops what is still under way and leaves the cache clean.
pub struct Downloads {
    connection: Arc<Connection>,
    tasks: JoinSet<Result<()>>,
    layers: Vec<Place>,
    arrivals: Vec<Arc<Arrival>>,
    cached: u64,
}

/// Where the blob of a layer is.
enum Place {
    Cached { digest: Digest, size: u64 },
    Arriving(Arc<Arrival>),
}

/// The distinct blobs among `layers`, each by the first layer that has it.
pub(super) fn distinct(layers: &[Layer]) -> Vec<&Layer> {
    let mut seen = HashSet::new();
    layers.iter().filter(|layer| seen.insert((&layer.digest, layer.size))).collect()
}

impl fmt::Debug for Downloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Downloads")
            .field("layers", &self.layers.len())
            .field("arrivals", &self.arrivals)
            .finish_non_exhaustive()
    }
}

impl Downloads {
    pub(super) fn begin(connection: &Arc<Connection>, layers: &[Layer]) -> Self {
        let mut downloads = Self {
            connection: Arc::clone(connection),
            tasks: JoinSet::new(),
            layers: Vec::new(),
            arrivals: Vec::new(),
            cached: 0,
        };
        let permits = Arc::new(Semaphore::new(connection.jobs));
        let mut arriving = HashMap::new();
        for layer in distinct(layers) {
            if connection.cache.contains(&layer.digest, layer.size) {
                downloads.cached = downloads.cached.saturating_add(layer.size);
                continue;
            }
            let arrival = Arrival::new(layer.digest.clone(), layer.size);
            arriving.insert((layer.digest.clone(), layer.size), Arc::clone(&arrival));
            let fetch = Fetch {
                connection: Arc::clone(connection),
                object: Object::layer(layer, layers.len()),
                delivery: Delivery(Arc::clone(&arrival)),
            };
            downloads.tasks.spawn_on(fetch.run(Arc::clone(&permits)), connection.runtime.handle());
            downloads.arrivals.push(arrival);
        }
        downloads.layers = layers
            .iter()
            .map(|layer| match arriving.get(&(layer.digest.clone(), layer.size)) {
                Some(arrival) => Place::Arriving(Arc::clone(arrival)),
                None => Place::Cached { digest: layer.digest.clone(), size: layer.size },
            })
            .collect();
        downloads
    }

    /// The blob of a layer from its first byte; a blob that is still arriving is read behind the
    /// download. A layer may be opened more than once.
    pub fn open(&self, layer_index: usize) -> Result<BlobReader> {
        match self.layers.get(layer_index) {
            Some(Place::Cached { digest, size }) => {
                Ok(self.connection.cache.blob(digest, *size)?.into())
            }
            Some(Place::Arriving(arrival)) => Ok(Tail::new(Arc::clone(arrival)).into()),
            None => Err(Error::internal(format!(
                "layer {layer_index} was asked for; the image has {}",
                self.layers.len()
            ))),
        }
    }

    /// The state of the download, to be looked at while it goes on.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { arrivals: self.arrivals.as_slice().into(), cached: self.cached }
    }

    /// Waits until every blob is safely in the cache.
    ///
    /// A reader's end proves the bytes; it does not say that the cache has kept them.
    pub fn finish(mut self) -> Result<()> {
        let connection = Arc::clone(&self.connection);
        while let Some(joined) = connection.runtime.block_on(self.tasks.join_next()) {
            joined.map_err(|error| Error::internal("a download failed").because(error))??;
        }
        self.arrivals.iter().find_map(|arrival| arrival.failure()).map_or(Ok(()), Err)
    }
}

impl Drop for Downloads {
    fn drop(&mut self) {
        self.connection.runtime.block_on(self.tasks.shutdown());
    }
}

/// How far a download has come. Copies look at the same download.
#[derive(Clone, Debug)]
pub struct Progress {
    arrivals: Arc<[Arc<Arrival>]>,
    cached: u64,
}

/// One blob of a download at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobProgress {
    /// The blob.
    pub digest: Digest,
    /// The bytes that have arrived.
    pub received: u64,
    /// The bytes that it has.
    pub size: u64,
    /// Whether all are there and the right ones.
    pub done: bool,
}

impl Progress {
    /// The blobs that were not in the cache, in the order of their layers.
    pub fn blobs(&self) -> impl Iterator<Item = BlobProgress> + '_ {
        self.arrivals.iter().map(|arrival| BlobProgress {
            digest: arrival.digest().clone(),
            received: arrival.written(),
            size: arrival.size(),
            done: arrival.is_proven(),
        })
    }

    /// The bytes that have arrived, of all blobs.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.arrivals.iter().fold(0, |sum, arrival| sum.saturating_add(arrival.written()))
    }

    /// The bytes to fetch, of all blobs.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.arrivals.iter().fold(0, |sum, arrival| sum.saturating_add(arrival.size()))
    }

    /// The bytes of blobs that were in the cache already.
    #[must_use]
    pub fn cached(&self) -> u64 {
        self.cached
    }
}

/// The way of one blob into the cache.
struct Fetch {
    connection: Arc<Connection>,
    object: Object,
    delivery: Delivery,
}

impl Fetch {
    /// Fetches the blob. What goes wrong before it is proven is told to its readers; the result
    /// is about the cache alone.
    async fn run(self, permits: Arc<Semaphore>) -> Result<()> {
        let Ok(_permit) = permits.acquire().await else {
            return Err(Error::internal("the permits of a download were withdrawn"));
        };
        let verify = |incoming: Incoming| incoming.verify().map_err(|error| self.unkept(&error));
        let verified = match self.receive().await.and_then(verify) {
            Ok(verified) => verified,
            Err(error) => {
                self.arrival().failed(error);
                return Ok(());
            }
        };
        // Readers need not wait for the disk.
        self.arrival().proven();
        block_in_place(|| verified.publish())
    }

    /// Receives all bytes, in as many tries as it takes.
    async fn receive(&self) -> Result<Incoming> {
        let (digest, size) = (self.arrival().digest(), self.arrival().size());
        let mut incoming =
            self.connection.cache.begin(digest, size).map_err(|error| self.unkept(&error))?;
        let mut tries = self.connection.transport.tries();
        loop {
            match self.try_receive(&mut incoming).await {
                Ok(()) => return Ok(incoming),
                Err(failure) => tries.again_after(failure).await?,
            }
        }
    }

    /// Receives the bytes that are still missing. They follow those of earlier tries, which may
    /// have been read already and so cannot be taken back: what the file holds is hashed, in
    /// whichever try it came.
    async fn try_receive(&self, incoming: &mut Incoming) -> Result<(), Failure> {
        let (transport, size) = (&self.connection.transport, self.arrival().size());
        let mut response = transport.get(&self.object).await?;
        transport.check_length(&self.object, response.content_length(), size)?;
        let file = incoming.file();
        let mut known = incoming.written();
        while let Some(chunk) = transport.chunk(&self.object, &mut response).await? {
            let skipped = usize::try_from(known).unwrap_or(usize::MAX).min(chunk.len());
            known = known.saturating_sub(u64::try_from(skipped).unwrap_or(u64::MAX));
            let (_, fresh) = chunk.split_at(skipped);
            // A write to the page cache and a hash of some KiB: too short to leave this thread.
            incoming.append(fresh).map_err(|error| self.unkept(&error))?;
            self.arrival().grown(&file, incoming.written());
        }
        if incoming.written() == size {
            return Ok(());
        }
        // Without an announced length, a connection that was cut looks like an end.
        Err(Failure::transient(Error::bad_data(format!(
            "{} of {} ended after {} of the {size} bytes that its descriptor declares",
            self.object,
            self.connection.reference,
            incoming.written()
        ))))
    }

    fn arrival(&self) -> &Arrival {
        &self.delivery.0
    }

    /// An error of the cache, with what was to be kept.
    fn unkept(&self, error: &Error) -> Error {
        let doing = format!("cannot fetch {} of {}", self.object, self.connection.reference);
        prefixed(&doing, error)
    }
}
