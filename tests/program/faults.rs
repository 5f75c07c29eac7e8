//! A proxy before a real registry does what networks and servers do. Every fault ends in the right
//! image, or in the right error with a clean cache; then the next pull finishes the work.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use banger_test_support::gate;
use banger_test_support::layers::{Compression, Image, Layer, digest, host_architecture};
use banger_test_support::proxy::{Count, Manner, Proxy, Reply, Request, Silent, Upstream};
use banger_test_support::registry::Registry;
use banger_test_support::tree::{Entry, Kind};

use crate::banger::{Bench, push};

const MIB: usize = 1 << 20;

/// Bytes that no compression shortens.
pub(crate) fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// A layer with one file of noise.
pub(crate) fn layer(name: &str, length: usize, seed: u32) -> Vec<u8> {
    let content = noise(length, seed);
    let mut layer = Layer::new();
    layer.put(name, &Entry::new(Kind::file(&content), 0o644), &content);
    layer.finish()
}

pub(crate) fn image_of(layers: Vec<Vec<u8>>) -> Image {
    Image { architecture: host_architecture(), layers, compression: Compression::None }
}

/// A registry with an image of a small layer and one of 3 MiB, and the disk that it makes.
pub(crate) struct Bed {
    pub(crate) registry: Registry,
    right: Vec<u8>,
}

impl Bed {
    pub(crate) fn new() -> Option<Self> {
        let registry = Registry::start()?;
        let image = image_of(vec![layer("small", 5000, 1), layer("large", 3 * MIB, 2)]);
        let reference = push(&registry, &[image], "image:latest");
        let bench = Bench::new();
        bench.pull(&reference, "right", &[]);
        gate::assert_clean(&bench.path("right"));
        let right = fs::read(bench.path("right")).unwrap();
        Some(Self { registry, right })
    }

    pub(crate) fn behind(
        &self,
        rule: impl Fn(&Request, &Upstream) -> Reply + Send + Sync + 'static,
    ) -> Proxy {
        Proxy::start(&self.registry.host(), rule)
    }

    pub(crate) fn assert_pulls(&self, bench: &Bench, proxy: &Proxy, options: &[&str]) {
        let options = [&["--force"], options].concat();
        bench.pull(&format!("{}/image:latest", proxy.host()), "disk", &options);
        assert!(fs::read(bench.path("disk")).unwrap() == self.right, "another image");
        assert_clean(bench);
    }
}

