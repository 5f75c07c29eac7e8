//! A kernel of another version as a judge: the image as the root disk of a virtual machine.

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::judge;

/// Longer than any boot here takes without hardware virtualisation.
const LIMIT: Duration = Duration::from_secs(180);

/// The directory that `tests/boot/make-bed` fills: a kernel and an initramfs.
fn bed() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/boot-bed");
    env::var_os("BANGER_BOOT_BED").map_or_else(default, PathBuf::from)
}

/// What the initramfs does before it hands over to the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Nothing: the image's `/sbin/init` is process 1.
    Boot,
    /// `resize2fs` to the size of the disk while the image is mounted, then as above.
    Grow,
}

/// Boots `image`, which is changed, and returns what the serial console showed; `None`, with the
/// policy of [`judge::missing`], where there is no virtual machine.
///
/// The image's `/sbin/init` has to end the machine (`poweroff -f`).
#[must_use]
pub fn boot(image: &Path, task: Task) -> Option<String> {
    let machine = Machine::new(image);
    let machine = if task == Task::Grow { machine.word("bed.grow") } else { machine };
    Some(machine.start()?.end())
}

/// A virtual machine to be.
#[derive(Debug)]
pub struct Machine<'a> {
    disks: Vec<&'a Path>,
    words: Vec<String>,
    memory: u32,
    network: Option<String>,
}

impl<'a> Machine<'a> {
    /// A machine with this root disk, which is changed.
    #[must_use]
    pub fn new(root: &'a Path) -> Self {
        Self { disks: vec![root], words: Vec::new(), memory: 256, network: None }
    }

    /// Adds a word to the kernel's command line; `init=PATH` names the image's init.
    #[must_use]
    pub fn word(mut self, word: &str) -> Self {
        self.words.push(word.to_owned());
        self
    }

    /// Adds a disk.
    #[must_use]
    pub fn disk(mut self, disk: &'a Path) -> Self {
        self.disks.push(disk);
        self
    }

    /// Gives it so many MiB of memory instead of 256.
    #[must_use]
    pub fn memory(mut self, mebibytes: u32) -> Self {
        self.memory = mebibytes;
        self
    }

    /// Gives it a network card whose other end answers DHCP; connections to a
    /// port of 127.0.0.1, which is returned too, reach `port` of the guest.
    #[must_use]
    pub fn forward(mut self, port: u16) -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let here = listener.local_addr().expect("a bound socket has an address").port();
        let forward = format!("hostfwd=tcp:127.0.0.1:{here}-:{port}");
        self.network = Some(format!("user,id=network,{forward}"));
        (self, here)
    }

    /// Starts it; `None`, with the policy of [`judge::missing`], where there is none.
    #[must_use]
    pub fn start(self) -> Option<Guest> {
        let (kernel, initramfs) = (bed().join("vmlinuz"), bed().join("initramfs.gz"));
        if !kernel.exists() || !initramfs.exists() {
            judge::missing("a kernel to boot (tests/boot/make-bed)");
            return None;
        }
        let qemu = judge::program("qemu-system-x86_64")?;
        let directory = tempfile::tempdir().expect("a directory for the console");
        let place = |name: &str| directory.path().join(name).display().to_string();
        let words = format!("console=ttyS0 quiet loglevel=4 panic=-1 {}", self.words.join(" "));
        // Without hardware virtualisation, QEMU 7.2 gets cmpxchg16b wrong: Linux's SLUB faults.
        let machine = ["-machine", "q35", "-accel", "tcg", "-cpu", "Nehalem,-cx16"];
        let quiet = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"];
        let mut command = judge::companion(&qemu);
        command.args(machine).args(quiet).args(["-m", &self.memory.to_string()]);
        command.args(["-append", &words, "-kernel"]).arg(kernel).arg("-initrd").arg(initramfs);
        command.args(["-serial", &format!("file:{}", place("console"))]);
        command.args(["-monitor", &format!("unix:{},server=on,wait=off", place("monitor"))]);
        for (number, disk) in self.disks.iter().enumerate() {
            let disk = disk.display();
            let drive = format!("id=disk{number},file={disk},format=raw,if=none,cache=unsafe");
            let device = format!("virtio-blk-pci,drive=disk{number}");
            command.args(["-drive", &drive, "-device", &device]);
        }
        if let Some(network) = &self.network {
            command.args(["-netdev", network, "-device", "virtio-net-pci,netdev=network"]);
        }
        Some(Guest { child: command.spawn().expect("qemu starts"), directory })
    }
}

/// A virtual machine that runs, and does not outlive its test.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    directory: tempfile::TempDir,
}

impl Guest {
    /// What the console has shown so far.
    #[must_use]
    pub fn console(&self) -> String {
        let bytes = fs::read(self.directory.path().join("console"));
        bytes.map_or(String::new(), |bytes| readable(&bytes))
    }

    /// Waits until the console has shown these words.
    pub fn wait_for(&mut self, words: &str) {
        let start = Instant::now();
        while !self.console().contains(words) {
            let is_running = self.child.try_wait().expect("a child can be waited for").is_none();
            let console = || format!("no \"{words}\"; the console:\n{}", self.console());
            assert!(is_running && start.elapsed() < LIMIT, "{}", console());
            sleep(Duration::from_millis(50));
        }
    }

    /// Presses Ctrl-Alt-Del.
    pub fn press_ctrl_alt_del(&self) {
        let monitor = UnixStream::connect(self.directory.path().join("monitor"));
        let mut monitor = monitor.expect("the machine's monitor");
        monitor.write_all(b"sendkey ctrl-alt-delete\n").expect("the monitor listens");
        // The monitor takes the words for as long as somebody reads its answers.
        monitor.set_read_timeout(Some(Duration::from_secs(1))).expect("a time to wait");
        let _ = monitor.read_to_end(&mut Vec::new());
    }

    /// Waits for the machine's end, and returns what the console showed.
    #[must_use]
    pub fn end(mut self) -> String {
        let ended = self.wait();
        let log = self.console();
        assert!(ended, "the machine did not end within {LIMIT:?}; its console:\n{log}");
        assert!(!log.contains("bed: failed"), "the image does not boot; its console:\n{log}");
        let complaints: Vec<&str> = log.lines().filter(|line| is_complaint(line)).collect();
        let shown = complaints.join("\n");
        assert!(complaints.is_empty(), "the guest's kernel complained:\n{shown}\n\n{log}");
        log
    }

    /// Whether the machine ended by itself, in time.
    fn wait(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status.success();
            }
            sleep(Duration::from_millis(50));
        }
        false
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // A machine that has ended is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_complaint(line: &str) -> bool {
    let line = line.to_lowercase();
    ["ext4-fs error", "ext4-fs warning", "kernel panic", "i/o error", "jbd2: error"]
        .iter()
        .any(|words| line.contains(words))
}

/// The console's text without carriage returns and terminal sequences.
fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}
