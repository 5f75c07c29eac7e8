//! A kernel of another version as a judge: the image as the root disk of a virtual machine.

use std::env;
use std::fs;
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
    let (kernel, initramfs) = (bed().join("vmlinuz"), bed().join("initramfs.gz"));
    if !kernel.exists() || !initramfs.exists() {
        judge::missing("a kernel to boot (tests/boot/make-bed)");
        return None;
    }
    let qemu = judge::program("qemu-system-x86_64")?;
    let directory = tempfile::tempdir().expect("a directory for the console");
    let console = directory.path().join("console");
    let mut words = "console=ttyS0 quiet loglevel=4 panic=-1".to_owned();
    if task == Task::Grow {
        words.push_str(" bed.grow");
    }
    // Without hardware virtualisation, QEMU 7.2 gets cmpxchg16b wrong: Linux's SLUB faults.
    let machine = ["-machine", "q35", "-accel", "tcg", "-cpu", "Nehalem,-cx16", "-m", "256"];
    let quiet = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"];
    let child = judge::companion(&qemu)
        .args(machine)
        .args(quiet)
        .args(["-append", &words, "-kernel"])
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .arg("-drive")
        .arg(format!("id=disk,file={},format=raw,if=none,cache=unsafe", image.display()))
        .args(["-device", "virtio-blk-pci,drive=disk"])
        .spawn()
        .expect("qemu starts");
    let ended = Guest(child).wait();
    let log = fs::read(&console).map_or(String::new(), |bytes| readable(&bytes));
    assert!(ended, "the machine did not end within {LIMIT:?}; its console:\n{log}");
    assert!(!log.contains("bed: failed"), "the image does not boot; its console:\n{log}");
    let complaints: Vec<&str> = log.lines().filter(|line| is_complaint(line)).collect();
    assert!(complaints.is_empty(), "the guest's kernel complained:\n{}", complaints.join("\n"));
    Some(log)
}

/// A virtual machine that does not outlive its test.
struct Guest(Child);

impl Guest {
    /// Whether the machine ended by itself, in time.
    fn wait(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            if let Some(status) = self.0.try_wait().expect("a child can be waited for") {
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
        let _ = self.0.kill();
        let _ = self.0.wait();
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
