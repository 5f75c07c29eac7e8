//! What was found in an image. Long results are printed while they are made, as lines or as one
//! JSON document that ends with the error that ended it, or `null`.
//!
//! Names of an image are any bytes but `/` and NUL. People see printable UTF-8 as it is and all
//! else escaped, so that every name is one line and no name moves a terminal's cursor: `\n`, `\t`,
//! `\\`, `\x1b`. In JSON a name that is not UTF-8 has U+FFFD in place of what is not, and a member
//! beside it, such as `path_hex`, with all its bytes.

mod differences;
mod exported;
mod names;
mod stat;
mod summary;

use std::cell::RefCell;
use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write};

use serde::Serialize;
use serde::ser::{SerializeSeq as _, Serializer};

use super::{Report, described};
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::look::Image;

pub(crate) use names::Style;
pub(super) use names::names_text;

/// The exit code of a program whose reader went away, as the shell tells it of one that SIGPIPE
/// ended.
const READER_LEFT: u8 = 141;

/// Standard output, for results that are long or not text.
#[derive(Debug)]
pub(crate) struct Output {
    out: BufWriter<Stdout>,
    reader_left: bool,
}

impl Report {
    /// Standard output for the bytes of a result.
    #[must_use]
    pub(crate) fn output() -> Output {
        Output { out: BufWriter::with_capacity(64 << 10, io::stdout()), reader_left: false }
    }

    /// Says what has to be said of everything that is read from an image.
    pub(crate) fn caveat(self, image: &Image) {
        for line in image.caveats() {
            self.step(&line);
        }
    }
}

impl Output {
    /// Whether a person would see the bytes.
    #[must_use]
    pub(crate) fn is_terminal() -> bool {
        io::stdout().is_terminal()
    }

    /// An error that writing answered.
    #[must_use]
    pub(crate) fn unwritten(error: io::Error) -> Error {
        Error::io("cannot write to standard output").with_source(error)
    }

    /// Writes what is left; the exit code of the whole work. A reader that went away, as `head`
    /// does, is no error of ours.
    pub(crate) fn end(mut self, done: Result<u8>) -> Result<u8> {
        let flushed = self.flush();
        match done {
            _ if self.reader_left => Ok(READER_LEFT),
            Ok(code) => flushed.map(|()| code).map_err(Self::unwritten),
            Err(error) => Err(error),
        }
    }

    fn noted<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &done {
            self.reader_left |= error.kind() == io::ErrorKind::BrokenPipe;
        }
        done
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let done = self.out.write(bytes);
        self.noted(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        let done = self.out.flush();
        self.noted(done)
    }
}

/// The image that a result is of.
#[derive(Debug, Serialize)]
struct Head {
    image: String,
    recovery: Option<RecoveryText>,
    /// What people hear on standard error.
    caveats: Vec<String>,
}

/// What a journal was replayed for, in memory.
#[derive(Debug, Serialize)]
struct RecoveryText {
    transactions: u32,
    blocks: u64,
}

impl Head {
    fn of(image: &Image) -> Self {
        let recovery = image.recovery();
        let recovery = recovery.map(|recovery| RecoveryText {
            transactions: recovery.transactions,
            blocks: recovery.blocks,
        });
        Self { image: image.name().to_owned(), recovery, caveats: image.caveats() }
    }
}

/// The error that ended a document, once there is one.
#[derive(Default)]
struct Failure(RefCell<Option<Error>>);

impl Failure {
    /// The exit code of a document that was printed to its end.
    fn code(&self) -> u8 {
        self.0.borrow().as_ref().map_or(0, Error::exit_code)
    }
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.borrow().as_ref().map(described).serialize(serializer)
    }
}

/// A list of a document that is made while it is printed; it ends at the first error.
struct Stream<'a, I> {
    items: RefCell<I>,
    failure: &'a Failure,
}

impl<'a, I> Stream<'a, I> {
    fn new(items: I, failure: &'a Failure) -> Self {
        Self { items: RefCell::new(items), failure }
    }
}

impl<T: Serialize, I: Iterator<Item = Result<T>>> Serialize for Stream<'_, I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        let mut failure = self.failure.0.borrow_mut();
        // Behind an error of an earlier list nothing is asked for.
        while failure.is_none() {
            match self.items.borrow_mut().next() {
                None => break,
                Some(Ok(item)) => list.serialize_element(&item)?,
                Some(Err(error)) => *failure = Some(error),
            }
        }
        list.end()
    }
}

/// Prints a document.
fn document<T: Serialize>(out: &mut Output, value: &T) -> Result<()> {
    let printed = serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from);
    printed.and_then(|()| out.write_all(b"\n")).map_err(Output::unwritten)
}

/// A name for people.
fn shown(bytes: &[u8]) -> String {
    crate::shown::bytes(bytes).to_string()
}

/// A value that is no text, for people: at most so many of its bytes.
fn bytes_text(value: &[u8], most: usize) -> String {
    match value.get(..most) {
        Some(start) if value.len() > most => format!("0x{}… ({} bytes)", hex(start), value.len()),
        _ => format!("0x{}", hex(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_ends_with_the_error_that_ended_its_list() {
        #[derive(Serialize)]
        #[serde(bound = "")]
        struct Streams<'a, I>
        where
            Stream<'a, I>: Serialize,
        {
            items: Stream<'a, I>,
            more: Stream<'a, I>,
            error: &'a Failure,
        }
        let failure = Failure::default();
        let items = || vec![Ok(1), Err(Error::bad_data("bad")), Ok(2)].into_iter();
        let (items, more) = (Stream::new(items(), &failure), Stream::new(items(), &failure));
        let text = serde_json::to_string(&Streams { items, more, error: &failure }).unwrap();
        let expected = r#"{"items":[1],"more":[],"error":{"exit_code":65,"hint":null,"kind":"bad-data","message":"bad"}}"#;
        assert_eq!((text.as_str(), failure.code()), (expected, 65));
    }
}
