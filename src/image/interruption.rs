//! Ending the program early: what is removed then, and what is not interrupted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What an interruption finds.
static STATE: Mutex<State> = Mutex::new(State { temporary: Vec::new(), is_published: false });

struct State {
    /// The temporary names of unfinished files; a file without a name goes by itself.
    temporary: Vec<PathBuf>,
    /// Whether the output has its name: the work is done then, but for syncing its directory.
    is_published: bool,
}

/// Ends the work by `end`, which does not return, unless the output has its name already: then it
/// is too late, and whoever works comes to the end by himself.
pub fn interrupt(end: impl FnOnce()) {
    let mut section = Uninterrupted::begin();
    if section.0.is_published {
        return;
    }
    for path in section.0.temporary.drain(..) {
        // The process ends: there is nobody left to tell.
        let _ = fs::remove_file(path);
    }
    end();
}

/// A section of the work that is done as a whole or not at all: an interruption waits for its end.
#[derive(Debug)]
pub(super) struct Uninterrupted(MutexGuard<'static, State>);

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("is_published", &self.is_published).finish_non_exhaustive()
    }
}

impl Uninterrupted {
    /// Begins the section; it ends when this is dropped. One thread has one at a time.
    pub(super) fn begin() -> Self {
        Self(STATE.lock().unwrap_or_else(PoisonError::into_inner))
    }

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
pub(super) struct TemporaryName(PathBuf);

impl TemporaryName {
    /// Makes a file by `make`, which says its name, so that no interruption comes between the file
    /// and the note of its name.
    pub(super) fn make<T>(
        make: impl FnOnce() -> std::io::Result<(PathBuf, T)>,
    ) -> std::io::Result<(Self, T)> {
        let mut section = Uninterrupted::begin();
        let (path, file) = make()?;
        section.0.temporary.push(path.clone());
        Ok((Self(path), file))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The file has got another name, so this one is nobody's, or already somebody else's.
    pub(super) fn renamed(mut self, section: &mut Uninterrupted) {
        section.0.temporary.retain(|path| *path != self.0);
        // What is dropped now has nothing to remove, and no section to begin.
        self.0 = PathBuf::new();
    }
}

impl Drop for TemporaryName {
    fn drop(&mut self) {
        if self.0.as_os_str().is_empty() {
            return;
        }
        let mut section = Uninterrupted::begin();
        section.0.temporary.retain(|path| *path != self.0);
        // What cannot be removed stays; there is nobody to tell.
        let _ = fs::remove_file(&self.0);
    }
}
