//! Images to pull: layers made with the crate tar, and an OCI image layout of them on disk.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde_json::{Value, json};
use tar::{EntryType, Header};

use crate::tree::{Entry, Kind, hash};

/// A layer being written.
pub struct Layer(tar::Builder<Vec<u8>>);

impl Default for Layer {
    fn default() -> Self {
        Self::new()
    }
}

impl Layer {
    /// A layer without entries.
    #[must_use]
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// Adds what `entry` describes; a regular file gets `content`.
    pub fn put(&mut self, path: impl AsRef<[u8]>, entry: &Entry, content: &[u8]) -> &mut Self {
        self.extensions(entry);
        let mut header = header(entry);
        let path = Path::new(OsStr::from_bytes(path.as_ref()));
        match &entry.kind {
            Kind::Symlink(target) => {
                let target = Path::new(OsStr::from_bytes(target));
                self.0.append_link(&mut header, path, target)
            }
            Kind::File { .. } => {
                assert_eq!(entry.kind, Kind::file(content), "the content is the entry's");
                header.set_size(u64::try_from(content.len()).expect("a length fits 64 bits"));
                self.0.append_data(&mut header, path, content)
            }
            _ => self.0.append_data(&mut header, path, &b""[..]),
        }
        .expect("an entry that tar can hold");
        self
    }

    /// Adds a hard link to `target`, which `entry` describes: archivers repeat its metadata.
    pub fn link(&mut self, path: &str, target: &str, entry: &Entry) -> &mut Self {
        self.extensions(entry);
        let mut header = header(entry);
        header.set_entry_type(EntryType::Link);
        self.0.append_link(&mut header, path, target).expect("a link that tar can hold");
        self
    }

    /// Hides the lower layers' `name` in `directory`.
    pub fn whiteout(&mut self, directory: &str, name: &str) -> &mut Self {
        let path = Path::new(directory).join(format!(".wh.{name}"));
        let entry = Entry::new(Kind::file(b""), 0o644);
        self.put(path.as_os_str().as_bytes(), &entry, b"")
    }

    /// Hides all that the lower layers have in `directory`.
    pub fn opaque(&mut self, directory: &str) -> &mut Self {
        self.whiteout(directory, ".wh..opq")
    }

    /// The archive.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0.into_inner().expect("an archive in memory")
    }

    /// The PAX records for what a ustar header cannot hold, as GNU tar and Docker write them.
    fn extensions(&mut self, entry: &Entry) {
        let mut records: Vec<(String, Vec<u8>)> = Vec::new();
        if let Some((seconds, nanoseconds)) = entry.modified {
            records.push(("mtime".to_owned(), time(seconds, nanoseconds).into_bytes()));
        }
        records.push(("uid".to_owned(), entry.uid.to_string().into_bytes()));
        records.push(("gid".to_owned(), entry.gid.to_string().into_bytes()));
        for (name, value) in entry.attributes.iter().flatten() {
            let name = String::from_utf8(name.clone()).expect("an attribute's name is text");
            records.push((format!("SCHILY.xattr.{name}"), value.clone()));
        }
        let records = records.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        self.0.append_pax_extensions(records).expect("PAX records that tar can hold");
    }
}

/// A PAX time. POSIX writes a negative one as a negative decimal number: -0.25 s is `-0.25`.
fn time(seconds: i64, nanoseconds: u32) -> String {
    if seconds >= 0 || nanoseconds == 0 {
        return format!("{seconds}.{nanoseconds:09}");
    }
    format!("-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds)
}

fn header(entry: &Entry) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(u32::from(entry.mode));
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    let (kind, device) = match &entry.kind {
        Kind::Directory => (EntryType::Directory, None),
        Kind::File { .. } => (EntryType::Regular, None),
        Kind::Symlink(_) => (EntryType::Symlink, None),
        Kind::CharacterDevice(device) => (EntryType::Char, *device),
        Kind::BlockDevice(device) => (EntryType::Block, *device),
        Kind::Fifo => (EntryType::Fifo, None),
        Kind::Socket => panic!("tar has no sockets"),
    };
    header.set_entry_type(kind);
    if let Some((major, minor)) = device {
        header.set_device_major(major).expect("a GNU header has device numbers");
        header.set_device_minor(minor).expect("a GNU header has device numbers");
    }
    header
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// As two gzip members, which readers that stop at the first cut short.
    Gzip,
    /// As two zstd frames, likewise.
    Zstd,
}

