//! The built-in image: three layers that between them have one of everything.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::digest::Digest;
use crate::error::{Error, Result};

/// A document or a layer, as the registry serves it.
#[derive(Debug)]
pub(super) struct Blob {
    pub digest: Digest,
    pub bytes: Vec<u8>,
}

/// The image: its manifest, and all blobs that this names.
#[derive(Debug)]
pub(super) struct DemoImage {
    pub manifest: Blob,
    pub blobs: Vec<Blob>,
}

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
/// When the image says it was made: 2026-01-01 00:00:00 UTC.
const CREATED: &str = "2026-01-01T00:00:00Z";
const MODIFIED: u64 = 1_767_225_600;

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::sha256_of(&bytes), bytes }
    }
}

impl DemoImage {
    /// Makes the image; the same one every time.
    pub(super) fn new(architecture: &str) -> Result<Self> {
        let broken = |error: std::io::Error| {
            Error::internal("cannot make the demo image").with_source(error)
        };
        let layers = [
            (base_layer().map_err(broken)?, "+gzip"),
            (application_layer().map_err(broken)?, "+zstd"),
            (clean_up_layer().map_err(broken)?, ""),
        ];
        let mut blobs = Vec::new();
        let mut descriptors = Vec::new();
        let mut diff_ids = Vec::new();
        for (archive, suffix) in layers {
            diff_ids.push(Digest::sha256_of(&archive).to_string());
            let blob = Blob::new(compress(archive, suffix).map_err(broken)?);
            descriptors.push(descriptor(&format!("{LAYER_TYPE}{suffix}"), &blob));
            blobs.push(blob);
        }
        let config = Blob::new(config(architecture, &diff_ids).to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, &config),
            "layers": descriptors,
        });
        blobs.push(config);
        Ok(Self { manifest: Blob::new(manifest.to_string().into_bytes()), blobs })
    }

    /// The media type of the manifest.
    pub(super) fn manifest_type() -> &'static str {
        MANIFEST_TYPE
    }
}

fn descriptor(media_type: &str, blob: &Blob) -> Value {
    json!({
        "mediaType": media_type,
        "digest": blob.digest.to_string(),
        "size": blob.bytes.len(),
    })
}

fn config(architecture: &str, diff_ids: &[String]) -> Value {
    json!({
        "created": CREATED,
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/bin:/bin"],
            "Cmd": ["/usr/bin/hello"],
            "WorkingDir": "/srv",
            "User": "app",
        },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": [
            { "created_by": "base system" },
            { "created_by": "application" },
            { "created_by": "clean up" },
        ],
    })
}

fn compress(archive: Vec<u8>, suffix: &str) -> std::io::Result<Vec<u8>> {
    match suffix {
        "+gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&archive)?;
            encoder.finish()
        }
        "+zstd" => zstd::encode_all(archive.as_slice(), 0),
        _ => Ok(archive),
    }
}

/// An entry's owner and mode.
#[derive(Clone, Copy)]
struct Owned {
    mode: u32,
    id: u64,
}

const fn root(mode: u32) -> Owned {
    Owned { mode, id: 0 }
}

/// The owner of the application's files.
const fn app(mode: u32) -> Owned {
    Owned { mode, id: 1000 }
}

/// An archive being made.
struct Layer(Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn add(
        &mut self,
        kind: EntryType,
        path: &str,
        owned: Owned,
        data: &[u8],
    ) -> std::io::Result<()> {
        let mut header = header(kind, owned);
        header.set_size(u64::try_from(data.len()).unwrap_or(u64::MAX));
        self.0.append_data(&mut header, path, data)
    }

    fn directory(&mut self, path: &str, owned: Owned) -> std::io::Result<()> {
        self.add(EntryType::Directory, path, owned, b"")
    }

    fn file(&mut self, path: &str, owned: Owned, data: &str) -> std::io::Result<()> {
        self.add(EntryType::Regular, path, owned, data.as_bytes())
    }

    fn link(&mut self, kind: EntryType, path: &str, target: &str) -> std::io::Result<()> {
        // A hard link's header sets the mode of the inode, a symbolic link's means nothing.
        let mode = if kind == EntryType::Link { 0o755 } else { 0o777 };
        self.0.append_link(&mut header(kind, root(mode)), path, target)
    }

    /// Extended attributes of the next entry.
    fn attribute(&mut self, name: &str, value: &[u8]) -> std::io::Result<()> {
        self.0.append_pax_extensions([(format!("SCHILY.xattr.{name}").as_str(), value)])
    }

    fn device(&mut self, path: &str, major: u32, minor: u32) -> std::io::Result<()> {
        let mut header = header(EntryType::Char, root(0o666));
        header.set_device_major(major)?;
        header.set_device_minor(minor)?;
        self.0.append_data(&mut header, path, std::io::empty())
    }
}

