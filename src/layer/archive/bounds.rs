//! How long names, targets and attributes may be.

use std::io::Read;

use super::{Archive, shorten};
use crate::error::{Error, Result};
use crate::layer::entry::{Entry, EntryKind};
use crate::layer::{MAX_SYMLINK, MAX_XATTR, flag};

impl<R: Read> Archive<R> {
    pub(super) fn verify_lengths(&self, kind: EntryKind, path: &[u8], link: &[u8]) -> Result<()> {
        if path.is_empty() {
            return Err(self.refuse("it has no path"));
        }
        let at_most = |what: &str, length: usize, limit: usize| {
            if length <= limit {
                return Ok(());
            }
            let why = format!("its {what} has {length} bytes, at most {limit} are possible");
            Err(self.refuse(&why))
        };
        let lift = |error: Error| error.with_hint(flag::raise(flag::PATH));
        let lift_symlink = |error: Error| match self.limits.symlink {
            // No kernel follows longer ones.
            MAX_SYMLINK.. => error,
            _ => error.with_hint(flag::raise(flag::SYMLINK)),
        };
        at_most("path", path.len(), self.limits.path).map_err(lift)?;
        match kind {
            EntryKind::Symlink | EntryKind::HardLink if link.is_empty() => {
                Err(self.refuse(&format!("a {kind} without a target")))
            }
            EntryKind::Symlink => {
                at_most("target", link.len(), self.limits.symlink).map_err(lift_symlink)
            }
            _ => at_most("target", link.len(), self.limits.path).map_err(lift),
        }
    }

    pub(super) fn verify_xattrs(&self, entry: &Entry) -> Result<()> {
        let limit = self.limits.xattr;
        if let Some(xattr) = entry.xattrs.iter().find(|xattr| xattr.value.len() > limit) {
            let (name, length) = (shorten(&xattr.name), xattr.value.len());
            let why = format!(
                "its attribute \"{name}\" has {length} bytes, at most {limit} are possible"
            );
            return Err(match limit {
                // No kernel shows longer ones.
                MAX_XATTR.. => self.refuse(&why),
                _ => self.refuse(&why).with_hint(flag::raise(flag::XATTR)),
            });
        }
        let sizes = entry.xattrs.iter().map(|xattr| xattr.name.len() + xattr.value.len());
        let size = sizes.fold(0, usize::saturating_add);
        let limit = self.limits.xattrs;
        if size > limit {
            let why = format!("its attributes have {size} bytes, at most {limit} are read");
            return Err(self.refuse(&why).with_hint(flag::raise(flag::XATTRS)));
        }
        Ok(())
    }
}
