//! `banger completions` and `banger man`: what shells and man(1) read.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command, ValueEnum};

use crate::error::{Error, Result};
use crate::report::Report;

/// A shell whose completions are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Print what a shell reads to complete banger's words
///
/// bash: source <(banger completions bash), or into
/// ~/.local/share/bash-completion/completions/banger. zsh: into a directory of $fpath as _banger.
/// fish: into ~/.config/fish/completions/banger.fish.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, cli: &Command) -> Result<()> {
        let shell = match self.shell {
            Shell::Bash => clap_complete::Shell::Bash,
            Shell::Zsh => clap_complete::Shell::Zsh,
            Shell::Fish => clap_complete::Shell::Fish,
        };
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut visible(cli), "banger", &mut text);
        let text = String::from_utf8(text)
            .map_err(|error| Error::internal("completions are no text").with_source(error))?;
        Report::text(&text)
    }
}

/// Write the man pages of all commands
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The directory to write them into, made if it is missing; man1 below $MANPATH is one
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Man {
    pub(super) fn run(self, cli: &Command) -> Result<()> {
        let directory = self.directory;
        let failed = |error| {
            let shown = directory.display();
            Error::of_file(format!("cannot write the man pages into {shown}"), error)
        };
        fs::create_dir_all(&directory).map_err(failed)?;
        clap_mangen::generate_to(visible(cli), &directory).map_err(failed)
    }
}

/// The same commands without options that are hidden, such as those that are taken to be refused.
fn visible(command: &Command) -> Command {
    let mut seen = Command::new(command.get_name().to_owned())
        .args(command.get_arguments().filter(|argument| !argument.is_hide_set()).cloned())
        .subcommands(command.get_subcommands().filter(|found| !found.is_hide_set()).map(visible))
        .subcommand_required(command.is_subcommand_required_set())
        .disable_help_flag(true)
        .disable_help_subcommand(true);
    if let Some(version) = command.get_version() {
        seen = seen.version(version.to_owned());
    }
    if let Some(about) = command.get_about() {
        seen = seen.about(about.clone());
    }
    if let Some(about) = command.get_long_about() {
        seen = seen.long_about(about.clone());
    }
    if let Some(after) = command.get_after_long_help().or(command.get_after_help()) {
        seen = seen.after_long_help(after.clone());
    }
    seen
}
