//! How layers are put together, as the command line chooses and the report tells.

use banger_test_support::layers::{Compression, Image, Layer, host_architecture};
use banger_test_support::registry::Registry;
use banger_test_support::tree::{Entry, Kind};
use banger_test_support::{gate, judge, view};

use crate::banger::{Bench, push};

fn directory(layer: &mut Layer, path: &str, mode: u16) {
    layer.put(path, &Entry::new(Kind::Directory, mode), b"");
}

/// `/lib` is a link of the lower layer; the upper one has a file below it.
fn image(loss: bool) -> Image {
    let mut lower = Layer::new();
    directory(&mut lower, "usr/lib/", 0o750);
    lower.put("lib", &Entry::new(Kind::Symlink(b"usr/lib".to_vec()), 0o777), b"");
    let mut upper = Layer::new();
    let entry = Entry::new(Kind::file(b"x"), 0o644).with_attribute(b"user.note", b"kept");
    upper.put("lib/new", &entry, b"x");
    if loss {
        let entry =
            Entry::new(Kind::file(b"x"), 0o644).with_attribute(b"user.overlay.origin", b"y");
        upper.put("odd", &entry, b"x");
    }
    let layers = vec![lower.finish(), upper.finish()];
    Image { architecture: host_architecture(), layers, compression: Compression::Zstd }
}

#[test]
fn layer_semantics_decide_what_becomes_of_a_lower_link() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(false)], "links:latest");
    let bench = Bench::new();
    let follow = bench.pull(&reference, "follow.ext4", &[]);
    let overlay = bench.pull(&reference, "overlay.ext4", &["--layer-semantics", "overlay"]);
    for name in ["follow.ext4", "overlay.ext4"] {
        gate::assert_clean(&bench.path(name));
    }
    let tree = view::read_tree(&bench.path("follow.ext4")).unwrap();
    assert!(matches!(tree.get(b"lib").unwrap().kind, Kind::Symlink(_)));
    assert_eq!(tree.get(b"usr/lib/new").unwrap().kind, Kind::file(b"x"));
    assert_eq!(follow["followed_symlinks"][0]["path"], "/lib");
    assert_eq!(
        (&follow["followed_symlinks_total"], &follow["hidden_symlinks_total"]),
        (&1.into(), &0.into())
    );
    let tree = view::read_tree(&bench.path("overlay.ext4")).unwrap();
    let lib = tree.get(b"lib").unwrap();
    assert_eq!((&lib.kind, lib.mode), (&Kind::Directory, 0o750));
    assert_eq!(tree.get(b"lib/new").unwrap().kind, Kind::file(b"x"));
    assert!(tree.get(b"usr/lib/new").is_none());
    assert_eq!(overlay["hidden_symlinks"][0]["path"], "/lib");
    assert!(overlay["hidden_symlinks"][0]["reason"].as_str().unwrap().contains("sha256:"));
    assert_eq!(
        (&overlay["followed_symlinks_total"], &overlay["hidden_symlinks_total"]),
        (&0.into(), &1.into())
    );
    assert_ne!(follow["image"]["uuid"], overlay["image"]["uuid"], "they are two filesystems");
}

#[test]
fn strict_fails_where_the_report_lists_a_loss() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(true)], "lossy:latest");
    let bench = Bench::new();
    let message = bench.pull_fails(&reference, &["--strict"], 65);
    assert!(message.contains("\"odd\" of layer 2 of 2 (sha256:"), "{message}");
    assert!(message.contains("user.overlay.origin"), "{message}");
    let report = bench.pull(&reference, "lossy.ext4", &[]);
    assert_eq!(report["losses_total"], 1);
    assert_eq!(report["losses"][0]["path"], "odd");
    let text = bench.run(["image", "pull", &reference, "text.ext4"]);
    let text = judge::text(&text);
    assert!(
        text.contains("not in the image (1):\n  odd: attribute \"user.overlay.origin\""),
        "{text}"
    );
    let lossless = push(&registry, &[image(false)], "links:latest");
    bench.pull(&lossless, "strict.ext4", &["--strict"]);
}

