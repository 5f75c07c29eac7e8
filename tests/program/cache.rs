//! The cache: looked at, cleaned, damaged, locked, killed and read-only.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use banger_test_support::layers::Compression;
use banger_test_support::proxy::{Manner, Proxy};
use banger_test_support::registry::Registry;
use banger_test_support::{gate, judge};
use rustix::process::Signal;
use serde_json::Value;

use crate::banger::{Bench, Nobody, flip, open_to_all, program_for_everybody, push};
use crate::faults::{image_of, layer};
use crate::image::image;

/// `banger cache WORDS --format json`, which ends with this exit code.
fn cache(bench: &Bench, words: &[&str], exit_code: i32) -> Value {
    let result = bench.run(["cache"].iter().chain(words).chain(&["--format", "json"]));
    assert_eq!(result.status.code(), Some(exit_code), "{words:?}: {}", judge::text(&result));
    serde_json::from_slice(&result.stdout).unwrap()
}

/// The blobs of the bench's cache, largest first.
fn blobs(bench: &Bench) -> Vec<PathBuf> {
    let blobs = fs::read_dir(bench.path("cache/oci/blobs/sha256")).unwrap();
    let mut blobs: Vec<_> = blobs.map(|entry| entry.unwrap().path()).collect();
    blobs.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
    blobs
}

#[test]
fn a_cache_that_is_not_there_is_empty_and_is_not_made() {
    let bench = Bench::new();
    let place = bench.path("cache/oci").display().to_string();
    assert_eq!(cache(&bench, &["path"], 0)["path"], place);
    assert_eq!(cache(&bench, &["ls"], 0)["blobs"], Value::Array(vec![]));
    assert_eq!(cache(&bench, &["du"], 0)["total"]["bytes"], 0);
    assert_eq!(cache(&bench, &["prune", "--older-than", "0d"], 0)["removed"]["count"], 0);
    assert_eq!(cache(&bench, &["verify"], 0)["intact"]["count"], 0);
    assert!(!bench.path("cache").exists());
    let result = bench.run(["cache", "path"]);
    assert_eq!(judge::text(&result), format!("{place}\n"));
    for words in [&["prune", "--older-than", "month"][..], &["prune", "--max-size", "x"], &["rm"]] {
        let result = bench.run(["cache"].iter().chain(words));
        assert_eq!(result.status.code(), Some(2), "{words:?}");
    }
}

#[test]
fn people_and_machines_see_what_a_pull_left() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Gzip)], "small:latest");
    let bench = Bench::new();
    bench.pull(&reference, "disk.ext4", &[]);
    let listing = cache(&bench, &["ls"], 0);
    let listed = listing["blobs"].as_array().unwrap();
    let of = |kind: &str| listed.iter().filter(|blob| blob["kind"] == kind).count();
    assert_eq!((of("layer"), of("config"), of("manifest"), listed.len()), (3, 1, 1, 5));
    let total: u64 = blobs(&bench).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    let usage = cache(&bench, &["du"], 0);
    assert_eq!(usage["layers"]["count"], 3);
    let whole = |kind: &str| usage[kind]["bytes"].as_u64().unwrap();
    assert_eq!(whole("layers") + whole("configs") + whole("manifests"), total);
    assert_eq!(cache(&bench, &["verify"], 0)["intact"]["bytes"], total);
    let text = judge::text(&bench.run(["cache", "ls"]));
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(text.lines().all(|line| line.contains("sha256:")), "{text}");
    let text = judge::text(&bench.run(["cache", "du"]));
    assert!(text.contains("layers") && text.contains("total"), "{text}");
}

#[test]
fn damaged_blobs_are_found_set_aside_and_fetched_again() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Gzip)], "small:latest");
    let bench = Bench::new();
    bench.pull(&reference, "disk.ext4", &[]);
    let right = fs::read(bench.path("disk.ext4")).unwrap();
    for path in blobs(&bench) {
        flip(&path);
        let verified = cache(&bench, &["verify"], 65);
        let digest = format!("sha256:{}", path.file_name().unwrap().to_str().unwrap());
        assert_eq!((&verified["damaged"][0], &verified["aside"]), (&digest.into(), &true.into()));
        assert!(!path.exists());
        assert_eq!(cache(&bench, &["du"], 0)["damaged"]["count"], 1);
        bench.pull(&reference, "disk.ext4", &["--force"]);
        assert!(fs::read(bench.path("disk.ext4")).unwrap() == right);
        assert_eq!(cache(&bench, &["verify"], 0)["intact"]["count"], 5);
        assert_eq!(cache(&bench, &["prune"], 0)["removed"]["count"], 1);
        // A pull finds it out by itself.
        flip(&path);
        bench.pull(&reference, "disk.ext4", &["--force"]);
        assert!(fs::read(bench.path("disk.ext4")).unwrap() == right);
        cache(&bench, &["verify"], 0);
        cache(&bench, &["prune"], 0);
    }
    let text = bench.run(["cache", "verify"]);
    assert!(judge::text(&text).starts_with("intact: 5 blobs"), "{}", judge::text(&text));
}

