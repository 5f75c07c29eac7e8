//! What systemd makes of an image.

use ext4_writer::reader::{ReadResult, Source};

use super::{Finding, Look};
use crate::guest::places::{SYSTEMD, UNITS};

const MACHINE_ID: &[u8] = b"/etc/machine-id";
/// Files by which systemd takes the machine for a container, and leaves out what only machines
/// need (systemd: `src/basic/virt.c`, `detect_container_files`).
const CONTAINER_MARKS: [&[u8]; 2] = [b"/.dockerenv", b"/run/.containerenv"];

impl<S: Source> Look<'_, S> {
    /// Whether the kernel would start systemd.
    pub(super) fn is_systemd(&self) -> ReadResult<bool> {
        let Some(init) = self.tree.file(b"/sbin/init")? else { return Ok(false) };
        for path in SYSTEMD {
            if self.tree.file(path)?.is_some_and(|systemd| systemd.number() == init.number()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks at what systemd needs, if it is the init.
    pub(super) fn systemd(&mut self) -> ReadResult<()> {
        if !self.is_systemd()? {
            return Ok(());
        }
        self.machine_id()?;
        if !self.has_unit("default.target")? {
            self.find(
                Finding::error("no-default-target", "systemd has no default.target to reach")
                    .hint("link /etc/systemd/system/default.target to multi-user.target"),
            );
        }
        self.serial_getty()?;
        for path in CONTAINER_MARKS {
            if self.tree.is_there(path)? {
                let message = "systemd takes the machine for a container because of this file";
                self.find(Finding::warning("container-marker", message).at(path).hint("remove it"));
            }
        }
        Ok(())
    }

    /// Source: machine-id(5), and systemd's `src/core/machine-id-setup.c`.
    fn machine_id(&mut self) -> ReadResult<()> {
        let found = match self.tree.read(MACHINE_ID, 64)?.as_deref() {
            None => Finding::warning(
                "machine-id-missing",
                "without this file systemd does not boot from a root that is read-only",
            )
            .hint("make it an empty file: each machine then gets an ID of its own"),
            Some(b"" | b"uninitialized" | b"uninitialized\n") => return Ok(()),
            Some(content) => {
                let id = content.strip_suffix(b"\n").unwrap_or(content);
                if id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit) {
                    Finding::warning(
                        "machine-id-shared",
                        "every machine of this image has the same ID, and may get the same address",
                    )
                    .hint("make it an empty file")
                } else {
                    Finding::error(
                        "machine-id-invalid",
                        "the machine's ID is not 32 hexadecimal digits",
                    )
                    .hint("make it an empty file")
                }
            }
        };
        self.find(found.at(MACHINE_ID));
        Ok(())
    }

    /// A generator starts a getty on the console that the kernel was told, if it can.
    fn serial_getty(&mut self) -> ReadResult<()> {
        let mut has_generator = false;
        for place in ["/usr/lib/systemd", "/lib/systemd"] {
            let path = format!("{place}/system-generators/systemd-getty-generator");
            has_generator |= self.tree.file(path.as_bytes())?.is_some();
        }
        let mut has_agetty = false;
        for path in [&b"/sbin/agetty"[..], b"/usr/sbin/agetty"] {
            has_agetty |= self.tree.file(path)?.is_some();
        }
        let wants = b"/etc/systemd/system/getty.target.wants";
        let is_enabled = self.tree.has_name(wants, b"serial-getty@")?;
        let has_unit = self.has_unit("serial-getty@.service")?;
        if !(has_agetty && has_unit && (has_generator || is_enabled)) {
            self.find(
                Finding::warning("no-serial-getty", "nobody can log in on the serial console")
                    .hint("add agetty, serial-getty@.service and a link in getty.target.wants"),
            );
        }
        Ok(())
    }

    fn has_unit(&self, unit: &str) -> ReadResult<bool> {
        for place in UNITS {
            if self.tree.file(format!("{place}/{unit}").as_bytes())?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
