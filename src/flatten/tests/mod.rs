//! The rows of the flattening rules: every test bears the identifier of its row.
//!
//! Layers and trees are written as words: `d/` a directory, `f=text` a file, `l->t` a symbolic
//! link, `h=>f` a hard link, `p|` a pipe, `c:1:3:n` a device. In paths, targets and contents `%0a`
//! is a byte and `{x*255}` repeats one.
//!
//! In a layer `mode:700`, `owner:1:2` and `mtime:9` hold for the entries that follow;
//! `x:user.a=b` (an attribute), `pax:KEY=VALUE`, `at:257:TEXT` (bytes of the header), `size:7` and
//! `badsum` for the next one. `type:D:p=body` is an entry of any type; `global:KEY=VALUE`,
//! `long:NAME` and `longlink:TARGET` are headers of their own; `bare:TEXT` is bytes between
//! entries, and `cut:9` takes bytes off the end and ends the archive there.
//!
//! In a tree `h==f` is another name of a file above, and unusual attributes follow in brackets.

mod attributes;
mod blobs;
mod bounds;
mod differential;
mod formats;
mod links;
mod overlay;
mod paths;
mod replacement;
mod umoci;
mod whiteouts;

use std::collections::BTreeMap;
use std::io;

use ext4_writer::{Builder, MemorySink, NodeId, Options, Size};

use super::*;
use crate::layer::forge::{Forge, pax_records};
use crate::layer::{LayerBlob, Limits};

/// Every table of rows.
const TABLES: [&[Row]; 7] = [
    whiteouts::ROWS,
    replacement::ROWS,
    paths::ROWS,
    links::ROWS,
    formats::ROWS,
    attributes::ROWS,
    blobs::ROWS,
];

/// Every table of rows that end in an error: name and layers.
const FAILURES: [&[(&str, &[&str])]; 5] = [
    whiteouts::FAILURES,
    paths::FAILURES,
    links::FAILURES,
    formats::FAILURES,
    attributes::FAILURES,
];

/// A row that ends in a tree.
#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    layers: &'static [&'static str],
    tree: &'static str,
    /// Every loss and warning.
    remarks: &'static [&'static str],
}

/// Tests of rows that end in a tree: `name: layers => tree, remarks`; together they are `ROWS`.
macro_rules! rows {
    ($($name:ident: $layers:expr => $tree:expr $(, $remark:expr)*;)*) => {
        $(#[test]
        fn $name() {
            super::check(&super::Row {
                name: stringify!($name),
                layers: &$layers,
                tree: $tree,
                remarks: &[$($remark),*],
            });
        })*

        pub(super) const ROWS: &[super::Row] = &[$(super::Row {
            name: stringify!($name),
            layers: &$layers,
            tree: $tree,
            remarks: &[$($remark),*],
        }),*];
    };
}
use rows;

/// Tests of rows that end in an error of bad data: `name: layers => a part of the message`.
macro_rules! failures {
    ($($name:ident: $layers:expr => $message:expr;)*) => {
        $(#[test]
        fn $name() {
            let message = super::failure(&$layers);
            assert!(message.contains($message), "{message}");
        })*

        pub(super) const FAILURES: &[(&str, &[&str])] = &[$((stringify!($name), &$layers)),*];
    };
}
use failures;

fn check(row: &Row) {
    let got = outcome(row.layers);
    assert_eq!(got.tree, text(row.tree), "{:?}", row.layers);
    assert_eq!(got.remarks(), row.remarks, "{:?}", row.layers);
}

/// Makes a layer.
pub(crate) fn layer(words: &str) -> Forge {
    words.split_whitespace().fold(Forge::new(), add)
}

