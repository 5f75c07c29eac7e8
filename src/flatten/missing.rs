//! What is done where a path ends before its last part.

/// What to do with the parts of a path that are not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Make directories of them, also where something else stands.
    Make,
    /// Find nothing.
    Stop,
    /// Find nothing, and change nothing either: links of lower layers are followed whatever the
    /// semantics are.
    Look,
    /// As [`Missing::Look`], and what the path ends at may be anything. Too many links lead
    /// nowhere, as in the kernel.
    Leaf,
    /// Look among what this layer has taken away.
    Removed,
}
