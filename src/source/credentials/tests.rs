//! Which credentials are found, in which order.

use std::ffi::OsString;

use rustix::process::Uid;

use super::search::CredentialSource;
use super::*;
use crate::source::Warnings;

fn places(search: &Search, environment: &[(&str, &str)]) -> Vec<String> {
    let variable = |name: &str| {
        let found = environment.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| OsString::from(value))
    };
    let shown = |place: CredentialSource| match place {
        CredentialSource::Inline(text) => format!("inline {text}"),
        CredentialSource::File { path, required: true } => format!("{}!", path.display()),
        CredentialSource::File { path, required: false } => path.display().to_string(),
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
        CredentialSource::File { path: directory.path().join("none"), required: false },
        CredentialSource::Inline(r#"{"auths":{"b.example":{"auth":"dTppbmxpbmU="}}}"#.to_owned()),
        CredentialSource::File { path: path.clone(), required: false },
    ];
    let source = |registry: &str| {
        let found = Search::find_in(&places, (registry, "x"), &Warnings::default()).unwrap();
        found.map(|found| found.source)
    };
    assert_eq!(source("b.example").unwrap(), "DOCKER_AUTH_CONFIG, key b.example");
    assert_eq!(source("a.example").unwrap(), format!("{}, key a.example", path.display()));
    assert_eq!(source("c.example"), None);
    let missing = [CredentialSource::File { path: directory.path().join("none"), required: true }];
    let error = Search::find_in(&missing, ("a.example", "x"), &Warnings::default()).unwrap_err();
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
    let found = FoundCredentials {
        credentials: Credentials::of_user("alice".into(), "hunter2".into()),
        source: "somewhere".into(),
    };
    let shown = format!("{found:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("alice"), "{shown}");
}
