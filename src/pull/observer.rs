//! What a pull tells while it works.

use std::io::{self, Read};
use std::sync::Arc;

/// Hears what a pull does, from any of its threads; what is not of interest need not be heard.
pub trait Observer: Send + Sync {
    /// Something else is being done now, in words.
    fn step(&self, _line: &str) {}

    /// Something was passed over, or is tried again.
    fn warning(&self, _line: &str) {}

    /// So many bytes are going to be read.
    fn begin(&self, _bytes: u64) {}

    /// So many more of them were read.
    fn advance(&self, _bytes: u64) {}

    /// They were read, or an error came before that.
    fn end(&self) {}
}

/// Hears nothing.
impl Observer for () {}

/// A span in which bytes are read; it ends when this is dropped.
pub(super) struct Span<'a>(&'a Arc<dyn Observer>);

impl<'a> Span<'a> {
    pub(super) fn begin(observer: &'a Arc<dyn Observer>, bytes: u64) -> Self {
        observer.begin(bytes);
        Self(observer)
    }

    /// The same reader; what is read from it counts.
    pub(super) fn watch<R: Read>(&self, reader: R) -> Watched<R> {
        Watched { reader, observer: Arc::clone(self.0) }
    }
}

impl Drop for Span<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A reader whose bytes are counted.
pub(super) struct Watched<R> {
    reader: R,
    observer: Arc<dyn Observer>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.observer.advance(u64::try_from(count).map_err(io::Error::other)?);
        Ok(count)
    }
}
