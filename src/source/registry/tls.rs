//! The HTTP clients: whom they believe, what they show, which redirects they follow.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Certificate, Client, ClientBuilder, Proxy, Url};

use super::Options;
use super::names::{Guide, Zone};
use super::proxy::Proxies;
use crate::error::{Error, Result};
use crate::source::hosts::{Host, Identity};

const USER_AGENT: &str = concat!("banger/", env!("CARGO_PKG_VERSION"));

/// How much sooner a connection is given up than the silence of a server.
const CONNECTED: Duration = Duration::from_millis(250);

/// The longest file of certificates that is read.
const MAX_CERTIFICATES: u64 = 4 << 20;

/// The variables that name the system's certificates (`rustls-native-certs`, after OpenSSL).
const ROOTS: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// A client for one host's documents and blobs.
pub(super) fn client(host: &Host, options: &Options) -> Result<Client> {
    let most = options.limits.redirects;
    let has_headers = !host.headers.is_empty();
    make(host, options, |builder| {
        builder.dns_resolver(Guide::from(&host.api)).redirect(Policy::custom(move |attempt| {
            // What the host is told is not for the one that it sends us on to.
            if has_headers && leaves(&attempt) { attempt.stop() } else { follow(attempt, most) }
        }))
    })
}

/// Whether a redirect leads to another host than the one before it.
fn leaves(attempt: &Attempt<'_>) -> bool {
    let before = attempt.previous().last();
    before.is_some_and(|before| before.origin() != attempt.url().origin())
}

/// A client for the host's token server: it is shown a password, which stays with it.
pub(super) fn token_client(host: &Host, options: &Options) -> Result<Client> {
    let most = options.limits.redirects;
    make(host, options, |builder| {
        let policy = Policy::custom(move |attempt| stay(attempt, most));
        builder.dns_resolver(Guide::from(&host.api)).redirect(policy)
    })
}

/// A client for `host`, with what `dress` adds.
pub(super) fn make(
    host: &Host,
    options: &Options,
    dress: impl Fn(ClientBuilder) -> ClientBuilder,
) -> Result<Client> {
    // The process needs one; who installed another before us made a choice that holds.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let identity = host.trust.identity.as_ref().map(identity_of).transpose()?;
    let mut extra = Vec::new();
    for path in &host.trust.authorities {
        extra.extend(certificates(path)?);
    }
    // The client counts the silence of a server from before there is a connection. Of two equal
    // times the connection's is to end first, since it tells more.
    let connecting = host.connecting(options.connect_timeout);
    let silence = match options.stall_timeout {
        time if time == connecting => time.saturating_add(CONNECTED),
        time => time,
    };
    let proxies = Arc::new(Proxies::of_environment()?);
    let builder = || {
        let builder = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(connecting)
            .read_timeout(silence);
        let proxies = Arc::clone(&proxies);
        let mut builder = dress(builder).proxy(Proxy::custom(move |url| proxies.through(url)));
        if host.trust.insecure {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        match &identity {
            Some(identity) => builder.identity(identity.clone()),
            None => builder,
        }
    };
    let system = builder().tls_certs_merge(extra.clone()).build();
    let chosen = ROOTS.iter().find(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty()));
    match (system, chosen) {
        (Ok(client), _) => Ok(client),
        // What the user chose to believe is not replaced by what others do.
        (Err(_), Some(_)) if host.is_plain() => made(builder().tls_certs_only(extra)),
        (Err(error), Some(name)) => Err(Error::unavailable(format!(
            "cannot prepare to speak with {}: {name} names no usable CA certificates",
            host.name
        ))
        .because(error)),
        // The system has no certificates: those that Mozilla trusts.
        (Err(_), None) => made(builder().tls_certs_only(extra.into_iter().chain(bundled()))),
    }
}

fn made(builder: ClientBuilder) -> Result<Client> {
    builder.build().map_err(|error| {
        Error::unavailable("cannot prepare to speak with a registry").because(error)
    })
}

fn bundled() -> impl Iterator<Item = Certificate> {
    let all = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    all.filter_map(|certificate| Certificate::from_der(certificate).ok())
}

