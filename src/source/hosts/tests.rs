//! Which hosts are asked, in which order, how.

use std::ffi::OsString;
use std::fs;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{Expectation, Files, fragments};
use super::*;
use crate::error::Result;
use crate::source::Warnings;

/// Directories of configuration of a test's own.
struct Fixture {
    directory: tempfile::TempDir,
    host_options: HostOptions,
}

impl Fixture {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), host_options: HostOptions::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
        self
    }

    fn find(&self, reference: &str) -> Result<Vec<Host>> {
        let expectation = Expectation::default();
        let registries = Files { paths: fragments(&self.path("conf"), &expectation)?, expectation };
        let directories = Files { paths: vec![self.path("certs.d")], ..Files::default() };
        let places = ConfigurationPaths { registries, directories };
        find(&reference.parse().unwrap(), &self.host_options, &places)
    }

    /// `api repository`, with marks for what is special.
    fn asked(&self, reference: &str) -> Vec<String> {
        let shown = |host: &Host| {
            let serves = match (host.serves.tags, host.serves.digests) {
                (true, true) => "",
                (true, false) => " tags",
                (false, true) => " digests",
                (false, false) => " nothing",
            };
            let namespace = host.namespace.as_ref().map(|name| format!(" ns={name}"));
            let insecure = if host.trust.insecure { " insecure" } else { "" };
            let (api, repository) = (&host.api, &host.repository);
            format!("{api} {repository}{}{serves}{insecure}", namespace.unwrap_or_default())
        };
        let hosts = self.find(reference).unwrap();
        assert!(!hosts.last().unwrap().is_mirror);
        hosts.iter().map(shown).collect()
    }
}

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn r25_a_server_at_another_host_is_told_for_which_registry_it_is_asked() {
    for (name, server, asked) in [
        ("r.example", "http://m.example:5000", "http://m.example:5000/v2 a/b ns=r.example"),
        ("r.example:7", "https://m.example", "https://m.example/v2 a/b ns=r.example:7"),
        ("r.example:7", "https://r.example", "https://r.example/v2 a/b ns=r.example:7"),
        ("r.example", "https://r.example", "https://r.example/v2 a/b"),
        ("r.example", "http://R.example", "http://r.example/v2 a/b"),
        ("docker.io", "https://registry-1.docker.io", "https://registry-1.docker.io/v2 a/b"),
        ("docker.io", "https://m.example", "https://m.example/v2 a/b ns=docker.io"),
    ] {
        let mut fixture = Fixture::new();
        fixture.write(&format!("certs.d/{name}/hosts.toml"), &format!("server = '{server}'"));
        assert_eq!(fixture.asked(&format!("{name}/a/b")), [asked], "{name} at {server}");
        // The server that is named is the one that is asked, by http too.
        fixture.host_options.plain_http = true;
        let plain = asked.replace("https://", "http://");
        assert_eq!(fixture.asked(&format!("{name}/a/b")), [plain], "{name} at {server}");
    }
    // What is said of every host is said of this one too.
    let fixture = Fixture::new();
    fixture.write("certs.d/_default/hosts.toml", "server = 'http://m.example'");
    let asked = "http://m.example/v2 a/b ns=127.0.0.1:5000";
    assert_eq!(fixture.asked("127.0.0.1:5000/a/b"), [asked]);
}

#[test]
fn without_configuration_the_registry_itself_is_asked() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.asked("alpine"), ["https://index.docker.io/v2 library/alpine"]);
    assert_eq!(fixture.asked("h.example:5000/a/b"), ["https://h.example:5000/v2 a/b"]);
    for host in ["localhost:5000", "127.0.0.2", "[::1]:5000"] {
        let both = [format!("https://{host}/v2 a insecure"), format!("http://{host}/v2 a")];
        assert_eq!(fixture.asked(&format!("{host}/a")), both);
    }
    fixture.host_options.insecure = true;
    assert_eq!(fixture.asked("localhost:5000/a"), ["https://localhost:5000/v2 a insecure"]);
    fixture.host_options = HostOptions { plain_http: true, ..HostOptions::default() };
    assert_eq!(fixture.asked("h.example/a"), ["http://h.example/v2 a"]);
    assert_eq!(fixture.asked("localhost:5000/a"), ["http://localhost:5000/v2 a"]);
}

