//! Where things are in an image.

/// The init that an image may get.
pub(crate) const INIT: &str = "/sbin/banger-init";

/// The PATH that an image which says none gets from every container engine; the init has the same.
pub(crate) const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program of systemd.
pub(crate) const SYSTEMD: [&[u8]; 2] = [b"/usr/lib/systemd/systemd", b"/lib/systemd/systemd"];

/// Where systemd looks for units, the administrator's first: systemd.unit(5).
pub(crate) const UNITS: [&str; 4] = [
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
