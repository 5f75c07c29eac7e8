//! The words that say who owns in the image what somebody owns in a directory of the host.

use clap::Args;

use crate::error::{Error, Result};
use crate::inject::{Owner, OwnerMap, OwnerRange, Owners};
use crate::source::Origin;

/// Whose the files of a directory become.
#[derive(Debug, Args)]
pub(super) struct Owning {
    /// Give everything of dir:PATH to one owner, such as 0:0
    #[arg(long, value_name = "UID[:GID]")]
    owner: Option<Owner>,
    /// Number the owners of dir:PATH anew, such as 1000:0 or 100000:1:65536; u: or g: before it
    /// speaks of users or groups alone
    #[arg(long, value_name = "[u:|g:]HOST:IMAGE[:COUNT]", conflicts_with = "owner")]
    owner_map: Vec<OwnerRange>,
}

impl Owning {
    pub(super) fn owners(self, origin: &Origin) -> Result<Owners> {
        let is_given = self.owner.is_some() || !self.owner_map.is_empty();
        if is_given && !matches!(origin, Origin::Directory(_)) {
            return Err(Error::usage(format!(
                "--owner and --owner-map have no meaning for {origin}"
            ))
            .hint("an archive has its owners in it; dir:PATH takes them"));
        }
        match self.owner {
            Some(owner) => Ok(Owners::One(owner)),
            None if self.owner_map.is_empty() => Ok(Owners::Kept),
            None => OwnerMap::new(self.owner_map).map(Owners::Mapped),
        }
    }
}
