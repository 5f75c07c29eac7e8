//! A filesystem as a whole: what its superblock says, and what is known of where it comes from.

use std::io::Read as _;

use ext4_writer::reader::{Links, ReadError, SuperblockInfo};
use ext4_writer::{FileKind, Profile};

use super::Image;
use crate::error::Result;
use crate::guest::{DESCRIPTION_PATH, MAX_DESCRIPTION};

/// Where an image says what it was made of.
const DESCRIPTION: &[u8] = DESCRIPTION_PATH.as_bytes();
/// Where distributions say who they are: os-release(5).
const RELEASES: [&[u8]; 2] = [b"/etc/os-release", b"/usr/lib/os-release"];
const RELEASE_LIMIT: u64 = 64 << 10;
/// Features that say in which state a filesystem is, not how it was made.
const STATES: [&str; 2] = ["needs_recovery", "orphan_present"];

/// What is known of a filesystem.
#[derive(Debug)]
pub(crate) struct Summary {
    /// What the superblock says.
    pub facts: SuperblockInfo,
    /// The blocks that are free, by the groups' descriptors; the superblock of a filesystem that
    /// was not unmounted has old numbers.
    pub free_blocks: u64,
    /// The inodes that are free, likewise.
    pub free_inodes: u64,
    /// The bytes of the journal inside, if there is one.
    pub journal: Option<u64>,
    /// The first profile of this program that has just these features.
    pub profile: Option<&'static str>,
    /// What the image says of its origin.
    pub oci: Oci,
    /// The name of the distribution in it.
    pub os: Option<String>,
}

/// What an image says of its origin.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Oci {
    /// Nothing.
    Unknown,
    /// The JSON that was put into it when it was made.
    Known(serde_json::Value),
    /// It has a file for that, which says nothing, for this reason.
    Unusable(String),
}

impl Summary {
    /// Of an image.
    pub(crate) fn new(image: &Image) -> Result<Self> {
        let facts = image.facts().clone();
        let (mut free_blocks, mut free_inodes) = (0_u64, 0_u64);
        let cluster = facts.cluster_size / facts.block_size.max(1);
        for group in image.reader.groups() {
            let group = group.map_err(|error| image.failed(error))?;
            let blocks = u64::from(group.free_clusters).saturating_mul(cluster);
            free_blocks = free_blocks.saturating_add(blocks);
            free_inodes = free_inodes.saturating_add(group.free_inodes.into());
        }
        let journal = facts.journal_inode.map(|number| image.reader.inode(number)).transpose();
        let journal = journal.map_err(|error| image.failed(error))?;
        let mut names = facts.features.names();
        names.retain(|name| !STATES.contains(&name.as_str()));
        let has_just = |profile: &Profile| profile.features().names().eq(names.iter());
        let profile = Profile::ALL.into_iter().find(has_just).map(Profile::name);
        Ok(Self {
            free_blocks,
            free_inodes,
            journal: journal.map(|inode| inode.size()),
            profile,
            oci: oci(image)?,
            os: os(image)?,
            facts,
        })
    }
}

/// The content of a file that may be missing, may be no file, or may be too long.
fn small_file(image: &Image, path: &[u8], limit: u64) -> Result<Option<Result<Vec<u8>, String>>> {
    let inode = match image.reader.lookup(path, Links::Follow) {
        Ok(inode) => inode,
        Err(
            ReadError::NotFound { .. }
            | ReadError::WrongKind { .. }
            | ReadError::TooManyLinks { .. }
            | ReadError::Encrypted { .. },
        ) => return Ok(None),
        Err(error) => return Err(image.failed_at(path, error)),
    };
    if !inode.is(FileKind::Regular) {
        return Ok(Some(Err("is not a file".to_owned())));
    }
    if inode.size() > limit {
        let size = inode.size();
        return Ok(Some(Err(format!("has {size} bytes, of which at most {limit} are read"))));
    }
    let mut content = Vec::new();
    let contents = image.reader.contents(&inode).map_err(|error| image.failed_at(path, error))?;
    let read = contents.take(limit).read_to_end(&mut content);
    read.map_err(|error| image.broken_at(path, error))?;
    Ok(Some(Ok(content)))
}

fn oci(image: &Image) -> Result<Oci> {
    Ok(match small_file(image, DESCRIPTION, MAX_DESCRIPTION)? {
        None => Oci::Unknown,
        Some(Err(why)) => Oci::Unusable(format!("{} {why}", crate::shown::bytes(&DESCRIPTION))),
        Some(Ok(content)) => match serde_json::from_slice(&content) {
            Ok(value) => Oci::Known(value),
            Err(error) => {
                Oci::Unusable(format!("{} is not JSON: {error}", crate::shown::bytes(&DESCRIPTION)))
            }
        },
    })
}

fn os(image: &Image) -> Result<Option<String>> {
    for path in RELEASES {
        if let Some(Ok(content)) = small_file(image, path, RELEASE_LIMIT)? {
            return Ok(pretty_name(&content));
        }
    }
    Ok(None)
}

/// `PRETTY_NAME` of an os-release: the value of a shell's assignment.
fn pretty_name(content: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(content);
    let value = text.lines().find_map(|line| line.trim().strip_prefix("PRETTY_NAME="))?;
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            let mut name = String::new();
            let mut letters = inner.chars();
            while let Some(letter) = letters.next() {
                let escaped = quote == '"' && letter == '\\';
                name.extend(if escaped { letters.next() } else { Some(letter) });
            }
            return Some(name);
        }
    }
    Some(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_distribution_is_read_as_a_shell_would() {
        for (text, expected) in [
            (
                "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
                Some("Debian GNU/Linux 12 (bookworm)"),
            ),
            ("PRETTY_NAME='Alpine'", Some("Alpine")),
            ("PRETTY_NAME=Void", Some("Void")),
            (r#"PRETTY_NAME="a \"b\" \\ c""#, Some(r#"a "b" \ c"#)),
            ("PRETTY_NAME=\"", Some("\"")),
            ("NAME=x", None),
        ] {
            assert_eq!(pretty_name(text.as_bytes()).as_deref(), expected, "{text}");
        }
    }
}