/// No blob that is not what its name says, no temporary file, no part of a blob that is there.
pub(crate) fn assert_clean(bench: &Bench) {
    let root = bench.path("cache/oci");
    for path in files(&root.join("blobs/sha256")) {
        let name = format!("sha256:{}", path.file_name().unwrap().to_str().unwrap());
        assert_eq!(digest(&fs::read(&path).unwrap()), name);
    }
    assert_eq!(files(&root.join("ingest")), Vec::<PathBuf>::new());
    for part in files(&root.join("partial")) {
        let name = part.file_stem().unwrap().to_str().unwrap().replace("sha256-", "blobs/sha256/");
        assert!(!root.join(name).exists(), "{} is of a blob that is there", part.display());
        assert!(fs::metadata(&part).unwrap().len() > 0, "{} is empty", part.display());
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The parts of blobs in the cache of a bench.
pub(crate) fn parts(bench: &Bench) -> Vec<PathBuf> {
    files(&bench.path("cache/oci/partial"))
}

/// The large layer: the small one is shorter than any fault's place.
pub(crate) fn is_large(reply: &Reply) -> bool {
    reply.body.len() > MIB
}

/// The fault strikes, the pull survives.
pub(crate) fn survives(
    options: &[&str],
    rule: impl Fn(&Request, &Upstream) -> Reply + Send + Sync + 'static,
) -> Vec<Request> {
    let Some(bed) = Bed::new() else { return Vec::new() };
    let (bench, proxy) = (Bench::new(), bed.behind(rule));
    bed.assert_pulls(&bench, &proxy, options);
    assert_eq!(parts(&bench), Vec::<PathBuf>::new());
    proxy.log()
}

/// The fault strikes, the pull ends with this code and these words; when it is over, the next
/// pull finishes the work.
pub(crate) fn refuses(
    options: &[&str],
    (code, words): (i32, &str),
    rule: impl Fn(&Request, &Upstream) -> Reply + Send + Sync + 'static,
) -> Vec<Request> {
    let Some(bed) = Bed::new() else { return Vec::new() };
    let struck = Arc::new(AtomicBool::new(true));
    let strikes = Arc::clone(&struck);
    let proxy = bed.behind(move |request, upstream| {
        if strikes.load(Ordering::Relaxed) {
            rule(request, upstream)
        } else {
            upstream.answer(request)
        }
    });
    let bench = Bench::new();
    let message = bench.pull_fails(&format!("{}/image:latest", proxy.host()), options, code);
    assert!(message.contains(words), "{message}");
    assert_clean(&bench);
    let log = proxy.log();
    struck.store(false, Ordering::Relaxed);
    bed.assert_pulls(&bench, &proxy, options);
    log
}

pub(crate) fn blob_ranges(log: &[Request]) -> Vec<&str> {
    log.iter().filter(|r| r.fetches_blob()).filter_map(|r| r.header("range")).collect()
}

/// Treats the first answer with the large blob otherwise.
fn once(change: impl Fn(Reply) -> Reply + Send + Sync) -> impl Fn(&Request, &Upstream) -> Reply {
    let count = Count::default();
    move |request, upstream| {
        let reply = upstream.answer(request);
        if request.fetches_blob() && is_large(&reply) && count.next("") == 0 {
            return change(reply);
        }
        reply
    }
}

#[test]
fn a_reset_in_the_middle_of_a_blob_is_continued_there() {
    let log = survives(&[], once(|reply| reply.sent(Manner::Reset(2 * MIB))));
    let ranges = blob_ranges(&log);
    assert!(log.is_empty() || ranges.len() == 1, "{ranges:?}");
    assert!(ranges.iter().all(|range| *range != "bytes=0-"), "{ranges:?}");
}

#[test]
fn a_body_cut_below_its_length_again_and_again_is_put_together() {
    // Each try brings more than the MiB that earns the next.
    let log = survives(&["--retry", "1"], |request, upstream| {
        let reply = upstream.answer(request);
        if request.fetches_blob() && reply.body.len() > MIB * 5 / 4 {
            return reply.sent(Manner::Cut(MIB * 5 / 4));
        }
        reply
    });
    assert!(log.is_empty() || blob_ranges(&log).len() >= 2);
}

#[test]
fn a_body_shorter_than_its_descriptor_with_the_right_length_is_bad_data() {
    refuses(&[], (65, "whose descriptor declares"), |request, upstream| {
        let mut reply = upstream.answer(request);
        if request.fetches_blob() && is_large(&reply) {
            reply.body.truncate(MIB);
        }
        reply
    });
}

#[test]
fn a_rate_limit_is_waited_for() {
    let count = Count::default();
    let log = survives(&[], move |request, upstream| match count.next(&request.target) {
        0 => Reply::new(429, b"slow down").with("Retry-After", "0"),
        1 => Reply::new(429, b"slow down").with("Retry-After", "1"),
        _ => upstream.answer(request),
    });
    assert!(log.is_empty() || log.len() > 8, "{log:?}");
}

#[test]
fn a_rate_limit_beyond_patience_is_told_at_once() {
    let log = refuses(&[], (75, "asks to wait 7200 seconds"), |_, _| {
        Reply::new(429, b"").with("Retry-After", "7200")
    });
    assert!(log.len() <= 1, "{log:?}");
}

#[test]
fn bursts_of_500_pass() {
    let count = Count::default();
    survives(&[], move |request, upstream| match count.next(&request.target) {
        0..3 => Reply::new(500, b"oops"),
        _ => upstream.answer(request),
    });
}

#[test]
fn a_server_that_only_says_503_is_unavailable_after_the_tries() {
    let log = refuses(&["--retry", "2"], (69, "answered 503"), |_, _| Reply::new(503, b""));
    assert!(log.is_empty() || log.len() == 3, "{log:?}");
}

#[test]
fn a_slow_body_is_waited_for() {
    survives(
        &["--timeout", "20s"],
        once(|r| r.sent(Manner::Drip(64 << 10, Duration::from_millis(5)))),
    );
}

#[test]
fn a_body_that_drips_next_to_nothing_is_given_up() {
    let drip = |request: &Request, upstream: &Upstream| {
        let reply = upstream.answer(request);
        let manner = Manner::Drip(1, Duration::from_millis(20));
        if request.fetches_blob() && is_large(&reply) { reply.sent(manner) } else { reply }
    };
    let words = "fewer than 1024 bytes came within 3 s";
    refuses(&["--timeout", "3s", "--retry", "0"], (69, words), drip);
}

#[test]
fn an_error_that_drips_next_to_nothing_is_told_without_its_end() {
    let proxy = Proxy::start("nobody", |_, _| {
        let text = serde_json::json!({ "a": "x".repeat(60_000), "errors": [{ "message": "end" }] });
        let drip = Manner::Drip(1, Duration::from_millis(20));
        Reply::new(403, text.to_string().as_bytes()).sent(drip)
    });
    let reference = format!("{}/image:latest", proxy.host());
    let message = Bench::new().pull_fails(&reference, &["--timeout", "3s"], 77);
    assert!(!message.contains(": end"), "{message}");
}

#[test]
fn a_host_that_never_answers_is_unavailable_after_the_time_that_was_given() {
    let silent = Silent::start();
    let host = silent.host();
    let bench = Bench::new();
    let words = ["--timeout", "1s", "--retry", "1"];
    let message = bench.pull_fails(&format!("{host}/image:latest"), &words, 69);
    let expected = "no connection came about within 1 s; --timeout allows more";
    assert!(message.trim_end().ends_with(expected), "{message}");
    assert!(message.contains(&format!("manifest latest of {host}/image:latest")), "{message}");
    // A mirror that never answers is passed over once and for all.
    let Some(bed) = Bed::new() else { return };
    let conf = format!(
        "[[registry]]\nlocation='{}'\n[[registry.mirror]]\nlocation='{host}'\ninsecure=true\n",
        bed.registry.host()
    );
    fs::write(bench.path("registries.conf"), conf).unwrap();
    let reference = format!("{}/image:latest", bed.registry.host());
    bench.pull(&reference, "disk", &["--timeout", "1s", "--retry", "0"]);
    assert!(fs::read(bench.path("disk")).unwrap() == bed.right, "another image");
}

#[test]
fn a_body_that_stalls_is_continued() {
    let stall = Manner::Stall(2 * MIB, Duration::from_secs(60));
    let log = survives(&["--timeout", "3s"], once(move |reply| reply.sent(stall)));
    assert!(log.is_empty() || blob_ranges(&log).len() == 1);
}

#[test]
fn wrong_bytes_of_the_same_length_are_bad_data() {
    refuses(&[], (65, "its bytes are sha256:"), |request, upstream| {
        let mut reply = upstream.answer(request);
        if request.fetches_blob() && is_large(&reply) {
            reply.body[2 * MIB] ^= 1;
        }
        reply
    });
}

#[test]
fn a_missing_length_is_no_fault() {
    survives(&[], |request, upstream| upstream.answer(request).sent(Manner::WithoutLength));
}

#[test]
fn a_cut_without_a_length_is_noticed_and_continued() {
    let log = survives(
        &[],
        once(|mut reply| {
            reply.body.truncate(2 * MIB);
            reply.sent(Manner::WithoutLength)
        }),
    );
    assert!(log.is_empty() || blob_ranges(&log) == [format!("bytes={}-", 2 * MIB)]);
}

#[test]
fn a_web_page_instead_of_a_manifest_is_bad_data() {
    let page = |_: &Request, _: &Upstream| {
        Reply::new(200, b"<html>Please log in</html>").with("Content-Type", "text/html; charset=x")
    };
    refuses(&[], (65, "a web page came instead of manifest latest"), page);
}

#[test]
fn a_web_page_instead_of_a_blob_is_bad_data() {
    refuses(&[], (65, "a web page came instead of layer"), |request, upstream| {
        let reply = upstream.answer(request);
        let page = Reply::new(200, &b"<html>".repeat(100)).with("Content-Type", "text/html");
        if request.fetches_blob() && is_large(&reply) { page } else { reply }
    });
}

#[test]
fn a_server_that_ignores_ranges_begins_anew() {
    let count = Count::default();
    let log = survives(&[], move |request, upstream| {
        let reply = upstream.answer(&request.without("range"));
        let first = request.fetches_blob() && is_large(&reply) && count.next("") == 0;
        if first { reply.sent(Manner::Cut(2 * MIB)) } else { reply }
    });
    assert!(log.is_empty() || blob_ranges(&log).len() == 1);
}

/// After a cut, an answer to a Range that is not the part that was asked for.
fn after_a_cut(part: impl Fn(Reply) -> Reply + Send + Sync + 'static) {
    let count = Count::default();
    let log = survives(&[], move |request, upstream| {
        let reply = upstream.answer(request);
        if !request.fetches_blob() || !is_large(&reply) && request.header("range").is_none() {
            return reply;
        }
        match count.next("") {
            0 => reply.sent(Manner::Cut(2 * MIB)),
            1 => part(reply),
            _ => reply,
        }
    });
    let large: Vec<_> = log.iter().filter(|r| r.fetches_blob()).collect();
    // The small layer, the config; the large one cut, in part, and from its start.
    assert!(log.is_empty() || large.len() == 5, "{large:?}");
    assert!(large.is_empty() || large.last().unwrap().header("range").is_none(), "{large:?}");
}

#[test]
fn a_part_other_than_the_one_asked_for_is_not_believed() {
    after_a_cut(|reply| reply.with("Content-Range", "bytes 5-3147775/3147776"));
}

#[test]
fn a_part_without_a_place_is_not_believed() {
    after_a_cut(|mut reply| {
        reply.headers.retain(|(name, _)| name != "content-range");
        reply
    });
}

#[test]
fn a_range_that_is_refused_is_asked_for_no_more() {
    after_a_cut(|_| Reply::new(416, b"no"));
}

#[test]
fn a_redirect_to_another_host_is_followed_without_the_password() {
    let Some(bed) = Bed::new() else { return };
    let guarded = bed.registry.guarded();
    let open = Mutex::new(bed.behind(|request, upstream| upstream.answer(request)));
    let storage = open.lock().unwrap().host();
    let proxy = Proxy::start(&guarded.host(), move |request, upstream| {
        let has_login = request.header("authorization").is_some();
        let place = format!("http://{storage}{}", request.target);
        let is_sent_on = request.target.contains("/blobs/") && has_login;
        if is_sent_on {
            Reply::new(307, b"").with("Location", &place)
        } else {
            upstream.answer(request)
        }
    });
    let bench = Bench::new();
    let login = bench.login(&proxy.host());
    bed.assert_pulls(&bench, &proxy, &["--authfile", &login]);
    let seen = open.lock().unwrap().log();
    assert!(seen.iter().filter(|request| request.fetches_blob()).count() >= 3, "{seen:?}");
    assert!(seen.iter().all(|request| request.header("authorization").is_none()), "{seen:?}");
    assert!(proxy.log().iter().any(|request| request.header("authorization").is_some()));
}

/// The first run brings 2 MiB of the large blob and fails, leaving them in the cache.
fn left_by_a_failed_run(bed: &Bed, bench: &Bench) -> (Proxy, Arc<AtomicBool>) {
    let struck = Arc::new(AtomicBool::new(true));
    let strikes = Arc::clone(&struck);
    let proxy = bed.behind(move |request, upstream| {
        let reply = upstream.answer(request);
        if request.fetches_blob() && is_large(&reply) && strikes.load(Ordering::Relaxed) {
            return reply.sent(Manner::Cut(2 * MIB));
        }
        reply
    });
    bench.pull_fails(&format!("{}/image:latest", proxy.host()), &["--retry", "0"], 69);
    struck.store(false, Ordering::Relaxed);
    assert_clean(bench);
    (proxy, struck)
}

#[test]
fn the_next_run_continues_what_a_failed_one_left() {
    let Some(bed) = Bed::new() else { return };
    let bench = Bench::new();
    let (proxy, _) = left_by_a_failed_run(&bed, &bench);
    let [part] = parts(&bench).try_into().unwrap();
    let length = fs::metadata(part).unwrap().len();
    assert!(length > 0);
    proxy.forget();
    bed.assert_pulls(&bench, &proxy, &[]);
    assert_eq!(blob_ranges(&proxy.log()), [format!("bytes={length}-")]);
    assert_eq!(parts(&bench), Vec::<PathBuf>::new());
}

#[test]
fn a_part_that_was_damaged_meanwhile_is_fetched_anew() {
    let Some(bed) = Bed::new() else { return };
    let bench = Bench::new();
    let (proxy, _) = left_by_a_failed_run(&bed, &bench);
    let [part] = parts(&bench).try_into().unwrap();
    let mut bytes = fs::read(&part).unwrap();
    bytes[1000] ^= 1;
    fs::write(&part, bytes).unwrap();
    proxy.forget();
    bed.assert_pulls(&bench, &proxy, &[]);
    let log = proxy.log();
    let blobs = log.iter().filter(|request| request.fetches_blob());
    let ranges: Vec<_> = blobs.map(|request| request.header("range").is_some()).collect();
    assert_eq!(ranges, [true, false]);
}
