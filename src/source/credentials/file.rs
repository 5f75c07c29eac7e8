//! A file of credentials, in the format that docker's `config.json` and containers' `auth.json`
//! share.
//!
//! Source: containers-auth.json(5); docker/cli, cli/config/configfile/file.go.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::helper;
use super::secret::{Credentials, FoundCredentials, Secret};
use crate::error::{Error, Result};
use crate::json;
use crate::open;
use crate::source::Warnings;

/// The longest file that is read.
const MAX_LENGTH: u64 = 1 << 20;

/// The names under which Docker Hub's credentials stand.
const HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// What helpers and docker call Docker Hub.
const HUB_SERVER: &str = "https://index.docker.io/v1/";

/// A parsed file.
#[derive(Debug)]
pub(super) struct AuthFile {
    name: String,
    content: AuthFileContent,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthFileContent {
    #[serde(default)]
    auths: BTreeMap<String, AuthEntry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: String,
}

/// One entry; what it holds is secret, so it has no `Debug` of its own that would show it.
#[derive(Default, Deserialize)]
struct AuthEntry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
    #[serde(default, rename = "registrytoken")]
    registry_token: String,
}

impl std::fmt::Debug for AuthEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry")
    }
}

impl AuthFile {
    /// Reads a file. One that nobody named need not be there, and need not be for us: `warnings`
    /// hears of that.
    pub(super) fn read(path: &Path, warnings: Option<&Warnings>) -> Result<Option<Self>> {
        let name = path.display().to_string();
        let failed = || format!("cannot read credentials from {name}");
        let open = if warnings.is_some() { open::configuration } else { open::readable };
        let file = match open(path) {
            Ok(file) => file,
            Err(error) => match (error.kind(), warnings) {
                (ErrorKind::NotFound | ErrorKind::NotADirectory, Some(_)) => return Ok(None),
                (ErrorKind::PermissionDenied, Some(warnings)) => {
                    warnings.skip_unreadable(path);
                    return Ok(None);
                }
                (ErrorKind::NotFound, None) => {
                    let message = format!("there is no file of credentials at {name}");
                    return Err(Error::not_found(message));
                }
                (ErrorKind::PermissionDenied, None) => {
                    return Err(Error::denied(failed()).with_source(error));
                }
                _ => return Err(Error::io(failed()).with_source(error)),
            },
        };
        let mut text = String::new();
        file.take(MAX_LENGTH.saturating_add(1))
            .read_to_string(&mut text)
            .map_err(|error| Error::io(failed()).with_source(error))?;
        if u64::try_from(text.len()).is_ok_and(|length| length > MAX_LENGTH) {
            return Err(Error::bad_data(format!("{name} is longer than {MAX_LENGTH} bytes")));
        }
        let is_old = path.file_name().is_some_and(|name| name == ".dockercfg");
        if is_old {
            // The file before config.json is what became its member `auths`.
            let auths = parse(&name, &text)?;
            return Ok(Some(Self {
                name,
                content: AuthFileContent { auths, ..AuthFileContent::default() },
            }));
        }
        Self::parse(&name, &text).map(Some)
    }

    /// Parses a file's text.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self> {
        Ok(Self { name: name.to_owned(), content: parse(name, text)? })
    }

    /// What the file knows about a repository: its helper first, then the general one, then its
    /// own entries.
    pub(super) fn find(
        &self,
        registry: &str,
        repository: &str,
        limit: Duration,
    ) -> Result<Option<FoundCredentials>> {
        let wanted = AuthKey::new(registry, repository);
        let AuthFileContent { cred_helpers, creds_store, .. } = &self.content;
        let own = wanted.best(cred_helpers.iter()).map(|(_, name)| (name, "credHelpers"));
        // docker/cli: an entry without a name says that the file knows, not the general helper.
        let is_file = own.is_some_and(|(name, _)| name.is_empty());
        let general = (!is_file).then_some((creds_store, "credsStore"));
        let helpers = [own, general].into_iter().flatten().filter(|(name, _)| !name.is_empty());
        for (name, member) in helpers {
            let place = format!("{member} of {}", self.name);
            if let Some(credentials) = helper::get(name, &wanted.server(), &place, limit)? {
                let source = format!("docker-credential-{name}, {place}");
                return Ok(Some(FoundCredentials { credentials, source }));
            }
        }
        let Some((key, entry)) = wanted.best(self.content.auths.iter()) else { return Ok(None) };
        let source = format!("{}, key {key}", self.name);
        let credentials = entry.credentials().map_err(|why| {
            Error::bad_data(format!("cannot use the credentials in {source}: {why}"))
        })?;
        Ok(credentials.map(|credentials| FoundCredentials { credentials, source }))
    }
}

