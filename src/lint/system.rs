//! The files that a system reads early: who there is, what to mount, whom to ask for names.

use ext4_writer::FileKind;
use ext4_writer::reader::{ReadResult, Source};

use super::{Finding, Look};
use crate::guest::places::USUAL_PATH;

const PASSWD: &[u8] = b"/etc/passwd";
const FSTAB: &[u8] = b"/etc/fstab";
const RESOLV_CONF: &[u8] = b"/etc/resolv.conf";
/// As much of such a file as is read.
const MAX_FILE: usize = 1 << 20;
/// How many lines of fstab are complained about.
const MAX_LINES: usize = 20;

/// Whether a line of resolv.conf names whom to ask (resolv.conf(5)).
fn names_a_server(line: &[u8]) -> bool {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.next() == Some(b"nameserver") && words.next().is_some()
}

impl<S: Source> Look<'_, S> {
    /// Looks at them.
    pub(super) fn system(&mut self) -> ReadResult<()> {
        self.passwd()?;
        self.mount_points()?;
        self.devices()?;
        self.fstab()?;
        self.resolv_conf()
    }

    fn passwd(&mut self) -> ReadResult<()> {
        let Some(passwd) = self.tree.read(PASSWD, MAX_FILE)? else {
            let message = "there are no users: logins and many services fail";
            self.find(Finding::warning("no-passwd", message).at(PASSWD));
            return Ok(());
        };
        let is_root = |line: &[u8]| line.split(|byte| *byte == b':').nth(2) == Some(b"0");
        if !passwd.split(|byte| *byte == b'\n').any(is_root) {
            let message = "nobody has the number 0: root has no name, home or shell";
            self.find(Finding::warning("no-root", message).at(PASSWD));
        }
        Ok(())
    }

    fn mount_points(&mut self) -> ReadResult<()> {
        for path in [&b"/dev"[..], b"/proc", b"/sys", b"/run", b"/tmp"] {
            if self.tree.is_directory(path)? {
                continue;
            }
            let finding = if path == b"/dev" {
                // The kernel cannot mount it, and opens no console for the init.
                Finding::error("no-mount-point", "without this directory the guest has no console")
            } else {
                Finding::warning(
                    "no-mount-point",
                    "this directory, which is mounted on, is missing",
                )
            };
            self.find(finding.at(path));
        }
        Ok(())
    }

    /// Files where devices belong, which `docker export` leaves: what opens one before the kernel's
    /// own devices are mounted over them writes into a file.
    fn devices(&mut self) -> ReadResult<()> {
        for path in [&b"/dev/console"[..], b"/dev/null", b"/dev/zero", b"/dev/tty", b"/dev/urandom"]
        {
            if self.tree.kind(path)? == Some(FileKind::Regular) {
                let message = "this is a file, not a device: before devtmpfs is mounted, what is \
                               written to it stays on the disk";
                self.find(Finding::warning("not-a-device", message).at(path).hint("remove it"));
            }
        }
        Ok(())
    }

    /// Names the lines that wait for devices which the machine may not have.
    fn fstab(&mut self) -> ReadResult<()> {
        let Some(fstab) = self.tree.read(FSTAB, MAX_FILE)? else { return Ok(()) };
        let mut named = 0;
        for line in fstab.split(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(line);
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [device, at, _, options, ..] = fields.as_slice() else { continue };
            let mut options = options.split(',');
            let may_miss = options.any(|option| matches!(option, "noauto" | "nofail"));
            if device.starts_with('#') || may_miss || !self.is_foreign(device) {
                continue;
            }
            let (device, at) = (super::shown(device.as_bytes()), super::shown(at.as_bytes()));
            let message = format!("{at} is to be mounted from {device}, which is not this disk");
            self.find(
                Finding::warning("unknown-device", message)
                    .at(FSTAB)
                    .hint("take the line out, or add the option nofail"),
            );
            named += 1;
            if named == MAX_LINES {
                break;
            }
        }
        Ok(())
    }

    /// Whether fstab means a device other than this one.
    fn is_foreign(&self, device: &str) -> bool {
        let facts = self.tree.facts();
        let device = device.replace('"', "");
        match device.split_once('=') {
            Some(("UUID", wanted)) => {
                let wanted = u128::from_str_radix(&wanted.replace('-', ""), 16);
                wanted != Ok(u128::from_be_bytes(facts.uuid))
            }
            Some(("LABEL", wanted)) => wanted.as_bytes() != facts.label,
            // The image has no partition table.
            Some(("PARTUUID" | "PARTLABEL" | "ID", _)) => true,
            _ => device.starts_with("/dev/") && device != "/dev/root",
        }
    }

    fn resolv_conf(&mut self) -> ReadResult<()> {
        // The generated init writes it, with what a DHCP client says.
        if (self.has_generated_init && self.has_dhcp_client()?)
            || (self.is_systemd()? && self.is_resolved_at_boot()?)
        {
            return Ok(());
        }
        let content = self.tree.read(RESOLV_CONF, MAX_FILE)?.unwrap_or_default();
        if !content.split(|byte| *byte == b'\n').any(names_a_server) {
            let is_there = self.tree.is_there(RESOLV_CONF)?;
            let what = if is_there { "it says no name server" } else { "there is no such file" };
            let message = format!("{what}: names will not be found");
            let hint = if self.has_generated_init {
                "give the kernel ip=dhcp, or add a DHCP client (dhclient, dhcpcd, udhcpc) or the file"
            } else if self.is_systemd()? && is_there {
                "remove it, so that systemd-tmpfiles can make its link, or write a name server"
            } else {
                "add one by --add, or a service that writes it"
            };
            self.find(Finding::warning("no-resolv-conf", message).at(RESOLV_CONF).hint(hint));
        }
        Ok(())
    }

    /// Whether systemd's services write what the file leads to, or make it: tmpfiles make a link
    /// only where there is nothing (tmpfiles.d(5), `L`).
    fn is_resolved_at_boot(&self) -> ReadResult<bool> {
        if let Some(kind) = self.tree.kind(RESOLV_CONF)? {
            return Ok(kind == FileKind::Symlink);
        }
        for directory in ["/usr/lib", "/lib"] {
            let file = format!("{directory}/tmpfiles.d/systemd-resolve.conf");
            if self.tree.file(file.as_bytes())?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether there is a client that the generated init asks.
    fn has_dhcp_client(&self) -> ReadResult<bool> {
        for name in ["dhclient", "dhcpcd", "udhcpc", "busybox", "busybox.static"] {
            for directory in USUAL_PATH.split(':') {
                if self.tree.file(format!("{directory}/{name}").as_bytes())?.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
