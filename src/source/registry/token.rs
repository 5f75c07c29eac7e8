//! How a registry is told who we are: a password, or a token that a token server gives for it.
//!
//! Source: distribution, "Token Authentication Specification" and "`OAuth2` Token Authentication".
//! The server that gives the token is named by whoever answered 401, so it is looked at before it
//! is shown anything.

use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use std::time::SystemTime;

use super::causes::cause;
use super::challenge::Challenge;
use super::names::AddressScope;
use super::options::Options;
use super::response::{BodyPrefix, IDENTITY, Truncation, explained};
use super::retry::{Failure, may_pass, retry_after};
use super::tls::TooManyRedirects;
use crate::error::Error;
use crate::json;
use crate::source::credentials::{Credentials, FoundCredentials, Secret};
use crate::source::excerpt;
use crate::source::hosts::Host;
use crate::source::limits::flag;
use crate::source::reference::without_login;

/// Who asks for a token, for what.
pub(super) struct Login<'a> {
    pub(super) client: &'a Client,
    pub(super) host: &'a Host,
    pub(super) found: Option<&'a FoundCredentials>,
    pub(super) options: &'a Options,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

/// What to do about a refusal: it names where the credentials come from that were shown.
pub(super) fn of_refusal(shown: Option<&FoundCredentials>, status: StatusCode) -> String {
    match shown.map(|found| &found.source) {
        Some(source) if status == StatusCode::UNAUTHORIZED => {
            format!("the credentials from {source} were refused")
        }
        Some(source) => format!("the credentials from {source} do not allow it"),
        None => {
            "the image may not exist, or may need credentials: see banger auth check".to_owned()
        }
    }
}

/// The header that shows a user name and a password.
pub(super) fn basic(user: &Secret, password: &Secret) -> Option<HeaderValue> {
    use base64::Engine as _;
    let pair = format!("{}:{}", user.reveal(), password.reveal());
    secret_header(&format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
}

/// The header that shows a token.
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    secret_header(&format!("Bearer {token}"))
}

/// Whether a host has no name.
fn is_number(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok()
}

fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Login<'_> {
    fn credentials(&self) -> Option<&Credentials> {
        self.found.map(|found| &found.credentials)
    }

    /// The header that answers one of the challenges; nothing when none can be answered.
    pub(super) async fn answer(
        &self,
        challenges: &[Challenge],
    ) -> Result<Option<HeaderValue>, Failure> {
        let offered = |scheme: &str| challenges.iter().find(|offer| offer.scheme == scheme);
        if let Some(challenge) = offered("bearer") {
            if let Some(Credentials::Bearer(token)) = self.credentials() {
                return Ok(bearer(token.reveal()));
            }
            return self.token(challenge).await.map(Some);
        }
        match (offered("basic"), self.credentials()) {
            (Some(_), Some(Credentials::Password(user, password))) => Ok(basic(user, password)),
            _ => Ok(None),
        }
    }

    async fn token(&self, challenge: &Challenge) -> Result<HeaderValue, Failure> {
        let realm = self.realm(challenge)?;
        let response = match self.credentials() {
            Some(Credentials::Identity(identity, _)) => {
                let response = self.send(self.exchange(&realm, challenge, identity)).await?;
                // Not every token server knows the way of OAuth2.
                match response.status() {
                    StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                        self.send(self.plain(&realm, challenge)).await?
                    }
                    _ => response,
                }
            }
            _ => self.send(self.plain(&realm, challenge)).await?,
        };
        self.read(&realm, response).await
    }

    /// The token server, when it may be asked.
    fn realm(&self, challenge: &Challenge) -> Result<Url, Failure> {
        let text = challenge.parameter("realm").unwrap_or_default();
        let refuse = |why: &str| {
            Failure::from(Error::denied(format!(
                "{} wants a token from \"{}\", {why}",
                self.host.name,
                excerpt(&without_login(text))
            )))
        };
        let url: Url = text.parse().map_err(|_| refuse("which is no address"))?;
        let own: Option<Url> = self.host.api.parse().ok();
        let is_own = own.as_ref().is_some_and(|own| own.host_str() == url.host_str());
        match url.scheme() {
            "https" => {}
            "http" if self.host.is_plain() => {}
            "http" => return Err(refuse("which does not speak TLS")),
            _ => return Err(refuse("which is no address of a web server")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("which has a user name in it"));
        }
        let scope = own.as_ref().map_or(AddressScope::World, AddressScope::named);
        let is_kin = scope.may_lead_to(AddressScope::named(&url))
            && (!is_number(&url)
                || own.as_ref().is_some_and(is_number)
                || scope == AddressScope::Loopback);
        if !is_own && !is_kin {
            return Err(refuse("which is an address of no name"));
        }
        Ok(url)
    }

    /// What is asked for: to pull from this repository, and what the challenge adds.
    fn scopes(&self, challenge: &Challenge) -> Vec<String> {
        let mut scopes = vec![format!("repository:{}:pull", self.host.repository)];
        for scope in challenge.parameter("scope").unwrap_or_default().split_whitespace() {
            if !scopes.iter().any(|known| known == scope) {
                scopes.push(scope.to_owned());
            }
        }
        scopes
    }

    fn plain(&self, realm: &Url, challenge: &Challenge) -> RequestBuilder {
        let mut url = realm.clone();
        {
            let mut query = url.query_pairs_mut();
            for scope in self.scopes(challenge) {
                query.append_pair("scope", &scope);
            }
            if let Some(service) = challenge.parameter("service") {
                query.append_pair("service", service);
            }
        }
        let mut headers = self.headers_for(realm);
        let login = match self.credentials() {
            Some(
                Credentials::Password(user, password)
                | Credentials::Identity(_, Some((user, password))),
            ) => basic(user, password),
            _ => None,
        };
        if let Some(login) = login {
            headers.insert(AUTHORIZATION, login);
        }
        self.client.get(url).header(ACCEPT_ENCODING, IDENTITY).headers(headers)
    }

    /// What the host is told with every request, when it is its own token server.
    fn headers_for(&self, realm: &Url) -> HeaderMap {
        let own: Option<Url> = self.host.api.parse().ok();
        let is_own = own.is_some_and(|own| own.origin() == realm.origin());
        if is_own { self.host.headers.clone() } else { HeaderMap::new() }
    }

    fn exchange(&self, realm: &Url, challenge: &Challenge, identity: &Secret) -> RequestBuilder {
        // The encoding of a form is that of a query.
        let mut form = realm.clone();
        form.set_query(None);
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("service", challenge.parameter("service").unwrap_or_default())
            .append_pair("client_id", "banger")
            .append_pair("scope", &self.scopes(challenge).join(" "))
            .append_pair("refresh_token", identity.reveal());
        self.client
            .post(realm.clone())
            .header(ACCEPT_ENCODING, IDENTITY)
            .headers(self.headers_for(realm))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.query().unwrap_or_default().to_owned())
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        request.send().await.map_err(|error| {
            let mut asked =
                Error::unavailable(format!("cannot get a token for {}", self.host.name));
            if cause::<TooManyRedirects>(&error).is_some() {
                asked = asked.with_hint(flag::raise(flag::REDIRECTS));
            }
            let transient = !error.is_builder() && !error.is_redirect();
            // An address may hold what is to stay secret.
            Failure { transient, ..asked.with_source(error.without_url()).into() }
        })
    }

    /// The reason of a refusal, unless it repeats what it refuses.
    fn without_secrets(&self, body: &[u8]) -> String {
        let reason = explained(body);
        let text = String::from_utf8_lossy(body);
        let repeats = self.credentials().is_some_and(|credentials| {
            credentials.are_repeated_in(&text) || credentials.are_repeated_in(&reason)
        });
        let repeats =
            repeats || self.host.is_repeated_in(&text) || self.host.is_repeated_in(&reason);
        if reason.is_empty() || repeats { String::new() } else { format!(": {reason}") }
    }

    async fn read(&self, realm: &Url, mut response: Response) -> Result<HeaderValue, Failure> {
        let status = response.status();
        let after = retry_after(response.headers(), SystemTime::now());
        let (limits, window) = (&self.options.limits, self.options.stall_timeout);
        let bound = limits.of_token();
        let limit = if status.is_success() { bound.bytes } else { limits.refusal };
        let BodyPrefix { body, truncation } = BodyPrefix::of(&mut response, limit, window).await;
        let server = realm.host_str().unwrap_or_default();
        let repository = &self.host.repository;
        if !status.is_success() {
            let reason = self.without_secrets(&body);
            let said = format!(
                "{} gave no token for {repository}: {server} answered {}{reason}",
                self.host.name,
                status.as_u16()
            );
            return Err(match status {
                StatusCode::TOO_MANY_REQUESTS => {
                    Failure { after, ..Failure::transient(Error::try_again(said)) }
                }
                status if may_pass(status) => {
                    Failure { after, ..Failure::transient(Error::unavailable(said)) }
                }
                status if status.is_client_error() => {
                    Error::denied(said).with_hint(of_refusal(self.found, status)).into()
                }
                _ => Error::unavailable(said).into(),
            });
        }
        let name = &self.host.name;
        let none = |why: &str| format!("{name} gave no token for {repository}: {server} {why}");
        match truncation {
            None => {}
            Some(Truncation::Broken) => {
                let error = Error::unavailable(none("broke off its answer"));
                return Err(Failure::transient(error));
            }
            Some(Truncation::Long) => {
                let why = format!("answered with more than {limit} bytes");
                return Err(bound.refuse(none(&why)).into());
            }
        }
        let nonsense = || Failure::from(Error::unavailable(none("answered with nonsense")));
        // What the parser would repeat may be the token.
        let answer: TokenAnswer = json::from_slice(&body).map_err(|_| nonsense())?;
        let token = [answer.access_token, answer.token].into_iter().find(|token| !token.is_empty());
        token.and_then(|token| bearer(&token)).ok_or_else(nonsense)
    }
}

