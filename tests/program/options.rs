//! What the command line chooses is what outsiders find.

use std::fs;

use banger_test_support::device::LoopDevice;
use banger_test_support::layers::{Compression, Layer};
use banger_test_support::mount::Mount;
use banger_test_support::registry::Registry;
use banger_test_support::storm::assert_kernel_agrees;
use banger_test_support::tree::{Entry, Kind};
use banger_test_support::{gate, judge, view};

use crate::banger::{Bench, push};
use crate::image::{image, tree};

const MIB: u64 = 1 << 20;

#[test]
fn the_disk_is_as_the_options_say() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Zstd)], "small:latest");
    let bench = Bench::new();
    let report = bench.pull(
        &reference,
        "disk.ext4",
        &[
            "--size",
            "300M",
            "--label",
            "root",
            "--journal-size",
            "8M",
            "--inodes",
            "3000",
            "--uuid",
            "01234567-89ab-cdef-0123-456789abcdef",
        ],
    );
    let path = bench.path("disk.ext4");
    gate::assert_clean(&path);
    assert_eq!(fs::metadata(&path).unwrap().len(), 300 * MIB);
    assert_eq!(report["image"]["size"], 300 * MIB);
    if !judge::all(&["dumpe2fs"]) {
        return;
    }
    let disk = gate::dump(&path).unwrap();
    assert_eq!(disk.label, "root");
    assert_eq!(disk.uuid, "01234567-89ab-cdef-0123-456789abcdef");
    assert!(disk.text.contains("Total journal blocks:     2048"));
    assert!((3000..4000).contains(&disk.inodes), "{}", disk.inodes);
    assert_eq!(report["image"]["inodes"], disk.inodes);
    assert_eq!(report["image"]["free_inodes"], disk.free_inodes);
    assert_eq!(report["image"]["uuid"], disk.uuid);
    assert_eq!(report["image"]["journal"], 8 * MIB);
}

#[test]
fn features_and_profiles_go_by_the_names_of_mke2fs() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Zstd)], "small:latest");
    let bench = Bench::new();
    let report = bench.pull(
        &reference,
        "disk.ext4",
        &[
            "--profile",
            "max",
            "-O",
            "^metadata_csum,^resize_inode",
            "--block-size",
            "1024",
            "--inode-size",
            "512",
            "--bytes-per-inode",
            "8K",
            "--reserved",
            "2%",
            "--on-error",
            "remount-ro",
            "--mount-options",
            "acl,nodelalloc",
            "--last-mounted",
            "/mnt/root",
        ],
    );
    let path = bench.path("disk.ext4");
    gate::assert_clean(&path);
    assert_kernel_agrees(&path, &tree());
    if !judge::all(&["dumpe2fs"]) {
        return;
    }
    let disk = gate::dump(&path).unwrap();
    for (feature, wanted) in [
        ("orphan_file", true),
        ("large_dir", true),
        ("metadata_csum", false),
        ("metadata_csum_seed", false),
        ("resize_inode", false),
    ] {
        assert_eq!(disk.features.iter().any(|name| name == feature), wanted, "{feature}");
    }
    assert_eq!((disk.block_size, disk.inode_size), (1024, 512));
    assert_eq!(disk.reserved_blocks, disk.blocks / 50);
    // Rounded up to full blocks of every group's table.
    let ratio = report["image"]["size"].as_u64().unwrap() / disk.inodes;
    assert!((7500..=8192).contains(&ratio), "one inode for {ratio} bytes");
    for line in ["Remount read-only", "acl nodelalloc", "/mnt/root"] {
        assert!(disk.text.contains(line), "{line} is not in\n{}", disk.text);
    }
}

#[test]
fn a_feature_that_is_not_written_is_refused_by_name_before_anything_is_fetched() {
    let bench = Bench::new();
    for (words, named) in [
        (["-O", "casefold"], "casefold"),
        (["-O", "nonsense"], "nonsense"),
        (["-O", "^extent"], "^extent"),
        (["-O", "orphan_file,^has_journal,orphan_file"], "orphan_file"),
        (["--profile", "newest"], "newest"),
        (["--block-size", "3000"], "block_size"),
    ] {
        let failed =
            bench.run(["image", "pull", "127.0.0.1:1/x", "disk.ext4"].iter().chain(&words));
        let message = judge::text(&failed);
        assert_eq!(failed.status.code(), Some(2), "{message}");
        assert!(message.contains(named), "{message}");
    }
}

