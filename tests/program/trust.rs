//! TLS, mirrors and proxies: who is believed, and who is asked instead.

use std::fs;
use std::process::Output;

use banger_test_support::judge;
use banger_test_support::layers::Compression;
use banger_test_support::proxy::{Proxy, Reply, Silent};
use banger_test_support::registry::Registry;
use banger_test_support::tls::{Certificates, NAME};
use serde_json::json;

use crate::banger::{Bench, by_way_of, push};
use crate::faults::assert_clean;
use crate::image::image;

fn open() -> Option<Registry> {
    let registry = Registry::start()?;
    push(&registry, &[image(Compression::Gzip)], "app:latest");
    Some(registry)
}

/// A registry that speaks TLS, the authority that signed it, and the open one with its images.
fn secure(mutual: bool) -> Option<(Registry, Certificates, Registry)> {
    let (open, certificates) = (open()?, Certificates::make()?);
    let secure = open.over_tls(&certificates, mutual);
    Some((secure, certificates, open))
}

/// A directory of hosts that speaks of this host, so that TLS is spoken on loopback too.
fn hosts(bench: &Bench, host: &str) -> String {
    fs::create_dir_all(bench.path("certs.d").join(host)).unwrap();
    bench.path("certs.d").display().to_string()
}

#[test]
fn an_unknown_authority_is_refused_and_a_named_one_is_trusted() {
    let Some((registry, certificates, _open)) = secure(false) else { return };
    let (bench, reference) = (Bench::new(), format!("{}/app:latest", registry.host()));
    let hosts = hosts(&bench, &registry.host());
    let message = bench.pull_fails(&reference, &["--hosts-dir", &hosts], 69);
    assert!(message.contains("UnknownIssuer") && message.contains("--ca-file"), "{message}");
    let authority = certificates.path("ca.pem").display().to_string();
    bench.pull(&reference, "a", &["--ca-file", &authority]);
    bench.pull(&reference, "b", &["--insecure"]);
    fs::copy(&authority, bench.path("certs.d").join(registry.host()).join("ca.crt")).unwrap();
    bench.pull(&reference, "c", &["--hosts-dir", &hosts]);
    let mut command = bench.command(["image", "pull", &reference, "d", "--hosts-dir", &hosts]);
    fs::remove_file(bench.path("certs.d").join(registry.host()).join("ca.crt")).unwrap();
    let result = command.env("SSL_CERT_FILE", &authority).output().unwrap();
    assert!(result.status.success(), "{}", judge::text(&result));
    // The wrong protocol is not made right by either word.
    let message = bench.pull_fails(&reference, &["--plain-http", "--retry", "0"], 69);
    assert!(message.contains("400"), "{message}");
}

#[test]
fn the_servers_own_certificate_can_be_what_is_trusted() {
    let Some((open, certificates)) = open().zip(Certificates::make()) else { return };
    certificates.self_signed("authority", &[]);
    certificates.self_signed("leaf", &["basicConstraints=critical,CA:FALSE"]);
    certificates.signed_by_version_1("old");
    let bench = Bench::new();
    let path = |name: &str| certificates.path(name).display().to_string();
    for (number, (name, trusted)) in [
        ("authority", "authority.pem"),
        ("leaf", "leaf.pem"),
        ("old", "old-ca.pem"),
        ("old", "old.pem"),
        ("server", "server.pem"),
    ]
    .into_iter()
    .enumerate()
    {
        let registry = open.showing(&certificates, name);
        let (host, trusted) = (registry.host(), path(trusted));
        let reference = format!("{host}/app:latest");
        bench.pull(&reference, &format!("a{number}"), &["--ca-file", &trusted]);
        let beside = bench.path("certs.d").join(&host);
        let directories = hosts(&bench, &host);
        let message = bench.pull_fails(&reference, &["--hosts-dir", &directories], 69);
        assert!(message.contains("--ca-file"), "{message}");
        fs::copy(&trusted, beside.join("ca.crt")).unwrap();
        bench.pull(&reference, &format!("b{number}"), &["--hosts-dir", &directories]);
        fs::remove_file(beside.join("ca.crt")).unwrap();
        hosts_toml(&bench, &host, &format!("server = 'https://{host}'\nca = '{trusted}'\n"));
        bench.pull(&reference, &format!("c{number}"), &["--hosts-dir", &directories]);
        fs::remove_dir_all(&beside).unwrap();
        // As update-ca-certificates does it.
        hosts(&bench, &host);
        let words = ["image", "pull", &reference, &format!("d{number}"), "--hosts-dir"];
        let mut command = bench.command(words.iter().chain(&[directories.as_str()]));
        let result = command.env("SSL_CERT_FILE", &trusted).output().unwrap();
        assert!(result.status.success(), "{}", judge::text(&result));
        // The name counts, whoever is trusted.
        let other = format!("127.0.0.2:{}/app:latest", host.rsplit(':').next().unwrap());
        bench.pull_fails(&other, &["--ca-file", &trusted, "--retry", "0"], 69);
    }
}

