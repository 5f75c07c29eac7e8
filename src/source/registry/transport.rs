//! Requests for one repository: where they go, how often, within which limits, and what a status
//! means.
//!
//! `oci-client` knows the grammar of references and brings the HTTP client; requests are made
//! here. Its own calls read manifests, tokens and error bodies of any length into memory, hide the
//! status of a failure, take a digest into the address unseen, and show a password to whatever
//! server the registry names.

use std::error::Error as StdError;
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, LOCATION, RANGE,
};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;

use super::endpoint::Endpoint;
use super::foreign::Foreign;
use super::names::leads_inwards;
use super::retry::{Failure, Tries, may_pass, retry_after};
use super::tls::{TooManyRedirects, refusal};
use super::{Options, Pull, challenge};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::json;
use crate::source::hosts::{self, Places};
use crate::source::limits::{Bound, flag};
use crate::source::manifest::ACCEPTED;
use crate::source::{Layer, Reference, excerpt};

/// Source: OCI distribution-spec, "Pulling manifests".
const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// How often a request is answered with another login: what another request got meanwhile may be
/// worn out as well.
const LOGINS: usize = 2;
/// A body that brings fewer bytes within the time that a server may be silent is as good as
/// silent.
const MIN_PACE: u64 = 1 << 10;
/// What to try when a server is too slow.
const MORE_TIME: &str = "--timeout allows more";

/// What is asked for.
#[derive(Debug)]
pub(super) enum Object {
    /// A manifest or an index, by tag or digest.
    Manifest(String),
    /// A config.
    Config(Digest),
    /// A layer's blob, with its number, the number of all, and where else it is.
    Layer { digest: Digest, number: usize, count: usize, urls: Vec<String> },
}

impl Object {
    pub(super) fn layer(layer: &Layer, count: usize) -> Self {
        let number = layer.index.saturating_add(1);
        let (digest, urls) = (layer.digest.clone(), layer.urls.clone());
        Self::Layer { digest, number, count, urls }
    }

    /// Where it is when the registry lacks it.
    fn urls(&self) -> &[String] {
        match self {
            Self::Layer { urls, .. } => urls,
            Self::Manifest(_) | Self::Config(_) => &[],
        }
    }

    fn path(&self) -> String {
        match self {
            Self::Manifest(name) => format!("manifests/{name}"),
            Self::Config(digest) | Self::Layer { digest, .. } => format!("blobs/{digest}"),
        }
    }

    /// Its digest, when it is asked for by it.
    fn digest(&self) -> Option<Digest> {
        match self {
            Self::Manifest(name) => name.parse().ok(),
            Self::Config(digest) | Self::Layer { digest, .. } => Some(digest.clone()),
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(name) => write!(f, "manifest {name}"),
            Self::Config(digest) => write!(f, "config {digest}"),
            Self::Layer { digest, number, count, .. } => {
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
    /// All of it, from this byte on.
    From(u64),
}

/// How long a document may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    AtMost(Bound),
    Exactly(u64),
}

/// A small body and what came with it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Vec<u8>,
    pub(super) content_type: Option<String>,
    pub(super) digest: Option<String>,
}

/// A client of one repository, wherever it is.
pub(super) struct Transport {
    endpoints: Vec<Endpoint>,
    options: Options,
    reference: Reference,
}

/// Who is asked for something.
#[derive(Clone, Copy)]
pub(super) enum Giver<'a> {
    /// A registry.
    Registry(&'a Endpoint),
    /// A server that the manifest names.
    Foreign(&'a Foreign),
}

/// The way of one request: from host to host, and at the last as often as the tries allow.
pub(super) struct Route<'a> {
    givers: Vec<Giver<'a>>,
    place: usize,
    tries: Tries,
}

impl<'a> Route<'a> {
    /// Whom to ask now.
    pub(super) fn giver(&self) -> Result<Giver<'a>> {
        let giver = self.givers.get(self.place).copied();
        giver.ok_or_else(|| Error::internal("there is no host to ask"))
    }

    /// Goes on to the next host, or waits before the last is asked again, or gives up.
    pub(super) async fn again_after(&mut self, failure: Failure) -> Result<()> {
        let next = self.place.saturating_add(1);
        if next < self.givers.len() {
            if let (Giver::Registry(endpoint), true) = (self.giver()?, failure.unreachable) {
                endpoint.is_found_down();
            }
            self.place = next;
            return Ok(());
        }
        self.tries.again_after(failure).await
    }

