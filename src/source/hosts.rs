//! Which hosts may have a repository, in the order in which they are asked: the mirrors that the
//! host's configuration names, then the registry itself.
//!
//! Both customs are read, and neither is required: containers' `registries.conf` and containerd's
//! `hosts.toml`, and the certificates that lie beside the latter.

mod containerd;
mod registries_conf;

use std::ffi::OsString;
use std::fs::Metadata;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::HeaderMap;

use super::{Notices, Reference};
use crate::error::{Error, Result};
use crate::open;

/// The longest file of configuration that is read.
const MAX_LENGTH: u64 = 1 << 20;
/// How many files of a directory are looked at.
const MAX_FILES: usize = 10_000;

/// How the words of the command change what the configuration says.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Speaks http where https would be spoken.
    pub plain_http: bool,
    /// Speaks https with whoever answers.
    pub insecure: bool,
    /// Files of certificates to trust beside the system's.
    pub authorities: Vec<PathBuf>,
    /// The certificate to show to the registry, and its key.
    pub identity: Option<Identity>,
    /// The directories of `HOST/hosts.toml` and of certificates, instead of the usual ones.
    pub directories: Option<Vec<PathBuf>>,
}

/// A client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The file of the certificate, and of those that it leads to.
    pub certificate: PathBuf,
    /// The file of the key; the same file when nothing else is said.
    pub key: PathBuf,
}

/// Whom to believe, and what to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trust {
    /// Believes whoever answers.
    pub(super) insecure: bool,
    /// Files of certificates to trust beside the system's.
    pub(super) authorities: Vec<PathBuf>,
    /// The certificate to show.
    pub(super) identity: Option<Identity>,
}

/// What a host may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Serves {
    /// What a tag names.
    pub(super) tags: bool,
    /// What has a digest.
    pub(super) digests: bool,
}

/// How long a host on loopback may take to answer in TLS: long enough for one that does.
const TLS_ON_LOOPBACK: Duration = Duration::from_secs(5);

/// The length of a header's value from which it may be a secret.
const SECRET: usize = 6;

/// One place where the repository may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// The host as credentials know it: `mirror.example:5000`.
    pub(super) name: String,
    /// The repository as it is called there.
    pub(super) repository: String,
    /// The address of the API, without the repository: `https://mirror.example:5000/v2`.
    pub(super) api: String,
    /// The registry that a mirror of many is asked for.
    pub(super) namespace: Option<String>,
    /// What it may be asked for.
    pub(super) serves: Serves,
    /// How TLS is spoken with it.
    pub(super) trust: Trust,
    /// What is said to it, and to nobody else, with every request.
    pub(super) headers: HeaderMap,
    /// How long a connection to it may take, if that is less than is usual.
    pub(super) dial_timeout: Option<Duration>,
    /// Whether it is a stand-in for the registry.
    pub(super) is_mirror: bool,
}

impl Host {
    /// A registry with this address that every test may ask for everything.
    #[cfg(test)]
    pub(super) fn for_test(api: &str) -> Self {
        Self {
            name: "registry.example".to_owned(),
            repository: "a/b".to_owned(),
            api: api.to_owned(),
            namespace: None,
            serves: Serves { tags: true, digests: true },
            trust: Trust::default(),
            headers: HeaderMap::new(),
            dial_timeout: None,
            is_mirror: false,
        }
    }

    /// The same host once for each certificate that can be shown to it: one is shown at a time.
    fn showing_each(self, identities: Vec<Identity>) -> Vec<Self> {
        if identities.is_empty() {
            return vec![self];
        }
        let showing = |identity| {
            let trust = Trust { identity: Some(identity), ..self.trust.clone() };
            Self { trust, ..self.clone() }
        };
        identities.into_iter().map(showing).collect()
    }

    /// Whether a text repeats what hosts.toml has us say to the host, which may be secret.
    pub(super) fn is_told_by(&self, text: &str) -> bool {
        self.headers.values().filter_map(|value| value.to_str().ok()).any(|value| {
            // `Bearer x` is repeated by `x` too; a word as short as `1` is in every text.
            let secret = value.split_once(' ').map_or(value, |(_, behind)| behind);
            secret.len() >= SECRET && text.contains(secret)
        })
    }

    /// How long a connection to it may take where `usual` is allowed.
    pub(super) fn connecting(&self, usual: Duration) -> Duration {
        self.dial_timeout.map_or(usual, |own| own.min(usual))
    }

    /// Whether http is spoken.
    pub(super) fn is_plain(&self) -> bool {
        self.api.starts_with("http://")
    }
}

/// Where the configuration lies.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// The files of `registries.conf`, later ones over earlier ones.
    pub(super) registries: Files,
    /// Directories with a directory for each host.
    pub(super) directories: Files,
}

