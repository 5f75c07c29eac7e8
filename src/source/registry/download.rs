//! Blobs fetched in the background while the first of them are being read.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, block_in_place};

use super::Connection;
use super::endpoint::Endpoint;
use super::object::Object;
use super::retry::{Contact, Failure, Part};
use super::transport::coded;

use crate::cache::{Claim, Incoming, Verified};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::source::Layer;
use crate::source::blob::{Arrival, BlobReader, Delivery, Tail};

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
            joined.map_err(|error| Error::internal("a download failed").with_source(error))??;
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
            received: arrival.arrived(),
            size: arrival.size(),
            done: arrival.is_proven(),
        })
    }

    /// The bytes that have arrived, of all blobs.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.arrivals.iter().fold(0, |sum, arrival| sum.saturating_add(arrival.arrived()))
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

/// How often a process that waits for another's download looks whether it is done.
const LOOK: Duration = Duration::from_millis(20);
const LONGEST_LOOK: Duration = Duration::from_millis(250);
/// How long one waits without a word.
const LONG_WAIT: Duration = Duration::from_secs(3);

impl Fetch {
    /// Brings the blob into the cache. What goes wrong before it is proven is told to its readers;
    /// the result is about the cache alone.
    async fn run(self, permits: Arc<Semaphore>) -> Result<()> {
        let Ok(_permit) = permits.acquire().await else {
            return Err(Error::internal("the permits of a download were withdrawn"));
        };
        match self.obtain().await {
            // Readers need not wait for the disk.
            Ok(Some(verified)) => {
                self.arrival().proven();
                block_in_place(|| verified.publish())
            }
            Ok(None) => {
                self.arrival().proven();
                Ok(())
            }
            Err(error) => {
                self.arrival().failed(error);
                Ok(())
            }
        }
    }

