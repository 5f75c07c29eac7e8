//! Requests for one repository: where they go, how often, within which limits, and what a status
//! means.
//!
//! `oci-client` knows the grammar of references and brings the HTTP client; requests are made
//! here. Its own calls read manifests, tokens and error bodies of any length into memory, hide the
//! status of a failure, take a digest into the address unseen, and show a password to whatever
//! server the registry names.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, LOCATION, RANGE,
};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};

use super::causes::{cause, tls_fault};
use super::endpoint::{Endpoint, host_of};
use super::names::leads_inwards;
use super::object::{Extent, Length, Object};
use super::response::{
    Beginning, ContentRange, IDENTITY, MIN_PACE, Pace, coding, declared_length, explained, is_page,
    is_whole,
};
use super::retry::{Contact, Failure, Part, Tries, may_pass, may_refuse_range, retry_after};
use super::route::Route;
use super::tls::{TooManyRedirects, refusal};
use super::token::of_refusal;
use super::{Options, Pull, challenge};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::source::hosts::{self, Places};
use crate::source::limits::{Bound, flag};
use crate::source::manifest::ACCEPTED;
use crate::source::{Reference, excerpt};

/// Source: OCI distribution-spec, "Pulling manifests".
const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// How often a request is answered with another login: what another request got meanwhile may be
/// worn out as well.
const LOGINS: usize = 2;
/// How many registries that want to know who we are may send one request on to the next.
const ONWARD: usize = 3;
/// How many such registries there may be for all requests.
const MAX_ONWARD: usize = 16;
/// What to try when a server is too slow.
const MORE_TIME: &str = "--timeout allows more";

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
    /// The registries to which the hosts have sent us on and that ask who we are.
    onward: Mutex<Vec<Arc<Endpoint>>>,
    options: Options,
    reference: Reference,
}

impl Transport {
    pub(super) fn new(reference: &Reference, options: &Options) -> Result<Self> {
        let (wishes, notices) = (&options.hosts, &options.notices);
        let places = Places::of_environment(wishes, notices, |name| std::env::var_os(name))?;
        let hosts = hosts::find(reference, &options.hosts, &places)?;
        let endpoints: Result<Vec<Endpoint>> =
            hosts.into_iter().map(|host| Endpoint::new(host, options)).collect();
        Ok(Self {
            endpoints: endpoints?,
            onward: Mutex::default(),
            options: options.clone(),
            reference: reference.clone(),
        })
    }

    /// The registry itself, in the way in which it has answered.
    pub(super) fn origin(&self) -> Result<&Endpoint> {
        let ways = || self.endpoints.iter().rev().filter(|endpoint| !endpoint.host.is_mirror);
        let way = ways().find(|way| way.has_answered()).or_else(|| ways().next());
        way.ok_or_else(|| Error::internal("there is no host to ask"))
    }

