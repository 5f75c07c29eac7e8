//! The words about registries that all commands share which speak with one.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::error::{Error, Result};
use crate::source::credentials::{self, Search};
use crate::source::hosts::{Identity, Wishes};
use crate::source::{Options, Pull};

/// How a registry is spoken with.
#[derive(Debug, Args)]
pub(super) struct Network {
    /// Ask the registry what a tag names: always, only when the cache does not know, or never
    #[arg(long, value_enum, value_name = "WHEN", default_value = "always")]
    pull: Pull,
    /// How many requests run at the same time
    #[arg(long, value_name = "COUNT", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// How often a request is repeated that failed in a way that may pass
    #[arg(long, value_name = "COUNT", default_value = "4", value_parser = clap::value_parser!(u32).range(0..=100))]
    retry: u32,
    /// How long a connection may take, and a server be silent, such as 20s [default: 30s and 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    timeout: Option<Duration>,
    #[command(flatten)]
    login: Login,
    #[command(flatten)]
    tls: Tls,
}

/// Who we are.
#[derive(Debug, Args)]
struct Login {
    /// Look for credentials in this file first
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Read USER:PASSWORD for the registry from standard input
    #[arg(long)]
    creds_stdin: bool,
}

/// Whom to believe.
#[derive(Debug, Args)]
struct Tls {
    /// Trust the certificates in this file beside the system's
    #[arg(long, value_name = "FILE.pem")]
    ca_file: Vec<PathBuf>,
    /// Show this certificate to the registry
    #[arg(long, value_name = "FILE.pem")]
    cert_file: Option<PathBuf>,
    /// The key of --cert-file [default: it is in the same file]
    #[arg(long, value_name = "FILE.pem", requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// Look for HOST/hosts.toml and certificates here [default: the certs.d directories of
    /// containers, containerd and docker]
    #[arg(long, value_name = "DIR")]
    hosts_dir: Option<Vec<PathBuf>>,
    /// Speak https without asking who answers
    #[arg(long)]
    insecure: bool,
    /// Speak http; loopback addresses need no such word
    #[arg(long, conflicts_with = "insecure")]
    plain_http: bool,
}

impl Network {
    /// The checked words; credentials are read from standard input when it was asked for.
    pub(super) fn options(self) -> Result<Options> {
        let Self { pull, jobs, retry, timeout, login, tls } = self;
        let given = if login.creds_stdin {
            Some(credentials::from_input(std::io::stdin().lock())?)
        } else {
            None
        };
        let identity = tls.cert_file.map(|certificate| {
            let key = tls.key_file.unwrap_or_else(|| certificate.clone());
            Identity { certificate, key }
        });
        let usual = Options::default();
        Ok(Options {
            hosts: Wishes {
                plain_http: tls.plain_http,
                insecure: tls.insecure,
                authorities: tls.ca_file,
                identity,
                directories: tls.hosts_dir,
            },
            credentials: Search { given, authfile: login.authfile },
            pull,
            jobs: jobs.into(),
            retries: retry,
            connect_timeout: timeout.unwrap_or(usual.connect_timeout),
            stall_timeout: timeout.unwrap_or(usual.stall_timeout),
            ..usual
        })
    }
}

/// A time such as `20`, `20s`, `500ms` or `2m`; a bare number is seconds.
fn parse_time(text: &str) -> Result<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: Option<u32> = number.parse().ok().filter(|number| *number > 0);
    let number = number.map(u64::from);
    match (number, unit) {
        (Some(number), "ms") => Ok(Duration::from_millis(number)),
        (Some(number), "" | "s") => Ok(Duration::from_secs(number)),
        (Some(number), "m") => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err(Error::usage(format!("\"{}\" is not a time", text.escape_debug()))
            .hint("write 20s, 500ms or 2m")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_are_more_than_nothing() {
        for (text, milliseconds) in [("20", 20_000), ("20s", 20_000), ("5ms", 5), ("2m", 120_000)] {
            assert_eq!(parse_time(text).unwrap(), Duration::from_millis(milliseconds), "{text}");
        }
        for text in ["", "0", "0s", "s", "-1", "1h", "1.5s", "99999999999"] {
            assert_eq!(parse_time(text).unwrap_err().exit_code(), 2, "{text}");
        }
    }
}
