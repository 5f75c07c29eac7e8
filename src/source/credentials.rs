//! Who we are to a registry: found in the files and helpers that docker, podman and skopeo use.
//!
//! The first place in the order of `Search::places` that knows the registry answers. Nothing
//! here prints a secret: [`Secret`] has no text, and errors about files name lines, not contents.

mod file;
mod helper;

use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Uid;

use self::file::AuthFile;
use super::Notices;
use crate::error::{Error, Result};

/// How long a credential helper may take.
const HELPER_LIMIT: Duration = Duration::from_secs(30);

/// The longest user name and password that are read from standard input.
const MAX_GIVEN: u64 = 64 << 10;

/// A password or a token. It shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text from being shown.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, to be sent to whom it is for.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a registry is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A user name and a password.
    Password(Secret, Secret),
    /// A token by which the token server knows the user (docker's `identitytoken`), and the name
    /// and password beside it for a server that does not know tokens.
    Identity(Secret, Option<(Secret, Secret)>),
    /// A token that the registry itself takes (docker's `registrytoken`).
    Bearer(Secret),
}

impl Credentials {
    /// A user name and a password; helpers give identity tokens to the user `<token>`.
    ///
    /// Source: docker/docker-credential-helpers, README, "Credentials for identity tokens".
    fn of_user(user: String, password: String) -> Self {
        if user == "<token>" {
            return Self::Identity(Secret::new(password), None);
        }
        Self::Password(Secret::new(user), Secret::new(password))
    }

    /// Whether a text repeats one of the secrets, as it is or as a header shows it.
    #[must_use]
    pub fn are_told_by(&self, text: &str) -> bool {
        use base64::Engine as _;
        let tells = |secret: &str| !secret.is_empty() && text.contains(secret);
        let tells_pair = |user: &Secret, password: &Secret| {
            let pair = format!("{}:{}", user.reveal(), password.reveal());
            let shown = base64::engine::general_purpose::STANDARD.encode(pair);
            tells(password.reveal()) || tells(&shown)
        };
        match self {
            Self::Password(user, password) => tells_pair(user, password),
            Self::Identity(token, None) | Self::Bearer(token) => tells(token.reveal()),
            Self::Identity(token, Some((user, password))) => {
                tells(token.reveal()) || tells_pair(user, password)
            }
        }
    }

    /// What they are, without what they say.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Password(..) => "user name and password",
            Self::Identity(..) => "identity token",
            Self::Bearer(_) => "registry token",
        }
    }
}

/// Credentials, and who knew them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The credentials.
    pub credentials: Credentials,
    /// The file with the key, or the helper with the file that names it.
    pub source: String,
}

/// Where credentials are looked for.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The credentials that the user gave for the registry of the reference.
    pub given: Option<Credentials>,
    /// The file that the user named.
    pub authfile: Option<PathBuf>,
}

/// One place that may know a registry.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// A file; it must exist when the user named it.
    File { path: PathBuf, required: bool },
    /// The content of a variable.
    Inline(String),
}

impl Search {
    /// The credentials for `repository` of `registry`; nothing when nobody knows any.
    ///
    /// A file that nobody named and that we may not read is nothing, but is told.
    pub fn find(
        &self,
        registry: &str,
        repository: &str,
        notices: &Notices,
    ) -> Result<Option<Found>> {
        let places = self.places(|name| std::env::var_os(name), rustix::process::getuid());
        Self::find_in(&places, (registry, repository), notices)
    }

