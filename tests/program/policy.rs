//! When a registry is asked, and which of its images is taken.

use std::fs;

use banger_test_support::judge;
use banger_test_support::layers::{Compression, Image, digest};
use banger_test_support::proxy::{Proxy, Reply};
use banger_test_support::registry::Registry;
use serde_json::{Value, json};

use crate::banger::{Bench, push};
use crate::faults::{image_of, layer};
use crate::image::image;

/// A registry with `app:latest`, before which requests are counted.
fn counted() -> Option<(Registry, Proxy)> {
    let registry = Registry::start()?;
    push(&registry, &[image_of(vec![layer("one", 5000, 1)])], "app:latest");
    let proxy = Proxy::start(&registry.host(), |request, upstream| upstream.answer(request));
    Some((registry, proxy))
}

#[test]
fn pull_decides_when_the_registry_is_asked() {
    let Some((registry, proxy)) = counted() else { return };
    let (bench, reference) = (Bench::new(), format!("{}/app:latest", proxy.host()));
    let message = bench.pull_fails(&reference, &["--pull", "never"], 66);
    assert!(message.contains("no registry may be asked"), "{message}");
    assert!(proxy.log().is_empty(), "{:?}", proxy.log());
    let first = bench.pull(&reference, "a", &["--pull", "missing"]);
    // The tag moves.
    push(&registry, &[image_of(vec![layer("two", 6000, 2)])], "app:latest");
    proxy.forget();
    for policy in ["missing", "never"] {
        let again = bench.pull(&reference, "b", &["--force", "--pull", policy]);
        assert_eq!(again["manifest"], first["manifest"]);
        assert!(fs::read(bench.path("a")).unwrap() == fs::read(bench.path("b")).unwrap());
    }
    assert!(proxy.log().is_empty(), "{:?}", proxy.log());
    let moved = bench.pull(&reference, "b", &["--force", "--pull", "always"]);
    assert_ne!(moved["manifest"], first["manifest"]);
    let usual = bench.pull(&reference, "b", &["--force"]);
    assert_eq!(usual["manifest"], moved["manifest"]);
    let known = bench.pull(&reference, "b", &["--force", "--pull", "never"]);
    assert_eq!(known["manifest"], moved["manifest"]);
}

#[test]
fn a_layer_that_the_cache_lost_is_missing_when_no_registry_may_be_asked() {
    let Some((_registry, proxy)) = counted() else { return };
    let (bench, reference) = (Bench::new(), format!("{}/app:latest", proxy.host()));
    let pulled = bench.pull(&reference, "a", &[]);
    let hex = pulled["layers"][0]["digest"].as_str().unwrap().replace("sha256:", "");
    fs::remove_file(bench.path("cache/oci/blobs/sha256").join(hex)).unwrap();
    fs::remove_file(bench.path("a")).unwrap();
    let message = bench.pull_fails(&reference, &["--pull", "never"], 66);
    assert!(message.contains("layer 1 of 1"), "{message}");
    bench.pull(&reference, "a", &["--pull", "missing"]);
}

#[test]
fn a_known_digest_is_pulled_without_a_registry() {
    let Some((registry, proxy)) = counted() else { return };
    let bench = Bench::new();
    let first = bench.pull(&format!("{}/app:latest", proxy.host()), "a", &[]);
    let reference = format!("{}/app@{}", registry.host(), first["manifest"].as_str().unwrap());
    drop(registry);
    bench.pull(&reference, "b", &[]);
    assert!(fs::read(bench.path("a")).unwrap() == fs::read(bench.path("b")).unwrap());
}

