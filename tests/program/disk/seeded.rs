//! Filesystems that begin with a tree.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use banger_test_support::boot::{Task, boot};
use banger_test_support::device::{LoopDevice, signatures};
use banger_test_support::layers::{Compression, Layer, write_layout};
use banger_test_support::mount::{Access, Mount};
use banger_test_support::proxy::{Manner, Proxy};
use banger_test_support::registry::Registry;
use banger_test_support::tree::{Entry, Kind};
use banger_test_support::{gate, judge};
use rustix::process::Signal;

use super::{create, create_fails, everything};
use crate::banger::{Bench, open_to_all, program_for_everybody, push};
use crate::faults::{image_of, layer};
use crate::image::image;

const MIB: u64 = 1 << 20;

/// A directory of the user 4321 in a bench that everybody may use.
fn seed(bench: &Bench) {
    open_to_all(&bench.path(""));
    fs::create_dir_all(bench.path("seed/home/me")).unwrap();
    fs::write(bench.path("seed/home/me/file"), "content").unwrap();
    fs::set_permissions(bench.path("seed/home/me/file"), fs::Permissions::from_mode(0o600))
        .unwrap();
    for name in ["seed", "seed/home", "seed/home/me", "seed/home/me/file"] {
        chown(bench.path(name), Some(4321), Some(4321)).unwrap();
    }
}

/// Runs as the user 4321, who finds no other program.
fn as_user(bench: &Bench, words: &[&str]) -> Output {
    let (_directory, program) = program_for_everybody();
    judge::companion(&judge::find("setpriv").unwrap())
        .args(["--reuid", "4321", "--regid", "4321", "--clear-groups"])
        .arg(program)
        .args(words)
        .env("PATH", "")
        .env("BANGER_CACHE_DIR", bench.path("cache"))
        .current_dir(bench.path(""))
        .output()
        .unwrap()
}

#[test]
fn a_tree_that_an_ordinary_user_holds_becomes_anybodys() {
    if !judge::kernel() || !judge::all(&["setpriv"]) {
        return;
    }
    let bench = Bench::new();
    seed(&bench);
    for (words, root, file) in [
        (&[][..], (4321, 4321), (4321, 4321)),
        (&["--uid", "0", "--gid", "0"], (0, 0), (0, 0)),
        (&["--uid", "1000"], (1000, 4321), (1000, 4321)),
        (&["--owner-map", "4321:7"], (7, 7), (7, 7)),
        (&["--owner-map", "u:4321:7", "--owner-map", "g:4321:8"], (7, 8), (7, 8)),
        (&["--uid", "5", "--gid", "6", "--owner", "0:0", "--mode", "1777"], (0, 0), (5, 6)),
    ] {
        let create = ["disk", "create", "disk", "--size", "8G", "--from", "seed", "--force"];
        let made = as_user(&bench, &[&create[..], words].concat());
        assert!(made.status.success(), "{words:?}: {}", judge::text(&made));
        gate::assert_clean(&bench.path("disk"));
        assert_eq!(fs::metadata(bench.path("disk")).unwrap().len(), 8 << 30);
        let mount = Mount::new(&bench.path("disk"), Access::ReadOnly).unwrap();
        let owner = |name: &str| {
            let found = fs::metadata(mount.path().join(name)).unwrap();
            ((found.uid(), found.gid()), found.mode() & 0o7777)
        };
        assert_eq!(owner("").0, root, "{words:?}");
        assert_eq!(owner("").1, if words.contains(&"--mode") { 0o1777 } else { 0o755 });
        assert_eq!(owner("home/me/file"), (file, 0o600), "{words:?}");
        assert_eq!(fs::read(mount.path().join("home/me/file")).unwrap(), b"content");
        mount.close();
    }
    let unknown = as_user(
        &bench,
        &["disk", "create", "none", "--size", "8M", "--from", "seed", "--owner-map", "0:0"],
    );
    assert_eq!(unknown.status.code(), Some(65), "{}", judge::text(&unknown));
    assert!(!bench.path("none").exists());
}

