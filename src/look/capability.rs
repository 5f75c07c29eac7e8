//! File capabilities in the words of `getcap`.
//!
//! Source: kernel, `include/uapi/linux/capability.h`, `struct vfs_ns_cap_data`; libcap,
//! `cap_to_text(3)`.

/// `VFS_CAP_REVISION_*`, with the number of words of each set.
const REVISIONS: [(u32, usize); 3] = [(0x0100_0000, 1), (0x0200_0000, 2), (0x0300_0000, 2)];
const REVISION_MASK: u32 = 0xff00_0000;
const WITH_ROOT: u32 = 0x0300_0000;
/// `VFS_CAP_FLAGS_EFFECTIVE`.
const EFFECTIVE: u32 = 1;

/// The capabilities by number.
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The value of `security.capability` as text; `None` when it is none.
pub(super) fn text(value: &[u8]) -> Option<String> {
    let (words, rest) = value.as_chunks::<4>();
    let words: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let (head, words) = words.split_first().filter(|_| rest.is_empty())?;
    let revision = head & REVISION_MASK;
    let (_, pairs) = REVISIONS.iter().find(|(known, _)| *known == revision)?;
    let (root, words) = match words.split_last().filter(|_| revision == WITH_ROOT) {
        Some((root, words)) => (Some(root), words),
        None => (None, words),
    };
    if words.len() != pairs.checked_mul(2)? {
        return None;
    }
    let set = |first: usize| {
        let word = |place: usize| u64::from(words.get(place).copied().unwrap_or_default());
        word(first) | word(first.saturating_add(2)) << 32
    };
    let (permitted, inheritable) = (set(0), set(1));
    let effective = if head & EFFECTIVE == 0 { "" } else { "e" };
    let clauses = [
        (permitted & !inheritable, "p"),
        (permitted & inheritable, "ip"),
        (!permitted & inheritable, "i"),
    ];
    let clauses: Vec<_> = clauses
        .iter()
        .filter(|(set, _)| *set != 0)
        .map(|(set, kinds)| format!("{}={effective}{kinds}", names(*set)))
        .collect();
    let text = if clauses.is_empty() { "=".to_owned() } else { clauses.join(" ") };
    Some(match root {
        Some(root) => format!("{text} [rootid={root}]"),
        None => text,
    })
}

fn names(set: u64) -> String {
    let name = |number: u32| match NAMES.get(usize::try_from(number).unwrap_or(usize::MAX)) {
        Some(name) => format!("cap_{name}"),
        None => number.to_string(),
    };
    let numbers = (0..u64::BITS).filter(|number| set >> number & 1 != 0);
    numbers.map(name).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn capabilities_are_shown_as_getcap_shows_them() {
        for (words, expected) in [
            (&[0x0200_0001, 1 << 13, 0, 0, 0][..], "cap_net_raw=ep"),
            (&[0x0200_0000, 1 << 10, 0, 0, 0], "cap_net_bind_service=p"),
            (&[0x0200_0001, 1 << 13, 1 << 13, 1 << 7, 0], "cap_bpf=ep cap_net_raw=eip"),
            (&[0x0300_0001, 1 << 21, 0, 0, 0, 1000], "cap_sys_admin=ep [rootid=1000]"),
            (&[0x0100_0001, 3, 0], "cap_chown,cap_dac_override=ep"),
            (&[0x0200_0000, 0, 0, 0, 0], "="),
            (&[0x0200_0001, 0, 0, 1 << 31, 0], "63=ep"),
        ] {
            assert_eq!(text(&value(words)).as_deref(), Some(expected));
        }
        for words in [&[][..], &[0x0200_0001, 0, 0, 0], &[0x0400_0001, 0, 0, 0, 0], &[0x0300_0000]]
        {
            assert_eq!(text(&value(words)), None, "{words:x?}");
        }
        assert_eq!(text(b"\x01\0\0\x02\0"), None);
    }
}