    /// Says how many bytes have arrived.
    pub(super) fn progressed_to(&mut self, received: u64) {
        self.tries.progressed_to(received);
    }
}

impl Transport {
    pub(super) fn new(reference: &Reference, options: &Options) -> Result<Self> {
        let (wishes, notices) = (&options.hosts, &options.notices);
        let places = Places::of_environment(wishes, notices, |name| std::env::var_os(name))?;
        let hosts = hosts::find(reference, &options.hosts, &places)?;
        let endpoints: Result<Vec<Endpoint>> =
            hosts.into_iter().map(|host| Endpoint::new(host, options)).collect();
        Ok(Self { endpoints: endpoints?, options: options.clone(), reference: reference.clone() })
    }

    /// The registry itself.
    pub(super) fn origin(&self) -> Result<&Endpoint> {
        self.endpoints.last().ok_or_else(|| Error::internal("there is no host to ask"))
    }

    /// Whether another host than the registry itself may be asked.
    pub(super) fn asks_mirrors(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.host.is_mirror && !endpoint.is_down())
    }

    /// Asks no mirror any more: one of them may have sent wrong bytes.
    pub(super) fn leave_mirrors(&self) {
        let mirrors = self.endpoints.iter().filter(|endpoint| endpoint.host.is_mirror);
        mirrors.for_each(Endpoint::is_found_down);
    }

    /// The way to an object; none when no registry may be asked.
    pub(super) fn route(&self, object: &Object) -> Result<Route<'_>> {
        if self.options.pull == Pull::Never {
            return Err(Error::not_found(format!(
                "the cache does not have {object} of {}, and no registry may be asked",
                self.reference
            ))
            .hint("--pull missing asks for what is missing"));
        }
        let named = object.digest().is_some();
        let suits = |endpoint: &&Endpoint| {
            let host = &endpoint.host;
            !host.is_mirror || if named { host.serves.digests } else { host.serves.tags }
        };
        Ok(self.route_along(suits))
    }

    /// The way along the hosts that suit, but for those where nobody answers; the last, which is
    /// the registry itself, is always asked.
    fn route_along(&self, suits: impl Fn(&&Endpoint) -> bool) -> Route<'_> {
        let last = self.endpoints.len().saturating_sub(1);
        let endpoints = self.endpoints.iter().enumerate();
        let asked = endpoints
            .filter(|(place, endpoint)| *place == last || (!endpoint.is_down() && suits(endpoint)));
        let givers = asked.map(|(_, endpoint)| Giver::Registry(endpoint)).collect();
        Route { givers, place: 0, tries: Tries::new(&self.options) }
    }

    /// The way to a server that the manifest names.
    pub(super) fn route_to<'a>(&self, foreign: &'a Foreign) -> Route<'a> {
        let givers = vec![Giver::Foreign(foreign)];
        Route { givers, place: 0, tries: Tries::new(&self.options) }
    }

    /// Where to ask for what the registry lacks, after its `error`: at least one server.
    pub(super) fn elsewhere(&self, object: &Object, error: Error) -> Result<Vec<Foreign>> {
        let urls = object.urls();
        let (Error::NotFound(_), Some(first)) = (&error, urls.first()) else { return Err(error) };
        if !self.options.foreign_urls {
            let first: Option<Url> = first.parse().ok();
            let host = first.as_ref().and_then(Url::host_str).unwrap_or("a foreign server");
            return Err(error.hint(format!(
                "the manifest has urls for it, at {}; --allow-foreign-urls asks there",
                excerpt(host)
            )));
        }
        let origin = &self.origin()?.host;
        let mut refusal = error;
        let mut servers = Vec::new();
        for url in urls {
            match Foreign::new(url, origin, &self.options) {
                Ok(server) => servers.push(server),
                Err(error) => refusal = error,
            }
        }
        if servers.is_empty() { Err(refusal) } else { Ok(servers) }
    }

    /// Fetches a document, verified when it is asked for by its digest.
    pub(super) async fn document(&self, object: &Object, length: Length) -> Result<Answer> {
        let mut route = self.route(object)?;
        loop {
            match self.try_document(route.giver()?, object, length).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => route.again_after(failure).await?,
            }
        }
    }

    async fn try_document(
        &self,
        giver: Giver<'_>,
        object: &Object,
        length: Length,
    ) -> Result<Answer, Failure> {
        let mut body = self.get(giver, object).await?;
        let header = |name: HeaderName| {
            let value = body.response.headers().get(name);
            value.and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let (content_type, digest) = (header(CONTENT_TYPE), header(DOCKER_CONTENT_DIGEST));
        let bound = match length {
            Length::AtMost(bound) => bound,
            Length::Exactly(size) => Bound::fixed(size),
        };
        let mut bytes = Vec::new();
        while let Some(chunk) = body.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if u64::try_from(bytes.len()).is_ok_and(|length| length > bound.bytes) {
                let error = bound.refuse(format!(
                    "{object} of {} is longer than the {} bytes that it may have",
                    self.reference, bound.bytes
                ));
                return Err(error.into());
            }
        }
        if let Length::Exactly(size) = length
            && u64::try_from(bytes.len()).ok() != Some(size)
        {
            return Err(Error::bad_data(format!(
                "the registry sent {} bytes of {object} of {}, whose descriptor declares {size}",
                bytes.len(),
                self.reference
            ))
            .into());
        }
        if let Some(digest) = object.digest() {
            self.verify(&bytes, &digest)?;
        }
        Ok(Answer { body: bytes, content_type, digest })
    }

    pub(super) fn verify(&self, body: &[u8], digest: &Digest) -> Result<()> {
        let found = Digest::of(digest.algorithm(), body);
        if found == *digest {
            return Ok(());
        }
        Err(Error::bad_data(format!(
            "the registry sent other bytes than {digest} of {}: they are {found}",
            self.reference
        )))
    }

    /// Asks whether the registry has a blob, and of which size, without fetching it.
    pub(super) async fn probe(&self, object: &Object, size: u64) -> Result<()> {
        let Err(error) = self.probe_along(self.route(object)?, object, size).await else {
            return Ok(());
        };
        let mut last = Ok(());
        for server in &self.elsewhere(object, error)? {
            last = self.probe_along(self.route_to(server), object, size).await;
            if last.is_ok() {
                break;
            }
        }
        last
    }

    async fn probe_along(&self, mut route: Route<'_>, object: &Object, size: u64) -> Result<()> {
        loop {
            match self.try_probe(route.giver()?, object, size).await {
                Ok(()) => return Ok(()),
                Err(failure) => route.again_after(failure).await?,
            }
        }
    }

    async fn try_probe(&self, giver: Giver<'_>, object: &Object, size: u64) -> Result<(), Failure> {
        let response = self.send(giver, Extent::Header, object).await?;
        let status = response.status();
        if status == StatusCode::OK {
            // A HEAD has no body to measure: only the header tells.
            return self.check_length(object, declared_length(response.headers()), size);
        }
        if status == StatusCode::NOT_FOUND || status == StatusCode::UNAUTHORIZED {
            return Err(self.refusal(giver, object, response).await);
        }
        // Storage behind a redirect may refuse HEAD, since its signature is for GET.
        let response = self.send(giver, Extent::FirstByte, object).await?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(()),
            _ => Err(self.refusal(giver, object, response).await),
        }
    }

    /// Whether the registry itself lets us read the image: its answer, and the error when not.
    pub(super) async fn ask(&self) -> Result<(StatusCode, Option<Error>)> {
        let name = match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let object = Object::Manifest(name);
        let mut route = self.route_along(|endpoint| !endpoint.host.is_mirror);
        loop {
            let giver = route.giver()?;
            let failure = match self.send(giver, Extent::Header, &object).await {
                Ok(response) if response.status().is_success() => {
                    return Ok((response.status(), None));
                }
                Ok(response) => {
                    let status = response.status();
                    let failure = self.refusal(giver, &object, response).await;
                    if !failure.transient {
                        return Ok((status, Some(failure.error)));
                    }
                    failure
                }
                Err(failure) => failure,
            };
            route.again_after(failure).await?;
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
                "the server has {length} bytes for {object} of {}, whose descriptor declares \
                 {size}",
                self.reference
            ))
            .into()),
            _ => Ok(()),
        }
    }

    /// Begins to fetch an object.
    async fn get<'a>(&'a self, giver: Giver<'_>, object: &'a Object) -> Result<Body<'a>, Failure> {
        let response = self.send(giver, Extent::From(0), object).await?;
        match response.status() {
            StatusCode::OK => self.body(object, response),
            _ => Err(self.refusal(giver, object, response).await),
        }
    }

    /// Begins to fetch the bytes of a blob of `size` bytes from `start` on: the body, and the
    /// byte with which it begins. A server that knows no ranges begins anew.
    pub(super) async fn get_from<'a>(
        &'a self,
        giver: Giver<'_>,
        object: &'a Object,
        (start, size): (u64, u64),
    ) -> Result<(Body<'a>, u64), Failure> {
        let response = self.send(giver, Extent::From(start), object).await?;
        match response.status() {
            StatusCode::OK => {
                let body = self.body(object, response)?;
                self.check_length(object, body.response.content_length(), size)?;
                Ok((body, 0))
            }
            StatusCode::PARTIAL_CONTENT if start > 0 => {
                self.check_range(object, response.headers(), (start, size))?;
                Ok((self.body(object, response)?, start))
            }
            StatusCode::RANGE_NOT_SATISFIABLE if start > 0 => {
                let refused = self.refusal(giver, object, response).await;
                Err(Failure { transient: true, from_the_start: true, ..refused })
            }
            _ => Err(self.refusal(giver, object, response).await),
        }
    }

    /// A part must be exactly the one that was asked for (RFC 9110, section 14.4).
    fn check_range(
        &self,
        object: &Object,
        headers: &HeaderMap,
        (start, size): (u64, u64),
    ) -> Result<(), Failure> {
        let said = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let wanted = format!("bytes {start}-{}/{size}", size.saturating_sub(1));
        if said.is_some_and(|said| said.trim().eq_ignore_ascii_case(&wanted)) {
            return Ok(());
        }
        let said =
            said.map_or_else(|| "nothing".to_owned(), |said| format!("\"{}\"", excerpt(said)));
        let error = Error::bad_data(format!(
            "asked for \"{wanted}\" of {object} of {}, the server sent {said}",
            self.reference
        ));
        Err(Failure { from_the_start: true, ..Failure::transient(error) })
    }

    fn body<'a>(&'a self, object: &'a Object, response: Response) -> Result<Body<'a>, Failure> {
        let media_type = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        if media_type.is_some_and(|name| name.to_ascii_lowercase().starts_with(b"text/html")) {
            return Err(Error::bad_data(format!(
                "a web page came instead of {object} of {}",
                self.reference
            ))
            .hint("a proxy or a login page of this network may stand in the way")
            .into());
        }
        let pace = Pace::new(self.options.stall_timeout);
        Ok(Body { transport: self, object, response, pace })
    }

    /// Sends a request; registries are shown a login where they ask for one.
    async fn send(
        &self,
        giver: Giver<'_>,
        extent: Extent,
        object: &Object,
    ) -> Result<Response, Failure> {
        match giver {
            Giver::Registry(endpoint) => self.send_with_login(endpoint, extent, object).await,
            Giver::Foreign(Foreign { url, http, .. }) => {
                let request = requested(http, url.as_str(), extent);
                let connecting = self.options.connect_timeout;
                request.send().await.map_err(|error| self.broken(object, error, connecting))
            }
        }
    }

    async fn send_with_login(
        &self,
        endpoint: &Endpoint,
        extent: Extent,
        object: &Object,
    ) -> Result<Response, Failure> {
        let api: Option<Url> = endpoint.host.api.parse().ok();
        let mut shown = endpoint.shown().await;
        for _ in 0..LOGINS {
            let response = self.send_once(endpoint, extent, object, shown.as_ref()).await?;
            // Another host, to which the answer redirected, has no right to ask who we are.
            let is_theirs = api.as_ref().is_some_and(|api| api.origin() == response.url().origin());
            if response.status() != StatusCode::UNAUTHORIZED || !is_theirs {
                return Ok(response);
            }
            let challenges = challenge::all(response.headers());
            let renewed = endpoint.renew(challenges, shown.clone()).await?;
            if renewed == shown {
                return Ok(response);
            }
            shown = renewed;
        }
        self.send_once(endpoint, extent, object, shown.as_ref()).await
    }

    async fn send_once(
        &self,
        endpoint: &Endpoint,
        extent: Extent,
        object: &Object,
        login: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let mut headers = endpoint.host.headers.clone();
        if let Some(header) = login {
            headers.insert(AUTHORIZATION, header.clone());
        }
        let accepted = match object {
            Object::Manifest(_) => HeaderValue::from_str(&ACCEPTED.join(", ")).ok(),
            Object::Config(_) | Object::Layer { .. } => None,
        };
        let asked = |request: RequestBuilder| match &accepted {
            Some(accepted) => request.header(ACCEPT, accepted.clone()),
            None => request,
        };
        let broken = |error| self.broken(object, error, endpoint.connecting());
        let request = asked(address(endpoint, extent, object).headers(headers));
        let response = request.send().await.map_err(broken)?;
        let Some(onward) = &endpoint.onward else { return Ok(response) };
        let Some(next) = sent_on(&response) else { return Ok(response) };
        if let Some(why) = refusal(response.url(), response.url(), &next) {
            let doing = format!("cannot fetch {object} of {}", self.reference);
            return Err(Error::unavailable(format!("{doing}: {why}")).into());
        }
        asked(requested(onward, next.as_str(), extent)).send().await.map_err(broken)
    }

    /// A request that got no answer, or an answer that broke off; a connection had so much time.
    fn broken(&self, object: &Object, error: reqwest::Error, connecting: Duration) -> Failure {
        let doing = format!("cannot fetch {object} of {}", self.reference);
        let mut unreachable = error.is_connect() || error.is_timeout();
        let error = match self.overdue(&error, connecting) {
            Some(why) => {
                let error = Error::unavailable(format!("{doing}: {why}"));
                return Failure { unreachable, ..Failure::transient(error.hint(MORE_TIME)) };
            }
            None => error,
        };
        let mut failure = Error::unavailable(doing);
        let mut transient = !error.is_builder() && !error.is_redirect();
        match tls_fault(&error) {
            Some(rustls::Error::InvalidMessage(_)) => {
                failure = failure.hint("for a registry without TLS, use --plain-http");
                transient = false;
            }
            Some(rustls::Error::InvalidCertificate(_)) => {
                failure = failure.hint("--ca-file names the certificates to trust");
                transient = false;
            }
            _ if leads_inwards(&error) => transient = false,
            _ if cause::<TooManyRedirects>(&error).is_some() => {
                failure = failure.hint(flag::raise(flag::REDIRECTS));
            }
            // The other side says what it did not like, such as that no certificate was shown.
            Some(rustls::Error::AlertReceived(_)) => {
                (transient, unreachable) = (false, true);
            }
            _ => {}
        }
        // An address can hold the signature of a redirect, which is a secret.
        let error = failure.because(error.without_url());
        Failure { transient, unreachable, ..error.into() }
    }

    /// What took longer than it may, in numbers; nothing when the error is another.
    fn overdue(&self, error: &reqwest::Error, connecting: Duration) -> Option<String> {
        // The kernel gives up by itself after some minutes.
        let is_kernels = cause::<std::io::Error>(error).is_some_and(|e| e.raw_os_error().is_some());
        match (error.is_timeout() && !is_kernels, error.is_connect()) {
            (false, _) => None,
            (true, true) => {
                Some(format!("no connection came about within {} s", connecting.as_secs_f32()))
            }
            (true, false) => {
                let silent = self.options.stall_timeout.as_secs_f32();
                Some(format!("nothing came for {silent} s"))
            }
        }
    }

    /// What an answer other than success means.
    async fn refusal(&self, giver: Giver<'_>, object: &Object, mut response: Response) -> Failure {
        let status = response.status();
        let after = retry_after(response.headers(), SystemTime::now());
        let (limit, window) = (self.options.limits.refusal, self.options.stall_timeout);
        let body = Beginning::of(&mut response, limit, window).await.body;
        let mut reason = explained(&body);
        if let Giver::Registry(endpoint) = giver {
            let text = String::from_utf8_lossy(&body);
            if endpoint.is_told_by(&text).await || endpoint.is_told_by(&reason).await {
                reason.clear();
            }
        }
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let who = match giver {
            Giver::Registry(_) => self.reference.registry(),
            Giver::Foreign(foreign) => foreign.name(),
        };
        let said = format!("{who} answered {}{reason}", status.as_u16());
        let asked = format!("cannot fetch {object} of {}: {said}", self.reference);
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
                if matches!(giver, Giver::Foreign(_)) =>
            {
                Error::denied(asked).hint("credentials are never shown to foreign urls").into()
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::denied(asked)
                .hint("the image may not exist, or may need credentials: see banger auth check")
                .into(),
            StatusCode::NOT_FOUND => {
                Error::not_found(format!("there is no {object} of {}: {said}", self.reference))
                    .into()
            }
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Error::denied(asked).hint("the proxy wants a name and a password").into()
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let error = Error::try_again(asked).hint("try again later");
                Failure { after, ..Failure::transient(error) }
            }
            status if may_pass(status) => {
                Failure { after, ..Failure::transient(Error::unavailable(asked)) }
            }
            _ => Error::unavailable(asked).into(),
        }
    }
}

