//! The rows of the flattening rules, by their identifiers.
//!
//! Layers and trees are written as words: `d/` a directory, `f=text` a file, `l->t` a symbolic
//! link, `h=>f` a hard link, `p|` a pipe, `c:1:3:n` a device. In a layer `mode:700`, `owner:1:2`
//! and `mtime:9` hold for the entries that follow and `x:user.a=b` for the next one. In a tree
//! `h==f` is another name of a file above, and unusual attributes follow in brackets.

use std::collections::BTreeMap;

use ext4_writer::{MemorySink, Options, Size};

use super::*;
use crate::layer::forge::Forge;
use crate::layer::{LayerBlob, Limits};

/// Makes a layer.
pub(crate) fn layer(words: &str) -> Forge {
    let mut forge = Forge::new();
    for word in words.split_whitespace() {
        forge = add(forge, word);
    }
    forge
}

fn add(forge: Forge, word: &str) -> Forge {
    if let Some(mode) = word.strip_prefix("mode:") {
        return forge.mode(u32::from_str_radix(mode, 8).unwrap());
    }
    if let Some(mtime) = word.strip_prefix("mtime:") {
        return forge.mtime(mtime.parse().unwrap());
    }
    if let Some((uid, gid)) = word.strip_prefix("owner:").and_then(|ids| ids.split_once(':')) {
        return forge.owner(uid.parse().unwrap(), gid.parse().unwrap());
    }
    if let Some((name, value)) = word.strip_prefix("x:").and_then(|xattr| xattr.split_once('=')) {
        return forge.pax(&[(&format!("SCHILY.xattr.{name}"), value.as_bytes())]);
    }
    if let Some(device) = word.strip_prefix("c:").or_else(|| word.strip_prefix("b:")) {
        let [major, minor, path] = device.splitn(3, ':').collect::<Vec<_>>().try_into().unwrap();
        let flag = if word.starts_with('c') { b'3' } else { b'4' };
        return forge.device(flag, path, major.parse().unwrap(), minor.parse().unwrap());
    }
    if let Some((path, target)) = word.split_once("=>") {
        return forge.hard_link(path, target);
    }
    if let Some((path, target)) = word.split_once("->") {
        return forge.symlink(path, target);
    }
    if let Some((path, content)) = word.split_once('=') {
        return forge.file(path, content);
    }
    match (word.strip_suffix('|'), word.ends_with('/')) {
        (Some(path), _) => forge.raw(b'6', path, b"", |_| {}),
        (None, true) => forge.dir(word),
        (None, false) => forge.file(word, ""),
    }
}

/// What came of some layers.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tree: String,
    flattened: Flattened,
}

fn flatten_all(layers: Vec<Forge>, epoch: i64) -> Result<Outcome> {
    flatten_and(layers, epoch, |_| Ok(()))
}

/// Flattens layers, does something more and finishes the image.
pub(crate) fn flatten_and(
    layers: Vec<Forge>,
    epoch: i64,
    more: impl FnOnce(&mut Flattener<'_, MemorySink>) -> Result<()>,
) -> Result<Outcome> {
    let size = Size::Fit { free_bytes: 0, free_inodes: 0 };
    let mut builder = Builder::create(MemorySink::new(), Options::new(size)).unwrap();
    let epoch = Timestamp::from_seconds(epoch);
    let limits = Limits::default();
    let options = FlattenOptions { epoch, limits: limits.clone(), ..FlattenOptions::default() };
    let mut flattener = Flattener::new(&mut builder, options)?;
    for (index, layer) in layers.into_iter().enumerate() {
        let name = format!("layer {}", index + 1);
        let bytes = layer.finish();
        let diff_id = Some(crate::digest::Digest::sha256_of(&bytes));
        let reader = io::Cursor::new(bytes);
        let blob = LayerBlob { name, reader, verified: None, diff_id };
        flattener.apply_layer(LayerStream::open(blob, &limits)?)?;
    }
    more(&mut flattener)?;
    let counted = flattener.finish()?;
    let words = Dump::new(&builder).words();
    let (_, sink) = builder.finish().unwrap();
    let image = ext4_view::Ext4::load(Box::new(sink.into_bytes())).unwrap();
    let words = words.into_iter().map(|word| word.with_content(&image));
    Ok(Outcome { tree: words.collect::<Vec<_>>().join(" "), flattened: counted })
}

fn outcome(layers: &[&str]) -> Outcome {
    flatten_all(layers.iter().map(|words| layer(words)).collect(), 0).unwrap()
}

fn tree(layers: &[&str]) -> String {
    outcome(layers).tree
}

fn failure(layers: &[&str]) -> String {
    let error = flatten_all(layers.iter().map(|words| layer(words)).collect(), 0).unwrap_err();
    assert_eq!(error.exit_code(), 65, "{error}");
    error.to_string()
}

fn losses(outcome: &Outcome) -> Vec<String> {
    outcome.flattened.losses.items().iter().map(ToString::to_string).collect()
}

/// The tree of a builder, as words.
struct Dump<'b> {
    builder: &'b Builder<MemorySink>,
    seen: BTreeMap<NodeId, String>,
    words: Vec<Word>,
}

