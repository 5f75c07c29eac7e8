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

    fn authority(&self) {
        let words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
        let more = ["-nodes", "-days", "3650", "-subj", "/CN=authority of a test"];
        self.openssl(&[&words[..], &more, &["-keyout", "ca.key", "-out", "ca.pem"]].concat());
    }

    fn sign(&self, name: &str, extensions: &str) {
        let file = |suffix: &str| format!("{name}.{suffix}");
        let (key, request, made, extra) = (file("key"), file("csr"), file("pem"), file("ext"));
        fs::write(self.path(&extra), extensions).expect("a file of extensions");
        let words = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let subject = format!("/CN={name}");
        let more = ["-subj", &subject, "-keyout", &key, "-out", &request];
        self.openssl(&[&words[..], &more].concat());
        let words = ["x509", "-req", "-days", "3650", "-CAcreateserial"];
        let more = ["-CA", "ca.pem", "-CAkey", "ca.key", "-in", &request, "-out", &made];
        self.openssl(&[&words[..], &more, &["-extfile", &extra]].concat());
    }

    fn openssl(&self, words: &[&str]) {
        let script = format!("cd '{}' && exec openssl \"$@\"", self.directory.path().display());
        let words = ["-c", script.as_str(), "openssl"].into_iter().chain(words.iter().copied());
        judge::succeed("sh", words);
    }
}