fn add(forge: Forge, word: &str) -> Forge {
    let setting = word.split_once(':').unwrap_or_default();
    let pair = |text: &str| {
        let (key, value) = text.split_once('=').unwrap();
        (String::from_utf8(bytes(key)).unwrap(), bytes(value))
    };
    match setting {
        ("mode", mode) => forge.mode(u32::from_str_radix(mode, 8).unwrap()),
        ("mtime", mtime) => forge.mtime(mtime.parse().unwrap()),
        ("owner", ids) => {
            let (uid, gid) = ids.split_once(':').unwrap();
            forge.owner(uid.parse().unwrap(), gid.parse().unwrap())
        }
        ("x", xattr) => {
            let (name, value) = pair(xattr);
            forge.record(&format!("SCHILY.xattr.{name}"), &value)
        }
        ("pax", record) => {
            let (key, value) = pair(record);
            forge.record(&key, &value)
        }
        ("global", record) => {
            let (key, value) = pair(record);
            forge.extension(b'g', &pax_records(&[(&key, &value)]))
        }
        ("long", name) => forge.extension(b'L', &[bytes(name), vec![0]].concat()),
        ("longlink", target) => forge.extension(b'K', &[bytes(target), vec![0]].concat()),
        ("at", edit) => {
            let (at, text) = edit.split_once(':').unwrap();
            forge.edit(at.parse().unwrap(), &bytes(text))
        }
        ("size", size) => {
            let size: u64 = size.parse().unwrap();
            forge.edit(124, format!("{size:011o}\0").as_bytes())
        }
        ("bare", text) => forge.bare(&bytes(text)),
        ("cut", count) => forge.cut(count.parse().unwrap()),
        ("type", entry) => {
            let (flag, entry) = entry.split_once(':').unwrap();
            let (path, body) = entry.split_once('=').unwrap_or((entry, ""));
            forge.raw(bytes(flag)[0], bytes(path), &bytes(body), |_| {})
        }
        (kind @ ("c" | "b"), device) => {
            let parts = device.splitn(3, ':').collect::<Vec<_>>();
            let [major, minor, path] = parts.try_into().unwrap();
            let flag = if kind == "c" { b'3' } else { b'4' };
            forge.device(flag, &bytes(path), major.parse().unwrap(), minor.parse().unwrap())
        }
        _ => add_entry(forge, word),
    }
}

fn add_entry(forge: Forge, word: &str) -> Forge {
    if word == "badsum" {
        return forge.wrong_checksum();
    }
    if let Some((path, target)) = word.split_once("=>") {
        return forge.hard_link(bytes(path), bytes(target));
    }
    if let Some((path, target)) = word.split_once("->") {
        return forge.symlink(bytes(path), bytes(target));
    }
    if let Some((path, content)) = word.split_once('=') {
        return forge.file(bytes(path), bytes(content));
    }
    match (word.strip_suffix('|'), word.ends_with('/')) {
        (Some(path), _) => forge.raw(b'6', bytes(path), b"", |_| {}),
        (None, true) => forge.dir(bytes(word)),
        (None, false) => forge.file(bytes(word), ""),
    }
}

/// What a part of a word stands for.
fn bytes(word: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let mut next = rest.len().min(first.len_utf8());
        match first {
            '%' => {
                next = 3;
                bytes.push(u8::from_str_radix(&rest[1..3], 16).unwrap());
            }
            '{' => {
                next = rest.find('}').unwrap() + 1;
                let (text, count) = rest[1..next - 1].split_once('*').unwrap();
                bytes.extend(self::bytes(text).repeat(count.parse().unwrap()));
            }
            _ => bytes.extend(&rest.as_bytes()[..next]),
        }
        rest = &rest[next..];
    }
    bytes
}

/// A tree with its repetitions written out.
fn text(tree: &str) -> String {
    String::from_utf8(bytes(tree)).unwrap()
}

/// What came of some layers.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tree: String,
    flattened: Flattened,
}

impl Outcome {
    /// Every loss and warning.
    fn remarks(&self) -> Vec<String> {
        let lines = |kind: &str, list: &Bounded<Remark>| {
            list.items().iter().map(|remark| format!("{kind} {remark}")).collect::<Vec<_>>()
        };
        let Flattened { losses, warnings, .. } = &self.flattened;
        [lines("loss", losses), lines("warning", warnings)].concat()
    }
}

fn flatten_all(layers: Vec<Forge>, epoch: i64) -> Result<Outcome> {
    flatten_and(layers, epoch, |_| Ok(()))
}

