//! Whiteouts: they hide what lower layers put there, wherever they stand in their own layer.

use ext4_writer::FileKind;

use super::Flattener;
use super::missing::Missing;
use super::path::split_last;
use super::target::Target;
use crate::error::Result;
use crate::layer::Entry;

/// What a whiteout finds at a name.
enum WhiteoutTarget<N> {
    Nothing,
    /// Only lower layers touched it and all below it.
    Lower,
    /// This layer put it there.
    Current,
    /// A directory that this layer touched, or something below it.
    Touched(N),
}

impl<T: Target> Flattener<'_, T> {
    /// A whiteout's contents have no place: its name can only hide another.
    pub(super) fn note_contents_of_whiteout(&mut self, entry: &Entry) -> Result<()> {
        if entry.size == 0 {
            return Ok(());
        }
        let size = entry.size;
        self.lose(format!(
            "its {size} bytes are left out: a name that begins with .wh. hides another"
        ))
    }

    /// Hides one name.
    pub(super) fn apply_whiteout(&mut self, parent: &[u8], name: &[u8]) -> Result<()> {
        self.outcome.counts.whiteouts += 1;
        let Some(directory) = self.find(parent, Missing::Stop)? else { return Ok(()) };
        match self.examine(directory, name)? {
            WhiteoutTarget::Nothing | WhiteoutTarget::Current => Ok(()),
            WhiteoutTarget::Lower => self.detach(directory, name),
            WhiteoutTarget::Touched(node) => self.clear(node),
        }
    }

    /// Hides what is in a directory; a file in its place becomes an empty directory.
    pub(super) fn apply_opaque(&mut self, directory: &[u8]) -> Result<()> {
        self.outcome.counts.opaque_whiteouts += 1;
        if let Some(node) = self.find(directory, Missing::Stop)? {
            return self.clear(node);
        }
        let (parent, name) = split_last(directory);
        let Some(parent) = self.find(parent, Missing::Stop)? else { return Ok(()) };
        let kind = self.kind_of(self.lookup(parent, name)?)?;
        let is_file = !matches!(kind, None | Some(FileKind::Directory | FileKind::Symlink));
        if is_file && matches!(self.examine(parent, name)?, WhiteoutTarget::Lower) {
            self.enter(directory)?;
        }
        Ok(())
    }

    /// Takes everything out of a directory that no entry of this layer touched.
    ///
    /// A directory that was cleared before in this layer holds nothing of lower layers any more,
    /// and one that this layer did not touch goes in one piece: so each directory is looked at
    /// once in a layer, whatever the number and the nesting of the whiteouts.
    fn clear(&mut self, top: T::Node) -> Result<()> {
        let mut waiting = vec![top];
        while let Some(directory) = waiting.pop() {
            if !self.history.clear(T::index(directory), self.layer) {
                continue;
            }
            let mut hidden = Vec::new();
            let names = self.target.names(directory).map_err(|error| self.fail(error))?;
            for (name, _) in names {
                match self.examine(directory, &name)? {
                    WhiteoutTarget::Lower => hidden.push(name.into_owned()),
                    WhiteoutTarget::Touched(node) => waiting.push(node),
                    WhiteoutTarget::Nothing | WhiteoutTarget::Current => {}
                }
            }
            for name in hidden {
                self.detach(directory, &name)?;
            }
        }
        Ok(())
    }

    fn examine(&self, directory: T::Node, name: &[u8]) -> Result<WhiteoutTarget<T::Node>> {
        let Some(node) = self.lookup(directory, name)? else { return Ok(WhiteoutTarget::Nothing) };
        let is_current = self.is_current((directory, name), node);
        if self.kind(node)? != FileKind::Directory {
            return Ok(if is_current { WhiteoutTarget::Current } else { WhiteoutTarget::Lower });
        }
        // The filesystem's own directory stays, whatever hides it.
        let stays = Some(node) == self.lost_and_found;
        Ok(if stays || is_current { WhiteoutTarget::Touched(node) } else { WhiteoutTarget::Lower })
    }
}
