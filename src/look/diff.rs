//! Two trees side by side: walked once, in the same order.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::Peekable;

use ext4_writer::reader::{FileSegment, Inode, SegmentKind, Segments, Walk, WalkEntry};
use ext4_writer::{Buffer, FileKind};

use super::difference::{Detail, Details, Difference, Kind, Value};
use super::names::FirstNames;
use super::{Image, Status, Window};
use crate::error::{Error, Result};

/// How much of two contents is compared at once.
const COMPARED: usize = 256 << 10;
/// How many results of comparing contents are kept; behind them contents are compared again.
const MAX_KEPT: usize = 1 << 20;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Whether times of modification are.
    pub times: bool,
    /// Whether only what differs matters, not how: nothing below a directory that only one tree
    /// has is told.
    pub brief: bool,
}

/// Two images that are compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comparison<'a> {
    /// The first.
    pub a: &'a Image,
    /// The second.
    pub b: &'a Image,
    /// What is compared.
    pub scope: Scope,
}

/// The differences, in the order of the paths' names.
pub(crate) struct Differences<'a> {
    scope: Scope,
    a: Side<'a>,
    b: Side<'a>,
    /// Whether the contents of two inodes of several names are the same.
    compared: BTreeMap<(u32, u32), bool>,
    /// A directory that only one tree has, whose names are not told.
    hidden: Option<Vec<u8>>,
    failed: bool,
}

/// What is met at the next path.
enum Met {
    /// Neither tree has more.
    End,
    /// Nothing that differs.
    Same,
    Different(Box<Difference>),
}

struct Side<'a> {
    image: &'a Image,
    walk: Peekable<Walk<'a, Window>>,
    links: FirstNames,
    /// For contents, one after the other.
    buffer: Buffer,
}

impl<'a> Comparison<'a> {
    /// Begins to compare.
    pub(crate) fn differences(self) -> Result<Differences<'a>> {
        let side = |image: &'a Image| -> Result<Side<'a>> {
            let root = image.reader.root().map_err(|error| image.failed(error))?;
            let walk = image.reader.walk(&root).peekable();
            let buffer = Buffer::new(COMPARED / Buffer::PAGE);
            let buffer = buffer.map_err(|error| {
                let message = format!("cannot compare the contents of {}", image.name());
                Error::try_again(message).with_source(error)
            })?;
            Ok(Side { image, walk, links: FirstNames::default(), buffer })
        };
        Ok(Differences {
            scope: self.scope,
            a: side(self.a)?,
            b: side(self.b)?,
            compared: BTreeMap::new(),
            hidden: None,
            failed: false,
        })
    }
}

impl Side<'_> {
    fn next(&mut self) -> Result<Option<WalkEntry>> {
        self.walk.next().transpose().map_err(|error| self.image.failed(error))
    }

    /// The first name of an inode that was met under another.
    fn first(&mut self, met: &WalkEntry) -> Result<Option<Value>> {
        if met.inode.is(FileKind::Directory) {
            return Ok(None);
        }
        let first = self.links.first(&met.inode, &met.path)?;
        Ok(first.map(|path| Value::Name([b"/", path].concat())))
    }
}

/// The order in which a walk meets paths.
fn order(a: &[u8], b: &[u8]) -> Ordering {
    a.split(|byte| *byte == b'/').cmp(b.split(|byte| *byte == b'/'))
}

