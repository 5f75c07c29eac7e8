//! Registries that ask who we are: a real one with passwords, and one that wants tokens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use banger_test_support::judge;
use banger_test_support::layers::Compression;
use banger_test_support::proxy::{Proxy, Reply, Request};
use banger_test_support::registry::{LOGIN, Registry};
use base64::Engine as _;
use serde_json::{Value, json};

use crate::banger::{Bench, push};
use crate::image::image;

const PASSWORD: &str = "correct horse";

fn encoded(login: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(login)
}

/// An open registry with an image, and one with the same images and passwords.
fn guarded() -> Option<(Registry, Registry)> {
    let open = Registry::start()?;
    push(&open, &[image(Compression::Gzip)], "team/app:latest");
    let guarded = open.guarded();
    Some((open, guarded))
}

#[test]
fn a_password_in_a_file_opens_a_guarded_registry() {
    let Some((_open, registry)) = guarded() else { return };
    let (bench, reference) = (Bench::new(), format!("{}/team/app:latest", registry.host()));
    let message = bench.pull_fails(&reference, &[], 77);
    assert!(message.contains("banger auth check"), "{message}");
    let login = bench.login(&registry.host());
    bench.pull(&reference, "a.ext4", &["--authfile", &login]);
    // Every place that is looked at, by the variables that lead there.
    for (variable, file) in [
        ("REGISTRY_AUTH_FILE", "named.json"),
        ("XDG_RUNTIME_DIR", "run/containers/auth.json"),
        ("XDG_CONFIG_HOME", "config/containers/auth.json"),
        ("DOCKER_CONFIG", "docker/config.json"),
        ("HOME", "home/.docker/config.json"),
    ] {
        let path = bench.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(&login, &path).unwrap();
        let value =
            if variable == "REGISTRY_AUTH_FILE" { file } else { file.split('/').next().unwrap() };
        let bench_of_one = Bench::new();
        let mut command = bench_of_one.command(["image", "pull", &reference, "disk", "--quiet"]);
        let result = command.env(variable, bench.path(value)).output().unwrap();
        assert!(result.status.success(), "{variable}: {}", judge::text(&result));
    }
    let mut command = bench.command(["image", "pull", &reference, "b.ext4", "--quiet"]);
    let inline = fs::read_to_string(&login).unwrap();
    assert!(command.env("DOCKER_AUTH_CONFIG", inline).output().unwrap().status.success());
}

#[test]
fn r26_empty_files_and_null_are_read_as_docker_reads_them() {
    let Some((open, registry)) = guarded() else { return };
    let (bench, host) = (Bench::new(), registry.host());
    let pull = |reference: &str, file: &Path| {
        let mut command = bench.command(["image", "pull", reference, "disk", "--quiet", "--force"]);
        command.env("REGISTRY_AUTH_FILE", file).output().unwrap()
    };
    let public = format!("{}/team/app:latest", open.host());
    fs::write(bench.path("config.json"), "\n").unwrap();
    for file in [bench.path("config.json"), "/dev/null".into()] {
        let result = pull(&public, &file);
        assert!(result.status.success(), "{}: {}", file.display(), judge::text(&result));
    }
    let login: Value =
        serde_json::from_str(&fs::read_to_string(bench.login(&host)).unwrap()).unwrap();
    for own in [json!(""), Value::Null] {
        let mut config = login.clone();
        config["credsStore"] = json!("of-banger-no-such");
        config["credHelpers"] = json!({ &host: own, "other.example": "of-banger-no-such" });
        config["HttpHeaders"] = Value::Null;
        fs::write(bench.path("config.json"), config.to_string()).unwrap();
        let private = format!("{host}/team/app:latest");
        let result = pull(&private, &bench.path("config.json"));
        assert!(result.status.success(), "{own}: {}", judge::text(&result));
    }
}