#[test]
fn what_was_not_used_for_long_is_taken_out() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Gzip)], "small:latest");
    let bench = Bench::new();
    bench.pull(&reference, "disk.ext4", &[]);
    let age = |path: &Path, days: u64| {
        let used = SystemTime::now() - Duration::from_secs(days * 86_400 + 60);
        fs::File::open(path).unwrap().set_modified(used).unwrap();
    };
    let all = blobs(&bench);
    age(&all[0], 31);
    age(&all[1], 29);
    let pruned = cache(&bench, &["prune", "--older-than", "30d"], 0);
    assert_eq!((&pruned["removed"]["count"], all[0].exists()), (&1.into(), false));
    // A pull uses what it reads.
    bench.pull(&reference, "disk.ext4", &["--force"]);
    assert_eq!(cache(&bench, &["prune", "--older-than", "1d"], 0)["removed"]["count"], 0);
    age(&all[1], 2);
    let left: u64 = all.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    let limit = (left - 1).to_string();
    let pruned = cache(&bench, &["prune", "--max-size", &limit], 0);
    assert_eq!((&pruned["removed"]["count"], all[1].exists()), (&1.into(), false));
    cache(&bench, &["prune", "--older-than", "0s"], 0);
    assert_eq!(blobs(&bench), Vec::<PathBuf>::new());
    bench.pull(&reference, "disk.ext4", &["--force"]);
    gate::assert_clean(&bench.path("disk.ext4"));
}

/// A pull from a registry that takes connections and never answers: it uses the cache until it is
/// killed.
fn endless_pull(bench: &Bench, silent: &TcpListener) -> Child {
    let reference = format!("{}/image:tag", silent.local_addr().unwrap());
    bench
        .command(["image", "pull", &reference, "never.ext4", "--quiet"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn nothing_is_taken_from_a_running_pull_and_its_death_frees_the_cache() {
    let bench = Bench::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut pull = endless_pull(&bench, &silent);
    // It has opened its cache before it speaks to the registry.
    let (_connection, _) = silent.accept().unwrap();
    let refused = cache(&bench, &["prune", "--older-than", "0d", "--no-wait"], 75);
    assert_eq!(refused["error"]["kind"], "try-again");
    // Who only looks need not wait.
    cache(&bench, &["ls"], 0);
    cache(&bench, &["verify"], 0);
    let mut waiting = bench
        .command(["cache", "prune", "--older-than", "0d"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    sleep(Duration::from_millis(200));
    assert_eq!(waiting.try_wait().unwrap(), None, "a prune that does not wait");
    pull.kill().unwrap();
    pull.wait().unwrap();
    assert!(waiting.wait().unwrap().success());
    cache(&bench, &["prune", "--no-wait"], 0);
}

#[test]
fn killed_pulls_and_prunes_leave_a_cache_like_any_other() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Gzip)], "small:latest");
    let bench = Bench::new();
    let pull = ["image", "pull", &reference, "disk.ext4", "--quiet", "--force"];
    let prune = ["cache", "prune", "--max-size", "20K", "--quiet"];
    let mut killed = 0;
    for round in 0..24_u64 {
        let words: &[&str] = if round % 2 == 0 { &pull } else { &prune };
        let mut child = bench.command(words).stdout(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_millis(round * 2));
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().code().is_none());
        let verified = cache(&bench, &["verify"], 0);
        assert_eq!(verified["damaged"], Value::Array(vec![]), "round {round}");
    }
    assert!(killed > 0, "nothing was slow enough to be killed");
    bench.pull(&reference, "disk.ext4", &["--force"]);
    gate::assert_clean(&bench.path("disk.ext4"));
    assert_eq!(cache(&bench, &["verify"], 0)["intact"]["count"], 5);
    let left = fs::read_dir(bench.path("cache/oci/ingest")).unwrap().count();
    assert_eq!(left, 0, "what the dead left is swept by the living");
}

