//! What the demonstration made, as it is printed: the names in the image, and the pull.

use std::io::Write as _;

use serde::Serialize;

use super::look::{Output, Style, names_text};
use super::pull::PullReport;
use super::{Format, Report};
use crate::error::Result;
use crate::look::{Line, Step};
use crate::pull::Pulled;

/// The result of `banger demo` for machines.
#[derive(Serialize)]
struct DemoReport<'a> {
    pull: &'a PullReport,
    tree: Vec<Line>,
}

impl Report {
    /// Prints the result of the demonstration, whose image has these names; the exit code.
    pub(crate) fn demonstrated(
        self,
        pulled: &Pulled,
        names: impl Iterator<Item = Result<Step>>,
    ) -> Result<u8> {
        let pull = PullReport::new(pulled);
        if self.format == Format::Json {
            let entries = names.filter_map(|step| step.map(Step::into_line).transpose());
            let document = DemoReport { pull: &pull, tree: entries.collect::<Result<_>>()? };
            return self.result(&document, String::new).map(|()| 0);
        }
        let mut out = Self::output();
        let style = Style { long: true, recursive: true, zero: false };
        let done = names_text(&mut out, names, style).and_then(|()| {
            write!(out, "\n{}{}", pull.text(true), next_steps(&pull.image.path))
                .map_err(Output::unwritten)
        });
        out.end(done.map(|()| 0))
    }
}

fn next_steps(path: &str) -> String {
    format!(
        "
All of that is in {path}, and every attribute: no mkfs, mount or root made it.
Try next:
  the reference checker agrees:            e2fsck -fn {path}
  look inside:                             banger image ls -l {path} /usr/bin
  let the kernel look:                     sudo mount -o loop,ro {path} /mnt
  a real image from a real registry:       banger image pull debian:bookworm-slim
"
    )
}
