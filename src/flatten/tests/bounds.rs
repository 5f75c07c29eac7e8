//! What an image may cost: every limit by a layer that goes over it, bombs that end early, and
//! large layers that take no more than their share.

use crate::layer::forge::{bzip2, gzip_at, xz, xz_at};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ext4_writer::{CountingSink, Summary};

use super::*;

/// Flattens what `work` does, and finishes an image that goes nowhere.
fn count(
    options: FlattenOptions,
    size: Size,
    work: impl FnOnce(&mut Flattener<'_, Builder<CountingSink>>) -> Result<()>,
) -> Result<(Flattened, Summary)> {
    let mut builder = Builder::create(CountingSink::new(), Options::new(size)).unwrap();
    let mut flattener = Flattener::new(&mut builder, options)?;
    work(&mut flattener)?;
    let counted = flattener.finish()?;
    Ok((counted, builder.finish().unwrap().0))
}

const FIT: Size = Size::Fit { free_bytes: 0, free_inodes: 0 };

fn limited(layers: Vec<Vec<u8>>, limits: &Limits) -> Result<Flattened> {
    let options = FlattenOptions { limits: limits.clone(), ..FlattenOptions::default() };
    let work = |flattener: &mut Flattener<'_, Builder<CountingSink>>| {
        for (index, bytes) in layers.into_iter().enumerate() {
            let reader = io::Cursor::new(bytes);
            let name = format!("layer {}", index + 1);
            let blob = LayerBlob { name, reader, verified: None, diff_id: None };
            flattener
                .apply_layer_with(LayerStream::open(blob, limits)?, |_| Ok(Names::default()))?;
        }
        Ok(())
    };
    count(options, FIT, work).map(|(flattened, _)| flattened)
}

#[test]
fn every_limit_is_kept_and_its_error_names_it() {
    let usual = Limits::default;
    let hits: &[(&str, Limits, &[&str])] = &[
        (flag::LAYERS, Limits { layers: 1, ..usual() }, &["a=1", "b=1"]),
        (flag::BLOB, Limits { blob: 2000, ..usual() }, &["a={x*3000}"]),
        (flag::LAYER, Limits { layer: 2000, ..usual() }, &["a={x*3000}"]),
        (flag::IMAGE, Limits { image: 4000, ..usual() }, &["a=1 b=2", "a=1 b=2"]),
        (flag::IGNORED, Limits { ignored: 1000, ..usual() }, &[".wh.x={y*2000}"]),
        (flag::IGNORED, Limits { ignored: 1000, ..usual() }, &["type:s:x={y*2000}"]),
        (flag::IGNORED, Limits { ignored: 1000, ..usual() }, &["bare:{%00*2048} bare:{x*1001}"]),
        (flag::IGNORED, Limits { ignored: 1000, ..usual() }, &["long:a long:b long:c f=1"]),
        (flag::IGNORED, Limits { ignored: 1000, ..usual() }, &["global:a=b global:a=b f=1"]),
        (flag::ENTRIES, Limits { entries: 5, ..usual() }, &["a=1 b=2 c=3", "d=4 e=5 f=6"]),
        (flag::METADATA, Limits { metadata: 14, ..usual() }, &["a/name=1 l->to", "a/name=1"]),
        (flag::METADATA, Limits { metadata: 15, ..usual() }, &["x:user.a={v*9} f=1"]),
        (flag::METADATA, Limits { metadata: 15, ..usual() }, &["pax:SCHILY.acl.access=u f=1"]),
        (flag::HEADER, Limits { extension: 100, ..usual() }, &["pax:comment={c*100} f=1"]),
        (flag::HEADER, Limits { extension: 100, ..usual() }, &["long:{n*100} f=1"]),
        (
            flag::HEADER,
            Limits { extension: 100, ..usual() },
            &["global:SCHILY.xattr.user.a={v*60} global:SCHILY.xattr.user.b={v*60} f=1"],
        ),
        (flag::PATH, Limits { path: 10, ..usual() }, &["a/b/c/d/e/f=1"]),
        (flag::PATH, Limits { path: 10, ..usual() }, &["f=1 l=>../x/y/z/../../f"]),
        (flag::XATTRS, Limits { xattrs: 20, ..usual() }, &["x:user.a={v*9} x:user.b=1 f=1"]),
        (flag::SYMLINK, Limits { symlink: 5, ..usual() }, &["l->target"]),
        (flag::XATTR, Limits { xattr: 8, ..usual() }, &["x:user.a={v*9} f=1"]),
        (
            flag::SPARSE,
            Limits { sparse_segments: 1, ..usual() },
            &["pax:GNU.sparse.size=9 pax:GNU.sparse.map=1,1,3,1 f=ab"],
        ),
        (flag::SYMLINK_DEPTH, Limits { symlink_depth: 1, ..usual() }, &["a->b b->c a/x=1"]),
        (
            flag::TRAVERSALS,
            Limits { traversals: 5, ..usual() },
            &["l->a/b/c l/x=1 y=1 l/z=1 y=1 l/u=1"],
        ),
    ];
    for (flag, limits, words) in hits {
        let bytes = || layers(words).into_iter().map(Forge::finish).collect::<Vec<_>>();
        let error = limited(bytes(), limits).expect_err(flag);
        assert_eq!(error.exit_code(), 65, "{error}");
        let advice = format!("raise --limit {flag}=VALUE if you trust the image");
        assert_eq!(error.hint(), Some(advice.as_str()), "{words:?}: {error}");
        if !words.concat().contains("../x/y") {
            limited(bytes(), &usual()).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        }
    }
}

