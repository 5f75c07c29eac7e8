//! The few facts of a program's file that decide whether a kernel can start it.
//!
//! Source: the System V ABI, chapters 4 and 5 (ELF header, program header), elf(5).

use elf::ParseError;
use elf::abi::{EI_NIDENT, EI_VERSION, ELFMAGIC, EV_CURRENT, PT_INTERP};
use elf::endian::{AnyEndian, EndianParse as _};
use elf::file::{Class, FileHeader, parse_ident};
use elf::parse::ParseAt as _;
use elf::segment::{ProgramHeader, SegmentTable};

/// The length of the longer of the two headers.
pub(super) const HEADER: usize = 64;
/// The most program headers that are looked at; programs have about a dozen.
const MAX_HEADERS: u16 = 256;
/// The longest path of a loader: `PATH_MAX`.
const MAX_PATH: u64 = 4096;

/// What a program is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    code: u16,
    is_64_bit: bool,
    is_little_endian: bool,
}

/// An architecture's names and its programs: Go's name, `e_machine`, 64 bits, little endian.
const MACHINES: [(&str, u16, bool, bool); 14] = [
    ("amd64", 62, true, true),
    ("386", 3, false, true),
    ("arm64", 183, true, true),
    ("arm", 40, false, true),
    ("riscv64", 243, true, true),
    ("ppc64le", 21, true, true),
    ("ppc64", 21, true, false),
    ("s390x", 22, true, false),
    ("loong64", 258, true, true),
    ("mips64le", 8, true, true),
    ("mips64", 8, true, false),
    ("mipsle", 8, false, true),
    ("mips", 8, false, false),
    ("ppc", 20, false, false),
];

impl Machine {
    /// What an architecture's programs are made for, by Go's name.
    pub(super) fn of(architecture: &str) -> Option<Self> {
        let (_, code, is_64_bit, is_little_endian) =
            *MACHINES.iter().find(|(name, ..)| *name == architecture)?;
        Some(Self { code, is_64_bit, is_little_endian })
    }

    /// The architecture's name, or the numbers where it has none here.
    pub(super) fn name(self) -> String {
        let Self { code, is_64_bit, is_little_endian } = self;
        let is_this = |known: &&(&str, u16, bool, bool)| {
            (known.1, known.2, known.3) == (code, is_64_bit, is_little_endian)
        };
        match MACHINES.iter().find(is_this) {
            Some((name, ..)) => (*name).to_owned(),
            None => format!("machine {code} with {} bits", if is_64_bit { 64 } else { 32 }),
        }
    }
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// What it is made for.
    pub(super) machine: Machine,
    /// The loader that it names.
    pub(super) loader: Option<Vec<u8>>,
}

/// A file that is read piece by piece: fills what it can from an offset on.
pub(super) type ReadAt<'a, E> = &'a mut dyn FnMut(u64, &mut [u8]) -> Result<usize, E>;

/// What is wrong with a file that begins like a program.
pub(super) type Broken = &'static str;

/// Reads a program; nothing if the file does not begin like one.
pub(super) fn read<E>(read_at: ReadAt<'_, E>) -> Result<Option<Result<Program, Broken>>, E> {
    let mut bytes = [0; HEADER];
    let length = read_at(0, &mut bytes)?;
    if !bytes.starts_with(&ELFMAGIC) {
        return Ok(None);
    }
    // The kernel does not look at the version.
    bytes[EI_VERSION] = EV_CURRENT;
    let header = match parse(bytes.get(..length).unwrap_or_default()) {
        Ok(header) => header,
        Err(broken) => return Ok(Some(Err(broken))),
    };
    let machine = Machine {
        code: header.e_machine,
        is_64_bit: header.class == Class::ELF64,
        is_little_endian: header.endianness.is_little(),
    };
    let found = loader(&header, read_at)?;
    Ok(Some(found.map(|loader| Program { machine, loader })))
}

fn parse(bytes: &[u8]) -> Result<FileHeader<AnyEndian>, Broken> {
    const SHORT: Broken = "it ends inside its header";
    let (ident, rest) = bytes.split_at_checked(EI_NIDENT).ok_or(SHORT)?;
    let header = parse_ident(ident).and_then(|ident| FileHeader::parse_tail(ident, rest));
    header.map_err(|error| match error {
        ParseError::UnsupportedElfClass(_) => "its class is neither 32 nor 64 bits",
        ParseError::UnsupportedElfEndianness(_) => "its byte order is none",
        _ => SHORT,
    })
}

