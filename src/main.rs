//! Arguments in, exit code out.

use std::process::ExitCode;

use banger::cli::{Cli, end_on_signals};
use clap::Parser as _;

fn main() -> ExitCode {
    // Arguments that make no sense end the program here, with exit code 2.
    let cli = Cli::parse();
    let report = cli.report();
    match end_on_signals(report).and_then(|()| cli.run()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report.failed(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