/// An empty file knows nothing, as docker reads it: it may have been made by `touch`, or be
/// `/dev/null`. The parser repeats what it refuses, which may be a secret: the place alone is told.
fn parse<T: Default + DeserializeOwned>(name: &str, text: &str) -> Result<T> {
    if text.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    json::from_slice(text.as_bytes()).map_err(|error| {
        Error::bad_data(format!(
            "{name} is no file of credentials: line {}, column {}",
            error.line(),
            error.column()
        ))
    })
}

impl AuthEntry {
    /// Nothing when the entry is empty: docker leaves such where a helper has the rest.
    fn credentials(&self) -> Result<Option<Credentials>, &'static str> {
        if !self.registry_token.is_empty() {
            return Ok(Some(Credentials::Bearer(Secret::new(self.registry_token.clone()))));
        }
        let password = self.password()?;
        if self.identity_token.is_empty() {
            return Ok(password);
        }
        let beside = match password {
            Some(Credentials::Password(user, password)) => Some((user, password)),
            _ => None,
        };
        Ok(Some(Credentials::Identity(Secret::new(self.identity_token.clone()), beside)))
    }

    fn password(&self) -> Result<Option<Credentials>, &'static str> {
        if self.auth.is_empty() {
            let named = !self.username.is_empty();
            let (user, password) = (self.username.clone(), self.password.clone());
            return Ok(named.then(|| Credentials::of_user(user, password)));
        }
        let bytes = STANDARD.decode(self.auth.trim()).map_err(|_| "\"auth\" is not base64")?;
        let text = String::from_utf8(bytes).map_err(|_| "\"auth\" is not text")?;
        // docker trims the zero bytes that old versions wrote.
        let (user, password) =
            text.trim_end_matches('\0').split_once(':').ok_or("\"auth\" has no colon")?;
        Ok(Some(Credentials::of_user(user.to_owned(), password.to_owned())))
    }
}

/// The keys under which a repository may stand, the longest first.
struct AuthKey {
    keys: Vec<String>,
    is_hub: bool,
}

impl AuthKey {
    fn new(registry: &str, repository: &str) -> Self {
        let mut keys = Vec::new();
        let mut rest = Some(repository);
        while let Some(path) = rest.filter(|path| !path.is_empty()) {
            keys.push(format!("{registry}/{path}"));
            rest = path.rsplit_once('/').map(|(parent, _)| parent);
        }
        let is_hub = HUB.contains(&registry);
        if is_hub {
            keys.extend(HUB.map(str::to_owned));
        } else {
            keys.push(registry.to_owned());
        }
        Self { keys, is_hub }
    }

    /// What a helper is asked for.
    fn server(&self) -> String {
        match self.keys.last() {
            Some(_) if self.is_hub => HUB_SERVER.to_owned(),
            Some(registry) => registry.clone(),
            None => String::new(),
        }
    }

    /// The entry of the most specific key; of two that mean the same, the one written plainly.
    fn best<'a, V: 'a>(
        &self,
        entries: impl Iterator<Item = (&'a String, &'a V)>,
    ) -> Option<(&'a String, &'a V)> {
        entries
            .filter_map(|(key, value)| {
                let meaning = meaning(key);
                let rank = self.keys.iter().position(|wanted| wanted == meaning)?;
                Some(((rank, key.len()), (key, value)))
            })
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, entry)| entry)
    }
}