/// Every file below a directory with its length and time.
fn snapshot(directory: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                waiting.push(path.clone());
            }
            found.push((path, metadata.len(), metadata.modified().unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_read_only_cache_serves_and_is_left_as_it_is() {
    if !judge::kernel() || !judge::all(&["setpriv"]) {
        return;
    }
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Gzip)], "small:latest");
    let bench = Bench::new();
    bench.pull(&reference, "first.ext4", &[]);
    let right = fs::read(bench.path("first.ext4")).unwrap();
    open_to_all(&bench.path(""));
    let cache = bench.path("cache");
    judge::succeed("chmod", ["-R", "a+rX,go-w", cache.to_str().unwrap()]);
    let (_directory, program) = program_for_everybody();
    let nobody = |words: &[&str]| {
        let result = Command::new(judge::find("setpriv").unwrap())
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(&program)
            .args(words)
            .args(["--format", "json"])
            .current_dir(bench.path(""))
            .env("BANGER_CACHE_DIR", &cache)
            .env("HOME", bench.path(""))
            .output()
            .unwrap();
        let document: Value = serde_json::from_slice(&result.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", judge::text(&result)));
        (result.status.code(), document)
    };
    let pull = |cached: bool| {
        let (code, report) = nobody(&["image", "pull", &reference, "again.ext4", "--force"]);
        assert_eq!(code, Some(0), "{report:#}");
        assert_eq!(report["content"]["fetched"] == 0, cached, "{report:#}");
        assert!(fs::read(bench.path("again.ext4")).unwrap() == right);
    };
    let before = snapshot(&cache);
    pull(true);
    // What its tags mean is known from it, too.
    for policy in ["never", "missing"] {
        let words = ["image", "pull", &reference, "again.ext4", "--force", "--pull", policy];
        let (code, report) = nobody(&words);
        assert_eq!(code, Some(0), "{policy}: {report:#}");
    }
    assert_eq!(nobody(&["cache", "verify"]).1["intact"]["count"], 5);
    assert_eq!(nobody(&["cache", "ls"]).1["blobs"].as_array().unwrap().len(), 5);
    assert_eq!(nobody(&["cache", "prune", "--older-than", "0d"]).0, Some(77));
    assert_eq!(snapshot(&cache), before);
    // What is damaged or missing in it is fetched, and kept elsewhere for the while.
    let all = blobs(&bench);
    flip(&all[0]);
    let before = snapshot(&cache);
    let (code, verified) = nobody(&["cache", "verify"]);
    assert_eq!((code, &verified["aside"]), (Some(65), &false.into()));
    pull(false);
    fs::remove_file(&all[0]).unwrap();
    fs::remove_file(&all[4]).unwrap();
    let missing = snapshot(&cache);
    assert!(missing.len() + 2 == before.len());
    pull(false);
    assert_eq!(snapshot(&cache), missing);
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn an_interrupted_pull_beside_a_read_only_cache_leaves_nothing() {
    let Some(registry) = Registry::start() else { return };
    push(&registry, &[image_of(vec![layer("file", 3 << 20, 11)])], "image:latest");
    let proxy = Proxy::start(&registry.host(), |request, upstream| {
        let drip = Manner::Drip(64 << 10, Duration::from_millis(100));
        let reply = upstream.answer(request);
        if reply.body.len() > 1 << 20 { reply.sent(drip) } else { reply }
    });
    let bench = Bench::new();
    let Some(nobody) = Nobody::new(&bench) else { return };
    let (cache, temporary) = (bench.path("nobodys"), bench.path("temporary"));
    fs::create_dir_all(cache.join("oci/blobs/sha256")).unwrap();
    fs::create_dir(&temporary).unwrap();
    open_to_all(&temporary);
    let reference = format!("{}/image:latest", proxy.host());
    let mut pull = nobody.command(&["image", "pull", &reference, "disk.ext4", "--quiet"]);
    let mut child = pull.env("TMPDIR", &temporary).stderr(Stdio::null()).spawn().unwrap();
    let list = |directory: PathBuf| fs::read_dir(directory).into_iter().flatten().flatten();
    let grown = || {
        let parts = list(temporary.clone()).flat_map(|above| list(above.path().join("partial")));
        parts.into_iter().any(|part| part.metadata().is_ok_and(|found| found.len() > 1 << 18))
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !grown() {
        assert!(std::time::Instant::now() < deadline, "nothing arrives");
        sleep(Duration::from_millis(20));
    }
    judge::signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(snapshot(&temporary), []);
}