/// Files or directories of one kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    pub(super) paths: Vec<PathBuf>,
    pub(super) known: Known,
}

/// How it is known that there is configuration at a place.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// The user named it: it must be there, and for us to read.
    Named,
    /// It usually is there. What we may not read, another user's perhaps, is passed over.
    Usual(Notices),
}

impl Default for Known {
    fn default() -> Self {
        Self::Usual(Notices::default())
    }
}

impl Known {
    /// The text of a file of configuration; nothing when there is none.
    pub(super) fn text_of(&self, path: &Path) -> Result<Option<String>> {
        match (self.text_within(path)?, self) {
            (None, Self::Named) => {
                Err(Error::not_found(format!("there is no configuration at {}", path.display())))
            }
            (text, _) => Ok(text),
        }
    }

    /// The text of a file that need not be in a directory of configuration.
    fn text_within(&self, path: &Path) -> Result<Option<String>> {
        let file = match open::configuration(path) {
            Ok(file) => file,
            Err(error) => return self.excuse(path, error).map(|()| None),
        };
        let mut text = String::new();
        file.take(MAX_LENGTH.saturating_add(1))
            .read_to_string(&mut text)
            .map_err(|error| unreadable(path, error))?;
        if u64::try_from(text.len()).is_ok_and(|length| length > MAX_LENGTH) {
            let message = format!("{} is longer than {MAX_LENGTH} bytes", path.display());
            return Err(Error::bad_data(message));
        }
        Ok(Some(text))
    }

    /// Whether there is a file of this name.
    fn has_file(&self, path: &Path) -> Result<bool> {
        self.look(path).map(|found| found.is_some_and(|found| found.is_file()))
    }

    /// Whether there is a directory of this name.
    fn has_directory(&self, path: &Path) -> Result<bool> {
        self.look(path).map(|found| found.is_some_and(|found| found.is_dir()))
    }

    fn look(&self, path: &Path) -> Result<Option<Metadata>> {
        match std::fs::metadata(path) {
            Ok(found) => Ok(Some(found)),
            Err(error) => self.excuse(path, error).map(|()| None),
        }
    }

    /// What is in a directory; nothing when there is none.
    fn entries(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => return self.excuse(directory, error).map(|()| Vec::new()),
        };
        entries
            .take(MAX_FILES)
            .map(|entry| Ok(entry.map_err(|error| unreadable(directory, error))?.path()))
            .collect()
    }

    /// Whether a file that is there is for us.
    fn may_read(&self, path: &Path) -> Result<bool> {
        match open::configuration(path) {
            Ok(_) => Ok(true),
            Err(error) => self.excuse(path, error).map(|()| false),
        }
    }

    /// Whether an error is none: nothing is there, or nothing for us.
    fn excuse(&self, path: &Path, error: std::io::Error) -> Result<()> {
        match (error.kind(), self) {
            (ErrorKind::NotFound | ErrorKind::NotADirectory, _) => Ok(()),
            (ErrorKind::PermissionDenied, Self::Usual(notices)) => {
                notices.pass_over(path);
                Ok(())
            }
            _ => Err(unreadable(path, error)),
        }
    }
}

