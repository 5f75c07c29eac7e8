//! Adding by path, with the directories that are missing above.

use crate::builder::Builder;
use crate::error::{Error, Result};
use crate::metadata::{FileContent, FileKind, Metadata, Special};
use crate::sink::Sink;
use crate::tree::NodeId;

/// What [`Builder::add_path`] adds.
#[derive(Debug)]
#[non_exhaustive]
pub enum Entry<'a> {
    /// A directory; one that is there already gets the metadata.
    Directory,
    /// A regular file with this content.
    File(FileContent<'a>),
    /// A symbolic link with this target.
    Symlink(&'a [u8]),
    /// A device, pipe or socket.
    Special(Special),
    /// Another name of this node.
    Link(NodeId),
}

impl<S: Sink> Builder<S> {
    /// Adds something at a path from the root, such as `etc/ssh/sshd_config`, and the directories
    /// above it that are missing: root's, with mode 0755 and the time of modification that `metadata`
    /// has, which says nothing else of them. Slashes at the ends and doubled ones mean nothing.
    ///
    /// Of a [`Entry::Link`] the node is returned, and `metadata` is for missing directories alone.
    ///
    /// # Errors
    /// [`Error::WrongKind`] when something above the path is no directory: symbolic links are not
    /// followed. [`Error::InvalidName`] for `.` and `..`, and for a path without a name. Else those of
    /// [`add_file`](Self::add_file) and its like.
    pub fn add_path(
        &mut self,
        path: impl AsRef<[u8]>,
        metadata: &Metadata,
        entry: Entry<'_>,
    ) -> Result<NodeId> {
        let path = path.as_ref();
        let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        let Some(name) = names.next_back() else {
            return Err(Error::InvalidName { name: path.to_vec(), reason: "names nothing" });
        };
        let parent = Metadata::root_owned(0o755, metadata.modified);
        let mut directory = self.root();
        for above in names {
            directory = match self.lookup(directory, above) {
                Some(node) if self.kind(node)? == FileKind::Directory => node,
                Some(_) => {
                    let operation = "add a path below a file";
                    return Err(Error::WrongKind { operation, needs: "a directory" });
                }
                None => self.add_directory(directory, above, &parent)?,
            };
        }
        self.add_entry(directory, name, metadata, entry)
    }

    fn add_entry(
        &mut self,
        directory: NodeId,
        name: &[u8],
        metadata: &Metadata,
        entry: Entry<'_>,
    ) -> Result<NodeId> {
        match entry {
            Entry::Directory => match self.lookup(directory, name) {
                Some(node) if self.kind(node)? == FileKind::Directory => {
                    self.set_metadata(node, metadata)?;
                    Ok(node)
                }
                _ => self.add_directory(directory, name, metadata),
            },
            Entry::File(content) => self.add_file(directory, name, metadata, content),
            Entry::Symlink(target) => self.add_symlink(directory, name, metadata, target),
            Entry::Special(special) => self.add_special(directory, name, metadata, special),
            Entry::Link(node) => self.add_link(directory, name, node).map(|()| node),
        }
    }
}
