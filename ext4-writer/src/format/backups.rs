//! The groups that hold a copy of the superblock and the descriptors under `sparse_super`: 0, 1,
//! and the powers of 3, 5 and 7.
//!
//! Source: kernel, `fs/ext4/balloc.c`, `ext4_bg_has_super`.

/// The numbers whose powers have one.
const BASES: [u64; 3] = [3, 5, 7];

/// All that a group number of 32 bits can name, ascending.
pub(crate) fn sparse_groups() -> Vec<u64> {
    let mut groups: Vec<u64> = vec![0, 1];
    groups.extend(BASES.into_iter().flat_map(powers));
    groups.sort_unstable();
    groups
}

/// Whether this is one of them.
pub(crate) fn is_sparse_group(group: u64) -> bool {
    group <= 1 || BASES.into_iter().any(|base| powers(base).any(|power| power == group))
}

fn powers(base: u64) -> impl Iterator<Item = u64> {
    let next = move |power: &u64| Some(power * base);
    std::iter::successors(Some(base), next).take_while(|power| u32::try_from(*power).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_and_the_question_agree() {
        let groups: Vec<u64> = (0..20_000).filter(|group| is_sparse_group(*group)).collect();
        let listed: Vec<u64> =
            sparse_groups().into_iter().filter(|group| *group < 20_000).collect();
        assert_eq!(groups, listed);
        assert_eq!(groups[..12], [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 243]);
    }
}
