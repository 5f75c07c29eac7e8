//! Blobs fetched in the background while the first of them are being read.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::connection::Connection;
use super::fetch::Fetch;
use super::object::Object;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::source::Layer;
use crate::source::blob_reader::{BlobReader, DownloadGuard, InFlightDownload, InFlightReader};

/// The layers of an image on their way into the cache.
///
/// Dropping it stops what is still under way and leaves the cache clean.
pub struct Downloads {
    connection: Arc<Connection>,
    tasks: JoinSet<Result<()>>,
    layers: Vec<LayerState>,
    in_flight: Vec<Arc<InFlightDownload>>,
    cached: u64,
}

/// Where the blob of a layer is.
enum LayerState {
    Cached { digest: Digest, size: u64 },
    InFlight(Arc<InFlightDownload>),
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
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

impl Downloads {
    pub(super) fn begin(connection: &Arc<Connection>, layers: &[Layer]) -> Self {
        let mut downloads = Self {
            connection: Arc::clone(connection),
            tasks: JoinSet::new(),
            layers: Vec::new(),
            in_flight: Vec::new(),
            cached: 0,
        };
        let permits = Arc::new(Semaphore::new(connection.jobs));
        let mut by_blob = HashMap::new();
        for layer in distinct(layers) {
            if connection.cache.contains(&layer.digest, layer.size) {
                downloads.cached = downloads.cached.saturating_add(layer.size);
                continue;
            }
            let in_flight = InFlightDownload::new(layer.digest.clone(), layer.size);
            by_blob.insert((layer.digest.clone(), layer.size), Arc::clone(&in_flight));
            let fetch = Fetch {
                connection: Arc::clone(connection),
                object: Object::layer(layer, layers.len()),
                guard: DownloadGuard(Arc::clone(&in_flight)),
            };
            downloads.tasks.spawn_on(fetch.run(Arc::clone(&permits)), connection.runtime.handle());
            downloads.in_flight.push(in_flight);
        }
        downloads.layers = layers
            .iter()
            .map(|layer| match by_blob.get(&(layer.digest.clone(), layer.size)) {
                Some(in_flight) => LayerState::InFlight(Arc::clone(in_flight)),
                None => LayerState::Cached { digest: layer.digest.clone(), size: layer.size },
            })
            .collect();
        downloads
    }

    /// The blob of a layer from its first byte; a blob that is still being fetched is read behind the
    /// download. A layer may be opened more than once.
    pub fn open(&self, layer_index: usize) -> Result<BlobReader> {
        match self.layers.get(layer_index) {
            Some(LayerState::Cached { digest, size }) => {
                Ok(self.connection.cache.blob(digest, *size)?.into())
            }
            Some(LayerState::InFlight(in_flight)) => {
                Ok(InFlightReader::new(Arc::clone(in_flight)).into())
            }
            None => Err(Error::internal(format!(
                "layer {layer_index} was asked for; the image has {}",
                self.layers.len()
            ))),
        }
    }

    /// The state of the download, to be looked at while it goes on.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { in_flight: self.in_flight.as_slice().into(), cached: self.cached }
    }

    /// Waits until every blob is safely in the cache.
    ///
    /// A reader's end verifies the bytes; it does not say that the cache has kept them.
    pub fn finish(mut self) -> Result<()> {
        let connection = Arc::clone(&self.connection);
        while let Some(joined) = connection.runtime.block_on(self.tasks.join_next()) {
            joined.map_err(|error| Error::internal("a download failed").with_source(error))??;
        }
        self.in_flight.iter().find_map(|in_flight| in_flight.failure()).map_or(Ok(()), Err)
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
    in_flight: Arc<[Arc<InFlightDownload>]>,
    cached: u64,
}

/// One blob of a download at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobProgress {
    /// The blob.
    pub digest: Digest,
    /// The bytes that have been received.
    pub received: u64,
    /// The bytes that it has.
    pub size: u64,
    /// Whether all are there and the right ones.
    pub done: bool,
}

impl Progress {
    /// The blobs that were not in the cache, in the order of their layers.
    pub fn blobs(&self) -> impl Iterator<Item = BlobProgress> + '_ {
        self.in_flight.iter().map(|in_flight| BlobProgress {
            digest: in_flight.digest().clone(),
            received: in_flight.received_bytes(),
            size: in_flight.size(),
            done: in_flight.is_verified(),
        })
    }

    /// The bytes that have been received, of all blobs.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.in_flight
            .iter()
            .fold(0, |sum, in_flight| sum.saturating_add(in_flight.received_bytes()))
    }

    /// The bytes to fetch, of all blobs.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.in_flight.iter().fold(0, |sum, in_flight| sum.saturating_add(in_flight.size()))
    }

    /// The bytes of blobs that were in the cache already.
    #[must_use]
    pub fn cached(&self) -> u64 {
        self.cached
    }
}
