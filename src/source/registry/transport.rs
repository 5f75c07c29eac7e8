//! Requests to one repository: addresses, tokens, repetition, limits, and what a status means.
//!
//! `oci-client` knows the grammar of references and how a token is obtained. Documents and blobs
//! are requested here, with the HTTP client that it brings: its own calls read manifests and error
//! bodies of any length into memory, hide the status of a failure, and take a digest into the
//! address unseen. Its client is made only when a registry asks for a token, because making it
//! panics on a host without CA certificates.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use oci_client::RegistryOperation;
use oci_client::client::{Client as TokenClient, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, RANGE};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, ClientBuilder, Response, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::Options;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::source::manifest::ACCEPTED;
use crate::source::{Layer, Reference, excerpt};

const USER_AGENT: &str = concat!("banger/", env!("CARGO_PKG_VERSION"));
/// Source: OCI distribution-spec, "Pulling manifests".
const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// How many redirects are followed.
const MAX_REDIRECTS: usize = 10;
/// How much of an error's body is read.
const MAX_ERROR_BODY: u64 = 64 << 10;
/// The longest pause between two tries.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// What is asked for.
#[derive(Debug)]
pub(super) enum Object {
    /// A manifest or an index, by tag or digest.
    Manifest(String),
    /// A config.
    Config(Digest),
    /// A layer's blob, with its number and the number of all.
    Layer { digest: Digest, number: usize, count: usize },
}

impl Object {
    pub(super) fn layer(layer: &Layer, count: usize) -> Self {
        let number = layer.index.saturating_add(1);
        Self::Layer { digest: layer.digest.clone(), number, count }
    }

    fn path(&self) -> String {
        match self {
            Self::Manifest(name) => format!("manifests/{name}"),
            Self::Config(digest) | Self::Layer { digest, .. } => format!("blobs/{digest}"),
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(name) => write!(f, "manifest {name}"),
            Self::Config(digest) => write!(f, "config {digest}"),
            Self::Layer { digest, number, count } => {
                write!(f, "layer {number} of {count} ({digest})")
            }
        }
    }
}

/// How much of an object is asked for.
#[derive(Clone, Copy, Debug)]
enum Extent {
    /// Whether it is there.
    Header,
    /// Its first byte, for the same purpose.
    FirstByte,
    /// All of it.
    Whole,
}

/// A small body and what came with it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Vec<u8>,
    pub(super) content_type: Option<String>,
    pub(super) digest: Option<String>,
}

/// An error, and whether the same request may succeed later.
#[derive(Debug)]
pub(super) struct Failure {
    error: Error,
    transient: bool,
}

impl Failure {
    pub(super) fn transient(error: Error) -> Self {
        Self { error, transient: true }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, transient: false }
    }
}

/// Counts the tries of one request.
#[derive(Debug)]
pub(super) struct Tries {
    left: u32,
    delay: Duration,
}

impl Tries {
    /// Waits before the next try, or gives up.
    pub(super) async fn again_after(&mut self, failure: Failure) -> Result<()> {
        if !failure.transient || self.left == 0 {
            return Err(failure.error);
        }
        self.left = self.left.saturating_sub(1);
        tokio::time::sleep(self.delay).await;
        self.delay = self.delay.saturating_mul(2).min(MAX_DELAY);
        Ok(())
    }
}

/// The right to read the repository: a bearer token, or nothing where none is asked for.
type Login = Option<Arc<str>>;

/// A client of one repository.
pub(super) struct Transport {
    http: Client,
    settings: Settings,
    has_system_roots: bool,
    login: Mutex<Login>,
    reference: Reference,
    base: String,
}