#[test]
fn fit_leaves_what_was_asked_for_and_no_journal_makes_none() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Zstd)], "small:latest");
    let bench = Bench::new();
    let report = bench.pull(&reference, "disk.ext4", &["--size", "fit+100M", "--no-journal"]);
    let available = report["image"]["available"].as_u64().unwrap();
    assert!((100 * MIB..108 * MIB).contains(&available), "{available}");
    let path = bench.path("disk.ext4");
    gate::assert_clean(&path);
    assert_kernel_agrees(&path, &tree());
    if judge::all(&["dumpe2fs"]) {
        let features = gate::dump(&path).unwrap().features;
        assert!(!features.iter().any(|feature| feature == "has_journal"), "{features:?}");
    }
    let tight = bench.pull(&reference, "tight.ext4", &["--size", "fit"]);
    assert!(tight["image"]["size"].as_u64() < report["image"]["size"].as_u64());
    gate::assert_clean(&bench.path("tight.ext4"));
}

#[test]
fn added_files_and_overlays_lie_over_the_layers() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Gzip)], "small:latest");
    let bench = Bench::new();
    fs::write(bench.path("agent"), b"#!agent").unwrap();
    fs::create_dir_all(bench.path("tree/sub")).unwrap();
    fs::write(bench.path("tree/sub/file"), b"in a directory").unwrap();
    let mut overlay = Layer::new();
    overlay.whiteout("etc", "shadow");
    overlay.put("etc/overlaid", &Entry::new(Kind::file(b"over"), 0o600).owned_by(5, 6), b"over");
    fs::write(bench.path("overlay.tar"), overlay.finish()).unwrap();
    bench.pull(
        &reference,
        "disk.ext4",
        &[
            // Through the symbolic link /bin of the image.
            "--add",
            "agent:/bin/agent:0755",
            "--add",
            "agent:/etc/secret:0400:1000:2000",
            "--add",
            "tree:/opt/tree",
            "--overlay",
            "overlay.tar",
        ],
    );
    let path = bench.path("disk.ext4");
    gate::assert_clean(&path);
    let found = view::read_tree(&path).unwrap();
    let facts = |path: &str| {
        let entry = found.get(path.as_bytes()).unwrap_or_else(|| panic!("no /{path}"));
        (entry.kind.clone(), entry.mode, entry.uid, entry.gid)
    };
    assert_eq!(facts("usr/bin/agent"), (Kind::file(b"#!agent"), 0o755, 0, 0));
    assert_eq!(facts("etc/secret"), (Kind::file(b"#!agent"), 0o400, 1000, 2000));
    assert_eq!(facts("opt/tree/sub/file").0, Kind::file(b"in a directory"));
    assert_eq!(facts("etc/overlaid"), (Kind::file(b"over"), 0o600, 5, 6));
    assert!(found.get(b"etc/shadow").is_none(), "the overlay's whiteout hides it");
    assert!(matches!(facts("bin").0, Kind::Symlink(_)), "the link of the image stays");
}

#[test]
fn the_letters_of_mke2fs_mean_what_they_mean_there() {
    let bench = Bench::new();
    fs::create_dir(bench.path("tree")).unwrap();
    let letters = ["-L", "data", "-b", "1024", "-I", "512", "-m", "3"];
    let create = ["disk", "create", "disk.ext4", "--size", "64M", "-N", "4000", "-U", "time"];
    let lazy = ["-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"];
    let build = ["image", "build", "dir:tree", "image.ext4", "-U", "random", "-i", "8K"];
    for words in [[&create[..], &lazy].concat(), [&build[..], &["--size", "64M"]].concat()] {
        let result = bench.run(words.iter().chain(&letters));
        assert!(result.status.success(), "{}", judge::text(&result));
    }
    for (name, version) in [("disk.ext4", 1), ("image.ext4", 4)] {
        gate::assert_clean(&bench.path(name));
        if !judge::all(&["dumpe2fs"]) {
            return;
        }
        let disk = gate::dump(&bench.path(name)).unwrap();
        assert_eq!((disk.label.as_str(), disk.block_size, disk.inode_size), ("data", 1024, 512));
        assert_eq!(disk.reserved_blocks, disk.blocks * 3 / 100, "{name}");
        // RFC 9562, section 4.2: the version is the first digit of the third group.
        assert_eq!(disk.uuid.as_bytes()[14], b'0' + version, "{}", disk.uuid);
        let inodes = if version == 1 { 4000..4200 } else { 8192..8400 };
        assert!(inodes.contains(&disk.inodes), "{name}: {}", disk.inodes);
    }
}

