//! umoci unpacks the same image: for every row that ends in a tree the kernel must show what umoci
//! made, but for the differences that are listed with their reasons.

use std::fs::File;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use banger_test_support::judge;
use banger_test_support::layers::{Compression, Image, host_architecture, write_layout};
use banger_test_support::mount::{Access, Mount, read_tree};
use banger_test_support::tree::{Entry as Fact, Kind, Tree};

use super::*;

/// Rows that umoci 0.4.7 ends in another way, and why: the name is the beginning of a test's. Other
/// versions may have fewer.
const DIFFERENT: &[(&str, &str)] = &[
    ("w13_", "it keeps AUFS's bookkeeping as files, as later versions do not"),
    ("o04_parents_without_a_header_stay_as_they_are_after", "it forgets what they were"),
    ("o09_an_opaque_file_becomes", "it leaves the file"),
    ("t03_an_entry_below", "it fails, as later versions do not"),
    ("t11_a_slash", "Go gives it a file whose name ends with a slash"),
    ("t11_the_contents", "the same"),
    ("p10_a_link_to_a_file", "it fails, as below a file"),
    ("h01_", "it ignores the attributes in a link's header, containerd does not"),
    ("h02_", "it wants targets before links"),
    ("h09_a_target_that_was_hidden_before", "it removes targets for good"),
    ("h09_a_target_in_", "the same"),
    ("h09_a_target_through", "the same"),
    ("h12_a_link_to_itself_loses_nothing", "it removes the name first"),
    ("f03_a_pax_name", "Go prefers the long name of GNU"),
    ("f09_times", "it counts in 64 bits of nanoseconds, which end in 2262"),
    ("f10_a_global_header", "it takes the header for a file of an unknown type"),
    ("f13_an_old_sparse", "it does not know the type"),
    ("f14_a_contiguous", "it does not know the type"),
    ("f15_", "it does not know the type"),
    ("m04_attributes_of_users_on_other", "the kernel refuses them"),
    ("m05_a_default_acl", "the kernel refuses it"),
    ("m05_implied", "it forgets what a whiteout hid before its entries come"),
    ("m06_labels", "it drops the labels of SELinux"),
    ("m07_", "it keeps overlayfs's attributes for users"),
    ("m09_", "it does not know libarchive's records"),
    ("m17_an_acl_", "it does not know ACLs as text"),
    ("m17_text_that_is_no_acl", "the same"),
    ("m18_", "it drops the labels of SELinux"),
    ("m19_", "it does not know GNU tar's escapes"),
    ("m20_", "it does not know libarchive's records"),
];

/// Flattens layers into a file, and mounts it.
pub(super) fn mounted(directory: &Path, words: &[&str], options: FlattenOptions) -> Option<Tree> {
    let path = directory.join("ours.ext4");
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let sink = ext4_writer::FileSink::new(file).unwrap();
    let mut builder = Builder::create(sink, fit()).unwrap();
    let mut flattener = Flattener::new(&mut builder, options).unwrap();
    for (index, layer) in layers(words).into_iter().enumerate() {
        let stream = open(index, layer.finish(), &Limits::default()).unwrap();
        flattener.apply_layer_with(stream, |_| Ok(Names::default())).unwrap();
    }
    flattener.finish().unwrap();
    builder.finish().unwrap();
    let mount = Mount::new(&path, Access::ReadOnly)?;
    let tree = mount.tree();
    mount.close();
    Some(tree)
}

/// Lets umoci unpack layers into a directory; its words where it fails.
pub(super) fn unpack(bundle: &Path, words: &[&str]) -> Result<(), String> {
    let layout = bundle.with_extension("layout");
    let layers = layers(words).into_iter().map(Forge::finish).collect();
    let architecture = host_architecture();
    write_layout(&layout, &[Image { architecture, layers, compression: Compression::None }]);
    let image = format!("{}:latest", layout.display());
    let words = ["raw", "unpack", "--image", &image, bundle.to_str().unwrap()];
    let output = judge::run(&judge::find("umoci").unwrap(), words);
    if output.status.success() { Ok(()) } else { Err(judge::text(&output)) }
}

/// What another made, without what nobody wrote into a layer.
pub(super) fn comparable(mut tree: Tree, ours: &Tree, start: i64) -> Tree {
    // What it made of its own accord bears the time of today.
    let paths = tree.iter().map(|(path, _)| path.to_vec()).collect::<Vec<_>>();
    for path in paths {
        tree.change(&path, |entry| {
            let seconds = entry.modified.map_or(0, |time| time.0);
            entry.modified = entry.modified.filter(|_| seconds < start);
        });
    }
    // No Linux filesystem changes the mode of a link; ext4 shows the one that was written.
    for (path, fact) in ours.iter().filter(|(_, fact)| matches!(fact.kind, Kind::Symlink(_))) {
        if matches!(tree.get(path), Some(entry) if matches!(entry.kind, Kind::Symlink(_))) {
            tree.change(path, |entry| entry.mode = fact.mode);
        }
    }
    if tree.get(b"lost+found").is_none() {
        let mut lost_and_found = Fact::new(Kind::Directory, 0o700);
        lost_and_found.modified = None;
        tree.insert("lost+found", lost_and_found);
    }
    tree
}

/// The seconds of today.
pub(super) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs().cast_signed()
}

#[test]
fn umoci_unpacks_every_row_to_the_same_tree() {
    if !judge::kernel() || !judge::all(&["umoci"]) {
        return;
    }
    let mut objections = Vec::new();
    for row in TABLES.concat() {
        let directory = tempfile::tempdir().unwrap();
        let options = FlattenOptions::default();
        let Some(ours) = mounted(directory.path(), row.layers, options) else { return };
        let (bundle, start) = (directory.path().join("bundle"), now());
        let differences = match unpack(&bundle, row.layers) {
            Ok(()) => comparable(read_tree(&bundle).unwrap(), &ours, start).differences(&ours),
            Err(error) => vec![error],
        };
        let is_known = DIFFERENT.iter().any(|(name, _)| row.name.starts_with(name));
        if !differences.is_empty() && !is_known {
            objections.push(format!(
                "{}: {:?}\n  {}",
                row.name,
                row.layers,
                differences.join("\n  ")
            ));
        }
    }
    assert!(objections.is_empty(), "{} rows\n{}", objections.len(), objections.join("\n"));
}
