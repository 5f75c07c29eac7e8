//! Blobs come in whole or not at all, and what is wrong with one is seen when it is read.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::directory::{INGEST, locate};
use super::store::{EMPTY_INDEX, LAYOUT_MARKER};
use super::{Cache, Claim};
use crate::digest::Digest;
use crate::error::Error;

pub(super) struct Fixture {
    pub(super) directory: tempfile::TempDir,
    pub(super) cache: Cache,
}

pub(super) fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path().join("oci")).unwrap();
    Fixture { directory, cache }
}

impl Fixture {
    fn ingest(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.cache.root().join(INGEST)).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

fn read(cache: &Cache, digest: &Digest, size: u64) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    cache.blob(digest, size).unwrap().read_to_end(&mut body).map(|_| body)
}

fn error_of(error: io::Error) -> Error {
    Error::from_io(error, |error| panic!("{error} carries nothing"))
}

#[test]
fn the_directory_is_an_oci_layout() {
    let fixture = fixture();
    let root = fixture.cache.root();
    assert_eq!(fs::read(root.join("oci-layout")).unwrap(), LAYOUT_MARKER);
    assert_eq!(fs::read(root.join("index.json")).unwrap(), EMPTY_INDEX);
    fs::write(root.join("index.json"), "edited").unwrap();
    Cache::at(root).unwrap();
    assert_eq!(fs::read(root.join("index.json")).unwrap(), b"edited");
}

#[test]
fn a_stored_blob_is_found_and_read_back() {
    let fixture = fixture();
    for algorithm in [crate::digest::Algorithm::Sha256, crate::digest::Algorithm::Sha512] {
        let digest = Digest::of(algorithm, b"hello");
        assert!(!fixture.cache.contains(&digest, 5));
        fixture.cache.store(&digest, b"hello").unwrap();
        fixture.cache.store(&digest, b"hello").unwrap();
        assert!(fixture.cache.contains(&digest, 5));
        assert!(!fixture.cache.contains(&digest, 4));
        assert_eq!(read(&fixture.cache, &digest, 5).unwrap(), b"hello");
        assert_eq!(fixture.cache.document(&digest, 5).unwrap().unwrap(), b"hello");
        assert_eq!(fixture.cache.document(&digest, 4).unwrap(), None);
    }
    assert_eq!(fixture.ingest(), Vec::<PathBuf>::new());
}

#[test]
fn only_the_promised_bytes_are_published() {
    let fixture = fixture();
    let digest = Digest::sha256_of(b"hello");
    for (size, parts) in
        [(5, &["hel"][..]), (5, &["hel", "lO"]), (5, &["hello", "!"]), (4, &["hello"])]
    {
        let mut incoming = fixture.cache.begin(&digest, size).unwrap();
        let result = parts
            .iter()
            .try_for_each(|part| incoming.append(part.as_bytes()))
            .and_then(|()| incoming.verify());
        assert_eq!(result.unwrap_err().exit_code(), 65, "{parts:?}");
        assert!(!fixture.cache.blob_path(&digest).exists());
        assert_eq!(fixture.ingest(), Vec::<PathBuf>::new());
    }
}

#[test]
fn two_writers_of_one_blob_both_succeed() {
    let fixture = fixture();
    let digest = Digest::sha256_of(b"hello");
    let mut writers = [(); 2].map(|()| fixture.cache.begin(&digest, 5).unwrap());
    for writer in &mut writers {
        writer.append(b"hello").unwrap();
    }
    for writer in writers {
        writer.verify().unwrap().publish().unwrap();
    }
    assert_eq!(read(&fixture.cache, &digest, 5).unwrap(), b"hello");
}

#[test]
fn a_corrupt_blob_is_moved_aside_and_can_be_stored_again() {
    let fixture = fixture();
    let digest = Digest::sha256_of(b"hello");
    fixture.cache.store(&digest, b"hello").unwrap();
    fs::write(fixture.cache.blob_path(&digest), b"hellO").unwrap();
    let error = error_of(read(&fixture.cache, &digest, 5).unwrap_err());
    assert_eq!(error.exit_code(), 65);
    assert!(error.hint().unwrap().contains("run again"), "{error}");
    assert!(!fixture.cache.contains(&digest, 5));
    let aside = fixture.cache.blob_path(&digest).with_extension("corrupt");
    assert_eq!(fs::read(aside).unwrap(), b"hellO");
    fixture.cache.store(&digest, b"hello").unwrap();
    assert_eq!(read(&fixture.cache, &digest, 5).unwrap(), b"hello");
}