impl Transport {
    pub(super) fn new(reference: &Reference, options: &Options) -> Result<Self> {
        // The process needs one; who installed another before us made a choice that holds.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let loopback = reference.is_loopback();
        let settings = Settings {
            plain: options.plain_http || loopback,
            direct: loopback,
            options: options.clone(),
        };
        let (http, has_system_roots) = settings.client()?;
        let scheme = if settings.plain { "http" } else { "https" };
        let registry = reference.whole().resolve_registry();
        Ok(Self {
            http,
            has_system_roots,
            login: Mutex::new(None),
            reference: reference.clone(),
            base: format!("{scheme}://{registry}/v2/{}", reference.repository()),
            settings,
        })
    }

    pub(super) fn tries(&self) -> Tries {
        let options = &self.settings.options;
        Tries { left: options.retries, delay: options.retry_delay }
    }

    /// Fetches a document of at most `limit` bytes.
    pub(super) async fn document(&self, object: &Object, limit: u64) -> Result<Answer> {
        let mut tries = self.tries();
        loop {
            match self.try_document(object, limit).await {
                Ok(body) => return Ok(body),
                Err(failure) => tries.again_after(failure).await?,
            }
        }
    }

    async fn try_document(&self, object: &Object, limit: u64) -> Result<Answer, Failure> {
        let mut response = self.get(object).await?;
        let header = |name: HeaderName| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let (content_type, digest) = (header(CONTENT_TYPE), header(DOCKER_CONTENT_DIGEST));
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(object, &mut response).await? {
            body.extend_from_slice(&chunk);
            if u64::try_from(body.len()).is_ok_and(|length| length > limit) {
                let error = Error::bad_data(format!(
                    "{object} of {} is longer than the {limit} bytes that it may have",
                    self.reference
                ));
                return Err(error.into());
            }
        }
        Ok(Answer { body, content_type, digest })
    }

    /// Asks whether the registry has a blob, and of which size, without fetching it.
    pub(super) async fn probe(&self, object: &Object, size: u64) -> Result<()> {
        let mut tries = self.tries();
        loop {
            match self.try_probe(object, size).await {
                Ok(()) => return Ok(()),
                Err(failure) => tries.again_after(failure).await?,
            }
        }
    }