    fn find_in(
        places: &[Place],
        (registry, repository): (&str, &str),
        notices: &Notices,
    ) -> Result<Option<Found>> {
        for place in places {
            let file = match place {
                Place::Inline(text) => Some(AuthFile::parse("DOCKER_AUTH_CONFIG", text)?),
                Place::File { path, required: true } => AuthFile::read(path, None)?,
                Place::File { path, required: false } => AuthFile::read(path, Some(notices))?,
            };
            let found = file.map(|file| file.find(registry, repository, HELPER_LIMIT));
            if let Some(found) = found.transpose()?.flatten() {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Source of the order: containers-auth.json(5), then docker's own files.
    fn places(&self, variable: impl Fn(&str) -> Option<OsString>, user: Uid) -> Vec<Place> {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let directory = |name: &str| given(name).map(PathBuf::from);
        let mut places = Vec::new();
        let mut file = |path: Option<PathBuf>, required: bool| {
            places.extend(path.map(|path| Place::File { path, required }));
        };
        file(self.authfile.clone(), true);
        file(directory("REGISTRY_AUTH_FILE"), true);
        if let Some(text) = given("DOCKER_AUTH_CONFIG").and_then(|text| text.into_string().ok()) {
            places.push(Place::Inline(text));
        }
        let home = directory("HOME");
        let under_home = |name: &str| home.as_ref().map(|home| home.join(name));
        let mut file = |path: Option<PathBuf>| {
            places.extend(path.map(|path| Place::File { path, required: false }));
        };
        let containers = |directory: PathBuf| directory.join("containers").join("auth.json");
        let of_user = || PathBuf::from(format!("/run/containers/{}/auth.json", user.as_raw()));
        let runtime = directory("XDG_RUNTIME_DIR").map_or_else(of_user, containers);
        file(Some(runtime));
        file(directory("XDG_CONFIG_HOME").or_else(|| under_home(".config")).map(containers));
        let docker = directory("DOCKER_CONFIG").or_else(|| under_home(".docker"));
        file(docker.map(|directory| directory.join("config.json")));
        file(under_home(".dockercfg"));
        places
    }

    /// The places that are looked at, for people.
    #[must_use]
    pub fn described(&self) -> Vec<String> {
        let places = self.places(|name| std::env::var_os(name), rustix::process::getuid());
        places
            .iter()
            .map(|place| match place {
                Place::Inline(_) => "DOCKER_AUTH_CONFIG".to_owned(),
                Place::File { path, .. } => path.display().to_string(),
            })
            .collect()
    }
}

/// Reads `USER:PASSWORD` from `input`, up to the end or the first line's.
pub fn from_input(input: impl Read) -> Result<Credentials> {
    let refuse = |why: &str| Error::usage(format!("cannot use the credentials given: {why}"));
    let mut text = String::new();
    input.take(MAX_GIVEN.saturating_add(1)).read_to_string(&mut text).map_err(|error| {
        Error::io("cannot read credentials from standard input").with_source(error)
    })?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_GIVEN) {
        return Err(refuse("they are longer than 64 KiB"));
    }
    let line = text.lines().next().unwrap_or_default();
    match line.split_once(':') {
        Some((user, password)) if !user.is_empty() => {
            Ok(Credentials::of_user(user.to_owned(), password.to_owned()))
        }
        _ => Err(refuse("standard input does not begin with USER:PASSWORD")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(search: &Search, environment: &[(&str, &str)]) -> Vec<String> {
        let variable = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let shown = |place: Place| match place {
            Place::Inline(text) => format!("inline {text}"),
            Place::File { path, required: true } => format!("{}!", path.display()),
            Place::File { path, required: false } => path.display().to_string(),
        };
        search.places(variable, Uid::from_raw(7)).into_iter().map(shown).collect()
    }

    #[test]
    fn places_are_asked_in_their_order() {
        let search = Search { authfile: Some("/given".into()), ..Search::default() };
        let environment = [
            ("REGISTRY_AUTH_FILE", "/named"),
            ("DOCKER_AUTH_CONFIG", "{}"),
            ("XDG_RUNTIME_DIR", "/run/user/1"),
            ("XDG_CONFIG_HOME", "/xdg"),
            ("DOCKER_CONFIG", "/docker"),
            ("HOME", "/home/u"),
        ];
        assert_eq!(
            places(&search, &environment),
            [
                "/given!",
                "/named!",
                "inline {}",
                "/run/user/1/containers/auth.json",
                "/xdg/containers/auth.json",
                "/docker/config.json",
                "/home/u/.dockercfg",
            ]
        );
        assert_eq!(
            places(&Search::default(), &[("HOME", "/home/u"), ("DOCKER_CONFIG", "")]),
            [
                "/run/containers/7/auth.json",
                "/home/u/.config/containers/auth.json",
                "/home/u/.docker/config.json",
                "/home/u/.dockercfg",
            ]
        );
        assert_eq!(places(&Search::default(), &[]), ["/run/containers/7/auth.json"]);
    }

    #[test]
    fn the_first_place_that_knows_the_registry_answers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth.json");
        std::fs::write(&path, r#"{"auths":{"a.example":{"auth":"dTpmaWxl"}}}"#).unwrap();
        let places = [
            Place::File { path: directory.path().join("none"), required: false },
            Place::Inline(r#"{"auths":{"b.example":{"auth":"dTppbmxpbmU="}}}"#.to_owned()),
            Place::File { path: path.clone(), required: false },
        ];
        let source = |registry: &str| {
            let found = Search::find_in(&places, (registry, "x"), &Notices::default()).unwrap();
            found.map(|found| found.source)
        };
        assert_eq!(source("b.example").unwrap(), "DOCKER_AUTH_CONFIG, key b.example");
        assert_eq!(source("a.example").unwrap(), format!("{}, key a.example", path.display()));
        assert_eq!(source("c.example"), None);
        let missing = [Place::File { path: directory.path().join("none"), required: true }];
        let error = Search::find_in(&missing, ("a.example", "x"), &Notices::default()).unwrap_err();
        assert_eq!(error.exit_code(), 66, "{error}");
    }

    #[test]
    fn credentials_are_read_from_the_first_line() {
        let read = |text: &str| from_input(text.as_bytes());
        let password = |user: &str, password: &str| {
            Credentials::Password(Secret::new(user.into()), Secret::new(password.into()))
        };
        assert_eq!(read("u:p:q\nmore").unwrap(), password("u", "p:q"));
        assert_eq!(read("u:").unwrap(), password("u", ""));
        let token = Credentials::Identity(Secret::new("t".into()), None);
        assert_eq!(read("<token>:t\r\n").unwrap(), token);
        for text in ["", "\n", "secret", ":secret"] {
            let error = read(text).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains("secret"));
        }
        assert_eq!(read(&"x".repeat(1 << 20)).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_secret_shows_itself_to_nobody() {
        let found = Found {
            credentials: Credentials::of_user("alice".into(), "hunter2".into()),
            source: "somewhere".into(),
        };
        let shown = format!("{found:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("alice"), "{shown}");
    }
}
