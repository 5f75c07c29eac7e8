//! An edit that is only tried: the image is read, and never written to.

use std::collections::BTreeMap;
use std::io;

use crate::edit::device::Device;
use crate::edit::runs::Runs;
use crate::format::units::widen;
use crate::reader::Source;

/// The bytes that are kept together.
const PAGE: u64 = 4096;
/// Longer contents of files are not kept: nothing of an edit reads them.
const LONGEST: usize = 64 << 10;
/// The most pages that are kept: 256 MiB.
const MOST: usize = 1 << 16;

/// A device over a source that stays as it is: what is written is kept in memory, and is gone with
/// it. So an edit can be tried, and a journal replayed, without changing anything.
///
/// Memory is bounded: of files only short contents are kept, and what is kept is at most 256 MiB.
#[derive(Debug)]
pub struct Trial<S> {
    source: S,
    pages: BTreeMap<u64, Vec<u8>>,
    /// The pages that were written and are not kept.
    dropped: Runs,
    length: Option<u64>,
}

impl<S: Source> Trial<S> {
    /// A trial on what `source` holds.
    #[must_use]
    pub fn new(source: S) -> Self {
        Self { source, pages: BTreeMap::new(), dropped: Runs::default(), length: None }
    }

    /// The bytes of a page; behind the end of the source there are zeros.
    fn page(&self, number: u64) -> io::Result<Vec<u8>> {
        if let Some(page) = self.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = vec![0; usize::try_from(PAGE).unwrap_or(usize::MAX)];
        let left = self.source.length()?.saturating_sub(number * PAGE);
        let there = usize::try_from(left).unwrap_or(usize::MAX).min(page.len());
        if there == 0 {
            return Ok(page);
        }
        let known = page.get_mut(..there).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.source.read_at(number * PAGE, known)?;
        Ok(page)
    }
}

/// The pieces of a range in the pages: the page, where in it, how many bytes.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let (mut at, mut left) = (offset, length);
    std::iter::from_fn(move || {
        let into = at % PAGE;
        let size = usize::try_from(PAGE - into).unwrap_or(usize::MAX).min(left);
        let piece = (at / PAGE, usize::try_from(into).unwrap_or(usize::MAX), size);
        (at, left) = (at + widen(size), left - size);
        (size > 0).then_some(piece)
    })
}

impl<S: Source> Source for Trial<S> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let length = widen(buffer.len());
        let is_inside =
            offset.checked_add(length).is_some_and(|end| self.length().is_ok_and(|all| end <= all));
        if !is_inside {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (first, last) = (offset / PAGE, (offset + length).div_ceil(PAGE));
        if length > 0 && self.dropped.touches(first, last) {
            return Err(io::Error::other("the contents of a file are not kept in a trial"));
        }
        let mut rest = buffer;
        for (number, start, size) in pieces(offset, rest.len()) {
            let (piece, behind) = rest.split_at_mut(size);
            let page = self.page(number)?;
            let from = page.get(start..start + size).ok_or(io::ErrorKind::UnexpectedEof)?;
            piece.copy_from_slice(from);
            rest = behind;
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        self.length.map_or_else(|| self.source.length(), Ok)
    }
}

impl<S: Source> Device for Trial<S> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        for (number, start, size) in pieces(offset, bytes.len()) {
            let (piece, behind) = rest.split_at(size);
            let mut page = self.page(number)?;
            let place = page.get_mut(start..start + size);
            place.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(piece);
            self.pages.insert(number, page);
            rest = behind;
        }
        if self.pages.len() > MOST {
            let reason = "a trial keeps 256 MiB of what is written, and this is more";
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, reason));
        }
        Ok(())
    }

    fn write_free_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() <= LONGEST {
            return self.write_at(offset, bytes);
        }
        // Pages of which a part is something else are kept.
        let (first, last) = (offset.div_ceil(PAGE), (offset + widen(bytes.len())) / PAGE);
        let place = |at: u64| usize::try_from(at - offset).unwrap_or(usize::MAX);
        let (start, end) = (place(first * PAGE), place(last * PAGE));
        let outside = || io::Error::from(io::ErrorKind::UnexpectedEof);
        self.write_at(offset, bytes.get(..start).ok_or_else(outside)?)?;
        self.write_at(last * PAGE, bytes.get(end..).ok_or_else(outside)?)?;
        self.dropped.add(first, last);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.length = Some(length);
        Ok(())
    }

    fn grows_with_zeros(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_source_stays() {
        let source = vec![1; 10_000];
        let mut trial = Trial::new(source.as_slice());
        trial.write_at(4090, &[2; 20]).unwrap();
        trial.set_length(20_000).unwrap();
        trial.write_free_at(19_990, &[3; 10]).unwrap();
        let mut all = vec![9; 20_000];
        trial.read_at(0, &mut all).unwrap();
        let expected = [
            vec![1; 4090],
            vec![2; 20],
            vec![1; 10_000 - 4110],
            vec![0; 19_990 - 10_000],
            vec![3; 10],
        ];
        assert!(all == expected.concat());
        assert!(trial.read_at(19_999, &mut [0; 2]).is_err());
        assert!(source == vec![1; 10_000]);
    }

    #[test]
    fn long_contents_are_not_kept_and_not_made_up() {
        let mut trial = Trial::new(vec![1; 1 << 20]);
        trial.write_free_at(8000, &vec![2; 80_000]).unwrap();
        assert_eq!(trial.pages.len(), 2);
        assert!(trial.read_at(8192, &mut [0; 1]).is_err());
        let mut around = [0; 8192];
        trial.read_at(0, &mut around).unwrap();
        assert_eq!((around[7999], around[8000]), (1, 2));
        trial.read_at(86_016, &mut around).unwrap();
        assert_eq!((around[88_000 - 86_017], around[88_000 - 86_016]), (2, 1));
    }
}
