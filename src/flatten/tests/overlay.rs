//! The rows that `--layer-semantics overlay` gives another end: paths through symbolic links that
//! only lower layers have. overlayfs itself is asked, see the last
//! test.

use std::fs;
use std::path::{Path, PathBuf};

use banger_test_support::judge;
use banger_test_support::mount::read_tree;

use super::umoci::{comparable, mounted, now, unpack};
use super::*;

fn overlaid(words: &[&str]) -> Outcome {
    let semantics = LayerSemantics::Overlay;
    let options = FlattenOptions { semantics, ..FlattenOptions::default() };
    flatten_with(layers(words), options, |_| Ok(()))
        .unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// Rows of overlay semantics: identifier, layers, tree.
const ROWS: &[(&str, &[&str], &str)] = &[
    (
        "P09",
        &["usr/ usr/lib/ usr/lib/a=1 lib->usr/lib", "lib/foo=2"],
        "lib/ lib/foo=2 usr/ usr/lib/ usr/lib/a=1",
    ),
    (
        "P09 attributes are those of the link's target",
        &["x:user.a=1 mode:700 owner:1:2 mtime:3 usr/ lib->/usr", "lib/foo=2"],
        "lib/[700,1:2,@3,user.a=1] lib/foo=2 usr/[700,1:2,@3,user.a=1]",
    ),
    (
        "P09 attributes through two links",
        &["mode:700 usr/ two->usr one->two", "one/foo=2"],
        "one/[700] one/foo=2 two->usr[700] usr/[700]",
    ),
    ("P08 a link of its own layer is followed", &["t/ l->t l/x=1"], "l->t t/ t/x=1"),
    (
        "P08 a link of its own layer leads to one of a lower layer",
        &["t/ low->t", "own->low own/x=1"],
        "low/ low/x=1 own->low t/",
    ),
    ("P10", &["l->gone", "l/x=1"], "l/ l/x=1"),
    ("W09", &["etc/ etc/x=1 local->etc", "local/.wh.x"], "etc/ etc/x=1 local/"),
    ("O08", &["d/ d/a=1 l->d", "l/.wh..wh..opq"], "d/ d/a=1 l/"),
    ("P08 the last part is never followed", &["t=1 l->t", "l->u"], "l->u t=1"),
    ("T05", &["t/ t/a=1 d->t", "d/ d/b=2"], "d/ d/b=2 t/ t/a=1"),
    ("W08", &["t=1 l->t", ".wh.l"], "t=1"),
    ("a third layer meets the directory", &["t/ l->t", "l/x=1", "l/y=2"], "l/ l/x=1 l/y=2 t/"),
];

#[test]
fn p09_p10_w09_o08_a_directory_hides_a_lower_link() {
    for (id, layers, expected) in ROWS {
        assert_eq!(overlaid(layers).tree, *expected, "{id}: {layers:?}");
    }
}

#[test]
fn p09_hidden_links_are_reported_once_for_a_layer() {
    let got = overlaid(&["t/ l->t m->t", "l/a=1 l/b=2 m/.wh.x", "l/c=3"]).flattened;
    let lines = got.hidden.items().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(lines, ["/l: by entries of layer 2", "/m: by entries of layer 2"]);
    assert_eq!(got.followed.total(), 0);
}

#[test]
fn g04_files_of_the_user_go_where_the_links_of_the_image_lead() {
    let semantics = LayerSemantics::Overlay;
    let options = FlattenOptions { semantics, ..FlattenOptions::default() };
    let got = flatten_with(layers(&["usr/ usr/bin/ bin->usr/bin"]), options, |flattener| {
        flattener.begin_addition("the added files")?;
        let bytes = layer("bin/agent=1").finish();
        let mut archive = Archive::new(&bytes[..], "the added files", &Limits::default());
        let entry = archive.next_entry()?.unwrap();
        flattener.apply(&entry, &mut archive.body())?;
        flattener.end_layer()
    });
    assert_eq!(got.unwrap().tree, "bin->usr/bin usr/ usr/bin/ usr/bin/agent=1");
}

/// Layers mounted over one another; dropping it unmounts them.
struct Overlay(PathBuf);

impl Overlay {
    /// `lower` is the directories of the layers, lowest first.
    fn new(point: &Path, lower: &[PathBuf]) -> Self {
        let lower = lower.iter().rev().map(|path| path.display().to_string());
        let options = format!("ro,lowerdir={}", lower.collect::<Vec<_>>().join(":"));
        let point = point.to_str().unwrap();
        judge::succeed("mount", ["-t", "overlay", "overlay", "-o", &options, point]);
        Self(point.into())
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        judge::succeed("umount", [&self.0]);
    }
}

/// Turns what stands for whiteouts into what overlayfs takes for them, as the snapshotters do: a
/// device 0:0, and an attribute of the directory.
fn convert_whiteouts(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() && !path.is_symlink() {
            convert_whiteouts(&path);
        } else if let Some(hidden) = name.to_str().unwrap().strip_prefix("WH.") {
            fs::remove_file(&path).unwrap();
            let flags = rustix::fs::XattrFlags::empty();
            if hidden == "WH..opq" {
                rustix::fs::lsetxattr(directory, "trusted.overlay.opaque", b"y", flags).unwrap();
            } else {
                let kind = rustix::fs::FileType::CharacterDevice;
                let (place, mode) = (directory.join(hidden), rustix::fs::Mode::empty());
                rustix::fs::mknodat(rustix::fs::CWD, place, kind, mode, 0).unwrap();
            }
        }
    }
}

#[test]
fn p09_overlayfs_shows_the_same_of_layers_that_lie_over_one_another() {
    if !judge::kernel() || !judge::all(&["umoci"]) {
        return;
    }
    // Attributes of the link's target are what the snapshotters add, not overlayfs. And of a
    // directory that one layer alone has, overlayfs lists whiteouts that it then does not find.
    let rows = ROWS.iter().filter(|row| !row.0.contains("attributes") && row.0 != "W09");
    for (id, words, _) in rows {
        let directory = tempfile::tempdir().unwrap();
        let semantics = LayerSemantics::Overlay;
        let options = FlattenOptions { semantics, ..FlattenOptions::default() };
        let Some(ours) = mounted(directory.path(), words, options) else { return };
        let start = now();
        let [base, point] = ["base", "point"].map(|name| directory.path().join(name));
        fs::create_dir(&base).unwrap();
        fs::create_dir(&point).unwrap();
        let mut lower = vec![base];
        for (index, words) in words.iter().enumerate() {
            let path = directory.path().join(format!("layer-{index}"));
            unpack(&path, &[&words.replace(".wh.", "WH.")]).unwrap();
            convert_whiteouts(&path);
            lower.push(path);
        }
        let overlay = Overlay::new(&point, &lower);
        let mut theirs = comparable(read_tree(&point).unwrap(), &ours, start);
        drop(overlay);
        // An overlay does not count the links of its directories.
        let paths = theirs.iter().map(|(path, _)| path.to_vec()).collect::<Vec<_>>();
        for path in paths {
            theirs.change(&path, |entry| entry.links = None);
        }
        theirs.assert_same(&ours, &format!("{id}: {words:?}: the kernel"));
    }
}
