//! What `-h` and `--help` show of each command, and `banger help`.

use clap::{Arg, ArgAction, Args, Command};

use super::registry::RegistryOptions;
use super::topics::{TOPICS, list, sources, topic};
use crate::error::{Error, Result};
use crate::report::Report;
use crate::report::width::columns;
use crate::shown;

/// How a command's help differs from the list of all that it takes.
struct Shape {
    /// The words of the command.
    path: &'static [&'static str],
    /// What `-h` shows, in fewer words where there are some; everything where nothing is named.
    short: &'static [(&'static str, &'static str)],
    /// Examples.
    examples: &'static str,
}

const OUTPUT: &str = "The file or block device to write [default: <name>-<tag>.ext4]";
const SIZE: &str = "The disk's size: 4G, fit, fit+512M [default: fit, with room]";
const ADD: &str = "Put a file or directory of the host in";
const INIT: &str = "Add an init that starts the image's program at boot";
const PLATFORM: &str = "The platform, such as arm64 [default: the host's]";
const FORMAT: &str = "text or json";
const FORCE: &str = "Replace what is there";
const QUIET: &str = "Print the path alone";

const SHAPES: [Shape; 5] = [
    Shape {
        path: &["image", "pull"],
        short: &[
            ("source", "The image, such as debian:bookworm-slim (banger help sources)"),
            ("output", OUTPUT),
            ("size", SIZE),
            ("label", ""),
            ("add", ADD),
            ("init", INIT),
            ("platform", PLATFORM),
            ("authfile", "Look for credentials here first, then docker's and podman's"),
            ("force", FORCE),
            ("format", FORMAT),
            ("quiet", QUIET),
            ("verbose", ""),
        ],
        examples: "\
Examples:
  banger image pull debian:bookworm-slim
  banger image pull --init --size 8G ghcr.io/me/app:1.2 app.ext4
  banger image pull --add ./agent:/usr/sbin/agent:0755 alpine:3 vm.ext4",
    },
    Shape {
        path: &["image", "build"],
        short: &[
            ("source", "tar:FILE, dir:PATH, oci:DIR, ext4:FILE, … (banger help sources)"),
            ("output", OUTPUT),
            ("size", SIZE),
            ("label", ""),
            ("profile", "default, max, linux-4.14, grub-2.06 or read-only"),
            ("add", ADD),
            ("init", INIT),
            ("platform", PLATFORM),
            ("owner", ""),
            ("force", FORCE),
            ("format", FORMAT),
            ("quiet", QUIET),
            ("verbose", ""),
        ],
        examples: "\
Examples:
  banger image build dir:./rootfs root.ext4
  docker save app:1 | banger image build - app.ext4
  banger image build --size fit ext4:old.ext4 new.ext4",
    },
    Shape {
        path: &["disk", "create"],
        short: &[
            ("place", ""),
            ("size", "The filesystem's size, such as 8G or fit+1G"),
            ("label", ""),
            ("profile", "default, max, linux-4.14, grub-2.06 or read-only"),
            ("from", "Begin with an image, a directory or an archive"),
            ("owner", "Owner of the root directory"),
            ("mode", "Permission bits of the root directory, in octal"),
            ("force", FORCE),
            ("format", FORMAT),
            ("quiet", QUIET),
            ("verbose", ""),
        ],
        examples: "\
Examples:
  banger disk create data.ext4 --size 8G --label data
  banger disk create work.ext4 --from ./tree --size fit+1G
  banger disk create /dev/vg/data --reserved 0%",
    },
    Shape {
        path: &["image", "edit"],
        short: &[
            ("image", ""),
            ("add", ADD),
            ("overlay", ""),
            ("init", INIT),
            ("remove", ""),
            ("rename", ""),
            ("chmod", ""),
            ("chown", ""),
            ("dry_run", ""),
            ("format", FORMAT),
            ("quiet", QUIET),
        ],
        examples: "\
Examples:
  banger image edit app.ext4 --add ./agent:/usr/sbin/agent:0755
  banger image edit app.ext4 --remove /var/cache --chmod 1777:/tmp
  banger image edit app.ext4 --dry-run --overlay more.tar",
    },
    Shape {
        path: &["auth", "check"],
        short: &[
            ("reference", "A registry or an image, such as ghcr.io or ghcr.io/me/app"),
            ("authfile", ""),
            ("creds_stdin", ""),
            ("ca_file", ""),
            ("insecure", ""),
            ("plain_http", ""),
            ("format", FORMAT),
            ("quiet", ""),
        ],
        examples: "\
Examples:
  banger auth check ghcr.io
  banger auth check ghcr.io/me/app:latest",
    },
];

/// The options of `image pull` that `image build` refuses: nothing of it asks a registry.
fn is_of_registries(argument: &Arg) -> bool {
    let id = argument.get_id().as_str();
    id != "limits" && RegistryOptions::NAMES.contains(&id)
}

/// The commands with the help that people read.
pub(super) fn shaped(cli: Command) -> Command {
    let cli = shape(cli, &mut Vec::new());
    cli.after_help(format!("{}\n-h is short, --help says everything.", list(columns())))
}