/// A key without what docker's older versions put around the host.
fn meaning(key: &str) -> &str {
    let host = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = host.trim_end_matches('/');
    let plain = host.strip_suffix("/v1").or_else(|| host.strip_suffix("/v2")).unwrap_or(host);
    // Only a whole path of that name is docker's, a namespace may bear it too.
    if plain.contains('/') { host } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn user_of(text: &str, registry: &str, repository: &str) -> Option<String> {
        let file = AuthFile::parse("file", text).unwrap();
        match file.find(registry, repository, LIMIT).unwrap()?.credentials {
            Credentials::Password(user, password) => {
                Some(format!("{}:{}", user.reveal(), password.reveal()))
            }
            Credentials::Identity(token, _) => Some(format!("identity {}", token.reveal())),
            Credentials::Bearer(token) => Some(format!("bearer {}", token.reveal())),
        }
    }

    fn entry(user: &str) -> String {
        format!("{{\"auth\":\"{}\"}}", STANDARD.encode(format!("{user}:p")))
    }

    #[test]
    fn the_longest_key_wins() {
        let text = format!(
            r#"{{"auths":{{"h:5000":{},"h:5000/a":{},"h:5000/a/b":{},"https://i/":{}}}}}"#,
            entry("host"),
            entry("a"),
            entry("b"),
            entry("slash")
        );
        for (registry, repository, user) in [
            ("h:5000", "x", Some("host:p")),
            ("h:5000", "a", Some("a:p")),
            ("h:5000", "a/x", Some("a:p")),
            ("h:5000", "a/b", Some("b:p")),
            ("h:5000", "a/b/c", Some("b:p")),
            ("h:5000", "ab/c", Some("host:p")),
            ("h", "a", None),
            ("i", "a", Some("slash:p")),
        ] {
            let found = user_of(&text, registry, repository);
            assert_eq!(found.as_deref(), user, "{registry}/{repository}");
        }
    }

    #[test]
    fn docker_hub_is_known_by_all_its_names() {
        for key in [
            "https://index.docker.io/v1/",
            "index.docker.io",
            "docker.io",
            "registry-1.docker.io",
            "https://registry-1.docker.io/v2/",
        ] {
            let text = format!(r#"{{"auths":{{"{key}":{}}}}}"#, entry("hub"));
            assert_eq!(user_of(&text, "docker.io", "library/x").as_deref(), Some("hub:p"), "{key}");
            assert_eq!(user_of(&text, "quay.io", "library/x"), None);
        }
        let both = format!(
            r#"{{"auths":{{"docker.io":{},"docker.io/me":{}}}}}"#,
            entry("all"),
            entry("me")
        );
        assert_eq!(user_of(&both, "docker.io", "me/x").as_deref(), Some("me:p"));
    }

    #[test]
    fn every_form_of_an_entry_is_read() {
        for (entry, expected) in [
            (r#"{"auth":"dTpwOnE="}"#, Some("u:p:q")),
            (r#"{"auth":"dTpwAAA="}"#, Some("u:p")),
            (r#"{"username":"u","password":"p"}"#, Some("u:p")),
            (r#"{"auth":"dTpw","identitytoken":"i"}"#, Some("identity i")),
            (r#"{"registrytoken":"r"}"#, Some("bearer r")),
            (r#"{"auth":"PHRva2VuPjp0"}"#, Some("identity t")),
            (r#"{"email":"x@y"}"#, None),
            ("{}", None),
        ] {
            let text = format!(r#"{{"auths":{{"h":{entry}}},"HttpHeaders":{{}}}}"#);
            assert_eq!(user_of(&text, "h", "x").as_deref(), expected, "{entry}");
        }
    }

    #[test]
    fn the_file_before_config_json_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".dockercfg");
        std::fs::write(&path, r#"{"h":{"auth":"dTpw"}}"#).unwrap();
        let file = AuthFile::read(&path, None).unwrap().unwrap();
        assert!(file.find("h", "x", LIMIT).unwrap().is_some());
    }

    #[test]
    fn an_empty_file_and_null_know_nothing() {
        for text in ["", " \n\t", "null", "{}", r#"{"auths":null,"credHelpers":null}"#] {
            assert_eq!(user_of(text, "h", "x"), None, "{text:?}");
        }
        for entry in ["null", "{}", r#"{"auth":null,"identitytoken":null}"#] {
            let text = format!(r#"{{"auths":{{"h":{entry}}},"credsStore":null}}"#);
            assert_eq!(user_of(&text, "h", "x"), None, "{entry}");
        }
        let other_case = format!(r#"{{"AUTHS":{{"h":{}}}}}"#, entry("u").replace("auth", "Auth"));
        assert_eq!(user_of(&other_case, "h", "x").as_deref(), Some("u:p"));
        let directory = tempfile::tempdir().unwrap();
        for name in [".dockercfg", "config.json"] {
            let path = directory.path().join(name);
            std::fs::write(&path, "\n").unwrap();
            let file = AuthFile::read(&path, None).unwrap().unwrap();
            assert!(file.find("h", "x", LIMIT).unwrap().is_none());
        }
        let file = AuthFile::read(Path::new("/dev/null"), None).unwrap().unwrap();
        assert!(file.find("h", "x", LIMIT).unwrap().is_none());
    }

    #[test]
    fn a_helper_without_a_name_leaves_the_registry_to_the_file() {
        for own in [r#""""#, "null"] {
            let text = format!(
                r#"{{"auths":{{"h":{}}},"credsStore":"of-banger-no-such","credHelpers":{{"h":{own}}}}}"#,
                entry("file")
            );
            assert_eq!(user_of(&text, "h", "x").as_deref(), Some("file:p"));
            let file = AuthFile::parse("file", &text).unwrap();
            assert!(file.find("other", "x", LIMIT).is_err(), "the general helper is asked");
        }
    }

    #[test]
    fn a_malformed_file_is_told_without_its_secrets() {
        for text in [
            r#"{"auths":{"h":{"auth":"c2VjcmV0"}}}"#,
            r#"{"auths":{"h":{"auth":"secret!!"}}}"#,
            r#"{"auths":{"h":"secret"}}"#,
            r#"{"auths":{"h":{"auth":["secret"]}}"#,
            "secret",
        ] {
            let found =
                AuthFile::parse("the file", text).and_then(|file| file.find("h", "x", LIMIT));
            let error = found.unwrap_err().to_string();
            assert!(error.contains("the file") && !error.contains("secret"), "{error}");
        }
    }
}
