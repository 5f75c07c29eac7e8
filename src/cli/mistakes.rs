//! Arguments that make no sense: what is said of them, and what was perhaps meant.

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::topics::topic;
use crate::error::Error;
use crate::report::{Format, Report};
use crate::shown;

/// What other programs call things, and what does them here.
const OTHERS: [(&[&str], &str); 15] = [
    (&["images", "list"], "`banger cache ls` lists what was fetched"),
    (
        &["run", "start", "boot"],
        "`banger image pull --init` makes a disk that runs its program when it boots",
    ),
    (
        &["login", "logout"],
        "`banger auth check HOST` tries what docker login or podman login has stored",
    ),
    (&["mkfs", "mke2fs", "mkfs.ext4", "format", "new"], "did you mean `banger disk create`?"),
    (&["fsck", "e2fsck"], "did you mean `banger image check`?"),
    (&["resize2fs", "grow", "extend"], "did you mean `banger disk resize`?"),
    (&["tune2fs", "e2label"], "did you mean `banger disk set`?"),
    (&["dumpe2fs", "info", "show", "describe"], "did you mean `banger image inspect`?"),
    (&["debugfs"], "did you mean `banger image ls`, `banger image cat` or `banger image edit`?"),
    (&["rmi", "clean", "gc", "clear"], "did you mean `banger cache prune`?"),
    (&["save", "tar"], "did you mean `banger image export`?"),
    (&["convert", "import", "load"], "did you mean `banger image build`?"),
    (&["add", "cp", "copy", "inject"], "did you mean `banger image edit IMAGE --add SRC:DST`?"),
    (&["version"], "did you mean `banger --version`?"),
    (&["completion"], "did you mean `banger completions bash`?"),
];

/// The value of an option as it stands among the words, which need not make sense otherwise.
pub(super) fn given(words: &[OsString], option: &str) -> Option<String> {
    let mut words = words.iter().skip(1).map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        if word == "--" {
            return None;
        }
        if word == option {
            return words.next().map(std::borrow::Cow::into_owned);
        }
        if let Some(value) = word.strip_prefix(option).and_then(|rest| rest.strip_prefix('=')) {
            return Some(value.to_owned());
        }
    }
    None
}

/// Says what clap found wrong, or prints the help that was asked for; the exit code.
pub(super) fn told(error: &clap::Error, words: &[OsString], cli: &Command) -> u8 {
    let format = match given(words, "--format").as_deref() {
        Some("json") => Format::Json,
        _ => Format::Text,
    };
    let report = Report::new(format, false);
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return match Report::styled(&error.render()) {
            Ok(()) => 0,
            Err(error) => {
                report.failed(&error);
                error.exit_code()
            }
        };
    }
    let usage = match (meant(error, words, cli), format) {
        (Some(meant), _) => meant,
        (None, Format::Json) => usage(error),
        (None, Format::Text) => {
            Report::complain(&error.render());
            return crate::error::ErrorKind::Usage.exit_code();
        }
    };
    report.failed(&usage);
    usage.exit_code()
}

/// The error of a word that is no command.
fn meant(error: &clap::Error, words: &[OsString], cli: &Command) -> Option<Error> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let before = words.iter().skip(1).map(|found| found.to_string_lossy().into_owned());
    let before = before.take_while(|found| found != word).filter(|found| !found.starts_with('-'));
    let before = std::iter::once("banger".to_owned()).chain(before).collect::<Vec<_>>().join(" ");
    let asked = format!("{before} {word}");
    let refusal = Error::usage(format!("there is no command `{}`", shown::text(&asked)));
    let hint = suggested(error, word, &before, cli);
    Some(refusal.with_hint(hint.unwrap_or_else(|| "`banger --help` lists the commands".to_owned())))
}

/// What was perhaps meant by a word that follows others.
fn suggested(error: &clap::Error, word: &str, before: &str, cli: &Command) -> Option<String> {
    let mut paths = Vec::new();
    named(cli, "banger", word, &mut paths);
    if topic(word).is_some() {
        paths.push(format!("banger help {word}"));
    }
    let other = OTHERS.iter().find(|(names, _)| names.contains(&word));
    if let Some((_, other)) = other.filter(|_| paths.is_empty()) {
        return Some((*other).to_owned());
    }
    if let Some(ContextValue::Strings(near)) = error.get(ContextKind::SuggestedSubcommand)
        && paths.is_empty()
    {
        paths.extend(near.iter().map(|name| format!("{before} {name}")));
    }
    let names = paths.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(" or ");
    (!paths.is_empty()).then(|| format!("did you mean {names}?"))
}

/// The commands of this name, wherever they are.
fn named(command: &Command, path: &str, name: &str, found: &mut Vec<String>) {
    for below in command.get_subcommands() {
        let path = format!("{path} {}", below.get_name());
        if below.get_name() == name && below.get_name() != "help" {
            found.push(path.clone());
        }
        named(below, &path, name, found);
    }
}

/// What clap says, as an error of ours: the first paragraph, and the tips as a hint.
fn usage(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    let is_end = |line: &&str| !line.starts_with("Usage:") && !line.starts_with("For more");
    let lines = text.lines().take_while(is_end).map(str::trim).filter(|line| !line.is_empty());
    let (tips, said): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("tip:"));
    let said = said.join(" ");
    let said = said.strip_prefix("error: ").unwrap_or(&said);
    match tips.as_slice() {
        [] => Error::usage(said),
        tips => {
            let tips = tips.iter().map(|tip| tip.trim_start_matches("tip:").trim());
            Error::usage(said).with_hint(tips.collect::<Vec<_>>().join("; "))
        }
    }
}
