//! Configuration that the user may not read: passed over where it usually lies, an error where it
//! was named.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use banger_test_support::judge;
use banger_test_support::layers::Compression;
use banger_test_support::registry::Registry;
use serde_json::Value;

use crate::banger::{Bench, Nobody, push};
use crate::image::image;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn code(result: &Output, code: i32) -> String {
    let text = judge::text(result);
    assert_eq!(result.status.code(), Some(code), "{text}");
    text
}

/// The lines of warnings.
fn warnings(result: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&result.stderr).into_owned();
    text.lines().filter_map(|line| line.strip_prefix("warning: ")).map(str::to_owned).collect()
}

#[test]
fn another_users_configuration_is_passed_over_with_a_warning() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Gzip)], "app:latest");
    let bench = Bench::new();
    let Some(nobody) = Nobody::new(&bench) else { return };
    let home = bench.path("home");
    fs::create_dir_all(home.join(".config/containers/registries.conf.d")).unwrap();
    fs::create_dir_all(home.join(".docker")).unwrap();
    mode(&home, 0o700);
    let line = |path: &Path| {
        format!("{} may not be read; the configuration there is passed over", path.display())
    };
    let pull = |words: &[&str]| {
        let words = [&["image", "pull", &reference, "disk.ext4", "--force"], words].concat();
        nobody.command(&words).output().unwrap()
    };
    // One line for all that is looked for below.
    let result = pull(&[]);
    code(&result, 0);
    assert_eq!(warnings(&result), [line(&home)]);
    let result = pull(&["--quiet"]);
    code(&result, 0);
    assert_eq!(warnings(&result), [""; 0]);
    let result = pull(&["--format", "json"]);
    code(&result, 0);
    let report: Value = serde_json::from_slice(&result.stdout).unwrap();
    assert_eq!(report["notices"], Value::from(vec![line(&home)]));
    // Each kind of file by itself.
    mode(&home, 0o755);
    let directories = home.join(".config/containers/certs.d").join(registry.host());
    fs::create_dir_all(&directories).unwrap();
    let files = [
        home.join(".config/containers/registries.conf"),
        home.join(".config/containers/registries.conf.d/a.conf"),
        directories.join("hosts.toml"),
    ];
    for path in &files {
        fs::write(path, "this would be an error").unwrap();
        mode(path, 0o600);
    }
    let result = pull(&["--plain-http"]);
    code(&result, 0);
    assert_eq!(warnings(&result), files.each_ref().map(|path| line(path)));
    for path in &files {
        fs::remove_file(path).unwrap();
    }
    // Certificates of the registry that are not for us: as if there were none.
    for name in ["ca.crt", "us.cert", "us.key"] {
        fs::write(directories.join(name), "this would be an error").unwrap();
        mode(&directories.join(name), 0o600);
    }
    let result = pull(&["--plain-http"]);
    code(&result, 0);
    let named = ["ca.crt", "us.cert"].map(|name| line(&directories.join(name)));
    assert_eq!(warnings(&result), named);
}

#[test]
fn another_users_credentials_are_passed_over_with_a_warning() {
    let Some(open) = Registry::start() else { return };
    push(&open, &[image(Compression::Gzip)], "app:latest");
    let guarded = open.guarded();
    let reference = format!("{}/app:latest", guarded.host());
    let bench = Bench::new();
    let Some(nobody) = Nobody::new(&bench) else { return };
    let login = bench.login(&guarded.host());
    let usual = bench.path("home/.docker/config.json");
    fs::create_dir_all(usual.parent().unwrap()).unwrap();
    fs::copy(&login, &usual).unwrap();
    mode(&usual, 0o600);
    let pull = ["image", "pull", &reference, "disk.ext4", "--force"];
    for words in [&pull[..], &["auth", "check", &reference]] {
        let result = nobody.command(words).output().unwrap();
        code(&result, 77);
        assert_eq!(warnings(&result).len(), 1, "{}", judge::text(&result));
        assert!(warnings(&result)[0].starts_with(&usual.display().to_string()));
    }
    // The next place is asked all the same.
    fs::copy(&login, bench.path("home/.dockercfg")).unwrap();
    let old = fs::read_to_string(&login).unwrap();
    let old: Value = serde_json::from_str(&old).unwrap();
    fs::write(bench.path("home/.dockercfg"), old["auths"].to_string()).unwrap();
    code(&nobody.command(&pull).output().unwrap(), 0);
}

#[test]
fn what_the_user_named_and_may_not_read_is_denied() {
    let bench = Bench::new();
    let Some(nobody) = Nobody::new(&bench) else { return };
    let file = bench.path("secret");
    fs::write(&file, "{}").unwrap();
    mode(&file, 0o600);
    let directory = bench.path("hosts");
    fs::create_dir_all(directory.join("127.0.0.1:1")).unwrap();
    mode(&directory, 0o700);
    // Somebody who asks who we are, so that the files of credentials are looked at.
    let registry = banger_test_support::proxy::Proxy::start("nobody", |_, _| {
        banger_test_support::proxy::Reply::new(401, b"")
            .with("WWW-Authenticate", "Basic realm=\"x\"")
    });
    let reference = format!("{}/app", registry.host());
    let (file, directory) = (file.display().to_string(), directory.display().to_string());
    let pull = ["image", "pull", &reference, "disk.ext4", "--retry", "0"];
    for words in [
        ["--authfile", &file],
        ["--ca-file", &file],
        ["--cert-file", &file],
        ["--hosts-dir", &directory],
    ] {
        let result = nobody.command(&[&pull[..], &words].concat()).output().unwrap();
        let text = code(&result, 77);
        assert!(text.contains("cannot read") && text.contains(words[1]), "{text}");
    }
    for variable in ["REGISTRY_AUTH_FILE", "CONTAINERS_REGISTRIES_CONF"] {
        let result = nobody.command(&pull).env(variable, &file).output().unwrap();
        let text = code(&result, 77);
        assert!(text.contains("cannot read") && text.contains(&file), "{text}");
        let result = nobody.command(&pull).env(variable, "none").output().unwrap();
        code(&result, 66);
    }
}
