//! A stretch of a local file that holds a blob or a document, and its reading with proof.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, Result};
use crate::read::filled;
use crate::source::limits::Bound;

/// Bytes of a file, read from the first. Copies read on their own.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// How messages call it.
    name: Arc<str>,
    file: Arc<File>,
    start: u64,
    length: u64,
    position: u64,
}

impl Section {
    pub(super) fn new(name: &str, file: &Arc<File>, start: u64, length: u64) -> Self {
        Self { name: name.into(), file: Arc::clone(file), start, length, position: 0 }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// All bytes of a small section.
    pub(super) fn document(&self, bound: Bound) -> Result<Vec<u8>> {
        if self.length > bound.bytes {
            let (name, length, limit) = (&self.name, self.length, bound.bytes);
            let message = format!("{name} is {length} bytes long, at most {limit} are read");
            return Err(bound.refuse(message));
        }
        let mut body = Vec::new();
        match self.clone().read_to_end(&mut body) {
            Ok(_) => Ok(body),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The digest of all bytes.
    pub(super) fn digest(&self, algorithm: Algorithm) -> Result<Digest> {
        let mut hasher = Hasher::new(algorithm);
        let mut buffer = vec![0; 256 << 10];
        let mut rest = self.clone();
        loop {
            match rest.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(count) => {
                    hasher.update(filled(&buffer, count).map_err(|error| self.failed(error))?);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// The first bytes, as many as there are up to `N`.
    pub(super) fn head<const N: usize>(&self) -> Result<Vec<u8>> {
        let mut head = Vec::new();
        let limit = u64::try_from(N).unwrap_or(u64::MAX);
        match self.clone().take(limit).read_to_end(&mut head) {
            Ok(_) => Ok(head),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::from_io(error, |error| {
            Error::io(format!("cannot read {}", self.name)).with_source(error)
        })
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.length.saturating_sub(self.position);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let (part, _) = buffer.split_at_mut(wanted);
        if part.is_empty() {
            return Ok(0);
        }
        let at = self.start.saturating_add(self.position);
        let count = self.file.read_at(part, at)?;
        if count == 0 {
            let (name, position, length) = (&self.name, self.position, self.length);
            return Err(Error::io(format!(
                "{name} was cut while it was read: {position} of {length} bytes are left"
            ))
            .into());
        }
        self.position = self.position.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }
}

/// A section whose end comes only after its digest has been found right.
#[derive(Debug)]
pub(in crate::source) struct VerifiedReader {
    section: Section,
    digest: Digest,
    state: State,
}

#[derive(Debug)]
enum State {
    Open(Hasher),
    Verified,
    Refused,
}

impl VerifiedReader {
    pub(super) fn new(section: Section, digest: &Digest) -> Self {
        let state = State::Open(Hasher::new(digest.algorithm()));
        Self { section, digest: digest.clone(), state }
    }

    fn verify_end(&mut self) -> Result<()> {
        let State::Open(hasher) = std::mem::replace(&mut self.state, State::Refused) else {
            return Ok(());
        };
        verify(&self.section.name, &hasher.finish(), &self.digest)?;
        self.state = State::Verified;
        Ok(())
    }
}

impl Read for VerifiedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let hasher = match &mut self.state {
            _ if buffer.is_empty() => return Ok(0),
            State::Verified => return Ok(0),
            State::Refused => {
                return Err(Error::bad_data(format!("{} is corrupt", self.section.name)).into());
            }
            State::Open(hasher) => hasher,
        };
        let count = self.section.read(buffer)?;
        hasher.update(filled(buffer, count)?);
        if count == 0 {
            self.verify_end()?;
        }
        Ok(count)
    }
}

/// Compares a digest with the one that was promised.
pub(super) fn verify(name: &str, found: &Digest, promised: &Digest) -> Result<()> {
    if found == promised {
        return Ok(());
    }
    Err(Error::bad_data(format!(
        "{name} is not what its digest says: its bytes are {found}, not {promised}"
    )))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn section(content: &[u8], start: u64, length: u64) -> Section {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Section::new("the piece", &Arc::new(file), start, length)
    }

    #[test]
    fn a_piece_is_its_stretch_and_nothing_else() {
        let section = section(b"0123456789", 3, 4);
        assert_eq!(section.document(Bound::fixed(4)).unwrap(), b"3456");
        assert_eq!(section.head::<2>().unwrap(), b"34");
        assert_eq!(section.digest(Algorithm::Sha256).unwrap(), Digest::sha256_of(b"3456"));
        assert_eq!(section.document(Bound::fixed(3)).unwrap_err().exit_code(), 65);
    }

    #[test]
    fn a_file_that_was_cut_is_an_error() {
        assert_eq!(section(b"0123", 2, 4).document(Bound::fixed(9)).unwrap_err().exit_code(), 74);
    }

    #[test]
    fn the_end_of_a_verified_section_says_that_it_is_right() {
        let mut body = Vec::new();
        let right = Digest::sha256_of(b"12");
        VerifiedReader::new(section(b"0123", 1, 2), &right).read_to_end(&mut body).unwrap();
        assert_eq!(body, b"12");
        let mut wrong = VerifiedReader::new(section(b"0123", 0, 2), &right);
        let error = wrong.read_to_end(&mut body).unwrap_err();
        assert_eq!(Error::from_io(error, |_| panic!("no error of ours")).exit_code(), 65);
        assert!(wrong.read(&mut [0; 4]).is_err());
    }
}
