//! The parts of the way from a layer to an image, each alone: `cargo bench`.

#![expect(clippy::unwrap_used, reason = "a part that fails leaves nothing to measure")]

use std::hint::black_box;
use std::io::{self, Read, Write as _};

use banger::digest::Digest;
use banger::flatten::{FlattenOptions, Flattener};
use banger::layer::{Archive, LayerBlob, LayerStream, Limits};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ext4_writer::{
    Builder, CountingSink, FileContent, Metadata, Options, Size, Summary, Timestamp,
};

const DIRECTORIES: usize = 40;
const FILES_PER_DIRECTORY: usize = 250;
const ENTRIES: usize = DIRECTORIES * (FILES_PER_DIRECTORY + 1);
const SIZE: Size = Size::Fit { free_bytes: 0, free_inodes: 0 };

criterion_group!(parts, finish, read_entries, flatten, decompress, checksums);
criterion_main!(parts);

/// All metadata of many small files: planned, rendered with its checksums, given to a sink that
/// keeps nothing; and the declaring of them, without which nothing is planned.
fn finish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("finish");
    group.sample_size(10);
    for directories in [DIRECTORIES, MILLION] {
        let files = directories * FILES_PER_DIRECTORY;
        group.throughput(Throughput::Elements(u64::try_from(files).unwrap()));
        group.bench_function(format!("declare {files} files"), |bencher| {
            bencher.iter_with_large_drop(|| declare(directories));
        });
        group.bench_function(format!("plan and emit {files} files"), |bencher| {
            let declare = || declare(directories);
            bencher.iter_batched(declare, complete, BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// As many directories as hold a million files.
const MILLION: usize = 1_000_000 / FILES_PER_DIRECTORY;

fn declare(directories: usize) -> Builder<CountingSink> {
    let metadata = Metadata::root_owned(0o644, Timestamp::from_seconds(1_700_000_000));
    let mut builder = Builder::create(CountingSink::new(), Options::new(SIZE)).unwrap();
    for directory in 0..directories {
        let name = format!("directory-{directory}");
        let parent = builder.add_directory(builder.root(), name.as_bytes(), &metadata).unwrap();
        for file in 0..FILES_PER_DIRECTORY {
            let (name, mut text) = (format!("file-{file}"), io::repeat(b'x').take(300));
            let content = FileContent::new(300, &mut text);
            builder.add_file(parent, name.as_bytes(), &metadata, content).unwrap();
        }
    }
    builder
}

fn complete(builder: Builder<CountingSink>) -> Summary {
    builder.finish().unwrap().0
}

/// Headers to entries; the contents are skipped.
fn read_entries(criterion: &mut Criterion) {
    let bytes = archive();
    let mut group = criterion.benchmark_group("tar");
    group.throughput(elements());
    group.bench_function("read entries", |bencher| {
        bencher.iter(|| {
            let mut archive = Archive::new(&bytes[..], "layer", &Limits::default());
            while let Some(entry) = archive.next_entry().unwrap() {
                black_box(entry);
            }
        });
    });
    group.finish();
}

/// Entries onto a tree, with the contents into a sink that keeps nothing.
fn flatten(criterion: &mut Criterion) {
    let bytes = archive();
    let mut group = criterion.benchmark_group("flatten");
    group.throughput(elements());
    group.bench_function("apply entries", |bencher| {
        bencher.iter(|| {
            let limits = Limits::default();
            let mut builder = Builder::create(CountingSink::new(), Options::new(SIZE)).unwrap();
            let options = FlattenOptions { limits: limits.clone(), ..FlattenOptions::default() };
            let mut flattener = Flattener::new(&mut builder, options).unwrap();
            flattener.begin_layer("layer").unwrap();
            let mut archive = Archive::new(&bytes[..], "layer", &limits);
            while let Some(entry) = archive.next_entry().unwrap() {
                flattener.apply(&entry, &mut archive.body()).unwrap();
            }
            flattener.end_layer().unwrap();
            flattener.finish().unwrap()
        });
    });
    group.finish();
}

/// A blob's bytes to the archive's, through the thread that a layer has.
fn decompress(criterion: &mut Criterion) {
    let bytes = archive();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&bytes).unwrap();
    let blobs = [
        ("plain", bytes.clone()),
        ("gzip", gzip.finish().unwrap()),
        ("zstd", zstd::encode_all(&bytes[..], 3).unwrap()),
    ];
    let mut group = criterion.benchmark_group("decompress");
    group.throughput(Throughput::Bytes(u64::try_from(bytes.len()).unwrap()));
    for (name, blob) in blobs {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || io::Cursor::new(blob.clone()),
                |reader| {
                    let name = "layer".to_owned();
                    let blob = LayerBlob { name, reader, verified: None, diff_id: None };
                    LayerStream::open(blob, &Limits::default()).unwrap().finish().unwrap()
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// What every byte of a layer and every block of metadata passes through.
fn checksums(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    for (name, length) in [("a layer's chunk", 512 << 10), ("a block", 4096)] {
        let bytes: Vec<u8> = (0..length).map(|n: u32| n.to_le_bytes()[0]).collect();
        group.throughput(Throughput::Bytes(u64::from(length)));
        group.bench_function(format!("sha256 of {name}"), |bencher| {
            bencher.iter(|| Digest::sha256_of(black_box(&bytes)));
        });
        group.bench_function(format!("crc32c of {name}"), |bencher| {
            bencher.iter(|| crc32c::crc32c(black_box(&bytes)));
        });
    }
    group.finish();
}

fn elements() -> Throughput {
    Throughput::Elements(u64::try_from(ENTRIES).unwrap())
}

/// The same tree as an archive, with contents that compress as text does.
fn archive() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |path: String, kind, body: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_mtime(1_700_000_000);
        header.set_size(u64::try_from(body.len()).unwrap());
        builder.append_data(&mut header, path, body).unwrap();
    };
    for directory in 0..DIRECTORIES {
        add(format!("directory-{directory}/"), tar::EntryType::Directory, b"");
        for file in 0..FILES_PER_DIRECTORY {
            let text = format!("line {file} of directory {directory}\n").repeat(file % 100);
            let path = format!("directory-{directory}/file-{file}");
            add(path, tar::EntryType::Regular, text.as_bytes());
        }
    }
    builder.into_inner().unwrap()
}
