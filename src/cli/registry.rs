//! The options about registries, shared by the commands that ask one.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::limits::Setting;
use crate::error::{Error, Result};
use crate::shown;
use crate::source::credentials::{self, Search};
use crate::source::hosts::{HostOptions, Identity};
use crate::source::{ImageReference, Options, Pull};

/// How a registry is asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
pub(super) struct RegistryOptions {
    /// Ask the registry what a tag names: always, only when the cache does not know, or never
    /// [default: always]
    #[arg(long, value_enum, value_name = "WHEN")]
    pull: Option<Pull>,
    /// How often a request is repeated that failed in a way that may pass [default: 4]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=100))]
    retry: Option<u32>,
    /// How long a connection may take, and a server be silent, such as 20s [default: 30s and 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    timeout: Option<Duration>,
    #[command(flatten)]
    login: Login,
    #[command(flatten)]
    tls: Tls,
    /// Set a limit against hostile images and servers, such as layers=2000 or blob=64G; `banger
    /// help limits` lists them
    #[arg(long = "limit", value_name = "NAME=VALUE", help_heading = "Limits")]
    limits: Vec<Setting>,
}

/// Who we are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
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
#[command(next_help_heading = "Registry")]
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
    /// Speak http; on loopback addresses it is tried after TLS without this
    #[arg(long, conflicts_with = "insecure")]
    plain_http: bool,
}

impl RegistryOptions {
    /// The options that are about registries.
    pub(super) const NAMES: [&str; 12] = [
        "pull",
        "retry",
        "timeout",
        "authfile",
        "creds_stdin",
        "ca_file",
        "cert_file",
        "key_file",
        "hosts_dir",
        "insecure",
        "plain_http",
        "limits",
    ];

    /// Refuses what was said about registries when none is asked.
    pub(super) fn suits(&self, reference: &ImageReference) -> Result<()> {
        match self.given().first() {
            Some(flag) if reference.is_local() => {
                Err(Error::usage(format!("{flag} has no meaning for {reference}"))
                    .with_hint("no registry is asked for what is on this host"))
            }
            _ => Ok(()),
        }
    }

    /// Whether credentials come on standard input.
    pub(super) fn reads_standard_input(&self) -> bool {
        self.login.creds_stdin
    }

    /// Refuses limits on what images ask for where none is read.
    pub(super) fn refuse_limits_of_images(&self) -> Result<()> {
        match self.limits.iter().find(|limit| !limit.is_of_servers()) {
            Some(limit) => Err(Error::usage(format!("{} has no meaning here", limit.shown()))
                .with_hint("no image is read")),
            None => Ok(()),
        }
    }

    /// The options about registries that were given.
    fn given(&self) -> Vec<String> {
        let Self { pull, retry, timeout, login, tls, limits } = self;
        let Login { authfile, creds_stdin } = login;
        let Tls { ca_file, cert_file, key_file, hosts_dir, insecure, plain_http } = tls;
        let flags = [
            ("--pull", pull.is_some()),
            ("--retry", retry.is_some()),
            ("--timeout", timeout.is_some()),
            ("--authfile", authfile.is_some()),
            ("--creds-stdin", *creds_stdin),
            ("--ca-file", !ca_file.is_empty()),
            ("--cert-file", cert_file.is_some()),
            ("--key-file", key_file.is_some()),
            ("--hosts-dir", hosts_dir.is_some()),
            ("--insecure", *insecure),
            ("--plain-http", *plain_http),
        ];
        let flags = flags.into_iter().filter(|(_, is_given)| *is_given);
        let limits = limits.iter().filter(|limit| limit.is_of_servers());
        flags.map(|(flag, _)| flag.to_owned()).chain(limits.map(|limit| limit.shown())).collect()
    }