    /// Says what is going on.
    pub(super) fn announce(&self, line: &str) {
        self.options.notices.announce(line);
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
            .with_hint("--pull missing asks for what is missing"));
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
        let endpoints = asked.map(|(_, endpoint)| endpoint).collect();
        Route::new(endpoints, Tries::new(&self.options))
    }

    /// Fetches a document, verified when it is asked for by its digest.
    pub(super) async fn document(&self, object: &Object, length: Length) -> Result<Answer> {
        let mut route = self.route(object)?;
        loop {
            match self.try_document(route.endpoint()?, object, length).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => route.again_after(failure).await?,
            }
        }
    }

    async fn try_document(
        &self,
        endpoint: &Endpoint,
        object: &Object,
        length: Length,
    ) -> Result<Answer, Failure> {
        let mut body = self.get(endpoint, object).await?;
        let header = |name: HeaderName| {
            let value = body.response.headers().get(name);
            value.and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let (content_type, digest) = (header(CONTENT_TYPE), header(DOCKER_CONTENT_DIGEST));
        let (is_page, coding) = (is_page(body.response.headers()), body.coding());
        let bytes = self.read(&mut body, object, length).await?;
        let is_right = match object.digest() {
            Some(digest) => self.verify(&bytes, &digest),
            None => Ok(()),
        };
        let is_document = object.digest().is_some() || bytes.trim_ascii_start().starts_with(b"{");
        match (is_right, coding) {
            (Err(_), _) if is_page => Err(self.page(object).into()),
            (Err(error), Some(coding)) => Err(coded(error, &coding).into()),
            (Ok(()), Some(coding)) if !is_document => {
                let error = format!("cannot read {object} of {}", self.reference);
                Err(coded(Error::bad_data(error), &coding).into())
            }
            (Err(error), None) => Err(error.into()),
            (Ok(()), _) => Ok(Answer { body: bytes, content_type, digest }),
        }
    }

    /// Reads a document, which is no longer than it may be and has the length that it must have.
    async fn read(
        &self,
        body: &mut Body<'_>,
        object: &Object,
        length: Length,
    ) -> Result<Vec<u8>, Failure> {
        let bound = match length {
            Length::AtMost(bound) => bound,
            Length::Exactly(size) => Bound::fixed(size),
        };
        let noted = |error: Error, body: &Body<'_>| match body.coding() {
            Some(coding) => Failure::from(coded(error, &coding)),
            None => error.into(),
        };
        let mut bytes = Vec::new();
        while let Some(chunk) = body.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if u64::try_from(bytes.len()).is_ok_and(|length| length > bound.bytes) {
                let error = bound.refuse(format!(
                    "{object} of {} is longer than the {} bytes that it may have",
                    self.reference, bound.bytes
                ));
                return Err(noted(error, body));
            }
        }
        match length {
            Length::Exactly(size) if u64::try_from(bytes.len()).ok() != Some(size) => {
                let error = Error::bad_data(format!(
                    "the registry sent {} bytes of {object} of {}, whose descriptor declares {size}",
                    bytes.len(),
                    self.reference
                ));
                Err(noted(error, body))
            }
            _ => Ok(bytes),
        }
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
    ///
    /// Only the answer to a GET can say that it has not: proxies that fetch a blob when it is
    /// asked for first know nothing of it before, and storage may refuse HEAD and ranges.
    pub(super) async fn probe(&self, object: &Object, size: u64) -> Result<()> {
        let mut route = self.route(object)?;
        loop {
            match self.try_probe(route.endpoint()?, object, size).await {
                Ok(()) => return Ok(()),
                Err(failure) => route.again_after(failure).await?,
            }
        }
    }

    async fn try_probe(
        &self,
        endpoint: &Endpoint,
        object: &Object,
        size: u64,
    ) -> Result<(), Failure> {
        match self.send(endpoint, Extent::Header, object).await {
            // A HEAD has no body to measure: only the header tells.
            Ok(response) if is_whole(response.status()) => {
                if declared_length(response.headers()).is_none_or(|length| length == size) {
                    return Ok(());
                }
            }
            Ok(response) if response.status() == StatusCode::TOO_MANY_REQUESTS => {
                return Err(self.refusal(endpoint, object, response).await);
            }
            Ok(_) => {}
            Err(failure) if matches!(failure.contact, Contact::Silent | Contact::Broken) => {}
            Err(failure) => return Err(failure),
        }
        let response = self.send(endpoint, Extent::FirstByte, object).await?;
        let status = response.status();
        if status == StatusCode::PARTIAL_CONTENT {
            let whole = ContentRange::of(response.headers()).and_then(|range| range.whole);
            if whole.is_none_or(|whole| whole == size) {
                return Ok(());
            }
        } else if is_whole(status) {
            return self.check_length(object, &response, size);
        } else if !may_refuse_range(status) {
            return Err(self.refusal(endpoint, object, response).await);
        }
        let response = self.send(endpoint, Extent::From(0), object).await?;
        if is_whole(response.status()) {
            return self.check_length(object, &response, size);
        }
        Err(self.refusal(endpoint, object, response).await)
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
            match self.try_ask(route.endpoint()?, &object).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => route.again_after(failure).await?,
            }
        }
    }

    async fn try_ask(
        &self,
        endpoint: &Endpoint,
        object: &Object,
    ) -> Result<(StatusCode, Option<Error>), Failure> {
        // A GET counts for Docker Hub's limit, a HEAD does not; but what it refuses may be the HEAD.
        match self.send(endpoint, Extent::Header, object).await {
            Ok(response) if is_whole(response.status()) => return Ok((response.status(), None)),
            Ok(_) => {}
            Err(failure) if matches!(failure.contact, Contact::Silent | Contact::Broken) => {}
            Err(failure) => return Err(failure),
        }
        let response = self.send(endpoint, Extent::From(0), object).await?;
        let status = response.status();
        if is_whole(status) {
            return Ok((status, None));
        }
        let failure = self.refusal(endpoint, object, response).await;
        if failure.transient { Err(failure) } else { Ok((status, Some(failure.error))) }
    }

    /// Compares the length that the server announces with the descriptor's.
    fn check_length(&self, object: &Object, response: &Response, size: u64) -> Result<(), Failure> {
        let length = match declared_length(response.headers()) {
            Some(length) if length != size => length,
            _ => return Ok(()),
        };
        if is_page(response.headers()) {
            return Err(self.page(object).into());
        }
        let error = Error::bad_data(format!(
            "the server has {length} bytes for {object} of {}, whose descriptor declares {size}",
            self.reference
        ));
        match coding(response.headers()) {
            Some(coding) => Err(coded(error, &coding).into()),
            None => Err(Failure { part: Part::Contradicted, ..error.into() }),
        }
    }

    /// The error for a page that somebody on the way puts before all others.
    fn page(&self, object: &Object) -> Error {
        Error::bad_data(format!("a web page came instead of {object} of {}", self.reference))
            .with_hint("a proxy or a login page of this network may stand in the way")
    }

    /// Begins to fetch an object.
    async fn get<'a>(
        &'a self,
        endpoint: &Endpoint,
        object: &'a Object,
    ) -> Result<Body<'a>, Failure> {
        let response = self.send(endpoint, Extent::From(0), object).await?;
        if !is_whole(response.status()) {
            return Err(self.refusal(endpoint, object, response).await);
        }
        // What has a digest is judged by it.
        if object.digest().is_none() && is_page(response.headers()) {
            return Err(self.page(object).into());
        }
        Ok(self.body(object, response))
    }

    /// Begins to fetch the bytes of a blob of `size` bytes from `start` on: the body, and the
    /// byte with which it begins. A server that knows no ranges begins anew.
    pub(super) async fn get_from<'a>(
        &'a self,
        endpoint: &Endpoint,
        object: &'a Object,
        (start, size): (u64, u64),
    ) -> Result<(Body<'a>, u64), Failure> {
        let response = self.send(endpoint, Extent::From(start), object).await?;
        match response.status() {
            status if is_whole(status) => {
                self.check_length(object, &response, size)?;
                let is_page = is_page(response.headers());
                if is_page && declared_length(response.headers()).is_none() {
                    return Err(self.page(object).into());
                }
                Ok((self.body(object, response), 0))
            }
            StatusCode::PARTIAL_CONTENT => {
                self.check_range(object, response.headers(), (start, size))?;
                Ok((self.body(object, response), start))
            }
            status if start > 0 && may_refuse_range(status) => {
                let refused = self.refusal(endpoint, object, response).await;
                Err(Failure { part: Part::Refused, ..refused })
            }
            _ => Err(self.refusal(endpoint, object, response).await),
        }
    }

    /// A part must begin with the byte that was asked for; a server may send less than the rest,
    /// and need not know how long the whole is (RFC 9110, sections 14.4 and 15.3.7).
    fn check_range(
        &self,
        object: &Object,
        headers: &HeaderMap,
        (start, size): (u64, u64),
    ) -> Result<(), Failure> {
        let range = ContentRange::of(headers);
        if range.is_some_and(|range| {
            range.first == start && range.last < size && range.whole.unwrap_or(size) == size
        }) {
            return Ok(());
        }
        let wanted = format!("bytes {start}-{}/{size}", size.saturating_sub(1));
        let said = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let said =
            said.map_or_else(|| "nothing".to_owned(), |said| format!("\"{}\"", excerpt(said)));
        let error = Error::bad_data(format!(
            "asked for \"{wanted}\" of {object} of {}, the server sent {said}",
            self.reference
        ));
        Err(Failure { part: Part::Refused, ..Failure::transient(error) })
    }

    fn body<'a>(&'a self, object: &'a Object, response: Response) -> Body<'a> {
        let pace = Pace::new(self.options.stall_timeout);
        Body { transport: self, object, response, pace }
    }

    /// Asks an endpoint, and where it sends us on to, as often as somebody wants to know who we
    /// are: each is told what is known for itself.
    async fn send(
        &self,
        endpoint: &Endpoint,
        extent: Extent,
        object: &Object,
    ) -> Result<Response, Failure> {
        let address = address(endpoint, object);
        let mut response = self.send_to(endpoint, &address, extent, object).await?;
        for _ in 0..ONWARD {
            if response.status() != StatusCode::UNAUTHORIZED || endpoint.is_at(response.url()) {
                break;
            }
            let url = response.url().clone();
            let Some(onward) = self.onward(endpoint, &url)? else { break };
            response = self.send_to(&onward, url.as_str(), extent, object).await?;
            if onward.is_at(response.url()) {
                break;
            }
        }
        Ok(response)
    }

    /// The registry at `url`, to which `endpoint` has sent us on.
    fn onward(&self, endpoint: &Endpoint, url: &Url) -> Result<Option<Arc<Endpoint>>> {
        let Some(found) = endpoint.onward_to(url)? else { return Ok(None) };
        let mut known = self.onward_known();
        if let Some(known) = known.iter().find(|known| known.host == found.host) {
            return Ok(Some(Arc::clone(known)));
        }
        if known.len() >= MAX_ONWARD {
            return Ok(None);
        }
        let found = Arc::new(found);
        known.push(Arc::clone(&found));
        Ok(Some(found))
    }

    fn onward_known(&self) -> MutexGuard<'_, Vec<Arc<Endpoint>>> {
        // No code panics while it holds the lock halfway through a change.
        self.onward.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for `address` of an endpoint, with the login that the endpoint wants.
    async fn send_to(
        &self,
        endpoint: &Endpoint,
        address: &str,
        extent: Extent,
        object: &Object,
    ) -> Result<Response, Failure> {
        let mut shown = endpoint.shown().await;
        for _ in 0..LOGINS {
            let response = self.send_once(endpoint, (address, extent), object, shown.as_ref());
            let response = response.await?;
            // Another host, to which the answer redirected, has no right to ask who we are.
            if response.status() != StatusCode::UNAUTHORIZED || !endpoint.is_at(response.url()) {
                return Ok(response);
            }
            let challenges = challenge::all(response.headers());
            let renewed = endpoint.renew(challenges, shown.clone()).await?;
            if renewed == shown {
                return Ok(response);
            }
            shown = renewed;
        }
        self.send_once(endpoint, (address, extent), object, shown.as_ref()).await
    }

    async fn send_once(
        &self,
        endpoint: &Endpoint,
        (address, extent): (&str, Extent),
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
        let request = asked(requested(&endpoint.http, address, extent).headers(headers));
        let response = request.send().await.map_err(broken)?;
        endpoint.is_found_up();
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
        let mut contact = match (error.is_connect(), error.is_timeout()) {
            (true, _) => Contact::None,
            (false, true) => Contact::Silent,
            // A redirect that is not followed is an answer.
            (false, false) if error.is_redirect() => Contact::Answered,
            (false, false) => Contact::Broken,
        };
        let error = match self.overdue(&error, connecting) {
            Some(why) => {
                let error = Error::unavailable(format!("{doing}: {why}"));
                return Failure { contact, ..Failure::transient(error.with_hint(MORE_TIME)) };
            }
            None => error,
        };
        let mut failure = Error::unavailable(doing);
        let mut transient = !error.is_builder() && !error.is_redirect();
        match tls_fault(&error) {
            Some(rustls::Error::InvalidMessage(_)) => {
                failure = failure.with_hint("for a registry without TLS, use --plain-http");
                transient = false;
            }
            Some(rustls::Error::InvalidCertificate(_)) => {
                failure = failure.with_hint("--ca-file names the certificates to trust");
                (transient, contact) = (false, Contact::Tls);
            }
            _ if leads_inwards(&error) => transient = false,
            _ if cause::<TooManyRedirects>(&error).is_some() => {
                failure = failure.with_hint(flag::raise(flag::REDIRECTS));
            }
            // The other side says what it did not like, such as that no certificate was shown.
            Some(rustls::Error::AlertReceived(_)) => {
                (transient, contact) = (false, Contact::Tls);
            }
            _ => {}
        }
        // An address can hold the signature of a redirect, which is a secret.
        let error = failure.with_source(error.without_url());
        Failure { transient, contact, ..error.into() }
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
    async fn refusal(
        &self,
        endpoint: &Endpoint,
        object: &Object,
        mut response: Response,
    ) -> Failure {
        let status = response.status();
        let after = retry_after(response.headers(), SystemTime::now());
        let (limit, window) = (self.options.limits.refusal, self.options.stall_timeout);
        let body = Beginning::of(&mut response, limit, window).await.body;
        let mut reason = explained(&body);
        let text = String::from_utf8_lossy(&body);
        let mut hint = of_refusal(None, status);
        let onward = self.onward_known().clone();
        for endpoint in std::iter::once(endpoint).chain(onward.iter().map(Arc::as_ref)) {
            if endpoint.is_told_by(&text).await || endpoint.is_told_by(&reason).await {
                reason.clear();
            }
            if endpoint.is_at(response.url()) {
                hint = of_refusal(endpoint.found().await, status);
            }
        }
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let who = if endpoint.is_at(response.url()) {
            endpoint.host.name.clone()
        } else {
            // Who was asked has sent us on, and is not who refuses.
            host_of(response.url())
        };
        let said = format!("{who} answered {}{reason}", status.as_u16());
        let asked = format!("cannot fetch {object} of {}: {said}", self.reference);
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Error::denied(asked).with_hint(hint).into()
            }
            StatusCode::NOT_FOUND => {
                let error = format!("there is no {object} of {}: {said}", self.reference);
                object.missing(Error::not_found(error)).into()
            }
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Error::denied(asked).with_hint("the proxy wants a name and a password").into()
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let error = Error::try_again(asked).with_hint("try again later");
                Failure { after, ..Failure::transient(error) }
            }
            status if may_pass(status) => {
                Failure { after, ..Failure::transient(Error::unavailable(asked)) }
            }
            _ => Error::unavailable(asked).into(),
        }
    }
}

