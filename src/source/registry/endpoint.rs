//! One host that may have the repository, and who we are to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderValue};
use tokio::sync::{Mutex, OnceCell};
use tokio::task::block_in_place;

use super::Options;
use super::challenge::Challenge;
use super::retry::Failure;
use super::tls;
use super::token::Login;
use crate::error::{Error, Result};
use crate::source::credentials::{Credentials, Found, Search};
use crate::source::hosts::Host;

/// A host with its clients. Nothing is asked of it before it is needed: neither its token, nor
/// the credentials for it.
pub(super) struct Endpoint {
    pub(super) host: Host,
    pub(super) http: Client,
    /// Asks where the host sends us on to, if that must not hear what the host is told.
    pub(super) onward: Option<Client>,
    options: Options,
    search: Search,
    tokens: OnceCell<Client>,
    credentials: OnceCell<Option<Found>>,
    shown: Mutex<Shown>,
    down: AtomicBool,
}

/// What a host was shown last, and what it had asked for.
#[derive(Clone, Default)]
struct Shown {
    header: Option<HeaderValue>,
    challenges: Vec<Challenge>,
}

impl Endpoint {
    pub(super) fn new(host: Host, options: &Options) -> Result<Self> {
        let http = tls::client(&host, options)?;
        let onward = if host.headers.is_empty() {
            None
        } else {
            let bare = Host { headers: HeaderMap::new(), ..host.clone() };
            Some(tls::client(&bare, options)?)
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
            options: options.clone(),
            search,
            tokens: OnceCell::new(),
            credentials: OnceCell::new(),
            shown: Mutex::default(),
            down: AtomicBool::new(false),
        })
    }

    /// The header that the host was shown last.
    pub(super) async fn shown(&self) -> Option<HeaderValue> {
        self.shown.lock().await.header.clone()
    }

    /// Whether a text repeats what the host was shown: it knows that, but no message tells it on.
    pub(super) async fn is_told_by(&self, text: &str) -> bool {
        let shown = self.shown().await;
        let header = shown.as_ref().and_then(|header| header.to_str().ok());
        let token = header.and_then(|header| header.split_once(' ')).map(|(_, token)| token);
        let found = self.credentials.get().and_then(Option::as_ref);
        token.is_some_and(|token| text.contains(token))
            || self.host.is_told_by(text)
            || found.is_some_and(|found| found.credentials.are_told_by(text))
    }

    /// The schemes that the host asked for; none when it did not ask.
    pub(super) async fn asked(&self) -> Vec<String> {
        let shown = self.shown.lock().await;
        shown.challenges.iter().map(|challenge| challenge.scheme.clone()).collect()
    }

    /// The credentials for the repository, and who knew them; asked for once.
    pub(super) async fn credentials(&self) -> Result<Option<&Found>> {
        let found = self.credentials.get_or_try_init(async || {
            if let Some(given) = &self.search.given {
                let source = "standard input".to_owned();
                return Ok(Some(Found { credentials: given.clone(), source }));
            }
            // Files are read and a helper may think for a while.
            let notices = &self.options.notices;
            block_in_place(|| self.search.find(&self.host.name, &self.host.repository, notices))
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
        let credentials: Option<&Credentials> = found.map(|found| &found.credentials);
        let client = self
            .tokens
            .get_or_try_init(async || tls::token_client(&self.host, &self.options))
            .await
            .map_err(|error: Error| Failure::from(error))?;
        let login = Login { client, host: &self.host, credentials, options: &self.options };
        shown.challenges.clone_from(&challenges);
        let renewed = login.answer(&challenges).await?;
        shown.header.clone_from(&renewed);
        Ok(renewed)
    }

    /// How long a connection may take to come about.
    pub(super) fn connecting(&self) -> Duration {
        self.host.connecting(self.options.connect_timeout)
    }

    /// Whether nobody answered there.
    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Nobody answers there: it is not asked again.
    pub(super) fn is_found_down(&self) {
        self.down.store(true, Ordering::Relaxed);
    }
}