impl Places {
    /// The usual places.
    ///
    /// Source: containers-registries.conf(5), containers-registries.conf.d(5), containers-certs.d(5);
    /// containerd, docs/hosts.md; docker, "Verify repository client with certificates".
    pub(super) fn of_environment(
        wishes: &Wishes,
        notices: &Notices,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self> {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let own = given("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(given("HOME")?).join(".config")))
            .map(|directory| directory.join("containers"));
        let system = PathBuf::from("/etc/containers");
        let roots: Vec<PathBuf> = [Some(system), own].into_iter().flatten().collect();
        let usual = || Known::Usual(notices.clone());
        let registries = match given("CONTAINERS_REGISTRIES_CONF") {
            Some(path) => Files { paths: vec![PathBuf::from(path)], known: Known::Named },
            None => Files { paths: registries_of(&roots, &usual())?, known: usual() },
        };
        let directories = if let Some(paths) = &wishes.directories {
            Files { paths: paths.clone(), known: Known::Named }
        } else {
            let docker = ["/etc/containerd/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
            let containers = roots.iter().rev().map(|root| root.join("certs.d"));
            Files { paths: containers.chain(docker).collect(), known: usual() }
        };
        Ok(Self { registries, directories })
    }
}

/// The user's main file hides the system's; the fragments of both count.
fn registries_of(roots: &[PathBuf], known: &Known) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for main in roots.iter().rev().map(|root| root.join("registries.conf")) {
        if known.has_file(&main)? {
            files.push(main);
            break;
        }
    }
    for root in roots {
        files.extend(fragments(&root.join("registries.conf.d"), known)?);
    }
    Ok(files)
}

/// The `.conf` files of a directory in the order of their names.
fn fragments(directory: &Path, known: &Known) -> Result<Vec<PathBuf>> {
    let mut files = known.entries(directory)?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    files.sort();
    Ok(files)
}

/// The hosts that may have the image, at least one; the last is the registry itself.
pub(super) fn find(reference: &Reference, wishes: &Wishes, places: &Places) -> Result<Vec<Host>> {
    let found = registries_conf::find(reference, &places.registries)?;
    let mut hosts = Vec::new();
    for place in found {
        let is_origin = !place.is_mirror;
        let is_local = is_local_by_custom(&place.name, wishes, places);
        let mut local = containerd::Directory::find(&place.name, &places.directories)?;
        if is_origin {
            hosts.append(&mut local.mirrors(&place.repository, &place.name)?);
        }
        hosts.extend(stand(&place, wishes, &local, is_local)?);
    }
    Ok(hosts)
}

/// On loopback TLS is tried and need not be proven, then http is spoken, unless something was said
/// about TLS.
fn is_local_by_custom(name: &str, wishes: &Wishes, places: &Places) -> bool {
    let speaks_of_tls =
        wishes.insecure || !wishes.authorities.is_empty() || wishes.identity.is_some();
    let names = containerd::names_of(name);
    let mut directories = places.directories.paths.iter();
    let configured =
        directories.any(|directory| names.iter().any(|name| directory.join(name).is_dir()));
    super::reference::is_loopback(name) && !speaks_of_tls && !configured
}

/// The host itself, by the ways in which it may be spoken to.
fn stand(
    place: &registries_conf::Location,
    wishes: &Wishes,
    local: &containerd::Directory,
    is_local: bool,
) -> Result<Vec<Host>> {
    let is_origin = !place.is_mirror;
    let (server, mut manner) = local.server()?;
    manner.authorities.extend(wishes.authorities.iter().cloned());
    if is_origin && let Some(identity) = &wishes.identity {
        manner.identities = vec![identity.clone()];
    }
    let address = super::reference::address_of(&place.name);
    let plain = format!("http://{address}/v2");
    // containerd: whoever is not the registry itself is told for which registry it is asked.
    let namespace = server.as_ref().filter(|api| !is_at(api, &place.name));
    let namespace = namespace.map(|_| place.name.clone());
    let host = |api: String| Host {
        name: place.name.clone(),
        repository: place.repository.clone(),
        api,
        namespace: namespace.clone(),
        serves: place.serves,
        trust: Trust {
            insecure: (wishes.insecure && is_origin) || place.insecure || manner.insecure,
            authorities: manner.authorities.clone(),
            identity: None,
        },
        headers: manner.headers.clone(),
        dial_timeout: manner.dial_timeout,
        is_mirror: place.is_mirror,
    };
    let named = match server {
        Some(api) if wishes.plain_http && is_origin => {
            return Ok(vec![host(without_tls(&api))]);
        }
        None if wishes.plain_http && is_origin => return Ok(vec![host(plain)]),
        None if is_local => {
            // moby: registry/service_v2.go, lookupV2Endpoints. It need not prove who it is, and
            // what waits for a whole request before it says a word must not be waited for.
            let mut secure = host(format!("https://{address}/v2"));
            secure.trust.insecure = true;
            secure.dial_timeout = Some(TLS_ON_LOOPBACK);
            return Ok(vec![secure, host(plain)]);
        }
        server => server.unwrap_or_else(|| format!("https://{address}/v2")),
    };
    let secure = host(named);
    let mut ways = secure.showing_each(manner.identities.clone());
    if place.insecure {
        // containers-registries.conf(5): an insecure location may also speak http.
        ways.push(host(plain));
    }
    Ok(ways)
}

/// Whether the API at this address is that of the registry of this name.
fn is_at(api: &str, name: &str) -> bool {
    let origin = |text: &str| reqwest::Url::parse(text).ok().map(|url| url.origin());
    let mut names = vec![name];
    if name == "docker.io" {
        names.extend(["registry-1.docker.io", "index.docker.io"]);
    }
    let of = |scheme, name| origin(api) == origin(&format!("{scheme}://{name}/"));
    names.iter().any(|name| of("https", name) || of("http", name))
}

/// The same address, asked by http.
fn without_tls(api: &str) -> String {
    api.strip_prefix("https://").map_or_else(|| api.to_owned(), |rest| format!("http://{rest}"))
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let message = format!("cannot read the configuration {}", path.display());
    match error.kind() {
        ErrorKind::PermissionDenied => Error::denied(message),
        _ => Error::io(message),
    }
    .with_source(error)
}

/// `why` repeats nothing of the file that could be long or do harm to a terminal.
fn malformed(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::bad_data(format!("cannot use {}: {why}", path.display()))
}

#[cfg(test)]
mod tests;
