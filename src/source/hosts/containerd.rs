//! Containerd's directory of a host: `hosts.toml`, and the certificates beside it.
//!
//! Source: containerd, docs/hosts.md and core/remotes/docker/config/hosts.go.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, RANGE, TRANSFER_ENCODING,
};
use serde::Deserialize;

use super::files::{Expectation, Files, malformed};
use super::host::{Host, Identity, Serves, Trust};
use crate::error::Result;

/// How many certificates can be shown to a host, one after the other.
const MAX_IDENTITIES: usize = 16;
/// How many lines a host's header may have.
const MAX_HEADERS: usize = 100;

/// What the first directory that knows a host says of it.
#[derive(Debug, Default)]
pub(super) struct HostDirectory {
    path: PathBuf,
    document: HostsToml,
    /// What the certificates beside the file say of the host itself.
    certificates: ConnectionSettings,
}

/// How a host is to be spoken with.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionSettings {
    pub(super) insecure: bool,
    pub(super) authorities: Vec<PathBuf>,
    /// The certificates that can be shown, in the order in which they are tried.
    pub(super) identities: Vec<Identity>,
    pub(super) headers: HeaderMap,
    pub(super) dial_timeout: Option<Duration>,
}

#[derive(Debug, Default, Deserialize)]
struct HostsToml {
    server: Option<String>,
    /// In the order of the file, which is the order of asking.
    #[serde(default)]
    host: toml::Table,
    #[serde(flatten)]
    settings: Settings,
}

#[derive(Default, Deserialize)]
struct Settings {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMore>,
    client: Option<toml::Value>,
    /// May be secret: it is shown to the host alone.
    #[serde(default)]
    header: toml::Table,
    dial_timeout: Option<String>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settings")
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(PathBuf),
    More(Vec<PathBuf>),
}

impl HostDirectory {
    /// The first of the directories that has one for `name`, or one for every host.
    pub(super) fn find(name: &str, directories: &Files) -> Result<Self> {
        for name in names_of(name).into_iter().chain(["_default".to_owned()]) {
            for directory in &directories.paths {
                let path = directory.join(&name);
                if directories.expectation.has_directory(&path)? {
                    return Self::read(path, &directories.expectation);
                }
            }
        }
        Ok(Self::default())
    }

    fn read(path: PathBuf, expectation: &Expectation) -> Result<Self> {
        let file = path.join("hosts.toml");
        let document = match expectation.text_within(&file)? {
            Some(text) => {
                toml::from_str(&text).map_err(|error| malformed(&file, place_of(&error, &text)))?
            }
            None => HostsToml::default(),
        };
        let certificates = certificates_in(&path, expectation)?;
        Ok(Self { path, document, certificates })
    }

    /// The address of the API of the host itself, when the file gives another, and how it is
    /// spoken with.
    pub(super) fn server(&self) -> Result<(Option<String>, ConnectionSettings)> {
        let settings = &self.document.settings;
        let connection = settings.connection(&self.path)?.after(self.certificates.clone());
        let Some(server) = &self.document.server else { return Ok((None, connection)) };
        let url = address(server).ok_or_else(|| {
            let why = format!("{} is no address of a server", quoted(server));
            malformed(&self.path.join("hosts.toml"), why)
        })?;
        Ok((Some(settings.api(&url)), connection))
    }

    /// The mirrors that the file names for `repository` of `registry`.
    pub(super) fn mirrors(&mut self, repository: &str, registry: &str) -> Result<Vec<Host>> {
        let file = self.path.join("hosts.toml");
        let mut mirrors = Vec::new();
        for (name, value) in std::mem::take(&mut self.document.host) {
            let settings: Settings = value.try_into().map_err(|error| {
                malformed(&file, format!("host {}: {}", quoted(&name), expectation(&error)))
            })?;
            let url = address(&name).ok_or_else(|| {
                malformed(&file, format!("{} is no address of a host", quoted(&name)))
            })?;
            let can = |what: &str| {
                let known = settings.capabilities.as_ref();
                known.is_none_or(|known| known.iter().any(|known| known == what))
            };
            let host = url.host_str().unwrap_or_default();
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            let ConnectionSettings { insecure, authorities, identities, headers, dial_timeout } =
                settings.connection(&self.path)?;
            let host = Host {
                name: format!("{host}{port}"),
                repository: repository.to_owned(),
                api: settings.api(&url),
                namespace: Some(registry.to_owned()),
                serves: Serves { tags: can("resolve"), digests: can("pull") },
                trust: Trust { insecure, authorities, identity: None },
                headers,
                dial_timeout,
                is_mirror: true,
            };
            mirrors.extend(host.showing_each(identities));
        }
        Ok(mirrors)
    }
}

