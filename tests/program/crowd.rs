//! Many processes at once, and processes that are killed: no wrong image, no work done twice.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use banger_test_support::proxy::{Manner, Proxy, Request};
use banger_test_support::registry::Registry;
use banger_test_support::{gate, judge};
use rustix::process::Signal;

use crate::banger::{Bench, push};
use crate::faults::{assert_clean, image_of, layer, parts};

/// The number in a variable, or another.
fn number(variable: &str, usual: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is \"{text}\"")),
        Err(_) => usual,
    }
}

fn start(bench: &Bench, reference: &str, output: &str) -> Child {
    let words = ["image", "pull", reference, output, "--quiet"];
    bench.command(words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// `BANGER_CROWD` processes, 20 when it is not set, pull four images that share layers.
#[test]
fn a_crowd_gets_right_images_and_fetches_every_blob_once() {
    let Some(registry) = Registry::start() else { return };
    let layers: Vec<_> = (0..5).map(|n| layer(&format!("file{n}"), 1 << 20, n + 1)).collect();
    let references: Vec<String> = (0..4)
        .map(|number| {
            let layers = layers[number..].iter().chain([&layers[0]]).take(3).cloned().collect();
            push(&registry, &[image_of(layers)], &format!("image{number}:latest"))
        })
        .collect();
    let right: Vec<Vec<u8>> = references
        .iter()
        .map(|reference| {
            let bench = Bench::new();
            bench.pull(reference, "disk", &[]);
            gate::assert_clean(&bench.path("disk"));
            fs::read(bench.path("disk")).unwrap()
        })
        .collect();
    let proxy = Proxy::start(&registry.host(), |request, upstream| {
        let drip = Manner::Drip(64 << 10, Duration::from_millis(10));
        let reply = upstream.answer(request);
        if request.fetches_blob() { reply.sent(drip) } else { reply }
    });
    let bench = Bench::new();
    let children: Vec<(usize, Child)> = (0..number("BANGER_CROWD", 20))
        .map(|place| {
            let reference = references[place % 4].replace(&registry.host(), &proxy.host());
            (place, start(&bench, &reference, &place.to_string()))
        })
        .collect();
    for (place, child) in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{place}: {}", judge::text(&output));
        assert!(fs::read(bench.path(&place.to_string())).unwrap() == right[place % 4], "{place}");
    }
    let mut fetched = BTreeMap::new();
    for request in proxy.log().into_iter().filter(Request::fetches_blob) {
        let blob = request.target.rsplit('/').next().unwrap().to_owned();
        *fetched.entry(blob).or_insert(0) += 1;
    }
    // Five layers and four configs.
    assert_eq!(fetched.len(), 9, "{fetched:?}");
    assert!(fetched.values().all(|count| *count == 1), "{fetched:?}");
    assert_clean(&bench);
    assert_eq!(parts(&bench), Vec::<std::path::PathBuf>::new());
}

/// A process that waits for another's download takes over when that one is killed.
#[test]
fn who_waits_for_a_download_takes_over_from_the_dead() {
    let Some(registry) = Registry::start() else { return };
    push(&registry, &[image_of(vec![layer("file", 3 << 20, 7)])], "image:latest");
    let proxy = Proxy::start(&registry.host(), |request, upstream| {
        let drip = Manner::Drip(64 << 10, Duration::from_millis(100));
        let reply = upstream.answer(request);
        if reply.body.len() > 1 << 20 { reply.sent(drip) } else { reply }
    });
    let (bench, reference) = (Bench::new(), format!("{}/image:latest", proxy.host()));
    let mut first = start(&bench, &reference, "first");
    let deadline = Instant::now() + Duration::from_secs(60);
    let grown =
        || parts(&bench).iter().any(|part| fs::metadata(part).is_ok_and(|m| m.len() > 1 << 18));
    while !grown() {
        assert!(Instant::now() < deadline, "nothing arrives");
        sleep(Duration::from_millis(5));
    }
    let second = start(&bench, &reference, "second");
    sleep(Duration::from_millis(300));
    first.kill().unwrap();
    first.wait().unwrap();
    let output = second.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", judge::text(&output));
    gate::assert_clean(&bench.path("second"));
    let log = proxy.log();
    let ranges: Vec<_> = log.iter().filter_map(|request| request.header("range")).collect();
    assert!(ranges.iter().any(|range| *range != "bytes=0-0"), "{ranges:?}");
    assert_clean(&bench);
}

/// An interrupted pull leaves the beginning of a blob, and the next one asks for the rest alone.
#[test]
fn the_next_run_continues_what_an_interrupted_one_left() {
    const SIZE: usize = 3 << 20;
    let Some(registry) = Registry::start() else { return };
    push(&registry, &[image_of(vec![layer("file", SIZE, 9)])], "image:latest");
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let proxy = Proxy::start(&registry.host(), move |request, upstream| {
        let reply = upstream.answer(request);
        if !request.fetches_blob() || reply.body.starts_with(b"{") {
            return reply;
        }
        count.fetch_add(reply.body.len().try_into().unwrap(), Ordering::Relaxed);
        let drip = Manner::Drip(64 << 10, Duration::from_millis(100));
        if request.header("range").is_none() { reply.sent(drip) } else { reply }
    });
    let (bench, reference) = (Bench::new(), format!("{}/image:latest", proxy.host()));
    let mut child = start(&bench, &reference, "disk");
    let deadline = Instant::now() + Duration::from_secs(60);
    let arrived = || parts(&bench).first().map_or(0, |part| fs::metadata(part).unwrap().len());
    while arrived() < 1 << 18 {
        assert!(Instant::now() < deadline, "nothing arrives");
        assert_eq!(child.try_wait().unwrap(), None, "the pull ended by itself");
        sleep(Duration::from_millis(5));
    }
    judge::signal(&child, Signal::INT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", judge::text(&output));
    assert!(judge::text(&output).contains("what was fetched is kept"), "{}", judge::text(&output));
    assert_clean(&bench);
    assert!(!bench.path("disk").exists());
    let left = arrived();
    let whole = sent.swap(0, Ordering::Relaxed);
    assert!((1 << 18..whole).contains(&left), "{left} of {whole} bytes");
    proxy.forget();
    bench.pull(&reference, "disk", &[]);
    gate::assert_clean(&bench.path("disk"));
    let ranges: Vec<_> = proxy
        .log()
        .iter()
        .filter_map(|request| request.header("range").map(str::to_owned))
        .collect();
    assert_eq!(ranges, [format!("bytes={left}-")]);
    assert_eq!(sent.load(Ordering::Relaxed), whole - left, "bytes that were there came again");
    assert_clean(&bench);
    assert_eq!(parts(&bench), Vec::<std::path::PathBuf>::new());
}

/// `BANGER_KILLS` moments, 12 when it is not set, spread by chance over the time that a pull takes.
#[test]
fn killed_at_any_moment_a_pull_publishes_nothing_wrong_and_the_next_run_completes() {
    let Some(registry) = Registry::start() else { return };
    let layers = (0..4).map(|n| layer(&format!("file{n}"), 2 << 20, n + 1)).collect();
    let reference = push(&registry, &[image_of(layers)], "image:latest");
    let bench = Bench::new();
    let begun = Instant::now();
    bench.pull(&reference, "disk", &[]);
    let whole = begun.elapsed();
    gate::assert_clean(&bench.path("disk"));
    let right = fs::read(bench.path("disk")).unwrap();
    let (mut killed, mut resumed) = (0, 0);
    for moment in 0..number("BANGER_KILLS", 12) {
        let bench = Bench::new();
        let mut child = start(&bench, &reference, "disk");
        sleep(whole.mul_f64(fastrand::f64()));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        killed += usize::from(!status.success());
        resumed += usize::from(!parts(&bench).is_empty());
        match fs::read(bench.path("disk")) {
            Ok(bytes) => assert!(bytes == right, "a wrong image after moment {moment}"),
            Err(error) => assert!(!status.success(), "{error}"),
        }
        let result = bench.run(["image", "pull", &reference, "disk", "--quiet", "--force"]);
        assert!(result.status.success(), "moment {moment}: {}", judge::text(&result));
        assert!(fs::read(bench.path("disk")).unwrap() == right, "moment {moment}");
        assert_clean(&bench);
    }
    let _ = writeln!(
        std::io::stderr(),
        "{killed} pulls were killed, {resumed} of them left parts of blobs"
    );
    assert!(killed > 0, "no pull was slow enough to be killed");
}