    /// The checked options, for so many requests at once; credentials are read from standard input
    /// when it was asked for.
    pub(super) fn options(self, jobs: Option<u16>) -> Result<Options> {
        let Self { pull, retry, timeout, login, tls, limits } = self;
        let given = if login.creds_stdin {
            Some(credentials::from_input(std::io::stdin().lock())?)
        } else {
            None
        };
        let identity = tls.cert_file.map(|certificate| {
            let key = tls.key_file.unwrap_or_else(|| certificate.clone());
            Identity { certificate, key }
        });
        let mut usual = Options::default();
        for limit in limits {
            limit.apply(&mut usual.limits)?;
        }
        Ok(Options {
            hosts: HostOptions {
                plain_http: tls.plain_http,
                insecure: tls.insecure,
                authorities: tls.ca_file,
                identity,
                directories: tls.hosts_dir,
            },
            credentials: Search { given, authfile: login.authfile },
            pull: pull.unwrap_or(usual.pull),
            jobs: jobs.map_or(usual.jobs, usize::from),
            retries: retry.unwrap_or(usual.retries),
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
        _ => Err(Error::usage(format!("\"{}\" is not a time", shown::text(text)))
            .with_hint("write 20s, 500ms or 2m")),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        registry: RegistryOptions,
    }

    fn registry(words: &[String]) -> RegistryOptions {
        let words = ["banger".to_owned()].iter().chain(words).cloned().collect::<Vec<_>>();
        Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).registry
    }

    /// Every flag that the command knows, with a value when it takes one.
    fn every_flag() -> Vec<Vec<String>> {
        let command = Arguments::command();
        let flags = command.get_arguments().filter_map(|argument| {
            let flag = format!("--{}", argument.get_long().filter(|long| *long != "help")?);
            let value = argument.get_action().takes_values().then(|| match flag.as_str() {
                "--pull" => "always".to_owned(),
                "--limit" => "redirects=4".to_owned(),
                _ => "4".to_owned(),
            });
            let needed = (flag == "--key-file").then(|| "--cert-file=4".to_owned());
            Some([Some(flag), value, needed].into_iter().flatten().collect())
        });
        flags.collect()
    }

    #[test]
    fn every_flag_about_registries_is_refused_for_what_is_on_this_host() {
        let flags = every_flag();
        assert_eq!(flags.len(), RegistryOptions::NAMES.len(), "{flags:?}");
        let references = ["oci:d", "oci-archive:f", "docker-archive:f", "docker-daemon:x"];
        for reference in references.into_iter().chain(["tar:f", "dir:d", "-"]) {
            let reference = ImageReference::parse(reference.as_ref()).unwrap();
            registry(&[]).suits(&reference).unwrap();
            for words in &flags {
                let given = registry(words);
                let flags = given.given();
                assert!(flags.iter().any(|flag| flag.starts_with(&words[0])), "{words:?}");
                let error = given.suits(&reference).unwrap_err();
                assert_eq!(error.exit_code(), 2, "{error}");
                let message = error.to_string();
                assert!(
                    words.iter().any(|word| message
                        .starts_with(word.split_once('=').map_or(word.as_str(), |(flag, _)| flag))),
                    "{words:?}: {message}"
                );
                assert!(message.contains(&reference.to_string()), "{message}");
            }
        }
        let remote = ImageReference::parse("debian:12".as_ref()).unwrap();
        for words in &flags {
            registry(words).suits(&remote).unwrap();
        }
    }

    #[test]
    fn what_is_not_said_is_as_the_help_says() {
        let said = |words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
            let Options { pull, retries, .. } = registry(&words).options(None).unwrap();
            (pull, retries)
        };
        assert_eq!(said(&[]), said(&["--pull", "always", "--retry", "4"]));
        let jobs = |words| registry(&[]).options(words).unwrap().jobs;
        assert_eq!((jobs(None), jobs(Some(1))), (4, 1));
    }

    #[test]
    fn limits_of_images_are_for_what_reads_one() {
        let given = |words: [&str; 2]| registry(&words.map(str::to_owned));
        let local = ImageReference::parse("dir:d".as_ref()).unwrap();
        let blob = given(["--limit", "blob=1G"]);
        blob.suits(&local).unwrap();
        let error = blob.refuse_limits_of_images().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--limit blob"), "{error}");
        assert_eq!(blob.options(None).unwrap().limits.layer.blob, 1 << 30);
        given(["--limit", "token=1G"]).refuse_limits_of_images().unwrap();
    }

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
