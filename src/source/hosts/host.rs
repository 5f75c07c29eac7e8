//! One host that may have the repository, and how it is spoken with.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::HeaderMap;

/// How the options of the command change what the configuration says.
#[derive(Clone, Debug, Default)]
pub struct HostOptions {
    /// Speaks http where https would be spoken.
    pub plain_http: bool,
    /// Speaks https with whoever answers.
    pub insecure: bool,
    /// Files of certificates to trust besides the system's.
    pub authorities: Vec<PathBuf>,
    /// The certificate to show to the registry, and its key.
    pub identity: Option<Identity>,
    /// The directories of `HOST/hosts.toml` and of certificates, instead of the usual ones.
    pub directories: Option<Vec<PathBuf>>,
}

/// A client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The file of the certificate, and of those that it leads to.
    pub certificate: PathBuf,
    /// The file of the key; the same file when nothing else is said.
    pub key: PathBuf,
}

/// Whom to believe, and what to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::source) struct Trust {
    /// Believes whoever answers.
    pub(in crate::source) insecure: bool,
    /// Files of certificates to trust besides the system's.
    pub(in crate::source) authorities: Vec<PathBuf>,
    /// The certificate to show.
    pub(in crate::source) identity: Option<Identity>,
}

/// What a host may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct Serves {
    /// What a tag names.
    pub(in crate::source) tags: bool,
    /// What has a digest.
    pub(in crate::source) digests: bool,
}

/// The length of a header's value from which it may be a secret.
const SECRET: usize = 6;

/// One place where the repository may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Host {
    /// The host as credentials know it: `mirror.example:5000`.
    pub(in crate::source) name: String,
    /// The repository as it is called there.
    pub(in crate::source) repository: String,
    /// The address of the API, without the repository: `https://mirror.example:5000/v2`.
    pub(in crate::source) api: String,
    /// The registry that a mirror of many is asked for.
    pub(in crate::source) namespace: Option<String>,
    /// What it may be asked for.
    pub(in crate::source) serves: Serves,
    /// How TLS is spoken with it.
    pub(in crate::source) trust: Trust,
    /// What is said to it, and to nobody else, with every request.
    pub(in crate::source) headers: HeaderMap,
    /// How long a connection to it may take, if that is less than is usual.
    pub(in crate::source) dial_timeout: Option<Duration>,
    /// Whether it is a stand-in for the registry.
    pub(in crate::source) is_mirror: bool,
}

impl Host {
    /// A registry with this address that every test may ask for everything.
    #[cfg(test)]
    pub(in crate::source) fn for_test(api: &str) -> Self {
        Self {
            name: "registry.example".to_owned(),
            repository: "a/b".to_owned(),
            api: api.to_owned(),
            namespace: None,
            serves: Serves { tags: true, digests: true },
            trust: Trust::default(),
            headers: HeaderMap::new(),
            dial_timeout: None,
            is_mirror: false,
        }
    }

    /// The same host once for each certificate that can be shown to it: one is shown at a time.
    pub(super) fn showing_each(self, identities: Vec<Identity>) -> Vec<Self> {
        if identities.is_empty() {
            return vec![self];
        }
        let showing = |identity| {
            let trust = Trust { identity: Some(identity), ..self.trust.clone() };
            Self { trust, ..self.clone() }
        };
        identities.into_iter().map(showing).collect()
    }

    /// Whether a text repeats what hosts.toml has us say to the host, which may be secret.
    pub(in crate::source) fn is_repeated_in(&self, text: &str) -> bool {
        self.headers.values().filter_map(|value| value.to_str().ok()).any(|value| {
            // `Bearer x` is repeated by `x` too; a word as short as `1` is in every text.
            let secret = value.split_once(' ').map_or(value, |(_, behind)| behind);
            secret.len() >= SECRET && text.contains(secret)
        })
    }

    /// How long a connection to it may take where `usual` is allowed.
    pub(in crate::source) fn connecting(&self, usual: Duration) -> Duration {
        self.dial_timeout.map_or(usual, |own| own.min(usual))
    }

    /// Whether http is spoken.
    pub(in crate::source) fn is_plain(&self) -> bool {
        self.api.starts_with("http://")
    }
}
