//! An image's tree, as the checks ask for it.

use ext4_writer::FileKind;
use ext4_writer::reader::{Inode, Links, ReadError, ReadResult, Reader, Source, SuperblockInfo};

/// The most names of a directory that are looked at.
const MAX_NAMES: usize = 10_000;

/// A filesystem, in which what is not there is no error.
pub(super) struct Tree<'a, S> {
    pub(super) reader: &'a Reader<S>,
}

impl<S: Source> Tree<'_, S> {
    pub(super) fn facts(&self) -> &SuperblockInfo {
        self.reader.superblock()
    }

    /// What a path leads to; links are followed inside the image.
    pub(super) fn find(&self, path: &[u8]) -> ReadResult<Option<Inode>> {
        absent(self.reader.lookup(path, Links::Follow))
    }

    /// What stands at a path, be it a link that leads nowhere.
    pub(super) fn is_there(&self, path: &[u8]) -> ReadResult<bool> {
        Ok(absent(self.reader.lookup(path, Links::Keep))?.is_some())
    }

    /// What kind of thing stands at a path.
    pub(super) fn kind(&self, path: &[u8]) -> ReadResult<Option<FileKind>> {
        let found = absent(self.reader.lookup(path, Links::Keep))?;
        Ok(found.and_then(|inode| inode.kind()))
    }

    /// The regular file that a path leads to.
    pub(super) fn file(&self, path: &[u8]) -> ReadResult<Option<Inode>> {
        Ok(self.find(path)?.filter(|inode| inode.is(FileKind::Regular)))
    }

    pub(super) fn is_directory(&self, path: &[u8]) -> ReadResult<bool> {
        Ok(self.find(path)?.is_some_and(|inode| inode.is(FileKind::Directory)))
    }

    /// The first bytes of a regular file, at most so many.
    pub(super) fn read(&self, path: &[u8], limit: usize) -> ReadResult<Option<Vec<u8>>> {
        let Some(file) = self.file(path)? else { return Ok(None) };
        let length = usize::try_from(file.size()).unwrap_or(usize::MAX).min(limit);
        let mut content = vec![0; length];
        let got = self.reader.read_at(&file, 0, &mut content)?;
        content.truncate(got);
        Ok(Some(content))
    }

    /// A part of a file.
    pub(super) fn read_at(
        &self,
        file: &Inode,
        offset: u64,
        buffer: &mut [u8],
    ) -> ReadResult<usize> {
        self.reader.read_at(file, offset, buffer)
    }

    /// Whether a directory has a name that begins so.
    pub(super) fn has_name(&self, directory: &[u8], start: &[u8]) -> ReadResult<bool> {
        let directory = self.find(directory)?.filter(|inode| inode.is(FileKind::Directory));
        let Some(directory) = directory else { return Ok(false) };
        for entry in self.reader.read_directory(&directory)?.take(MAX_NAMES) {
            if entry?.name.starts_with(start) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn absent<T>(found: ReadResult<T>) -> ReadResult<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(
            ReadError::NotFound { .. }
            | ReadError::TooManyLinks { .. }
            | ReadError::WrongKind { .. },
        ) => Ok(None),
        Err(error) => Err(error),
    }
}
