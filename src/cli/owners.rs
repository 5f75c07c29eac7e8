//! The options that say who owns in the image what somebody owns in a directory of the host.

use clap::Args;

use crate::error::{Error, Result};
use crate::inject::{Owner, OwnerMap, OwnerRange, Owners};
use crate::source::ImageReference;

/// Whose the files of a directory become.
#[derive(Debug, Args)]
#[command(next_help_heading = "Contents")]
pub(super) struct OwnerOptions {
    /// Give everything of dir:PATH to one owner, such as 0:0
    #[arg(long, value_name = "UID[:GID]")]
    owner: Option<Owner>,
    /// Number the owners of dir:PATH anew, such as 1000:0 or 100000:1:65536; u: or g: before it
    /// speaks of users or groups alone
    #[arg(long, value_name = "[u:|g:]HOST:IMAGE[:COUNT]", conflicts_with = "owner")]
    owner_map: Vec<OwnerRange>,
}

impl OwnerOptions {
    pub(super) fn owners(self, reference: &ImageReference) -> Result<Owners> {
        let options = ("--owner and --owner-map", "dir:PATH takes them");
        owners(self.owner, self.owner_map, reference, options)
    }
}

/// The owner of everything, or owners by a map. `options` are those that say so, which only a
/// directory takes, and what to tell whom they fail.
pub(super) fn owners(
    one: Option<Owner>,
    map: Vec<OwnerRange>,
    reference: &ImageReference,
    (options, takes): (&str, &str),
) -> Result<Owners> {
    let is_given = one.is_some() || !map.is_empty();
    if is_given && !matches!(reference, ImageReference::Directory(_)) {
        return Err(Error::usage(format!("{options} have no meaning for {reference}"))
            .with_hint(format!("an archive has its owners in it; {takes}")));
    }
    match one {
        Some(one) => Ok(Owners::One(one)),
        None if map.is_empty() => Ok(Owners::Kept),
        None => OwnerMap::new(map).map(Owners::Mapped),
    }
}
