//! What a directory or an archive holds whose files are those of an image: taken for a root
//! filesystem it would be a disk full of blobs.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::spool;
use crate::error::{Error, Result};
use crate::layer::{Archive, Compression, LayerBlob, LayerStream, Limits};
use crate::shown::path as shown;
use crate::signature::signatures;

/// How many names of a directory, or entries of an archive, are looked at.
const MAX_NAMES: usize = 100_000;
/// The beginning of the file `version` (containers/image: `directory/directory_transport.go`).
const VERSION: &[u8] = b"Directory Transport Version: ";
/// Directories that an image's files never lie beside, and those of a system always.
const OF_A_SYSTEM: [&[u8]; 5] = [b"bin", b"etc", b"lib", b"sbin", b"usr"];
/// The files and directories of a layout and of what docker save writes, but for those that are
/// called by a digest.
const OF_AN_IMAGE: [&[u8]; 7] = [
    b"blobs",
    b"index.json",
    b"ingest",
    b"manifest.json",
    b"oci-layout",
    b"repositories",
    b"version",
];

/// A form in which images lie on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Layout,
    DockerArchive,
    /// What skopeo writes to `dir:`.
    SkopeoDirectory,
}

impl Form {
    /// The form whose files have these names.
    fn of(names: &BTreeSet<Vec<u8>>) -> Option<Self> {
        let has = |name: &[u8]| names.contains(name);
        if has(b"manifest.json") && has(b"version") {
            Some(Self::SkopeoDirectory)
        } else if has(b"manifest.json")
            && names.iter().any(|name| is_digest(name) || *name == b"blobs")
        {
            Some(Self::DockerArchive)
        } else if has(b"oci-layout") && has(b"index.json") {
            Some(Self::Layout)
        } else {
            None
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Layout => "an OCI image layout",
            Self::DockerArchive => "what docker save writes",
            Self::SkopeoDirectory => "what skopeo writes to dir:",
        }
    }
}

fn is_digest(name: &[u8]) -> bool {
    name.get(..64).is_some_and(|start| start.iter().all(u8::is_ascii_hexdigit))
}

/// The form of an image in a directory, if it holds one.
fn of_directory(path: &Path) -> Option<Form> {
    use std::os::unix::ffi::OsStrExt as _;
    let entries = fs::read_dir(path).ok()?.take(MAX_NAMES);
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().as_bytes().to_vec()));
    let names: BTreeSet<Vec<u8>> = names.collect();
    if OF_A_SYSTEM.iter().any(|name| names.contains(*name)) {
        return None;
    }
    let form = Form::of(&names)?;
    let is_so = form != Form::SkopeoDirectory || {
        let mut head = Vec::new();
        let file = File::open(path.join("version")).ok()?;
        file.take(64).read_to_end(&mut head).is_ok() && head.starts_with(VERSION)
    };
    is_so.then_some(form)
}

/// The form of an image in an archive. Only as much is read as tells that it is none: the first
/// entry of a system does.
fn of_archive(reader: impl Read, name: &str, limits: &Limits) -> Option<Form> {
    let mut archive = Archive::new(reader, name, limits);
    let mut names = BTreeSet::new();
    for _ in 0..MAX_NAMES {
        // What is wrong with an archive is told by who reads it.
        let Some(entry) = archive.next_entry().ok()? else { return Form::of(&names) };
        let mut parts = entry.path.split(|byte| *byte == b'/');
        if let Some(top) = parts.find(|part| !matches!(*part, b"" | b".")) {
            if !OF_AN_IMAGE.contains(&top) && !is_digest(top) {
                return None;
            }
            names.insert(top.to_vec());
        }
    }
    None
}

/// The form of an image in a file, which is left where it was.
fn of_file(path: &Path, limits: &Limits) -> Option<Form> {
    if !fs::metadata(path).is_ok_and(|found| found.is_file()) {
        return None;
    }
    let (file, name) = (File::open(path).ok()?, shown(path));
    if spool::compression(&file, &name).ok()? == Compression::None {
        return of_archive(file, &name, limits);
    }
    let blob = LayerBlob { name: name.clone(), reader: file, verified: None, diff_id: None };
    of_archive(LayerStream::open(blob, limits).ok()?, &name, limits)
}

/// Refuses a directory that is no root filesystem but an image.
pub fn check_directory(path: &Path) -> Result<()> {
    of_directory(path).map_or(Ok(()), |form| Err(refusal(form, path, "oci")))
}

/// Refuses an archive that is no root filesystem but an image. A pipe is not looked into.
pub fn check_archive(path: &Path, limits: &Limits) -> Result<()> {
    of_file(path, limits).map_or(Ok(()), |form| Err(refusal(form, path, "oci-archive")))
}

