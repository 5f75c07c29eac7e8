//! ACLs that an archive has as text: onto a node, with numbers for the names in them.

use super::attributes::{Fate, fate};
use super::names::{Names, read_numbers};
use super::pending::{PendingAcl, Which};
use super::target::{ReadableTarget, Target};
use super::{Flattener, shown};
use crate::error::Result;
use crate::layer::{Acl, Acls, Class, Entry};

/// The most bytes of passwd or group that are read.
const MAX_FILE: u64 = 1 << 20;

impl<T: Target> Flattener<'_, T> {
    /// Gives a node the ACLs that an entry has as text.
    pub(super) fn add_acls(&mut self, node: T::Node, entry: &Entry) -> Result<()> {
        let Acls { access, default } = &entry.acls;
        for (which, acl) in [(Which::Access, access), (Which::Default, default)] {
            let Some(acl) = acl else { continue };
            if let Fate::Drop(why) = fate(which.attribute(), self.kind(node)?) {
                let name = shown(which.attribute());
                self.lose(format!("attribute \"{name}\" {why}"))?;
            } else if let Ok(value) = acl.to_xattr(|_, _| None) {
                self.pending_acls.remove(&(node, which));
                self.set_acl(node, which, acl, &value)?;
            } else {
                let pending = PendingAcl { acl: acl.clone(), path: entry.path.clone() };
                self.pending_acls.insert((node, which), pending);
            }
        }
        Ok(())
    }

    /// Forgets what entries before said of a node's ACLs.
    pub(super) fn forget_acls(&mut self, node: T::Node) {
        for which in [Which::Access, Which::Default] {
            self.pending_acls.remove(&(node, which));
        }
    }

    /// Sets the ACLs that wait for `names`. One that names somebody else is lost, and then nobody
    /// may do more than it let them.
    pub(super) fn set_pending_acls(&mut self, names: &Names) -> Result<()> {
        for ((node, which), PendingAcl { acl, path }) in std::mem::take(&mut self.pending_acls) {
            self.current = path;
            match acl.to_xattr(|class, name| names.number(class, name)) {
                Ok(value) => self.set_acl(node, which, &acl, &value)?,
                Err((class, name)) => {
                    if which == Which::Access {
                        self.set_permissions(node, |mode| mode & acl.mode_without())?;
                    }
                    let (whom, file) = match class {
                        Class::User => ("user", "passwd"),
                        Class::Group => ("group", "group"),
                    };
                    self.lose(format!(
                        "its ACL names the {whom} \"{}\", of whom neither the archive nor the \
                         image's /etc/{file} has a number",
                        shown(name)
                    ))?;
                }
            }
        }
        Ok(())
    }

    /// Sets an ACL as the kernel does: the mode follows it, and holds it where it says no more
    /// (kernel: `fs/posix_acl.c`, `posix_acl_update_mode`).
    fn set_acl(&mut self, node: T::Node, which: Which, acl: &Acl, value: &[u8]) -> Result<()> {
        if which == Which::Access {
            self.set_permissions(node, |_| acl.mode())?;
            if acl.is_mode() {
                return Ok(());
            }
        }
        let set = self.target.set_xattr(node, which.attribute(), value);
        set.map_err(|error| self.fail(error))
    }

    /// Changes the nine bits of permissions.
    fn set_permissions(&mut self, node: T::Node, change: impl FnOnce(u16) -> u16) -> Result<()> {
        const PERMISSIONS: u16 = 0o777;
        let mut metadata = self.metadata(node)?;
        let others = metadata.mode & !PERMISSIONS;
        metadata.mode = others | change(metadata.mode & PERMISSIONS);
        self.target.set_metadata(node, &metadata).map_err(|error| self.fail(error))
    }
}

impl<T: ReadableTarget> Flattener<'_, T> {
    /// What the image's passwd and group say so far. A file that is too large knows nobody.
    pub(super) fn read_names(&mut self) -> Result<Names> {
        let mut names = Names::default();
        let files =
            [(&b"/etc/passwd"[..], &mut names.users), (&b"/etc/group"[..], &mut names.groups)];
        for (path, numbers) in files {
            let Some(seen) = self.look(path)?.filter(super::Seen::is_file) else { continue };
            let size = self.target.file_size(seen.node).map_err(|error| self.fail(error))?;
            if size <= MAX_FILE
                && let Some(content) = self.read(path, usize::MAX)?
            {
                read_numbers(&content, numbers);
            }
        }
        Ok(names)
    }
}