    /// The blob, fetched by us and not yet in its place, or found there because another process
    /// fetched it meanwhile.
    async fn obtain(&self) -> Result<Option<Verified>> {
        let (digest, size) = (self.arrival().digest(), self.arrival().size());
        let cache = &self.connection.cache;
        loop {
            let claim = self.connection.claim(digest, size).await;
            match claim.map_err(|error| self.unkept(error))? {
                Claimed::Ours(incoming) => return self.receive(*incoming).await.map(Some),
                Claimed::Present => {
                    let proven = block_in_place(|| cache.proven(digest, size));
                    // One that is not what its name says has been moved out of the way.
                    if let Some(file) = proven.map_err(|error| self.unkept(error))? {
                        self.arrival().grown(&file, size);
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Receives all bytes, in as many tries as it takes. What cannot be had now is left for the
    /// next run to go on with.
    async fn receive(&self, incoming: Incoming) -> Result<Verified> {
        let mut reception = Reception {
            // What an earlier run left, or a mirror sends, is shown to nobody before it is proven:
            // when it is wrong, it can still be taken back and fetched from the registry itself.
            hidden: incoming.written() > 0 || self.connection.transport.asks_mirrors(),
            ranges: true,
            contradicted: false,
            coding: None,
            incoming: Remaining(Some(incoming)),
        };
        loop {
            let received = self.receive_rest(&mut reception).await;
            let incoming = reception.incoming.get()?;
            match received {
                Ok(()) if reception.hidden && !incoming.is_proven() => {
                    incoming.restart().map_err(|error| self.unkept(error))?;
                    self.connection.transport.leave_mirrors();
                    reception.hidden = false;
                }
                Ok(()) => {
                    let (file, size) = (incoming.file(), incoming.written());
                    let incoming = reception.incoming.take()?;
                    let verified = incoming.verify().map_err(|error| self.unkept(error));
                    let verified = verified.map_err(|error| reception.noted(error))?;
                    self.arrival().grown(&file, size);
                    return Ok(verified);
                }
                Err(error) => {
                    // Bytes that no server stands by any more are no beginning.
                    if reception.contradicted {
                        drop(reception.incoming.take()?);
                    }
                    return Err(reception.noted(error));
                }
            }
        }
    }

    /// Receives the missing bytes in as many tries as the way allows.
    async fn receive_rest(&self, reception: &mut Reception) -> Result<()> {
        let transport = &self.connection.transport;
        if reception.incoming.get()?.written() == self.arrival().size() {
            return Ok(());
        }
        let mut route = transport.route(&self.object)?;
        loop {
            let continues = reception.ranges && reception.incoming.get()?.written() > 0;
            let failure = match self.try_receive(reception, route.endpoint()?).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            route.progressed_to(reception.incoming.get()?.written());
            reception.contradicted |= failure.part == Part::Contradicted;
            // A server that will not continue is asked for all of it before it is given up.
            let is_last =
                continues && failure.may_be_of_the_range() && route.ends_with(&failure)?;
            if reception.ranges && (failure.part == Part::Refused || is_last) {
                reception.ranges = false;
                continue;
            }
            route.again_after(failure).await?;
        }
    }

    /// One try. The bytes follow those of earlier tries, which may have been read already and so
    /// cannot be taken back: what the file holds is hashed, in whichever try it came.
    async fn try_receive(
        &self,
        reception: &mut Reception,
        endpoint: &Endpoint,
    ) -> Result<(), Failure> {
        let size = self.arrival().size();
        let (hidden, ranges) = (reception.hidden, reception.ranges);
        let incoming = reception.incoming.get()?;
        let start = if ranges { incoming.written() } else { 0 };
        let transport = &self.connection.transport;
        let (mut body, begin) = transport.get_from(endpoint, &self.object, (start, size)).await?;
        reception.coding = body.coding();
        let file = incoming.file();
        let mut known = incoming.written().saturating_sub(begin);
        while let Some(chunk) = body.chunk().await? {
            let skipped = usize::try_from(known).unwrap_or(usize::MAX).min(chunk.len());
            known = known.saturating_sub(u64::try_from(skipped).unwrap_or(u64::MAX));
            let (_, fresh) = chunk.split_at(skipped);
            // A write to the page cache and a hash of some KiB: too short to leave this thread.
            incoming.append(fresh).map_err(|error| self.too_long(error))?;
            self.arrival().received(incoming.written());
            if !hidden {
                self.arrival().grown(&file, incoming.written());
            }
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

    /// An error of the cache while it took more bytes: too many are the server's fault.
    fn too_long(&self, error: Error) -> Failure {
        let part = match error.kind() {
            ErrorKind::BadData => Part::Contradicted,
            _ => Part::Stands,
        };
        Failure { part, contact: Contact::Broken, ..self.unkept(error).into() }
    }

    /// An error of the cache, with what was to be kept.
    fn unkept(&self, error: Error) -> Error {
        let doing = format!("cannot fetch {} of {}", self.object, self.connection.reference);
        error.with_prefix(&doing)
    }
}

/// A blob being received.
struct Reception {
    incoming: Remaining,
    /// Whether readers see nothing of it before it is proven.
    hidden: bool,
    /// Whether the middle of it may be asked for.
    ranges: bool,
    /// Whether a server has a blob of another length than what was received is a part of.
    contradicted: bool,
    /// The coding that the last answer was said to have.
    coding: Option<String>,
}

impl Reception {
    /// An error about the bytes, with what may be its cause.
    fn noted(&self, error: Error) -> Error {
        match (error.kind(), &self.coding) {
            (ErrorKind::BadData, Some(coding)) => coded(error, coding),
            _ => error,
        }
    }
}

/// Leaves what was received to the next run, however this one ends.
struct Remaining(Option<Incoming>);

impl Remaining {
    fn get(&mut self) -> Result<&mut Incoming> {
        self.0.as_mut().ok_or_else(|| Error::internal("a blob was received after its end"))
    }

    fn take(&mut self) -> Result<Incoming> {
        self.0.take().ok_or_else(|| Error::internal("a blob was received after its end"))
    }
}

impl Drop for Remaining {
    fn drop(&mut self) {
        let _ = self.0.take().map(Incoming::leave);
    }
}

/// What came of the wish to fetch a blob.
pub(super) enum Claimed {
    /// The cache has it.
    Present,
    /// We fetch it.
    Ours(Box<Incoming>),
}

impl Connection {
    /// Waits until nobody else fetches the blob. Who makes no progress for longer than every
    /// pause that we know is not waited for: the blob is then fetched once more, beside it.
    pub(super) async fn claim(&self, digest: &Digest, size: u64) -> Result<Claimed> {
        let (mut known, mut since, mut look) = (0, Instant::now(), LOOK);
        let (begin, mut is_told) = (Instant::now(), false);
        loop {
            match block_in_place(|| self.cache.claim(digest, size))? {
                Claim::Present => return Ok(Claimed::Present),
                Claim::Ours(incoming) => return Ok(Claimed::Ours(incoming)),
                Claim::Taken { length } if length != known => {
                    (known, since) = (length, Instant::now());
                }
                Claim::Taken { .. } if since.elapsed() > self.patience => {
                    return Ok(Claimed::Ours(Box::new(self.cache.begin(digest, size)?)));
                }
                Claim::Taken { .. } => {}
            }
            if !is_told && begin.elapsed() > LONG_WAIT {
                self.transport.announce(&format!("waiting for another process to fetch {digest}"));
                is_told = true;
            }
            tokio::time::sleep(look).await;
            look = look.saturating_mul(2).min(LONGEST_LOOK);
        }
    }
}