struct Word {
    path: String,
    /// What follows the path; of a regular file its content, which only the image has.
    rest: Option<String>,
    attributes: String,
}

impl Word {
    fn with_content(self, image: &ext4_view::Ext4) -> String {
        let Self { path, rest, attributes } = self;
        let rest = rest.unwrap_or_else(|| {
            let content = image.read(format!("/{path}").as_str()).unwrap();
            format!("={}", content.escape_ascii())
        });
        format!("{path}{rest}{attributes}")
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
            self.words.push(Word { path: String::new(), rest: Some("/".to_owned()), attributes });
        }
        self.directory(root, "");
        self.words
    }

    fn directory(&mut self, directory: NodeId, path: &str) {
        let names = self.builder.names(directory).unwrap();
        for (name, node) in names {
            let path = format!("{path}{}", name.escape_ascii());
            let is_own = path == "lost+found" && self.attributes(node, 0o700).is_empty();
            if !is_own {
                self.node(node, &path);
            }
            if self.builder.kind(node).unwrap() == FileKind::Directory {
                self.directory(node, &format!("{path}/"));
            }
        }
    }

    fn node(&mut self, node: NodeId, path: &str) {
        let mut word = Word { path: path.to_owned(), rest: None, attributes: String::new() };
        if let Some(first) = self.seen.insert(node, path.to_owned()) {
            word.rest = Some(format!("=={first}"));
            self.seen.insert(node, first);
            self.words.push(word);
            return;
        }
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

/// Rows whose outcome is a tree: identifier, layers, tree.
const TREES: &[(&str, &[&str], &str)] = &[
    ("W01", &["f=1 g=2", ".wh.f"], "g=2"),
    ("W02", &["d/ d/a=1 d/e/ d/e/b=2 x=3", ".wh.d"], "x=3"),
    ("W03", &["mode:700 d/ d/old=1", ".wh.d d/ d/new=2"], "d/ d/new=2"),
    ("W04", &["mode:700 d/ d/old=1", "d/ d/new=2 .wh.d"], "d/ d/new=2"),
    ("W05", &["f=1", "f=2 .wh.f"], "f=2"),
    ("W05 reversed", &["f=1", ".wh.f f=2"], "f=2"),
    ("W05 without a lower one", &["f=2 .wh.f"], "f=2"),
    ("W06", &["f=1", ".wh.x"], "f=1"),
    ("W07", &["f=1", "a/b/.wh.x f/.wh.x"], "f=1"),
    ("W08", &["t=1 l->t", ".wh.l"], "t=1"),
    ("W09", &["etc/ etc/x=1 localetc->etc", "localetc/.wh.x"], "etc/ localetc->etc"),
    ("W10", &[".wh.etc/file=1"], ".wh.etc/ .wh.etc/file=1"),
    ("W14", &["etc/ etc/x=1 b=2", "dne/../.wh.etc"], "b=2"),
    ("W15 symbolic link", &["f=1 g=2", ".wh.f->g"], "g=2"),
    ("W15 hard link", &["f=1 g=2", ".wh.f=>g"], "g=2"),
    ("W15 directory", &["f=1 g=2", ".wh.f/"], "g=2"),
    ("W15 device", &["f=1 g=2", "c:0:0:.wh.f"], "g=2"),
    ("W15 opaque link", &["d/ d/f=1 g=2", "d/.wh..wh..opq=>g"], "d/ g=2"),
    ("W16", &["f=1", ".wh.f=whatever g=2"], "g=2"),
    ("W17", &["a=1 b=>a c=>a", ".wh.a"], "b=1 c==b"),
    ("W18", &["mode:600 f=1", ".wh.f", "f=2"], "f=2"),
    ("W19", &["mtime:5 mode:700 d/ d/x=1", "mtime:9 d/.wh.x"], "d/[700,@5]"),
    ("W20", &["f=1", ".wh.f .wh.f"], ""),
    (
        "only the name below a touched directory",
        &["d/ d/a/ d/a/x=1 d/b=2", "d/a/y=3 .wh.d"],
        "d/ d/a/ d/a/y=3",
    ),
    ("O01", &["d/ d/old=1 d/e/ d/e/f=2", "d/.wh..wh..opq d/new=3"], "d/ d/new=3"),
    ("O02", &["d/ d/old=1 d/e/ d/e/f=2", "d/new=3 d/.wh..wh..opq"], "d/ d/new=3"),
    ("O02 same names", &["d/ d/f=1", "d/f=2 d/.wh..wh..opq"], "d/ d/f=2"),
    ("O03 empty", &["d/", "d/.wh..wh..opq"], "d/"),
    ("O03 absent", &["x=1", "d/.wh..wh..opq"], "x=1"),
    (
        "O04",
        &[
            "mode:700 some/ some/dir/ some/dir/old=1 another/ another/b=2",
            "some/dir/f=3 .wh..wh..opq",
        ],
        "some/[700] some/dir/[700] some/dir/f=3",
    ),
    (
        "O04 reversed",
        &[
            "mode:700 some/ some/dir/ some/dir/old=1 another/ another/b=2",
            ".wh..wh..opq some/dir/f=3",
        ],
        "some/[700] some/dir/[700] some/dir/f=3",
    ),
    ("O05", &["mode:711 ./ mode:644 a=1 b=2", "a=3 .wh..wh..opq"], "/[711] a=3"),
    ("O06", &["d/ d/e/ d/e/f=1 d/g=2", "d/e/.wh..wh..opq d/.wh..wh..opq d/.wh..wh..opq"], "d/"),
    (
        "O06 inner touched",
        &["d/ d/e/ d/e/f=1 d/g=2", "d/e/ d/e/.wh..wh..opq d/e/h=3 d/.wh..wh..opq"],
        "d/ d/e/ d/e/h=3",
    ),
    ("O07", &["d/ d/a=1 d/b=2", "d/.wh.a d/.wh..wh..opq d/.wh.b d/b=3"], "d/ d/b=3"),
    ("O08", &["d/ d/a=1 l->d", "l/.wh..wh..opq"], "d/ l->d"),
    ("O09", &["d=1", "d/.wh..wh..opq"], "d/"),
    ("O09 same layer", &["d=1", "d=2 d/.wh..wh..opq"], "d=2"),
    ("O10", &["d/ d/a=1 b=>d/a", "d/.wh..wh..opq"], "b=1 d/"),
    (
        "T01",
        &["x:user.a=1 x:user.b=2 mode:700 owner:1:2 mtime:3 d/ d/f=4", "x:user.c=5 d/"],
        "d/[user.c=5] d/f=4[700,1:2,@3]",
    ),
    ("T02 lower", &["d/ d/a=1", "d=2"], "d=2"),
    ("T02 same layer", &["d/ d/a=1 d=2"], "d=2"),
    ("T03", &["d=1", "d/"], "d/"),
    ("T03 same layer", &["d=1 d/"], "d/"),
    ("T03 below a file", &["d=1", "d/f=2"], "d/ d/f=2"),
    ("T03 below a file of this layer", &["d=1 d/f=2"], "d/ d/f=2"),
    ("T04", &["d/ d/a=1 e/", "d->e"], "d->e e/"),
    ("T05", &["t/ t/a=1 d->t", "d/ d/b=2"], "d/ d/b=2 t/ t/a=1"),
    ("T06", &["t/ d->t other=>d", "d/"], "d/ other->t t/"),
    ("T07", &["t=1 f->t", "f=2"], "f=2 t=1"),
    ("T08", &["f=1 f=longer", "g=longer g=1"], "f=longer g=1"),
    ("T09", &["a=1 b=>a", "b=2"], "a=1 b=2"),
    ("T10", &["c:1:3:a b=2 p|", "a=1 b| b:8:0:p"], "a=1 b| p:b:8:0"),
    ("T12", &["l/->etc/"], "l->etc/"),
    ("P01", &["./a=1 /b=2 c//d=3 e/./f=4"], "a=1 b=2 c/ c/d=3 e/ e/f=4"),
    ("P02", &["x:user.a=1 mode:711 owner:3:4 mtime:5 ./"], "/[711,3:4,@5,user.a=1]"),
    ("P02 replaced", &["x:user.a=1 mode:711 ./", "mode:750 /"], "/[750]"),
    ("P05", &["..foo=1 foo..=2 ...=3"], "...=3 ..foo=1 foo..=2"),
    ("P06 lower", &["mode:700 owner:1:2 mtime:3 a/", "a/b/c=1"], "a/[700,1:2,@3] a/b/ a/b/c=1"),
    ("P07", &["d/f=1 mode:700 mtime:7 d/"], "d/[700,@7] d/f=1"),
    ("P08 absolute", &["tmp/ link->/tmp link/escape=1"], "link->/tmp tmp/ tmp/escape=1"),
    (
        "P08 up and out",
        &["a/ a/link->../../../tmp a/link/x=1"],
        "a/ a/link->../../../tmp tmp/ tmp/x=1",
    ),
    (
        "P08 two hops",
        &["one->two two->three/four one/x=1"],
        "one->two three/ three/four/ three/four/x=1 two->three/four",
    ),
    ("P08 never the last part", &["t=1 l->t", "mode:600 l->u"], "l->u[600] t=1"),
    (
        "P09",
        &["usr/ usr/lib/ lib->usr/lib", "lib/foo=1"],
        "lib->usr/lib usr/ usr/lib/ usr/lib/foo=1",
    ),
    (
        "P10",
        &["run->dangling/deep", "run/x=1"],
        "dangling/ dangling/deep/ dangling/deep/x=1 \
        run->dangling/deep",
    ),
    ("P10 onto a file", &["l->f f=1", "l/x=2"], "f/ f/x=2 l->f"),
    ("P12", &["usr/ usr/etc/ etc->usr/etc etc/../b=1"], "b=1 etc->usr/etc usr/ usr/etc/"),
    ("P17", &["a=1 A=2"], "A=2 a=1"),
    ("P18", &["mode:750 lost+found/ lost+found/x=1"], "lost+found/[750] lost+found/x=1[750]"),
    ("P18 hidden", &["lost+found/x=1", ".wh..wh..opq", "a=1", ".wh.lost+found"], "a=1"),
    ("H01", &["a=1 mode:600 owner:7:8 b=>a"], "a=1[600,7:8] b==a"),
    ("H02", &["a=>b b=1"], "a=1 b==a"),
    ("H02 chain", &["a=>b b=>c c=>d d=1"], "a=1 b==a c==a d==a"),
    ("H02 overwritten", &["a=>b a=2 b=1"], "a=2 b=1"),
    ("H02 overwritten twice", &["a=>b a=>c b=1 c=2"], "a=2 b=1 c==a"),
    ("H02 overwritten directory", &["d/ d/a=>b d=2 b=1"], "b=1 d=2"),
    ("H02 now a directory", &["a=>b a/c=2 b=1"], "a/ a/c=2 b=1"),
    ("H02 hides the lower one", &["a=1", "a=>b b=2"], "a=2 b==a"),
    (
        "H02 below an opaque directory",
        &["d/ d/x=1", "d/a=>b d/.wh..wh..opq .wh.d b=2"],
        "b=2 d/ d/a==b",
    ),
    ("H03", &["a=1", "b=>a"], "a=1 b==a"),
    (
        "H04",
        &["usr/ usr/lib/ usr/lib/a=1 lib->/usr/lib", "b=>lib/a"],
        "b=1 lib->/usr/lib usr/ usr/lib/ usr/lib/a==b",
    ),
    ("H05", &["t=1 l->t m=>l"], "l->t m==l t=1"),
    ("H06", &["d/ d/a=1 b=>/d/a"], "b=1 d/ d/a==b"),
    ("H09 whiteout before", &["a=1", ".wh.a b=>a"], "b=1"),
    ("H09 whiteout after", &["a=1", "b=>a .wh.a"], "b=1"),
    ("H09 in a removed directory", &["d/ d/e/ d/e/a=1", ".wh.d b=>d/e/a d/x=2"], "b=1 d/ d/x=2"),
    (
        "H09 in a removed and made directory",
        &["d/ d/e/ d/e/a=1", ".wh.d d/e/x=2 b=>d/e/a"],
        "b=1 d/ d/e/ d/e/x=2",
    ),
    ("H09 in an opaque directory", &["d/ d/a=1", "d/.wh..wh..opq b=>d/a"], "b=1 d/"),
    ("H09 through a removed link", &["d/ d/a=1 l->d", ".wh.l b=>l/a"], "b=1 d/ d/a==b"),
    ("H09 the new one wins", &["a=1", ".wh.a a=2 b=>a"], "a=2 b==a"),
    ("H11", &["a=1 d/ d/x=2", "d=>a"], "a=1 d==a"),
    ("H12", &["a=1 a=>a", "mode:600 a=>a .wh.a"], "a=1[600]"),
    ("H13", &["a=1 d/e/b=>a"], "a=1 d/ d/e/ d/e/b==a"),
    ("H16", &["a=1", "b=>a", "a=2"], "a=2 b=1"),
    ("W17 every name", &["a=1 b=>a d/c=>a", ".wh.a .wh.b .wh.d"], ""),
    (
        "M01",
        &["mode:4755 owner:5:6 a=1 mode:2755 d/ mode:1777 t/"],
        "a=1[4755,5:6] d/[2755,5:6] t/[1777,5:6]",
    ),
    ("M02", &["mode:0 f=data mode:500 d/ mode:0 d/g=more"], "d/[500] d/g=more[0] f=data[0]"),
    ("M04", &["x:user.a=1 f= x:user.b=2 d/"], "d/[user.b=2] f=[user.a=1]"),
    ("M06", &["x:security.selinux=label_t f="], "f=[security.selinux=label_t]"),
    ("M06 trusted", &["x:trusted.a=1 f= x:trusted.b=2 l->f"], "f=[trusted.a=1] l->f[trusted.b=2]"),
    ("M11", &["c:4095:1048575:a b:259:300:b p|"], "a:c:4095:1048575 b:b:259:300 p|"),
    ("M12", &["a=1", "c:0:0:a"], "a:c:0:0"),
    ("M13", &["owner:65534:4294967294 a=1"], "a=1[65534:4294967294]"),
    ("M14", &["mtime:7 d/ mtime:0 d/a=1"], "d/[@7] d/a=1"),
    ("C09", &["a=1 d/ .wh.x d/b=>a", "a=1 d/ .wh.x d/b=>a"], "a=1 d/ d/b==a"),
];

#[test]
fn rows_that_end_in_a_tree() {
    for (id, layers, expected) in TREES {
        assert_eq!(tree(layers), *expected, "{id}: {layers:?}");
    }
}

/// Rows whose outcome is an error: identifier, layers, a part of the message.
const FAILURES: &[(&str, &[&str], &str)] = &[
    ("W11", &[".wh."], "no name that it could hide"),
    ("W12", &[".wh.."], "no name that it could hide"),
    ("W12 nested", &["d/.wh..."], "no name that it could hide"),
    ("P03", &[".=x"], "the root must be a directory, not a file"),
    ("P03 link", &["./->x"], "the root must be a directory, not a symbolic link"),
    ("P04", &["../x=1"], "leads out of the root"),
    ("P04 inner", &["a/../../x=1"], "leads out of the root"),
    ("P04 whiteout", &["../.wh.x"], "leads out of the root"),
    ("P11", &["a->b b->a a/x=1"], "more than 40 symbolic links"),
    ("P18", &["lost+found=1"], "belongs to the filesystem"),
    ("H07", &["a=1 b=>../../a"], "its target \"../../a\": it leads out of the root"),
    ("H08", &["d/b=>some/a"], "\"d/b\" of layer 1: its target \"some/a\" is missing"),
    ("H08 chain", &["a=>b b=>c"], "its target \"c\" is missing"),
    ("H08 circle", &["a=>b b=>a"], "is missing"),
    ("H08 itself", &["a=>a"], "its target \"a\" is missing"),
    ("H08 in the layer before", &["a=1", ".wh.a", "b=>a"], "\"b\" of layer 3"),
    ("H10", &["d/ a=>d"], "is a directory"),
    ("H10 root", &["a=>/"], "one name only"),
    ("H11", &["d/ d/e/ d/e/a=1 d=>d/e/a"], "is below it"),
    ("M11", &["c:4096:0:a"], "4096:0"),
];

#[test]
fn rows_that_end_in_an_error() {
    for (id, layers, expected) in FAILURES {
        let message = failure(layers);
        assert!(message.contains(expected), "{id}: {layers:?}: {message}");
    }
}

fn pax(records: &[(&str, &[u8])], rest: &str) -> String {
    let layer = add(Forge::new().pax(records), rest);
    flatten_all(vec![layer], 0).unwrap().tree
}

#[test]
fn p06_missing_parents_are_roots_and_of_the_epoch() {
    let made = flatten_all(vec![layer("mode:600 owner:1:2 mtime:9 a/b/c=1")], 1234).unwrap();
    assert_eq!(made.tree, "a/[@1234] a/b/[@1234] a/b/c=1[600,1:2,@9]");
    let counts = made.flattened.counts;
    assert_eq!((counts.implied_directories, counts.directories, counts.files), (2, 0, 1));
}

#[test]
fn p09_links_of_lower_layers_are_reported_once_for_a_layer() {
    let lower = "usr/ usr/lib/ lib->usr/lib new->usr";
    let got = outcome(&[lower, "lib/a=1 lib/b=2 x/c=3 lib/d=4 own->usr own/e=5", "lib/f=6"]);
    let followed = got.flattened.followed;
    let lines = followed.items().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(lines, ["/lib: by entries of layer 2", "/lib: by entries of layer 3"]);
}

#[test]
fn p15_names_are_bytes() {
    let names: [&[u8]; 5] = [b"\xff\xfe", b"new\nline", b" lead", b"back\\slash", b"a:b"];
    let layer = names.iter().fold(Forge::new(), Forge::dir);
    let expected = "\\x20lead/ a:b/ back\\\\slash/ new\\nline/ \\xff\\xfe/";
    let tree = flatten_all(vec![layer], 0).unwrap().tree;
    assert_eq!(tree, expected.replace("\\x20", " "));
}

#[test]
fn f05_f08_f09_what_pax_says_reaches_the_tree() {
    let records: [(&str, &[u8]); 4] =
        [("path", b"long/name"), ("uid", b"4000000000"), ("gid", b"9"), ("mtime", b"1.25")];
    let expected = "long/ long/name=body[4000000000:9,@1+250000000ns]";
    assert_eq!(pax(&records, "short=body"), expected);
    assert_eq!(pax(&[("mtime", b"-1.25")], "d/"), "d/[@-2+750000000ns]");
}

#[test]
fn f13_sparse_files_keep_their_contents() {
    let records: [(&str, &[u8]); 2] = [("GNU.sparse.size", b"10"), ("GNU.sparse.map", b"1,2,6,3")];
    let got = pax(&records, "f=abcde");
    assert_eq!(got, r"f=\x00ab\x00\x00\x00cde\x00");
}

#[test]
fn f15_sockets_are_left_out_and_reported() {
    let got = flatten_all(vec![Forge::new().raw(b's', "run/s", b"", |_| {})], 0).unwrap();
    assert_eq!(got.tree, "");
    assert_eq!(losses(&got), ["run/s: a socket means nothing without the process that bound it"]);
}

#[test]
fn m03_a_capability_is_kept_to_the_byte() {
    let capability = b"\x01\0\0\x02\n\x20\0\0\0\n=x\0\0\0\0\0\0\0\0";
    let records: [(&str, &[u8]); 1] = [("SCHILY.xattr.security.capability", capability)];
    let expected = format!("ping=[security.capability={}]", capability.escape_ascii());
    assert_eq!(pax(&records, "ping="), expected);
}

#[test]
fn m04_m07_m08_what_cannot_stay_is_dropped_and_reported() {
    let got = outcome(&["x:user.a=1 l->t x:user.b=2 p| x:trusted.overlay.opaque=y d/ \
        x:user.overlay.origin=z d/e= x:system.nfs4_acl=n f= x:com.apple.x=y g= \
        x:system.posix_acl_default=q h="]);
    assert_eq!(got.tree, "d/ d/e= f= g= h= l->t p|");
    assert_eq!(
        losses(&got),
        [
            "l: attribute \"user.a\" cannot stand on what is neither file nor directory",
            "p: attribute \"user.b\" cannot stand on what is neither file nor directory",
            "d/: attribute \"trusted.overlay.opaque\" is an overlay's own",
            "d/e: attribute \"user.overlay.origin\" is an overlay's own",
            "f: attribute \"system.nfs4_acl\" has no place in ext4",
            "g: attribute \"com.apple.x\" has no place in ext4",
            "h: attribute \"system.posix_acl_default\" can only stand on a directory",
        ]
    );
    assert_eq!(got.flattened.counts.overlay_xattrs, 2);
}

/// An ACL in the form of `getxattr`: the owner, the user 1000, the group, the mask and others.
fn acl() -> Vec<u8> {
    let none = u32::MAX;
    let entries = [(1_u16, 6_u16, none), (2, 4, 1000), (4, 4, none), (16, 4, none), (32, 0, none)];
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

#[test]
fn m05_acls_are_taken_and_broken_ones_refused() {
    let shown = acl().escape_ascii().to_string();
    let records: [(&str, &[u8]); 2] = [
        ("SCHILY.xattr.system.posix_acl_access", &acl()),
        ("SCHILY.xattr.system.posix_acl_default", &acl()),
    ];
    let expected = format!("d/[system.posix_acl_access={shown},system.posix_acl_default={shown}]");
    assert_eq!(pax(&records, "d/"), expected);
    let message = failure(&["x:system.posix_acl_access=junk f="]);
    assert!(message.contains("not a POSIX ACL"), "{message}");
}

#[test]
fn m10_attributes_too_large_for_ext4_are_refused_by_name() {
    let value = vec![b'v'; 5000];
    let layer = Forge::new().pax(&[("SCHILY.xattr.user.big", &value)]).file("d/f", "");
    let error = flatten_all(vec![layer], 0).unwrap_err();
    assert_eq!(error.exit_code(), 65);
    assert!(error.to_string().contains("\"d/f\" of layer 1"), "{error}");
}

#[test]
fn attributes_of_an_archive_that_nothing_can_hold_are_reported() {
    let layer = Forge::new().pax(&[("SCHILY.acl.access", b"user::rw-")]).file("f", "");
    let got = flatten_all(vec![layer], 0).unwrap();
    let expected = "f: attribute \"SCHILY.acl.access\" of the archive cannot be represented";
    assert_eq!(losses(&got), [expected]);
}

#[test]
fn w13_w22_bookkeeping_of_aufs_is_left_out_and_reported() {
    let got = outcome(&[".wh..wh.aufs= .wh..wh.plnk/1.2=x .wh..wh.foo= f=1"]);
    assert_eq!(got.tree, "f=1");
    assert_eq!(got.flattened.losses.total(), 3);
}

#[test]
fn m05_implied_directories_take_over_what_a_whiteout_hid() {
    let made = tree(&["x:user.a=1 mode:2700 owner:5:6 mtime:7 d/ d/x=1", ".wh.d d/y=2"]);
    assert_eq!(made, "d/[2700,5:6,@7,user.a=1] d/y=2");
}

#[test]
fn h01_attributes_that_a_link_leaves_out_stay() {
    assert_eq!(tree(&["x:user.a=1 a=1 mode:600 b=>a"]), "a=1[600,user.a=1] b==a");
    // A link to a symbolic link does not change its mode.
    assert_eq!(tree(&["l->t mode:600 owner:1:2 m=>l"]), "l->t[1:2] m==l");
}

#[test]
fn h15_too_many_links_are_refused_by_name() {
    let layer =
        (0..65_000).fold(layer("f=1"), |forge, index| forge.hard_link(index.to_string(), "f"));
    let error = flatten_all(vec![layer], 0).unwrap_err();
    assert_eq!(error.exit_code(), 65);
    assert!(error.to_string().contains("\"64999\""), "{error}");
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

/// Applies layers under limits.
fn limited(words: &str, limits: &Limits) -> Error {
    let size = Size::Fit { free_bytes: 0, free_inodes: 0 };
    let mut builder = Builder::create(MemorySink::new(), Options::new(size)).unwrap();
    let options = FlattenOptions { limits: limits.clone(), ..FlattenOptions::default() };
    let mut flattener = Flattener::new(&mut builder, options).unwrap();
    let mut apply = || {
        for name in ["layer 1", "layer 2"] {
            let reader = io::Cursor::new(layer(words).finish());
            let name = name.to_owned();
            let blob = LayerBlob { name, reader, verified: None, diff_id: None };
            flattener.apply_layer(LayerStream::open(blob, limits)?)?;
        }
        Ok(())
    };
    let error: Result<()> = apply();
    error.unwrap_err()
}

#[test]
fn an_images_entries_bytes_and_metadata_are_bounded_over_all_layers() {
    let limits = Limits { entries: 5, ..Limits::default() };
    assert!(limited("a=1 b=2 c=3", &limits).to_string().contains("more than 5 entries"));
    let limits = Limits { image: 4000, ..Limits::default() };
    assert!(limited("a=1 b=2", &limits).to_string().contains("layer 2 is too large"));
    let limits = Limits { metadata: 15, ..Limits::default() };
    let error = limited("a/name=1 l->to", &limits).to_string();
    assert!(error.contains("layer 2: names, targets and attributes have more than 15"), "{error}");
}

#[test]
fn c01_c02_compressed_layers_are_applied_and_verified() {
    use std::io::Write as _;
    let bytes = layer("a=1 d/ d/b=2").finish();
    let (first, second) = bytes.split_at(700);
    let mut blob = Vec::new();
    for part in [first, b"", second] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(part).unwrap();
        blob.extend(encoder.finish().unwrap());
    }
    for (blob, diff_id, right) in [
        (blob.clone(), crate::digest::Digest::sha256_of(&bytes), true),
        (zstd::encode_all(&bytes[..], 1).unwrap(), crate::digest::Digest::sha256_of(&bytes), true),
        (blob, crate::digest::Digest::sha256_of(b"another"), false),
    ] {
        let options = Options::new(Size::Fit { free_bytes: 0, free_inodes: 0 });
        let mut builder = Builder::create(MemorySink::new(), options).unwrap();
        let mut flattener = Flattener::new(&mut builder, FlattenOptions::default()).unwrap();
        let reader = io::Cursor::new(blob);
        let name = "layer 1".to_owned();
        let blob = LayerBlob { name, reader, verified: None, diff_id: Some(diff_id) };
        let applied = flattener
            .apply_layer(LayerStream::open(blob, &Limits::default()).unwrap())
            .map(|totals| totals.uncompressed);
        // C08: a wrong diff ID.
        let expected = if right { Ok(bytes.len().try_into().unwrap()) } else { Err(65) };
        assert_eq!(applied.map_err(|error| error.exit_code()), expected);
    }
}

#[test]
fn f18_a_cut_layer_says_where_it_was_cut() {
    let mut bytes = layer("a=1").bytes();
    bytes.truncate(512);
    let options = Options::new(Size::Fit { free_bytes: 0, free_inodes: 0 });
    let mut builder = Builder::create(MemorySink::new(), options).unwrap();
    let mut flattener = Flattener::new(&mut builder, FlattenOptions::default()).unwrap();
    let reader = io::Cursor::new(bytes);
    let blob = LayerBlob { name: "layer 1".to_owned(), reader, verified: None, diff_id: None };
    let error =
        flattener.apply_layer(LayerStream::open(blob, &Limits::default()).unwrap()).unwrap_err();
    // The archive's own error, though it came through the filesystem's.
    assert_eq!(error.exit_code(), 65);
    assert!(error.to_string().contains("ends inside its contents, 1 bytes early"), "{error}");
}

#[test]
fn o11_a_directory_is_cleared_once_in_a_layer() {
    // Clearing it for every marker would look at 400 million names, which takes a minute.
    const NAMES: usize = 20_000;
    let names = (0..NAMES).fold(layer("d/"), |forge, index| forge.dir(format!("d/{index}")));
    let upper = (0..NAMES).fold(names, |forge, _| forge.file("d/.wh..wh..opq", ""));
    let start = std::time::Instant::now();
    let got = flatten_all(vec![layer("d/ d/old=1"), upper], 0).unwrap();
    assert_eq!(got.flattened.counts.removed_names, 1);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[test]
fn o11_nested_opaque_directories_are_each_cleared() {
    const DEPTH: usize = 1000;
    let path = |depth: usize, name: &str| format!("{}{name}", "d/".repeat(depth));
    let lower =
        (1..=DEPTH).fold(Forge::new(), |forge, depth| forge.symlink(path(depth, "old"), "x"));
    let mut orders = Vec::new();
    for outwards in [false, true] {
        let mut upper = Forge::new();
        for step in 1..=DEPTH {
            let depth = if outwards { DEPTH + 1 - step } else { step };
            upper = upper.symlink(path(depth, "new"), "y").file(path(depth, ".wh..wh..opq"), "");
        }
        orders.push(flatten_all(vec![lower.clone(), upper], 0).unwrap().tree);
    }
    assert!(orders.iter().all(|tree| !tree.contains("old")));
    assert_eq!(orders[0], orders[1]);
}
