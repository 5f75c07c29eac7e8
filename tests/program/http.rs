//! What HTTP lets a proxy, a cache or storage do, and what they do besides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use banger_test_support::judge;
use banger_test_support::proxy::{Count, Hinting, Manner, Proxy, Reply, Request};
use serde_json::{Value, json};

use crate::banger::Bench;
use crate::faults::{Bed, assert_clean, blob_ranges, is_large, parts, refuses, survives};

const MIB: usize = 1 << 20;

#[test]
fn a_cache_that_has_nothing_before_the_first_get_serves() {
    let Some(bed) = Bed::new() else { return };
    for head in [
        Some(Reply::new(404, b"")),
        Some(Reply::new(405, b"")),
        Some(Reply::new(500, b"")),
        Some(Reply::new(200, b"")),
        Some(Reply::new(200, b"").sent(Manner::WithoutLength)),
        None,
    ] {
        let proxy = bed.behind(move |request, upstream| {
            if request.method == "HEAD" && request.target.contains("/blobs/") {
                // Without an answer the connection just ends.
                return head.clone().unwrap_or_else(|| Reply::new(0, b""));
            }
            upstream.answer(request)
        });
        bed.assert_pulls(&Bench::new(), &proxy, &["--retry", "0"]);
    }
}

#[test]
fn storage_that_refuses_ranges_is_asked_for_the_whole_in_the_same_run() {
    let Some(bed) = Bed::new() else { return };
    for status in [400, 403, 404, 405, 416, 500, 501, 503] {
        let first = Count::default();
        let proxy = bed.behind(move |request, upstream| {
            if request.fetches_blob() && request.header("range").is_some() {
                return Reply::new(status, b"<Error/>");
            }
            let reply = upstream.answer(request);
            if request.fetches_blob() && is_large(&reply) && first.next("") == 0 {
                return reply.sent(Manner::Cut(2 * MIB));
            }
            reply
        });
        let bench = Bench::new();
        bed.assert_pulls(&bench, &proxy, &["--retry", "1"]);
        assert!(!blob_ranges(&proxy.log()).is_empty(), "{status}");
        assert!(parts(&bench).is_empty(), "{status}");
    }
}

#[test]
fn what_ends_early_without_a_length_is_continued_in_the_next_run() {
    let Some(bed) = Bed::new() else { return };
    let struck = Arc::new(AtomicBool::new(true));
    let strikes = Arc::clone(&struck);
    let proxy = bed.behind(move |request, upstream| {
        let mut reply = upstream.answer(&request.without("range"));
        if strikes.load(Ordering::Relaxed) && request.fetches_blob() && is_large(&reply) {
            reply.body.truncate(2 * MIB);
            return reply.sent(Manner::WithoutLength);
        }
        upstream.answer(request)
    });
    let bench = Bench::new();
    let reference = format!("{}/image:latest", proxy.host());
    let message = bench.pull_fails(&reference, &["--retry", "1"], 65);
    assert!(message.contains("ended after 2097152 of the"), "{message}");
    assert_clean(&bench);
    assert_eq!(parts(&bench).len(), 1);
    struck.store(false, Ordering::Relaxed);
    proxy.forget();
    bed.assert_pulls(&bench, &proxy, &[]);
    assert_eq!(blob_ranges(&proxy.log()), [format!("bytes={}-", 2 * MIB)]);
}

#[test]
fn a_page_instead_of_a_blob_does_not_take_away_what_is_there() {
    let Some(bed) = Bed::new() else { return };
    let turn = Count::default();
    let proxy = bed.behind(move |request, upstream| {
        let reply = upstream.answer(&request.without("range"));
        if !request.fetches_blob() || !is_large(&reply) {
            return upstream.answer(request);
        }
        match turn.next("") {
            0 => reply.sent(Manner::Cut(2 * MIB)),
            1 | 2 => Reply::new(200, b"<html>log in</html>").with("Content-Type", "text/html"),
            _ => upstream.answer(request),
        }
    });
    let bench = Bench::new();
    let reference = format!("{}/image:latest", proxy.host());
    let message = bench.pull_fails(&reference, &["--retry", "1"], 65);
    assert!(message.contains("a web page came instead of layer"), "{message}");
    assert_eq!(parts(&bench).len(), 1);
    bed.assert_pulls(&bench, &proxy, &[]);
}

