//! `banger cache`: what is kept of registries, and taking it out again.

use std::io;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};

use super::OutputOptions;
use crate::cache::{Cache, CacheEntry, CacheEntryKind, CachedBlob, PruneOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::image::parse_bytes;
use crate::report::cache::{Amount, BlobLine, Listing, Location, Pruned, Usage, Verified};
use crate::report::{Progress, Report};
use crate::shown;

/// The exit code of a verification that did its work and found damaged blobs: that of bad data.
const FOUND_DAMAGE: u8 = 65;

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List the blobs
    Ls(Plain),
    /// Say how much space they take
    Du(Plain),
    /// Take out what no pull can use, and what has not been used for long
    Prune(Prune),
    /// Read every blob and set those aside that are not what their digests say
    Verify(Plain),
    /// Print where the cache is
    Path(Plain),
}

/// A command without options of its own.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Plain {
    #[command(flatten)]
    output_options: OutputOptions,
}

/// Take out what no pull can use, and what has not been used for long
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Prune {
    /// Take out what was not used for so long, such as 30d, 12h or 2w; 0d empties the cache
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    older_than: Option<Duration>,
    /// Then take out what was not used for longest until the blobs have at most this size
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    max_size: Option<u64>,
    /// Fail where another process uses the cache, rather than wait for it
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    output_options: OutputOptions,
}

impl CacheCommand {
    pub(super) fn report(&self) -> Report {
        match self {
            Self::Ls(plain) | Self::Du(plain) | Self::Verify(plain) | Self::Path(plain) => {
                plain.output_options.report()
            }
            Self::Prune(prune) => prune.output_options.report(),
        }
    }

    /// Runs the command; the exit code says whether the cache was in order.
    pub(super) fn run(self) -> Result<u8> {
        let report = self.report();
        match self {
            Self::Ls(_) => report.listed(&list()?)?,
            Self::Du(_) => report.used(&usage()?)?,
            Self::Prune(prune) => report.pruned(&prune.run(report)?)?,
            Self::Verify(_) => {
                let verified = verify(report)?;
                report.verified(&verified)?;
                if !verified.damaged.is_empty() {
                    return Ok(FOUND_DAMAGE);
                }
            }
            Self::Path(_) => report.located(&Location { path: place()? })?,
        }
        Ok(0)
    }
}

fn place() -> Result<String> {
    Ok(Cache::place()?.display().to_string())
}

/// What is in the cache; nothing where there is none.
fn stored() -> Result<Vec<CacheEntry>> {
    Cache::existing()?.map_or_else(|| Ok(Vec::new()), |cache| cache.stored())
}

fn list() -> Result<Listing> {
    let lines = stored()?.into_iter().filter_map(|stored| {
        let digest = stored.digest.filter(|_| stored.kind.is_blob())?;
        Some(BlobLine {
            digest: digest.to_string(),
            kind: stored.kind.name(),
            size: stored.size,
            used: time(stored.used),
        })
    });
    Ok(Listing { path: place()?, blobs: lines.collect() })
}