#[test]
fn tls_is_tried_before_http_on_this_host_and_need_not_be_proven() {
    let Some((secure, _certificates, open)) = secure(false) else { return };
    let bench = Bench::new();
    for (number, registry) in [&secure, &open].into_iter().enumerate() {
        let port = registry.host().rsplit(':').next().unwrap().to_owned();
        let reference = format!("localhost:{port}/app:latest");
        bench.pull(&reference, &format!("{number}"), &[]);
        // The answer of a host that speaks TLS is the answer.
        let message = bench.pull_fails(&format!("{}/none:latest", registry.host()), &[], 66);
        assert!(message.contains("there is no manifest latest"), "{message}");
    }
    let guarded = open.guarded();
    let message = bench.pull_fails(&format!("{}/app:latest", guarded.host()), &[], 77);
    assert!(message.contains("answered 401"), "{message}");
    // Another host must prove who it is.
    let port = secure.host().rsplit(':').next().unwrap().to_owned();
    let message = bench.pull_fails(&format!("0.0.0.0:{port}/app:latest"), &["--retry", "0"], 69);
    assert!(message.contains("--ca-file"), "{message}");
}

#[test]
fn a_certificate_of_the_client_is_shown_when_it_is_named() {
    let Some((registry, certificates, _open)) = secure(true) else { return };
    let (bench, reference) = (Bench::new(), format!("{}/app:latest", registry.host()));
    let path = |name: &str| certificates.path(name).display().to_string();
    let (authority, certificate, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    bench.pull_fails(&reference, &["--ca-file", &authority, "--retry", "0"], 69);
    let words = ["--ca-file", &authority, "--cert-file", &certificate, "--key-file", &key];
    bench.pull(&reference, "a", &words);
    let both = bench.path("both.pem");
    let joined = [fs::read(&certificate).unwrap(), fs::read(&key).unwrap()].concat();
    fs::write(&both, joined).unwrap();
    let both = both.display().to_string();
    bench.pull(&reference, "b", &["--ca-file", &authority, "--cert-file", &both]);
    let hosts = hosts(&bench, &registry.host());
    let beside = bench.path("certs.d").join(registry.host());
    for (from, to) in [(&authority, "ca.crt"), (&certificate, "c.cert"), (&key, "c.key")] {
        fs::copy(from, beside.join(to)).unwrap();
    }
    bench.pull(&reference, "c", &["--hosts-dir", &hosts]);
    let message = bench.pull_fails(&reference, &["--cert-file", &certificate], 65);
    assert!(message.contains("not a certificate and its key"), "{message}");
}

/// Runs in a place where the system has no certificates; nothing where that cannot be had.
fn without_roots(bench: &Bench, words: &[&str]) -> Option<Output> {
    if !judge::kernel() || !judge::all(&["unshare"]) {
        return None;
    }
    let script = "for d in /etc/ssl /usr/share/ca-certificates /etc/pki; do \
                  [ -d $d ] && mount -t tmpfs none $d; done; exec \"$@\"";
    let mut hiding = std::process::Command::new("unshare");
    hiding.args(["--mount", "sh", "-c", script, "sh"]);
    Some(by_way_of(hiding, &bench.command(words)).output().unwrap())
}

#[test]
fn a_host_without_certificates_trusts_the_bundled_ones_and_no_others() {
    let Some((registry, certificates, _open)) = secure(false) else { return };
    let (bench, reference) = (Bench::new(), format!("{}/app:latest", registry.host()));
    let hosts = hosts(&bench, &registry.host());
    let words = ["image", "pull", &reference, "a", "--hosts-dir", &hosts];
    let Some(result) = without_roots(&bench, &words) else { return };
    assert_eq!(result.status.code(), Some(69), "{}", judge::text(&result));
    assert!(judge::text(&result).contains("UnknownIssuer"), "{}", judge::text(&result));
    let authority = certificates.path("ca.pem").display().to_string();
    let words = ["image", "pull", &reference, "a", "--ca-file", &authority];
    let result = without_roots(&bench, &words).unwrap();
    assert!(result.status.success(), "{}", judge::text(&result));
}

#[test]
fn roots_that_the_user_chose_are_not_replaced_by_others() {
    let Some((registry, _certificates, _open)) = secure(false) else { return };
    let (bench, reference) = (Bench::new(), format!("{}/app:latest", registry.host()));
    let hosts = hosts(&bench, &registry.host());
    fs::write(bench.path("none.pem"), "").unwrap();
    let words = ["image", "pull", &reference, "a", "--hosts-dir", &hosts];
    let mut command = bench.command(words);
    let result = command.env("SSL_CERT_FILE", bench.path("none.pem")).output().unwrap();
    assert_eq!(result.status.code(), Some(69), "{}", judge::text(&result));
    assert!(judge::text(&result).contains("SSL_CERT_FILE"), "{}", judge::text(&result));
}

#[test]
fn http_goes_through_the_proxy_of_the_environment() {
    let Some(registry) = open() else { return };
    let proxy = Proxy::start(&registry.host(), |request, upstream| upstream.answer(request));
    let (bench, reference) = (Bench::new(), format!("{NAME}:5000/app:latest"));
    for (variable, output) in [("http_proxy", "a"), ("HTTP_PROXY", "b"), ("all_proxy", "c")] {
        let words = ["image", "pull", &reference, output, "--plain-http", "--quiet"];
        let mut command = without_proxies(&bench, &words);
        let address = format!("http://{}", proxy.host());
        let result = command.env(variable, &address).output().unwrap();
        assert!(result.status.success(), "{variable}: {}", judge::text(&result));
        let word = format!("http://{NAME}:5000/v2/app/");
        assert!(proxy.log().iter().all(|request| request.target.starts_with(&word)));
        assert!(!proxy.log().is_empty());
        proxy.forget();
    }
    let words = ["image", "pull", &reference, "d", "--plain-http", "--quiet", "--retry", "0"];
    let mut command = without_proxies(&bench, &words);
    command.env("http_proxy", format!("http://{}", proxy.host())).env("no_proxy", ".test");
    assert_eq!(command.output().unwrap().status.code(), Some(69));
    assert!(proxy.log().is_empty());
    // The registry on this host is not behind a proxy.
    let reference = format!("{}/app:latest", registry.host());
    let mut command = without_proxies(&bench, &["image", "pull", &reference, "e", "--quiet"]);
    command.env("http_proxy", format!("http://{}", proxy.host()));
    assert!(command.output().unwrap().status.success());
    assert!(proxy.log().is_empty());
}

fn without_proxies(bench: &Bench, words: &[&str]) -> std::process::Command {
    let mut command = bench.command(words);
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command
}

#[test]
fn https_goes_through_the_tunnel_of_the_proxy() {
    let Some((registry, certificates, _open)) = secure(false) else { return };
    let proxy = Proxy::start(&registry.host(), |_, _| Reply::new(403, b""));
    let bench = Bench::new();
    let (reference, authority) = (format!("{NAME}/app:latest"), certificates.path("ca.pem"));
    let authority = authority.display().to_string();
    let words = ["image", "pull", &reference, "a", "--ca-file", &authority, "--quiet"];
    let mut command = without_proxies(&bench, &words);
    command.env("HTTPS_PROXY", format!("http://user:hidden@{}", proxy.host()));
    let result = command.output().unwrap();
    assert!(result.status.success(), "{}", judge::text(&result));
    let log = proxy.log();
    assert!(log.iter().all(|request| request.method == "CONNECT"), "{log:?}");
    assert!(log.iter().all(|request| request.target == format!("{NAME}:443")), "{log:?}");
    drop(proxy);
    let mut command = without_proxies(&bench, &[&words[..], &["--force", "--retry", "0"]].concat());
    command.env("HTTPS_PROXY", "http://user:hidden@127.0.0.1:1");
    let text = judge::text(&command.output().unwrap());
    assert!(!text.contains("hidden"), "{text}");
}

#[test]
fn a_mirror_of_registries_conf_is_asked_before_the_registry() {
    let Some(registry) = open() else { return };
    let origin = Proxy::start(&registry.host(), |request, upstream| upstream.answer(request));
    let mirror = Proxy::start(&registry.host(), |request, upstream| upstream.answer(request));
    let (bench, reference) = (Bench::new(), format!("{}/app:latest", origin.host()));
    fs::write(bench.path("registries.conf"), conf_of(&origin, &mirror.host())).unwrap();
    bench.pull(&reference, "a", &[]);
    assert!(!mirror.log().is_empty() && origin.log().is_empty(), "{:?}", origin.log());
    // A mirror that has nothing, one that fails, one that lies, and one that is not there.
    let empty = Proxy::start(&registry.host(), |_, _| Reply::new(404, b""));
    let failing = Proxy::start(&registry.host(), |_, _| Reply::new(500, b""));
    let lying = [true, false].map(|documents| lying_about(&registry, documents));
    let [documents, layers] = lying.each_ref().map(Proxy::host);
    let mirrors = [empty.host(), failing.host(), documents, layers, "127.0.0.1:1".to_owned()];
    for (number, host) in mirrors.iter().enumerate() {
        let bench = Bench::new();
        fs::write(bench.path("registries.conf"), conf_of(&origin, host)).unwrap();
        bench.pull(&reference, &format!("{number}"), &[]);
        assert_clean(&bench);
    }
    assert!(!origin.log().is_empty() && !empty.log().is_empty() && !failing.log().is_empty());
    // What is blocked is not asked at all.
    fs::write(bench.path("registries.conf"), "[[registry]]\nlocation='h.example'\nblocked=true")
        .unwrap();
    fs::remove_file(bench.path("a")).unwrap();
    let message = bench.pull_fails("h.example/app", &[], 77);
    assert!(message.contains("is blocked by"), "{message}");
}

/// A mirror that sends other bytes than the registry's documents, or than its layers.
fn lying_about(registry: &Registry, documents: bool) -> Proxy {
    Proxy::start(&registry.host(), move |request, upstream| {
        let mut reply = upstream.answer(request);
        let strikes = request.fetches_blob() && reply.body.starts_with(b"{") == documents;
        if let (true, Some(last)) = (strikes, reply.body.last_mut()) {
            *last ^= 1;
        }
        reply
    })
}

fn conf_of(origin: &Proxy, mirror: &str) -> String {
    format!(
        "[[registry]]\nlocation='{}'\n[[registry.mirror]]\nlocation='{mirror}'\n",
        origin.host()
    )
}

#[test]
fn the_hosts_of_containerd_are_asked_with_the_registrys_name_and_without_its_password() {
    let Some(registry) = open() else { return };
    let guarded = registry.guarded();
    let mirror = Proxy::start(&registry.host(), |request, upstream| {
        // It has the documents, and none of the layers.
        let reply = upstream.answer(request);
        let is_layer = reply.body.starts_with(&[0x1f, 0x8b]) || request.method == "HEAD";
        if is_layer { Reply::new(404, b"") } else { reply }
    });
    let bench = Bench::new();
    let directory = bench.path("certs.d").join(guarded.host());
    fs::create_dir_all(&directory).unwrap();
    let text = format!("server='http://{}'\n[host.'http://{}']\n", guarded.host(), mirror.host());
    fs::write(directory.join("hosts.toml"), text).unwrap();
    let (login, hosts) = (bench.login(&guarded.host()), bench.path("certs.d"));
    let hosts = hosts.display().to_string();
    let reference = format!("{}/app:latest", guarded.host());
    bench.pull(&reference, "a", &["--hosts-dir", &hosts, "--authfile", &login]);
    let log = mirror.log();
    let namespace = format!("?ns={}", guarded.host().replace(':', "%3A"));
    assert!(log.iter().all(|request| request.target.ends_with(&namespace)), "{log:?}");
    assert!(log.iter().all(|request| request.header("authorization").is_none()), "{log:?}");
    assert!(guarded.log().contains("/v2/app/blobs/"));
}

/// What containerd would read about a registry.
fn hosts_toml(bench: &Bench, host: &str, text: &str) -> String {
    let hosts = hosts(bench, host);
    fs::write(bench.path("certs.d").join(host).join("hosts.toml"), text).unwrap();
    hosts
}

#[test]
fn of_several_certificates_in_hosts_toml_the_one_that_is_accepted_is_shown() {
    let Some((registry, certificates, _open)) = secure(true) else { return };
    let (bench, host) = (Bench::new(), registry.host());
    let path = |name: &str| certificates.path(name).display().to_string();
    // The server's own certificate is none that a client may show.
    let wrong = format!("['{}', '{}']", path("server.pem"), path("server.key"));
    let right = format!("['{}', '{}']", path("client.pem"), path("client.key"));
    let reference = format!("{host}/app:latest");
    for (number, pairs) in [[&wrong, &right], [&right, &wrong]].into_iter().enumerate() {
        let pairs = format!("ca = '{}'\nclient = [{}, {}]\n", path("ca.pem"), pairs[0], pairs[1]);
        let hosts = hosts_toml(&bench, &host, &pairs);
        bench.pull(&reference, &number.to_string(), &["--hosts-dir", &hosts]);
        let words = ["auth", "check", &reference, "--hosts-dir", &hosts];
        let result = bench.run(words);
        assert!(result.status.success(), "{}", judge::text(&result));
        fs::remove_dir_all(bench.path("cache")).unwrap();
    }
    let none = format!("ca = '{}'\nclient = [{wrong}, {wrong}]\n", path("ca.pem"));
    let hosts = hosts_toml(&bench, &host, &none);
    let bench = Bench::new();
    bench.pull_fails(&reference, &["--hosts-dir", &hosts, "--retry", "0"], 69);
}

#[test]
fn the_headers_of_hosts_toml_are_for_their_host_alone() {
    let Some(registry) = open() else { return };
    let storage = Proxy::start(&registry.host(), |request, upstream| upstream.answer(request));
    let elsewhere = storage.host();
    let guard = Proxy::start(&registry.host(), move |request, upstream| {
        if request.header("x-key") != Some("hunter2") {
            return Reply::new(403, b"who are you?");
        }
        if request.target.contains("/blobs/") {
            let place = format!("http://{elsewhere}{}", request.target);
            return Reply::new(307, b"").with("Location", &place);
        }
        upstream.answer(request)
    });
    let (bench, host) = (Bench::new(), guard.host());
    let reference = format!("{host}/app:latest");
    bench.pull_fails(&reference, &[], 77);
    let text = format!("server = 'http://{host}'\n[header]\nX-Key = 'hunter2'\n");
    let hosts = hosts_toml(&bench, &host, &text);
    bench.pull(&reference, "a", &["--hosts-dir", &hosts]);
    assert!(storage.log().len() >= 4, "{:?}", storage.log());
    assert!(storage.log().iter().all(|request| request.header("x-key").is_none()));
    // A mirror has headers of its own, and the registry is not told them.
    let text = format!("server = 'http://{host}'\n[host.'http://{host}'.header]\nX-Key = ['no']\n");
    let hosts = hosts_toml(&bench, &host, &text);
    let bench = Bench::new();
    let message = bench.pull_fails(&reference, &["--hosts-dir", &hosts], 77);
    assert!(!message.contains("hunter2"), "{message}");
    let keys: Vec<_> = guard.log().iter().map(|r| r.header("x-key").map(str::to_owned)).collect();
    assert_eq!(keys[keys.len() - 2..], [Some("no".to_owned()), None]);
}

#[test]
fn a_header_of_hosts_toml_that_a_registry_repeats_is_not_repeated() {
    let registry = Proxy::start("nobody", |request, _| {
        let key = request.header("x-key").unwrap_or("nothing");
        let reason = json!({ "errors": [{ "code": "DENIED", "message": format!("not {key}") }] });
        Reply::new(403, reason.to_string().as_bytes())
    });
    let (bench, host) = (Bench::new(), registry.host());
    let reference = format!("{host}/app:latest");
    assert!(bench.pull_fails(&reference, &[], 77).contains("not nothing"));
    let text = format!("server = 'http://{host}'\n[header]\nX-Key = 'Bearer hunter2'\n");
    let hosts = hosts_toml(&bench, &host, &text);
    let message = bench.pull_fails(&reference, &["--hosts-dir", &hosts], 77);
    assert!(message.contains("answered 403") && !message.contains("hunter2"), "{message}");
}

#[test]
fn the_dial_timeout_of_hosts_toml_bounds_a_connection() {
    let silent = Silent::start();
    let (bench, host) = (Bench::new(), silent.host());
    let text = format!("server = 'http://{host}'\ndial_timeout = '700ms'\n");
    let hosts = hosts_toml(&bench, &host, &text);
    let words = ["--hosts-dir", &hosts, "--retry", "0"];
    let message = bench.pull_fails(&format!("{host}/app:latest"), &words, 69);
    assert!(message.contains("no connection came about within 0.7 s"), "{message}");
}