#[cfg(test)]
mod tests {
    use super::super::challenge;
    use super::*;

    fn challenge(realm: &str, scope: &str) -> Challenge {
        let mut headers = reqwest::header::HeaderMap::new();
        let text = format!("Bearer realm=\"{realm}\",service=\"s\",scope=\"{scope}\"");
        headers.insert(reqwest::header::WWW_AUTHENTICATE, text.parse().unwrap());
        challenge::all(&headers).remove(0)
    }

    /// Whether the token server `realm` is asked for the registry at `api`.
    fn is_asked(api: &str, realm: &str) -> bool {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (client, host) = (Client::new(), Host::for_test(api));
        let login =
            Login { client: &client, host: &host, found: None, options: &Options::default() };
        login.realm(&challenge(realm, "")).map_err(|failure| failure.error.exit_code()) != Err(77)
    }

    #[test]
    fn a_token_server_has_a_name_and_tls_unless_the_registry_has_neither() {
        let (secure, plain) = ("https://registry.example/v2", "http://registry.example/v2");
        let (local, number) = ("http://127.0.0.1:5000/v2", "https://198.51.100.7/v2");
        for (api, realm, asked) in [
            (secure, "https://auth.example/token", true),
            (secure, "https://registry.example/token", true),
            (secure, "http://registry.example/token", false),
            (secure, "http://auth.example/token", false),
            (secure, "https://127.0.0.1/token", false),
            (secure, "https://localhost/token", false),
            (secure, "https://[::1]/token", false),
            (secure, "https://[::ffff:127.0.0.1]/token", false),
            (secure, "https://169.254.169.254/latest", false),
            (secure, "https://198.51.100.7/token", false),
            (secure, "https://user:password@auth.example/token", false),
            (secure, "file:///etc/passwd", false),
            (secure, "/token", false),
            (plain, "http://auth.example/token", true),
            (plain, "http://127.0.0.1/token", false),
            (local, "http://127.0.0.1:5001/token", true),
            (local, "http://localhost:5001/token", true),
            (local, "http://169.254.169.254/latest", false),
            (local, "http://[fe80::1]/token", false),
            (local, "http://100.100.100.200/latest", false),
            (local, "http://10.0.0.1/token", true),
            ("http://169.254.7.7/v2", "http://169.254.7.8/token", true),
            ("http://169.254.7.7/v2", "http://127.0.0.1/token", false),
            (number, "https://198.51.100.7:8443/token", true),
            (number, "https://198.51.100.8/token", true),
            (number, "https://127.0.0.1/token", false),
        ] {
            assert_eq!(is_asked(api, realm), asked, "{api} names {realm}");
        }
    }

    #[test]
    fn the_scope_of_the_challenge_is_added_to_ours() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (client, host) = (Client::new(), Host::for_test("https://registry.example/v2"));
        let login =
            Login { client: &client, host: &host, found: None, options: &Options::default() };
        let scopes = |scope: &str| login.scopes(&challenge("https://x/", scope));
        assert_eq!(scopes(""), ["repository:a/b:pull"]);
        assert_eq!(scopes("repository:a/b:pull"), ["repository:a/b:pull"]);
        assert_eq!(scopes("aws"), ["repository:a/b:pull", "aws"]);
    }

    #[test]
    fn a_reason_that_repeats_the_secret_is_not_told() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (client, host) = (Client::new(), Host::for_test("https://registry.example/v2"));
        let secret = |text: &str| Secret::new(text.to_owned());
        let credentials = Credentials::Password(secret("u"), secret("hunter2"));
        let options = Options::default();
        let told = |credentials: &Credentials, reason: &str| {
            let found =
                FoundCredentials { credentials: credentials.clone(), source: "a file".to_owned() };
            let found = Some(&found);
            let login = Login { client: &client, host: &host, found, options: &options };
            login.without_secrets(reason.as_bytes())
        };
        assert_eq!(told(&credentials, "no such user"), ": no such user");
        let far = format!("{}hunter2", " ".repeat(1000));
        // The second is what the header shows.
        for reason in ["bad password hunter2", "bad login dTpodW50ZXIy", &far] {
            assert_eq!(told(&credentials, reason), "");
        }
        let beside = Some((secret("u"), secret("hunter2")));
        assert_eq!(told(&Credentials::Identity(secret("i"), beside), "what is hunter2"), "");
    }

    #[test]
    fn a_token_that_is_no_header_is_refused() {
        assert!(bearer("abc.def").unwrap().is_sensitive());
        assert!(bearer("a\nb").is_none());
    }
}
