//! One image from every origin, and what is wrong with those that are refused.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use banger_test_support::layers::{Compression, Image, digest, host_architecture, write_layout};
use banger_test_support::registry::Registry;
use banger_test_support::storm::assert_kernel_agrees;
use banger_test_support::{gate, judge};
use serde_json::{Value, json};

use crate::banger::{Bench, flip};
use crate::faults::{image_of, layer};
use crate::image::{image, layers, tree};

/// A layout `layout` with the tag `latest` in the bench's directory.
fn layout(bench: &Bench, compression: Compression) {
    write_layout(&bench.path("layout"), &[image(compression)]);
}

/// Has skopeo copy the layout to another place.
fn skopeo(bench: &Bench, target: &str) {
    let source = format!("oci:{}:latest", bench.path("layout").display());
    let (kind, path) = target.split_once(':').unwrap();
    let target = format!("{kind}:{}", bench.path(path).display());
    judge::succeed("skopeo", ["--insecure-policy", "copy", "--quiet", &source, &target]);
}

/// An archive of a directory, as GNU tar writes it.
fn tar(bench: &Bench, directory: &str, archive: &str, words: &[&str]) {
    let (from, to) = (bench.path(directory), bench.path(archive));
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    judge::succeed("tar", ["-C", from, "-cf", to].iter().chain(words));
}

#[track_caller]
fn same_bytes(bench: &Bench, one: &str, other: &str) {
    let (one_bytes, other_bytes) = (fs::read(bench.path(one)), fs::read(bench.path(other)));
    assert!(one_bytes.unwrap() == other_bytes.unwrap(), "{one} and {other} differ");
}

/// What the kernel must find in an image of the small Debian.
fn judged(bench: &Bench, name: &str) {
    gate::assert_clean(&bench.path(name));
    assert_kernel_agrees(&bench.path(name), &tree());
}

#[test]
fn every_copy_that_skopeo_makes_gives_the_bytes_of_the_pull() {
    let Some(registry) = Registry::start() else { return };
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let bench = Bench::new();
        layout(&bench, compression);
        let reference = registry.push(&bench.path("layout"), "small:latest");
        let pulled = bench.pull(&reference, "pulled.ext4", &[]);
        judged(&bench, "pulled.ext4");
        if compression != Compression::None {
            skopeo(&bench, "oci:copy:v1");
            skopeo(&bench, "oci-archive:copy.oci.tar:v1");
            let copy = bench.build("oci:copy:v1", "copy.ext4", &[]);
            assert_eq!(copy["manifest"], pulled["manifest"], "{compression:?}");
            assert_eq!(copy["layers"], pulled["layers"]);
            bench.build("oci-archive:copy.oci.tar:v1", "archive.ext4", &[]);
            same_bytes(&bench, "pulled.ext4", "copy.ext4");
            same_bytes(&bench, "pulled.ext4", "archive.ext4");
        }
        // Docker's own format knows no zstd, says skopeo.
        if compression == Compression::Zstd {
            continue;
        }
        skopeo(&bench, "docker-archive:copy.docker.tar:example.org/small:v1");
        let docker = bench.build("docker-archive:copy.docker.tar", "docker.ext4", &[]);
        assert_eq!((&docker["manifest"], &docker["identity"]), (&Value::Null, &pulled["identity"]));
        same_bytes(&bench, "pulled.ext4", "docker.ext4");
        // Nothing but the images stays.
        assert_eq!(bench.images().len(), if compression == Compression::None { 2 } else { 4 });
    }
}

#[test]
fn a_layout_is_taken_as_it_lies_by_build_and_by_pull_without_a_cache() {
    let bench = Bench::new();
    layout(&bench, Compression::Gzip);
    let report = bench.build("oci:layout", "build.ext4", &[]);
    judged(&bench, "build.ext4");
    assert_eq!(report["reference"], "oci:layout");
    assert_eq!(report["content"]["fetched"], 0);
    bench.pull("oci:layout:latest", "pull.ext4", &[]);
    same_bytes(&bench, "build.ext4", "pull.ext4");
    assert!(!bench.path("cache").exists(), "a local image needs no cache");
    let result = bench.run(["image", "build", "oci:layout:latest"]);
    assert!(result.status.success(), "{}", judge::text(&result));
    same_bytes(&bench, "build.ext4", "layout-latest.ext4");
}

