//! What fits best into a small room.

use std::collections::BTreeSet;

/// The choice of pieces, each a multiple of `unit` long, that fills `room` as far as it can be
/// filled. What is left is then the least that there can be, so it fits beside if anything does.
pub(crate) fn fill(sizes: &[usize], room: usize, unit: usize) -> Vec<bool> {
    if sizes.iter().sum::<usize>() <= room {
        return vec![true; sizes.len()];
    }
    // For each number of units the piece by which a choice first came to just as many, and its own.
    let mut last: Vec<Option<(usize, usize)>> = vec![None; room / unit + 1];
    let reached = |last: &[Option<(usize, usize)>], total: usize| {
        total == 0 || last.get(total).is_some_and(Option::is_some)
    };
    for (number, size) in sizes.iter().enumerate() {
        let units = size.div_ceil(unit).max(1);
        for total in (units..last.len()).rev() {
            if reached(&last, total - units)
                && let Some(place @ None) = last.get_mut(total)
            {
                *place = Some((number, units));
            }
        }
    }
    let mut chosen = BTreeSet::new();
    let mut total = last.iter().rposition(Option::is_some).unwrap_or(0);
    while let Some((number, units)) = last.get(total).copied().flatten() {
        chosen.insert(number);
        total -= units;
    }
    (0..sizes.len()).map(|number| chosen.contains(&number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every choice, one after the other.
    fn best(sizes: &[usize], room: usize) -> usize {
        let sums = (0..1usize << sizes.len()).map(|choice| {
            let chosen = sizes.iter().enumerate().filter(|(n, _)| choice >> n & 1 == 1);
            chosen.map(|(_, size)| size).sum::<usize>()
        });
        sums.filter(|sum| *sum <= room).max().unwrap()
    }

    #[test]
    fn no_other_choice_fills_more() {
        let mut state = 1u64;
        for _ in 0..300 {
            let mut next = |limit: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                usize::try_from((state >> 33) % limit).unwrap()
            };
            let sizes: Vec<usize> = (0..next(9)).map(|_| 4 * (1 + next(30))).collect();
            let room = 4 * next(60);
            let chosen = fill(&sizes, room, 4);
            let sum: usize =
                sizes.iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(size, _)| size).sum();
            assert_eq!(sum, best(&sizes, room), "{sizes:?} into {room}");
        }
    }

    #[test]
    fn nothing_fits_into_no_room() {
        assert_eq!(fill(&[4], 0, 4), [false]);
        assert_eq!(fill(&[], 0, 4), [false; 0]);
    }
}
