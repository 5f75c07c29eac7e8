//! Pulling from a real registry.

use std::fs;
use std::process::{Command, Stdio};

use banger_test_support::layers::{Compression, Image, Layer, write_layout};
use banger_test_support::mount::{Access, Mount, read_tree};
use banger_test_support::registry::Registry;
use banger_test_support::storm::assert_kernel_agrees;
use banger_test_support::tree::{Entry, Kind, Tree};
use banger_test_support::{gate, judge, layers, view};

use crate::banger::{Bench, open_to_all, program_for_everybody, push};
use crate::image::{image, tree};

fn holds_what_its_layers_describe(compression: Compression) {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(compression)], "small:latest");
    let bench = Bench::new();
    let report = bench.pull(&reference, "small.ext4", &["--size", "fit+64M"]);
    let path = bench.path("small.ext4");
    gate::assert_clean(&path);
    assert_kernel_agrees(&path, &tree());
    assert_eq!(view::assert_agrees(&path, &tree()), 0);
    assert_eq!(report["layers"].as_array().unwrap().len(), 3);
    assert_eq!(report["content"]["whiteouts"], 5);
    assert_eq!(report["image"]["size"], fs::metadata(&path).unwrap().len());
    assert_eq!(report["losses_total"], 0, "{report:#}");
}

#[test]
fn an_image_of_gzip_layers_holds_what_they_describe() {
    holds_what_its_layers_describe(Compression::Gzip);
}

#[test]
fn an_image_of_zstd_layers_holds_what_they_describe() {
    holds_what_its_layers_describe(Compression::Zstd);
}

#[test]
fn an_image_of_plain_layers_holds_what_they_describe() {
    holds_what_its_layers_describe(Compression::None);
}

/// umoci is the reference of the rules by which layers are flattened.
#[test]
fn umoci_unpacks_the_same_tree() {
    if !judge::kernel() || !judge::all(&["umoci"]) {
        return;
    }
    let Some(registry) = Registry::start() else { return };
    let bench = Bench::new();
    let layout = bench.path("layout");
    write_layout(&layout, &[image(Compression::Gzip)]);
    let reference = registry.push(&layout, "small:latest");
    bench.pull(&reference, "small.ext4", &[]);
    let bundle = bench.path("bundle");
    let source = format!("{}:latest", layout.display());
    judge::succeed(
        "umoci",
        [
            "raw".as_ref(),
            "unpack".as_ref(),
            "--image".as_ref(),
            source.as_ref(),
            bundle.as_os_str(),
        ],
    );
    let mut unpacked = read_tree(&bundle).unwrap();
    let lost_and_found = tree().get(b"lost+found").unwrap().clone();
    unpacked.insert("lost+found", lost_and_found);
    let Some(mount) = Mount::new(&bench.path("small.ext4"), Access::ReadOnly) else { return };
    unpacked.assert_same(&mount.tree(), "umoci against the kernel");
    mount.close();
}

#[test]
fn a_second_pull_comes_from_the_cache_and_gives_the_same_bytes() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Gzip)], "small:latest");
    let bench = Bench::new();
    let first = bench.pull(&reference, "first.ext4", &[]);
    assert_eq!(first["content"]["cached"], 0);
    let gets = || registry.log().matches("http.request.method=GET").count();
    let blobs = || {
        let log = registry.log();
        let lines = log.lines().filter(|line| line.contains("http.request.method=GET"));
        lines.filter(|line| line.contains("/blobs/")).count()
    };
    let (before, blobs_before) = (gets(), blobs());
    assert!(blobs_before > 0, "the registry logs what it is asked");
    let second = bench.pull(&reference, "second.ext4", &[]);
    assert_eq!(second["content"]["fetched"], 0);
    assert!(gets() > before, "the tag is asked for again");
    assert_eq!(blobs(), blobs_before, "no blob is fetched again");
    let bytes = |name| layers::digest(&fs::read(bench.path(name)).unwrap());
    assert_eq!(bytes("first.ext4"), bytes("second.ext4"));
}

fn a_damaged_blob_of_the_cache_is_fetched_again(compression: Compression) {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(compression)], "small:latest");
    let bench = Bench::new();
    bench.pull(&reference, "first.ext4", &[]);
    let blobs = fs::read_dir(bench.path("cache/oci/blobs/sha256")).unwrap();
    let sizes =
        blobs.map(|blob| blob.unwrap().path()).map(|path| (path.metadata().unwrap().len(), path));
    let (_, largest) = sizes.max().unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    // Inside a file's content, where nothing but a checksum can tell.
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&largest, bytes).unwrap();
    let result = bench.run(["image", "pull", &reference, "second.ext4", "--quiet"]);
    if !result.status.success() {
        assert_eq!(result.status.code(), Some(65), "{}", judge::text(&result));
        assert!(!bench.path("second.ext4").exists());
        bench.pull(&reference, "second.ext4", &[]);
    }
    let bytes = |name| layers::digest(&fs::read(bench.path(name)).unwrap());
    assert_eq!(bytes("first.ext4"), bytes("second.ext4"));
}

#[test]
fn a_damaged_plain_blob_of_the_cache_is_fetched_again() {
    a_damaged_blob_of_the_cache_is_fetched_again(Compression::None);
}

#[test]
fn a_damaged_gzip_blob_of_the_cache_is_fetched_again() {
    a_damaged_blob_of_the_cache_is_fetched_again(Compression::Gzip);
}