const BOMB: u64 = 10 << 30;

/// Ten gibibytes of zeros behind `start`: about ten mebibytes of gzip members.
fn bomb(start: &[u8]) -> Vec<u8> {
    const MEMBER: u64 = 16 << 20;
    let member = gzip_at(flate2::Compression::best(), &vec![0; MEMBER.try_into().unwrap()]);
    let members = (BOMB / MEMBER).try_into().unwrap();
    [gzip_at(flate2::Compression::best(), start), member.repeat(members)].concat()
}

/// Counts what is read of a blob.
struct Watched {
    reader: io::Cursor<Vec<u8>>,
    read: Arc<AtomicU64>,
}

impl Read for Watched {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(out)?;
        self.read.fetch_add(u64::try_from(count).unwrap(), Ordering::Relaxed);
        Ok(count)
    }
}

/// The failure of a disk of 64 MiB that a blob is applied to, and how much of the blob was read.
fn explode(blob: Vec<u8>) -> (Error, u64) {
    let read = Arc::new(AtomicU64::new(0));
    let reader = Watched { reader: io::Cursor::new(blob), read: read.clone() };
    let size = Size::Fixed(64 << 20);
    let got = count(FlattenOptions::default(), size, |flattener| {
        let blob = LayerBlob { name: "layer 1".to_owned(), reader, verified: None, diff_id: None };
        flattener
            .apply_layer_with(
                LayerStream::open(blob, &Limits::default())?,
                |_| Ok(Names::default()),
            )
            .map(|_| ())
    });
    (got.unwrap_err(), read.load(Ordering::Relaxed))
}

#[test]
fn c11_a_bomb_in_a_file_ends_at_the_size_of_the_disk() {
    let header = Forge::new().raw(b'0', "bomb", b"", |header| header.set_size(BOMB));
    let blob = bomb(&header.bytes());
    assert!((9 << 20..12 << 20).contains(&blob.len()), "{}", blob.len());
    let (error, read) = explode(blob);
    assert_eq!(error.exit_code(), 73, "{error}");
    assert_eq!(error.hint(), Some("raise --size"));
    // What the read-ahead holds: nothing of the file was decompressed for it.
    assert!(read < 2 << 20, "{read} bytes were read");
}

#[test]
fn c11_a_bomb_in_many_files_ends_at_the_size_of_the_disk() {
    // One name again and again: what a layer replaces is free when the layer ends.
    let file = Forge::new().file("same", vec![0; 1 << 20]).bytes();
    let blob = gzip_at(flate2::Compression::best(), &file).repeat(10_000);
    let (error, read) = explode(blob);
    assert!(read < 2 << 20, "{read} bytes were read");
    assert_eq!(error.exit_code(), 73, "{error}");
}

#[test]
fn c11_a_bomb_where_nothing_belongs_ends_at_once() {
    let size = |header: &mut tar::Header| header.set_size(BOMB);
    for start in [
        Forge::new().raw(b'0', ".wh.x", b"", size).bytes(),
        Forge::new().raw(b's', "socket", b"", size).bytes(),
        Forge::new().raw(b'0', "d/.wh..wh..opq", b"", size).bytes(),
        Forge::new().file("f", b"1").finish(),
    ] {
        let (error, read) = explode(bomb(&start));
        assert_eq!(error.exit_code(), 65, "{error}");
        assert!(error.to_string().contains("raise --limit ignored"), "{error}");
        assert!(read < 2 << 20, "{read} bytes were read");
    }
}

