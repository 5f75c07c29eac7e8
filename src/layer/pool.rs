//! The memory of layers that are decompressed before their turn: counted, shared, bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ext4_writer::Buffer;

/// The bytes that are handed over at once, of what is decompressed: every handing over wakes
/// somebody, and with a quarter of them an image of gzip layers took 3 % longer.
pub(super) const CHUNK: usize = 2 << 20;
/// The same of a plain archive, which is hardly more than copied and stays in a processor's cache.
pub(super) const PLAIN_CHUNK: usize = 512 << 10;

/// What every stream has for itself: one chunk being filled, one being read, and slack for the
/// unevenness of the two.
pub(super) const OWN: usize = 4;

/// What streams take beyond their own chunks, and whose turn it is.
pub(super) struct Pool {
    state: Mutex<State>,
    changed: Condvar,
    /// The chunks there are besides those of each stream.
    shared: usize,
}

struct State {
    /// The shared chunks that nobody holds.
    free: usize,
    /// The chunks that each stream holds which is still read.
    held: BTreeMap<usize, usize>,
    /// The streams that may still want a buffer, and whether more of them are to come.
    filling: BTreeSet<usize>,
    is_complete: bool,
    /// Buffers that were used and are not now.
    spare: Vec<Buffer>,
    /// The stream that is being read; those before it have ended.
    turn: usize,
}

impl Pool {
    /// A pool of so many chunks for streams to share.
    pub(super) fn new(shared: usize) -> Arc<Self> {
        let state = State {
            free: shared,
            held: BTreeMap::new(),
            filling: BTreeSet::new(),
            is_complete: false,
            spare: Vec::new(),
            turn: 0,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new(), shared })
    }

    /// The part of the stream of this number, whose turn comes behind those of lower ones.
    pub(super) fn join(self: &Arc<Self>, number: usize) -> Share {
        let mut state = self.state();
        state.held.insert(number, 0);
        state.filling.insert(number);
        drop(state);
        Share { pool: Arc::clone(self), number }
    }

    /// Hears that no stream will join any more.
    pub(super) fn complete(&self) {
        self.state().is_complete = true;
    }

    /// Lets the stream of this number be read.
    pub(super) fn begin_turn(&self, number: usize) {
        self.state().turn = number;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change of the state.
    fn changed<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the stream of this number may take a shared chunk: the next one all of them, the one
    /// after it no more than half, and so on, so that what comes sooner is not left without.
    fn has_room_for(&self, number: usize, state: &State) -> bool {
        let behind_next = number.saturating_sub(state.turn).saturating_sub(1).min(16);
        state.free > self.shared - (self.shared >> behind_next)
    }
}

impl State {
    /// Whether a spare buffer more would be of no use to anybody.
    fn has_enough(&self) -> bool {
        self.is_complete && self.filling.len() < 2 && self.spare.len() >= OWN
    }
}

/// One stream's part of a [`Pool`].
#[derive(Clone)]
pub(super) struct Share {
    pool: Arc<Pool>,
    number: usize,
}

impl Share {
    /// A buffer for a chunk, empty if it is new, as soon as there may be one more; none when
    /// nobody reads the stream any longer.
    pub(super) fn take(&self) -> Option<Buffer> {
        let mut state = self.pool.state();
        loop {
            let held = *state.held.get(&self.number)?;
            let is_shared = held >= OWN;
            if !is_shared || self.pool.has_room_for(self.number, &state) {
                state.held.insert(self.number, held.saturating_add(1));
                state.free = state.free.saturating_sub(usize::from(is_shared));
                let spare = state.spare.pop();
                drop(state);
                return Some(spare.unwrap_or_default());
            }
            state = self.pool.changed(state);
        }
    }

    /// Gives a buffer back. What no stream is going to need again is freed while the last long one
    /// is read, and not when everybody waits for the end.
    pub(super) fn give(&self, buffer: Buffer) {
        let mut state = self.pool.state();
        if let Some(held) = state.held.get_mut(&self.number) {
            let is_shared = *held > OWN;
            *held = held.saturating_sub(1);
            state.free = state.free.saturating_add(usize::from(is_shared));
        }
        if !state.has_enough() {
            state.spare.push(buffer);
        }
        drop(state);
        self.pool.changed.notify_all();
    }