#[test]
fn what_a_proxy_may_change_about_an_answer_is_taken_as_it_comes() {
    let log = survives(&[], |request, upstream| {
        let mut reply = upstream.answer(request);
        let blob = request.target.contains("/blobs/");
        if reply.status == 200 {
            reply.status = 203;
        }
        for (name, value) in &mut reply.headers {
            if name.eq_ignore_ascii_case("content-type") {
                *value = format!("{}; charset=utf-8", value.to_uppercase());
            }
        }
        // Storage calls a blob what its own compression is, or a page what has no ending.
        let reply = reply.with("Via", "1.1 cache");
        if blob {
            return reply.with("Content-Encoding", "gzip").with("Content-Type", "text/html");
        }
        reply
    });
    for request in log.iter().filter(|request| request.method != "CONNECT") {
        assert_eq!(request.header("accept-encoding"), Some("identity"), "{request:?}");
    }
}

#[test]
fn a_part_may_be_shorter_than_was_asked_for_and_of_unknown_length() {
    // Each part brings more than the MiB that earns the next try.
    let log = survives(&["--retry", "1"], |request, upstream| {
        let whole = upstream.answer(&request.without("range"));
        if !request.fetches_blob() || !is_large(&whole) {
            return upstream.answer(request);
        }
        let asked = request.header("range").and_then(|range| range.strip_prefix("bytes="));
        let start =
            asked.and_then(|range| range.strip_suffix('-')).map_or(0, |n| n.parse().unwrap());
        // Whoever carries no more than so many bytes at a time says so to a plain GET, too.
        let end = whole.body.len().min(start + MIB + 1000);
        let range = format!("Bytes {start}-{}/*", end - 1);
        Reply::new(206, &whole.body[start..end]).with("Content-Range", &range)
    });
    assert!(log.is_empty() || blob_ranges(&log).len() >= 2, "{log:?}");
}

#[test]
fn a_document_in_a_coding_that_nobody_asked_for_is_told() {
    let words = "Content-Encoding: gzip, though none was asked for";
    refuses(&[], (65, words), |request, upstream| {
        let reply = upstream.answer(request);
        if request.target.contains("/manifests/") && request.method == "GET" {
            return Reply { body: b"\x1f\x8b\x08\0".to_vec(), ..reply }
                .with("Content-Encoding", "gzip");
        }
        reply
    });
    refuses(&[], (65, words), |request, upstream| {
        let mut reply = upstream.answer(request);
        if request.fetches_blob() && is_large(&reply) {
            reply.body.truncate(MIB);
            return reply.with("Content-Encoding", "gzip");
        }
        reply
    });
}

/// A registry that gives a token of its own, `token`, to whoever asks, or only to `login`.
fn wanting_a_token(bed: &Bed, login: Option<&'static str>) -> Proxy {
    bed.behind(move |request, upstream| {
        if request.target.starts_with("/token") {
            let is_known = request.header("authorization") == login;
            let status = if is_known { 200 } else { 401 };
            return Reply::new(
                status,
                json!({ "token": "t", "access_token": null }).to_string().as_bytes(),
            );
        }
        if request.header("authorization") == Some("Bearer t") {
            return upstream.answer(&request.without("authorization"));
        }
        let host = request.header("host").unwrap();
        let challenge = format!(
            "Bearer realm=\"http://{host}/token\",service=\"s\",scope=\"repository:image:pull\""
        );
        Reply::new(401, b"{}").with("WWW-Authenticate", &challenge)
    })
}

/// A name that stands before a registry, and has a password of its own.
fn vanity(behind: String) -> Proxy {
    Proxy::start("nobody", move |request, _| {
        if request.header("authorization").is_none() {
            return Reply::new(401, b"").with("WWW-Authenticate", "Basic realm=\"x\"");
        }
        let place = format!("http://{behind}{}", request.target);
        Reply::new(307, b"").with("Location", &place)
    })
}