#[test]
fn c11_a_bomb_of_any_compression_ends_at_its_ratio() {
    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 3).unwrap()
    }
    let header = Forge::new().raw(b'0', "bomb", b"", |header| header.set_size(BOMB)).bytes();
    let limits = Limits { ratio_free: 32 << 20, ..Limits::default() };
    for pack in [zstd, xz, bzip2] {
        let part = pack(&vec![0; 32 << 20]);
        let blob = [pack(&header), part.repeat(320)].concat();
        assert!(blob.len() < 2 << 20, "{}", blob.len());
        let error = limited(vec![blob], &limits).unwrap_err();
        assert!(error.to_string().contains("decompression bomb"), "{error}");
        assert!(error.to_string().contains("raise --limit ratio"), "{error}");
    }
}

#[test]
fn c11_a_window_over_the_limit_names_its_flag() {
    use std::io::Write as _;
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(25).unwrap();
    encoder.write_all(&layer("a=1").finish()).unwrap();
    let blob = encoder.finish().unwrap();
    let limits = Limits { window_log: 24, ..Limits::default() };
    let error = limited(vec![blob.clone()], &limits).unwrap_err();
    assert!(error.to_string().contains("a window of 33554432 bytes, at most 16777216"), "{error}");
    assert!(error.to_string().contains("raise --limit window"), "{error}");
    limited(vec![blob], &Limits::default()).unwrap();
    let blob = xz_at(9, &layer("a=1").finish());
    let error = limited(vec![blob.clone()], &limits).unwrap_err();
    assert!(error.to_string().contains("a block wants more than 17039360 bytes"), "{error}");
    assert!(error.to_string().contains("raise --limit window"), "{error}");
    limited(vec![blob], &Limits::default()).unwrap();
}

#[test]
fn f13_a_sparse_file_of_nearly_sixteen_tebibytes_takes_no_blocks() {
    let size = 17_592_186_040_320_u64.to_string();
    let records = [("GNU.sparse.size", size.as_bytes()), ("GNU.sparse.map", b"0,0")];
    let bytes = Forge::new().pax(&records).file("holes", b"").finish();
    assert_eq!(limited(vec![bytes], &Limits::default()).unwrap().counts.file_bytes, 0);
}

fn entry(path: impl Into<Vec<u8>>, kind: EntryKind) -> Entry {
    let link = if kind == EntryKind::Symlink { b"t".to_vec() } else { Vec::new() };
    Entry { link, ..Entry::new(path, kind, 0o755, Timestamp::default()) }
}

fn link(path: impl Into<Vec<u8>>, kind: EntryKind, target: impl Into<Vec<u8>>) -> Entry {
    Entry { link: target.into(), ..entry(path, kind) }
}

/// Applies the entries of one layer.
fn apply<T: Target>(
    flattener: &mut Flattener<'_, T>,
    entries: impl IntoIterator<Item = Entry>,
) -> Result<()> {
    flattener.begin_layer("a layer")?;
    for entry in entries {
        flattener.apply(&entry, &mut io::empty())?;
    }
    flattener.end_layer()
}

#[test]
fn o11_a_hundred_thousand_opaque_directories_are_cleared() {
    // Directories nest, and every one is opaque: a way that looked at each tree for each marker
    // would look at fifty times as many names.
    const CHAINS: usize = 2000;
    const DEPTH: usize = 50;
    let paths = |name: &'static str| {
        (0..CHAINS).flat_map(move |chain| {
            (1..=DEPTH).map(move |depth| format!("{chain}/{}{name}", "d/".repeat(depth - 1)))
        })
    };
    let links = |name| paths(name).map(|path| entry(path, EntryKind::Symlink));
    let markers = paths(".wh..wh..opq").map(|path| entry(path, EntryKind::Regular));
    let work = |flattener: &mut Flattener<'_, Builder<CountingSink>>| {
        apply(flattener, links("old"))?;
        apply(flattener, links("new").chain(markers))
    };
    let (flattened, _) = count(FlattenOptions::default(), FIT, work).unwrap();
    assert_eq!(flattened.counts.opaque_whiteouts, 100_000);
    assert_eq!(flattened.counts.removed_names, 100_000);
}

const MILLION: u64 = 1_000_000;

fn million() -> impl Iterator<Item = Entry> {
    (0..MILLION).map(|index| entry(format!("d/{index}"), EntryKind::Regular))
}