#[test]
fn variants_are_chosen_and_attestations_are_not_images() {
    let Some((registry, _)) = counted() else { return };
    let images: Vec<Image> = ["amd64", "arm64", "arm"]
        .map(|architecture| Image { architecture, ..image(Compression::Gzip) })
        .into();
    push(&registry, &images, "many:latest");
    // The index as builders write it: variants, and attestations beside the images.
    let server = Proxy::start(&registry.host(), |request, upstream| {
        let reply = upstream.answer(&request.without("if-none-match"));
        if !request.target.ends_with("/manifests/latest") || request.method == "HEAD" {
            return reply;
        }
        let mut index: Value = serde_json::from_slice(&reply.body).unwrap();
        let entries = index["manifests"].as_array_mut().unwrap();
        entries[2]["platform"]["variant"] = "v6".into();
        let mut attestation = entries[0].clone();
        attestation["platform"] = json!({ "architecture": "unknown", "os": "unknown" });
        attestation["digest"] = digest(b"an attestation").into();
        entries.insert(0, attestation);
        let body = index.to_string().into_bytes();
        let named = digest(&body);
        Reply { body, ..reply }.with("Docker-Content-Digest", &named)
    });
    let (bench, reference) = (Bench::new(), format!("{}/many:latest", server.host()));
    for (platform, chosen) in [
        ("linux/amd64", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm/v7", "linux/arm/v6"),
        ("linux/arm/v6", "linux/arm/v6"),
    ] {
        let report = bench.pull(&reference, "disk", &["--force", "--platform", platform]);
        assert_eq!(report["platform"], chosen, "{platform}");
    }
    fs::remove_file(bench.path("disk")).unwrap();
    for platform in ["linux/arm/v5", "linux/riscv64", "windows/amd64", "unknown/unknown"] {
        let message = bench.pull_fails(&reference, &["--platform", platform], 66);
        let has = "it has: linux/amd64, linux/arm64, linux/arm/v6;";
        assert!(platform == "unknown/unknown" || message.contains(has), "{message}");
    }
}

#[test]
fn hostile_digests_and_references_are_refused_before_anything_is_asked() {
    let Some((_registry, proxy)) = counted() else { return };
    let bench = Bench::new();
    let upper = format!("app@sha256:{}", "A".repeat(64));
    let long = format!("app:{}", "t".repeat(129));
    for name in [
        "app@sha256:../../../x",
        "app@sha256:00",
        "app@md5:d41d8cd98f00b204e9800998ecf8427e",
        "../app",
        "app/../x",
        "app:a/b",
        "app?x=y",
        "app%2f",
        &upper,
        &long,
    ] {
        let reference = format!("{}/{name}", proxy.host());
        let result = bench.run(["image", "pull", &reference, "disk"]);
        assert_eq!(result.status.code(), Some(2), "{name}: {}", judge::text(&result));
    }
    assert!(proxy.log().is_empty(), "{:?}", proxy.log());
}

#[test]
fn words_about_the_network_that_make_no_sense_are_usage_errors() {
    let bench = Bench::new();
    for words in [
        &["--pull", "sometimes"][..],
        &["--jobs", "0"],
        &["--retry", "-1"],
        &["--timeout", "0"],
        &["--timeout", "soon"],
        &["--key-file", "k.pem"],
        &["--insecure", "--plain-http"],
    ] {
        let all = ["image", "pull", "127.0.0.1:1/x", "disk"].iter().chain(words);
        let result = bench.run(all);
        assert_eq!(result.status.code(), Some(2), "{words:?}: {}", judge::text(&result));
    }
    for (words, code) in [
        (&["--authfile", "none.json", "--plain-http"][..], 69),
        (&["--ca-file", "none.pem"], 66),
        (&["--cert-file", "none.pem"], 66),
    ] {
        let words = [words, &["--retry", "0"]].concat();
        bench.pull_fails("127.0.0.1:1/x", &words, code);
    }
}

#[test]
fn jobs_bounds_the_requests_that_run_at_the_same_time() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let Some((registry, _)) = counted() else { return };
    let layers = (0..8).map(|number| layer("file", 100_000, number + 10)).collect();
    push(&registry, &[image_of(layers)], "wide:latest");
    let (running, most) = (AtomicUsize::new(0), std::sync::Arc::new(AtomicUsize::new(0)));
    let seen = std::sync::Arc::clone(&most);
    let proxy = Proxy::start(&registry.host(), move |request, upstream| {
        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
        seen.fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(30));
        let reply = upstream.answer(request);
        running.fetch_sub(1, Ordering::SeqCst);
        reply
    });
    let reference = format!("{}/wide:latest", proxy.host());
    Bench::new().pull(&reference, "disk", &["--jobs", "1"]);
    assert_eq!(most.load(Ordering::SeqCst), 1);
    Bench::new().pull(&reference, "disk", &["--jobs", "8"]);
    let most = most.load(Ordering::SeqCst);
    assert!((2..=8).contains(&most), "{most}");
}
