//! Signals at the end of a run: whatever is interrupted, all is as before or all is new.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirEntryExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use banger_test_support::judge;
use rustix::process::Signal;

use crate::banger::{Bench, Nobody};

/// What a directory holds, but for the trees that images are made of.
type Snapshot = BTreeMap<String, Vec<u8>>;

const NAME: &str = "disk.ext4";

/// A directory in which the same image is made again and again.
struct Scene {
    bench: Bench,
    before: Snapshot,
    after: Snapshot,
    words: Vec<&'static str>,
}

impl Scene {
    /// An image with its description, made by some words, and another one that replaces it.
    fn new(words: &[&'static str], is_there: bool) -> Self {
        let bench = Bench::new();
        for tree in ["old", "new"] {
            fs::create_dir(bench.path(tree)).unwrap();
            fs::write(bench.path(tree).join("file"), tree.repeat(3000)).unwrap();
        }
        fs::create_dir(bench.path("out")).unwrap();
        let mut scene =
            Self { bench, before: Snapshot::new(), after: Snapshot::new(), words: words.to_vec() };
        if is_there {
            assert!(scene.command("dir:old").status().unwrap().success());
            scene.before = scene.snapshot();
        }
        let made = scene.command("dir:new").output().unwrap();
        assert!(made.status.success(), "{}", judge::text(&made));
        scene.after = scene.snapshot();
        assert_ne!(scene.before, scene.after);
        scene
    }

    fn command(&self, tree: &str) -> Command {
        let output = format!("out/{NAME}");
        let words = ["image", "build", tree, &output, "--quiet", "--profile", "read-only"];
        let mut command = self.bench.command(words.iter().chain(&self.words));
        command.env("SOURCE_DATE_EPOCH", "1700000000").stderr(Stdio::null());
        command
    }

    fn snapshot(&self) -> Snapshot {
        let entries = fs::read_dir(self.bench.path("out")).unwrap().map(Result::unwrap);
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        entries.map(|entry| (name(&entry.path()), fs::read(entry.path()).unwrap())).collect()
    }

    /// The names and numbers of the files, which change with every step.
    fn names(&self) -> Vec<(String, u64)> {
        let entries = fs::read_dir(self.bench.path("out")).unwrap().map(Result::unwrap);
        let mut names: Vec<_> =
            entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.ino())).collect();
        names.sort();
        names
    }

    /// Makes everything as it was before.
    fn reset(&self) {
        fs::remove_dir_all(self.bench.path("out")).unwrap();
        fs::create_dir(self.bench.path("out")).unwrap();
        for (name, content) in &self.before {
            fs::write(self.bench.path("out").join(name), content).unwrap();
        }
    }

    /// Judges what a process left, and says whether it was interrupted in good order.
    fn judge(&self, mut child: Child, moment: &str) -> bool {
        let code = child.wait().unwrap().code();
        let left = self.snapshot();
        let names: Vec<_> = left.keys().collect();
        match code {
            Some(0) => assert!(left == self.after, "{moment}: done, but there is {names:?}"),
            // It ended before signals were caught, or in good order.
            None | Some(130) => {
                assert!(left == self.before, "{moment}: interrupted, but there is {names:?}");
            }
            code => panic!("{moment}: it ended with {code:?}"),
        }
        code == Some(130)
    }
}

/// `BANGER_SIGNALS` signals, 60 when it is not set, around the end of as many runs.
#[test]
fn after_a_signal_at_any_moment_all_is_as_before_or_all_is_new() {
    let count = std::env::var("BANGER_SIGNALS").map_or(60, |text| text.parse().unwrap());
    let scenes = [
        Scene::new(&["--metadata", "--force"], true),
        Scene::new(&["--metadata"], false),
        Scene::new(&["--force"], true),
    ];
    let mut interrupted = 0;
    for scene in scenes {
        let usual = (0..5).map(|_| {
            scene.reset();
            let start = Instant::now();
            assert!(scene.command("dir:new").status().unwrap().success());
            start.elapsed()
        });
        let usual = usual.min().unwrap();
        let signals = [Signal::INT, Signal::TERM, Signal::HUP];
        for (round, signal) in (0..count / 3).zip(signals.into_iter().cycle()) {
            scene.reset();
            let child = scene.command("dir:new").spawn().unwrap();
            // From the middle of a run to somewhat behind its usual end.
            let delay = usual.mul_f64(0.5 + 0.7 * f64::from(round % 97) / 97.0);
            sleep(delay);
            judge::signal(&child, signal);
            let moment = format!("{signal:?} after {delay:?} of {usual:?}");
            interrupted += usize::from(scene.judge(child, &moment));
        }
    }
    assert!(interrupted > 0, "every signal came too early or too late");
}

/// The same at the moments themselves: each call that changes the directory takes long to return,
/// and the signal comes as soon as the change is seen.
#[test]
fn a_signal_right_behind_any_change_of_the_directory_leaves_all_or_nothing() {
    let Some(strace) = judge::program("strace") else { return };
    let scene = Scene::new(&["--metadata", "--force"], true);
    for call in ["linkat", "renameat2", "rename", "unlink"] {
        scene.reset();
        let before = scene.names();
        let program = scene.command("dir:new");
        let mut traced = Command::new(&strace);
        traced
            // The program stays the child of this process.
            .args(["-D", "-f", "-o", "/dev/null", "-e", &format!("trace={call}")])
            .args(["-e", &format!("inject={call}:delay_exit=300000")])
            .arg(program.get_program())
            .args(program.get_args())
            .current_dir(scene.bench.path(""))
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let mut child = traced.spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while scene.names() == before && child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "{call}: nothing changes");
            sleep(Duration::from_millis(1));
        }
        judge::signal(&child, Signal::INT);
        scene.judge(child, call);
    }
}

