//! What all requests for one repository share, and who fetches a blob that several processes want.

use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{io, thread};

use tokio::runtime::Runtime;
use tokio::task::block_in_place;

use super::client::RepositoryClient;
use super::options::{Options, Pull};
use crate::cache::{Cache, Claim, Incoming};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::source::{Limits, Reference};

/// How long a thread for calls that block waits for the next one. What is asked for when the
/// system grants no thread is only queued, and is done by such a thread or never: tokio 1.54,
/// `runtime/blocking/pool.rs`.
const WHOLE_RUN: Duration = Duration::from_secs(24 * 3600);

/// The threads of the runtime. Both work only when blobs come faster than one can hash them.
const WORKERS: usize = 2;

/// How often a process that waits for another's download looks whether it is done.
const LOOK: Duration = Duration::from_millis(20);
const LONGEST_LOOK: Duration = Duration::from_millis(250);
/// How long one waits before that is announced.
const LONG_WAIT: Duration = Duration::from_secs(3);

/// What every request shares.
pub(super) struct Connection {
    pub(super) runtime: Runtime,
    pub(super) client: RepositoryClient,
    pub(super) reference: Reference,
    pub(super) cache: Cache,
    pub(super) limits: Limits,
    pub(super) jobs: usize,
    pub(super) pull: Pull,
    pub(super) patience: Duration,
}

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

/// Who fetches a blob.
pub(super) enum Claimed {
    /// The cache has it.
    Present,
    /// We fetch it.
    Ours(Box<Incoming>),
}

impl Connection {
    /// Prepares the threads and the clients; nothing is sent yet.
    pub(super) fn new(reference: &Reference, cache: &Cache, options: &Options) -> Result<Self> {
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
        Ok(Self {
            runtime,
            client: RepositoryClient::new(reference, options)?,
            reference: reference.clone(),
            cache: cache.clone(),
            limits: options.limits.clone(),
            jobs: options.jobs.max(1),
            pull: options.pull,
            patience: options.stall_timeout.saturating_add(options.patience),
        })
    }

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
                self.client.announce(&format!("waiting for another process to fetch {digest}"));
                is_told = true;
            }
            tokio::time::sleep(look).await;
            look = look.saturating_mul(2).min(LONGEST_LOOK);
        }
    }
}
