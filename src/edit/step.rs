//! The changes of an image's tree, one after the other.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use ext4_writer::Metadata;
use ext4_writer::edit::{EditError, Editor};
use ext4_writer::reader::Links;

use super::Change;
use super::failure::failed;
use super::place::Place;
use crate::error::{Error, Result};
use crate::flatten::{FlattenOptions, Flattener, LayerSemantics};
use crate::guest::{Bundle, Guest, add_init};
use crate::inject::{Adding, Addition, TreeHasher, add_files, open_overlay};
use crate::layer::Limits;
use crate::shown::{self, path as shown_path};
use crate::source;

/// The attribute that holds the ACL of access.
const ACL: &[u8] = b"system.posix_acl_access";

/// How further layers are applied.
#[derive(Clone, Debug, Default)]
pub(crate) struct LayerOptions {
    /// Whether it is an error that the image cannot hold something.
    pub(crate) strict: bool,
    /// How much a hostile archive may ask for.
    pub(crate) limits: Limits,
}

/// One change of an image's tree. Paths begin at the image's root, with or without a slash, and go
/// through its symbolic links.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Put a file or directory of the host in, as a further layer.
    Add(Addition),
    /// Apply an archive as a further layer, whiteouts included.
    Overlay(PathBuf),
    /// Add a bundle of agents.
    Guest(Bundle),
    /// Add an init that starts the image as its description says.
    Init,
    /// Take a file out, or a directory with all that is below it.
    Remove(Vec<u8>),
    /// Give a file or directory another path.
    Rename {
        /// Its path.
        from: Vec<u8>,
        /// Its new path, where nothing is.
        to: Vec<u8>,
    },
    /// Set permission bits, and what an ACL says of them.
    Chmod {
        /// The twelve bits.
        mode: u16,
        /// What has them.
        path: Vec<u8>,
    },
    /// Set the owner.
    Chown {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
        /// What is theirs.
        path: Vec<u8>,
    },
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Add(addition) => {
                let (source, destination) = (addition.source(), addition.destination());
                write!(f, "add {} to {}", shown_path(source), shown::bytes(&destination))
            }
            Self::Overlay(path) => write!(f, "overlay {}", shown_path(path)),
            Self::Guest(bundle) => write!(f, "guest {}", shown::bytes(&bundle.name().as_bytes())),
            Self::Init => f.write_str("add an init"),
            Self::Remove(path) => write!(f, "remove {}", shown::bytes(path)),
            Self::Rename { from, to } => {
                write!(f, "rename {} to {}", shown::bytes(from), shown::bytes(to))
            }
            Self::Chmod { mode, path } => write!(f, "chmod {mode:04o} {}", shown::bytes(path)),
            Self::Chown { uid, gid, path } => write!(f, "chown {uid}:{gid} {}", shown::bytes(path)),
        }
    }
}

impl Step {
    /// Refuses a source that cannot be read, before any work begins.
    pub(super) fn check(&self, limits: &Limits) -> Result<()> {
        match self {
            Self::Add(addition) => addition.check(),
            Self::Overlay(path) => open_overlay(path, limits).map(drop),
            Self::Guest(bundle) => bundle.check(limits),
            _ => Ok(()),
        }
    }
}

impl Change {
    /// Does the steps in their order, in memory and in free blocks of the image; what of them the
    /// image does not hold, a line each. Nothing is done if a source cannot be read.
    pub(crate) fn apply(&mut self, steps: &[Step], layers: &LayerOptions) -> Result<Vec<String>> {
        steps.iter().try_for_each(|step| step.check(&layers.limits))?;
        let mut remarks = Vec::new();
        for step in steps {
            remarks.extend(self.apply_one(step, layers)?);
        }
        Ok(remarks)
    }

    fn apply_one(&mut self, step: &Step, layers: &LayerOptions) -> Result<Vec<String>> {
        let limits = &layers.limits;
        match step {
            Step::Add(addition) => {
                return self.apply_layer(layers, |flattener, adding| {
                    add_files(flattener, std::slice::from_ref(addition), adding)
                });
            }
            Step::Overlay(path) => {
                return self.apply_layer(layers, |flattener, _| {
                    flattener.apply_layer(open_overlay(path, limits)?).map(drop)
                });
            }
            Step::Guest(bundle) => {
                let guest = Guest { bundles: vec![bundle.clone()], ..Guest::default() };
                return self.apply_layer(layers, |flattener, adding| {
                    guest.apply_bundles(flattener, limits, adding)
                });
            }
            Step::Init => {
                return self.apply_layer(layers, |flattener, adding| {
                    add_init(flattener, &source::Limits::default(), adding)
                });
            }
            _ => {}
        }
        let image = shown_path(&self.target.path);
        self.apply_change(step)?
            .map_err(|error| failed(format!("cannot {step} in {image}"), error))?;
        Ok(Vec::new())
    }

    /// Does a step that changes what is there.
    fn apply_change(&mut self, step: &Step) -> Result<Result<(), EditError>> {
        Ok(match step {
            Step::Remove(path) => {
                let (directory, name) = self.parent(path, step)?;
                self.editor.remove(directory, &name)
            }
            Step::Rename { from, to } => {
                let (directory, name) = self.parent(from, step)?;
                let (target, new_name) = self.parent(to, step)?;
                self.editor.rename(directory, &name, target, &new_name)
            }
            Step::Chmod { mode, path } => self.set_mode(path, *mode),
            Step::Chown { uid, gid, path } => self
                .set_metadata(path, |metadata| (metadata.uid, metadata.gid) = (*uid, *gid))
                .map(drop),
            Step::Add(_) | Step::Overlay(_) | Step::Guest(_) | Step::Init => {
                return Err(Error::internal("a layer is no change of what is there"));
            }
        })
    }