#[test]
fn a_corrupt_blob_that_cannot_be_moved_aside_counts_as_absent_until_it_is_replaced() {
    let fixture = fixture();
    let digest = Digest::sha256_of(b"hello");
    fixture.cache.store(&digest, b"hello").unwrap();
    fs::write(fixture.cache.blob_path(&digest), b"hellO").unwrap();
    // No file is renamed over a directory.
    fs::create_dir(fixture.cache.blob_path(&digest).with_extension("corrupt")).unwrap();
    let error = error_of(read(&fixture.cache, &digest, 5).unwrap_err());
    assert!(error.hint().unwrap().contains("remove "), "{error}");
    assert!(!fixture.cache.contains(&digest, 5));
    assert_eq!(fixture.cache.document(&digest, 5).unwrap(), None);
    let claim = fixture.cache.claim(&digest, 5).unwrap();
    assert!(matches!(claim, Claim::Ours(_)), "it would be asked for again and again");
    fixture.cache.store(&digest, b"hello").unwrap();
    assert_eq!(read(&fixture.cache, &digest, 5).unwrap(), b"hello");
    assert!(fixture.cache.contains(&digest, 5));
}

#[test]
fn a_whole_blob_is_not_moved_aside_for_the_corrupt_one_before_it() {
    let fixture = fixture();
    let digest = Digest::sha256_of(b"hello");
    fixture.cache.store(&digest, b"hello").unwrap();
    fs::write(fixture.cache.blob_path(&digest), b"hellO").unwrap();
    let mut corrupt = fixture.cache.blob(&digest, 5).unwrap();
    // Another process has met the same blob, and healed it.
    assert!(!fixture.cache.is_intact(&digest, 5).unwrap());
    fixture.cache.store(&digest, b"hello").unwrap();
    assert_eq!(error_of(corrupt.read_to_end(&mut Vec::new()).unwrap_err()).exit_code(), 65);
    assert_eq!(read(&fixture.cache, &digest, 5).unwrap(), b"hello");
}

#[test]
fn what_is_no_file_among_the_temporary_ones_is_left_alone() {
    let fixture = fixture();
    let foreign = fixture.cache.root().join(INGEST).join("directory");
    fs::create_dir(&foreign).unwrap();
    Cache::at(fixture.cache.root()).unwrap();
    assert!(foreign.exists());
}

#[test]
fn a_corrupt_document_counts_as_absent() {
    let fixture = fixture();
    let digest = Digest::sha256_of(b"hello");
    fixture.cache.store(&digest, b"hello").unwrap();
    fs::write(fixture.cache.blob_path(&digest), b"hellO").unwrap();
    assert_eq!(fixture.cache.document(&digest, 5).unwrap(), None);
    assert!(!fixture.cache.contains(&digest, 5));
}

#[test]
fn a_blob_that_grew_or_shrank_after_it_was_opened_is_refused() {
    let fixture = fixture();
    let digest = Digest::sha256_of(b"hello");
    for content in ["hell", "hello!", ""] {
        fixture.cache.store(&digest, b"hello").unwrap();
        let mut blob = fixture.cache.blob(&digest, 5).unwrap();
        fs::write(fixture.cache.blob_path(&digest), content).unwrap();
        let error = blob.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error_of(error).exit_code(), 65, "{content}");
        let again = blob.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error_of(again).exit_code(), 65);
    }
}

#[test]
fn opening_removes_what_the_dead_left_and_spares_the_living() {
    let fixture = fixture();
    let abandoned = fixture.cache.root().join(INGEST).join("abandoned");
    fs::write(&abandoned, "half a bl").unwrap();
    let digest = Digest::sha256_of(b"hello");
    let mut living = fixture.cache.begin(&digest, 5).unwrap();
    living.append(b"hel").unwrap();
    Cache::at(fixture.cache.root()).unwrap();
    assert!(!abandoned.exists());
    living.append(b"lo").unwrap();
    living.verify().unwrap().publish().unwrap();
    assert_eq!(read(&fixture.cache, &digest, 5).unwrap(), b"hello");
}

#[test]
fn the_place_follows_the_environment() {
    for (environment, place) in [
        (&[("BANGER_CACHE_DIR", "/b"), ("XDG_CACHE_HOME", "/x")][..], Some("/b/oci")),
        (&[("BANGER_CACHE_DIR", "")], None),
        (&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")], Some("/x/banger/oci")),
        (&[("XDG_CACHE_HOME", "relative"), ("HOME", "/h")], Some("/h/.cache/banger/oci")),
        (&[("HOME", "/h")], Some("/h/.cache/banger/oci")),
    ] {
        let variable = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        match place {
            Some(place) => assert_eq!(locate(variable).unwrap(), Path::new(place)),
            None => assert_eq!(locate(variable).unwrap_err().exit_code(), 73),
        }
    }
}

#[test]
fn a_cache_in_the_way_of_a_file_is_an_error_with_its_path() {
    let fixture = fixture();
    let file = fixture.directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Cache::at(file.join("oci")).unwrap_err();
    assert!(error.to_string().contains("file/oci"), "{error}");
}
