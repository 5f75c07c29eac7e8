//! Running the program.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use banger_test_support::judge;
use banger_test_support::layers::{Image, write_layout};
use banger_test_support::registry::{LOGIN, Registry};
use serde_json::Value;

/// A directory to work in, with a cache of its own.
pub(crate) struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `banger ARGUMENTS`, in this directory, with the cache in `cache`.
    pub(crate) fn command<I>(&self, arguments: I) -> Command
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        // What is named has to be there.
        let registries = self.path("registries.conf");
        let registries = if registries.exists() { registries } else { PathBuf::from("/dev/null") };
        let mut command = Command::new(env!("CARGO_BIN_EXE_banger"));
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env("BANGER_CACHE_DIR", self.path("cache"))
            // What the user of this machine has configured is not part of the tests.
            .env("HOME", self.path("home"))
            .env("CONTAINERS_REGISTRIES_CONF", registries)
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("DOCKER_CONFIG")
            .env_remove("REGISTRY_AUTH_FILE")
            .env_remove("DOCKER_AUTH_CONFIG")
            .env_remove("SSL_CERT_FILE")
            .env_remove("SSL_CERT_DIR")
            .stdin(Stdio::null());
        command
    }

    /// The same, with so many bytes of memory of its own, threads and their stacks included;
    /// nothing where that cannot be had.
    pub(crate) fn command_within<I>(&self, memory: u64, arguments: I) -> Option<Command>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let program = self.command(arguments);
        let mut limiting = Command::new(judge::program("prlimit")?);
        limiting.arg(format!("--data={memory}"));
        let mut limited = by_way_of(limiting, &program);
        limited.stdin(Stdio::null());
        Some(limited)
    }

    pub(crate) fn run<I>(&self, arguments: I) -> Output
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.command(arguments).output().unwrap()
    }

    /// Pulls, which has to succeed, and returns the report.
    pub(crate) fn pull(&self, reference: &str, output: &str, options: &[&str]) -> Value {
        let words = ["image", "pull", reference, output, "--format", "json"];
        let result = self.run(words.iter().chain(options));
        assert!(result.status.success(), "{}", judge::text(&result));
        serde_json::from_slice(&result.stdout).unwrap()
    }

    /// Builds, which has to succeed, and returns the report.
    pub(crate) fn build(&self, source: &str, output: &str, options: &[&str]) -> Value {
        let words = ["image", "build", source, output, "--format", "json"];
        let result = self.run(words.iter().chain(options));
        assert!(result.status.success(), "{source}: {}", judge::text(&result));
        serde_json::from_slice(&result.stdout).unwrap()
    }

    /// Builds, which has to fail with this exit code, one line, and without an image; returns the
    /// message.
    pub(crate) fn build_fails(&self, source: &str, options: &[&str], exit_code: i32) -> String {
        let words = ["image", "build", source, "none.ext4", "--quiet"];
        let result = self.run(words.iter().chain(options));
        let message = judge::text(&result);
        assert_eq!(result.status.code(), Some(exit_code), "{source}: {message}");
        assert!(message.starts_with("error: "), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(!self.path("none.ext4").exists(), "{source}: {message}");
        message
    }

    /// Pulls, which has to fail with this exit code and to leave nothing; returns the message.
    pub(crate) fn pull_fails(&self, reference: &str, options: &[&str], exit_code: i32) -> String {
        let words = ["image", "pull", reference, "none.ext4", "--quiet"];
        let result = self.run(words.iter().chain(options));
        let message = judge::text(&result);
        assert_eq!(result.status.code(), Some(exit_code), "{message}");
        assert!(message.starts_with("error: "), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert_eq!(self.images(), Vec::<PathBuf>::new(), "{message}");
        message
    }

    /// A file with the credentials of a guarded registry.
    pub(crate) fn login(&self, host: &str) -> String {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(LOGIN);
        let path = self.path("login.json");
        let content = serde_json::json!({ "auths": { host: { "auth": auth } } });
        fs::write(&path, content.to_string()).unwrap();
        path.display().to_string()
    }

    /// Whatever lies here that is or could become an image.
    pub(crate) fn images(&self) -> Vec<PathBuf> {
        fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().contains("ext4"))
            .collect()
    }
}

/// Pushes an image of `images`; `name` is `NAME:TAG`.
pub(crate) fn push(registry: &Registry, images: &[Image], name: &str) -> String {
    let layout = tempfile::tempdir().unwrap();
    write_layout(layout.path(), images);
    registry.push(layout.path(), name)
}

/// A directory that everybody may enter, with a copy of the program that everybody may run: the
/// checkout may lie where only its owner may go.
pub(crate) fn program_for_everybody() -> (tempfile::TempDir, PathBuf) {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    open_to_all(directory.path());
    let program = directory.path().join("banger");
    // By another process: a program that is open for writing cannot be run, and a process that
    // another test starts holds this one's open files until it runs its own program.
    judge::succeed("cp", [env!("CARGO_BIN_EXE_banger").as_ref(), program.as_os_str()]);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    (directory, program)
}

/// The program as a user who is nobody here, with `HOME` and the working directory in a bench; the
/// configuration is that of the host and of `HOME`. Nothing, with the policy of a missing judge,
/// where that cannot be had.
pub(crate) struct Nobody<'a> {
    bench: &'a Bench,
    _directory: tempfile::TempDir,
    program: PathBuf,
}

impl<'a> Nobody<'a> {
    pub(crate) fn new(bench: &'a Bench) -> Option<Self> {
        if !judge::kernel() || !judge::all(&["setpriv"]) {
            return None;
        }
        open_to_all(&bench.path(""));
        let (directory, program) = program_for_everybody();
        Some(Self { bench, _directory: directory, program })
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.command_as("65534", &[], words)
    }

    /// The same as another user, by way of a program that changes what it may have, say prlimit(1).
    pub(crate) fn command_as(&self, user: &str, by: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new(judge::find("setpriv").unwrap());
        command
            .args(["--reuid", user, "--regid", user, "--clear-groups"])
            .args(by)
            .arg(&self.program)
            .args(words)
            .current_dir(self.bench.path(""))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.bench.path("home"))
            .env("BANGER_CACHE_DIR", self.bench.path("nobodys"))
            .stdin(Stdio::null());
        command
    }
}

/// A program by way of another that runs the words behind its own, in the same place.
pub(crate) fn by_way_of(mut other: Command, program: &Command) -> Command {
    other.arg(program.get_program());
    in_place_of(other, program)
}

/// Another program with the words of this one, in the same place.
pub(crate) fn in_place_of(mut other: Command, program: &Command) -> Command {
    other.args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    if let Some(directory) = program.get_current_dir() {
        other.current_dir(directory);
    }
    other
}

/// Lets everybody write in `directory`.
pub(crate) fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).unwrap();
}

/// Changes one byte in the middle of a file.
pub(crate) fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}