/// Flattens layers, does something more and finishes the image.
pub(crate) fn flatten_and(
    layers: Vec<Forge>,
    epoch: i64,
    more: impl FnOnce(&mut Flattener<'_, Builder<MemorySink>>) -> Result<()>,
) -> Result<Outcome> {
    let epoch = Timestamp::from_seconds(epoch);
    let options = FlattenOptions { epoch, ..FlattenOptions::default() };
    flatten_with(layers, options, more)
}

fn flatten_with(
    layers: Vec<Forge>,
    options: FlattenOptions,
    more: impl FnOnce(&mut Flattener<'_, Builder<MemorySink>>) -> Result<()>,
) -> Result<Outcome> {
    let mut builder = Builder::create(MemorySink::new(), fit()).unwrap();
    let limits = options.limits.clone();
    let mut flattener = Flattener::new(&mut builder, options)?;
    for (index, layer) in layers.into_iter().enumerate() {
        flattener.apply_layer(open(index, layer.finish(), &limits)?)?;
    }
    more(&mut flattener)?;
    let counted = flattener.finish()?;
    let words = Dump::new(&builder).words();
    let (_, sink) = builder.finish().unwrap();
    let image = ext4_view::Ext4::load(Box::new(sink.into_bytes())).unwrap();
    let words = words.into_iter().map(|word| word.with_content(&image));
    Ok(Outcome { tree: words.collect::<Vec<_>>().join(" "), flattened: counted })
}

fn fit() -> Options {
    Options::new(Size::Fit { free_bytes: 0, free_inodes: 0 })
}

/// Opens an archive as the layer of this index, with the diff ID that it has.
fn open(index: usize, bytes: Vec<u8>, limits: &Limits) -> Result<LayerStream> {
    let diff_id = Some(crate::digest::Digest::sha256_of(&bytes));
    let name = format!("layer {}", index + 1);
    let reader = io::Cursor::new(bytes);
    LayerStream::open(LayerBlob { name, reader, verified: None, diff_id }, limits)
}

fn layers(words: &[&str]) -> Vec<Forge> {
    words.iter().map(|words| layer(words)).collect()
}

fn outcome(words: &[&str]) -> Outcome {
    flatten_all(layers(words), 0).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

fn failure(words: &[&str]) -> String {
    let error = flatten_all(layers(words), 0).unwrap_err();
    assert_eq!(error.exit_code(), 65, "{error}");
    error.to_string()
}

/// The tree of a builder, as words.
struct Dump<'b> {
    builder: &'b Builder<MemorySink>,
    seen: BTreeMap<NodeId, String>,
    words: Vec<Word>,
}

struct Word {
    path: Vec<u8>,
    /// What follows the path; of a regular file its content, which only the image has.
    rest: Option<String>,
    attributes: String,
}

impl Word {
    fn with_content(self, image: &ext4_view::Ext4) -> String {
        let Self { path, rest, attributes } = self;
        let rest = rest.unwrap_or_else(|| {
            let path = [b"/", &path[..]].concat();
            let content = image.read(ext4_view::Path::new(&path)).unwrap();
            format!("={}", content.escape_ascii())
        });
        format!("{}{rest}{attributes}", path.escape_ascii())
    }
}

impl<'b> Dump<'b> {
    fn new(builder: &'b Builder<MemorySink>) -> Self {
        Self { builder, seen: BTreeMap::new(), words: Vec::new() }
    }

    fn words(mut self) -> Vec<Word> {
        let root = self.builder.root();
        let attributes = self.attributes(root, 0o755);
        if !attributes.is_empty() {
            self.words.push(Word { path: Vec::new(), rest: Some("/".to_owned()), attributes });
        }
        self.below_root();
        self.words
    }

    /// Everything below the root, each directory before what is in it.
    fn below_root(&mut self) {
        let mut waiting = vec![(self.builder.root(), Vec::new())];
        while let Some((node, path)) = waiting.pop() {
            let is_own = path == b"lost+found" && self.attributes(node, 0o700).is_empty();
            if !path.is_empty() && !is_own {
                self.node(node, &path);
            }
            if self.builder.kind(node).unwrap() != FileKind::Directory {
                continue;
            }
            let slash = if path.is_empty() { &b""[..] } else { b"/" };
            let names = self.builder.names(node).unwrap();
            let below = names.map(|(name, child)| (child, [&path, slash, name].concat()));
            let below: Vec<_> = below.collect();
            waiting.extend(below.into_iter().rev());
        }
    }

    fn node(&mut self, node: NodeId, path: &[u8]) {
        let mut word = Word { path: path.to_vec(), rest: None, attributes: String::new() };
        if let Some(first) = self.seen.get(&node) {
            word.rest = Some(format!("=={first}"));
            self.words.push(word);
            return;
        }
        self.seen.insert(node, path.escape_ascii().to_string());
        word.rest = match self.builder.kind(node).unwrap() {
            FileKind::Regular => None,
            FileKind::Directory => Some("/".to_owned()),
            FileKind::Symlink => {
                let target = self.builder.symlink_target(node).unwrap();
                Some(format!("->{}", target.escape_ascii()))
            }
            _ => Some(match self.builder.special(node).unwrap() {
                Special::CharacterDevice { major, minor } => format!(":c:{major}:{minor}"),
                Special::BlockDevice { major, minor } => format!(":b:{major}:{minor}"),
                Special::Fifo => "|".to_owned(),
                Special::Socket => ":socket".to_owned(),
            }),
        };
        let is_directory = word.rest.as_deref() == Some("/");
        word.attributes = self.attributes(node, if is_directory { 0o755 } else { 0o644 });
        self.words.push(word);
    }

    fn attributes(&self, node: NodeId, usual_mode: u16) -> String {
        let metadata = self.builder.metadata(node).unwrap();
        let mut parts = Vec::new();
        if metadata.mode != usual_mode {
            parts.push(format!("{:o}", metadata.mode));
        }
        if (metadata.uid, metadata.gid) != (0, 0) {
            parts.push(format!("{}:{}", metadata.uid, metadata.gid));
        }
        let Timestamp { seconds, nanoseconds } = metadata.modified;
        match (seconds, nanoseconds) {
            (0, 0) => {}
            (seconds, 0) => parts.push(format!("@{seconds}")),
            (seconds, nanoseconds) => parts.push(format!("@{seconds}+{nanoseconds}ns")),
        }
        for (name, value) in self.builder.xattrs(node) {
            parts.push(format!("{}={}", name.escape_ascii(), value.escape_ascii()));
        }
        if parts.is_empty() { String::new() } else { format!("[{}]", parts.join(",")) }
    }
}

#[test]
fn numbers_of_everything_are_counted() {
    let got = outcome(&["a/ a/b=12 l->a h=>a/b c:1:3:n p| q/r=345", ".wh.l a/.wh..wh..opq"]);
    let counts = Counts {
        layers: 2,
        entries: 9,
        layer_bytes: got.flattened.counts.layer_bytes,
        files: 2,
        file_bytes: 5,
        directories: 1,
        implied_directories: 1,
        symlinks: 1,
        hard_links: 1,
        special_files: 2,
        whiteouts: 1,
        opaque_whiteouts: 1,
        removed_names: 2,
        overlay_xattrs: 0,
    };
    assert_eq!(got.flattened.counts, counts);
    assert_eq!(counts.layer_bytes, 11 * 512 + 4 * 512);
}

/// `docs/layer-rules.md` says what every case gives: a test of the number proves it, and a number in a
/// test's name can be looked up there.
#[test]
fn every_rule_has_a_test_and_every_number_a_rule() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(root.join("docs/layer-rules.md")).unwrap();
    let rows = document.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    let rules = rows.map(str::to_lowercase).filter(|row| is_rule(row)).collect::<BTreeSet<_>>();
    let mut tested = BTreeSet::new();
    let mut waiting = vec![root.join("src"), root.join("tests/program")];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            let names = source.lines().filter_map(test_name);
            let numbers = names.flat_map(|name| name.split('_').take_while(|part| is_rule(part)));
            tested.extend(numbers.map(ToOwned::to_owned));
        }
    }
    assert_eq!(rules, tested);
}

/// The name in a line that begins a test or a row of the tests' tables: a sentence.
fn test_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let name = line.strip_prefix("fn ").unwrap_or(line);
    let (name, _) = name.split_once(['(', ':'])?;
    name.contains('_').then_some(name)
}

/// Whether this is a letter and two digits.
fn is_rule(word: &str) -> bool {
    matches!(word.as_bytes(), [letter, tens, ones]
        if letter.is_ascii_lowercase() && tens.is_ascii_digit() && ones.is_ascii_digit())
}