fn shape(command: Command, path: &mut Vec<String>) -> Command {
    let names: Vec<String> =
        command.get_subcommands().map(|found| found.get_name().to_owned()).collect();
    let mut command = names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(&name, |below| {
            path.push(name.clone());
            let below = shape(below, path);
            path.pop();
            below
        })
    });
    let is_taken = command.get_arguments().any(|argument| argument.get_short() == Some('h'));
    let help = Arg::new("help").long("help").action(ArgAction::Help).help("Print help");
    let help = if is_taken { help } else { help.short('h').help("Print help; --help all of it") };
    let help = if command.has_subcommands() { help } else { help.help_heading("Output") };
    command = command.disable_help_flag(true).arg(help.display_order(998));
    if path.as_slice() == ["disk", "set"] {
        // The options of which one is needed make a line that is wider than terminals.
        command = command.override_usage("banger disk set [OPTIONS] <PATH>");
    }
    match SHAPES.iter().find(|shape| shape.path == path.as_slice()) {
        Some(shape) => with(command, shape),
        None => command,
    }
}

fn with(command: Command, shape: &'static Shape) -> Command {
    let is_build = shape.path.last() == Some(&"build");
    let takes_sources = matches!(shape.path, ["image", _] | ["disk", "create"]);
    let more = takes_sources.then(|| format!("\n\n{}", sources(columns())));
    let notes = command.get_after_help().map(|notes| format!("\n\n{notes}")).unwrap_or_default();
    let all = format!("{}{notes}{}", shape.examples, more.unwrap_or_default());
    let topics = "--help shows the other options; banger help sizes, sources, limits.";
    command
        .mut_args(|argument| {
            let id = argument.get_id().as_str();
            let short = shape.short.iter().find(|(name, _)| *name == id);
            let is_shown = short.is_some() || id == "help";
            let is_hidden = is_build && is_of_registries(&argument);
            let argument = argument.hide_short_help(!is_shown).hide(is_hidden);
            match short {
                Some((_, words)) if !words.is_empty() => shortened(argument, words),
                _ => argument,
            }
        })
        .after_help(format!("{}\n\n{topics}", shape.examples))
        .after_long_help(all)
}

/// The same argument with these words in `-h`, and all of them in `--help`.
fn shortened(argument: Arg, words: &'static str) -> Arg {
    let all = argument.get_long_help().or(argument.get_help()).cloned().unwrap_or_default();
    argument.help(words).long_help(all)
}

/// Say more about a command or a topic
#[derive(Debug, Args)]
pub(super) struct Help {
    /// A command, such as image pull, or a topic: sizes, sources, limits, exit-codes, environment
    #[arg(value_name = "COMMAND|TOPIC")]
    words: Vec<String>,
}

impl Help {
    pub(super) fn run(self, mut cli: Command) -> Result<()> {
        if let [name] = self.words.as_slice()
            && let Some(topic) = topic(name)
        {
            return Report::text(&(topic.text)(columns()));
        }
        cli.build();
        let mut found = &mut cli;
        for (place, word) in self.words.iter().enumerate() {
            found = found.find_subcommand_mut(word).ok_or_else(|| {
                let asked = self.words.get(..=place).unwrap_or_default().join(" ");
                let topics = TOPICS.map(|topic| topic.name).join(", ");
                let asked = shown::text(&asked);
                Error::usage(format!("there is no command and no topic \"{asked}\""))
                    .with_hint(format!("topics are {topics}; banger --help lists the commands"))
            })?;
        }
        Report::styled(&found.render_long_help())
    }
}

#[cfg(test)]
mod tests {
    use super::super::command;
    use super::*;

    fn every_command(command: &Command, seen: &mut Vec<Command>) {
        seen.push(command.clone());
        command.get_subcommands().for_each(|below| every_command(below, seen));
    }

    #[test]
    fn short_help_is_of_forty_lines_and_of_the_terminals_width() {
        let mut cli = command().term_width(80);
        cli.build();
        let mut commands = Vec::new();
        every_command(&cli, &mut commands);
        assert!(commands.len() > 25, "{}", commands.len());
        for mut command in commands {
            let name = command.get_bin_name().unwrap_or_default().to_owned();
            let help = command.render_help().to_string();
            let lines = help.lines().count();
            assert!(lines <= 40, "{name} has {lines} lines:\n{help}");
            assert!(help.lines().all(|line| line.chars().count() <= 80), "{name}:\n{help}");
        }
    }

    #[test]
    fn build_shows_its_own_options_and_pull_three_examples() {
        let mut cli = command();
        cli.build();
        let mut help = |words: [&str; 2]| {
            let found = words.iter().fold(&mut cli, |command, word| {
                command.find_subcommand_mut(word).unwrap_or_else(|| panic!("no {word}"))
            });
            (found.render_help().to_string(), found.render_long_help().to_string())
        };
        let (short, long) = help(["image", "build"]);
        for flag in ["--authfile", "--retry", "--plain-http", "--pull"] {
            assert!(!long.contains(&format!("{flag} ")), "{flag} in:\n{long}");
        }
        assert!(long.contains("--limit <NAME=VALUE>") && !short.contains("--limit "));
        let (short, long) = help(["image", "pull"]);
        let examples = short.lines().filter(|line| line.starts_with("  banger image pull "));
        assert_eq!(examples.count(), 3, "{short}");
        assert!(long.contains("--plain-http") && !short.contains("--plain-http"));
    }
}