fn refusal(form: Form, path: &Path, layout: &str) -> Error {
    let path_text = shown(path);
    let hint = match (form, layout) {
        (Form::Layout, layout) => format!("write {layout}:{path_text}"),
        (Form::DockerArchive, "oci-archive") => format!("write docker-archive:{path_text}"),
        (Form::DockerArchive, _) => {
            format!("tar -C {path_text} -c . | banger image build - OUTPUT takes it")
        }
        (Form::SkopeoDirectory, "oci-archive") => {
            format!("unpack {path_text} to X, then skopeo copy dir:X oci:Y:latest, and write oci:Y")
        }
        (Form::SkopeoDirectory, _) => {
            format!("skopeo copy dir:{path_text} oci:Y:latest makes a layout; write oci:Y then")
        }
    };
    Error::usage(format!("{path_text} is {}, not a root filesystem", form.name())).with_hint(hint)
}

/// The argument that names what exists at a path as a source; nothing where nothing is.
#[must_use]
pub fn words_for(path: &Path, limits: &Limits) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    let prefix = if found.is_dir() {
        match of_directory(path) {
            Some(Form::Layout) => "oci",
            Some(Form::DockerArchive | Form::SkopeoDirectory) | None => "dir",
        }
    } else {
        match of_file(path, limits) {
            Some(Form::Layout) => "oci-archive",
            Some(Form::DockerArchive) => "docker-archive",
            Some(Form::SkopeoDirectory) | None if is_filesystem(path) => "ext4",
            Some(Form::SkopeoDirectory) | None => "tar",
        }
    };
    Some(format!("{prefix}:{}", shown(path)))
}

/// Whether a file or device holds an ext4, ext3 or ext2 filesystem, whole or not.
#[must_use]
pub fn is_filesystem(path: &Path) -> bool {
    let found = crate::open::file_or_device(path).and_then(|file| signatures(&file));
    found.is_ok_and(|found| found.iter().any(|one| matches!(one.format, "ext4" | "ext3" | "ext2")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::forge::{Forge, gzip};

    fn hint(result: Result<()>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        error.hint().unwrap().to_owned()
    }

    #[test]
    fn a08_an_image_is_no_root_filesystem() {
        let scratch = tempfile::tempdir().unwrap();
        let digest = "0".repeat(64);
        let limits = Limits::default();
        for (name, files, in_directory, in_archive) in [
            (
                "layout",
                &["oci-layout", "index.json", "blobs/sha256/x"][..],
                "write oci:",
                "write oci-archive:",
            ),
            (
                "saved",
                &["oci-layout", "index.json", "manifest.json", "blobs/sha256/x"],
                "banger image build -",
                "write docker-archive:",
            ),
            (
                "legacy",
                &["manifest.json", "repositories", &format!("{digest}/layer.tar")],
                "banger image build -",
                "write docker-archive:",
            ),
            (
                "skopeo",
                &["version", "manifest.json", &digest],
                "skopeo copy dir:",
                "skopeo copy dir:",
            ),
        ] {
            let directory = scratch.path().join(name);
            let mut archive = Forge::new().dir("./");
            for file in files {
                let content =
                    if *file == "version" { "Directory Transport Version: 1.1\n" } else { "" };
                let path = directory.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
                archive = archive.file(format!("./{file}"), content);
            }
            assert!(hint(check_directory(&directory)).contains(in_directory), "{name}");
            let bytes = archive.finish();
            for (ending, bytes) in [("tar", bytes.clone()), ("tar.gz", gzip(&bytes))] {
                let path = scratch.path().join(format!("{name}.{ending}"));
                fs::write(&path, bytes).unwrap();
                assert!(
                    hint(check_archive(&path, &limits)).contains(in_archive),
                    "{name}.{ending}"
                );
            }
        }
        let layout = scratch.path().join("layout");
        assert_eq!(words_for(&layout, &limits).unwrap(), format!("oci:{}", shown(&layout)));
        fs::write(layout.join("README"), "").unwrap();
        assert!(check_directory(&layout).is_err());
        // A system may have an image lie in its root.
        fs::create_dir(layout.join("etc")).unwrap();
        check_directory(&layout).unwrap();
        assert_eq!(words_for(&layout, &limits).unwrap(), format!("dir:{}", shown(&layout)));
    }

    #[test]
    fn a_root_filesystem_is_told_by_its_first_entry_and_what_is_broken_by_its_reader() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("root.tar");
        let limits = Limits::default();
        let root = Forge::new().dir("./").dir("etc/").file("oci-layout", "").file("index.json", "");
        for bytes in [root.finish(), b"no archive".to_vec(), Vec::new(), gzip(b"no archive")] {
            fs::write(&path, bytes).unwrap();
            check_archive(&path, &limits).unwrap();
            assert_eq!(words_for(&path, &limits).unwrap(), format!("tar:{}", shown(&path)));
        }
        let few = Forge::new().file("manifest.json", "{}").file("version", "1").finish();
        fs::write(&path, few).unwrap();
        fs::create_dir(scratch.path().join("app")).unwrap();
        fs::write(scratch.path().join("app/manifest.json"), "{}").unwrap();
        fs::write(scratch.path().join("app/version"), "1.0").unwrap();
        check_directory(&scratch.path().join("app")).unwrap();
        assert_eq!(words_for(&scratch.path().join("none"), &limits), None);
    }
}