#[test]
fn a_damaged_zstd_blob_of_the_cache_is_fetched_again() {
    a_damaged_blob_of_the_cache_is_fetched_again(Compression::Zstd);
}

#[test]
fn the_platform_chooses_among_the_images_of_an_index() {
    let Some(registry) = Registry::start() else { return };
    let of = |architecture: &'static str| {
        let mut layer = Layer::new();
        let content = architecture.as_bytes();
        layer.put("architecture", &Entry::new(Kind::file(content), 0o644), content);
        Image { architecture, layers: vec![layer.finish()], compression: Compression::Gzip }
    };
    let reference = push(&registry, &[of("amd64"), of("arm64"), of("s390x")], "many:latest");
    let bench = Bench::new();
    for architecture in ["amd64", "arm64", "s390x"] {
        let platform = format!("linux/{architecture}");
        let name = format!("{architecture}.ext4");
        let report = bench.pull(&reference, &name, &["--platform", &platform]);
        assert_eq!(report["platform"], platform);
        assert!(report["index"].as_str().unwrap().starts_with("sha256:"));
        let found = view::read_tree(&bench.path(&name)).unwrap();
        let file = found.get(b"architecture").unwrap();
        assert_eq!(file.kind, Kind::file(architecture.as_bytes()));
    }
    let message = bench.run(["image", "pull", &reference, "--platform", "linux/riscv64"]);
    assert_eq!(message.status.code(), Some(66), "{}", judge::text(&message));
}

#[test]
fn a_digest_names_an_image_and_the_default_output_is_named_after_it() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Gzip)], "team/small:v1.2");
    let bench = Bench::new();
    let result = bench.run(["image", "pull", &reference, "--format", "json"]);
    assert!(result.status.success(), "{}", judge::text(&result));
    assert!(bench.path("small-v1.2.ext4").exists(), "{:?}", bench.images());
    let report: serde_json::Value = serde_json::from_slice(&result.stdout).unwrap();
    let digest = report["manifest"].as_str().unwrap();
    let by_digest = reference.replace(":v1.2", &format!("@{digest}"));
    assert_eq!(bench.pull(&by_digest, "by-digest.ext4", &[])["manifest"], digest);
}

#[test]
fn a_user_without_privileges_and_without_programs_gets_the_same_image() {
    if !judge::kernel() || !judge::all(&["setpriv"]) {
        return;
    }
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Gzip)], "small:latest");
    let bench = Bench::new();
    bench.pull(&reference, "root.ext4", &[]);
    let (directory, program) = program_for_everybody();
    let work = directory.path().join("work");
    fs::create_dir(&work).unwrap();
    open_to_all(&work);
    let result = Command::new(judge::find("setpriv").unwrap())
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"])
        .arg(&program)
        .args(["image", "pull", &reference, "nobody.ext4"])
        .current_dir(&work)
        .env_clear()
        .env("PATH", "")
        .env("XDG_CACHE_HOME", work.join("cache"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(result.status.success(), "{}", judge::text(&result));
    let image = work.join("nobody.ext4");
    gate::assert_clean(&image);
    assert_eq!(
        layers::digest(&fs::read(&image).unwrap()),
        layers::digest(&fs::read(bench.path("root.ext4")).unwrap())
    );
    assert!(work.join("cache/banger/oci/blobs/sha256").is_dir());
}

#[test]
fn several_pulls_at_once_share_a_cache() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Zstd)], "small:latest");
    let bench = Bench::new();
    let children: Vec<_> = (0..4)
        .map(|number| {
            let name = format!("{number}.ext4");
            let words = ["image", "pull", &reference, &name, "--quiet"];
            bench.command(words).stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let bytes = |name: &str| layers::digest(&fs::read(bench.path(name)).unwrap());
    for name in ["1.ext4", "2.ext4", "3.ext4"] {
        assert_eq!(bytes(name), bytes("0.ext4"));
    }
}

#[test]
fn what_a_layer_deletes_cannot_be_read_in_the_image() {
    let Some(registry) = Registry::start() else { return };
    let secret = b"the secret that a layer deleted ".repeat(3000);
    let mut lower = Layer::new();
    lower.put("secret", &Entry::new(Kind::file(&secret), 0o600), &secret);
    lower.put("short", &Entry::new(Kind::file(&secret[..40]), 0o600), &secret[..40]);
    let mut upper = Layer::new();
    upper.whiteout("", "secret").whiteout("", "short");
    let image = Image {
        architecture: layers::host_architecture(),
        layers: vec![lower.finish(), upper.finish()],
        compression: Compression::Gzip,
    };
    let reference = push(&registry, &[image], "secret:latest");
    let bench = Bench::new();
    bench.pull(&reference, "image.ext4", &[]);
    let bytes = fs::read(bench.path("image.ext4")).unwrap();
    let word = b"secret that a layer";
    assert!(!bytes.windows(word.len()).any(|window| window == word));
    let mut expected = Tree::new();
    for path in ["", "lost+found"] {
        let mut entry = Entry::new(Kind::Directory, if path.is_empty() { 0o755 } else { 0o700 });
        entry.modified = None;
        expected.insert(path, entry);
    }
    assert_eq!(view::assert_agrees(&bench.path("image.ext4"), &expected), 0);
}
