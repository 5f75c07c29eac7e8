//! One blob on its way into the cache, in as many tries as it takes.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::block_in_place;

use super::connection::{Claimed, Connection};
use super::endpoint::Endpoint;
use super::errors::coded;
use super::object::Object;
use super::retry::{Contact, Failure, Part};
use crate::cache::{Incoming, Verified};
use crate::error::{Error, ErrorKind, Result};
use crate::source::blob_reader::{DownloadGuard, InFlightDownload};

/// The way of one blob into the cache.
pub(super) struct Fetch {
    pub(super) connection: Arc<Connection>,
    pub(super) object: Object,
    pub(super) guard: DownloadGuard,
}

impl Fetch {
    /// Brings the blob into the cache. What goes wrong before it is verified is told to its readers;
    /// the result is about the cache alone.
    pub(super) async fn run(self, permits: Arc<Semaphore>) -> Result<()> {
        let Ok(_permit) = permits.acquire().await else {
            return Err(Error::internal("the permits of a download were withdrawn"));
        };
        match self.obtain().await {
            // Readers need not wait for the disk.
            Ok(Some(verified)) => {
                self.in_flight().verified();
                block_in_place(|| verified.publish())
            }
            Ok(None) => {
                self.in_flight().verified();
                Ok(())
            }
            Err(error) => {
                self.in_flight().failed(error);
                Ok(())
            }
        }
    }

    /// The blob, fetched by us and not yet in its place, or found there because another process
    /// fetched it meanwhile.
    async fn obtain(&self) -> Result<Option<Verified>> {
        let (digest, size) = (self.in_flight().digest(), self.in_flight().size());
        let cache = &self.connection.cache;
        loop {
            let claim = self.connection.claim(digest, size).await;
            match claim.map_err(|error| self.unkept(error))? {
                Claimed::Ours(incoming) => return self.receive(*incoming).await.map(Some),
                Claimed::Present => {
                    let verified = block_in_place(|| cache.verified_file(digest, size));
                    // One that is not what its name says has been moved out of the way.
                    if let Some(file) = verified.map_err(|error| self.unkept(error))? {
                        self.in_flight().grown(&file, size);
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
            // What an earlier run left, or a mirror sends, is shown to nobody before it is verified:
            // when it is wrong, it can still be taken back and fetched from the registry itself.
            hidden: incoming.written() > 0 || self.connection.client.asks_mirrors(),
            ranges: true,
            contradicted: false,
            coding: None,
            incoming: Remaining(Some(incoming)),
        };
        loop {
            let received = self.receive_rest(&mut reception).await;
            let incoming = reception.incoming.get()?;
            match received {
                Ok(()) if reception.hidden && !incoming.is_complete() => {
                    incoming.restart().map_err(|error| self.unkept(error))?;
                    self.connection.client.leave_mirrors();
                    reception.hidden = false;
                }
                Ok(()) => {
                    let (file, size) = (incoming.file(), incoming.written());
                    let incoming = reception.incoming.take()?;
                    let verified = incoming.verify().map_err(|error| self.unkept(error));
                    let verified = verified.map_err(|error| reception.noted(error))?;
                    self.in_flight().grown(&file, size);
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
        let client = &self.connection.client;
        if reception.incoming.get()?.written() == self.in_flight().size() {
            return Ok(());
        }
        let mut route = client.route(&self.object)?;
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
        let size = self.in_flight().size();
        let (hidden, ranges) = (reception.hidden, reception.ranges);
        let incoming = reception.incoming.get()?;
        let start = if ranges { incoming.written() } else { 0 };
        let client = &self.connection.client;
        let (mut body, begin) = client.get_from(endpoint, &self.object, (start, size)).await?;
        reception.coding = body.coding();
        let file = incoming.file();
        let mut known = incoming.written().saturating_sub(begin);
        while let Some(chunk) = body.chunk().await? {
            let skipped = usize::try_from(known).unwrap_or(usize::MAX).min(chunk.len());
            known = known.saturating_sub(u64::try_from(skipped).unwrap_or(u64::MAX));
            let (_, fresh) = chunk.split_at(skipped);
            // A write to the page cache and a hash of some KiB: too short to leave this thread.
            incoming.append(fresh).map_err(|error| self.too_long(error))?;
            self.in_flight().received(incoming.written());
            if !hidden {
                self.in_flight().grown(&file, incoming.written());
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

    fn in_flight(&self) -> &InFlightDownload {
        &self.guard.0
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
    /// Whether readers see nothing of it before it is verified.
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