impl Compression {
    fn media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// The bytes, compressed.
    #[must_use]
    pub fn compress(self, bytes: &[u8]) -> Vec<u8> {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        match self {
            Self::None => bytes.to_vec(),
            Self::Gzip => [first, second].map(gzip).concat(),
            Self::Zstd => [first, second]
                .map(|part| zstd::encode_all(part, 3).expect("memory takes what it is given"))
                .concat(),
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory takes what it is given");
    encoder.finish().expect("memory takes what it is given")
}

/// One platform's image.
#[derive(Debug, Clone)]
pub struct Image {
    /// `amd64`, `arm64`, ...
    pub architecture: &'static str,
    /// The archives, lowest first.
    pub layers: Vec<Vec<u8>>,
    /// How each is compressed.
    pub compression: Compression,
}

/// The architecture of this host, in the words of OCI.
#[must_use]
pub fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Writes an OCI image layout whose tag `latest` is `images`: an index where there are several.
pub fn write_layout(directory: &Path, images: &[Image]) {
    write_layout_of(directory, images, &json!({}));
}

/// The same for images whose containers are to be run as `execution` says, the `config` of the
/// config.
pub fn write_layout_of(directory: &Path, images: &[Image], execution: &Value) {
    fs::create_dir_all(directory.join("blobs/sha256")).expect("a directory for the blobs");
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
        .expect("a file in the layout");
    let manifests: Vec<Value> =
        images.iter().map(|image| manifest(directory, image, execution)).collect();
    let mut tagged = match manifests.as_slice() {
        [only] => only.clone(),
        _ => blob(directory, INDEX, index(&manifests).to_string().as_bytes()),
    };
    add(&mut tagged, "annotations", json!({ "org.opencontainers.image.ref.name": "latest" }));
    fs::write(directory.join("index.json"), index(&[tagged]).to_string())
        .expect("a file in the layout");
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

fn index(manifests: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests })
}

fn manifest(directory: &Path, image: &Image, execution: &Value) -> Value {
    let diff_ids: Vec<String> = image.layers.iter().map(|layer| digest(layer)).collect();
    let config = json!({
        "architecture": image.architecture,
        "os": "linux",
        "config": execution,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let layers: Vec<Value> = image
        .layers
        .iter()
        .map(|layer| image.compression.compress(layer))
        .map(|bytes| blob(directory, image.compression.media_type(), &bytes))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blob(directory, CONFIG, config.to_string().as_bytes()),
        "layers": layers,
    });
    let mut descriptor = blob(directory, MANIFEST, manifest.to_string().as_bytes());
    let platform = json!({ "architecture": image.architecture, "os": "linux" });
    add(&mut descriptor, "platform", platform);
    descriptor
}

fn add(object: &mut Value, name: &str, value: Value) {
    object.as_object_mut().expect("a descriptor is an object").insert(name.to_owned(), value);
}

fn blob(directory: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let digest = digest(bytes);
    let hex = digest.trim_start_matches("sha256:");
    fs::write(directory.join("blobs/sha256").join(hex), bytes).expect("a blob in the layout");
    json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
}

/// The digest of `bytes`, in the notation of OCI.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    hash(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_1970_is_a_negative_decimal() {
        assert_eq!(time(-1, 750_000_000), "-0.250000000");
        assert_eq!(time(-2, 0), "-2.000000000");
        assert_eq!(time(3, 1), "3.000000001");
    }
}
