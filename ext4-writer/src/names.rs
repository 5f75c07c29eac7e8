//! The names of one directory in the order of their bytes.

use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::slice;

/// Names and what each stands for.
///
/// What packs a directory mostly sorts its names first. A name behind all others goes to the end
/// of a vector, and one comparison, with memory that is still in the cache, tells that it is new:
/// then a name costs the same in a directory of ten and of a million. The others are in a tree.
#[derive(Debug)]
pub(crate) struct Names<T> {
    /// Ascending. What was removed stays here without a value until it is more than the half.
    sorted: Vec<Sorted<T>>,
    removed: usize,
    /// Names that are not in `sorted`.
    others: BTreeMap<Box<[u8]>, T>,
}

type Sorted<T> = (Box<[u8]>, Option<T>);

impl<T> Names<T> {
    pub(crate) const fn new() -> Self {
        Self { sorted: Vec::new(), removed: 0, others: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.sorted.len() - self.removed + self.others.len()
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&T> {
        match self.place(name) {
            Ok(place) => self.sorted.get(place)?.1.as_ref(),
            Err(_) => self.others.get(name),
        }
    }

    /// Adds a name; `false` if there is one like it, which stays.
    pub(crate) fn add(&mut self, name: &[u8], value: T) -> bool {
        match self.place(name) {
            Ok(place) => match self.sorted.get_mut(place) {
                Some((_, kept @ None)) => {
                    *kept = Some(value);
                    self.removed -= 1;
                    true
                }
                _ => false,
            },
            Err(place) if place == self.sorted.len() && !self.others.contains_key(name) => {
                self.sorted.push((name.into(), Some(value)));
                true
            }
            Err(_) => match self.others.entry(name.into()) {
                btree_map::Entry::Vacant(place) => {
                    place.insert(value);
                    true
                }
                btree_map::Entry::Occupied(_) => false,
            },
        }
    }

    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<T> {
        let Ok(place) = self.place(name) else { return self.others.remove(name) };
        let value = self.sorted.get_mut(place)?.1.take()?;
        self.removed += 1;
        if self.removed > self.sorted.len() / 2 {
            self.sorted.retain(|(_, kept)| kept.is_some());
            self.removed = 0;
        }
        Some(value)
    }

    /// The names in the order of their bytes.
    pub(crate) fn iter(&self) -> Iter<'_, T> {
        Iter {
            sorted: SortedIter(self.sorted.iter()).peekable(),
            others: self.others.iter().peekable(),
        }
    }

    /// Where the name is among the sorted ones, or where it would be.
    fn place(&self, name: &[u8]) -> Result<usize, usize> {
        match self.sorted.last() {
            Some((last, _)) if **last >= *name => {
                self.sorted.binary_search_by(|(other, _)| (**other).cmp(name))
            }
            _ => Err(self.sorted.len()),
        }
    }
}

/// Names and what they stand for, in the order of the names' bytes.
#[derive(Debug)]
pub(crate) struct Iter<'a, T> {
    sorted: Peekable<SortedIter<'a, T>>,
    others: Peekable<btree_map::Iter<'a, Box<[u8]>, T>>,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = (&'a [u8], &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        let is_other = match (self.sorted.peek(), self.others.peek()) {
            (Some((sorted, _)), Some((other, _))) => ***other < **sorted,
            (None, _) => true,
            (_, None) => false,
        };
        if is_other {
            self.others.next().map(|(name, value)| (&**name, value))
        } else {
            self.sorted.next()
        }
    }
}

impl<T> Clone for Iter<'_, T> {
    fn clone(&self) -> Self {
        Self { sorted: self.sorted.clone(), others: self.others.clone() }
    }
}

/// The sorted names that were not removed.
#[derive(Debug)]
struct SortedIter<'a, T>(slice::Iter<'a, Sorted<T>>);

impl<'a, T> Iterator for SortedIter<'a, T> {
    type Item = (&'a [u8], &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.find_map(|(name, kept)| Some((&**name, kept.as_ref()?)))
    }
}

impl<T> Clone for SortedIter<'_, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Add(Vec<u8>),
        Remove(Vec<u8>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let name = || vec(b'a'..b'd', 1..4);
        prop_oneof![3 => name().prop_map(Step::Add), 2 => name().prop_map(Step::Remove)]
    }

    fn agree(names: &Names<usize>, model: &BTreeMap<Vec<u8>, usize>) {
        let listed: Vec<_> = names.iter().map(|(name, value)| (name.to_vec(), *value)).collect();
        let expected: Vec<_> = model.iter().map(|(name, value)| (name.clone(), *value)).collect();
        assert_eq!(listed, expected);
        assert_eq!(names.len(), model.len());
    }

    proptest! {
        #[test]
        fn names_are_those_of_a_plain_map(steps in vec(step(), 0..200)) {
            let (mut names, mut model) = (Names::new(), BTreeMap::new());
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Add(name) => {
                        let is_new = !model.contains_key(&name);
                        prop_assert_eq!(names.get(&name).is_none(), is_new);
                        prop_assert_eq!(names.add(&name, number), is_new);
                        model.entry(name).or_insert(number);
                    }
                    Step::Remove(name) => {
                        prop_assert_eq!(names.get(&name), model.get(&name));
                        prop_assert_eq!(names.remove(&name), model.remove(&name));
                    }
                }
                agree(&names, &model);
            }
        }
    }

    #[test]
    fn removing_all_of_many_names_in_any_order_leaves_none() {
        let name = |number: u32| number.to_be_bytes();
        let mut names = Names::new();
        for number in 0..100_000 {
            assert!(names.add(&name(number), number));
        }
        for number in (0..100_000).step_by(2).chain((0..50_000).rev().map(|half| 2 * half + 1)) {
            assert_eq!(names.remove(&name(number)), Some(number));
            assert_eq!(names.remove(&name(number)), None);
        }
        assert_eq!((names.len(), names.iter().count()), (0, 0));
    }
}
