//! Whom a registry must be to be believed: the verifiers of its certificate.
//!
//! webpki takes no authority for a server, and only what an authority signed. The certificate that
//! a user names as trusted is often the server's own, made by `openssl req -x509`, which makes
//! authorities. OpenSSL and Go believe it when it is shown; so do we. Nothing else is given up for
//! that: its names, its dates and its purpose count, and the server proves that it has the key.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::ExtendedKeyUsage;

/// The purposes with which a certificate may be a server's (RFC 5280, section 4.2.1.12).
const PURPOSES: [ObjectIdentifier; 2] = [
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"),
    ObjectIdentifier::new_unwrap("2.5.29.37.0"),
];

/// Believes who shows a trusted certificate, or one that leads to such.
#[derive(Debug)]
pub(super) struct Trusting {
    trusted: Vec<CertificateDer<'static>>,
    /// None where nobody is trusted.
    chains: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trusting {
    /// What is no certificate among `trusted` is passed over.
    pub(super) fn new(
        trusted: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        let trusted: Vec<_> =
            trusted.into_iter().filter(|one| roots.add(one.clone()).is_ok()).collect();
        let algorithms = provider.signature_verification_algorithms;
        let provider = Arc::clone(provider);
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        Self { trusted, chains: chains.build().ok(), algorithms }
    }

    /// Whether nobody is trusted.
    pub(super) fn is_empty(&self) -> bool {
        self.chains.is_none()
    }
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.trusted.iter().any(|trusted| trusted == end_entity) {
            return check_trusted(end_entity, server_name, now);
        }
        let Some(chains) = &self.chains else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether a certificate that is trusted by itself is of this server, and of this time.
///
/// Source: Go: crypto/x509, `Certificate.Verify`, for a leaf that is among the roots.
fn check_trusted(
    shown: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let certificate =
        Certificate::from_der(shown).map_err(|_| Error::from(CertificateError::BadEncoding))?;
    let body = certificate.tbs_certificate();
    let validity = body.validity();
    let seconds = |time: Duration| UnixTime::since_unix_epoch(time);
    let begin = seconds(validity.not_before.to_unix_duration());
    let end = seconds(validity.not_after.to_unix_duration());
    if now.as_secs() < begin.as_secs() {
        return Err(CertificateError::NotValidYetContext { time: now, not_before: begin }.into());
    }
    if now.as_secs() > end.as_secs() {
        return Err(CertificateError::ExpiredContext { time: now, not_after: end }.into());
    }
    match body.get_extension::<ExtendedKeyUsage>() {
        Ok(None) => {}
        Ok(Some((_, usage))) if usage.0.iter().any(|one| PURPOSES.contains(one)) => {}
        Ok(Some(_)) => return Err(CertificateError::InvalidPurpose.into()),
        Err(_) => return Err(CertificateError::BadEncoding.into()),
    }
    verify_server_name(&ParsedCertificate::try_from(shown)?, server_name)?;
    Ok(ServerCertVerified::assertion())
}

/// Believes whoever answers.
#[derive(Debug)]
pub(super) struct Anyone(pub(super) Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    /// Made by `openssl req -x509 -subj /CN=registry.test -days 3650 -addext
    /// subjectAltName=DNS:registry.test,IP:127.0.0.1`, which makes an authority of it.
    const SELF_SIGNED: &str = "\
-----BEGIN CERTIFICATE-----
MIIBpTCCAUugAwIBAgIUBuVOA94f3k8wUC31Cl6wI1gUo0swCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNcmVnaXN0cnkudGVzdDAeFw0yNjExMzAxNTQ3MjFaFw0zNjEx
MjcxNTQ3MjFaMBgxFjAUBgNVBAMMDXJlZ2lzdHJ5LnRlc3QwWTATBgcqhkjOPQIB
BggqhkjOPQMBBwNCAAQ40snErkRNo/1BjmlPvHscW3zdBWdhGcCy8XHunm13VwNp
P9Pmi34pykW5Q9eHydsdKsnDwsmUaBkdvNEouseBo3MwcTAdBgNVHQ4EFgQUYGKL
yNIA67B/AHbv0GQwGZpKh1AwHwYDVR0jBBgwFoAUYGKLyNIA67B/AHbv0GQwGZpK
h1AwDwYDVR0TAQH/BAUwAwEB/zAeBgNVHREEFzAVgg1yZWdpc3RyeS50ZXN0hwR/
AAABMAoGCCqGSM49BAMCA0gAMEUCIQDYCIsArhxdFMm7q7aT8VYDCt2gz3swyecE
cJnBFZpqNAIgL2gXg6YQN5z7IgFqlfEugo5NRMuJIzhG4F3tDrxsjxM=
-----END CERTIFICATE-----
";
    /// The same with `-addext extendedKeyUsage=clientAuth`.
    const OF_A_CLIENT: &str = "\
-----BEGIN CERTIFICATE-----
MIIBvDCCAWKgAwIBAgIUITgxUX23VShn2kWlcMtcrfYkZbUwCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNcmVnaXN0cnkudGVzdDAeFw0yNjExMzAxNTQ3MjFaFw0zNjEx
MjcxNTQ3MjFaMBgxFjAUBgNVBAMMDXJlZ2lzdHJ5LnRlc3QwWTATBgcqhkjOPQIB
BggqhkjOPQMBBwNCAARwCe0QrSWp3jcMRIw0i4dXJ62OCAHQgYW11Z20xbQz0ZBk
kbcNcjOp4OBGEzwVH3U15vxBBQn9hd6GLYzR0A4mo4GJMIGGMB0GA1UdDgQWBBSS
Dt7Adv7lOkZ3C0t+W1li1CKApTAfBgNVHSMEGDAWgBSSDt7Adv7lOkZ3C0t+W1li
1CKApTAPBgNVHRMBAf8EBTADAQH/MB4GA1UdEQQXMBWCDXJlZ2lzdHJ5LnRlc3SH
BH8AAAEwEwYDVR0lBAwwCgYIKwYBBQUHAwIwCgYIKoZIzj0EAwIDSAAwRQIgfKcn
a63s5rG6i3RKWUrLsYKwRkDMC0A+DjjhKXWngYUCIQDQQRM6hPeBYtTFDnYk8luG
KxgOf7QcXko9T6bcM3nlSw==
-----END CERTIFICATE-----
";
    /// 2026-11-30 15:47:21 and 2036-11-27 15:47:21, as the certificates say.
    const DATES: (u64, u64) = (1_796_053_641, 2_111_413_641);

    fn judged(trusted: &str, shown: &str, name: &str, seconds: u64) -> Result<(), Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let read = |text: &str| CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
        let verifier = Trusting::new(vec![read(trusted)], &provider);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        verifier.verify_server_cert(&read(shown), &[], &name, &[], now).map(drop)
    }

    fn refused(result: Result<(), Error>) -> CertificateError {
        match result {
            Err(Error::InvalidCertificate(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_servers_own_certificate_is_trusted_for_its_names_and_dates_alone() {
        let (begin, end) = DATES;
        let own = |name: &str, seconds: u64| judged(SELF_SIGNED, SELF_SIGNED, name, seconds);
        for name in ["registry.test", "127.0.0.1"] {
            for seconds in [begin, end] {
                own(name, seconds).unwrap();
            }
        }
        for name in ["other.test", "127.0.0.2", "sub.registry.test"] {
            let why = refused(own(name, begin));
            assert!(matches!(why, CertificateError::NotValidForNameContext { .. }), "{why:?}");
        }
        let early = refused(own("registry.test", begin - 1));
        assert!(matches!(early, CertificateError::NotValidYetContext { .. }), "{early:?}");
        let late = refused(own("registry.test", end + 1));
        assert!(matches!(late, CertificateError::ExpiredContext { .. }), "{late:?}");
    }

    #[test]
    fn a_certificate_that_is_not_a_servers_or_not_the_one_that_is_trusted_is_refused() {
        let (now, _) = DATES;
        let why = refused(judged(OF_A_CLIENT, OF_A_CLIENT, "registry.test", now));
        assert_eq!(why, CertificateError::InvalidPurpose);
        assert!(judged(SELF_SIGNED, OF_A_CLIENT, "registry.test", now).is_err());
        assert!(judged(OF_A_CLIENT, SELF_SIGNED, "registry.test", now).is_err());
    }
}