#[test]
fn an_archive_of_a_layout_is_read_in_any_order_and_compression() {
    let bench = Bench::new();
    layout(&bench, Compression::Zstd);
    bench.build("oci:layout", "layout.ext4", &[]);
    // The index behind the blobs, and a name before every path.
    tar(&bench, "layout", "late.tar", &["./blobs", "./oci-layout", "./index.json"]);
    tar(&bench, "layout", "early.tgz", &["-z", "index.json", "blobs", "oci-layout"]);
    for (source, output) in [("late.tar", "late.ext4"), ("early.tgz", "early.ext4")] {
        bench.build(&format!("oci-archive:{source}:latest"), output, &[]);
        same_bytes(&bench, "layout.ext4", output);
    }
    if judge::all(&["zstd"]) {
        tar(&bench, "layout", "all.tar.zst", &["--zstd", "."]);
        bench.build("oci-archive:all.tar.zst", "zstd.ext4", &[]);
        same_bytes(&bench, "layout.ext4", "zstd.ext4");
    }
}

#[test]
fn the_layouts_of_umoci_are_read() {
    if !judge::all(&["umoci"]) {
        return;
    }
    let bench = Bench::new();
    let layout = bench.path("layout");
    let image = format!("{}:mine", layout.display());
    judge::succeed("umoci", ["init", "--layout", layout.to_str().unwrap()]);
    judge::succeed("umoci", ["new", "--image", &image]);
    fs::write(bench.path("hello"), "hello").unwrap();
    let hello = bench.path("hello");
    judge::succeed("umoci", ["insert", "--image", &image, hello.to_str().unwrap(), "/etc/hello"]);
    let report = bench.build("oci:layout:mine", "mine.ext4", &[]);
    gate::assert_clean(&bench.path("mine.ext4"));
    assert_eq!(report["content"]["files"], 1);
}

/// Runs `banger image build - OUTPUT` with a file on its standard input.
fn build_from_stdin(bench: &Bench, input: &str, output: &str) {
    let result = bench
        .command(["image", "build", "-", output, "--quiet"])
        .stdin(Stdio::from(File::open(bench.path(input)).unwrap()))
        .output()
        .unwrap();
    assert!(result.status.success(), "{input}: {}", judge::text(&result));
}

#[test]
fn standard_input_may_be_any_archive() {
    if !judge::all(&["skopeo"]) {
        return;
    }
    let bench = Bench::new();
    layout(&bench, Compression::Gzip);
    bench.build("oci:layout", "layout.ext4", &[]);
    skopeo(&bench, "docker-archive:docker.tar:example.org/small:v1");
    tar(&bench, "layout", "oci.tar.gz", &["-z", "."]);
    for input in ["docker.tar", "oci.tar.gz"] {
        build_from_stdin(&bench, input, &format!("{input}.ext4"));
        same_bytes(&bench, "layout.ext4", &format!("{input}.ext4"));
    }
    fs::write(bench.path("flat.tar"), &layers()[0]).unwrap();
    fs::write(bench.path("flat.tar.gz"), Compression::Gzip.compress(&layers()[0])).unwrap();
    for input in ["flat.tar", "flat.tar.gz"] {
        bench.build(&format!("tar:{input}"), &format!("{input}.ext4"), &[]);
        build_from_stdin(&bench, input, "stdin.ext4");
        same_bytes(&bench, &format!("{input}.ext4"), "stdin.ext4");
        fs::remove_file(bench.path("stdin.ext4")).unwrap();
    }
    let nameless = bench.run(["image", "build", "-"]);
    assert_eq!(nameless.status.code(), Some(2), "{}", judge::text(&nameless));
    // What a failed command pipes is no disk, nor is a file that its writer never filled.
    bench.build_fails("-", &[], 65);
    fs::write(bench.path("empty.tar"), "").unwrap();
    bench.build_fails("tar:empty.tar", &[], 65);
}