impl Differences<'_> {
    /// The next path that one tree has or both have.
    fn step(&mut self) -> Result<Met> {
        // What cannot be read is met before what follows it is compared.
        let order = match (self.a.walk.peek(), self.b.walk.peek()) {
            (None, None) => return Ok(Met::End),
            (Some(Ok(a)), Some(Ok(b))) => order(&a.path, &b.path),
            (Some(Err(_)), _) | (Some(_), None) => Ordering::Less,
            (_, Some(_)) => Ordering::Greater,
        };
        match order {
            Ordering::Less => self.alone(Kind::Removed),
            Ordering::Greater => self.alone(Kind::Added),
            Ordering::Equal => {
                let (a, b) = (self.a.next()?, self.b.next()?);
                match (a, b) {
                    (Some(a), Some(b)) => self.both(&a, &b),
                    _ => Err(Error::internal("two walks ended where they had gone on")),
                }
            }
        }
    }

    fn alone(&mut self, kind: Kind) -> Result<Met> {
        let side = if kind == Kind::Removed { &mut self.a } else { &mut self.b };
        let Some(met) = side.next()? else { return Ok(Met::End) };
        side.first(&met)?;
        let status = Status::new(&met.inode, side.image.name())?;
        let path = [b"/", met.path.as_slice()].concat();
        if self.scope.brief {
            if self.hidden.as_ref().is_some_and(|hidden| path.starts_with(hidden)) {
                return Ok(Met::Same);
            }
            let below = [path.as_slice(), b"/"].concat();
            self.hidden = (status.kind == FileKind::Directory).then_some(below);
        }
        let difference = Difference { path, kind, what: status.kind, details: Vec::new() };
        Ok(Met::Different(Box::new(difference)))
    }

    fn both(&mut self, a: &WalkEntry, b: &WalkEntry) -> Result<Met> {
        let mut details = Details::default();
        let status = Status::new(&b.inode, self.b.image.name())?;
        let other = Status::new(&a.inode, self.a.image.name())?;
        details.statuses(&other, &status);
        details.compare("hard link to", self.a.first(a)?, self.b.first(b)?);
        if status.kind == other.kind {
            match status.kind {
                FileKind::Regular if other.size == status.size && !self.same_content(a, b)? => {
                    details.note("content");
                }
                FileKind::Symlink => {
                    let target = |side: &Side<'_>, met: &WalkEntry| {
                        let target = side.image.reader.read_link(&met.inode);
                        target.map_err(|error| side.image.failed_at(&met.path, error))
                    };
                    let (from, to) = (target(&self.a, a)?, target(&self.b, b)?);
                    details.compare("target", Some(Value::Name(from)), Some(Value::Name(to)));
                }
                _ => {}
            }
        }
        let attributes = |side: &Side<'_>, met: &WalkEntry| {
            let attributes = side.image.reader.attributes(&met.inode);
            attributes.map_err(|error| side.image.failed_at(&met.path, error))
        };
        details.attributes(attributes(&self.a, a)?, attributes(&self.b, b)?);
        if self.scope.times {
            details.times(&other, &status);
        }
        let Details(details) = details;
        if details.is_empty() {
            return Ok(Met::Same);
        }
        let path = [b"/", b.path.as_slice()].concat();
        let details = if self.scope.brief { Vec::<Detail>::new() } else { details };
        let difference = Difference { path, kind: Kind::Changed, what: status.kind, details };
        Ok(Met::Different(Box::new(difference)))
    }

    fn same_content(&mut self, a: &WalkEntry, b: &WalkEntry) -> Result<bool> {
        let pair = (a.inode.number(), b.inode.number());
        if let Some(same) = self.compared.get(&pair) {
            return Ok(*same);
        }
        let contents = Contents::new(self.a.image, a, &mut self.a.buffer)?;
        let same = contents.equal(Contents::new(self.b.image, b, &mut self.b.buffer)?)?;
        // An inode of one name is not met again.
        let is_met_again = a.inode.links() > 1 || b.inode.links() > 1;
        if is_met_again && self.compared.len() < MAX_KEPT {
            self.compared.insert(pair, same);
        }
        Ok(same)
    }
}

impl Iterator for Differences<'_> {
    type Item = Result<Difference>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        loop {
            match self.step() {
                Ok(Met::End) => return None,
                Ok(Met::Same) => {}
                Ok(Met::Different(difference)) => return Some(Ok(*difference)),
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// A file whose content is compared with another of the same size.
struct Contents<'a> {
    image: &'a Image,
    path: &'a [u8],
    inode: &'a Inode,
    segments: Segments<'a, Window>,
    /// What is left of the segment that was reached.
    current: Option<FileSegment>,
    buffer: &'a mut Buffer,
}

impl<'a> Contents<'a> {
    fn new(image: &'a Image, met: &'a WalkEntry, buffer: &'a mut Buffer) -> Result<Self> {
        let WalkEntry { path, inode } = met;
        let segments = image.reader.segments(inode);
        let segments = segments.map_err(|error| image.failed_at(path, error))?;
        Ok(Self { image, path, inode, segments, current: None, buffer })
    }

    /// How far the part goes that begins here, and whether it is nothing but zeros.
    fn part(&mut self) -> Result<Option<(u64, bool)>> {
        if self.current.is_none_or(|segment| segment.length == 0) {
            let next = self.segments.next().transpose();
            self.current = next.map_err(|error| self.image.failed_at(self.path, error))?;
        }
        Ok(self.current.map(|FileSegment { length, kind, .. }| {
            (length, matches!(kind, SegmentKind::Hole | SegmentKind::Unwritten))
        }))
    }

    /// The next bytes, at most a buffer full and within one part.
    fn read(&mut self, length: usize) -> Result<&[u8]> {
        let offset = self.current.map_or(0, |segment| segment.offset);
        let piece = self.buffer.bytes_mut().get_mut(..length).unwrap_or_default();
        let read = self.image.reader.read_at(self.inode, offset, piece);
        read.map_err(|error| self.image.failed_at(self.path, error))?;
        Ok(piece)
    }

    fn advance(&mut self, length: u64) {
        if let Some(segment) = &mut self.current {
            segment.offset = segment.offset.saturating_add(length);
            segment.length = segment.length.saturating_sub(length);
        }
    }

    /// Whether both have the same bytes; holes on both sides are passed over, however long.
    fn equal(mut self, mut other: Self) -> Result<bool> {
        while let (Some((one, one_empty)), Some((two, two_empty))) = (self.part()?, other.part()?) {
            let mut length = one.min(two);
            if !one_empty || !two_empty {
                let piece = usize::try_from(length).unwrap_or(COMPARED).min(COMPARED);
                length = u64::try_from(piece).unwrap_or(u64::MAX);
                if self.read(piece)? != other.read(piece)? {
                    return Ok(false);
                }
            }
            self.advance(length);
            other.advance(length);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_ordered_as_a_walk_meets_them() {
        let paths: [&[u8]; 6] = [b"", b"a", b"a/b", b"a/b/c", b"a-b", b"b"];
        assert!(paths.is_sorted_by(|one, other| order(one, other) == Ordering::Less));
    }
}
