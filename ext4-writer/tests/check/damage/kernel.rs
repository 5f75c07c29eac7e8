//! The kernel as the judge of what the check calls sound.

use std::panic::catch_unwind;
use std::path::Path;

use banger_test_support::device::LoopDevice;
use banger_test_support::mount::Mount;

/// Mounts an image, reads every name, byte and attribute of it, and looks for complaints in the
/// kernel's log. The device can be written to: an error that the journal tells of is cleared.
pub(super) fn reads(path: &Path) -> Result<(), String> {
    let outcome = catch_unwind(|| {
        let device = LoopDevice::over(path);
        if let Some(mount) = device.and_then(|device| Mount::on(device.path(), "ro")) {
            let _ = mount.tree();
            mount.close();
        }
    });
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no words").to_owned()
    })
}