#[test]
fn a_flat_archive_is_a_root_filesystem_in_every_compression_that_can_be_read() {
    let bench = Bench::new();
    let expected = crate::image::lowest_tree();
    for (compression, name) in [
        (Compression::None, "root.tar"),
        (Compression::Gzip, "root.tar.gz"),
        (Compression::Zstd, "root.tar.zst"),
    ] {
        fs::write(bench.path(name), compression.compress(&layers()[0])).unwrap();
        let report = bench.build(&format!("tar:{name}"), &format!("{name}.ext4"), &[]);
        gate::assert_clean(&bench.path(&format!("{name}.ext4")));
        assert_kernel_agrees(&bench.path(&format!("{name}.ext4")), &expected);
        assert_eq!((&report["manifest"], &report["platform"]), (&Value::Null, &Value::Null));
        assert_eq!(report["layers"][0]["digest"], Value::Null);
        assert_eq!(report["layers"][0]["diff_id"], report["identity"]);
        // However it is packed, it is the same archive.
        same_bytes(&bench, "root.tar.ext4", &format!("{name}.ext4"));
    }
}

#[test]
fn what_xz_and_bzip2_compress_is_read() {
    let bench = Bench::new();
    if !judge::all(&["xz", "bzip2"]) {
        return;
    }
    fs::write(bench.path("root.tar"), &layers()[0]).unwrap();
    let (half, path) = (layers()[0].len() / 2, bench.path("root.tar").display().to_string());
    fs::write(bench.path("one"), &layers()[0][..half]).unwrap();
    fs::write(bench.path("two"), &layers()[0][half..]).unwrap();
    let parts = ["one", "two"].map(|name| bench.path(name).display().to_string());
    let uuid = ["--uuid", "01234567-89ab-cdef-0123-456789abcdef"];
    bench.build("tar:root.tar", "plain.ext4", &uuid);
    for (name, program, words) in [
        ("a.xz", "xz", &["-9e"][..]),
        ("b.xz", "xz", &["-T2", "--block-size=100KiB", "--check=sha256"]),
        ("c.xz", "xz", &["-0", "--x86", "--lzma2=dict=4KiB", "--check=none"]),
        ("d.bz2", "bzip2", &["-1"]),
        ("e.bz2", "bzip2", &["-9"]),
    ] {
        // One stream, and two.
        for (number, files) in [&[path.clone()][..], &parts].into_iter().enumerate() {
            let words = words.iter().copied().chain(["-kc"]);
            let words = words.chain(files.iter().map(String::as_str));
            let archive = format!("{number}{name}");
            fs::write(bench.path(&archive), judge::bytes(program, words)).unwrap();
            bench.build(&format!("tar:{archive}"), &format!("{archive}.ext4"), &uuid);
            same_bytes(&bench, "plain.ext4", &format!("{archive}.ext4"));
        }
    }
    layout(&bench, Compression::Gzip);
    bench.build("oci:layout", "layout.ext4", &[]);
    tar(&bench, "layout", "layout.tar", &["."]);
    for (program, archive) in [("xz", "layout.tar.xz"), ("bzip2", "layout.tar.bz2")] {
        judge::succeed(program, ["-k", bench.path("layout.tar").to_str().unwrap()]);
        bench.build(&format!("oci-archive:{archive}"), &format!("{archive}.ext4"), &[]);
        same_bytes(&bench, "layout.ext4", &format!("{archive}.ext4"));
        build_from_stdin(&bench, archive, "stdin.ext4");
        same_bytes(&bench, "layout.ext4", "stdin.ext4");
        fs::remove_file(bench.path("stdin.ext4")).unwrap();
    }
    // A form that has no checksum, and no head to be known by for certain.
    judge::succeed("xz", ["-k", "--format=lzma", &path]);
    let message = bench.build_fails("tar:root.tar.lzma", &[], 65);
    assert!(message.contains("compressed by lzma") && message.contains("lzma -dc"), "{message}");
}

/// The digests of the parts of the only image of a layout.
struct Parts {
    config: String,
    layers: Vec<String>,
}

