//! Requests for one repository: where they go, how often, within which limits, and what a status
//! means.
//!
//! `oci-client` knows the grammar of references and brings the HTTP client; requests are made
//! here. Its own calls read manifests, tokens and error bodies of any length into memory, hide the
//! status of a failure, take a digest into the address unseen, and show a password to whatever
//! server the registry names.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderValue, LOCATION, RANGE};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};

use super::challenge;
use super::endpoint::Endpoint;
use super::object::{Object, Requested};
use super::options::{Options, Pull};
use super::response::IDENTITY;
use super::retry::{Failure, Tries};
use super::route::Route;
use super::tls::refusal;
use crate::error::{Error, Result};
use crate::source::Reference;
use crate::source::hosts::{self, ConfigurationPaths};
use crate::source::manifest::ACCEPTED;

/// How often a request is answered with another login: what another request got meanwhile may be
/// worn out as well.
const LOGINS: usize = 2;
/// How many registries that want to know who we are may send one request on to the next.
const ONWARD: usize = 3;
/// How many such registries there may be for all requests.
const MAX_ONWARD: usize = 16;
/// A client of one repository, wherever it is.
pub(super) struct RepositoryClient {
    endpoints: Vec<Endpoint>,
    /// The registries to which the hosts have sent us on and that ask who we are.
    onward: Mutex<Vec<Arc<Endpoint>>>,
    pub(super) options: Options,
    pub(super) reference: Reference,
}

impl RepositoryClient {
    pub(super) fn new(reference: &Reference, options: &Options) -> Result<Self> {
        let (host_options, warnings) = (&options.hosts, &options.warnings);
        let places = ConfigurationPaths::of_environment(host_options, warnings, |name| {
            std::env::var_os(name)
        })?;
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
    pub(super) fn upstream(&self) -> Result<&Endpoint> {
        let ways = || self.endpoints.iter().rev().filter(|endpoint| !endpoint.host.is_mirror);
        let way = ways().find(|way| way.has_answered()).or_else(|| ways().next());
        way.ok_or_else(|| Error::internal("there is no host to ask"))
    }

    /// Says what is going on.
    pub(super) fn announce(&self, line: &str) {
        self.options.warnings.announce(line);
    }

    /// Whether another host than the registry itself may be asked.
    pub(super) fn asks_mirrors(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.host.is_mirror && !endpoint.is_down())
    }

    /// Asks no mirror any more: one of them may have sent wrong bytes.
    pub(super) fn leave_mirrors(&self) {
        let mirrors = self.endpoints.iter().filter(|endpoint| endpoint.host.is_mirror);
        mirrors.for_each(Endpoint::mark_down);
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
    pub(super) fn route_along(&self, suits: impl Fn(&&Endpoint) -> bool) -> Route<'_> {
        let last = self.endpoints.len().saturating_sub(1);
        let endpoints = self.endpoints.iter().enumerate();
        let asked = endpoints
            .filter(|(place, endpoint)| *place == last || (!endpoint.is_down() && suits(endpoint)));
        let endpoints = asked.map(|(_, endpoint)| endpoint).collect();
        Route::new(endpoints, Tries::new(&self.options))
    }

    /// Asks an endpoint, and where it sends us on to, as often as somebody wants to know who we
    /// are: each is told what is known for itself.
    pub(super) async fn send(
        &self,
        endpoint: &Endpoint,
        extent: Requested,
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

    pub(super) fn onward_known(&self) -> MutexGuard<'_, Vec<Arc<Endpoint>>> {
        // No code panics while it holds the lock halfway through a change.
        self.onward.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for `address` of an endpoint, with the login that the endpoint wants.
    async fn send_to(
        &self,
        endpoint: &Endpoint,
        address: &str,
        extent: Requested,
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
        (address, extent): (&str, Requested),
        object: &Object,
        login: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let mut headers = endpoint.host.headers.clone();
        if let Some(header) = login {
            headers.insert(AUTHORIZATION, header.clone());
        }
        let accepted = match object {
            Object::Manifest(_) => HeaderValue::from_str(&ACCEPTED.join(", ")).ok(),
            Object::Root | Object::Config(_) | Object::Layer { .. } => None,
        };
        let asked = |request: RequestBuilder| match &accepted {
            Some(accepted) => request.header(ACCEPT, accepted.clone()),
            None => request,
        };
        let broken = |error| self.broken(object, error, endpoint.connecting());
        let request = asked(request_for(&endpoint.http, address, extent).headers(headers));
        let response = request.send().await.map_err(broken)?;
        endpoint.mark_up();
        let Some(onward) = &endpoint.onward else { return Ok(response) };
        let Some(next) = sent_on(&response) else { return Ok(response) };
        if let Some(why) = refusal(response.url(), response.url(), &next) {
            let doing = format!("cannot fetch {object} of {}", self.reference);
            return Err(Error::unavailable(format!("{doing}: {why}")).into());
        }
        asked(request_for(onward, next.as_str(), extent)).send().await.map_err(broken)
    }
}

fn address(endpoint: &Endpoint, object: &Object) -> String {
    let host = &endpoint.host;
    let mut address = match object {
        Object::Root => format!("{}/", host.api),
        _ => format!("{}/{}/{}", host.api, host.repository, object.path()),
    };
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

/// A request for the bytes as they are: without this header every coding is welcome (RFC 9110,
/// section 12.5.3).
fn request_for(http: &Client, address: &str, extent: Requested) -> RequestBuilder {
    let request = match extent {
        Requested::Header => http.head(address),
        Requested::FirstByte => http.get(address).header(RANGE, "bytes=0-0"),
        Requested::From(0) => http.get(address),
        Requested::From(start) => http.get(address).header(RANGE, format!("bytes={start}-")),
    };
    request.header(ACCEPT_ENCODING, IDENTITY)
}
