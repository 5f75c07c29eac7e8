//! Writing back behind the writer, so that the sync at the end has little left to wait for.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use rustix::fs::Advice;

/// So much is written back at once: the disk writes it in one go.
const PIECE: u64 = 32 << 20;

/// How many pieces may wait for a slow disk. Those for which there is no room wait for the sync.
const WAITING: usize = 4;

/// Has the kernel begin to write what a file was given, on a thread of its own, which starts with
/// the first piece and ends with the last.
#[derive(Debug, Default)]
pub(super) struct Behind {
    pieces: Option<SyncSender<(u64, u64)>>,
    written: Written,
}

impl Behind {
    /// Hears of bytes that `file` was given.
    pub(super) fn wrote(&mut self, file: &File, offset: u64, length: usize) {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        let Some(piece) = self.written.piece(offset, length) else { return };
        if self.pieces.is_none() {
            self.pieces = start(file).ok();
        }
        if let Some(pieces) = &self.pieces {
            // Where the disk is slower than the writer, the rest is left to the sync.
            let _ = pieces.try_send(piece);
        }
    }
}

fn start(file: &File) -> io::Result<SyncSender<(u64, u64)>> {
    let (pieces, waiting) = mpsc::sync_channel::<(u64, u64)>(WAITING);
    let file = file.try_clone()?;
    thread::Builder::new().name("write back".to_owned()).spawn(move || {
        for (start, length) in waiting {
            // Source: kernel, mm/fadvise.c: of dirty pages this begins the writing, without waiting
            // for it. It is advice: what it does not do, the sync does.
            let _ = rustix::fs::fadvise(&file, start, NonZeroU64::new(length), Advice::DontNeed);
        }
    })?;
    Ok(pieces)
}

/// What was written and not yet handed on: from here to there, with gaps.
#[derive(Debug, Default)]
struct Written {
    start: u64,
    end: u64,
}

impl Written {
    /// Adds bytes; the start and length of whole pieces, if there are some now.
    fn piece(&mut self, offset: u64, length: u64) -> Option<(u64, u64)> {
        let end = offset.saturating_add(length);
        if offset < self.start || offset.saturating_sub(self.end) > PIECE {
            (self.start, self.end) = (offset, end);
        }
        self.end = self.end.max(end);
        // What is behind the last whole piece may share its last page with what follows.
        let length = self.end.saturating_sub(self.start) / PIECE * PIECE;
        let start = self.start;
        self.start = start.saturating_add(length);
        (length > 0).then_some((start, length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pieces_are_handed_on_once_and_a_leap_begins_anew() {
        let mut written = Written::default();
        assert_eq!(written.piece(0, PIECE - 1), None);
        assert_eq!(written.piece(PIECE - 1, 2), Some((0, PIECE)));
        assert_eq!(written.piece(PIECE + 1, 2 * PIECE), Some((PIECE, 2 * PIECE)));
        // A small gap is a hole, which costs nothing.
        assert_eq!(written.piece(3 * PIECE + 4096, PIECE), Some((3 * PIECE, PIECE)));
        assert_eq!(written.piece(99 * PIECE, 1), None);
        assert_eq!(written.piece(99 * PIECE + 1, PIECE), Some((99 * PIECE, PIECE)));
        assert_eq!(written.piece(0, 4096), None, "the superblock comes last");
    }

    #[test]
    fn what_is_written_back_is_still_there() {
        use std::os::unix::fs::FileExt as _;
        let file = tempfile::tempfile().unwrap();
        let mut behind = Behind::default();
        let bytes = vec![7; 1 << 20];
        for number in 0..80 {
            file.write_all_at(&bytes, number << 20).unwrap();
            behind.wrote(&file, number << 20, bytes.len());
        }
        assert!(behind.pieces.is_some());
        drop(behind);
        let mut found = vec![0; 80 << 20];
        file.read_exact_at(&mut found, 0).unwrap();
        assert!(found.iter().all(|byte| *byte == 7));
    }
}
