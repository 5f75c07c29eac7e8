//! What a request that failed, or an answer other than success, means.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::{Response, StatusCode};

use super::causes::{cause, tls_fault};
use super::client::RepositoryClient;
use super::endpoint::{Endpoint, host_of};
use super::names::is_forbidden_address;
use super::object::Object;
use super::response::{BodyPrefix, explained};
use super::retry::{Contact, Failure, may_pass, retry_after};
use super::tls::TooManyRedirects;
use super::token::of_refusal;
use crate::error::Error;
use crate::source::limits::flag;

/// What to try when a server is too slow.
pub(super) const MORE_TIME: &str = "--timeout allows more";

impl RepositoryClient {
    /// The error for a page that somebody on the way puts before all others.
    pub(super) fn page(&self, object: &Object) -> Error {
        Error::bad_data(format!("a web page came instead of {object} of {}", self.reference))
            .with_hint("a proxy or a login page of this network may stand in the way")
    }

    /// A request that got no answer, or an answer that broke off; a connection had so much time.
    pub(super) fn broken(
        &self,
        object: &Object,
        error: reqwest::Error,
        connecting: Duration,
    ) -> Failure {
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
            _ if is_forbidden_address(&error) => transient = false,
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
    pub(super) async fn refusal(
        &self,
        endpoint: &Endpoint,
        object: &Object,
        mut response: Response,
    ) -> Failure {
        let status = response.status();
        let after = retry_after(response.headers(), SystemTime::now());
        let (limit, window) = (self.options.limits.refusal, self.options.stall_timeout);
        let body = BodyPrefix::of(&mut response, limit, window).await.body;
        let mut reason = explained(&body);
        let text = String::from_utf8_lossy(&body);
        let mut hint = of_refusal(None, status);
        let onward = self.onward_known().clone();
        for endpoint in std::iter::once(endpoint).chain(onward.iter().map(Arc::as_ref)) {
            if endpoint.is_repeated_in(&text).await || endpoint.is_repeated_in(&reason).await {
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
