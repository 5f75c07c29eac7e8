//! The init that starts an image's program: a shell script, whose first lines are of the image.

use super::places::USUAL_PATH;
use super::quote::{word, words};
use super::tools::Tools;
use super::user::User;
use crate::error::{Error, Result};
use crate::shown::excerpt;
use crate::source::Config;

/// What follows the lines of the image.
const SCRIPT: &str = include_str!("init.sh");
/// The longest argument that the kernel passes to a program: `MAX_ARG_STRLEN`, less its NUL.
const MAX_WORD: usize = (128 << 10) - 1;
/// The most bytes of arguments, each with its NUL and a pointer to it: the kernel takes a quarter of
/// the stack, of which a process has 8 MiB (kernel: `fs/exec.c`, `bprm_stack_limits`). The rest is
/// for the arguments that the init adds, of which HOME may be long.
const MAX_WORDS: usize = (2 << 20) - (256 << 10);
/// What an argument takes besides its bytes: a NUL and a pointer.
const WORD_OVERHEAD: usize = 9;
/// The first real-time signal that programs have; the C library keeps two for itself.
const SIGRTMIN: u8 = 34;
/// The last one.
const SIGRTMAX: u8 = 64;
/// The signals by number, from 1, on every processor that images are made for but MIPS.
///
/// Source: signal(7), "x86/ARM and most others".
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// How a container of an image would be run, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// The program and its arguments.
    pub(super) command: Vec<String>,
    /// `NAME=value` each, the image's own.
    pub(super) environment: Vec<String>,
    /// Where it starts.
    pub(super) directory: String,
    /// The number of the signal that asks it to stop.
    pub(super) stop_signal: u8,
}

impl Program {
    /// What the config says, refused where it makes no sense.
    pub(super) fn of(config: &Config) -> Result<Self> {
        let command: Vec<String> = config.entrypoint.iter().chain(&config.cmd).cloned().collect();
        let Some(first) = command.first() else {
            return Err(Error::bad_data(
                "the image has neither Entrypoint nor Cmd, so --init has nothing to start",
            )
            .with_hint(
                "leave --init out and boot the image's own init, or a shell by init=/bin/sh",
            ));
        };
        if first.is_empty() || first.contains('=') {
            let shown = excerpt(first);
            return Err(Error::bad_data(format!("the image's program \"{shown}\" is no name")));
        }
        for entry in &config.env {
            if entry.split_once('=').is_none_or(|(name, _)| name.is_empty()) {
                let shown = excerpt(entry);
                return Err(Error::bad_data(format!(
                    "the image's Env has \"{shown}\", no NAME=VALUE"
                )));
            }
        }
        bounded(command.iter().chain(&config.env))?;
        // A container engine takes a relative directory from the root too.
        let directory = format!("/{}", config.working_dir.trim_start_matches('/'));
        Ok(Self {
            command,
            environment: config.env.clone(),
            directory,
            stop_signal: signal(config.stop_signal.as_deref().unwrap_or_default())?,
        })
    }

    /// The whole script.
    pub(super) fn script(&self, user: &User, tools: &Tools) -> Result<String> {
        let Tools { busybox, mount, env, step_down } = tools;
        let busybox = word(busybox.as_deref().unwrap_or_default())?;
        let (mount, env, step_down) = (words(mount)?, words(env)?, words(step_down)?);
        let defaults = words([format!("HOME={}", user.home), format!("PATH={USUAL_PATH}")])?;
        let (environment, command) = (words(&self.environment)?, words(&self.command)?);
        let directory = word(&self.directory)?;
        let (version, uid, stop) = (env!("CARGO_PKG_VERSION"), user.uid, self.stop_signal);
        // The last of several values of a variable counts, so the image's own stand last. TERM is
        // first, as a word that no option of env can be.
        Ok(format!(
            "#!/bin/sh\n\
             # Process 1 of this machine: makes the system ready and runs the program of the image.\n\
             # Written by banger {version}; /etc/banger/image.json has the same in words.\n\
             \n\
             busybox={busybox}\n\
             directory={directory}\n\
             owner={uid}\n\
             stop_signal={stop}\n\
             \n\
             mount() {{ {mount} \"$@\"; }}\n\
             run_env() {{ {env} \"$@\"; }}\n\
             \n\
             # Words of the image, between quotes in which nothing has a meaning.\n\
             program() {{\n\
             exec {step_down} {env} -i $signals \"TERM=${{TERM:-linux}}\" \"HOSTNAME=$host\" \
             {defaults} {environment} {command}\n\
             }}\n\
             {SCRIPT}"
        ))
    }
}

/// Refuses what the kernel would not pass to a program.
fn bounded<'a>(words: impl Iterator<Item = &'a String>) -> Result<()> {
    let mut total = 0_usize;
    for word in words {
        total = total.saturating_add(word.len()).saturating_add(WORD_OVERHEAD);
        if word.len() > MAX_WORD || total > MAX_WORDS {
            return Err(Error::bad_data(format!(
                "the image's Entrypoint, Cmd and Env are too long to start a program with: a word \
                 has at most {MAX_WORD} bytes, all of them {MAX_WORDS} with {WORD_OVERHEAD} more each"
            )));
        }
    }
    Ok(())
}