fn parts(layout: &Path) -> Parts {
    let read = |path: &str| -> Value {
        serde_json::from_slice(&fs::read(layout.join(path)).unwrap()).unwrap()
    };
    let hex =
        |value: &Value| value["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let index = read("index.json");
    let manifest = read(&format!("blobs/sha256/{}", hex(&index["manifests"][0])));
    let layers = manifest["layers"].as_array().unwrap().iter().map(hex).collect();
    Parts { config: hex(&manifest["config"]), layers }
}

#[test]
fn a04_the_archives_of_docker_save_since_version_25_are_read_by_their_layout() {
    let bench = Bench::new();
    layout(&bench, Compression::None);
    let report = bench.build("oci:layout", "layout.ext4", &[]);
    let parts = parts(&bench.path("layout"));
    let blob = |hex: &String| format!("blobs/sha256/{hex}");
    let list = json!([{
        "Config": blob(&parts.config),
        "RepoTags": ["small:latest"],
        "Layers": parts.layers.iter().map(blob).collect::<Vec<_>>(),
    }]);
    fs::write(bench.path("layout/manifest.json"), list.to_string()).unwrap();
    fs::write(bench.path("layout/repositories"), "{}").unwrap();
    tar(&bench, "layout", "save.tar", &["."]);
    let saved = bench.build("docker-archive:save.tar", "save.ext4", &[]);
    assert_eq!(saved["manifest"], report["manifest"]);
    same_bytes(&bench, "layout.ext4", "save.ext4");
    // Without the layout's own files the list alone leads to the same.
    tar(&bench, "layout", "old.tar", &["manifest.json", "blobs"]);
    bench.build("docker-archive:old.tar:small", "old.ext4", &[]);
    same_bytes(&bench, "layout.ext4", "old.ext4");
}

/// The form of docker save before version 25: a directory a layer, a link where one is there twice.
fn save_legacy(directory: &Path, layers: &[Vec<u8>], compression: Compression) {
    let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    let config = json!({
        "architecture": host_architecture(), "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string();
    let config_name = format!("{}.json", digest(config.as_bytes()).trim_start_matches("sha256:"));
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join(&config_name), &config).unwrap();
    let mut paths: Vec<String> = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let path = format!("layer{number}/layer.tar");
        fs::create_dir(directory.join(format!("layer{number}"))).unwrap();
        fs::write(directory.join(format!("layer{number}/VERSION")), "1.0").unwrap();
        match layers.iter().position(|other| other == layer).filter(|first| *first < number) {
            Some(first) => symlink(format!("../layer{first}/layer.tar"), directory.join(&path)),
            None => fs::write(directory.join(&path), compression.compress(layer)),
        }
        .unwrap();
        paths.push(path);
    }
    let list = json!([{ "Config": config_name, "RepoTags": null, "Layers": paths }]);
    fs::write(directory.join("manifest.json"), list.to_string()).unwrap();
}

#[test]
fn a03_a_layer_that_is_a_link_to_another_is_applied_again() {
    let bench = Bench::new();
    let layers = layers();
    let again = vec![
        layers[0].clone(),
        layers[1].clone(),
        layers[0].clone(),
        layers[1].clone(),
        layers[2].clone(),
    ];
    for (compression, name) in [(Compression::None, "plain"), (Compression::Gzip, "gzip")] {
        save_legacy(&bench.path(name), &again, compression);
        tar(&bench, name, &format!("{name}.tar"), &["."]);
        let report =
            bench.build(&format!("docker-archive:{name}.tar"), &format!("{name}.ext4"), &[]);
        judged(&bench, &format!("{name}.ext4"));
        assert_eq!(report["layers"].as_array().unwrap().len(), 5);
        assert_eq!(report["layers"][0], report["layers"][2]);
    }
    same_bytes(&bench, "plain.ext4", "gzip.ext4");
}

#[test]
fn a01_a09_one_of_several_images_is_taken_by_name_number_or_digest() {
    if !judge::all(&["skopeo"]) {
        return;
    }
    let bench = Bench::new();
    layout(&bench, Compression::Gzip);
    let other = Image { layers: layers()[..1].to_vec(), ..image(Compression::Gzip) };
    write_layout(&bench.path("second"), &[other]);
    for (from, name) in [("layout", "one"), ("second", "two")] {
        let source = format!("oci:{}:latest", bench.path(from).display());
        let target = format!("oci:{}:{name}", bench.path("both").display());
        judge::succeed("skopeo", ["--insecure-policy", "copy", "--quiet", &source, &target]);
    }
    let first = bench.build("oci:both:one", "one.ext4", &[]);
    let second = bench.build("oci:both:two", "two.ext4", &[]);
    assert_eq!(first["layers"].as_array().unwrap().len(), 3);
    assert_eq!(second["layers"].as_array().unwrap().len(), 1);
    bench.build("oci:both:@1", "number.ext4", &[]);
    same_bytes(&bench, "two.ext4", "number.ext4");
    bench.build(&format!("oci:both:@{}", first["manifest"].as_str().unwrap()), "digest.ext4", &[]);
    same_bytes(&bench, "one.ext4", "digest.ext4");
    let message = bench.build_fails("oci:both", &[], 2);
    assert!(message.contains("one, two"), "{message}");
    let message = bench.build_fails("oci:both:three", &[], 66);
    assert!(message.contains("one, two"), "{message}");
    bench.build_fails("oci:both:@2", &[], 66);
    // A09: on standard input as elsewhere.
    tar(&bench, "both", "both.tar", &["."]);
    fs::write(bench.path("flat.tar"), &layers()[0]).unwrap();
    let stdin = |input: &str, source: &str| {
        let mut command = bench.command(["image", "build", source, "disk", "--quiet", "--force"]);
        command.stdin(File::open(bench.path(input)).unwrap()).output().unwrap()
    };
    for (source, same) in [("-:one", "one.ext4"), ("-:two", "two.ext4"), ("-:@1", "two.ext4")] {
        let result = stdin("both.tar", source);
        assert!(result.status.success(), "{source}: {}", judge::text(&result));
        same_bytes(&bench, "disk", same);
    }
    for (input, source, exit_code, words) in [
        ("both.tar", "-", 2, "one, two"),
        ("both.tar", "-:three", 66, "one, two"),
        ("both.tar", "-:@2", 66, "@2"),
        ("flat.tar", "-:one", 2, "root filesystem"),
        ("flat.tar", "-one", 2, "unexpected argument '-one' found"),
        ("flat.tar", "--one", 2, "unexpected argument '--one' found"),
    ] {
        let result = stdin(input, source);
        let message = judge::text(&result);
        assert_eq!(result.status.code(), Some(exit_code), "{source}: {message}");
        assert!(message.contains(words), "{source}: {message}");
    }
}

#[test]
fn the_platform_chooses_in_a_layout_as_in_a_registry() {
    let bench = Bench::new();
    let foreign = Image { architecture: "s390x", ..image(Compression::Gzip) };
    write_layout(&bench.path("layout"), &[foreign.clone(), image(Compression::Gzip)]);
    let report = bench.build("oci:layout", "host.ext4", &[]);
    assert_eq!(report["platform"], format!("linux/{}", host_architecture()));
    assert!(report["index"].is_string());
    let report = bench.build("oci:layout", "other.ext4", &["--platform", "linux/s390x"]);
    assert_eq!(report["platform"], "linux/s390x");
    let message = bench.build_fails("oci:layout", &["--platform", "linux/riscv64"], 66);
    assert!(message.contains("s390x"), "{message}");
    write_layout(&bench.path("foreign"), &[foreign]);
    bench.build_fails("oci:foreign", &[], 66);
}

#[test]
fn a_source_that_makes_no_sense_is_a_usage_error() {
    let bench = Bench::new();
    fs::write(bench.path("file"), "").unwrap();
    fs::write(bench.path("file.tar"), "").unwrap();
    for (source, options) in [
        ("alpine", &[][..]),
        ("docker://alpine", &[]),
        ("oci:", &[]),
        ("oci:file", &[]),
        ("tar:.", &[]),
        ("tar:file.tar", &["--platform", "linux/amd64"]),
        ("tar:file.tar", &["--retry", "4"]),
        ("oci:file", &["--creds-stdin"]),
        ("-", &["--plain-http"]),
        ("containers-storage:localhost/app", &[]),
    ] {
        bench.build_fails(source, options, 2);
    }
    for source in ["oci:none", "oci-archive:none.tar", "docker-archive:none.tar", "tar:none.tar"] {
        bench.build_fails(source, &[], 66);
    }
}

#[test]
fn memory_and_jobs_change_the_time_and_not_the_image() {
    let bench = Bench::new();
    let layers = (0..6).map(|number| layer(&format!("file-{number}"), 5_000_000, number));
    let layered = image_of(layers.collect());
    write_layout(&bench.path("layout"), &[Image { compression: Compression::Gzip, ..layered }]);
    bench.build("oci:layout", "usual", &[]);
    gate::assert_clean(&bench.path("usual"));
    for options in [
        &["--jobs", "1"][..],
        &["--jobs", "64"],
        &["--memory", "0"],
        &["--memory", "32M"],
        &["--memory", "1G", "--jobs", "3"],
    ] {
        bench.build("oci:layout", "other", &[options, &["--force"]].concat());
        same_bytes(&bench, "usual", "other");
    }
    for options in [["--memory", "much"], ["--memory", "fit"], ["--jobs", "0"]] {
        let words = ["image", "build", "oci:layout", "none"];
        let result = bench.run(words.iter().chain(&options));
        assert_eq!(result.status.code(), Some(2), "{options:?}: {}", judge::text(&result));
    }
}

#[test]
fn every_digest_of_a_layout_is_verified() {
    for compression in [Compression::None, Compression::Gzip] {
        let bench = Bench::new();
        layout(&bench, compression);
        let count = fs::read_dir(bench.path("layout/blobs/sha256")).unwrap().count();
        assert_eq!(count, 5, "a manifest, a config and three layers");
        for blob in fs::read_dir(bench.path("layout/blobs/sha256")).unwrap() {
            let path = blob.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            flip(&path);
            bench.build_fails("oci:layout", &[], 65);
            tar(&bench, "layout", "layout.tar", &["."]);
            bench.build_fails("oci-archive:layout.tar", &[], 65);
            for wrong in [bytes[..bytes.len() - 1].to_vec(), [&bytes[..], b"\0"].concat()] {
                fs::write(&path, wrong).unwrap();
                bench.build_fails("oci:layout", &[], 65);
            }
            fs::remove_file(&path).unwrap();
            let message = bench.build_fails("oci:layout", &[], 66);
            assert!(message.contains("lacks"), "{message}");
            fs::write(&path, bytes).unwrap();
        }
        bench.build("oci:layout", "whole.ext4", &[]);
    }
}

#[test]
fn c12_a_layout_without_a_foreign_layer_names_its_urls() {
    let bench = Bench::new();
    layout(&bench, Compression::Gzip);
    let path = |name: &str| bench.path("layout").join(name);
    let asked = banger_test_support::proxy::Proxy::start("nobody", |_, _| {
        banger_test_support::proxy::Reply::new(200, b"")
    });
    // The last layer is at an address that the manifest names.
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let mut index = read(&path("index.json"));
    let blob = |digest: &Value| path("blobs").join(digest.as_str().unwrap().replace(':', "/"));
    let mut manifest = read(&blob(&index["manifests"][0]["digest"]));
    let layer = &mut manifest["layers"][2];
    layer["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip".into();
    layer["urls"] = json!([format!("http://{}/layer?token=hunter2", asked.host())]);
    let (layer, body) = (layer["digest"].clone(), manifest.to_string());
    index["manifests"][0]["digest"] = digest(body.as_bytes()).into();
    index["manifests"][0]["size"] = body.len().into();
    fs::write(blob(&index["manifests"][0]["digest"]), body).unwrap();
    fs::write(path("index.json"), index.to_string()).unwrap();
    bench.build("oci:layout", "whole.ext4", &[]);
    fs::remove_file(bench.path("whole.ext4")).unwrap();
    let bytes = fs::read(blob(&layer)).unwrap();
    fs::remove_file(blob(&layer)).unwrap();
    let place = layer.as_str().unwrap().replace(':', "/");
    let fails = |source: &str, message: String| {
        assert!(message.contains("lacks layer 3 of 3"), "{source}: {message}");
        assert!(message.contains("at 127.0.0.1, which are never fetched"), "{message}");
        assert!(message.contains(&format!("put it at blobs/{place} in the layout")), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    };
    tar(&bench, "layout", "layout.tar", &["."]);
    for source in ["oci:layout", "oci-archive:layout.tar"] {
        fails(source, bench.build_fails(source, &[], 66));
        fails(source, bench.pull_fails(source, &[], 66));
    }
    assert!(asked.log().is_empty(), "{:?}", asked.log());
    fs::write(blob(&layer), bytes).unwrap();
    bench.build("oci:layout", "whole.ext4", &[]);
}

#[test]
fn every_digest_of_a_docker_archive_is_verified() {
    for compression in [Compression::None, Compression::Gzip] {
        let bench = Bench::new();
        save_legacy(&bench.path("save"), &layers(), compression);
        let build = |exit_code| {
            tar(&bench, "save", "save.tar", &["."]);
            bench.build_fails("docker-archive:save.tar", &[], exit_code)
        };
        for number in 0..3 {
            let path = bench.path("save").join(format!("layer{number}/layer.tar"));
            let bytes = fs::read(&path).unwrap();
            flip(&path);
            build(65);
            fs::remove_file(&path).unwrap();
            build(66);
            fs::write(&path, bytes).unwrap();
        }
        let config = fs::read_dir(bench.path("save")).unwrap().map(|entry| entry.unwrap().path());
        let config = config.max_by_key(|path| path.to_string_lossy().len()).unwrap();
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text.replace("linux", "Linux")).unwrap();
        assert!(build(65).contains("not what its digest says"));
        fs::remove_file(&config).unwrap();
        build(66);
    }
}

#[test]
fn hostile_layouts_and_archives_are_bad_data() {
    let bench = Bench::new();
    layout(&bench, Compression::Gzip);
    let index = fs::read(bench.path("layout/index.json")).unwrap();
    let text = String::from_utf8(index.clone()).unwrap();
    fs::write(bench.path("secret"), "secret").unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = bench.path("layout").join(name);
        let _ = fs::remove_file(&path);
        fs::write(path, content).unwrap();
    };
    let bad = |words: &str| {
        let message = bench.build_fails("oci:layout", &[], 65);
        assert!(message.contains(words), "{words}: {message}");
        assert!(message.len() < 1000, "{}", message.len());
    };
    write("oci-layout", br#"{"imageLayoutVersion":"2.0.0"}"#);
    bad("version");
    write("oci-layout", b"secret");
    bad("not an OCI image layout");
    write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    write("index.json", &[&index[..], &vec![b' '; 5 << 20]].concat());
    bad("at most");
    write(
        "index.json",
        format!("{{\"schemaVersion\":2,\"manifests\":[{}", "[".repeat(100_000)).as_bytes(),
    );
    bad("malformed");
    write("index.json", text.replace("sha256:", "sha256:../../../../").as_bytes());
    bad("malformed");
    write("index.json", text.replace("\"size\":", "\"size\":1").as_bytes());
    bad("declares");
    fs::remove_file(bench.path("layout/index.json")).unwrap();
    symlink("/dev/zero", bench.path("layout/index.json")).unwrap();
    bad("regular file");
    let _ = fs::remove_file(bench.path("layout/index.json"));
    symlink("index.json", bench.path("layout/index.json")).unwrap();
    bad("symbolic link");
    write("index.json", &index);
    // In a directory a link may lead anywhere: the digests prove what is read.
    fs::rename(bench.path("layout/blobs"), bench.path("elsewhere")).unwrap();
    symlink("../elsewhere", bench.path("layout/blobs")).unwrap();
    bench.build("oci:layout", "linked.ext4", &[]);
    gate::assert_clean(&bench.path("linked.ext4"));
    // An archive with the same link says nothing of where it leads.
    tar(&bench, "layout", "layout.tar", &["."]);
    bench.build_fails("oci-archive:layout.tar", &[], 65);
    // Of two with one name the last counts.
    fs::remove_file(bench.path("layout/blobs")).unwrap();
    fs::rename(bench.path("elsewhere"), bench.path("layout/blobs")).unwrap();
    write("index.json", b"{}");
    tar(&bench, "layout", "twice.tar", &["."]);
    write("index.json", &index);
    tar_again(&bench, "layout", "twice.tar", "./index.json");
    for (source, output) in [("oci-archive:twice.tar", "a"), ("docker-archive:twice.tar", "b")] {
        bench.build(source, output, &[]);
        same_bytes(&bench, output, "linked.ext4");
    }
    write("index.json", b"{}");
    tar_again(&bench, "layout", "twice.tar", "./index.json");
    bench.build_fails("oci-archive:twice.tar", &[], 65);
}

#[test]
fn a08_a_root_filesystem_that_is_an_image_is_refused_with_the_right_words() {
    if !judge::all(&["skopeo"]) {
        return;
    }
    let bench = Bench::new();
    layout(&bench, Compression::Gzip);
    skopeo(&bench, "oci-archive:oci.tar:v1");
    skopeo(&bench, "docker-archive:docker.tar:example.org/small:v1");
    skopeo(&bench, "dir:skopeo");
    tar(&bench, "layout", "oci.tar.gz", &["-z", "."]);
    fs::write(bench.path("root.tar"), &layers()[0]).unwrap();
    fs::create_dir(bench.path("root")).unwrap();
    for (source, hint) in [
        ("dir:layout", "write oci:layout"),
        ("dir:skopeo", "skopeo copy dir:skopeo oci:"),
        ("tar:oci.tar", "write oci-archive:oci.tar"),
        ("tar:oci.tar.gz", "write oci-archive:oci.tar.gz"),
        ("tar:docker.tar", "write docker-archive:docker.tar"),
        ("layout", "write oci:layout"),
        ("root", "write dir:root"),
        ("./root", "write dir:./root"),
        ("root.tar", "write tar:root.tar"),
        ("docker.tar", "write docker-archive:docker.tar"),
        ("none.tar", "asks no registry"),
    ] {
        let message = bench.build_fails(source, &[], 2);
        assert!(message.contains(hint), "{source}: {message}");
    }
    let message = bench.build_fails("tar:root.tar", &["--overlay", "docker.tar"], 2);
    assert!(message.contains("write docker-archive:docker.tar"), "{message}");
    let message = bench.pull_fails("root.tar", &[], 2);
    assert!(message.contains("write tar:root.tar"), "{message}");
    for source in ["oci:layout", "oci-archive:oci.tar.gz", "docker-archive:docker.tar"] {
        bench.build(source, "disk", &["--force"]);
    }
    // The way that the refusal of skopeo's form names works.
    let (from, to) = (bench.path("skopeo"), bench.path("way"));
    let (from, to) = (format!("dir:{}", from.display()), format!("oci:{}:latest", to.display()));
    judge::succeed("skopeo", ["--insecure-policy", "copy", "--quiet", &from, &to]);
    bench.build("oci:way", "disk", &["--force"]);
}

/// Appends a file to an archive that has one of that name.
fn tar_again(bench: &Bench, directory: &str, archive: &str, file: &str) {
    let (from, to) = (bench.path(directory), bench.path(archive));
    judge::succeed("tar", ["-C", from.to_str().unwrap(), "-rf", to.to_str().unwrap(), file]);
}

#[test]
fn hostile_lists_of_docker_archives_are_bad_data() {
    let bench = Bench::new();
    save_legacy(&bench.path("save"), &layers(), Compression::None);
    let list = fs::read_to_string(bench.path("save/manifest.json")).unwrap();
    for (wrong, words) in [
        ("{}".to_owned(), "malformed"),
        ("[".repeat(100_000), "malformed"),
        (format!("{list}{}", " ".repeat(5 << 20)), "at most"),
        (list.replace("layer0/", "../../"), "leads out"),
        (list.replace("layer0/layer.tar", "layer0"), "directory"),
        (list.replace("\"layer0/layer.tar\",", ""), "2 layers"),
    ] {
        fs::write(bench.path("save/manifest.json"), wrong).unwrap();
        tar(&bench, "save", "save.tar", &["."]);
        let message = bench.build_fails("docker-archive:save.tar", &[], 65);
        assert!(message.contains(words), "{words}: {message}");
        assert!(message.len() < 1000, "{}", message.len());
    }
    fs::write(bench.path("save/manifest.json"), "[]").unwrap();
    tar(&bench, "save", "save.tar", &["."]);
    bench.build_fails("docker-archive:save.tar", &[], 66);
    tar(&bench, "save", "none.tar", &["layer0"]);
    assert!(bench.build_fails("docker-archive:none.tar", &[], 65).contains("no manifest.json"));
}