#[test]
fn the_longest_prefix_of_registries_conf_decides() {
    let fixture = Fixture::new();
    fixture.write(
        "conf/1.conf",
        r#"
        unqualified-search-registries = ["docker.io"]
        [[registry]]
        location = "h.example"
        [[registry.mirror]]
        location = "m.example/all"
        [[registry]]
        prefix = "h.example/team"
        location = "other.example:5000/moved"
        [[registry]]
        prefix = "*.wild.example"
        location = "tame.example"
        "#,
    );
    assert_eq!(
        fixture.asked("h.example/a/b"),
        ["https://m.example/v2 all/a/b", "https://h.example/v2 a/b"]
    );
    assert_eq!(fixture.asked("h.example/team/x"), ["https://other.example:5000/v2 moved/x"]);
    assert_eq!(
        fixture.asked("h.example/teams/x"),
        ["https://m.example/v2 all/teams/x", "https://h.example/v2 teams/x"]
    );
    assert_eq!(fixture.asked("a.wild.example/x"), ["https://tame.example/v2 x"]);
    assert_eq!(fixture.asked("h.example.org/x"), ["https://h.example.org/v2 x"]);
}

#[test]
fn a_later_fragment_replaces_the_same_prefix() {
    let fixture = Fixture::new();
    fixture.write("conf/1.conf", "[[registry]]\nlocation='h.example'\nblocked=true");
    let error = fixture.find("h.example/x").unwrap_err();
    assert_eq!(error.exit_code(), 77);
    assert!(error.to_string().contains("is blocked by"), "{error}");
    fixture.write("conf/2.conf", "[[registry]]\nprefix='h.example'\nlocation='i.example'");
    assert_eq!(fixture.asked("h.example/x"), ["https://i.example/v2 x"]);
}

#[test]
fn mirrors_of_registries_conf_may_be_for_digests_or_tags_only() {
    let fixture = Fixture::new();
    fixture.write(
        "conf/1.conf",
        r#"
        [[registry]]
        location = "h.example"
        [[registry.mirror]]
        location = "d.example"
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "t.example"
        pull-from-mirror = "tag-only"
        [[registry]]
        location = "i.example"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "d.example"
        "#,
    );
    let by_digest = format!("h.example/x@{DIGEST}");
    assert_eq!(fixture.asked("h.example/x"), ["https://t.example/v2 x", "https://h.example/v2 x"]);
    assert_eq!(
        fixture.asked(&by_digest),
        ["https://d.example/v2 x digests", "https://h.example/v2 x"]
    );
    assert_eq!(fixture.asked("i.example/x"), ["https://i.example/v2 x"]);
}

#[test]
fn an_insecure_location_is_tried_by_both_protocols() {
    let fixture = Fixture::new();
    fixture.write("conf/1.conf", "[[registry]]\nlocation='h.example'\ninsecure=true");
    assert_eq!(
        fixture.asked("h.example/x"),
        ["https://h.example/v2 x insecure", "http://h.example/v2 x insecure"]
    );
}

#[test]
fn the_hosts_of_containerd_are_asked_in_their_order() {
    let fixture = Fixture::new();
    fixture.write(
        "certs.d/docker.io/hosts.toml",
        r#"
        server = "https://registry-1.docker.io"
        [host."https://z.example"]
          capabilities = ["pull"]
          skip_verify = true
        [host."http://a.example:5000/cache"]
          capabilities = ["pull", "resolve"]
        [host."https://p.example/exact/path"]
          override_path = true
          ca = ["one.pem", "/two.pem"]
          client = [["c.pem", "k.pem"]]
        "#,
    );
    assert_eq!(
        fixture.asked("alpine"),
        [
            "https://z.example/v2 library/alpine ns=docker.io digests insecure",
            "http://a.example:5000/cache/v2 library/alpine ns=docker.io",
            "https://p.example/exact/path library/alpine ns=docker.io",
            "https://registry-1.docker.io/v2 library/alpine",
        ]
    );
    let trust = fixture.find("alpine").unwrap().remove(2).trust;
    let place = |name: &str| fixture.path("certs.d/docker.io").join(name);
    assert_eq!(trust.authorities, [place("one.pem"), "/two.pem".into()]);
    let (certificate, key) = (place("c.pem"), place("k.pem"));
    assert_eq!(trust.identity, Some(Identity { certificate, key }));
}

#[test]
fn each_client_certificate_of_containerd_is_a_way_of_its_own() {
    let fixture = Fixture::new();
    fixture.write(
        "certs.d/h.example/hosts.toml",
        r#"
        client = ["both.pem", ["c.pem", "/k.pem"], ["old.pem", ""]]
        [host."https://m.example"]
          client = "m.pem"
        "#,
    );
    let hosts = fixture.find("h.example/x").unwrap();
    let shown = |host: &Host| {
        let Identity { certificate, key } = host.trust.identity.clone().unwrap();
        (host.api.clone(), certificate, key)
    };
    let place = |name: &str| fixture.path("certs.d/h.example").join(name);
    let own = "https://h.example/v2".to_owned();
    assert_eq!(
        hosts.iter().map(shown).collect::<Vec<_>>(),
        [
            ("https://m.example/v2".to_owned(), place("m.pem"), place("m.pem")),
            (own.clone(), place("both.pem"), place("both.pem")),
            (own.clone(), place("c.pem"), "/k.pem".into()),
            (own, place("old.pem"), place("old.pem")),
        ]
    );
    // None but the mirror is a stand-in: what the user gave for the registry is shown to it.
    assert_eq!(
        hosts.iter().map(|host| host.is_mirror).collect::<Vec<_>>(),
        [true, false, false, false]
    );
}