/// The certificates of a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<Certificate>> {
    let found = Certificate::from_pem_bundle(&pem(path)?).unwrap_or_default();
    if found.is_empty() {
        let message = format!("{} has no certificate in the form of PEM", path.display());
        return Err(Error::bad_data(message));
    }
    Ok(found)
}

/// A client's certificate and its key. What is wrong with them is not repeated: one is a secret.
fn identity_of(files: &Identity) -> Result<reqwest::Identity> {
    let mut both = pem(&files.certificate)?;
    if files.key != files.certificate {
        both.push(b'\n');
        both.extend(pem(&files.key)?);
    }
    reqwest::Identity::from_pem(&both).map_err(|_| {
        Error::bad_data(format!(
            "{} and {} are not a certificate and its key in the form of PEM",
            files.certificate.display(),
            files.key.display()
        ))
    })
}

fn pem(path: &Path) -> Result<Vec<u8>> {
    let unreadable = |error| Error::of_file(format!("cannot read {}", path.display()), error);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_CERTIFICATES).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// Follows a redirect unless it is refused, or never ends. The client itself keeps the token from
/// going to another host.
fn follow(attempt: Attempt<'_>, most: u16) -> Action {
    let ways = attempt.previous().first().zip(attempt.previous().last());
    match ways.and_then(|(first, last)| refusal(first, last, attempt.url())) {
        Some(why) => attempt.error(why),
        None => follow_at_most(most, attempt),
    }
}

/// Why a request that went to `first`, and then to `last`, is not sent on to `next`: that leaves
/// TLS, or turns to this host.
pub(super) fn refusal(first: &Url, last: &Url, next: &Url) -> Option<&'static str> {
    if next.scheme() == "http" && last.scheme() == "https" {
        Some("the registry redirects from https to http")
    } else if is_inside(next) && !is_inside(first) {
        Some("the registry redirects to an address of this host or link")
    } else {
        None
    }
}

/// Follows a redirect within one host.
fn stay(attempt: Attempt<'_>, most: u16) -> Action {
    let is_same =
        attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    if is_same {
        follow_at_most(most, attempt)
    } else {
        attempt.error("the token server redirects to another host")
    }
}

/// Follows a redirect unless there were too many before it.
pub(super) fn follow_at_most(most: u16, attempt: Attempt<'_>) -> Action {
    // The first of the addresses is the one that was asked for.
    if attempt.previous().len() > usize::from(most) {
        attempt.error(TooManyRedirects(most))
    } else {
        attempt.follow()
    }
}

/// A request that is sent on and on.
#[derive(Debug)]
pub(super) struct TooManyRedirects(u16);

impl fmt::Display for TooManyRedirects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it redirects more than {} times", self.0)
    }
}

impl std::error::Error for TooManyRedirects {}

/// Whether an address is of this host or of its link, where only neighbours are (RFC 3927, 4291).
pub(super) fn is_inside(url: &Url) -> bool {
    Zone::named(url).is_near()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_host_and_link_are_known() {
        for (text, inside) in [
            ("http://127.0.0.1/", true),
            ("http://127.8.9.1:5000/", true),
            ("https://localhost/", true),
            ("https://a.localhost/", true),
            ("https://[::1]:1/", true),
            ("https://[fe80::1]/", true),
            ("https://[::ffff:169.254.1.1]/", true),
            ("https://169.254.169.254/", true),
            ("https://0.0.0.0/", true),
            ("https://localhost./", true),
            ("http://[::ffff:0.0.0.0]:2375/", true),
            ("https://[64:ff9b::169.254.169.254]/", true),
            ("https://[::127.0.0.1]/", true),
            ("https://100.100.100.200/", true),
            ("https://[fd00:ec2::254]/", true),
            ("https://100.100.100.201/", false),
            ("https://10.0.0.1/", false),
            ("https://storage.example/", false),
            ("https://[2001:db8::1]/", false),
        ] {
            assert_eq!(is_inside(&text.parse().unwrap()), inside, "{text}");
        }
    }

    #[test]
    fn the_bundled_roots_are_there_and_make_a_client() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        assert!(bundled().count() > 50);
        made(Client::builder().tls_certs_only(bundled())).unwrap();
    }
}