#[test]
fn f21_a_million_entries_of_one_directory_are_written() {
    let work = |flattener: &mut Flattener<'_, Builder<CountingSink>>| apply(flattener, million());
    let (flattened, summary) = count(FlattenOptions::default(), FIT, work).unwrap();
    assert_eq!(flattened.counts.files, MILLION);
    assert!(u64::from(summary.inodes) > MILLION);
}

#[test]
fn w02_a_million_whiteouts_of_one_directory_are_applied() {
    let whiteouts = (0..MILLION).map(|index| entry(format!("d/.wh.{index}"), EntryKind::Fifo));
    let work = |flattener: &mut Flattener<'_, Builder<CountingSink>>| {
        apply(flattener, million())?;
        apply(flattener, whiteouts)
    };
    let (flattened, summary) = count(FlattenOptions::default(), FIT, work).unwrap();
    let counts = flattened.counts;
    assert_eq!((counts.whiteouts, counts.removed_names), (MILLION, MILLION));
    assert!(summary.inodes < 100, "{}", summary.inodes);
}

#[test]
fn p14_thousands_of_paths_of_4096_bytes_are_walked() {
    let deep = "d/".repeat(2047);
    let path = |index: usize| format!("/{deep}{}", char::from(b'a' + u8::try_from(index).unwrap()));
    let entries = (0..1000).flat_map(|round| {
        // A name elsewhere between two of them, so that each is walked from the root.
        let name = entry(format!("other/{round}"), EntryKind::Symlink);
        [entry(path(round % 26), EntryKind::Symlink), name]
    });
    let limits = Limits { traversals: 0, ..Limits::default() };
    let options = FlattenOptions { limits, ..FlattenOptions::default() };
    let (flattened, _) = count(options, FIT, |flattener| apply(flattener, entries)).unwrap();
    assert_eq!(flattened.counts.implied_directories, 2048);
}

#[test]
fn p11_entries_that_lead_through_long_links_are_bounded_together() {
    // Forty links, each over two thousand directories: one entry is cheap, a million are not.
    let way = "d/../".repeat(800);
    let links = (1..=40).map(|hop| {
        let target = if hop == 1 { way.clone() } else { format!("l{}/{way}", hop - 1) };
        link(format!("l{hop}"), EntryKind::Symlink, target)
    });
    let rounds = (0..1_000_000).flat_map(|round| {
        let name = entry(format!("d/{round}"), EntryKind::Symlink);
        [name, entry(format!("l40/x{round}"), EntryKind::Symlink)]
    });
    let entries = links.chain(rounds);
    let got = count(FlattenOptions::default(), FIT, |flattener| apply(flattener, entries));
    let error = got.unwrap_err();
    assert_eq!(error.exit_code(), 65, "{error}");
    assert!(error.to_string().contains("raise --limit traversal"), "{error}");
}

/// Entries that make a directory eighty thousand levels deep, by links that shorten the way; the
/// last link leads to it.
fn depths() -> impl Iterator<Item = Entry> {
    let way = "d/".repeat(2000);
    (1..=40).flat_map(move |hop| {
        let target = if hop == 1 { way.clone() } else { format!("l{}/{way}", hop - 1) };
        let directory = entry(target.clone(), EntryKind::Directory);
        [directory, link(format!("l{hop}"), EntryKind::Symlink, target)]
    })
}

#[test]
fn p08_a_tree_of_eighty_thousand_levels_is_written_and_removed() {
    let (flattened, summary) =
        count(FlattenOptions::default(), FIT, |flattener| apply(flattener, depths())).unwrap();
    assert_eq!(flattened.counts.implied_directories + flattened.counts.directories, 80_000);
    assert!(summary.inodes > 80_000);
    let (_, summary) = count(FlattenOptions::default(), FIT, |flattener| {
        apply(flattener, depths())?;
        apply(flattener, [entry(".wh..wh..opq", EntryKind::Regular)])
    })
    .unwrap();
    assert!(summary.inodes < 100, "{}", summary.inodes);
}

#[test]
fn h02_links_that_wait_far_below_the_root_are_bounded_together() {
    let waiting =
        (0..100_000).map(|index| link(format!("l40/{index}"), EntryKind::HardLink, "later"));
    let entries = depths().chain(waiting).chain([entry("later", EntryKind::Regular)]);
    let got = count(FlattenOptions::default(), FIT, |flattener| apply(flattener, entries));
    let error = got.unwrap_err();
    assert!(error.to_string().contains("raise --limit traversal"), "{error}");
}