/// The loader that the program headers name.
fn loader<E>(
    header: &FileHeader<AnyEndian>,
    read_at: ReadAt<'_, E>,
) -> Result<Result<Option<Vec<u8>>, Broken>, E> {
    let size = ProgramHeader::size_for(header.class);
    if header.e_phnum > 0 && usize::from(header.e_phentsize) != size {
        return Ok(Err("its program headers have another length"));
    }
    let mut bytes = vec![0; usize::from(header.e_phnum.min(MAX_HEADERS)).saturating_mul(size)];
    if read_at(header.e_phoff, &mut bytes)? < bytes.len() {
        return Ok(Err("it ends inside its program headers"));
    }
    let mut segments = SegmentTable::new(header.endianness, header.class, &bytes).iter();
    let Some(segment) = segments.find(|segment| segment.p_type == PT_INTERP) else {
        return Ok(Ok(None));
    };
    let length @ 2..=MAX_PATH = segment.p_filesz else {
        return Ok(Err("the path of its loader has a length that no path has"));
    };
    let mut path = vec![0; usize::try_from(length).unwrap_or_default()];
    if read_at(segment.p_offset, &mut path)? < path.len() {
        return Ok(Err("it ends inside the path of its loader"));
    }
    let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
    path.truncate(end);
    Ok(Ok(Some(path)))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn parse(bytes: &[u8]) -> Option<Result<Program, Broken>> {
        let mut read_at = |offset: u64, buffer: &mut [u8]| -> Result<usize, Infallible> {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let rest = bytes.get(start..).unwrap_or_default();
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
            Ok(length)
        };
        let Ok(parsed) = read(&mut read_at);
        parsed
    }

    #[test]
    fn programs_of_this_host_are_read_as_readelf_reads_them() {
        let this = std::env::current_exe().unwrap();
        let program = parse(&std::fs::read(&this).unwrap()).unwrap().unwrap();
        let architecture = crate::source::Platform::host().architecture;
        assert_eq!(program.machine.name(), architecture);
        let Ok(output) = std::process::Command::new("readelf").arg("-lW").arg(&this).output()
        else {
            return;
        };
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let loader = program.loader.map(|path| String::from_utf8(path).unwrap());
        let line = shown.lines().find_map(|line| line.split_once("program interpreter: "));
        assert_eq!(loader.as_deref(), line.map(|(_, path)| path.trim_end_matches(']')));
    }

    /// A program of 32 bits, big endian, for MIPS, whose loader is `path`.
    fn small(path: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 52 + 2 * 32];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 1, 2]);
        bytes[18..20].copy_from_slice(&8_u16.to_be_bytes());
        bytes[28..32].copy_from_slice(&52_u32.to_be_bytes());
        bytes[42..44].copy_from_slice(&32_u16.to_be_bytes());
        bytes[44..46].copy_from_slice(&2_u16.to_be_bytes());
        bytes[52..56].copy_from_slice(&6_u32.to_be_bytes());
        bytes[84..88].copy_from_slice(&PT_INTERP.to_be_bytes());
        bytes[88..92].copy_from_slice(&116_u32.to_be_bytes());
        let length = u32::try_from(path.len()).unwrap();
        bytes[100..104].copy_from_slice(&length.to_be_bytes());
        [&bytes, path].concat()
    }

    #[test]
    fn the_other_byte_order_and_width_are_read_too() {
        let program = parse(&small(b"/lib/ld.so.1\0")).unwrap().unwrap();
        assert_eq!(
            (program.machine.name().as_str(), program.loader.as_deref()),
            ("mips", Some(&b"/lib/ld.so.1"[..]))
        );
        assert_eq!(Machine::of("mips"), Some(program.machine));
        assert_eq!(parse(b"#!/bin/sh\n"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let whole = small(b"/lib/ld.so.1\0");
        for length in 0..whole.len() {
            let parsed = parse(&whole[..length]);
            assert!(length < 4 || parsed.unwrap().is_err(), "{length}");
        }
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let mut bytes = whole.clone();
            for _ in 0..random.usize(1..8) {
                let place = random.usize(4..bytes.len());
                bytes[place] = random.u8(..);
            }
            let _ = parse(&bytes);
        }
    }
}
