//! Work that is done before its turn only where a processor has nothing better to do.

use std::thread;

use super::pool::Share;

/// Does work for as long as the function that it is given says so, and until it says itself that
/// there will be nothing more. Before the turn of `share` that is on a thread that lets others have
/// the processor first, and could not take it back; without a thread nothing is done before.
pub(super) fn in_its_turn(
    share: &Share,
    (name, nicer): (&str, i32),
    mut work: impl FnMut(&dyn Fn() -> bool) -> bool + Send,
) {
    let mut ahead = || {
        // A kernel that refuses is as good.
        let _ = rustix::process::nice(nicer);
        work(&|| !share.is_turn())
    };
    let goes_on = share.is_turn()
        || thread::scope(|scope| {
            let thread = thread::Builder::new().name(name.to_owned());
            let started = thread.spawn_scoped(scope, &mut ahead);
            started.map_or(true, |thread| thread.join().unwrap_or(false))
        });
    if goes_on {
        work(&|| true);
    }
}