/// The time in the form of RFC 3339, to the second.
fn time(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let date = chrono::DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    date.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

fn usage() -> Result<Usage> {
    let stored = stored()?;
    let amount = |is_meant: &dyn Fn(CacheEntryKind) -> bool| {
        let meant = stored.iter().filter(|stored| is_meant(stored.kind));
        meant.fold(Amount::default(), |sum, stored| sum.with(stored.size))
    };
    let of = |kind| amount(&move |found| found == kind);
    Ok(Usage {
        path: place()?,
        layers: of(CacheEntryKind::Layer),
        configs: of(CacheEntryKind::Config),
        manifests: of(CacheEntryKind::Manifest),
        indexes: of(CacheEntryKind::Index),
        damaged: of(CacheEntryKind::Damaged),
        unfinished: of(CacheEntryKind::Unfinished),
        total: amount(&|_| true),
    })
}

impl Prune {
    fn run(self, report: Report) -> Result<Pruned> {
        let path = place()?;
        let Some(cache) = Cache::existing()? else {
            return Ok(Pruned { path, removed: Amount::default(), left: Amount::default() });
        };
        let taken = PruneOptions { older_than: self.older_than, max_size: self.max_size };
        let busy = || {
            if self.no_wait {
                return Err(Error::try_again("another process uses the cache")
                    .with_hint("leave out --no-wait to wait for it"));
            }
            report.step("waiting for others that use the cache");
            Ok(())
        };
        let removed = sum(&cache.prune(taken, busy)?);
        Ok(Pruned { path, removed, left: sum(&cache.stored()?) })
    }
}

fn sum(stored: &[CacheEntry]) -> Amount {
    stored.iter().fold(Amount::default(), |sum, stored| sum.with(stored.size))
}

fn verify(report: Report) -> Result<Verified> {
    let mut verified =
        Verified { path: place()?, intact: Amount::default(), damaged: Vec::new(), aside: true };
    let Some(cache) = Cache::existing()? else { return Ok(verified) };
    let stored = cache.stored()?;
    let blobs = stored.iter().filter(|stored| stored.kind.is_blob());
    let total = blobs.clone().fold(0, |sum: u64, blob| sum.saturating_add(blob.size));
    let progress = report.progress(total);
    for CacheEntry { digest, size, path, .. } in blobs {
        let Some(digest) = digest else { continue };
        let blob = match cache.examine(digest, *size) {
            // It has gone since it was listed.
            Err(_) if !path.exists() => continue,
            blob => blob?,
        };
        if is_intact(blob, &progress)? {
            verified.intact = verified.intact.with(*size);
        } else {
            verified.aside &= !path.exists();
            verified.damaged.push(digest.to_string());
        }
    }
    for other in stored.iter().filter(|stored| stored.kind == CacheEntryKind::Damaged) {
        // What was set aside before has been told.
        let Some(digest) = &other.digest else { continue };
        if cache.blob_path(digest) == other.path {
            verified.aside &= cache.quarantine(other);
            verified.damaged.push(digest.to_string());
        }
    }
    Ok(verified)
}

/// Reads a blob to its end, which comes only when it is what its name says.
fn is_intact(blob: CachedBlob, progress: &Progress) -> Result<bool> {
    match io::copy(&mut progress.watch(blob), &mut io::sink()) {
        Ok(_) => Ok(true),
        Err(error) => {
            let unread = |error| Error::io("cannot read the cache").with_source(error);
            match Error::from_io(error, unread) {
                error if error.kind() == ErrorKind::BadData => Ok(false),
                error => Err(error),
            }
        }
    }
}

/// A number and a unit: s, m, h, d or w.
fn parse_time(text: &str) -> Result<Duration> {
    let refuse = || {
        Error::usage(format!("\"{}\" is not a time", shown::text(text)))
            .with_hint("times are 30d, 12h, 2w, 90m or 45s")
    };
    let (digits, unit) = text
        .char_indices()
        .next_back()
        .and_then(|(last, _)| text.split_at_checked(last))
        .ok_or_else(refuse)?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        "w" => 7 * 24 * 60 * 60,
        _ => return Err(refuse()),
    };
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse::<u64>().ok().filter(|_| is_plain);
    number
        .and_then(|number| number.checked_mul(seconds))
        .map(Duration::from_secs)
        .ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("45s", 45),
            ("90m", 5400),
            ("12h", 43_200),
            ("30d", 2_592_000),
            ("2w", 1_209_600),
            ("0d", 0),
        ] {
            assert_eq!(parse_time(text).unwrap().as_secs(), seconds, "{text}");
        }
        for text in [
            "",
            "d",
            "30",
            "30x",
            "-1d",
            "+1d",
            "1.5d",
            "99999999999999999999d",
            "9999999999999999999w",
            "1ä",
        ] {
            assert_eq!(parse_time(text).unwrap_err().exit_code(), 2, "{text}");
        }
    }

    #[test]
    fn a_time_is_shown_in_utc() {
        let new_year = SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_067_200);
        assert_eq!(time(new_year), "2024-01-01T00:00:00Z");
    }
}
