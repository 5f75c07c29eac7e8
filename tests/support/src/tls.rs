//! An authority of a test's own, a server's certificate and a client's, made by openssl.

use std::fs;
use std::path::PathBuf;

use crate::judge;

/// Certificates in a directory that goes with them: `ca.pem`, `server.pem`, `server.key`,
/// `client.pem`, `client.key`.
#[derive(Debug)]
pub struct Certificates {
    directory: tempfile::TempDir,
}

/// The host in the server's certificate that no resolver knows.
pub const NAME: &str = "registry.test";

impl Certificates {
    /// New certificates for 127.0.0.1, localhost and [`NAME`]; `None`, with the policy of
    /// [`judge::missing`], where openssl is missing.
    #[must_use]
    pub fn make() -> Option<Self> {
        if !judge::all(&["openssl"]) {
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory for certificates");
        let made = Self { directory };
        made.authority();
        let names = format!("subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:{NAME}\n");
        made.sign("server", &format!("{names}extendedKeyUsage=serverAuth\n"));
        made.sign("client", "extendedKeyUsage=clientAuth\n");
        Some(made)
    }

    /// Where a file of this name lies.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes `NAME.pem` and `NAME.key` for the same names, signed by itself: `openssl req -x509`
    /// makes an authority of it unless these extensions say otherwise.
    pub fn self_signed(&self, name: &str, extensions: &[&str]) {
        let words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
        let (key, made) = (format!("{name}.key"), format!("{name}.pem"));
        let names = format!("subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:{NAME}");
        let more = ["-nodes", "-days", "3650", "-subj", "/CN=localhost", "-keyout", &key];
        let mut words = [&words[..], &more, &["-out", &made, "-addext", &names]].concat();
        words.extend(extensions.iter().flat_map(|extension| ["-addext", *extension]));
        self.openssl(&words);
    }

    /// Makes `NAME.pem` and `NAME.key` for the same names, signed by an authority of the first
    /// version of X.509, `NAME-ca.pem`, which cannot say that it is one.
    pub fn signed_by_version_1(&self, name: &str) {
        let [authority, key, request] =
            ["pem", "key", "csr"].map(|suffix| format!("{name}-ca.{suffix}"));
        let new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let subject = ["-subj", "/CN=an old authority", "-keyout", &key, "-out", &request];
        self.openssl(&[&new[..], &subject].concat());
        let sign = ["x509", "-req", "-days", "3650", "-in", &request, "-signkey", &key];
        self.openssl(&[&sign[..], &["-out", &authority]].concat());
        let names = format!("subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:{NAME}\n");
        self.sign_by((&authority, &key), name, &names);
    }

    fn authority(&self) {
        let words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
        let more = ["-nodes", "-days", "3650", "-subj", "/CN=authority of a test"];
        self.openssl(&[&words[..], &more, &["-keyout", "ca.key", "-out", "ca.pem"]].concat());
    }

    fn sign(&self, name: &str, extensions: &str) {
        self.sign_by(("ca.pem", "ca.key"), name, extensions);
    }

    fn sign_by(&self, (authority, its_key): (&str, &str), name: &str, extensions: &str) {
        let file = |suffix: &str| format!("{name}.{suffix}");
        let (key, request, made, extra) = (file("key"), file("csr"), file("pem"), file("ext"));
        fs::write(self.path(&extra), extensions).expect("a file of extensions");
        let words = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let subject = format!("/CN={name}");
        let more = ["-subj", &subject, "-keyout", &key, "-out", &request];
        self.openssl(&[&words[..], &more].concat());
        let words = ["x509", "-req", "-days", "3650", "-CAcreateserial"];
        let more = ["-CA", authority, "-CAkey", its_key, "-in", &request, "-out", &made];
        self.openssl(&[&words[..], &more, &["-extfile", &extra]].concat());
    }

    fn openssl(&self, words: &[&str]) {
        let script = format!("cd '{}' && exec openssl \"$@\"", self.directory.path().display());
        let words = ["-c", script.as_str(), "openssl"].into_iter().chain(words.iter().copied());
        judge::succeed("sh", words);
    }
}