#[test]
fn headers_and_times_of_containerd_are_the_hosts_own() {
    let fixture = Fixture::new();
    fixture.write(
        "certs.d/h.example/hosts.toml",
        r#"
        dial_timeout = "1m0.5s"
        ca = "own.pem"
        [header]
          Authorization = "Basic hunter2"
        [host."https://m.example"]
          dial_timeout = "200ms"
          [host."https://m.example".header]
            X-Two = ["one", "two"]
        "#,
    );
    let [mirror, own] = fixture.find("h.example/x").unwrap().try_into().unwrap();
    assert_eq!(mirror.headers.get_all("x-two").iter().collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!((mirror.headers.len(), own.headers.len()), (2, 1));
    assert_eq!(own.headers["authorization"], "Basic hunter2");
    assert!(!format!("{own:?}").contains("hunter2"));
    let usual = Duration::from_secs(30);
    assert_eq!(mirror.connecting(usual), Duration::from_millis(200));
    assert_eq!(own.dial_timeout, Some(Duration::from_millis(60_500)));
    assert_eq!(own.connecting(usual), usual, "no more than was asked for");
    // What is said of the host itself needs no other address of it.
    assert_eq!(own.trust.authorities, [fixture.path("certs.d/h.example/own.pem")]);
}

#[test]
fn an_error_in_hosts_toml_names_the_line_and_no_secret() {
    for (text, words) in [
        ("\n[header]\nAuthorization = Basic hunter2", "line 3: "),
        ("[host.'https://x']\nskip_verify = 'hunter2'", "expected a boolean"),
        ("[host.'https://x']\nheader = 'hunter2'", "expected a"),
        ("header = 'hunter2'", "line 1: expected a"),
        ("[header]\nx = [1, 'hunter2']", "the header \"x\" is neither"),
        ("[header]\nx = \"hunter2\\u0001\"", "the header \"x\" has a value"),
        ("[header]\n'x y' = 'hunter2'", "the header \"x y\" has no name"),
        ("[header]\nHost = 'hunter2'", "not for a configuration"),
    ] {
        let fixture = Fixture::new();
        fixture.write("certs.d/h.example/hosts.toml", text);
        let error = fixture.find("h.example/x").unwrap_err();
        assert_eq!(error.exit_code(), 65, "{error}");
        let message = error.to_string();
        assert!(message.contains(words) && !message.contains("hunter2"), "{text}: {message}");
    }
}

#[test]
fn the_default_directory_is_for_every_other_host() {
    let fixture = Fixture::new();
    fixture.write("certs.d/_default/hosts.toml", "[host.'http://mirror.example']");
    fixture.write("certs.d/own.example/hosts.toml", "");
    assert_eq!(
        fixture.asked("h.example/x"),
        ["http://mirror.example/v2 x ns=h.example", "https://h.example/v2 x"]
    );
    assert_eq!(fixture.asked("own.example/x"), ["https://own.example/v2 x"]);
    // Where a colon is none of a name, as containerd has it.
    fixture.write("certs.d/own.example_5000_/hosts.toml", "server = 'http://plain.example'");
    assert_eq!(
        fixture.asked("own.example:5000/x"),
        ["http://plain.example/v2 x ns=own.example:5000"]
    );
}

#[test]
fn certificates_beside_hosts_toml_are_used() {
    let mut fixture = Fixture::new();
    for name in ["ca.crt", "client.cert", "client.key"] {
        fixture.write(&format!("certs.d/localhost:5000/{name}"), "");
    }
    let place = |name: &str| fixture.path("certs.d/localhost:5000").join(name);
    let hosts = fixture.find("localhost:5000/x").unwrap();
    assert_eq!(hosts[0].api, "https://localhost:5000/v2");
    assert_eq!(hosts[0].trust.authorities, [place("ca.crt")]);
    assert_eq!(hosts[0].trust.identity.as_ref().unwrap().certificate, place("client.cert"));
    let (certificate, key) = (PathBuf::from("/mine.pem"), PathBuf::from("/mine.key"));
    let mine = Identity { certificate, key };
    fixture.host_options.identity = Some(mine.clone());
    assert_eq!(fixture.find("localhost:5000/x").unwrap()[0].trust.identity, Some(mine));
    fs::remove_file(fixture.path("certs.d/localhost:5000/client.key")).unwrap();
    assert_eq!(fixture.find("localhost:5000/x").unwrap_err().exit_code(), 65);
}

#[test]
fn the_words_of_the_command_are_about_the_registry_and_not_its_mirrors() {
    let mut fixture = Fixture::new();
    fixture.write(
        "conf/1.conf",
        "[[registry]]\nlocation='h.example'\n[[registry.mirror]]\nlocation='m.example'",
    );
    fixture.host_options.plain_http = true;
    assert_eq!(fixture.asked("h.example/x"), ["https://m.example/v2 x", "http://h.example/v2 x"]);
}

#[test]
fn malformed_configuration_is_told_with_its_file() {
    for (name, text) in [
        ("conf/1.conf", "[[registry]"),
        ("conf/1.conf", "[[registry]]\nlocation='h.example'\ninsecure='yes'"),
        ("conf/1.conf", "[[registry]]\nlocation='https://h.example'\nprefix='h.example'"),
        ("conf/1.conf", "[[registry]]\nlocation='h.example/../x'\nprefix='h.example'"),
        ("conf/1.conf", "[registries.search]\nregistries=['h.example']"),
        ("certs.d/h.example/hosts.toml", "server = 5"),
        ("certs.d/h.example/hosts.toml", "server = 'ftp://x'"),
        ("certs.d/h.example/hosts.toml", "[host.'https://u:p@x']"),
        ("certs.d/h.example/hosts.toml", "[host.'https://x']\nclient = 1"),
        ("certs.d/h.example/hosts.toml", "client = [['one.pem']]"),
        ("certs.d/h.example/hosts.toml", "client = [['1', '2', '3']]"),
        ("certs.d/h.example/hosts.toml", "client = ['']"),
        ("certs.d/h.example/hosts.toml", "dial_timeout = 'soon'"),
        ("certs.d/h.example/hosts.toml", "dial_timeout = '5'"),
        ("certs.d/h.example/hosts.toml", "dial_timeout = '0s'"),
        ("certs.d/h.example/hosts.toml", "dial_timeout = '-1s'"),
        ("certs.d/h.example/hosts.toml", "dial_timeout = '99999999999999999999999h'"),
    ] {
        let fixture = Fixture::new();
        fixture.write(name, text);
        let error = fixture.find("h.example/x").unwrap_err();
        assert_eq!(error.exit_code(), 65, "{text}: {error}");
        assert!(error.to_string().contains(name), "{text}: {error}");
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
}

#[test]
fn the_usual_places_follow_the_environment() {
    let fixture = Fixture::new();
    let user = fixture.path("config/containers");
    fixture.write("config/containers/registries.conf", "");
    fixture.write("config/containers/registries.conf.d/b.conf", "");
    fixture.write("config/containers/registries.conf.d/a.conf", "");
    fixture.write("config/containers/registries.conf.d/c.txt", "");
    let config = fixture.path("config").into_os_string();
    let own = |name: &str| (name == "XDG_CONFIG_HOME").then(|| config.clone());
    let places =
        ConfigurationPaths::of_environment(&HostOptions::default(), &Warnings::default(), own)
            .unwrap();
    let ours: Vec<_> =
        places.registries.paths.iter().filter(|path| path.starts_with(&user)).cloned().collect();
    let names = ["registries.conf", "registries.conf.d/a.conf", "registries.conf.d/b.conf"];
    assert_eq!(ours, names.map(|name| user.join(name)));
    assert_eq!(places.directories.paths[0], user.join("certs.d"));
    assert_eq!(places.directories.paths.last().unwrap(), Path::new("/etc/docker/certs.d"));
    let mine = |name: &str| (name == "CONTAINERS_REGISTRIES_CONF").then(|| OsString::from("/mine"));
    let host_options =
        HostOptions { directories: Some(vec!["/d".into()]), ..HostOptions::default() };
    let places =
        ConfigurationPaths::of_environment(&host_options, &Warnings::default(), mine).unwrap();
    let [registries, directories] = [places.registries, places.directories];
    assert_eq!((registries.paths, directories.paths), (vec!["/mine".into()], vec!["/d".into()]));
    // What is named must be there.
    assert_eq!(registries.expectation.text_of(Path::new("/mine")).unwrap_err().exit_code(), 66);
    assert_eq!(Expectation::default().text_of(Path::new("/mine")).unwrap(), None);
}
