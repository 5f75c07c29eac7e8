//! Arguments in, exit code out.

use std::process::ExitCode;

use banger::cache::Cache;
use banger::cli::Cli;
use banger::error::{Error, Result};
use banger::image::interrupt;
use clap::Parser as _;

fn main() -> ExitCode {
    // Words that make no sense end the program here, with exit code 2.
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

/// Ends the program on SIGINT, SIGTERM and SIGHUP, without a trace of the image.
fn end_on_signals(report: banger::report::Report) -> Result<()> {
    let end = move || {
        let error = Error::interrupted("interrupted; what was fetched is kept for the next run");
        report.failed(&error);
        Cache::end();
        std::process::exit(error.exit_code().into());
    };
    ctrlc::set_handler(move || interrupt(end))
        .map_err(|error| Error::internal("cannot catch signals").because(error))
}
