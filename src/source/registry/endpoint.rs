//! One host that may have the repository, and who we are to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Url};
use tokio::sync::{Mutex, OnceCell};
use tokio::task::block_in_place;

use super::challenge::Challenge;
use super::options::Options;
use super::retry::Failure;
use super::tls;
use super::token::Login;
use crate::error::{Error, Result};
use crate::source::credentials::{FoundCredentials, Search};
use crate::source::hosts::{Host, Trust};

/// A host with its clients. Nothing is asked of it before it is needed: neither its token, nor
/// the credentials for it.
pub(super) struct Endpoint {
    pub(super) host: Host,
    pub(super) http: Client,
    /// Asks where the host sends us on to, if that must not hear what the host is told.
    pub(super) onward: Option<Client>,
    /// The API of the registry that led here: what may be asked is where that may lead.
    from: String,
    options: Options,
    search: Search,
    tokens: OnceCell<Client>,
    credentials: OnceCell<Option<FoundCredentials>>,
    shown: Mutex<Shown>,
    down: AtomicBool,
    answered: AtomicBool,
}

/// What a host was shown last, and what it had asked for.
#[derive(Clone, Default)]
struct Shown {
    header: Option<HeaderValue>,
    challenges: Vec<Challenge>,
}

impl Endpoint {
    pub(super) fn new(host: Host, options: &Options) -> Result<Self> {
        let from = host.api.clone();
        Self::led_to_by(from, host, options)
    }

    /// The registry at `url`, to which this one has sent us on and which asks who we are. It is
    /// told what is known for itself, and nothing of what this one is told; nothing where others
    /// could listen or answer in its place. No registry where `url` is not that of an object.
    pub(super) fn onward_to(&self, url: &Url) -> Result<Option<Self>> {
        let Some((prefix, repository)) = repository_in(url) else { return Ok(None) };
        let name = host_of(url);
        let name = if DOCKER_HUB.contains(&name.as_str()) { "docker.io".to_owned() } else { name };
        let host = Host {
            name,
            repository: repository.to_owned(),
            api: format!("{}{prefix}/v2", url.origin().ascii_serialization()),
            namespace: None,
            serves: self.host.serves,
            trust: Trust { identity: None, ..self.host.trust.clone() },
            headers: HeaderMap::new(),
            dial_timeout: None,
            is_mirror: true,
        };
        let mut onward = Self::led_to_by(self.from.clone(), host, &self.options)?;
        if onward.host.is_plain() || onward.host.trust.insecure {
            onward.credentials = OnceCell::new_with(Some(None));
        }
        Ok(Some(onward))
    }

    fn led_to_by(from: String, host: Host, options: &Options) -> Result<Self> {
        let http = tls::client(&host, &from, options)?;
        let onward = if host.headers.is_empty() {
            None
        } else {
            let bare = Host { headers: HeaderMap::new(), ..host.clone() };
            Some(tls::client(&bare, &from, options)?)
        };
        let mut search = options.credentials.clone();
        if host.is_mirror {
            // What the user gave is for the registry that the user named.
            search.given = None;
        }
        Ok(Self {
            host,
            http,
            onward,
            from,
            options: options.clone(),
            search,
            tokens: OnceCell::new(),
            credentials: OnceCell::new(),
            shown: Mutex::default(),
            down: AtomicBool::new(false),
            answered: AtomicBool::new(false),
        })
    }

    /// The header that the host was shown last.
    pub(super) async fn shown(&self) -> Option<HeaderValue> {
        self.shown.lock().await.header.clone()
    }

    /// Whether a text repeats what the host was shown: it knows that, but no message tells it on.
    pub(super) async fn is_repeated_in(&self, text: &str) -> bool {
        let shown = self.shown().await;
        let header = shown.as_ref().and_then(|header| header.to_str().ok());
        let token = header.and_then(|header| header.split_once(' ')).map(|(_, token)| token);
        let found = self.credentials.get().and_then(Option::as_ref);
        token.is_some_and(|token| text.contains(token))
            || self.host.is_repeated_in(text)
            || found.is_some_and(|found| found.credentials.are_repeated_in(text))
    }

