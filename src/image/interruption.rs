//! Ending the work early: what is removed then, and what is not interrupted.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What may end the making of an image early, such as a signal. Images that are made at the same
/// time and end one by one have one each; clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct Interruption(Arc<Mutex<State>>);

/// What an interruption finds.
#[derive(Default)]
struct State {
    /// The temporary names of unfinished files; a file without a name goes by itself.
    temporary: Vec<PathBuf>,
    /// Whether the output has its name: the work is done then, but for syncing its directory.
    is_published: bool,
}

impl Interruption {
    /// Ends the work by `end`, which does not return, unless the output has its name already: then
    /// it is too late, and whoever works comes to the end by himself.
    pub fn interrupt(&self, end: impl FnOnce()) {
        let mut section = self.hold_off();
        if section.0.is_published {
            return;
        }
        for path in section.0.temporary.drain(..) {
            // The process ends: there is nobody left to tell.
            let _ = fs::remove_file(path);
        }
        end();
    }

    /// Begins a section that ends when it is dropped. One thread has one at a time.
    pub(super) fn hold_off(&self) -> Uninterrupted<'_> {
        Uninterrupted(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does what changes an image as a whole: an interruption waits for it, and comes too late if
    /// it succeeds.
    pub(crate) fn uninterrupted<T, E>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let mut section = self.hold_off();
        let done = work()?;
        section.published();
        Ok(done)
    }
}

/// A section of the work that is done as a whole or not at all: an interruption waits for its end.
#[derive(Debug)]
pub(super) struct Uninterrupted<'a>(MutexGuard<'a, State>);

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("is_published", &self.is_published).finish_non_exhaustive()
    }
}

impl Uninterrupted<'_> {
    /// Another output is begun.
    pub(super) fn unpublish(&mut self) {
        self.0.is_published = false;
    }

    /// The output has its name: from now on nothing interrupts.
    pub(super) fn published(&mut self) {
        self.0.is_published = true;
    }
}

/// The temporary name of an unfinished file, which goes when this is dropped, or by an
/// interruption.
#[derive(Debug)]
pub(super) struct TemporaryName {
    path: PathBuf,
    interruption: Interruption,
}

impl TemporaryName {
    /// Makes a file by `make`, which says its name, so that no interruption comes between the file
    /// and the note of its name.
    pub(super) fn make<T>(
        interruption: &Interruption,
        make: impl FnOnce() -> io::Result<(PathBuf, T)>,
    ) -> io::Result<(Self, T)> {
        let mut section = interruption.hold_off();
        let (path, file) = make()?;
        section.0.temporary.push(path.clone());
        Ok((Self { path, interruption: interruption.clone() }, file))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file has got another name, so this one is nobody's, or already somebody else's.
    pub(super) fn renamed(mut self, section: &mut Uninterrupted<'_>) {
        section.0.temporary.retain(|path| *path != self.path);
        // What is dropped now has nothing to remove, and no section to begin.
        self.path = PathBuf::new();
    }
}

impl Drop for TemporaryName {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        let mut section = self.interruption.hold_off();
        section.0.temporary.retain(|path| *path != self.path);
        // What cannot be removed stays; there is nobody to tell.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_images_of_a_process_are_interrupted_each_by_itself() {
        let directory = tempfile::tempdir().unwrap();
        let (done, begun) = (Interruption::default(), Interruption::default());
        let make = |name: &str| {
            let path = directory.path().join(name);
            fs::write(&path, "")?;
            Ok((path, ()))
        };
        let (of_done, ()) = TemporaryName::make(&done, || make("done")).unwrap();
        let (_of_begun, ()) = TemporaryName::make(&begun, || make("begun")).unwrap();
        done.uninterrupted(|| Ok::<_, io::Error>(())).unwrap();
        done.interrupt(|| panic!("its output has its name"));
        let mut has_ended = false;
        begun.clone().interrupt(|| has_ended = true);
        assert!(has_ended);
        assert!(of_done.path().exists());
        assert!(!directory.path().join("begun").exists());
    }
}
