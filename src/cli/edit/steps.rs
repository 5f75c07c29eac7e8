//! The options that change an image's tree, in the order in which they were given.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use crate::edit::Step;
use crate::error::{Error, Result};
use crate::guest::Bundle;
use crate::inject::Addition;
use crate::shown;

/// The steps, each an option with its value.
#[derive(Debug)]
pub(super) struct Steps(Vec<Step>);

/// The options: their names, what stands for their values, and what they do.
const OPTIONS: [(&str, &str, &str); 8] = [
    (
        "add",
        "SRC:DST[:MODE[:UID:GID]]",
        "Put a file or directory of this host in, or what - gives on standard input, as image pull \
         does; what is there is replaced",
    ),
    ("overlay", "TAR", "Apply an archive as a further layer, whiteouts included"),
    (
        "guest",
        "DIR|TAR",
        "Add a bundle of agents: files below rootfs/, which become root's, and guest.toml, which \
         says what systemd is to enable",
    ),
    (
        "init",
        "",
        "Put an init into the image that starts its program, as image pull does, by the config in \
         /etc/banger/image.json",
    ),
    ("remove", "PATH", "Take a file out, or a directory with all that is below it"),
    ("rename", "OLD:NEW", "Give a file or directory another path, where nothing is"),
    ("chmod", "MODE:PATH", "Set permission bits, in octal; an ACL gets them too"),
    ("chown", "UID:GID:PATH", "Set the owner; permission bits and capabilities stay"),
];

impl Steps {
    /// The steps, of which there has to be one.
    pub(super) fn into_list(self) -> Result<Vec<Step>> {
        if self.0.is_empty() {
            let names = OPTIONS.map(|(name, ..)| format!("--{name}")).join(", ");
            return Err(
                Error::usage("there is nothing to change").with_hint(format!("{names} say what"))
            );
        }
        let is_input = |step: &&Step| matches!(step, Step::Add(one) if one.is_standard_input());
        if self.0.iter().filter(is_input).count() > 1 {
            return Err(Error::usage("standard input can be added once"));
        }
        Ok(self.0)
    }
}

impl Args for Steps {
    fn augment_args(command: Command) -> Command {
        OPTIONS.into_iter().fold(command, |command, (name, value, help)| {
            let option = Arg::new(name).long(name).help(help);
            if value.is_empty() {
                // It stands for itself, but has a place among the others.
                let option = option.num_args(0).default_missing_value("");
                let option = option.action(ArgAction::Append);
                return command.arg(option.value_parser(value_parser!(OsString)));
            }
            let option = option.value_name(value);
            // Standard input is "-".
            let option = option.allow_hyphen_values(true);
            command.arg(option.action(ArgAction::Append).value_parser(value_parser!(OsString)))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Steps {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut found = Vec::new();
        for (name, _, _) in OPTIONS {
            let values = matches.get_many::<OsString>(name).into_iter().flatten();
            let places = matches.indices_of(name).into_iter().flatten();
            for (place, value) in places.zip(values) {
                let step = parse(name, value).map_err(|error| {
                    clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n"))
                })?;
                found.push((place, step));
            }
        }
        found.sort_by_key(|(place, _)| *place);
        Ok(Self(found.into_iter().map(|(_, step)| step).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The step that an option with its value asks for.
fn parse(option: &str, value: &OsStr) -> Result<Step> {
    let bytes = value.as_bytes();
    let refuse = |form: &str| {
        Error::usage(format!("cannot understand --{option} {}", shown::bytes(&bytes)))
            .with_hint(format!("write --{option} {form}"))
    };
    match option {
        "add" => Addition::parse(value).map(Step::Add),
        "overlay" | "guest" if bytes.is_empty() => Err(refuse("PATH")),
        "overlay" => Ok(Step::Overlay(value.into())),
        "init" => Ok(Step::Init),
        "guest" => Ok(Step::Guest(Bundle::new(value.into()))),
        "remove" => {
            if bytes.is_empty() {
                return Err(refuse("PATH"));
            }
            Ok(Step::Remove(bytes.to_vec()))
        }
        "rename" => match *fields(bytes, usize::MAX) {
            [from, to] => Ok(Step::Rename { from: from.to_vec(), to: to.to_vec() }),
            _ => Err(refuse("OLD:NEW, of which neither has a colon")),
        },
        "chmod" => {
            let fields = fields(bytes, 2);
            let [mode, path] = *fields else { return Err(refuse("0755:PATH")) };
            let mode = number(mode, 8).and_then(|mode| u16::try_from(mode).ok());
            let mode = mode.filter(|mode| *mode <= 0o7777).ok_or_else(|| refuse("0755:PATH"))?;
            Ok(Step::Chmod { mode, path: path.to_vec() })
        }
        "chown" => {
            let fields = fields(bytes, 3);
            let [uid, gid, path] = *fields else { return Err(refuse("UID:GID:PATH")) };
            let (uid, gid) = (number(uid, 10), number(gid, 10));
            let (uid, gid) = uid.zip(gid).ok_or_else(|| refuse("UID:GID:PATH, in numbers"))?;
            Ok(Step::Chown { uid, gid, path: path.to_vec() })
        }
        _ => Err(Error::internal(format!("there is no step --{option}"))),
    }
}

/// The fields between colons, at most so many; none if one is empty.
fn fields(bytes: &[u8], most: usize) -> Box<[&[u8]]> {
    let fields: Box<[&[u8]]> = bytes.splitn(most, |byte| *byte == b':').collect();
    if fields.iter().any(|field| field.is_empty()) { Box::default() } else { fields }
}

fn number(text: &[u8], radix: u32) -> Option<u32> {
    let text = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'))?;
    u32::from_str_radix(text, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(words: &[&str]) -> Result<Vec<Step>, clap::Error> {
        let matches = Steps::augment_args(Command::new("edit")).try_get_matches_from(words)?;
        Ok(Steps::from_arg_matches(&matches)?.0)
    }

    #[test]
    fn steps_stand_in_the_order_of_the_command_line() {
        let words = ["edit", "--chmod", "755:/a:b", "--remove", "c", "--add", "4000:/d"];
        let more = ["--rename", "e:f", "--init", "--chown", "1:2:/g:h", "--remove", "i"];
        let found = steps(&[&words[..], &more].concat()).unwrap();
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        let expected = [
            "chmod 0755 /a:b",
            "remove c",
            "add 4000 to /d",
            "rename e to f",
            "add an init",
            "chown 1:2 /g:h",
            "remove i",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for (option, value) in [
            ("--add", "a"),
            ("--overlay", ""),
            ("--remove", ""),
            ("--rename", "a"),
            ("--rename", "a:"),
            ("--rename", "a:b:c"),
            ("--chmod", "9:a"),
            ("--chmod", "10000:a"),
            ("--chmod", "+7:a"),
            ("--chmod", "7:"),
            ("--chown", "1:a"),
            ("--chown", "1:x:a"),
            ("--chown", "1:4294967296:a"),
        ] {
            let error = steps(&["edit", option, value]).unwrap_err().to_string();
            assert!(error.contains("; write "), "{option} {value}: {error}");
        }
    }
}
