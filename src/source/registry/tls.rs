//! The HTTP clients: whom they believe, what they show, which redirects they follow.

use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, ClientBuilder, Proxy, Url};
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::names::{AddressScope, Resolver};
use super::options::Options;
use super::proxy::Proxies;
use super::trust::{Anyone, Trusting};
use crate::error::{Error, Result};
use crate::open;
use crate::source::hosts::{Host, Identity};

const USER_AGENT: &str = concat!("banger/", env!("CARGO_PKG_VERSION"));

/// How much sooner a connection is given up than the silence of a server.
const CONNECTED: Duration = Duration::from_millis(250);

/// The longest file of certificates that is read.
const MAX_CERTIFICATES: u64 = 4 << 20;

/// The variables that name the system's certificates (`rustls-native-certs`, after OpenSSL).
const ROOTS: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// A client for one host's documents and blobs.
///
/// `from` is the API of the registry that led to the host, which is the host itself at first.
pub(super) fn client(host: &Host, from: &str, options: &Options) -> Result<Client> {
    let most = options.limits.redirects;
    let has_headers = !host.headers.is_empty();
    make(host, options, |builder| {
        builder.dns_resolver(Resolver::from(from)).redirect(Policy::custom(move |attempt| {
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
pub(super) fn token_client(host: &Host, from: &str, options: &Options) -> Result<Client> {
    let most = options.limits.redirects;
    make(host, options, |builder| {
        let policy = Policy::custom(move |attempt| stay(attempt, most));
        builder.dns_resolver(Resolver::from(from)).redirect(policy)
    })
}

/// A client for `host`, with what `dress` adds.
fn make(
    host: &Host,
    options: &Options,
    dress: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Result<Client> {
    // The process needs one; who installed another before us made a choice that holds.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The client counts the silence of a server from before there is a connection. Of two equal
    // times the connection's is to end first, since it tells more.
    let connecting = host.connecting(options.connect_timeout);
    let silence = match options.stall_timeout {
        time if time == connecting => time.saturating_add(CONNECTED),
        time => time,
    };
    let proxies = Proxies::of_environment()?;
    let builder = Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(connecting)
        .read_timeout(silence)
        .tls_backend_preconfigured(config(host)?)
        .proxy(Proxy::custom(move |url| proxies.through(url)));
    made(dress(builder))
}

fn made(builder: ClientBuilder) -> Result<Client> {
    builder.build().map_err(|error| {
        Error::unavailable("cannot prepare to speak with a registry").with_source(error)
    })
}

/// How TLS is spoken with `host`.
fn config(host: &Host) -> Result<ClientConfig> {
    let unusable = |error: rustls::Error| {
        Error::unavailable(format!("cannot prepare to speak TLS with {}", host.name))
            .with_source(error)
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = if host.trust.insecure {
        Arc::new(Anyone(Arc::clone(&provider)))
    } else {
        Arc::new(trusting(host, &provider)?)
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &host.trust.identity {
        Some(files) => {
            let (certificates, key) = identity_of(files)?;
            builder.with_client_auth_cert(certificates, key).map_err(|_| no_identity(files))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Trusts the certificates that are named for `host`, and the system's.
fn trusting(host: &Host, provider: &Arc<CryptoProvider>) -> Result<Trusting> {
    let mut named = Vec::new();
    for path in &host.trust.authorities {
        named.extend(certificates(path)?);
    }
    let mut system = rustls_native_certs::load_native_certs().certs;
    let chosen = ROOTS.iter().find(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty()));
    match chosen {
        None if Trusting::new(system.clone(), provider).is_empty() => {
            // The system has no certificates: those that Mozilla trusts.
            system = webpki_root_certs::TLS_SERVER_ROOT_CERTS.to_vec();
        }
        _ => {}
    }
    let trusting = Trusting::new(named.into_iter().chain(system).collect(), provider);
    match chosen {
        // What the user chose to believe is not replaced by what others do.
        Some(name) if trusting.is_empty() && !host.is_plain() => Err(Error::unavailable(format!(
            "cannot prepare to speak with {}: {name} names no usable CA certificates",
            host.name
        ))),
        _ => Ok(trusting),
    }
}

/// The certificates of a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let text = pem(path)?;
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => {
            let message = format!("{} has no certificate in the form of PEM", path.display());
            Err(Error::bad_data(message))
        }
    }
}

/// A client's certificate, with those that it leads to, and its key.
fn identity_of(files: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let certificate = pem(&files.certificate)?;
    let key = if files.key == files.certificate { certificate.clone() } else { pem(&files.key)? };
    let certificates: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&certificate).collect();
    match (certificates, PrivateKeyDer::from_pem_slice(&key)) {
        (Ok(certificates), Ok(key)) if !certificates.is_empty() => Ok((certificates, key)),
        _ => Err(no_identity(files)),
    }
}

/// What is wrong with a certificate and its key is not repeated: one is a secret.
fn no_identity(files: &Identity) -> Error {
    Error::bad_data(format!(
        "{} and {} are not a certificate and its key in the form of PEM",
        files.certificate.display(),
        files.key.display()
    ))
}

fn pem(path: &Path) -> Result<Vec<u8>> {
    let unreadable = |error| Error::of_file(format!("cannot read {}", path.display()), error);
    let mut bytes = Vec::new();
    let file = open::readable(path).map_err(unreadable)?;
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
    } else if !AddressScope::named(first).may_lead_to(AddressScope::named(next)) {
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
fn follow_at_most(most: u16, attempt: Attempt<'_>) -> Action {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_neither_inwards_nor_out_of_tls() {
        let is_refused = |first: &str, next: &str| {
            let (first, next) = (first.parse().unwrap(), next.parse().unwrap());
            refusal(&first, &first, &next).is_some()
        };
        let inside = [
            "https://127.0.0.1/",
            "https://127.8.9.1:5000/",
            "https://localhost/",
            "https://a.localhost/",
            "https://[::1]:1/",
            "https://[fe80::1]/",
            "https://[::ffff:169.254.1.1]/",
            "https://169.254.169.254/",
            "https://0.0.0.0/",
            "https://localhost./",
            "https://[::ffff:0.0.0.0]:2375/",
            "https://[64:ff9b::169.254.169.254]/",
            "https://[::127.0.0.1]/",
            "https://100.100.100.200/",
            "https://[fd00:ec2::254]/",
        ];
        for next in inside {
            assert!(is_refused("https://registry.example/", next), "{next}");
        }
        let outside = ["100.100.100.201", "10.0.0.1", "storage.example", "[2001:db8::1]"];
        for next in outside.map(|host| format!("https://{host}/")) {
            assert!(!is_refused("https://registry.example/", &next), "{next}");
            assert!(!is_refused("http://127.0.0.1:5000/", &next), "{next}");
        }
        assert!(is_refused("https://registry.example/", "http://storage.example/"));
        assert!(!is_refused("http://127.0.0.1:5000/", "http://localhost:5001/"));
        assert!(is_refused("http://127.0.0.1:5000/", "http://169.254.169.254/latest"));
        assert!(is_refused("http://169.254.7.7/", "http://127.0.0.1/"));
    }

    #[test]
    fn the_bundled_roots_are_there_and_can_be_trusted() {
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
        assert!(roots.len() > 50);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        assert!(!Trusting::new(roots.to_vec(), &provider).is_empty());
        assert!(Trusting::new(Vec::new(), &provider).is_empty());
    }
}
