//! Signals: those that end the program, and the one that must not.

use std::ffi::c_int;
use std::fs;
use std::process::exit;
use std::sync::{Arc, OnceLock};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::image::Interruption;
use crate::report::Report;

/// What a signal interrupts: signals are sent to a process, so it has one of these.
pub(super) fn interruption() -> Interruption {
    static OF_THE_PROCESS: OnceLock<Interruption> = OnceLock::new();
    OF_THE_PROCESS.get_or_init(Interruption::default).clone()
}

/// Ends the program on SIGINT, SIGTERM and SIGHUP, without a trace of an unfinished output. A
/// signal that was ignored when the program began stays so: nohup(1), and shells that start
/// something in the background, mean it.
///
/// A write beyond the limit of a file's size fails from now on (`EFBIG`) instead of ending the
/// program without a word: setrlimit(2), `RLIMIT_FSIZE`.
///
/// `fetches` says whether the program asks a registry, so that the cache keeps what came.
pub(super) fn end_on_signals(report: Report, fetches: bool) -> Result<()> {
    let cannot = |error| Error::io("cannot catch signals").with_source(error);
    flag::register(SIGXFSZ, Arc::default()).map_err(cannot)?;
    let ignored = ignored();
    let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_in(*signal, ignored));
    let mut signals = Signals::new(wanted).map_err(cannot)?;
    let end = move || {
        let error = Error::interrupted("interrupted");
        let kept = "what was fetched is kept for the next run";
        let error = if fetches { error.with_hint(kept) } else { error };
        report.failed(&error);
        Cache::end();
        exit(error.exit_code().into());
    };
    let wait = move || signals.forever().for_each(|_| interruption().interrupt(end));
    let started = thread::Builder::new().name("signals".to_owned()).spawn(wait);
    started.map(drop).map_err(|error| Error::no_thread("cannot wait for signals", error))
}

/// The signals that this process ignores, as bits from signal 1 on; none where that is not said.
///
/// Source: proc(5), `SigIgn` of `/proc/PID/status`.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn is_in(signal: c_int, mask: u64) -> bool {
    let bit = u32::try_from(signal).ok().and_then(|number| number.checked_sub(1));
    bit.and_then(|bit| mask.checked_shr(bit)).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_is_the_lowest_bit() {
        assert!(is_in(SIGHUP, 1));
        assert!(!is_in(SIGINT, 1));
        assert!(is_in(SIGINT, 2) && is_in(SIGTERM, 1 << 14));
        assert!(!is_in(0, u64::MAX) && !is_in(65, u64::MAX));
    }
}
