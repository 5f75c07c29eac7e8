//! What waits for the end of a layer.

use std::collections::BTreeMap;

use super::history::EntryKey;
use super::path::CleanPath;
use crate::layer::{Acl, Entry};

/// Links whose target has not been seen yet.
pub(super) type PendingLinks<N> = BTreeMap<EntryKey<N>, PendingLink>;

pub(super) struct PendingLink {
    pub(super) target: CleanPath,
    pub(super) entry: Entry,
}

/// ACLs whose names are looked up when the layer is complete: its passwd may come behind them.
pub(super) type PendingAcls<N> = BTreeMap<(N, Which), PendingAcl>;

pub(super) struct PendingAcl {
    pub(super) acl: Acl,
    /// Where the entry stands, for messages.
    pub(super) path: Vec<u8>,
}

/// One of the two ACLs of a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Which {
    Access,
    Default,
}

impl Which {
    pub(super) fn attribute(self) -> &'static [u8] {
        match self {
            Self::Access => b"system.posix_acl_access",
            Self::Default => b"system.posix_acl_default",
        }
    }
}