#[test]
fn limits_are_raised_and_lowered_by_their_names() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(false)], "links:latest");
    let bench = Bench::new();
    for (name, too_little, enough) in [
        ("layers", "1", "2"),
        ("blob", "10", "1M"),
        ("layer", "100", "1M"),
        ("image", "1000", "1M"),
        ("entries", "2", "3"),
        ("metadata", "10", "1K"),
        ("header", "10", "1K"),
        ("path", "4", "8"),
        ("link", "6", "7"),
        ("xattr-value", "3", "4"),
        ("xattrs", "12", "13"),
        ("symlink-depth", "0", "1"),
        ("traversal", "0", "1000"),
    ] {
        let limit = |value: &str| format!("--limit={name}={value}");
        let message = bench.pull_fails(&reference, &[&limit(too_little)], 65);
        let advice = format!("raise --limit {name}=VALUE if you trust the image");
        assert!(message.contains(&advice), "{message}");
        bench.pull(&reference, "enough.ext4", &["--force", &limit(enough)]);
        std::fs::remove_file(bench.path("enough.ext4")).unwrap();
    }
}

#[test]
fn source_date_epoch_is_the_latest_time_in_the_image() {
    let Some(registry) = Registry::start() else { return };
    let mut layer = Layer::new();
    layer.put("old", &Entry::new(Kind::file(b"x"), 0o644).modified_at(5, 7), b"x");
    layer.put("new", &Entry::new(Kind::file(b"y"), 0o644).modified_at(5000, 7), b"y");
    let layers = vec![layer.finish()];
    let (architecture, compression) = (host_architecture(), Compression::Gzip);
    let reference = push(&registry, &[Image { architecture, layers, compression }], "t:latest");
    let bench = Bench::new();
    let words = ["image", "pull", &reference, "t.ext4", "--quiet"];
    let result = bench.command(words).env("SOURCE_DATE_EPOCH", "1000").output().unwrap();
    assert!(result.status.success(), "{}", judge::text(&result));
    let path = bench.path("t.ext4");
    gate::assert_clean(&path);
    let tree = view::read_tree(&path).unwrap();
    assert_eq!(tree.get(b"old").unwrap().modified, Some((5, 7)));
    assert_eq!(tree.get(b"new").unwrap().modified, Some((1000, 0)));
    assert!(tree.iter().all(|(_, entry)| entry.modified.is_none_or(|time| time.0 <= 1000)));
}

/// Ten gibibytes of zeros in about ten mebibytes: one file that says how large it is.
fn bomb() -> Vec<u8> {
    use std::io::Write as _;
    const MEMBER: u64 = 16 << 20;
    const SIZE: u64 = 10 << 30;
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let mut header = tar::Header::new_gnu();
    header.set_path("bomb").unwrap();
    header.set_mode(0o644);
    header.set_size(SIZE);
    header.set_cksum();
    let member = gzip(&vec![0; MEMBER.try_into().unwrap()]);
    [gzip(header.as_bytes()), member.repeat((SIZE / MEMBER).try_into().unwrap())].concat()
}

#[test]
fn c11_a_bomb_ends_at_the_size_of_the_disk_in_bounded_memory() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(false)], "links:latest");
    let bench = Bench::new();
    std::fs::write(bench.path("bomb.tar.gz"), bomb()).unwrap();
    let words = ["image", "pull", &reference, "disk.ext4", "--size", "256M", "--quiet"];
    let words = words.iter().chain(&["--overlay", "bomb.tar.gz"]);
    let Some(mut pull) = bench.command_within(256 << 20, words) else { return };
    let result = pull.output().unwrap();
    let message = judge::text(&result);
    assert_eq!(result.status.code(), Some(73), "{message}");
    assert!(message.contains("\"bomb\" of overlay bomb.tar.gz"), "{message}");
    assert!(message.contains("; raise --size"), "{message}");
    assert_eq!(bench.images(), Vec::<std::path::PathBuf>::new());
}