#[test]
fn r26_null_members_of_a_token_answer_are_absent_and_a_list_is_no_answer() {
    let Some(open) = Registry::start() else { return };
    let reference = push(&open, &[image(Compression::Gzip)], "team/app:latest");
    for (answer, exit_code) in [
        (r#"{"token":"T","access_token":null,"expires_in":null,"issued_at":null}"#, 0),
        (r#"{"access_token":"T","token":null}"#, 0),
        (r#"{"Token":"T"}"#, 0),
        (r#"["T","T"]"#, 69),
        (r#"{"token":["T"]}"#, 69),
        (r#"{"token":null}"#, 69),
        ("null", 69),
    ] {
        let host = Mutex::new(String::new());
        let host = Arc::new(host);
        let own = Arc::clone(&host);
        let proxy = Proxy::start(&open.host(), move |request, upstream| {
            if request.target.starts_with("/token") {
                return Reply::new(200, answer.as_bytes());
            }
            if request.header("authorization") == Some("Bearer T") {
                return upstream.answer(request);
            }
            let realm = format!("Bearer realm=\"http://{}/token\"", own.lock().unwrap());
            Reply::new(401, b"").with("WWW-Authenticate", &realm)
        });
        *host.lock().unwrap() = proxy.host();
        let bench = Bench::new();
        let reference = reference.replace(&open.host(), &proxy.host());
        let result = bench.run(["image", "pull", &reference, "disk", "--quiet", "--retry", "0"]);
        assert_eq!(result.status.code(), Some(exit_code), "{answer}: {}", judge::text(&result));
    }
}

fn with_input(bench: &Bench, words: &[&str], input: &str) -> std::process::Output {
    use std::io::Write as _;
    let mut command = bench.command(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_password_on_standard_input_opens_a_guarded_registry_and_is_told_to_nobody() {
    let Some((_open, registry)) = guarded() else { return };
    let (bench, reference) = (Bench::new(), format!("{}/team/app:latest", registry.host()));
    let words = ["image", "pull", &reference, "a.ext4", "--creds-stdin"];
    let wrong = with_input(&bench, &words, "alice:battery staple\n");
    assert_eq!(wrong.status.code(), Some(77));
    assert!(!judge::text(&wrong).contains("battery"), "{}", judge::text(&wrong));
    let right = with_input(&bench, &words, &format!("{LOGIN}\n"));
    assert!(right.status.success(), "{}", judge::text(&right));
    assert!(!judge::text(&right).contains(PASSWORD));
    let none = with_input(&bench, &words, "");
    assert_eq!(none.status.code(), Some(2), "{}", judge::text(&none));
}

/// A credential helper that answers with this script; its directory is for `PATH`.
fn helper(bench: &Bench, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = bench.path("bin");
    fs::create_dir_all(&directory).unwrap();
    let program = directory.join("docker-credential-test");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let config = json!({ "credsStore": "test" }).to_string();
    fs::write(bench.path("config.json"), config).unwrap();
    directory
}

fn with_helper(bench: &Bench, script: &str, words: &[&str]) -> std::process::Output {
    let directory = helper(bench, script);
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let mut command = bench.command(words);
    command.env("PATH", path).env("DOCKER_CONFIG", bench.path("."));
    command.output().unwrap()
}

#[test]
fn a_helper_is_asked_about_the_registry() {
    let Some((_open, registry)) = guarded() else { return };
    let (bench, host) = (Bench::new(), registry.host());
    let reference = format!("{host}/team/app:latest");
    let answer = json!({ "ServerURL": host, "Username": "alice", "Secret": PASSWORD });
    let script = format!("read server; test \"$1 $server\" = 'get {host}' && echo '{answer}'");
    let result = with_helper(&bench, &script, &["image", "pull", &reference, "disk"]);
    assert!(result.status.success(), "{}", judge::text(&result));
    let check = with_helper(&bench, &script, &["auth", "check", &reference]);
    let text = judge::text(&check);
    assert!(text.contains("docker-credential-test, credsStore of "), "{text}");
    assert!(text.contains("accepted") && !text.contains(PASSWORD), "{text}");
}

#[test]
fn a_helper_that_fails_is_told_and_one_that_knows_nothing_is_passed_over() {
    let Some((_open, registry)) = guarded() else { return };
    let (bench, reference) = (Bench::new(), format!("{}/team/app:latest", registry.host()));
    let words = ["image", "pull", &reference, "disk", "--quiet"];
    let failed = with_helper(&bench, "echo a secret; exit 1", &words);
    let text = judge::text(&failed);
    assert_eq!(failed.status.code(), Some(77), "{text}");
    assert!(text.contains("docker-credential-test") && !text.contains("secret"), "{text}");
    let complaint = "echo a secret; echo 'the \"store\" is locked' >&2; exit 1";
    let text = judge::text(&with_helper(&bench, complaint, &words));
    assert!(
        text.contains("it failed: the \"store\" is locked") && !text.contains("secret"),
        "{text}"
    );
    let unknown = "echo credentials not found in native keychain; exit 1";
    let result = with_helper(&bench, unknown, &words);
    assert!(judge::text(&result).contains("answered 401"), "{}", judge::text(&result));
}

#[test]
fn a_check_says_who_answered_and_what_the_registry_said() {
    let Some((open, registry)) = guarded() else { return };
    let bench = Bench::new();
    let login = bench.login(&registry.host());
    let check = |host: &str, options: &[&str]| {
        let reference = format!("{host}/team/app:latest");
        bench.run(["auth", "check", &reference, "--format", "json"].iter().chain(options))
    };
    let document = |output: &std::process::Output| -> Value {
        assert!(!judge::text(output).contains(PASSWORD));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let right = document(&check(&registry.host(), &["--authfile", &login]));
    assert_eq!(right["source"], format!("{login}, key {}", registry.host()));
    assert_eq!(right["kind"], "user name and password");
    assert_eq!(right["schemes"], json!(["basic"]));
    assert_eq!(right["exists"], true);
    // The registry alone, without an image that would have to be there.
    let words = ["auth", "check", &registry.host(), "--format", "json"];
    let host = document(&bench.run(words.iter().chain(&["--authfile", &login])));
    assert_eq!((&host["reference"], &host["exists"]), (&Value::Null, &Value::Null));
    assert_eq!((&host["source"], &host["schemes"]), (&right["source"], &right["schemes"]));
    let refused = bench.run(words);
    assert_eq!(refused.status.code(), Some(77), "{}", judge::text(&refused));
    let refused = check(&registry.host(), &[]);
    assert_eq!(refused.status.code(), Some(77));
    let message = document(&refused)["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("refused a client without credentials"), "{message}");
    let wrong = bench.path("wrong.json");
    let entry = json!({ "auths": { registry.host(): { "auth": encoded("alice:wrong") } } });
    fs::write(&wrong, entry.to_string()).unwrap();
    let refused = check(&registry.host(), &["--authfile", wrong.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(77));
    let message = document(&refused)["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("wrong.json, key"), "{message}");
    let asks_nobody = document(&check(&open.host(), &[]));
    assert_eq!((&asks_nobody["schemes"], &asks_nobody["source"]), (&json!([]), &Value::Null));
}

/// A registry that wants bearer tokens of its own, each good for `uses` requests, and knows
/// `LOGIN` and the identity token `identity`.
fn bearer(open: &Registry, limit: usize, with_post: bool) -> Proxy {
    let state = Mutex::new((0, 0));
    Proxy::start(&open.host(), move |request, upstream| {
        let (number, used) = &mut *state.lock().unwrap();
        if request.target.starts_with("/token") {
            if !is_known(request, with_post) {
                let status = if request.method == "POST" && !with_post { 404 } else { 401 };
                return Reply::new(status, b"{\"errors\":[{\"code\":\"UNAUTHORIZED\"}]}");
            }
            (*number, *used) = (*number + 1, 0);
            let token = json!({ "access_token": format!("token-{number}"), "token": "" });
            return Reply::new(200, token.to_string().as_bytes());
        }
        let shown = request.header("authorization").unwrap_or_default();
        if shown != format!("Bearer token-{number}") || *used >= limit {
            let realm = format!("http://{}/token", request.header("host").unwrap());
            let challenge = format!(
                "Bearer realm=\"{realm}\",service=\"s\",scope=\"repository:team/app:pull\""
            );
            return Reply::new(401, b"").with("WWW-Authenticate", &challenge);
        }
        *used += 1;
        upstream.answer(&request.without("authorization"))
    })
}

fn is_known(request: &Request, with_post: bool) -> bool {
    let body = String::from_utf8_lossy(&request.body);
    if request.method == "POST" {
        return with_post
            && body.contains("grant_type=refresh_token")
            && body.contains("refresh_token=identity")
            && body.contains("scope=repository%3Ateam%2Fapp%3Apull");
    }
    let shown = request.header("authorization").unwrap_or_default();
    shown == format!("Basic {}", encoded(LOGIN))
        && request.target.contains("service=s")
        && request.target.contains("scope=repository%3Ateam%2Fapp%3Apull")
}

#[test]
fn a_refusal_names_where_the_credentials_came_from() {
    let Some((open, guarded)) = guarded() else { return };
    let tokens = bearer(&open, 1000, true);
    for host in [guarded.host(), tokens.host()] {
        let bench = Bench::new();
        let reference = format!("{host}/team/app:latest");
        let words = ["image", "pull", &reference, "disk", "--quiet", "--creds-stdin"];
        let result = with_input(&bench, &words, "alice:hunter2\n");
        let message = judge::text(&result);
        assert_eq!(result.status.code(), Some(77), "{message}");
        let expected = "the credentials from standard input were refused";
        assert!(message.trim_end().ends_with(expected), "{message}");
        let file = bench.path("auth.json").display().to_string();
        let entry = json!({ "auths": { host.clone(): { "auth": encoded("alice:hunter2") } } });
        fs::write(&file, entry.to_string()).unwrap();
        let message = bench.pull_fails(&reference, &["--authfile", &file], 77);
        let expected = format!("the credentials from {file}, key {host} were refused");
        assert!(message.trim_end().ends_with(&expected), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn a_token_is_got_for_a_password_and_got_again_in_the_middle_of_a_pull() {
    let Some((open, _)) = guarded() else { return };
    for uses in [1000, 2] {
        let registry = bearer(&open, uses, true);
        let (bench, reference) = (Bench::new(), format!("{}/team/app:latest", registry.host()));
        bench.pull_fails(&reference, &[], 77);
        registry.forget();
        let login = bench.login(&registry.host());
        // One after another: a token that others use up is no promise.
        bench.pull(&reference, "disk", &["--authfile", &login, "--jobs", "1"]);
        let log = registry.log();
        let asked = log.iter().filter(|request| request.target.starts_with("/token")).count();
        // A manifest, a config and three layers, each layer asked for twice.
        assert!(if uses == 2 { asked >= 3 } else { asked == 1 }, "{asked}");
    }
}

#[test]
fn an_identity_token_is_exchanged_and_a_server_without_that_way_is_asked_the_other_way() {
    let Some((open, _)) = guarded() else { return };
    let bench = Bench::new();
    let file = bench.path("identity.json");
    let pull = |registry: &Proxy, entry: Value| {
        let auths = json!({ "auths": { registry.host(): entry } });
        fs::write(&file, auths.to_string()).unwrap();
        let reference = format!("{}/team/app:latest", registry.host());
        let words = ["image", "pull", &reference, "disk", "--force", "--quiet", "--authfile"];
        bench.run(words.iter().map(std::ffi::OsStr::new).chain([file.as_os_str()]))
    };
    let registry = bearer(&open, 1000, true);
    let result = pull(&registry, json!({ "identitytoken": "identity" }));
    assert!(result.status.success(), "{}", judge::text(&result));
    let posts = registry.log().iter().filter(|request| request.method == "POST").count();
    assert_eq!(posts, 1);
    let wrong = pull(&registry, json!({ "identitytoken": "a-stolen-one" }));
    assert_eq!(wrong.status.code(), Some(77), "{}", judge::text(&wrong));
    assert!(!judge::text(&wrong).contains("a-stolen-one"), "{}", judge::text(&wrong));
    let without_post = bearer(&open, 1000, false);
    let entry = json!({ "auth": encoded(LOGIN), "identitytoken": "identity" });
    let result = pull(&without_post, entry);
    assert!(result.status.success(), "{}", judge::text(&result));
}

#[test]
fn a_token_server_that_is_not_to_be_trusted_is_shown_nothing() {
    let Some((open, _)) = guarded() else { return };
    let spy = Proxy::start(&open.host(), |_, _| Reply::new(200, b"{\"token\":\"t\"}"));
    for (realm, words) in [
        ("ftp://token.example/token".to_owned(), "no address of a web server"),
        ("http://u:p@127.0.0.1/token".to_owned(), "which has a user name in it"),
        (String::new(), "which is no address"),
    ] {
        let registry = Proxy::start(&open.host(), move |_, _| {
            Reply::new(401, b"").with("WWW-Authenticate", &format!("Bearer realm=\"{realm}\""))
        });
        let bench = Bench::new();
        let login = bench.login(&registry.host());
        let reference = format!("{}/team/app:latest", registry.host());
        let message = bench.pull_fails(&reference, &["--authfile", &login], 77);
        assert!(message.contains(words), "{message}");
    }
    // A token server that sends the password on to another host.
    let elsewhere = spy.host();
    let registry = Proxy::start(&open.host(), move |request, _| {
        if request.target.starts_with("/token") {
            return Reply::new(307, b"").with("Location", &format!("http://{elsewhere}/token"));
        }
        let realm = format!("http://{}/token", request.header("host").unwrap());
        Reply::new(401, b"").with("WWW-Authenticate", &format!("Bearer realm=\"{realm}\""))
    });
    let bench = Bench::new();
    let login = bench.login(&registry.host());
    let reference = format!("{}/team/app:latest", registry.host());
    let message = bench.pull_fails(&reference, &["--authfile", &login], 69);
    assert!(message.contains("redirects to another host"), "{message}");
    assert!(spy.log().is_empty(), "{:?}", spy.log());
}

#[test]
fn a_registry_that_repeats_what_it_was_shown_is_not_repeated() {
    let login = format!("alice:{PASSWORD}");
    let header = format!("Basic {}", encoded(&login));
    for echo in [PASSWORD.to_owned(), header.clone(), format!("{}{header}", " ".repeat(300))] {
        let shown = header.clone();
        let registry = Proxy::start("nobody", move |request, _| {
            if request.header("authorization").is_none() {
                return Reply::new(401, b"").with("WWW-Authenticate", "Basic realm=\"x\"");
            }
            assert_eq!(request.header("authorization"), Some(shown.as_str()));
            let reason =
                json!({ "errors": [{ "code": "DENIED", "message": format!("not {echo}") }] });
            Reply::new(403, reason.to_string().as_bytes())
        });
        let bench = Bench::new();
        let login = bench.login(&registry.host());
        let reference = format!("{}/app:latest", registry.host());
        let message = bench.pull_fails(&reference, &["--authfile", &login], 77);
        assert!(message.contains("answered 403"), "{message}");
        let secrets = [PASSWORD, header.trim_start_matches("Basic ")];
        assert!(secrets.iter().all(|secret| !message.contains(secret)), "{message}");
    }
}