    /// The schemes that the host asked for; none when it did not ask.
    pub(super) async fn asked(&self) -> Vec<String> {
        let shown = self.shown.lock().await;
        shown.challenges.iter().map(|challenge| challenge.scheme.clone()).collect()
    }

    /// The credentials for the repository, and who knew them; asked for once.
    pub(super) async fn credentials(&self) -> Result<Option<&FoundCredentials>> {
        let found = self.credentials.get_or_try_init(async || {
            if let Some(given) = &self.search.given {
                let source = "standard input".to_owned();
                return Ok(Some(FoundCredentials { credentials: given.clone(), source }));
            }
            // Files are read and a helper may think for a while.
            let warnings = &self.options.warnings;
            block_in_place(|| self.search.find(&self.host.name, &self.host.repository, warnings))
        });
        Ok(found.await?.as_ref())
    }

    /// What to show in the place of `refused`, for these challenges. The same again when there is
    /// nothing better.
    pub(super) async fn renew(
        &self,
        challenges: Vec<Challenge>,
        refused: Option<HeaderValue>,
    ) -> Result<Option<HeaderValue>, Failure> {
        let mut shown = self.shown.lock().await;
        if shown.header != refused {
            // Another request has renewed it meanwhile.
            return Ok(shown.header.clone());
        }
        let found = self.credentials().await?;
        let client = self
            .tokens
            .get_or_try_init(async || tls::token_client(&self.host, &self.from, &self.options))
            .await
            .map_err(|error: Error| Failure::from(error))?;
        let login = Login { client, host: &self.host, found, options: &self.options };
        shown.challenges.clone_from(&challenges);
        let renewed = login.answer(&challenges).await?;
        shown.header.clone_from(&renewed);
        Ok(renewed)
    }

    /// How long a connection may take to come about.
    pub(super) fn connecting(&self) -> Duration {
        self.host.connecting(self.options.connect_timeout)
    }

    /// The credentials that the host has been shown, as they are or as a token.
    pub(super) async fn found(&self) -> Option<&FoundCredentials> {
        self.shown().await?;
        self.credentials.get().and_then(Option::as_ref)
    }

    /// Whether `url` is at the host itself.
    pub(super) fn is_at(&self, url: &Url) -> bool {
        let api: Option<Url> = self.host.api.parse().ok();
        api.is_some_and(|api| api.origin() == url.origin())
    }

    /// Whether this is `other` without TLS, for hosts that do not speak it.
    pub(super) fn is_plain_way_of(&self, other: &Self) -> bool {
        let (plain, secure) = (&self.host, &other.host);
        plain.is_plain()
            && !secure.is_plain()
            && (&plain.name, &plain.repository) == (&secure.name, &secure.repository)
    }

    /// Whether an answer has come from there.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// An answer has come from there.
    pub(super) fn mark_up(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Whether nobody answered there.
    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Nobody answers there: it is not asked again.
    pub(super) fn mark_down(&self) {
        self.down.store(true, Ordering::Relaxed);
    }
}

/// The hosts of the API of Docker Hub, whose credentials are kept under its other name.
const DOCKER_HUB: [&str; 2] = ["registry-1.docker.io", "index.docker.io"];

/// The host of an address, with the port when it is not the usual one.
pub(super) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// What stands before `/v2`, and the repository, in the address of a manifest or a blob.
fn repository_in(url: &Url) -> Option<(&str, &str)> {
    let (prefix, rest) = url.path().split_once("/v2/")?;
    let (place, _) = rest.rsplit_once('/')?;
    let repository = place.strip_suffix("/manifests").or_else(|| place.strip_suffix("/blobs"))?;
    (!repository.is_empty()).then_some((prefix, repository))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_read_from_the_address_of_an_object() {
        for (text, found) in [
            ("https://h/v2/a/b/manifests/1", Some(("", "a/b"))),
            ("https://h:1/x/v2/a/blobs/sha256:00?ns=y", Some(("/x", "a"))),
            ("https://h/v2/", None),
            ("https://h/v2//blobs/x", None),
            ("https://h/storage/key?signature=x", None),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!(repository_in(&url), found, "{text}");
        }
    }
}