#[test]
fn a_registry_behind_a_redirect_gives_a_token_of_its_own() {
    let Some(bed) = Bed::new() else { return };
    let registry = wanting_a_token(&bed, None);
    let name = vanity(registry.host());
    let bench = Bench::new();
    let login = bench.login(&name.host());
    bed.assert_pulls(&bench, &name, &["--authfile", &login]);
    let shown = |request: &Request| request.header("authorization").map(str::to_owned);
    let tokens = registry.log().iter().filter(|r| r.target.starts_with("/token")).count();
    assert_eq!(tokens, 1, "one token for all requests");
    let strange = |login: &String| login != "Bearer t";
    assert!(!registry.log().iter().filter_map(shown).any(|login| strange(&login)));
    assert!(name.log().iter().filter_map(shown).all(|login| login.starts_with("Basic ")));
    // With credentials that it does not know, or without the right ones: it is who refuses.
    let strict = wanting_a_token(&bed, Some("Basic nobody"));
    let name = vanity(strict.host());
    let bench = Bench::new();
    let login = bench.login(&name.host());
    let reference = format!("{}/image:latest", name.host());
    let message = bench.pull_fails(&reference, &["--authfile", &login], 77);
    let refused = format!("{} gave no token", strict.host());
    assert!(message.contains(&refused) && !message.contains(&login), "{message}");
    let closed = Proxy::start("nobody", |_, _| Reply::new(403, b"{}"));
    let name = vanity(closed.host());
    let reference = format!("{}/image:latest", name.host());
    let login = bench.login(&name.host());
    let message = bench.pull_fails(&reference, &["--authfile", &login], 77);
    assert!(message.contains(&format!("{} answered 403", closed.host())), "{message}");
}

#[test]
fn a_registry_of_this_host_does_not_lead_to_the_services_of_its_cloud() {
    let realm = "Bearer realm=\"http://169.254.169.254/token\"";
    let registry =
        Proxy::start("nobody", move |_, _| Reply::new(401, b"").with("WWW-Authenticate", realm));
    let bench = Bench::new();
    let reference = format!("{}/image:latest", registry.host());
    let message = bench.pull_fails(&reference, &["--timeout", "5s"], 77);
    assert!(message.contains("an address of no name"), "{message}");
    let registry = Proxy::start("nobody", move |_, _| {
        Reply::new(307, b"").with("Location", "http://169.254.169.254/v2/image/manifests/latest")
    });
    let reference = format!("{}/image:latest", registry.host());
    let message = bench.pull_fails(&reference, &["--timeout", "5s"], 69);
    assert!(message.contains("redirects to an address of this host or link"), "{message}");
}

#[test]
fn a_request_that_is_repeated_is_told_once_each_time() {
    let Some(bed) = Bed::new() else { return };
    let count = Arc::new(Count::default());
    let turns = Arc::clone(&count);
    let proxy = bed.behind(move |request, upstream| match turns.next(&request.target) {
        0 if request.fetches_blob() => Reply::new(503, b"busy"),
        _ => upstream.answer(request),
    });
    let reference = format!("{}/image:latest", proxy.host());
    let told = |options: &[&str]| {
        let bench = Bench::new();
        let words = ["image", "pull", &reference, "disk"];
        let result = bench.run(words.iter().chain(options));
        assert!(result.status.success(), "{}", judge::text(&result));
        let text = String::from_utf8(result.stderr).unwrap();
        text.lines().filter(|line| line.contains("trying again in")).map(str::to_owned).collect()
    };
    let lines: Vec<String> = told(&[]);
    assert!(!lines.is_empty(), "nothing was told");
    for line in &lines {
        assert!(line.starts_with("warning: cannot fetch "), "{line}");
        assert!(line.contains("answered 503: busy; trying again in 0."), "{line}");
    }
    let failing = bed.behind(|_, _| Reply::new(503, b"busy"));
    let reference = format!("{}/image:latest", failing.host());
    let words = ["image", "pull", &reference, "disk", "--retry", "1"];
    let result = Bench::new().run(words.iter().chain(&["--quiet"]));
    assert_eq!(judge::text(&result).lines().count(), 1, "{}", judge::text(&result));
    let result = Bench::new().run(words.iter().chain(&["--format", "json"]));
    let error: Value = serde_json::from_slice(&result.stdout).unwrap();
    assert_eq!(error["error"]["exit_code"], 69);
    assert!(!judge::text(&result).contains("trying again"), "{}", judge::text(&result));
}

/// Answers on the way to one (RFC 9110, 15.2) are no answer: they do not prolong the time for it.
#[test]
fn interim_answers_do_not_prolong_the_wait() {
    let pull = |at_once, pause| {
        let server = Hinting::start(at_once, pause);
        let (bench, start) = (Bench::new(), Instant::now());
        let words = ["--timeout", "8s", "--retry", "0"];
        let message = bench.pull_fails(&format!("{}/image:latest", server.host()), &words, 69);
        assert!(message.contains("nothing came for 8 s"), "{message}");
        // Far from fourfold, on a busy machine too.
        assert!(start.elapsed() < Duration::from_secs(24), "{:?}", start.elapsed());
    };
    thread::scope(|scope| {
        scope.spawn(|| pull(1, Duration::from_millis(200)));
        scope.spawn(|| pull(200, Duration::ZERO));
    });
}