#[test]
fn quiet_commands_print_the_path_alone_and_verbose_ones_everything() {
    let bench = Bench::new();
    fs::create_dir(bench.path("tree")).unwrap();
    let run = |words: &[&str]| {
        let result = bench.run(words);
        assert!(result.status.success(), "{}", judge::text(&result));
        String::from_utf8(result.stdout).unwrap()
    };
    let build = ["image", "build", "dir:tree", "image.ext4", "--force"];
    assert_eq!(run(&[&build[..], &["-q"]].concat()), "image.ext4\n");
    let short = run(&build);
    assert!(short.contains("root=/dev/vda rw console=ttyS0\n"), "{short}");
    assert!(!short.contains("features"), "{short}");
    let all = run(&[&build[..], &["--verbose"]].concat());
    for word in ["identity", "content", "features", "time", "has_journal"] {
        assert!(all.contains(word), "{word} in:\n{all}");
    }
    let no_journal = run(&[&build[..], &["--profile", "read-only"]].concat());
    assert!(no_journal.contains("root=/dev/vda ro "), "{no_journal}");
    assert_eq!(run(&["disk", "create", "disk.ext4", "--size", "8M", "-q"]), "disk.ext4\n");
    fs::write(bench.path("file"), "x").unwrap();
    assert_eq!(run(&["image", "edit", "disk.ext4", "--add", "file:/file", "-q"]), "disk.ext4\n");
}

#[test]
fn progress_is_told_unless_nobody_wants_it() {
    let bench = Bench::new();
    fs::create_dir(bench.path("tree")).unwrap();
    let told = |how: &str| {
        let words = ["image", "build", "dir:tree", "image.ext4", "--force", "--progress", how];
        let result = bench.run(words);
        assert!(result.status.success(), "{}", judge::text(&result));
        String::from_utf8(result.stderr).unwrap()
    };
    assert!(told("plain").contains("banger: reading dir:tree"));
    assert_eq!(told("none"), "");
}

#[test]
fn an_image_goes_onto_a_device_by_the_rules_of_disks() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("tree/etc")).unwrap();
    fs::write(bench.path("tree/etc/os-release"), "ID=x\n").unwrap();
    if !judge::kernel() {
        return;
    }
    let file = bench.path("disk");
    fs::write(&file, vec![0x81; 64 << 20]).unwrap();
    let Some(device) = LoopDevice::over(&file) else { return };
    let path = device.path().display().to_string();
    let build = ["image", "build", "dir:tree", &path, "--format", "json"];
    let refused = bench.run(build);
    assert_eq!(refused.status.code(), Some(73), "{}", judge::text(&refused));
    let message = judge::text(&refused);
    assert!(message.contains("data of no format that is known is there"), "{message}");
    let result = bench.run(build.iter().chain(&["--force"]));
    assert!(result.status.success(), "{}", judge::text(&result));
    let report: serde_json::Value = serde_json::from_slice(&result.stdout).unwrap();
    assert_eq!(report["image"]["size"], 64 * MIB);
    gate::assert_clean(&file);
    let mount = Mount::on(device.path(), "rw").expect("the device was made as root");
    assert_eq!(fs::read_to_string(mount.path().join("etc/os-release")).unwrap(), "ID=x\n");
    fs::write(mount.path().join("new"), vec![7; 1 << 20]).unwrap();
    mount.close();
    gate::assert_clean(&file);
}

#[test]
fn an_architecture_alone_is_a_platform_of_linux() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Zstd)], "small:latest");
    let bench = Bench::new();
    let other = if cfg!(target_arch = "x86_64") { "arm64" } else { "amd64" };
    let message = bench.pull_fails(&reference, &["--platform", other], 66);
    assert!(message.contains(&format!("linux/{other}")), "{message}");
    bench.pull_fails(&reference, &["--platform", "windows"], 2);
}
