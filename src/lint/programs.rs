//! The programs without which nothing starts: the init, the shell, the image's own program.

use ext4_writer::reader::{Inode, ReadResult, Source};

use super::elf::{self, Program};
use super::{Finding, Look};
use crate::guest::places::{INIT, USUAL_PATH};

/// Where the kernel looks when it is told nothing (kernel: `init/main.c`, `kernel_init`).
const INITS: [&[u8]; 4] = [b"/sbin/init", b"/etc/init", b"/bin/init", SHELL];
const SHELL: &[u8] = b"/bin/sh";
/// The longest first line of a script that the kernel reads: `BINPRM_BUF_SIZE`.
const FIRST_LINE: usize = 256;
/// How many directories of a PATH are looked into.
const MAX_DIRECTORIES: usize = 100;
/// The longest path that the kernel takes: `PATH_MAX`, less its NUL.
const MAX_PATH: usize = 4095;

impl<S: Source> Look<'_, S> {
    /// Looks at the programs; the first that is there says what the others have to be made for.
    pub(super) fn programs(&mut self) -> ReadResult<()> {
        self.init()?;
        if self.has_generated_init {
            self.program(INIT.as_bytes(), "the init that --init wrote")?;
            self.command()?;
        }
        if self.tree.file(SHELL)?.is_some() {
            return self.program(SHELL, "the shell");
        }
        let severity = if self.has_generated_init { Finding::error } else { Finding::warning };
        let hint = "add a shell, or boot a program of the image by init=PATH";
        self.find(
            severity("no-shell", "there is no shell, which --init and scripts need")
                .at(SHELL)
                .hint(hint),
        );
        Ok(())
    }

    /// The init that the kernel would choose by itself.
    fn init(&mut self) -> ReadResult<()> {
        for path in INITS {
            if self.tree.file(path)?.is_none() {
                continue;
            }
            if path != SHELL {
                return self.program(path, "the init");
            }
            if !self.has_generated_init {
                self.find(
                    Finding::warning("only-a-shell", "there is no init: a kernel starts the shell")
                        .at(path)
                        .hint("--init adds one that runs the image's program"),
                );
            }
            return Ok(());
        }
        if !self.has_generated_init {
            let message = "there is no init and no shell: a kernel has nothing to start";
            self.find(
                Finding::error("no-init", message)
                    .hint("boot a program of the image by init=PATH, or add an init"),
            );
        }
        Ok(())
    }

    /// The program that the generated init starts.
    fn command(&mut self) -> ReadResult<()> {
        let Some(command) = self.description.command.take() else { return Ok(()) };
        let path = self.description.path.take().unwrap_or_else(|| USUAL_PATH.to_owned());
        let places = if command.starts_with('/') {
            ""
        } else if command.contains('/') {
            &std::mem::take(&mut self.description.directory)
        } else {
            &path
        };
        // A directory's name may hold a colon, a list's element not.
        let is_list = !command.contains('/');
        let mut rest = Some(places);
        for _ in 0..MAX_DIRECTORIES {
            let Some(places) = rest else { break };
            let (place, behind) = match places.split_once(':').filter(|_| is_list) {
                Some((place, behind)) => (place, Some(behind)),
                None => (places, None),
            };
            rest = behind;
            if place.len().saturating_add(command.len()) >= MAX_PATH {
                continue;
            }
            let separator = if command.starts_with('/') { "" } else { "/" };
            let program = format!("{place}{separator}{command}");
            if self.tree.file(program.as_bytes())?.is_some() {
                return self.program(program.as_bytes(), "the image's program");
            }
        }
        self.find(
            Finding::error("no-command", "the program that the image is to run is not there")
                .at(command.as_bytes()),
        );
        Ok(())
    }

    /// A program that has to start.
    fn program(&mut self, path: &[u8], role: &str) -> ReadResult<()> {
        let Some(file) = self.tree.file(path)? else { return Ok(()) };
        if file.mode() & 0o111 == 0 {
            let message = format!("{role} has mode {:o}: nobody may run it", file.mode());
            self.find(Finding::error("not-executable", message).at(path));
            return Ok(());
        }
        let mut read_at = |offset, buffer: &mut [u8]| -> ReadResult<usize> {
            self.tree.read_at(&file, offset, buffer)
        };
        match elf::read(&mut read_at)? {
            Some(Ok(program)) => self.binary(path, role, &program),
            Some(Err(broken)) => {
                let message = format!("{role} is a damaged program: {broken}");
                self.find(Finding::error("not-a-program", message).at(path));
                Ok(())
            }
            None => self.script(path, role, &file),
        }
    }

    fn binary(&mut self, path: &[u8], role: &str, program: &Program) -> ReadResult<()> {
        let wanted = *self.machine.get_or_insert(program.machine);
        if program.machine != wanted {
            let (is, wanted) = (program.machine.name(), wanted.name());
            let message = format!("{role} is made for {is}, the image for {wanted}");
            self.find(
                Finding::error("wrong-architecture", message)
                    .at(path)
                    .hint("choose the image of the machine's architecture by --platform"),
            );
        }
        if let Some(loader) = &program.loader
            && self.tree.file(loader)?.is_none()
        {
            let message =
                format!("{role} needs the loader {}, which is not there", super::shown(loader));
            self.find(
                Finding::error("missing-loader", message)
                    .at(path)
                    .hint("the image lacks its C library, or has it for another architecture"),
            );
        }
        Ok(())
    }

    /// A script, which needs the program of its first line.
    fn script(&mut self, path: &[u8], role: &str, file: &Inode) -> ReadResult<()> {
        let mut start = [0; FIRST_LINE];
        let length = self.tree.read_at(file, 0, &mut start)?;
        let start = start.get(..length).unwrap_or_default();
        let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let Some(words) = line.strip_prefix(b"#!") else {
            let message = format!("{role} is neither a program nor a script");
            self.find(Finding::error("not-a-program", message).at(path));
            return Ok(());
        };
        // A blank or a tab ends the interpreter, and nothing else: the carriage return of a text
        // from elsewhere is a part of its name (kernel: `fs/binfmt_script.c`).
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let mut words = words.split(|byte| is_blank(byte) || *byte == 0);
        let interpreter = words.find(|word| !word.is_empty()).unwrap_or_default();
        if interpreter.is_empty() || self.tree.file(interpreter)?.is_none() {
            let shown = super::shown(interpreter);
            let message = format!("{role} is a script for {shown}, which is not there");
            let finding = Finding::error("missing-interpreter", message).at(path);
            let is_foreign = interpreter.ends_with(b"\r");
            let hint = "its lines end in CR LF; take the CR out";
            self.find(if is_foreign { finding.hint(hint) } else { finding });
        }
        Ok(())
    }
}
