//! Finding the programs that judge, and what happens when one is missing.

use std::env;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use rustix::process::{Pid, Signal};

/// Whether a missing judge is a failure: on a CI machine (`CI=true`), where nobody reads a skip.
#[must_use]
pub fn required() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true" || value == "1")
}

/// Says that a test cannot be judged here; panics where it must be.
///
/// The line goes to the real standard error, which the test harness does not capture.
pub fn missing(judge: &str) {
    assert!(!required(), "missing judge: {judge}; run tests/run as root to install the judges");
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "skip: missing judge: {judge}");
}

/// The program of this name on `PATH` or in the system administrator's directories, which an
/// ordinary user's `PATH` lacks.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// [`find`], with the policy of [`missing`] applied.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        missing(name);
    }
    found
}

/// Whether all of these programs are here; the policy of [`missing`] applies to each that is not.
#[must_use]
pub fn all(programs: &[&str]) -> bool {
    programs.iter().filter(|name| program(name).is_none()).count() == 0
}

/// Whether this process may mount filesystems on loop devices.
#[must_use]
pub fn kernel() -> bool {
    let able = rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists();
    if !able {
        missing("the kernel (root and /dev/loop-control are needed to mount an image)");
    }
    able && all(&["losetup", "mount", "umount"])
}

/// Runs a program with the C locale and no standard input.
#[must_use]
pub fn run<I>(program: &Path, arguments: I) -> Output
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", program.display()))
}

/// A command for a program that runs beside its test. The kernel ends it with the thread that
/// started it, even when the whole run is killed and nothing is dropped.
#[must_use]
pub fn companion(program: &Path) -> Command {
    let mut command = if let Some(setpriv) = find("setpriv") {
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.stdin(std::process::Stdio::null());
    command
}

/// Sends a signal to a process that is running, or has ended and was not waited for.
pub fn signal(child: &Child, signal: Signal) {
    rustix::process::kill_process(Pid::from_child(child), signal).unwrap();
}

/// Standard output and standard error, one after the other.
#[must_use]
pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs a program that has to succeed, and returns its standard output.
pub fn succeed<I>(name: &str, arguments: I) -> String
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let path = find(name).unwrap_or_else(|| panic!("{name} is not installed"));
    let output = run(&path, arguments);
    assert!(output.status.success(), "{name}: {}\n{}", output.status, text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a program in an environment without surprises: UTF-8, UTC, no pager.
#[must_use]
pub fn output<I>(name: &str, arguments: I) -> Output
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let path = find(name).unwrap_or_else(|| panic!("{name} is not installed"));
    Command::new(&path)
        .args(arguments)
        .envs([("LC_ALL", "C.UTF-8"), ("TZ", "UTC"), ("DEBUGFS_PAGER", "__none__")])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", path.display()))
}

/// The standard output of [`output`], as it is, of a program that has to succeed.
pub fn bytes<I>(name: &str, arguments: I) -> Vec<u8>
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let output = output(name, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{said}", output.status);
    output.stdout
}
