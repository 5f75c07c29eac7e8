//! What a reference named when a registry was last asked: a small file each under `references/`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::directory::make_directory;
use super::store::Cache;
use super::temporary::Temporary;
use crate::digest::Digest;
use crate::error::Result;
use crate::open;

/// Where the files stand.
const REFERENCES: &str = "references";

/// The longest file that is read.
const MAX_LENGTH: u64 = 16 << 10;

/// One file's content. The reference is repeated since the file's name is only its hash.
#[derive(Serialize, Deserialize)]
struct TagRecord {
    reference: String,
    digest: String,
}

impl Cache {
    /// The index or manifest that this reference named when it was last resolved.
    #[must_use]
    pub fn resolved_tag(&self, reference: &str) -> Option<Digest> {
        // What was learnt last, and then what a cache knows that may only be read.
        let roots = [Some(&*self.root), self.access.read_only()];
        roots.into_iter().flatten().find_map(|root| {
            let mut body = Vec::new();
            let file = open::regular(&record_path(root, reference)).ok()?;
            file.take(MAX_LENGTH).read_to_end(&mut body).ok()?;
            let record: TagRecord = serde_json::from_slice(&body).ok()?;
            record.digest.parse().ok().filter(|_| record.reference == reference)
        })
    }

    /// Remembers what a reference names.
    pub fn record_tag(&self, reference: &str, digest: &Digest) -> Result<()> {
        if self.resolved_tag(reference).as_ref() == Some(digest) {
            return Ok(());
        }
        let target = record_path(&self.root, reference);
        make_directory(&self.root.join(REFERENCES))?;
        let record = TagRecord { reference: reference.to_owned(), digest: digest.to_string() };
        let body = serde_json::to_vec(&record).map_err(|error| {
            crate::error::Error::internal("cannot write down a reference").with_source(error)
        })?;
        Temporary::write(&self.root, "reference", &body, &target)
    }
}

fn record_path(root: &Path, reference: &str) -> PathBuf {
    let name = Digest::sha256_of(reference.as_bytes());
    root.join(REFERENCES).join(format!("{}.json", name.hex()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_known_by_what_it_named_last() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path()).unwrap();
        let (first, second) = (Digest::sha256_of(b"1"), Digest::sha256_of(b"2"));
        assert_eq!(cache.resolved_tag("a/b:c"), None);
        for digest in [&first, &first, &second] {
            cache.record_tag("a/b:c", digest).unwrap();
            assert_eq!(cache.resolved_tag("a/b:c").as_ref(), Some(digest));
        }
        assert_eq!(cache.resolved_tag("a/b:d"), None);
        std::fs::write(record_path(cache.root(), "a/b:c"), "{").unwrap();
        assert_eq!(cache.resolved_tag("a/b:c"), None);
    }
}
