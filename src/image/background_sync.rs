//! Syncing behind the writer, so that the sync at the end has little left to wait for.

use std::fs::File;
use std::io;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};

/// So much is written between two syncs at least.
const PIECE: u64 = 64 << 20;

/// Syncs a file while it is still written to, on a thread of its own that never holds up the
/// writer: it starts with the first piece, and while it is busy no other sync is begun.
#[derive(Debug, Default)]
pub(super) struct BackgroundSync {
    running: Option<Running>,
    /// The bytes written since the last sync was begun.
    waiting: u64,
}

#[derive(Debug)]
struct Running {
    wake: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl BackgroundSync {
    /// Hears of bytes that `file` was given.
    pub(super) fn wrote(&mut self, file: &File, length: usize) {
        self.waiting = self.waiting.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        if self.waiting >= PIECE {
            self.sync(file);
        }
    }

    /// Begins a sync of what was written before something that takes long.
    pub(super) fn hurry(&mut self, file: &File) {
        if self.waiting > 0 {
            self.sync(file);
        }
    }

    fn sync(&mut self, file: &File) {
        if self.running.is_none() {
            // Without a thread the sync at the end has more to do.
            self.running = start(file).ok();
        }
        let wake = self.running.as_ref().map(|running| running.wake.try_send(()));
        if !matches!(wake, Some(Err(TrySendError::Full(())))) {
            self.waiting = 0;
        }
    }

    /// Ends the thread. What one of its syncs failed with the kernel tells nobody again, so it is
    /// told here.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let Some(Running { wake, thread }) = self.running.take() else { return Ok(()) };
        drop(wake);
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that syncs is gone")))
    }
}

fn start(file: &File) -> io::Result<Running> {
    let file = file.try_clone()?;
    let (wake, woken) = mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name("sync".to_owned())
        .spawn(move || woken.iter().try_for_each(|()| file.sync_data()))?;
    Ok(Running { wake, thread })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_thread_syncs_large_files_and_ends_without_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        let mut background_sync = BackgroundSync::default();
        let bytes = vec![7; 1 << 20];
        for number in 1..=130 {
            file.write_all(&bytes).unwrap();
            background_sync.wrote(&file, bytes.len());
            assert_eq!(background_sync.running.is_some(), number >= 64, "after {number} MiB");
        }
        background_sync.end().unwrap();
        assert_eq!(background_sync.waiting, 2 << 20);
        background_sync.hurry(&file);
        assert!(background_sync.running.is_some() && background_sync.waiting == 0);
        background_sync.end().unwrap();
        background_sync.hurry(&file);
        assert!(background_sync.running.is_none(), "nothing waits");
        background_sync.end().unwrap();
    }

    #[test]
    fn the_error_of_a_sync_is_told_at_the_end() {
        // Nothing that is a pipe can be synced: EINVAL.
        let (_reader, writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let mut background_sync = BackgroundSync::default();
        background_sync.wrote(&file, 64 << 20);
        assert_eq!(background_sync.end().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