    /// Applies a further layer; what of it the image does not hold.
    fn apply_layer(
        &mut self,
        layers: &LayerOptions,
        apply: impl FnOnce(&mut Flattener<'_, Editor<Place>>, &mut Adding<'_>) -> Result<()>,
    ) -> Result<Vec<String>> {
        let options = FlattenOptions {
            epoch: self.time,
            strict: layers.strict,
            semantics: LayerSemantics::Follow,
            limits: layers.limits.clone(),
            latest: None,
        };
        let mut flattener = Flattener::new(&mut self.editor, options)?;
        let mut hasher = TreeHasher::idle();
        let limit = layers.limits.layer;
        let mut adding = Adding { hasher: &mut hasher, epoch: self.time, limit, seen: &|_| {} };
        apply(&mut flattener, &mut adding)?;
        let outcome = flattener.finish()?;
        let remarks = outcome.losses.items().iter().chain(outcome.warnings.items());
        Ok(remarks.map(ToString::to_string).collect())
    }

    /// The directory of a path's last name, and that name.
    fn parent(&self, path: &[u8], step: &Step) -> Result<(u32, Vec<u8>)> {
        let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |place| place + 1);
        let path = path.get(..end).unwrap_or_default();
        let start = path.iter().rposition(|byte| *byte == b'/').map_or(0, |place| place + 1);
        let (above, name) = path.split_at_checked(start).unwrap_or((b"", path));
        if matches!(name, b"" | b"." | b"..") {
            let message = format!("cannot {step}: the path ends in no name");
            return Err(Error::usage(message));
        }
        let directory = self.editor.resolve(above, Links::Follow).map_err(|error| {
            failed(format!("cannot {step} in {}", shown_path(&self.target.path)), error)
        })?;
        Ok((directory, name.to_vec()))
    }

    /// Changes what the inode says at the end of a path; its node.
    fn set_metadata(
        &mut self,
        path: &[u8],
        set: impl FnOnce(&mut Metadata),
    ) -> Result<u32, EditError> {
        let node = self.editor.resolve(path, Links::Follow)?;
        super::set_metadata(&mut self.editor, node, self.time, set)?;
        Ok(node)
    }

    /// Sets the permission bits as chmod(2) does: an ACL has them, too.
    fn set_mode(&mut self, path: &[u8], mode: u16) -> Result<(), EditError> {
        let node = self.set_metadata(path, |metadata| metadata.mode = mode)?;
        let found = self.editor.xattrs(node)?.into_iter().find(|one| one.name == ACL);
        let Some(mut acl) = found else { return Ok(()) };
        set_acl_mode(&mut acl.value, mode);
        self.editor.set_xattr(node, ACL, &acl.value)
    }
}

/// Gives the entries of an ACL that stand for permission bits those bits.
///
/// Source: kernel, `fs/posix_acl.c`, `__posix_acl_chmod_masq`; the entries are as in
/// `include/uapi/linux/posix_acl_xattr.h`.
fn set_acl_mode(acl: &mut [u8], mode: u16) {
    const USER: u16 = 0x01;
    const GROUP: u16 = 0x04;
    const MASK: u16 = 0x10;
    const OTHER: u16 = 0x20;
    let tag = |entry: &[u8]| entry.first_chunk().map(|bytes| u16::from_le_bytes(*bytes));
    let entries = acl.get_mut(4..).unwrap_or_default();
    let has_mask = entries.chunks_exact(8).any(|entry| tag(entry) == Some(MASK));
    for entry in entries.chunks_exact_mut(8) {
        let bits = match tag(entry) {
            Some(USER) => mode >> 6,
            Some(GROUP) if !has_mask => mode >> 3,
            Some(MASK) => mode >> 3,
            Some(OTHER) => mode,
            _ => continue,
        };
        for (byte, new) in entry.iter_mut().skip(2).zip((bits & 7).to_le_bytes()) {
            *byte = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16)]) -> Vec<u8> {
        let entries = entries.iter().flat_map(|(tag, bits)| {
            [tag.to_le_bytes(), bits.to_le_bytes(), [0xff; 2], [0xff; 2]].concat()
        });
        2u32.to_le_bytes().into_iter().chain(entries).collect()
    }

    #[test]
    fn an_acl_gets_the_bits_of_the_mode_and_keeps_its_other_entries() {
        let mut with_mask = acl(&[(1, 6), (2, 5), (4, 7), (0x10, 7), (0x20, 4)]);
        set_acl_mode(&mut with_mask, 0o4750);
        assert_eq!(with_mask, acl(&[(1, 7), (2, 5), (4, 7), (0x10, 5), (0x20, 0)]));
        let mut minimal = acl(&[(1, 6), (4, 7), (0x20, 4)]);
        set_acl_mode(&mut minimal, 0o640);
        assert_eq!(minimal, acl(&[(1, 6), (4, 4), (0x20, 0)]));
    }
}
