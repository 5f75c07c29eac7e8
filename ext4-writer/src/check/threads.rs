//! Parts of the work on several threads, whose outcomes come in the order of the parts.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, available_parallelism};

use crate::reader::ReadResult;

/// More do not help where memory is the limit.
const THREADS: usize = 8;

/// What `work` makes of the numbers below `count`, in their order, whoever made it.
pub(super) fn in_parts<T: Send>(
    count: usize,
    wanted: usize,
    work: impl Fn(usize) -> ReadResult<T> + Sync,
) -> ReadResult<Vec<T>> {
    let there = || available_parallelism().map_or(1, NonZero::get).min(THREADS);
    let threads = if wanted == 0 { there() } else { wanted }.min(count);
    if threads < 2 {
        return (0..count).map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let take = || -> ReadResult<Vec<(usize, T)>> {
        let mut made = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(made);
            }
            made.push((number, work(number)?));
        }
    };
    let mut parts = thread::scope(|scope| -> ReadResult<Vec<(usize, T)>> {
        let take = &take;
        let helpers: Vec<_> = (1..threads)
            .filter_map(|_| {
                thread::Builder::new().name("check".to_owned()).spawn_scoped(scope, take).ok()
            })
            .collect();
        let mut parts = take()?;
        for helper in helpers {
            match helper.join() {
                Ok(made) => parts.extend(made?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(parts)
    })?;
    parts.sort_by_key(|(number, _)| *number);
    Ok(parts.into_iter().map(|(_, part)| part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::ReadError;

    #[test]
    fn parts_come_in_their_order_whoever_made_them() {
        for (count, threads) in [(0, 2), (1, 2), (100, 1), (100, 3), (1000, 0)] {
            let parts = in_parts(count, threads, Ok).unwrap();
            assert!(parts.iter().copied().eq(0..count), "{count} on {threads}");
        }
    }

    #[test]
    fn an_error_of_any_part_ends_the_work() {
        let fail =
            |number| if number == 7 { Err(ReadError::FreeInode { inode: 7 }) } else { Ok(()) };
        assert!(in_parts(50, 2, fail).is_err());
    }
}
