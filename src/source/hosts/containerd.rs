//! Containerd's directory of a host: `hosts.toml`, and the certificates beside it.
//!
//! Source: containerd, docs/hosts.md and core/remotes/docker/config/hosts.go.

use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;

use super::{Host, Identity, Serves, Trust, malformed, text_of};
use crate::error::Result;

/// What the first directory that knows a host says of it.
#[derive(Debug, Default)]
pub(super) struct Directory {
    path: PathBuf,
    document: Document,
    trust: Trust,
}

#[derive(Debug, Default, Deserialize)]
struct Document {
    server: Option<String>,
    /// In the order of the file, which is the order of asking.
    #[serde(default)]
    host: toml::Table,
    #[serde(flatten)]
    settings: Settings,
}

#[derive(Debug, Default, Deserialize)]
struct Settings {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMore>,
    client: Option<toml::Value>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(PathBuf),
    More(Vec<PathBuf>),
}

impl Directory {
    /// The first of `directories` that has one for `name`, or one for every host.
    pub(super) fn find(name: &str, directories: &[PathBuf]) -> Result<Self> {
        // A name is a directory's only when it cannot lead elsewhere.
        let own = Some(name).filter(|name| !name.contains('/') && !name.starts_with('.'));
        for name in own.into_iter().chain(["_default"]) {
            for directory in directories {
                let path = directory.join(name);
                if path.is_dir() {
                    return Self::read(path);
                }
            }
        }
        Ok(Self::default())
    }

    fn read(path: PathBuf) -> Result<Self> {
        let file = path.join("hosts.toml");
        let document = match text_of(&file)? {
            Some(text) => toml::from_str(&text).map_err(|error| malformed(&file, error))?,
            None => Document::default(),
        };
        let trust = beside(&path)?;
        Ok(Self { path, document, trust })
    }

    /// What the certificates in the directory say of the host itself.
    pub(super) fn trust(&self) -> Trust {
        self.trust.clone()
    }

    /// The address of the API of the host itself, when the file gives another.
    pub(super) fn server(&self) -> Result<Option<(String, Trust)>> {
        let Some(server) = &self.document.server else { return Ok(None) };
        let settings = &self.document.settings;
        let url = address(server).ok_or_else(|| {
            let why = format!("{} is no address of a server", quoted(server));
            malformed(&self.path.join("hosts.toml"), why)
        })?;
        Ok(Some((settings.api(&url), settings.trust(&self.path)?)))
    }

    /// The mirrors that the file names for `repository` of `registry`.
    pub(super) fn mirrors(&mut self, repository: &str, registry: &str) -> Result<Vec<Host>> {
        let file = self.path.join("hosts.toml");
        let mut mirrors = Vec::new();
        for (name, value) in std::mem::take(&mut self.document.host) {
            let settings: Settings = value.try_into().map_err(|error| malformed(&file, error))?;
            let url = address(&name).ok_or_else(|| {
                malformed(&file, format!("{} is no address of a host", quoted(&name)))
            })?;
            let can = |what: &str| {
                let known = settings.capabilities.as_ref();
                known.is_none_or(|known| known.iter().any(|known| known == what))
            };
            let host = url.host_str().unwrap_or_default();
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            mirrors.push(Host {
                name: format!("{host}{port}"),
                repository: repository.to_owned(),
                api: settings.api(&url),
                namespace: Some(registry.to_owned()),
                serves: Serves { tags: can("resolve"), digests: can("pull") },
                trust: settings.trust(&self.path)?,
                is_mirror: true,
            });
        }
        Ok(mirrors)
    }
}

impl Settings {
    /// The address of the API: the path is the whole of it only when the file says so.
    fn api(&self, url: &Url) -> String {
        let address = url.as_str().trim_end_matches('/');
        if self.override_path || address.ends_with("/v2") {
            return address.to_owned();
        }
        format!("{address}/v2")
    }

    fn trust(&self, directory: &Path) -> Result<Trust> {
        let authorities = match &self.ca {
            None => Vec::new(),
            Some(OneOrMore::One(path)) => vec![directory.join(path)],
            Some(OneOrMore::More(paths)) => paths.iter().map(|path| directory.join(path)).collect(),
        };
        let identity = match &self.client {
            None => None,
            Some(value) => Some(identity(value, directory).ok_or_else(|| {
                let what = "\"client\" names neither a file nor a certificate and its key";
                malformed(&directory.join("hosts.toml"), what)
            })?),
        };
        Ok(Trust { insecure: self.skip_verify, authorities, identity })
    }
}

/// One file with both, or the first pair of a list: one certificate is shown.
fn identity(value: &toml::Value, directory: &Path) -> Option<Identity> {
    let first = match value {
        toml::Value::Array(list) => list.first()?,
        single => single,
    };
    match first {
        toml::Value::String(file) => {
            let both = directory.join(file);
            Some(Identity { certificate: both.clone(), key: both })
        }
        toml::Value::Array(pair) => {
            let certificate = directory.join(pair.first()?.as_str()?);
            let key = match pair.get(1).and_then(toml::Value::as_str) {
                Some(key) if !key.is_empty() => directory.join(key),
                _ => certificate.clone(),
            };
            Some(Identity { certificate, key })
        }
        _ => None,
    }
}

/// An address for people: one that holds a password is not repeated.
fn quoted(text: &str) -> String {
    if text.contains('@') { "an address with a password".to_owned() } else { format!("\"{text}\"") }
}

/// An address of http or https without a name and a password in it.
fn address(text: &str) -> Option<Url> {
    let scheme = if text.contains("://") { "" } else { "https://" };
    let url: Url = format!("{scheme}{text}").parse().ok()?;
    let usable = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    usable.then_some(url)
}

/// `*.crt` are trusted; `NAME.cert` is shown, with the key in `NAME.key`.
///
/// Source: docker, "Verify repository client with certificates"; containers-certs.d(5).
fn beside(directory: &Path) -> Result<Trust> {
    let entries =
        std::fs::read_dir(directory).map_err(|error| super::unreadable(directory, error))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut trust = Trust::default();
    for path in files {
        match path.extension().and_then(std::ffi::OsStr::to_str) {
            Some("crt") => trust.authorities.push(path),
            Some("cert") if trust.identity.is_none() => {
                let key = path.with_extension("key");
                if !key.is_file() {
                    return Err(malformed(&path, "the key beside it is missing"));
                }
                trust.identity = Some(Identity { certificate: path, key });
            }
            _ => {}
        }
    }
    Ok(trust)
}
