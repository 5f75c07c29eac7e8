//! A sink that writes on a thread of its own.

use std::io;
use std::ops::Range;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::buffer::Buffer;
use crate::deferred_error::DeferredError;
use crate::format::units::widen;
use crate::reader::Source;
use crate::sink::{InitialContents, Sink, part_is_inside};
use crate::write_buffer::PAGES;

/// What the thread is to do with the sink, and where it gives back what it wrote.
type Command<S> = Box<dyn FnOnce(&mut S, &Sender<Buffer>) -> io::Result<()> + Send>;

/// The commands that wait for the thread at most, and the buffers that are away with them.
const WAITING: usize = 2;

/// Gives another sink its bytes on a thread, so that whoever writes can go on meanwhile.
///
/// The sink is given the same as without, in the same order; no more than 4 MiB wait for it. An
/// error is told by a later call, at the latest by [`sync`](Sink::sync), and nothing is written
/// behind it.
pub struct WriteBehind<S> {
    /// `None` when no more come.
    commands: Option<SyncSender<Command<S>>>,
    /// Buffers that were written.
    emptied: Receiver<Buffer>,
    /// How many buffers there are.
    buffers: usize,
    failure: Arc<Mutex<Option<io::Error>>>,
    thread: Option<JoinHandle<S>>,
}

impl<S> std::fmt::Debug for WriteBehind<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteBehind").field("buffers", &self.buffers).finish_non_exhaustive()
    }
}

impl<S: Send + 'static> WriteBehind<S> {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn new(sink: S) -> io::Result<Self> {
        let (commands, waiting) = mpsc::sync_channel(WAITING);
        let (returns, emptied) = mpsc::channel();
        let failure = Arc::new(Mutex::new(None));
        let told = Arc::clone(&failure);
        let thread = thread::Builder::new().name("write".to_owned()).spawn(move || {
            let mut sink = sink;
            if let Err(error) = obey(&mut sink, &waiting, &returns) {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
            sink
        })?;
        Ok(Self { commands: Some(commands), emptied, buffers: 0, failure, thread: Some(thread) })
    }

    /// The sink, when all is written.
    ///
    /// # Errors
    /// When something could not be written and no call before told so.
    pub fn into_inner(mut self) -> io::Result<S> {
        self.commands = None;
        let sink = self.thread.take().and_then(|thread| thread.join().ok());
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (sink, failure) {
            (Some(sink), None) => Ok(sink),
            (_, Some(error)) => Err(error),
            (None, None) => Err(gone()),
        }
    }

    /// Has something done, without waiting for it.
    fn post(
        &self,
        command: impl FnOnce(&mut S, &Sender<Buffer>) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let sent = self.commands.as_ref().map(|commands| commands.send(Box::new(command)));
        if matches!(sent, Some(Ok(()))) { Ok(()) } else { Err(self.failed()) }
    }

    /// Has something done behind all that was posted, and waits for what comes of it.
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut S) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.post(move |sink, _| {
            // Who asked waits for it.
            let _ = reply.send(question(sink));
            Ok(())
        })?;
        match answer.recv() {
            Ok(answered) => answered,
            Err(_) => Err(self.failed()),
        }
    }

    /// Why the thread has ended.
    fn failed(&self) -> io::Error {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.unwrap_or_else(gone)
    }

    /// A buffer that nobody uses, of so many pages.
    fn spare(&mut self, pages: usize) -> io::Result<Buffer> {
        let emptied = match self.emptied.try_recv() {
            Ok(buffer) => buffer,
            Err(_) if self.buffers <= WAITING => {
                self.buffers += 1;
                return Buffer::new(pages);
            }
            Err(_) => self.emptied.recv().map_err(|_| self.failed())?,
        };
        if emptied.pages() == pages { Ok(emptied) } else { Buffer::new(pages) }
    }
}

/// Does what comes until nothing comes any more, or something fails.
fn obey<S>(
    sink: &mut S,
    commands: &Receiver<Command<S>>,
    returns: &Sender<Buffer>,
) -> io::Result<()> {
    commands.iter().try_for_each(|command| command(sink, returns))
}

fn gone() -> io::Error {
    io::Error::other("the thread that writes is gone")
}

impl<S: Sink + Send + 'static> WriteBehind<S> {
    fn post_write(&self, offset: u64, buffer: Buffer, part: Range<usize>) -> io::Result<()> {
        self.post(move |sink, returns| {
            let bytes = buffer.bytes().get(part).ok_or_else(part_is_inside)?;
            let done = sink.write_at(offset, bytes);
            done.map_err(|error| DeferredError::error(offset, widen(bytes.len()), error))?;
            // Nobody wants it when no more is written.
            let _ = returns.send(buffer);
            Ok(())
        })
    }
}

