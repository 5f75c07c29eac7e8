//! SIGKILL at any moment of a change: the old image or the new one, after a recovery.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use banger_test_support::{debugfs, gate, judge};

use super::{bench, run};
use crate::banger::Bench;

/// How often each change is killed.
fn kills() -> u32 {
    std::env::var("BANGER_EDIT_KILLS").map_or(4, |count| count.parse().unwrap())
}

/// Kills the program after this time; whether it was still running.
fn kill_after(bench: &Bench, words: &[&str], delay: Duration) -> bool {
    let mut command = bench.command(words);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    sleep(delay);
    let was_running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    was_running
}

/// Changes an image again and again, killed at moments spread over its time.
fn assert_survives(options: &[&str], words: &[&str], is_new: impl Fn(&Path) -> Option<bool>) {
    let Some((bench, image)) = bench(options, "64M") else { return };
    fs::write(bench.path("agent"), vec![9; 5 << 20]).unwrap();
    let sound = bench.path("sound.ext4");
    fs::copy(&image, &sound).unwrap();
    let start = Instant::now();
    run(&bench, words);
    let whole = start.elapsed();
    assert_eq!(is_new(&image), Some(true));
    let (mut killed, count) = (0, kills());
    for number in 0..count {
        fs::copy(&sound, &image).unwrap();
        killed += u32::from(kill_after(&bench, words, whole * number / count));
        // By e2fsck too, where no undo file tells what was.
        if !bench.path("disk.ext4.undo").exists() {
            let twin = bench.path("twin.ext4");
            fs::copy(&image, &twin).unwrap();
            let output = judge::output("e2fsck", ["-p".as_ref(), twin.as_os_str()]);
            assert!(output.status.code().unwrap() < 2, "{}", judge::text(&output));
            gate::assert_checked(&twin);
            assert!(is_new(&twin).is_some(), "kill {number} of {words:?}: neither old nor new");
        }
        run(&bench, &["disk", "recover", "disk.ext4"]);
        gate::assert_checked(&image);
        assert!(is_new(&image).is_some(), "kill {number} of {words:?}: neither old nor new");
        assert!(!bench.path("disk.ext4.undo").exists());
    }
    assert!(killed > 0, "{words:?} always came to its end within {whole:?}");
}

/// Whether both files of the edit are there; nothing if only one is.
fn has_both(image: &Path) -> Option<bool> {
    let has = |name: &str| debugfs::read(image, "ls -p /").contains(&format!("/{name}/"));
    let is_new = has("agent");
    (is_new != has("large")).then_some(is_new)
}

#[test]
fn an_edit_that_is_killed_is_done_or_not() {
    let words = ["image", "edit", "disk.ext4", "--add", "agent:/agent", "--remove", "/large"];
    assert_survives(&["-t", "ext4"], &words, has_both);
    assert_survives(&["-t", "ext2", "-b", "1024"], &words, has_both);
}

#[test]
fn growth_that_is_killed_is_done_or_not() {
    let words = ["disk", "resize", "disk.ext4", "--size", "2G"];
    let is_new = |image: &Path| {
        let report = gate::dump(image).unwrap();
        match report.blocks * report.block_size {
            0x0400_0000 => Some(false),
            0x8000_0000 => Some(true),
            _ => None,
        }
    };
    assert_survives(&["-t", "ext4"], &words, is_new);
}