#[test]
fn what_a_user_may_not_write_to_is_denied_even_by_force() {
    if !judge::kernel() || !judge::all(&["setpriv"]) {
        return;
    }
    let bench = Bench::new();
    open_to_all(&bench.path(""));
    fs::write(bench.path("roots"), vec![1; 1 << 20]).unwrap();
    fs::set_permissions(bench.path("roots"), fs::Permissions::from_mode(0o644)).unwrap();
    let device = LoopDevice::over(&bench.path("roots")).unwrap();
    for place in [bench.path("roots"), device.path().to_owned()] {
        let place = place.to_str().unwrap();
        let made = as_user(&bench, &["disk", "create", place, "--size", "8M", "--force"]);
        assert_eq!(made.status.code(), Some(77), "{}", judge::text(&made));
        assert!(judge::text(&made).contains(place), "{}", judge::text(&made));
    }
    assert!(fs::read(bench.path("roots")).unwrap() == vec![1; 1 << 20]);
}

#[test]
fn archives_and_images_are_seeds_too() {
    let bench = Bench::new();
    let file = Entry::new(Kind::file(b"12345"), 0o640).owned_by(12, 13);
    let mut layer = Layer::new();
    layer.put("work/file", &file, b"12345");
    fs::write(bench.path("seed.tar"), layer.finish()).unwrap();
    write_layout(&bench.path("layout"), &[image(Compression::Zstd)]);
    for (from, name, size) in [
        ("seed.tar", "work/file", 5),
        ("tar:seed.tar", "work/file", 5),
        ("oci:layout", "etc/passwd", 28),
    ] {
        let words = ["--size", "512M", "--from", from, "--force", "--label", "seeded"];
        let report = create(&bench, "disk", &words);
        assert_eq!(report["size"], 512 * MIB);
        assert_eq!(report["label"], "seeded");
        assert!(report["from"]["content"]["files"].as_u64().unwrap() > 0, "{report:#}");
        assert_eq!(report["from"]["image"]["uuid"], report["uuid"]);
        gate::assert_clean(&bench.path("disk"));
        let Some(mount) = Mount::new(&bench.path("disk"), Access::ReadOnly) else { continue };
        assert_eq!(fs::metadata(mount.path().join(name)).unwrap().len(), size, "{from}");
        mount.close();
    }
    let report = create(&bench, "fitted", &["--from", "seed.tar", "--size", "fit+10M"]);
    assert!(report["available"].as_u64().unwrap() >= 10 * MIB);
    gate::assert_clean(&bench.path("fitted"));
}

/// Beyond its room the kernel places descriptors in the groups that they describe.
#[test]
fn a_seeded_disk_boots_and_grows_beyond_its_room_while_it_is_mounted() {
    let bench = Bench::new();
    write_layout(&bench.path("layout"), &[image(Compression::Zstd)]);
    let words = ["--size", "128M", "--max-size", "20G", "--from", "oci:layout"];
    create(&bench, "disk", &words);
    let disk = bench.path("disk");
    File::options().write(true).open(&disk).unwrap().set_len(64 << 30).unwrap();
    let Some(console) = boot(&disk, Task::Grow) else { return };
    for words in ["bed: grown", "guest: read everything", "guest: done"] {
        assert!(console.contains(words), "no \"{words}\" in:\n{console}");
    }
    gate::assert_clean(&disk);
    if judge::all(&["dumpe2fs"]) {
        assert!(gate::dump(&disk).unwrap().has("meta_bg"));
    }
}