/// What the starter of the program said to ignore is ignored, as nohup(1) does it.
#[test]
fn a_signal_that_was_ignored_from_the_beginning_is_none() {
    let bench = Bench::new();
    let image = bench.command(["image", "build", "-", "disk.ext4", "--quiet"]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", r#"trap "" HUP; exec "$0" "$@""#])
        .arg(image.get_program())
        .args(image.get_args())
        .current_dir(bench.path(""))
        .stdin(Stdio::piped());
    let mut child = shell.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    // SIGINT is caught when the program has looked at its signals; it is bit 1 of the mask.
    let end = Instant::now() + Duration::from_secs(60);
    let catches = || {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(str::trim);
        mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask & 2 != 0)
    };
    while !catches() {
        assert!(Instant::now() < end, "no signal is caught");
        sleep(Duration::from_millis(5));
    }
    judge::signal(&child, Signal::HUP);
    sleep(Duration::from_millis(100));
    assert_eq!(child.try_wait().unwrap(), None, "it ended by a signal that it was to ignore");
    judge::signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// A limit of the shell ends the program with a reason, not by a signal or as a fault of its own.
#[test]
fn limits_of_the_shell_are_told_apart() {
    let scene = Scene::new(&[], false);
    let run = |limit: &str| {
        scene.reset();
        let program = scene.command("dir:new");
        let script = format!(r#"{limit}; exec "$0" "$@""#);
        let mut shell = Command::new("bash");
        shell.args(["-c", &script]).arg(program.get_program()).args(program.get_args());
        let output = shell.current_dir(scene.bench.path("")).output().unwrap();
        assert_eq!(scene.names(), Vec::<(String, u64)>::new(), "{limit}");
        (output.status.code(), judge::text(&output))
    };
    let (code, said) = run("ulimit -f 4");
    assert_eq!(code, Some(74), "{said}");
    assert!(said.contains("File too large") && said.contains("ulimit -f"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");

    // What cannot fit is said before anything is written.
    let bench = Bench::new();
    let program = bench.command(["disk", "create", "--quiet", "--size", "1G", "disk"]);
    let mut shell = Command::new("bash");
    shell.args(["-c", r#"ulimit -f 100000; exec "$0" "$@""#]).arg(program.get_program());
    let output = shell.args(program.get_args()).current_dir(bench.path("")).output().unwrap();
    let said = judge::text(&output);
    assert_eq!(output.status.code(), Some(74), "{said}");
    assert!(said.contains("1073741824 bytes") && said.contains("at most 102400000"), "{said}");
}

/// Threads and memory that the system does not grant are nobody's bug: the run ends at once with
/// the limit to raise, or it works.
#[test]
fn too_few_threads_end_a_run_with_the_limit_to_raise() {
    const ALONE: &str = "61234";
    if !judge::all(&["prlimit", "timeout"]) {
        return;
    }
    let bench = Bench::new();
    let Some(nobody) = Nobody::new(&bench) else { return };
    fs::create_dir(bench.path("tree")).unwrap();
    // Nobody listens on port 1 of this host.
    let pull = ["image", "pull", "127.0.0.1:1/image", "pulled", "--quiet", "--retry", "0"];
    let build = ["image", "build", "dir:tree", "built", "--quiet", "--force"];
    for (words, enough) in [(&build[..], 0), (&pull[..], 69)] {
        let mut codes = Vec::new();
        for threads in 1..=16 {
            let limit = format!("--nproc={threads}");
            let output = nobody.command_as(ALONE, &["timeout", "60", "prlimit", &limit], words);
            let output = { output }.output().unwrap();
            let (code, said) = (output.status.code().unwrap(), judge::text(&output));
            assert!(code == 75 || code == enough, "{threads} threads: {code}: {said}");
            assert_eq!(code == 75, said.contains("ulimit -u"), "{threads} threads: {said}");
            codes.push(code);
        }
        assert!(codes.is_sorted_by(|one, next| one == next || *next == enough), "{codes:?}");
        assert!(codes.contains(&75) && codes.contains(&enough), "{codes:?}");
    }
}

#[test]
fn too_little_memory_is_no_bug() {
    let Some(prlimit) = judge::program("prlimit") else { return };
    let bench = Bench::new();
    fs::create_dir(bench.path("tree")).unwrap();
    let program = bench.command(["image", "build", "dir:tree", "built", "--quiet", "--force"]);
    let mut worked = 0;
    for mebibytes in (12..96).step_by(4).chain([256]) {
        let mut limited = Command::new(&prlimit);
        limited.arg(format!("--as={}", mebibytes << 20)).arg(program.get_program());
        let output = limited.args(program.get_args()).current_dir(bench.path("")).output().unwrap();
        let said = judge::text(&output);
        assert_ne!(output.status.code(), Some(1), "{mebibytes} MiB: {said}");
        let is_memory = said.contains("memory") || output.status.code() != Some(75);
        assert!(is_memory, "{mebibytes} MiB: {said}");
        worked += usize::from(output.status.success());
    }
    assert!(worked > 0);
}
