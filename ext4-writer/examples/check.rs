//! Says whether an image holds a sound filesystem: `check IMAGE`.

use std::error::Error;
use std::fs::File;
use std::io::{Write as _, stdout};
use std::process::ExitCode;

use ext4_writer::check::{Judge, Options, check};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).peekable();
    let as_e2fsck = arguments.next_if(|argument| argument == "--as-e2fsck").is_some();
    let path = arguments.next().ok_or("check [--as-e2fsck] IMAGE")?;
    let options = Options { no_replay: as_e2fsck, ..Options::default() };
    let report = check(File::open(path)?, &options)?;
    let judge = if as_e2fsck { Judge::E2fsck } else { Judge::Kernel };
    for finding in &report.findings {
        let weight = if finding.kind.is_damage(judge) { "damage" } else { "notice" };
        writeln!(stdout(), "{weight} {finding}")?;
    }
    Ok(ExitCode::from(u8::from(!report.is_sound(judge))))
}
