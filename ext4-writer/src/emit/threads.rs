//! Pieces of work on several threads, whose outcomes are taken in the order of the pieces.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::{self, Scope, available_parallelism};

use crate::error::{Result, internal};

/// More would wait for the one who takes.
const THREADS: usize = 4;

/// Gives `take` what `make` makes of the numbers below `count`, in their order: the outcome is that
/// of a loop, however many threads there are. Each is at most two pieces ahead. A piece is made of
/// one that was taken, so that its memory is asked for once.
pub(super) fn in_order<T: Default + Send>(
    count: usize,
    make: impl Fn(usize, &mut T) -> Result<()> + Sync,
    mut take: impl FnMut(&T) -> Result<()>,
) -> Result<()> {
    // Asking costs as much as a small filesystem takes.
    let threads = if count < 2 { 1 } else { available_parallelism().map_or(1, NonZero::get) };
    let threads = threads.min(THREADS).min(count);
    let mut own = T::default();
    let mut make_here = |number, take: &mut dyn FnMut(&T) -> Result<()>| {
        make(number, &mut own)?;
        take(&own)
    };
    if threads < 2 {
        return (0..count).try_for_each(|number| make_here(number, &mut take));
    }
    thread::scope(|scope| {
        let helpers: Vec<Option<Helper<T>>> = (0..threads)
            .map(|first| Helper::start(scope, (first, threads, count), &make))
            .collect();
        for (number, helper) in (0..count).zip(helpers.iter().cycle()) {
            match helper {
                Some(helper) => helper.pass_on(&mut take)?,
                None => make_here(number, &mut take)?,
            }
        }
        Ok(())
    })
}

/// A thread that makes every so many-th piece.
struct Helper<T> {
    pieces: Receiver<Result<T>>,
    /// Pieces that were taken.
    spent: Sender<T>,
}

impl<T: Default + Send> Helper<T> {
    /// `None` where there can be no thread.
    fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        (first, step, count): (usize, usize, usize),
        make: &'scope (impl Fn(usize, &mut T) -> Result<()> + Sync),
    ) -> Option<Self>
    where
        T: 'scope,
    {
        let (sender, pieces) = sync_channel(1);
        let (spent, spares) = channel::<T>();
        let work = move || {
            for number in (first..count).step_by(step) {
                let mut piece = spares.try_recv().unwrap_or_default();
                let piece = make(number, &mut piece).map(|()| piece);
                // Nobody takes any more behind an error.
                if sender.send(piece).is_err() {
                    return;
                }
            }
        };
        let started = thread::Builder::new().name("emit".to_owned()).spawn_scoped(scope, work);
        started.ok().map(|_| Self { pieces, spent })
    }

    fn pass_on(&self, take: &mut dyn FnMut(&T) -> Result<()>) -> Result<()> {
        let piece = self.pieces.recv().map_err(|_| internal("a thread makes all its pieces"))??;
        take(&piece)?;
        // The thread may have made its last one.
        let _ = self.spent.send(piece);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn pieces_come_in_their_order() {
        for count in [0, 1, 2, 3, 7, 100] {
            let mut allocated = Vec::new();
            let make = |number, piece: &mut Vec<usize>| {
                piece.clear();
                piece.push(number);
                Ok(())
            };
            let take = |piece: &Vec<usize>| {
                allocated.extend_from_slice(piece);
                Ok(())
            };
            in_order(count, make, take).unwrap();
            assert!(allocated.iter().copied().eq(0..count), "{count}: {allocated:?}");
        }
    }

    #[test]
    fn the_first_error_in_the_order_of_the_pieces_ends_it() {
        let wrong = |number| Error::ContentShort { expected: number, got: 0 };
        for (bad_piece, bad_take) in [(50, 70), (70, 50)] {
            let mut last = None;
            let make = |number, piece: &mut u64| {
                *piece = u64::try_from(number).unwrap();
                if *piece >= bad_piece { Err(wrong(*piece)) } else { Ok(()) }
            };
            let take = |piece: &u64| {
                last = Some(*piece);
                if *piece == bad_take { Err(wrong(*piece)) } else { Ok(()) }
            };
            let failed = in_order(100, make, take).unwrap_err();
            assert!(matches!(failed, Error::ContentShort { expected: 50, .. }), "{failed}");
            assert_eq!(last, Some(bad_take.min(bad_piece - 1)));
        }
    }
}