    /// Hears that the stream takes no buffer any more.
    pub(super) fn fill_no_more(&self) {
        self.pool.state().filling.remove(&self.number);
    }

    /// Whether this stream is the one that is read.
    pub(super) fn is_turn(&self) -> bool {
        self.number <= self.pool.state().turn
    }

    /// Waits until it is this stream's turn; `false` when nobody reads it any longer.
    pub(super) fn wait_for_turn(&self) -> bool {
        let mut state = self.pool.state();
        while state.held.contains_key(&self.number) {
            if self.number <= state.turn {
                return true;
            }
            state = self.pool.changed(state);
        }
        false
    }

    /// Ends every wait: nobody reads the stream any longer. Its chunks are everybody's again.
    pub(super) fn close(&self) {
        let mut state = self.pool.state();
        if let Some(held) = state.held.remove(&self.number) {
            state.free = state.free.saturating_add(held.saturating_sub(OWN));
        }
        drop(state);
        self.pool.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// How many chunks a stream gets at once.
    fn all_of(share: &Share, most: usize) -> Vec<Buffer> {
        let room = |share: &Share| {
            let state = share.pool.state();
            state.held[&share.number] < OWN || share.pool.has_room_for(share.number, &state)
        };
        let mut taken = Vec::new();
        while taken.len() < most && room(share) {
            taken.push(share.take().unwrap());
        }
        taken
    }

    #[test]
    fn every_stream_has_its_own_chunks_and_the_sooner_ones_more() {
        let pool = Pool::new(16);
        let shares: Vec<Share> = (0..4).map(|number| pool.join(number)).collect();
        assert_eq!(all_of(&shares[3], 99).len(), OWN + 4);
        assert_eq!(all_of(&shares[2], 99).len(), OWN + 4, "half of all but what is gone");
        assert_eq!(all_of(&shares[1], 99).len(), OWN + 8, "all that is left");
        assert_eq!(all_of(&shares[0], 99).len(), OWN);
    }

    #[test]
    fn what_is_given_back_or_closed_is_there_for_others() {
        let pool = Pool::new(3);
        let (first, second) = (pool.join(0), pool.join(1));
        let mut taken = all_of(&second, 99);
        assert_eq!(taken.len(), OWN + 3);
        assert_eq!(all_of(&first, 99).len(), OWN);
        second.give(taken.pop().unwrap());
        assert_eq!(all_of(&first, 99).len(), 1);
        second.close();
        assert_eq!(all_of(&first, 99).len(), 2);
        assert!(second.take().is_none() && !second.wait_for_turn());
        // Late returns count for nobody.
        second.give(taken.pop().unwrap());
        assert_eq!(all_of(&first, 99).len(), 0);
    }

    #[test]
    fn the_last_stream_frees_what_nobody_needs_again() {
        let pool = Pool::new(9);
        let (first, second) = (pool.join(0), pool.join(1));
        let take_and_give = |share: &Share| {
            let taken = all_of(share, 99);
            assert_eq!((taken.len(), pool.state().spare.len()), (OWN + 9, 0));
            for buffer in taken {
                share.give(buffer);
            }
        };
        take_and_give(&first);
        first.fill_no_more();
        assert_eq!(pool.state().spare.len(), OWN + 9, "others may come");
        take_and_give(&second);
        pool.complete();
        take_and_give(&second);
        let state = pool.state();
        assert_eq!((state.spare.len(), state.free), (OWN, 9));
    }

    #[test]
    fn a_stream_that_waits_hears_of_its_turn_of_room_and_of_its_end() {
        let pool = Pool::new(0);
        let (first, second) = (pool.join(0), pool.join(1));
        assert!(first.is_turn() && !second.is_turn() && first.wait_for_turn());
        let mut taken = all_of(&second, 99);
        let waiting = second.clone();
        let waiter = thread::spawn(move || {
            let turn = waiting.wait_for_turn();
            let room = waiting.take().is_some();
            (turn, room, waiting.take().is_none())
        });
        pool.begin_turn(1);
        second.give(taken.pop().unwrap());
        // The waiter may hold its chunk by now or not: the end comes when it does.
        while pool.state().held[&1] < OWN {
            thread::yield_now();
        }
        second.close();
        assert_eq!(waiter.join().unwrap(), (true, true, true));
    }
}