fn address(endpoint: &Endpoint, extent: Extent, object: &Object) -> RequestBuilder {
    let host = &endpoint.host;
    let mut address = format!("{}/{}/{}", host.api, host.repository, object.path());
    if let Some(namespace) = &host.namespace {
        // A registry's name needs no other escapes, as containerd writes them.
        let name = namespace.replace(':', "%3A").replace('[', "%5B").replace(']', "%5D");
        address.push_str("?ns=");
        address.push_str(&name);
    }
    requested(&endpoint.http, &address, extent)
}

/// Where an answer sends us on to.
fn sent_on(response: &Response) -> Option<Url> {
    let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection());
    response.url().join(location?.to_str().ok()?).ok()
}

fn requested(http: &Client, address: &str, extent: Extent) -> RequestBuilder {
    match extent {
        Extent::Header => http.head(address),
        Extent::FirstByte => http.get(address).header(RANGE, "bytes=0-0"),
        Extent::From(0) => http.get(address),
        Extent::From(start) => http.get(address).header(RANGE, format!("bytes={start}-")),
    }
}

/// A body on its way.
pub(super) struct Body<'a> {
    transport: &'a Transport,
    object: &'a Object,
    response: Response,
    pace: Pace,
}

impl Body<'_> {
    /// The next part.
    pub(super) async fn chunk(
        &mut self,
    ) -> Result<Option<impl std::ops::Deref<Target = [u8]> + use<>>, Failure> {
        let chunk = self.response.chunk().await;
        let chunk = chunk.map_err(|error| {
            let connecting = self.transport.options.connect_timeout;
            self.transport.broken(self.object, error, connecting)
        })?;
        let length = chunk.as_deref().map_or(0, <[u8]>::len);
        if chunk.is_some() && !self.pace.holds(u64::try_from(length).unwrap_or(u64::MAX)) {
            let seconds = self.pace.window.as_secs_f32();
            return Err(Failure::transient(
                Error::unavailable(format!(
                    "cannot fetch {} of {}: fewer than {MIN_PACE} bytes came within {seconds} s",
                    self.object, self.transport.reference
                ))
                .hint(MORE_TIME),
            ));
        }
        Ok(chunk)
    }
}

