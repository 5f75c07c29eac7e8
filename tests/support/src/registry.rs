//! A real registry, Debian's docker-registry, on a free port of the loopback interface.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::judge;
use crate::tls::Certificates;

/// A running registry; dropping it ends the process and removes its blobs.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    directory: tempfile::TempDir,
    data: PathBuf,
    port: u16,
}

/// The only user of a guarded registry, as `USER:PASSWORD`.
pub const LOGIN: &str = "alice:correct horse";

/// The same as docker-registry wants it: crypt(3), bcrypt.
const HTPASSWD: &str = "alice:$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2\n";

impl Registry {
    /// Starts a registry without images; `None`, with the policy of [`judge::missing`], where
    /// docker-registry or skopeo, which fills it, is missing.
    #[must_use]
    pub fn start() -> Option<Self> {
        if !judge::all(&["docker-registry", "skopeo"]) {
            return None;
        }
        Some(Self::answering(None, "", ""))
    }

    /// A registry with the same images that only [`LOGIN`] may read.
    #[must_use]
    pub fn guarded(&self) -> Self {
        let password = self.directory.path().join("htpasswd");
        fs::write(&password, HTPASSWD).expect("a file of passwords");
        let auth = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", password.display());
        Self::answering(Some(&self.data), "", &auth)
    }

    /// A registry with the same images that speaks TLS, and when `mutual` only with clients that
    /// show a certificate of the same authority.
    #[must_use]
    pub fn over_tls(&self, certificates: &Certificates, mutual: bool) -> Self {
        let place = certificates.path("ca.pem");
        let clients =
            if mutual { format!(", clientcas: [{}]", place.display()) } else { String::new() };
        self.over_tls_with(certificates, "server", &clients)
    }

    /// A registry with the same images that shows the certificate of this name.
    #[must_use]
    pub fn showing(&self, certificates: &Certificates, name: &str) -> Self {
        self.over_tls_with(certificates, name, "")
    }

    fn over_tls_with(&self, certificates: &Certificates, name: &str, more: &str) -> Self {
        let place = |suffix| certificates.path(&format!("{name}.{suffix}")).display().to_string();
        let (certificate, key) = (place("pem"), place("key"));
        let tls = format!(", tls: {{certificate: {certificate}, key: {key}{more}}}");
        Self::answering(Some(&self.data), &tls, "")
    }

    /// A registry over `data`, or without images, with these words in its configuration.
    fn answering(data: Option<&Path>, http: &str, more: &str) -> Self {
        const ATTEMPTS: u32 = 5;
        // Another process can take the port between its choice and the registry's start.
        for _ in 0..ATTEMPTS {
            let mut registry = Self::spawn(data, http, more);
            if registry.answers() {
                return registry;
            }
        }
        panic!("docker-registry did not answer at any of {ATTEMPTS} ports")
    }

    fn spawn(data: Option<&Path>, http: &str, more: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the registry");
        let port = free_port();
        let config = directory.path().join("config.yml");
        let data = data.map_or_else(|| directory.path().join("data"), Path::to_path_buf);
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: \"127.0.0.1:{port}\"{http}}}\n{more}",
            data.display()
        );
        fs::write(&config, text).expect("a configuration for the registry");
        let log = File::create(directory.path().join("log")).expect("a log for the registry");
        let program = judge::find("docker-registry").expect("docker-registry is installed");
        let child = judge::companion(&program)
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("docker-registry starts");
        Self { child, directory, data, port }
    }

    fn answers(&mut self) -> bool {
        const LIMIT: Duration = Duration::from_secs(20);
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return false;
            }
            if self.probe().is_ok_and(|answer| answer.starts_with("HTTP/1.")) {
                return true;
            }
            sleep(Duration::from_millis(20));
        }
        false
    }

    fn probe(&self) -> io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Copies the tag `latest` of an OCI layout, all platforms of it, to `name` (`NAME:TAG`);
    /// returns the whole reference.
    #[must_use]
    pub fn push(&self, layout: &Path, name: &str) -> String {
        let reference = format!("{}/{name}", self.host());
        let source = format!("oci:{}:latest", layout.display());
        let target = format!("docker://{reference}");
        let words = ["--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false"];
        // Without it skopeo compresses plain layers.
        let words = words.into_iter().chain(["--preserve-digests"]);
        judge::succeed("skopeo", words.chain([source.as_str(), target.as_str()]));
        reference
    }

    /// The directory of the registry's blobs, for a test that damages one.
    #[must_use]
    pub fn data(&self) -> std::path::PathBuf {
        self.data.clone()
    }

    /// The requests that were made so far, a line of the log each.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // A registry that has ended by itself is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
    listener.local_addr().expect("a listener has an address").port()
}