#[test]
fn a_seed_that_is_not_there_or_does_not_fit_leaves_nothing() {
    let bench = Bench::new();
    for (words, code, reason) in [
        (&["--from", "./none"][..], 66, "./none"),
        (&["--from", "/no/such.tar"], 66, "/no/such.tar"),
        (&["--from", "mistyped"], 66, "docker://mistyped"),
        (&["--from", "seed.d/rootfs"], 66, "no file or directory seed.d/rootfs"),
        (&["--from", "dir:none"], 66, "none"),
        (&["--from", "tar:x", "--uid", "0"], 2, "--uid"),
        (&["--from", "dir:x", "--platform", "linux/arm64"], 2, "--platform"),
        (&["--from", "oci:x", "--pull", "never"], 2, "--pull"),
    ] {
        let message = create_fails(&bench, "disk", &[&["--size", "8M"], words].concat(), code);
        assert!(message.contains(reason), "{message}");
    }
    assert_eq!(everything(&bench).len(), 0);
    fs::create_dir(bench.path("seed")).unwrap();
    fs::write(bench.path("seed/large"), vec![1; 9 << 20]).unwrap();
    let message = create_fails(&bench, "disk", &["--size", "8M", "--from", "seed"], 73);
    assert!(message.contains("image is full"), "{message}");
    assert_eq!(everything(&bench).len(), 1);
}

/// Begins a disk from an image whose last layer stalls, and ends it by SIGINT when `is_written`
/// says of its process that the disk is being written. `None` where there is no registry.
fn interrupt(bench: &Bench, words: &[&OsStr], is_written: impl Fn(u32) -> bool) -> Option<i32> {
    let registry = Registry::start()?;
    let layers = vec![layer("small", 5000, 1), layer("large", 3 << 20, 2)];
    push(&registry, &[image_of(layers)], "image:latest");
    let proxy = Proxy::start(&registry.host(), |request, upstream| {
        let reply = upstream.answer(request);
        let stalls = reply.body.len() > 1 << 20;
        let manner = Manner::Stall(2 << 20, Duration::from_secs(60));
        if stalls { reply.sent(manner) } else { reply }
    });
    let mut child = bench
        .command(["disk", "create", "--quiet", "--size", "16M", "--from"])
        .arg(format!("docker://{}/image:latest", proxy.host()))
        .args(words)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = (0..1200).any(|_| {
        sleep(Duration::from_millis(25));
        is_written(child.id())
    });
    assert_eq!(child.try_wait().unwrap(), None, "it did not stall");
    judge::signal(&child, Signal::INT);
    let ended = child.wait().unwrap();
    assert!(begun, "nothing was written in half a minute");
    Some(ended.code().expect("an exit code, not a signal"))
}

/// The files without names that a process has open in a directory.
fn nameless(process: u32, directory: &Path) -> usize {
    let open = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let open = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    open.filter(|path| path.parent() == Some(directory))
        .filter(|path| path.as_os_str().as_bytes().ends_with(b" (deleted)"))
        .count()
}

#[test]
fn an_interrupted_disk_is_not_there() {
    let bench = Bench::new();
    let directory = fs::canonicalize(bench.path("")).unwrap();
    let is_written = |process| nameless(process, &directory) > 0;
    let Some(code) = interrupt(&bench, &[OsStr::new("disk")], is_written) else { return };
    assert_eq!(code, 130);
    assert_eq!(everything(&bench), [bench.path("cache")]);
}

#[test]
fn an_interrupted_device_has_neither_the_old_filesystem_nor_the_new_one() {
    if !judge::kernel() || !judge::all(&["wipefs"]) {
        return;
    }
    let bench = Bench::new();
    let file = bench.path("device");
    File::create(&file).unwrap().set_len(64 << 20).unwrap();
    let device = LoopDevice::over(&file).unwrap();
    create(&bench, device.path(), &[]);
    assert_eq!(signatures(device.path()), ["ext4"]);
    let is_written = |_| {
        let mut magic = [0; 2];
        File::open(&file).unwrap().read_exact_at(&mut magic, 1024 + 56).unwrap();
        magic != [0x53, 0xef]
    };
    let words = [OsStr::new("--force"), device.path().as_os_str()];
    let Some(code) = interrupt(&bench, &words, is_written) else { return };
    assert_eq!(code, 130);
    assert_eq!(signatures(device.path()), Vec::<String>::new());
}