    async fn try_probe(&self, object: &Object, size: u64) -> Result<(), Failure> {
        let response = self.send(Extent::Header, object).await?;
        let status = response.status();
        if status == StatusCode::OK {
            // A HEAD has no body to measure: only the header tells.
            return self.check_length(object, declared_length(response.headers()), size);
        }
        if status == StatusCode::NOT_FOUND || status == StatusCode::UNAUTHORIZED {
            return Err(self.refusal(object, response).await);
        }
        // Storage behind a redirect may refuse HEAD, since its signature is for GET.
        let response = self.send(Extent::FirstByte, object).await?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(()),
            _ => Err(self.refusal(object, response).await),
        }
    }

    /// Compares the length that the server announces with the descriptor's.
    pub(super) fn check_length(
        &self,
        object: &Object,
        announced: Option<u64>,
        size: u64,
    ) -> Result<(), Failure> {
        match announced {
            Some(length) if length != size => Err(Error::bad_data(format!(
                "the registry has {length} bytes for {object} of {}, whose descriptor declares \
                 {size}",
                self.reference
            ))
            .into()),
            _ => Ok(()),
        }
    }

    /// Begins to fetch an object.
    pub(super) async fn get(&self, object: &Object) -> Result<Response, Failure> {
        let response = self.send(Extent::Whole, object).await?;
        match response.status() {
            StatusCode::OK => Ok(response),
            _ => Err(self.refusal(object, response).await),
        }
    }

    /// The next part of a body.
    pub(super) async fn chunk(
        &self,
        object: &Object,
        response: &mut Response,
    ) -> Result<Option<impl AsRef<[u8]> + std::ops::Deref<Target = [u8]> + use<>>, Failure> {
        response.chunk().await.map_err(|error| self.broken(object, error))
    }

    /// Sends a request, with a token where one is asked for.
    async fn send(&self, extent: Extent, object: &Object) -> Result<Response, Failure> {
        let login = self.login.lock().await.clone();
        let response = self.send_once(extent, object, &login).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let renewed = self.renew(object, &login).await?;
        if renewed == login {
            return Ok(response);
        }
        self.send_once(extent, object, &renewed).await
    }

    async fn send_once(
        &self,
        extent: Extent,
        object: &Object,
        login: &Login,
    ) -> Result<Response, Failure> {
        let address = format!("{}/{}", self.base, object.path());
        let mut request = match extent {
            Extent::Header => self.http.head(address),
            Extent::FirstByte => self.http.get(address).header(RANGE, "bytes=0-0"),
            Extent::Whole => self.http.get(address),
        };
        if let Object::Manifest(_) = object {
            request = request.header(ACCEPT, ACCEPTED.join(", "));
        }
        if let Some(token) = login {
            request = request.bearer_auth(token);
        }
        request.send().await.map_err(|error| self.broken(object, error))
    }

    /// A token in the place of one that has expired, or of none.
    async fn renew(&self, object: &Object, refused: &Login) -> Result<Login, Failure> {
        let mut current = self.login.lock().await;
        if *current != *refused {
            // Another request has renewed it meanwhile.
            return Ok(current.clone());
        }
        if !self.has_system_roots {
            return Err(no_system_roots(self.reference.registry()).into());
        }
        let answer = match TokenClient::try_from(self.settings.token_config()) {
            Ok(client) => {
                let (name, guest) = (self.reference.whole(), RegistryAuth::Anonymous);
                client.auth(name, &guest, RegistryOperation::Pull).await
            }
            Err(error) => Err(error),
        };
        let token = answer.map_err(|error| self.not_logged_in(object, error))?;
        *current = token.filter(|token| !token.is_empty()).map(Arc::from);
        Ok(current.clone())
    }

    fn not_logged_in(&self, object: &Object, error: OciDistributionError) -> Failure {
        let registry = self.reference.registry();
        match error {
            OciDistributionError::RequestError(error) => self.broken(object, error),
            OciDistributionError::AuthenticationFailure(reason) => Error::denied(format!(
                "{registry} gave no token for {}: {}",
                self.reference.repository(),
                explained(reason.as_bytes())
            ))
            .into(),
            other => Error::unavailable(format!(
                "{registry} answered the request for a token with nonsense: {}",
                excerpt(&other.to_string())
            ))
            .into(),
        }
    }

    /// A request that got no answer, or an answer that broke off.
    fn broken(&self, object: &Object, error: reqwest::Error) -> Failure {
        let mut failure =
            Error::unavailable(format!("cannot fetch {object} of {}", self.reference));
        let mut transient = !error.is_builder() && !error.is_redirect();
        match tls_fault(&error) {
            Some(rustls::Error::InvalidMessage(_)) => {
                failure = failure.hint("for a registry without TLS, use --plain-http");
                transient = false;
            }
            Some(rustls::Error::InvalidCertificate(_)) => transient = false,
            _ => {}
        }
        // An address can hold the signature of a redirect, which is a secret.
        Failure { error: failure.because(error.without_url()), transient }
    }

    /// What an answer other than success means.
    async fn refusal(&self, object: &Object, mut response: Response) -> Failure {
        let status = response.status();
        let mut body = Vec::new();
        let mut length = 0_u64;
        while length < MAX_ERROR_BODY
            && let Ok(Some(chunk)) = response.chunk().await
        {
            length = length.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            body.extend_from_slice(&chunk);
        }
        let reason = explained(&body);
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let said = format!("{} answered {}{reason}", self.reference.registry(), status.as_u16());
        let asked = format!("cannot fetch {object} of {}: {said}", self.reference);
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Error::denied(asked).hint("the image may not exist, or may need credentials").into()
            }
            StatusCode::NOT_FOUND => {
                Error::not_found(format!("there is no {object} of {}: {said}", self.reference))
                    .into()
            }
            StatusCode::TOO_MANY_REQUESTS => {
                Failure::transient(Error::try_again(asked).hint("try again later"))
            }
            StatusCode::REQUEST_TIMEOUT => Failure::transient(Error::unavailable(asked)),
            status if status.is_server_error() => Failure::transient(Error::unavailable(asked)),
            _ => Error::unavailable(asked).into(),
        }
    }
}