/// The number of a signal by its name or number; SIGTERM where nothing is said.
fn signal(text: &str) -> Result<u8> {
    if text.is_empty() {
        return signal("TERM");
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = (1..).zip(SIGNALS).find(|(_, known)| *known == name).map(|(number, _)| number);
    let digits = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u8>().ok().filter(|_| is_number)
    };
    let beyond =
        |base: &str| name.strip_prefix(base).and_then(|rest| rest.strip_prefix(['+', '-']));
    let real_time = match name {
        "RTMIN" => Some(SIGRTMIN),
        "RTMAX" => Some(SIGRTMAX),
        _ if name.starts_with("RTMIN+") => {
            beyond("RTMIN").and_then(digits).and_then(|more| SIGRTMIN.checked_add(more))
        }
        _ if name.starts_with("RTMAX-") => {
            beyond("RTMAX").and_then(digits).and_then(|less| SIGRTMAX.checked_sub(less))
        }
        _ => None,
    };
    let found = named.or(real_time.filter(|number| *number >= SIGRTMIN)).or_else(|| digits(name));
    found.filter(|number| (1..=SIGRTMAX).contains(number)).ok_or_else(|| {
        let shown = excerpt(text);
        Error::bad_data(format!("the image's StopSignal \"{shown}\" is no signal of Linux"))
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::process::{Command, Stdio};

    use banger_test_support::judge;

    use super::*;

    fn config(command: &[&str], env: &[&str]) -> Config {
        let own = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Config { entrypoint: own(command), env: own(env), ..Config::default() }
    }

    fn script(config: &Config) -> String {
        let login = Some("app".to_owned());
        let user = User { uid: 7, gid: 8, groups: vec![9], home: "/it's home".to_owned(), login };
        let tools = Tools {
            busybox: None,
            mount: vec!["/bin/mount".to_owned()],
            env: vec!["/usr/bin/env".to_owned()],
            step_down: vec!["/step".to_owned(), "do$wn".to_owned()],
        };
        Program::of(config).unwrap().script(&user, &tools).unwrap()
    }

    #[test]
    fn every_shell_can_read_the_script() {
        let mut config = config(&["sh", "-c", "it's $(not) `run`\n"], &["A='", "B=\"$PATH\""]);
        config.working_dir = "srv/it's".to_owned();
        let script = script(&config);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &script).unwrap();
        let mut asked = 0;
        for shell in [&["sh"][..], &["dash"], &["bash", "--posix"], &["busybox", "sh"]] {
            let mut command = Command::new(shell[0]);
            let run = command.args(&shell[1..]).arg("-n").arg(file.path());
            let Ok(output) = run.stdin(Stdio::null()).output() else { continue };
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && said.is_empty(), "{shell:?}: {said}\n{script}");
            asked += 1;
        }
        assert!(asked > 0);
        let Some(shellcheck) = judge::program("shellcheck") else { return };
        // Words of images look odd; `trap` takes the name of each signal as it is now; a lease's
        // values come from udhcpc; a failed `cd` and a failed `mkdir` are one.
        let odd = ["-s", "sh", "-e", "SC2016,SC2064,SC2154,SC2015"].map(OsStr::new);
        let output = judge::run(&shellcheck, odd.into_iter().chain([file.path().as_os_str()]));
        assert!(output.status.success(), "{}", judge::text(&output));
    }

    #[test]
    fn words_of_the_image_reach_its_program_and_no_shell() {
        let awkward = ["printf", "%s\\0", "$(touch owned)", "it's", "a\nb", "-n", "ünï", "", "*"];
        let environment = ["UID=5", "A.b=c d", "E=`x`", "Q='\"$Q\"", "HOME=/own", "-u=x"];
        let script = script(&config(&awkward, &environment));
        let start = script.find("program() {").unwrap();
        let end = start + script[start..].find("\n}\n").unwrap() + 3;
        // The same words, with env in the place of what steps down.
        let program = script[start..end].replace("'/step' 'do$wn' ", "");
        let run = |program: &str| {
            let script = format!("signals= host=h\n{program}\nprogram");
            let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let expected = format!("{}\0", awkward[2..].join("\0"));
        assert_eq!(run(&program), expected);
        let command = words(awkward).unwrap();
        let shown = run(&program.replace(&command, "env -0"));
        let variables: Vec<&str> = shown.split_terminator('\0').collect();
        for expected in environment {
            assert!(variables.contains(&expected), "{expected} is not in {variables:?}");
        }
        assert!(variables.contains(&"HOSTNAME=h") && !variables.contains(&"HOME=/it's home"));
        assert!(variables.iter().all(|variable| !variable.starts_with("CARGO")), "{variables:?}");
    }

    /// Runs one function of the script on files of a directory in the place of the system's.
    fn run_function(name: &str, directory: &std::path::Path, files: &[(&str, &str)]) {
        let start = SCRIPT.find(&format!("\n{name}() {{\n")).unwrap();
        let end = start + SCRIPT[start..].find("\n}\n").unwrap() + 3;
        let mut script = format!("{}\n{name}", &SCRIPT[start..end]);
        for (system, ours) in files {
            script = script.replace(system, directory.join(ours).to_str().unwrap());
        }
        let script = format!("has() {{ false; }}\n{script}");
        for shell in [&["sh"][..], &["bash", "--posix"], &["busybox", "sh"]] {
            let mut command = Command::new(shell[0]);
            let Ok(output) = command.args(&shell[1..]).arg("-c").arg(&script).output() else {
                continue;
            };
            assert!(output.status.success(), "{shell:?}: {output:?}");
        }
    }

    #[test]
    fn name_servers_that_the_kernel_learned_are_written_where_none_is() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let files = [("/etc/resolv.conf", "resolv.conf"), ("/proc/net/pnp", "pnp")];
        let run = || run_function("kernel_servers", directory.path(), &files);
        run();
        assert!(!at("resolv.conf").exists());
        std::fs::write(at("pnp"), "#MANUAL\n").unwrap();
        run();
        assert!(!at("resolv.conf").exists());
        let learned = "#PROTO: DHCP\ndomain example.org\nnameserver 10.0.2.3\n\
                       nameserver 0.0.0.0\nbootserver 10.0.2.2\n";
        std::fs::write(at("pnp"), learned).unwrap();
        let expected = "search example.org\nnameserver 10.0.2.3\n";
        for before in ["nothing", "empty", "link"] {
            let _ = std::fs::remove_file(at("resolv.conf"));
            match before {
                "empty" => std::fs::write(at("resolv.conf"), "").unwrap(),
                "link" => std::os::unix::fs::symlink("gone/x", at("resolv.conf")).unwrap(),
                _ => {}
            }
            run();
            let written = std::fs::read_to_string(at("resolv.conf")).unwrap();
            assert_eq!(written, expected, "{before}");
        }
        std::fs::write(at("resolv.conf"), "nameserver ::1\n").unwrap();
        run();
        assert_eq!(std::fs::read_to_string(at("resolv.conf")).unwrap(), "nameserver ::1\n");
    }

    #[test]
    fn an_address_that_the_kernel_took_for_a_name_is_none() {
        let files = [
            ("/proc/sys/kernel/hostname", "name"),
            ("/etc/hostname", "hostname"),
            ("/etc/hosts", "hosts"),
        ];
        for (kernel, expected) in [
            ("10.0.2.15", "mine"),
            ("(none)", "mine"),
            ("localhost", "mine"),
            ("", "mine"),
            ("told", "told"),
            ("10-0-2-15", "10-0-2-15"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join("name"), format!("{kernel}\n")).unwrap();
            std::fs::write(directory.path().join("hostname"), "mine\n").unwrap();
            run_function("names", directory.path(), &files);
            let name = std::fs::read_to_string(directory.path().join("name")).unwrap();
            assert_eq!(name.trim(), expected, "{kernel}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_name() {
        let mut stop = config(&["a"], &[]);
        stop.stop_signal = Some("SIGNONE".to_owned());
        let long = "x".repeat(MAX_WORD + 1);
        // Few bytes, many pointers.
        let many = vec![""; MAX_WORDS / WORD_OVERHEAD];
        for (config, why) in [
            (config(&[], &[]), "neither Entrypoint nor Cmd"),
            (config(&[""], &[]), "program \"\" is no name"),
            (config(&["a=b"], &[]), "program \"a=b\" is no name"),
            (config(&["a"], &["NAME"]), "Env has \"NAME\", no NAME=VALUE"),
            (config(&["a"], &["=x"]), "Env has \"=x\""),
            (config(&["a", &long], &[]), "too long"),
            (config(&[&["a"], &many[..]].concat(), &[]), "too long"),
            (stop, "StopSignal \"SIGNONE\""),
        ] {
            let error = Program::of(&config).unwrap_err();
            assert_eq!(error.exit_code(), 65, "{error}");
            assert!(error.to_string().contains(why), "{error}");
        }
        let user = User { uid: 0, gid: 0, groups: vec![], home: "/".to_owned(), login: None };
        let tools = Tools { busybox: None, mount: vec![], env: vec![], step_down: vec![] };
        let program = Program::of(&config(&["a\0b"], &[])).unwrap();
        assert_eq!(program.script(&user, &tools).unwrap_err().exit_code(), 65);
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("", 15),
            ("SIGTERM", 15),
            ("quit", 3),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("SIGWINCH", 28),
            ("64", 64),
            ("SIGPWR", 30),
        ] {
            assert_eq!(signal(text).unwrap(), number, "{text}");
        }
        for text in ["0", "65", "SIGRTMIN+31", "RTMAX-31", "+1", "RTMIN+", "SIG", "256", "TERM "] {
            assert_eq!(signal(text).unwrap_err().exit_code(), 65, "{text}");
        }
    }
}