impl<S: Sink + Send + 'static> Sink for WriteBehind<S> {
    fn prepare(&mut self, length: Option<u64>) -> io::Result<InitialContents> {
        self.ask(move |sink| sink.prepare(length))
    }

    fn capacity(&self) -> Option<u64> {
        let asked = self.ask(|sink| Ok(sink.capacity()));
        match asked {
            Ok(capacity) => capacity,
            Err(error) => {
                // An error of a write that this call cannot tell is the next one's to tell.
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                None
            }
        }
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut at = offset;
        for piece in bytes.chunks(PAGES * Buffer::PAGE) {
            let mut buffer = self.spare(PAGES)?;
            let target = buffer.bytes_mut().get_mut(..piece.len()).ok_or_else(part_is_inside)?;
            target.copy_from_slice(piece);
            self.post_write(at, buffer, 0..piece.len())?;
            at = at.checked_add(widen(piece.len())).ok_or(io::ErrorKind::FileTooLarge)?;
        }
        Ok(())
    }

    fn write_buffer(
        &mut self,
        offset: u64,
        buffer: &mut Buffer,
        part: Range<usize>,
    ) -> io::Result<()> {
        let spare = self.spare(buffer.pages())?;
        self.post_write(offset, std::mem::replace(buffer, spare), part)
    }

    fn zero_at(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.post(move |sink, _| {
            sink.zero_at(offset, length)
                .map_err(|error| DeferredError::error(offset, length, error))
        })
    }

    fn barrier(&mut self) -> io::Result<()> {
        self.ask(Sink::barrier)
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.ask(move |sink| sink.set_length(length))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.ask(Sink::sync)
    }
}

/// What was written can be read back where the sink can read.
impl<S: Source + Send + 'static> Source for WriteBehind<S> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let length = buffer.len();
        let read = self.ask(move |sink| {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(length)?;
            bytes.resize(length, 0);
            sink.read_at(offset, &mut bytes).map(|()| bytes)
        })?;
        buffer.copy_from_slice(&read);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        self.ask(|sink| sink.length())
    }
}

impl<S> Drop for WriteBehind<S> {
    /// Waits for the thread: nothing is written any more behind it.
    fn drop(&mut self) {
        self.commands = None;
        // A panic of the sink was told when it was asked for more.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::format::units::BlockSize;
    use crate::sink::MemorySink;
    use crate::write_buffer::WriteBuffer;

    fn buffer(byte: u8) -> Buffer {
        let mut buffer = Buffer::new(1).unwrap();
        buffer.bytes_mut().fill(byte);
        buffer
    }

    #[test]
    fn bytes_arrive_in_their_order_and_buffers_are_used_again() {
        let mut behind = WriteBehind::new(MemorySink::new()).unwrap();
        let mut own = buffer(0);
        for number in 0..200u8 {
            own.bytes_mut().fill(number);
            behind.write_buffer(u64::from(number) * 1000, &mut own, 0..2000).unwrap();
            assert_eq!(own.pages(), 1);
        }
        assert_eq!(behind.buffers, WAITING + 1);
        behind.zero_at(500, 300).unwrap();
        behind.write_at(700, &vec![9; 3 << 20]).unwrap();
        behind.set_length(800).unwrap();
        behind.sync().unwrap();
        let bytes = behind.into_inner().unwrap().into_bytes();
        assert_eq!(bytes[..500], [0; 500]);
        assert_eq!((&bytes[500..700], &bytes[700..]), (&[0; 200][..], &[9; 100][..]));
    }

    #[derive(Debug)]
    struct Full(usize);

    impl Sink for Full {
        fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
            Ok(())
        }
        fn zero_at(&mut self, _: u64, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn set_length(&mut self, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn sync(&mut self) -> io::Result<()> {
            panic!("a bad sink");
        }
    }

    #[test]
    fn an_error_says_where_it_was_and_not_where_it_was_told() {
        const MIB: u64 = 1 << 20;
        let behind = WriteBehind::new(Full(2)).unwrap();
        let mut write_buffer =
            WriteBuffer::new(behind, InitialContents::Zeros, BlockSize::DEFAULT).unwrap();
        let failed = (0..10_000).find_map(|_| write_buffer.append(&[7; 4096]).err()).unwrap();
        let Error::WriteImage { offset, length, source } = failed else { panic!("{failed}") };
        assert_eq!((offset, length), (2 * MIB, MIB));
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn an_error_is_told_once_and_nothing_follows_it() {
        let mut behind = WriteBehind::new(Full(5)).unwrap();
        let mut own = buffer(1);
        let failed = (0..100).find_map(|_| behind.write_buffer(0, &mut own, 0..10).err()).unwrap();
        assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
        assert_eq!(behind.write_at(0, b"more").unwrap_err().kind(), io::ErrorKind::Other);
        assert_eq!(behind.into_inner().unwrap().0, 0);
    }

    #[test]
    fn a_part_that_is_not_in_its_buffer_is_not_taken_for_written() {
        let mut behind = WriteBehind::new(MemorySink::new()).unwrap();
        behind.write_buffer(0, &mut buffer(1), 10..5000).unwrap();
        let failed = behind.sync().unwrap_err();
        let inner = failed.get_ref().and_then(|inner| inner.downcast_ref());
        assert!(matches!(inner, Some(Error::Internal { .. })), "{failed}");
    }

    #[test]
    fn an_error_that_a_call_could_not_tell_is_told_by_the_next() {
        let mut behind = WriteBehind::new(Full(0)).unwrap();
        behind.write_at(0, b"one").unwrap();
        assert_eq!(behind.capacity(), None);
        assert_eq!(behind.write_at(3, b"two").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn an_error_that_no_call_told_is_told_at_the_end() {
        let mut behind = WriteBehind::new(Full(0)).unwrap();
        behind.write_at(0, b"one").unwrap();
        assert_eq!(behind.into_inner().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_sink_that_panics_is_an_error() {
        let mut behind = WriteBehind::new(Full(0)).unwrap();
        assert_eq!(behind.sync().unwrap_err().kind(), io::ErrorKind::Other);
        assert!(behind.into_inner().is_err());
    }
}