/// Whether enough bytes come.
struct Pace {
    window: Duration,
    since: Instant,
    bytes: u64,
}

impl Pace {
    fn new(window: Duration) -> Self {
        Self { window, since: Instant::now(), bytes: 0 }
    }

    fn holds(&mut self, length: u64) -> bool {
        self.bytes = self.bytes.saturating_add(length);
        if self.since.elapsed() < self.window {
            return true;
        }
        let enough = self.bytes >= MIN_PACE;
        (self.since, self.bytes) = (Instant::now(), 0);
        enough
    }
}

/// The length that a header announces; [`Response::content_length`] measures the body instead,
/// and a HEAD has none.
fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The beginning of a body.
pub(super) struct Beginning {
    pub(super) body: Vec<u8>,
    /// Why it is not all.
    pub(super) cut: Option<Cut>,
}

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// It is longer than it may be.
    Long,
    /// It broke off, or came too slowly.
    Broken,
}

impl Beginning {
    /// At most `limit` bytes of a body that may be as slow as any other.
    pub(super) async fn of(response: &mut Response, limit: u64, window: Duration) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let (mut body, mut pace) = (Vec::new(), Pace::new(window));
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Self { body, cut: None },
                Err(_) => return Self { body, cut: Some(Cut::Broken) },
            };
            body.extend_from_slice(&chunk);
            if body.len() > limit {
                body.truncate(limit);
                return Self { body, cut: Some(Cut::Long) };
            }
            if !pace.holds(u64::try_from(chunk.len()).unwrap_or(u64::MAX)) {
                return Self { body, cut: Some(Cut::Broken) };
            }
        }
    }
}

/// The words of an error's body: a registry's JSON, or the beginning of anything else.
///
/// Source of the format: OCI distribution-spec, "Error Codes".
pub(super) fn explained(body: &[u8]) -> String {
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
    let envelope: Option<Envelope> = json::from_slice(body).ok();
    match envelope.as_ref().and_then(|envelope| envelope.errors.first()) {
        Some(Reason { code, message }) if message.is_empty() => excerpt(code),
        Some(Reason { code, message }) => excerpt(&format!("{code}: {message}")),
        None => excerpt(String::from_utf8_lossy(body).trim()),
    }
}

/// The first cause of an error that is of this type.
pub(super) fn cause<'a, T: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
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