/// The length that a header announces; [`Response::content_length`] measures the body instead,
/// and a HEAD has none.
fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The words of an error's body: a registry's JSON, or the beginning of anything else.
///
/// Source of the format: OCI distribution-spec, "Error Codes".
fn explained(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Envelope {
        errors: Vec<Reason>,
    }
    #[derive(Deserialize)]
    struct Reason {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let envelope: Option<Envelope> = serde_json::from_slice(body).ok();
    match envelope.as_ref().and_then(|envelope| envelope.errors.first()) {
        Some(Reason { code, message }) if message.is_empty() => excerpt(code),
        Some(Reason { code, message }) => excerpt(&format!("{code}: {message}")),
        None => excerpt(String::from_utf8_lossy(body).trim()),
    }
}

/// The fault of TLS among the causes of an error. It hides in I/O errors, which name the causes of
/// what they hold but not what they hold.
fn tls_fault<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    if let Some(fault) = error.downcast_ref() {
        return Some(fault);
    }
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(inner) => tls_fault(inner),
        None => tls_fault(error.source()?),
    }
}

fn no_system_roots(registry: &str) -> Error {
    Error::unavailable(format!("cannot trust {registry}: this host has no CA certificates"))
        .hint("install them, or name a file of them in SSL_CERT_FILE")
}

/// How the clients are made.
struct Settings {
    /// Whether http is spoken.
    plain: bool,
    /// Whether proxies are for others.
    direct: bool,
    options: Options,
}

impl Settings {
    /// The client for documents and blobs, and whether it knows the system's CA certificates.
    ///
    /// A client is not made without any on offer; plain http does without them.
    fn client(&self) -> Result<(Client, bool)> {
        let made = match self.builder().build() {
            Ok(client) => return Ok((client, true)),
            Err(_) if self.plain => self.builder().tls_certs_only([]).build(),
            Err(error) => Err(error),
        };
        made.map(|client| (client, false)).map_err(|error| {
            Error::unavailable("cannot prepare to speak with a registry")
                .because(error)
                .hint("SSL_CERT_FILE can name a file of CA certificates")
        })
    }

    fn builder(&self) -> ClientBuilder {
        let builder = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(self.options.connect_timeout)
            .read_timeout(self.options.stall_timeout)
            .redirect(Policy::custom(follow));
        if self.direct { builder.no_proxy() } else { builder }
    }

    fn token_config(&self) -> ClientConfig {
        // There is no switch for "no proxy": one is named, and excepted for every host.
        let unused = self.direct.then(|| "http://127.0.0.1:9".to_owned());
        ClientConfig {
            protocol: if self.plain { ClientProtocol::Http } else { ClientProtocol::Https },
            connect_timeout: Some(self.options.connect_timeout),
            read_timeout: Some(self.options.stall_timeout),
            user_agent: USER_AGENT,
            no_proxy: unused.as_ref().map(|_| "*,0.0.0.0/0,::/0".to_owned()),
            http_proxy: unused,
            ..ClientConfig::default()
        }
    }
}

/// Follows a redirect unless it leaves TLS or never ends. The client itself keeps the token from
/// going to another host.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let leaves_tls = attempt.url().scheme() == "http"
        && attempt.previous().last().is_some_and(|previous| previous.scheme() == "https");
    if leaves_tls {
        attempt.error("the registry redirects from https to http")
    } else if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error(format!("the registry redirects more than {MAX_REDIRECTS} times"))
    } else {
        attempt.follow()
    }
}
