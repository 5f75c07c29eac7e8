//! The arguments of the command line; one file a command.

mod auth;
mod build;
mod cache;
mod check;
mod concurrency;
mod create;
mod demo;
mod device;
mod disk;
mod edit;
mod epoch;
mod guest;
mod help;
mod layers;
mod limits;
mod lint;
mod look;
mod manual;
mod mistakes;
mod owners;
mod pull;
mod registry;
mod signals;
mod source;
mod topics;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use self::signals::end_on_signals;
use crate::error::Error;
use crate::report::{ColorWhen, Format, ProgressWhen, Report};

/// Turns OCI images into bootable ext4 disks, in one pass, without root or mkfs.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
struct Cli {
    /// Print errors, warnings and help in colour
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto")]
    #[arg(hide_short_help = true, help_heading = "Output")]
    color: ColorWhen,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Work with images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Work with disks
    #[command(subcommand)]
    Disk(create::DiskCommand),
    /// Look after the credentials for registries
    #[command(subcommand)]
    Auth(auth::AuthCommand),
    /// Look after the blobs that were fetched from registries
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Pull a small built-in image, without a network
    Demo(demo::Demo),
    /// Print what a shell reads to complete banger's words
    Completions(manual::Completions),
    /// Write the man pages of all commands
    Man(manual::Man),
    /// Say more about a command or a topic
    Help(help::Help),
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Write an image of a registry or of this host as an ext4 disk
    Pull(Box<pull::Pull>),
    /// Write what is on this host as an ext4 disk, without a network
    Build(Box<build::Build>),
    /// Say what would keep an image from booting, or make its guest a surprise
    Lint(lint::Lint),
    /// Say whether the filesystem of an image is sound (exit code 65 if it is damaged)
    Check(check::Check),
    /// Change a finished image: put files in, take files out, rename, set owners and permissions
    Edit(edit::Edit),
    #[command(flatten)]
    Look(look::LookCommand),
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Output")]
struct OutputOptions {
    /// Print the result for people (text) or for machines (json)
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    format: Format,
    /// Print nothing but the result, in its shortest form, and errors
    #[arg(long, short)]
    quiet: bool,
}

/// How much is said.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Output")]
struct VoiceOptions {
    /// Print all of the report: digests, layers, contents, times, features
    #[arg(long, short, conflicts_with = "quiet")]
    verbose: bool,
    /// How the progress is shown on standard error: as a line that changes on a terminal and
    /// lines elsewhere, as lines, or not at all
    #[arg(long, value_enum, value_name = "HOW", default_value = "auto")]
    progress: ProgressWhen,
}

impl OutputOptions {
    fn report(self) -> Report {
        Report::new(self.format, self.quiet)
    }
}

impl Report {
    /// The same with as much to say as was asked for.
    fn with(self, voice: VoiceOptions) -> Self {
        self.verbose(voice.verbose).showing(voice.progress)
    }
}

/// All commands, with the help that people read.
fn command() -> clap::Command {
    help::shaped(Cli::command())
}

/// Runs the program with the arguments of the process; the exit code.
pub(crate) fn run() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    ColorWhen::named(mistakes::given(&words, "--color").as_deref()).choose();
    let mut command = command();
    let parsed = command
        .try_get_matches_from_mut(&words)
        .and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(mistakes::told(&error, &words, &command)),
    };
    let report = cli.report();
    match end_on_signals(report, cli.fetches()).and_then(|()| cli.run()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report.failed(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

impl Cli {
    /// How results are printed, and errors.
    fn report(&self) -> Report {
        match &self.command {
            Command::Image(ImageCommand::Pull(pull)) => pull.output_options.report(),
            Command::Disk(disk) => disk.report(),
            Command::Auth(auth::AuthCommand::Check(check)) => check.output_options.report(),
            Command::Image(ImageCommand::Build(build)) => build.report(),
            Command::Image(ImageCommand::Lint(lint)) => lint.output_options.report(),
            Command::Image(ImageCommand::Check(check)) => check.report(),
            Command::Image(ImageCommand::Edit(edit)) => edit.output_options.report(),
            Command::Image(ImageCommand::Look(look)) => look.report(),
            Command::Cache(cache) => cache.report(),
            Command::Demo(demo) => demo.output_options.report(),
            Command::Completions(_) | Command::Man(_) | Command::Help(_) => Report::default(),
        }
    }

    /// Whether the command asks a registry for blobs.
    fn fetches(&self) -> bool {
        match &self.command {
            Command::Image(ImageCommand::Pull(pull)) => pull.asks_a_registry(),
            Command::Disk(create::DiskCommand::Create(create)) => create.asks_a_registry(),
            _ => false,
        }
    }

    /// Runs the command; the exit code of one that came to its end and found something.
    fn run(self) -> Result<u8, Error> {
        match self.command {
            Command::Image(ImageCommand::Look(look)) => return look.run(),
            Command::Cache(cache) => return cache.run(),
            Command::Image(ImageCommand::Lint(lint)) => return lint.run(),
            Command::Image(ImageCommand::Check(check)) => return check.run(),
            Command::Demo(demo) => return demo.run(),
            Command::Image(ImageCommand::Pull(pull)) => pull.run(),
            Command::Disk(disk) => disk.run(),
            Command::Auth(auth::AuthCommand::Check(check)) => check.run(),
            Command::Completions(completions) => completions.run(&command()),
            Command::Man(man) => man.run(&command()),
            Command::Help(help) => help.run(command()),
            Command::Image(ImageCommand::Build(build)) => build.run(),
            Command::Image(ImageCommand::Edit(edit)) => edit.run(),
        }?;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_option_of_a_command_that_makes_a_disk_stands_under_a_heading() {
        const HEADINGS: [&str; 5] = ["Disk", "Contents", "Registry", "Limits", "Output"];
        for words in [["image", "pull"], ["image", "build"], ["disk", "create"]] {
            let cli = command();
            let command = words.iter().fold(&cli, |command, word| {
                command.find_subcommand(word).unwrap_or_else(|| panic!("no {word}"))
            });
            let mut seen: Vec<&str> = Vec::new();
            for option in command.get_arguments().filter(|argument| !argument.is_positional()) {
                let heading = option.get_help_heading();
                let heading = heading.unwrap_or_else(|| panic!("{words:?}: {option}"));
                assert!(HEADINGS.contains(&heading), "{words:?}: {option} under {heading}");
                if !seen.contains(&heading) {
                    seen.push(heading);
                }
            }
            assert_eq!(seen, HEADINGS, "{words:?}");
        }
    }
}