fn header(kind: EntryType, owned: Owned) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(owned.mode);
    header.set_uid(owned.id);
    header.set_gid(owned.id);
    header.set_mtime(MODIFIED);
    header.set_size(0);
    header
}

fn base_layer() -> std::io::Result<Vec<u8>> {
    let mut layer = Layer::new();
    for path in [
        "./",
        "dev/",
        "etc/",
        "proc/",
        "root/",
        "run/",
        "srv/",
        "sys/",
        "usr/",
        "usr/bin/",
        "var/",
        "var/cache/",
    ] {
        layer.directory(path, root(0o755))?;
    }
    layer.directory("tmp/", root(0o1777))?;
    layer.link(EntryType::Symlink, "bin", "usr/bin")?;
    layer.device("dev/null", 1, 3)?;
    layer.device("dev/console", 5, 1)?;
    layer.file(
        "etc/passwd",
        root(0o644),
        "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/srv:/bin/sh\n",
    )?;
    layer.file("etc/group", root(0o644), "root:x:0:\napp:x:1000:\n")?;
    layer.file("etc/hostname", root(0o644), "demo\n")?;
    layer.file("etc/motd", root(0o644), "This line is whited out by the third layer.\n")?;
    layer.file("usr/bin/su", root(0o4755), "a setuid program would be here\n")?;
    layer.attribute("security.capability", &NET_RAW)?;
    layer.file("usr/bin/ping", root(0o755), "a program with a capability would be here\n")?;
    layer.file("var/cache/old-index", root(0o644), "hidden by an opaque whiteout\n")?;
    layer.0.into_inner()
}

fn application_layer() -> std::io::Result<Vec<u8>> {
    let mut layer = Layer::new();
    // Through the symbolic link of the layer below: it lands in usr/bin.
    layer.file("bin/hello", root(0o755), "#!/bin/sh\necho hello\n")?;
    layer.link(EntryType::Link, "usr/bin/hi", "usr/bin/hello")?;
    layer.attribute("system.posix_acl_access", &acl(33))?;
    layer.directory("srv/", app(0o750))?;
    layer.attribute("user.comment", b"owned by the application")?;
    layer.file("srv/data", app(0o640), "forty-two\n")?;
    layer.add(EntryType::Fifo, "srv/pipe", app(0o600), b"")?;
    layer.0.into_inner()
}

fn clean_up_layer() -> std::io::Result<Vec<u8>> {
    let mut layer = Layer::new();
    layer.file("etc/.wh.motd", root(0o000), "")?;
    layer.file("var/cache/new-index", root(0o644), "of the same layer as the opaque whiteout\n")?;
    layer.file("var/cache/.wh..wh..opq", root(0o000), "")?;
    layer.0.into_inner()
}

/// `cap_net_raw=ep`: revision 2 with the effective bit, then permitted and inheritable sets.
///
/// Source: kernel, `include/uapi/linux/capability.h`, `struct vfs_cap_data`.
const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// `rwxr-x---` with `r-x` for one more user, in the form of `getxattr`.
///
/// Source: kernel, `include/uapi/linux/posix_acl_xattr.h`.
fn acl(user: u32) -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 7, u32::MAX), (2, 5, user), (4, 5, u32::MAX), (16, 5, u32::MAX), (32, 0, u32::MAX)];
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_the_same_every_time() {
        let image = || DemoImage::new("amd64").unwrap().manifest.digest;
        assert_eq!(image(), image());
    }
}