/// An error that a coding may be the cause of.
pub(super) fn coded(error: Error, coding: &str) -> Error {
    error.with_hint(format!(
        "it came with Content-Encoding: {coding}, though none was asked for; a proxy on the way \
         may change what it carries"
    ))
}

fn address(endpoint: &Endpoint, object: &Object) -> String {
    let host = &endpoint.host;
    let mut address = format!("{}/{}/{}", host.api, host.repository, object.path());
    if let Some(namespace) = &host.namespace {
        // A registry's name needs no other escapes, as containerd writes them.
        let name = namespace.replace(':', "%3A").replace('[', "%5B").replace(']', "%5D");
        address.push_str("?ns=");
        address.push_str(&name);
    }
    address
}

/// Where an answer sends us on to.
fn sent_on(response: &Response) -> Option<Url> {
    let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection());
    response.url().join(location?.to_str().ok()?).ok()
}

/// A request for the bytes as they are: without a word about it every coding is welcome (RFC 9110,
/// section 12.5.3).
fn requested(http: &Client, address: &str, extent: Extent) -> RequestBuilder {
    let request = match extent {
        Extent::Header => http.head(address),
        Extent::FirstByte => http.get(address).header(RANGE, "bytes=0-0"),
        Extent::From(0) => http.get(address),
        Extent::From(start) => http.get(address).header(RANGE, format!("bytes={start}-")),
    };
    request.header(ACCEPT_ENCODING, IDENTITY)
}

/// A body on its way.
pub(super) struct Body<'a> {
    transport: &'a Transport,
    object: &'a Object,
    response: Response,
    pace: Pace,
}

impl Body<'_> {
    /// The coding that it is said to have.
    pub(super) fn coding(&self) -> Option<String> {
        coding(self.response.headers())
    }

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
                .with_hint(MORE_TIME),
            ));
        }
        Ok(chunk)
    }
}