/// The names of a host's directory. A name is a directory's only when it cannot lead elsewhere;
/// containerd also knows one without a colon.
pub(super) fn names_of(host: &str) -> Vec<String> {
    if host.contains('/') || host.starts_with('.') {
        return Vec::new();
    }
    let plain = host.rsplit_once(':').map(|(name, port)| format!("{name}_{port}_"));
    plain.into_iter().chain([host.to_owned()]).collect()
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

    fn connection(&self, directory: &Path) -> Result<ConnectionSettings> {
        let authorities = match &self.ca {
            None => Vec::new(),
            Some(OneOrMore::One(path)) => vec![directory.join(path)],
            Some(OneOrMore::More(paths)) => paths.iter().map(|path| directory.join(path)).collect(),
        };
        let refuse = |why: String| malformed(&directory.join("hosts.toml"), why);
        let identities = match &self.client {
            None => Vec::new(),
            Some(value) => identities(value, directory).ok_or_else(|| {
                refuse(format!(
                    "\"client\" names neither a file, nor up to {MAX_IDENTITIES} files, nor so many \
                     pairs of a certificate and its key"
                ))
            })?,
        };
        let dial_timeout = match &self.dial_timeout {
            None => None,
            Some(text) => Some(duration(text).ok_or_else(|| {
                let shown = crate::source::excerpt(text);
                refuse(format!("\"dial_timeout\" is \"{shown}\", which is no time such as 5s"))
            })?),
        };
        let headers = headers(&self.header).map_err(refuse)?;
        let insecure = self.skip_verify;
        Ok(ConnectionSettings { insecure, authorities, identities, headers, dial_timeout })
    }
}

impl ConnectionSettings {
    /// The same, and what is said elsewhere where it says nothing.
    fn after(mut self, other: Self) -> Self {
        self.authorities.splice(..0, other.authorities);
        if self.identities.is_empty() {
            self.identities = other.identities;
        }
        self
    }
}

/// One file with both, several of them, or pairs.
fn identities(value: &toml::Value, directory: &Path) -> Option<Vec<Identity>> {
    let list = match value {
        toml::Value::Array(list) => list.as_slice(),
        single => std::slice::from_ref(single),
    };
    let found: Option<Vec<_>> = list.iter().map(|one| identity(one, directory)).collect();
    found.filter(|found| found.len() <= MAX_IDENTITIES)
}

fn identity(value: &toml::Value, directory: &Path) -> Option<Identity> {
    let place = |value: &toml::Value| {
        Some(value.as_str().filter(|name| !name.is_empty())?).map(|name| directory.join(name))
    };
    let (certificate, key) = match value {
        toml::Value::Array(pair) => match pair.as_slice() {
            // containerd 1.7 takes a pair whose second part is empty for one file with both.
            [both, key] if key.as_str() == Some("") => (place(both)?, place(both)?),
            [certificate, key] => (place(certificate)?, place(key)?),
            _ => return None,
        },
        both => (place(both)?, place(both)?),
    };
    Some(Identity { certificate, key })
}

/// The header lines of a table from names to one value or several. The values stay out of the
/// error: a token may be among them.
fn headers(table: &toml::Table) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in table {
        let shown = crate::source::excerpt(name);
        let refuse = |why: &str| format!("the header \"{shown}\" {why}");
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refuse("has no name"))?;
        if [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, RANGE].contains(&parsed) {
            return Err(refuse("is not for a configuration to set"));
        }
        let values = match value {
            toml::Value::Array(values) => values.as_slice(),
            single => std::slice::from_ref(single),
        };
        for value in values {
            let text = value.as_str().ok_or_else(|| refuse("is neither a text nor a list"))?;
            let mut value =
                HeaderValue::from_str(text).map_err(|_| refuse("has a value that is none"))?;
            value.set_sensitive(true);
            headers.append(&parsed, value);
        }
        if headers.len() > MAX_HEADERS {
            return Err(format!("there are more than {MAX_HEADERS} lines of headers"));
        }
    }
    Ok(headers)
}

/// A time as Go writes it: numbers, each with a unit, such as `1m30s` or `0.5s`.
///
/// Source: Go, `time.ParseDuration`.
fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("\u{b5}s", 1e-6),
        ("\u{3bc}s", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|c: char| !is_of_number(c))?);
        let (unit, after) = behind.split_at(behind.find(is_of_number).unwrap_or(behind.len()));
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero())
}

fn is_of_number(c: char) -> bool {
    c.is_ascii_digit() || c == '.'
}

/// Where a file is wrong and what belongs there. What stands there is not repeated: it may be a
/// header with a token.
fn place_of(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let why = expectation(error);
    match before {
        Some(before) => format!("line {}: {why}", before.matches('\n').count().saturating_add(1)),
        None => why,
    }
}

fn expectation(error: &toml::de::Error) -> String {
    match error.message().rsplit_once("expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None => "it is not what such a file holds".to_owned(),
    }
}

/// An address for people: one that holds a password is not repeated.
fn quoted(text: &str) -> String {
    if text.contains('@') {
        "an address with a password".to_owned()
    } else {
        format!("\"{}\"", crate::source::excerpt(text))
    }
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

/// `*.crt` are trusted; each `NAME.cert` is shown, with the key in `NAME.key`.
///
/// Source: docker, "Verify repository client with certificates"; containers-certs.d(5).
fn certificates_in(directory: &Path, expectation: &Expectation) -> Result<ConnectionSettings> {
    let mut files = expectation.entries(directory)?;
    files.sort();
    let mut settings = ConnectionSettings::default();
    for path in files {
        match path.extension().and_then(std::ffi::OsStr::to_str) {
            Some("crt") if expectation.may_read(&path)? => settings.authorities.push(path),
            Some("cert") => {
                let key = path.with_extension("key");
                if !key.is_file() {
                    return Err(malformed(&path, "the key beside it is missing"));
                }
                if expectation.may_read(&path)? && expectation.may_read(&key)? {
                    settings.identities.push(Identity { certificate: path, key });
                }
            }
            _ => {}
        }
    }
    if settings.identities.len() > MAX_IDENTITIES {
        let why = format!("it has more than {MAX_IDENTITIES} certificates to show");
        return Err(malformed(directory, why));
    }
    Ok(settings)
}
