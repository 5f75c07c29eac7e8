//! The topics of `banger help`: what several commands have in common.

use super::limits;
use crate::report::width::{definitions, wrap};

/// A topic: its name, what it is about, and its text for so many columns.
pub(super) struct Topic {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) text: fn(usize) -> String,
}

/// All topics.
pub(super) const TOPICS: [Topic; 5] = [
    Topic { name: "sizes", about: "how sizes are written", text: sizes },
    Topic { name: "sources", about: "what an image can be made of", text: sources },
    Topic { name: "limits", about: "limits against hostile images and servers", text: limits },
    Topic { name: "exit-codes", about: "what an exit code says", text: exit_codes },
    Topic { name: "environment", about: "variables and files that are read", text: environment },
];

/// The topic of this name.
pub(super) fn topic(name: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.name == name)
}

/// The topics and what they are about.
pub(super) fn list(columns: usize) -> String {
    let rows = TOPICS.map(|topic| (topic.name, topic.about));
    format!("Topics (banger help TOPIC):\n{}", definitions(&rows, columns))
}

fn page(before: &str, rows: &[(&str, &str)], after: &str, columns: usize) -> String {
    let paragraphs = |text: &str| {
        let wrapped = text.split("\n\n").map(|paragraph| wrap(paragraph, columns).join("\n"));
        wrapped.collect::<Vec<_>>().join("\n\n")
    };
    let (before, after) = (paragraphs(before), paragraphs(after));
    format!("{before}\n\n{}\n{after}", definitions(rows, columns))
}

fn sizes(columns: usize) -> String {
    page(
        "A size is a number of bytes with K, M, G, T or P behind it, in either case: 8G, 8GB and \
         8GiB are the same, powers of 1,024. 1.5G is a size; what makes no whole bytes is none.",
        &[
            ("8G", "a disk of exactly 8 GiB: the file and the filesystem"),
            ("fit", "the smallest disk that holds the content"),
            ("fit+512M", "the smallest with so much free for users other than root"),
            ("+10G", "so much more (disk resize)"),
            ("5%", "a share of the blocks (--reserved)"),
        ],
        "Without --size, image pull and image build take fit with the larger of 256M and a quarter \
         of the content free; disk create takes the size of the device or of the file that is \
         there. -m takes a percentage without its sign, as mke2fs does.",
        columns,
    )
}

/// The grammar of sources.
const SOURCES: [(&str, &str); 9] = [
    ("REF, docker://REF", "an image in a registry: NAME[:TAG][@DIGEST]"),
    ("oci:DIR[:IMAGE]", "an OCI image layout"),
    ("oci-archive:FILE[:IMAGE]", "the same in a tar archive"),
    ("docker-archive:FILE[:IMAGE]", "what docker save writes"),
    ("docker-daemon:IMAGE", "an image of the local Docker daemon (DOCKER_HOST=unix://PATH)"),
    ("tar:FILE", "a root filesystem as one tar archive"),
    ("dir:PATH", "a root filesystem as a directory"),
    ("ext4:FILE", "a filesystem that is made anew: ext4, ext3 or ext2"),
    ("-[:IMAGE]", "an archive of any of these kinds on standard input"),
];

pub(super) fn sources(columns: usize) -> String {
    page(
        "What an image can be made of:",
        &SOURCES,
        "IMAGE is a name, @N for the N-th image from 0, or @DIGEST; one of the daemon may be named \
         by its ID, whole or its first 12 digits. Archives may be compressed by gzip, zstd, xz or \
         bzip2. An image in a registry whose name is one of these words is docker://tar:latest.",
        columns,
    )
}

fn limits(columns: usize) -> String {
    let rows = limits::rows();
    let rows: Vec<(&str, &str)> = rows.iter().map(|(name, text)| (&**name, *text)).collect();
    page(
        "Limits against hostile images and servers, and their values when --limit NAME=VALUE sets \
         no other:",
        &rows,
        "An error that comes of a limit names the one to raise.",
        columns,
    )
}

fn exit_codes(columns: usize) -> String {
    page(
        "What an exit code says, after sysexits.h; --format json says it by name, too:",
        &[
            ("0", "done"),
            ("1", "a difference was found (image diff), or a fault of banger's own"),
            ("2", "usage: the arguments make no sense"),
            ("65", "bad-data: an image, archive or answer is damaged, or damage was found"),
            ("66", "not-found: no such image, platform, file or path"),
            ("69", "unavailable: the registry could not be reached"),
            ("73", "cannot-create: the output exists, is in use, or has no room"),
            ("74", "io: reading or writing failed"),
            ("75", "try-again: the same may succeed later, such as after a rate limit"),
            ("77", "denied: the registry or the host refused access"),
            ("130", "interrupted: by a signal"),
        ],
        "With any other code than 0 no new image is at OUTPUT.",
        columns,
    )
}

fn environment(columns: usize) -> String {
    page(
        "Variables that are read:",
        &[
            ("XDG_CACHE_HOME, HOME", "the cache is in $XDG_CACHE_HOME/banger, or ~/.cache/banger"),
            ("BANGER_CACHE_DIR", "another directory for the cache"),
            ("SOURCE_DATE_EPOCH", "the time of what has none, and the latest of all"),
            ("NO_COLOR, CLICOLOR_FORCE", "no colours, and colours without a terminal"),
            ("COLUMNS", "the width of texts where there is no terminal"),
            ("TMPDIR", "where archives that are streams are kept meanwhile; else /var/tmp"),
            ("DOCKER_HOST", "the socket of the daemon, for docker-daemon:"),
            ("REGISTRY_AUTH_FILE, DOCKER_CONFIG, DOCKER_AUTH_CONFIG", "where credentials are"),
            ("CONTAINERS_REGISTRIES_CONF", "mirrors and short names, as podman has them"),
            ("SSL_CERT_FILE, SSL_CERT_DIR", "the authorities that are trusted"),
            ("HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY", "proxies"),
        ],
        "A flag is stronger than a variable.",
        columns,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_keep_within_a_narrow_terminal() {
        for topic in &TOPICS {
            for columns in [40, 80] {
                let text = (topic.text)(columns);
                // A word that is wider has nowhere to be broken.
                let lines = text.lines().filter(|line| line.trim().contains(' '));
                for line in lines {
                    let allowed = line.chars().count() <= columns || line.starts_with("  ");
                    assert!(allowed, "{}: {line}", topic.name);
                }
            }
        }
    }
}
