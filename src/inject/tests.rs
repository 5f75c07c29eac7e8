//! What is added stands where it was said, with the attributes that were said.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use ext4_writer::Timestamp;

use super::*;
use crate::error::Result;
use crate::flatten::tests::{flatten_and, layer};
use crate::layer::Limits;

/// A directory of the host that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("banger-inject-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, path: &str, content: &str, mode: u32) -> &Self {
        let path = self.0.join(path);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(77);
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        self
    }

    fn dir(&self, path: &str, mode: u32) -> &Self {
        let path = self.0.join(path);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// The directory's time is that of its last change; tests that show it fix it at the end.
    fn fix_time(&self, path: &str) -> &Self {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(77);
        File::open(self.0.join(path)).unwrap().set_modified(time).unwrap();
        self
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays in the temporary directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn parse(text: &str) -> Result<Addition> {
    Addition::parse(OsStr::new(text))
}

/// The tree of an image of one layer after additions, sources being below `scratch`.
fn try_add(scratch: &Scratch, image: &str, additions: &[&str]) -> Result<String> {
    let additions = additions
        .iter()
        .map(|text| parse(&format!("{}/{text}", scratch.0.display())))
        .collect::<Result<Vec<_>>>()?;
    flatten_and(vec![layer(image)], 5, |flattener| {
        let mut hasher = TreeHasher::default();
        add_files(flattener, &additions, &mut adding(&mut hasher))
    })
    .map(|outcome| outcome.tree)
}

fn adding(hasher: &mut TreeHasher) -> Adding<'_> {
    Adding { hasher, epoch: Timestamp::from_seconds(5), limit: 1 << 20, seen: &|_| {} }
}

fn added(scratch: &Scratch, image: &str, additions: &[&str]) -> String {
    try_add(scratch, image, additions).unwrap()
}

#[test]
fn arguments_are_parsed_or_refused_with_the_reason() {
    let addition = parse("a b:/c:4755:7:4294967295").unwrap();
    assert_eq!(
        addition,
        Addition {
            source: "a b".into(),
            destination: b"/c".to_vec(),
            mode: Some(0o4755),
            uid: 7,
            gid: u32::MAX
        }
    );
    let addition = parse("a:/c").unwrap();
    assert_eq!((addition.mode, addition.uid, addition.gid), (None, 0, 0));
    for (text, why) in [
        ("a", "names no destination"),
        (":/c", "names no source"),
        ("a:c", "must begin with /"),
        ("a:", "must begin with /"),
        ("a:/c:", "the mode \"\""),
        ("a:/c:8", "the mode \"8\""),
        ("a:/c:10000", "the mode \"10000\""),
        ("a:/c:+1", "the mode \"+1\""),
        ("a:/c:644:1", "a UID needs a GID"),
        ("a:/c:644:x:1", "the UID \"x\""),
        ("a:/c:644:1:-1", "the GID \"-1\""),
        ("a:/c:644:1:4294967296", "the GID \"4294967296\""),
        ("a:/c:644:1:1:1", "has 6 parts"),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{text}");
        assert!(error.to_string().contains(why), "{text}: {error}");
        assert!(error.to_string().ends_with("write SRC:DST[:MODE[:UID:GID]]"), "{error}");
    }
}

#[test]
fn a_file_keeps_its_mode_and_time_and_is_roots() {
    let scratch = Scratch::new();
    scratch.file("f", "text", 0o640);
    assert_eq!(added(&scratch, "", &["f:/g"]), "g=text[640,@77]");
    assert_eq!(added(&scratch, "", &["f:/g:4711:5:6"]), "g=text[4711,5:6,@77]");
    assert_eq!(
        added(&scratch, "mode:600 g=longer h=>g", &["f:/g"]),
        "g=text[640,@77] h=longer[600]"
    );
}

#[test]
fn a_destination_may_be_a_name_or_a_directory() {
    let scratch = Scratch::new();
    scratch.file("f", "1", 0o644);
    let file = "f=1[@77]";
    assert_eq!(added(&scratch, "d/", &["f:/d"]), format!("d/ d/{file}"));
    assert_eq!(added(&scratch, "d/ l->d", &["f:/l"]), format!("d/ d/{file} l->d"));
    assert_eq!(added(&scratch, "", &["f:/new/"]), format!("new/[@5] new/{file}"));
    assert_eq!(added(&scratch, "", &["f:/new/deep"]), "new/[@5] new/deep=1[@77]");
    assert_eq!(added(&scratch, "", &["f:/"]), file);
    assert_eq!(added(&scratch, "d=0", &["f:/d"]), "d=1[@77]");
}

#[test]
fn g04_destinations_are_resolved_inside_the_image() {
    let scratch = Scratch::new();
    scratch.file("f", "1", 0o644);
    let image = "usr/ usr/sbin/ sbin->/usr/sbin up->../../../usr etc/ etc/resolv.conf->/run/x";
    let tree = added(&scratch, image, &["f:/sbin/init", "f:/up/y", "f:/etc/resolv.conf"]);
    assert_eq!(
        tree,
        "etc/ etc/resolv.conf=1[@77] sbin->/usr/sbin up->../../../usr usr/ usr/sbin/ \
         usr/sbin/init=1[@77] usr/y=1[@77]"
    );
    let error = try_add(&scratch, "", &["f:/../x"]).unwrap_err();
    assert!(error.to_string().contains("leads out of the root"), "{error}");
}

#[test]
fn a_directory_is_added_with_all_below_it() {
    let scratch = Scratch::new();
    scratch.dir("d", 0o700).file("d/b", "2", 0o600).file("d/a", "1", 0o755).dir("d/e", 0o1777);
    symlink("../../outside", scratch.0.join("d/l")).unwrap();
    scratch.fix_time("d/e").fix_time("d");
    let tree = |tree: String| {
        tree.split(' ').filter(|word| !word.contains("->")).collect::<Vec<_>>().join(" ")
    };
    let below = |d: &str| format!("{d}/a=1[755,@77] {d}/b=2[600,@77] {d}/e/[1777,@77]");
    let expected = format!("x/[700,@77] {}", below("x"));
    let got = added(&scratch, "", &["d:/x"]);
    assert!(got.contains("x/l->../../outside[777"), "{got}");
    assert_eq!(tree(got), expected);
    let expected = format!("x/ x/d/[700,@77] {}", below("x/d"));
    assert_eq!(tree(added(&scratch, "x/", &["d:/x"])), expected);
    // Contents only; what the image has keeps its attributes; a mode is for files.
    let expected = "x/ x/a=1[444,7:8,@77] x/b=2[444,7:8,@77] x/e/[700] x/e/y=0[700]";
    let got = added(&scratch, "x/ mode:700 x/e/ x/e/y=0", &["d/.:/x:444:7:8"]);
    assert_eq!(tree(got), expected);
}

#[test]
fn a_link_is_followed_as_a_source_but_kept_below_one() {
    let scratch = Scratch::new();
    scratch.file("f", "1", 0o644);
    symlink("f", scratch.0.join("l")).unwrap();
    assert_eq!(added(&scratch, "", &["l:/g"]), "g=1[@77]");
    symlink("nowhere", scratch.0.join("dangling")).unwrap();
    assert_eq!(try_add(&scratch, "", &["dangling:/g"]).unwrap_err().exit_code(), 66);
}

#[test]
fn later_additions_win() {
    let scratch = Scratch::new();
    scratch.file("f", "1", 0o644).file("g", "2", 0o644);
    assert_eq!(added(&scratch, "", &["f:/x", "g:/x"]), "x=2[@77]");
}

#[test]
fn what_cannot_be_added_is_refused_by_name() {
    let scratch = Scratch::new();
    let error = try_add(&scratch, "", &["none:/x"]).unwrap_err();
    assert_eq!(error.exit_code(), 66);
    assert!(error.to_string().contains("/none: No such file"), "{error}");
    let missing = parse(&format!("{}/none:/x", scratch.0.display())).unwrap();
    assert_eq!(missing.check().unwrap_err().exit_code(), 66);
    std::os::unix::net::UnixListener::bind(scratch.0.join("s")).unwrap();
    let error = try_add(&scratch, "", &["s:/x"]).unwrap_err();
    assert!(error.to_string().contains("neither a file, a directory"), "{error}");
    let socket = parse(&format!("{}/s:/x", scratch.0.display())).unwrap();
    assert_eq!(socket.check().unwrap_err().exit_code(), 65);
    scratch.file("f", "", 0o644);
    let present = parse(&format!("{}/f:/x", scratch.0.display())).unwrap();
    present.check().unwrap();
    parse("-:/x").unwrap().check().unwrap();
    let nameless = flatten_and(vec![layer("etc/")], 5, |flattener| {
        parse("-:/etc").unwrap().target(flattener).map(drop)
    });
    assert!(nameless.map(drop).unwrap_err().to_string().contains("cannot add -"));
}

#[test]
fn a_name_means_nothing_but_itself() {
    let scratch = Scratch::new();
    scratch.dir("d", 0o755).file("d/.wh.x", "1", 0o644).file("d/.wh..wh..opq", "2", 0o644);
    scratch.fix_time("d");
    let expected = "x=0 y/[@77] y/.wh..wh..opq=2[@77] y/.wh.x=1[@77]";
    assert_eq!(added(&scratch, "x=0", &["d:/y"]), expected);
    assert_eq!(added(&scratch, "x=0", &["d/.wh.x:/.wh.x"]), ".wh.x=1[@77] x=0");
}

#[test]
fn links_attributes_and_holes_are_kept_as_in_a_whole_tree() {
    let scratch = Scratch::new();
    scratch.dir("d", 0o755).file("d/a", "1", 0o644).dir("d/e", 0o755);
    fs::hard_link(scratch.0.join("d/a"), scratch.0.join("d/e/b")).unwrap();
    fs::hard_link(scratch.0.join("d/a"), scratch.0.join("outside")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    let named = rustix::fs::setxattr(scratch.0.join("d/a"), "user.k", b"v", flags);
    let attribute = match named {
        Ok(()) => ",user.k=v",
        Err(rustix::io::Errno::OPNOTSUPP) => "",
        Err(error) => panic!("{error}"),
    };
    rustix::fs::mkfifoat(rustix::fs::CWD, scratch.0.join("d/p"), 0o644.into()).unwrap();
    File::open(scratch.0.join("d/a")).unwrap();
    scratch.fix_time("d/e").fix_time("d");
    let tree = added(&scratch, "", &["d:/x"]);
    let tree: Vec<&str> = tree.split(' ').filter(|word| !word.starts_with("x/p")).collect();
    assert_eq!(tree.join(" "), format!("x/[@77] x/a=1[@77{attribute}] x/e/[@77] x/e/b==x/a"));
    let sparse = File::create(scratch.0.join("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    // Far more than the limit of what has no length.
    added(&scratch, "", &["sparse:/s"]);
}

#[test]
fn what_is_read_to_its_end_is_what_is_added() {
    let scratch = Scratch::new();
    let fifo = scratch.0.join("fifo");
    for (content, limit) in [(vec![b'x'; 300_000], false), (vec![b'x'; 2 << 20], true)] {
        let _ = fs::remove_file(&fifo);
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
        let writer = std::thread::spawn({
            let fifo = fifo.clone();
            // Nobody reads more than the limit.
            move || fs::write(fifo, content).is_ok()
        });
        let done = try_add(&scratch, "", &["fifo:/f"]);
        let is_whole = writer.join().unwrap();
        match done {
            Ok(tree) => {
                assert!(!limit && is_whole);
                assert_eq!(tree, format!("f={}[@5]", "x".repeat(300_000)));
            }
            Err(error) => {
                assert!(limit && error.to_string().contains("more than 1048576 bytes"), "{error}");
                assert_eq!(error.exit_code(), 65);
            }
        }
    }
    // The kernel says of these that they are empty, or of 4096 bytes.
    for made_up in ["/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled"] {
        let Ok(expected) = fs::read(made_up) else { continue };
        let addition = parse(&format!("{made_up}:/f")).unwrap();
        addition.check().unwrap();
        let mut got = Vec::new();
        flatten_and(vec![layer("")], 5, |flattener| {
            let mut hasher = TreeHasher::default();
            add_files(flattener, &[addition], &mut adding(&mut hasher))?;
            got = flattener.read(b"/f", 1 << 20)?.unwrap();
            Ok(())
        })
        .unwrap();
        assert!(!expected.is_empty() && got == expected, "{made_up}");
    }
}

#[test]
fn the_same_thing_from_another_place_is_the_same_thing() {
    let scratch = Scratch::new();
    let fill = |place: &str, content: &str| {
        scratch.dir(place, 0o755);
        scratch.file(&format!("{place}/f"), content, 0o644).fix_time(place);
    };
    fill("one", "same");
    fill("other", "same");
    fill("third", "else");
    let identity = |addition: &str| {
        let mut hasher = TreeHasher::default();
        let addition = parse(&format!("{}/{addition}", scratch.0.display())).unwrap();
        flatten_and(vec![layer("")], 5, |flattener| {
            add_files(flattener, &[addition], &mut adding(&mut hasher))
        })
        .unwrap();
        hasher.finish().unwrap()
    };
    assert_eq!(identity("one/f:/x"), identity("other/f:/x"));
    assert_eq!(identity("one/f:/x"), identity("./one/../other/f://./x"));
    assert_eq!(identity("one:/x"), identity("other:/x"));
    assert_eq!(identity("one/.:/x"), identity("other/.:/x"));
    for other in ["third/f:/x", "one/f:/y", "one/f:/x:600", "one/f:/x:644:1:0"] {
        assert_ne!(identity("one/f:/x"), identity(other), "{other}");
    }
    assert_ne!(identity("one:/x"), identity("third:/x"));
}

#[test]
fn an_overlay_is_applied_as_the_last_layer_whatever_its_compression() {
    let scratch = Scratch::new();
    let archive = layer("etc/.wh.old new=2 etc/x=3").finish();
    let compressed = zstd::encode_all(&archive[..], 1).unwrap();
    for bytes in [archive, compressed] {
        let path = scratch.0.join("overlay.tar");
        fs::write(&path, bytes).unwrap();
        let tree = flatten_and(vec![layer("etc/ etc/old=1")], 5, |flattener| {
            flattener.apply_layer(open_overlay(&path, &Limits::default())?).map(drop)
        });
        assert_eq!(tree.unwrap().tree, "etc/ etc/x=3 new=2");
    }
    let missing = open_overlay(&scratch.0.join("none"), &Limits::default());
    let error = missing.map(drop).unwrap_err();
    assert_eq!(error.exit_code(), 66);
    assert!(error.to_string().starts_with("cannot open "), "{error}");
}
