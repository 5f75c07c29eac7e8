//! A filesystem's tree as lines for people.

use ext4_writer::{Builder, FileKind, NodeId, Sink, Special};

use crate::error::{Error, Result};
use crate::report::TreeLine;

/// Every name of the tree, directories before what they hold.
pub(super) fn lines<S: Sink>(builder: &Builder<S>) -> Result<Vec<TreeLine>> {
    let mut lines = Vec::new();
    let mut waiting = vec![(Vec::new(), builder.root())];
    while let Some((path, node)) = waiting.pop() {
        lines.push(line(builder, &path, node).map_err(broken)?);
        if let Ok(names) = builder.names(node) {
            let children: Vec<_> = names
                .map(|(name, child)| ([path.as_slice(), b"/", name].concat(), child))
                .collect();
            waiting.extend(children.into_iter().rev());
        }
    }
    Ok(lines)
}

fn broken(error: ext4_writer::Error) -> Error {
    Error::internal("cannot show the tree").because(error)
}

fn line<S: Sink>(
    builder: &Builder<S>,
    path: &[u8],
    node: NodeId,
) -> std::result::Result<TreeLine, ext4_writer::Error> {
    let metadata = builder.metadata(node)?;
    let kind = builder.kind(node)?;
    let shown = if path.is_empty() { b"/" } else { path };
    Ok(TreeLine {
        mode: mode_text(kind, metadata.mode),
        uid: metadata.uid,
        gid: metadata.gid,
        links: match kind {
            FileKind::Directory => 2 + subdirectories(builder, node)?,
            _ => builder.link_count(node)?,
        },
        size: size_text(builder, node),
        path: shown.escape_ascii().to_string(),
        target: builder.symlink_target(node).map(|target| target.escape_ascii().to_string()),
        attributes: builder.xattrs(node).map(|(name, _)| name.escape_ascii().to_string()).collect(),
    })
}

fn subdirectories<S: Sink>(
    builder: &Builder<S>,
    directory: NodeId,
) -> std::result::Result<u32, ext4_writer::Error> {
    let children = builder.names(directory)?;
    let is_directory = |node| matches!(builder.kind(node), Ok(FileKind::Directory));
    Ok(children.filter(|(_, node)| is_directory(*node)).fold(0, |count, _| count + 1))
}

fn size_text<S: Sink>(builder: &Builder<S>, node: NodeId) -> String {
    match builder.special(node) {
        Some(Special::CharacterDevice { major, minor } | Special::BlockDevice { major, minor }) => {
            format!("{major}, {minor}")
        }
        Some(Special::Fifo | Special::Socket) => "0".to_owned(),
        None => builder.file_size(node).map(|size| size.to_string()).unwrap_or_default(),
    }
}

/// Ten letters as `ls -l` has them.
fn mode_text(kind: FileKind, mode: u16) -> String {
    let letter = match kind {
        FileKind::Regular => '-',
        FileKind::Directory => 'd',
        FileKind::Symlink => 'l',
        FileKind::CharacterDevice => 'c',
        FileKind::BlockDevice => 'b',
        FileKind::Fifo => 'p',
        FileKind::Socket => 's',
    };
    // For each of owner, group and others: their bits, and the special bit shown at their "x".
    let classes = [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')];
    let mut text = String::from(letter);
    for (shift, special, with, without) in classes {
        let bits = mode >> shift;
        let may_execute = bits & 1 != 0;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (mode & special != 0, may_execute) {
            (true, true) => with,
            (true, false) => without,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_shown_as_ls_shows_them() {
        assert_eq!(mode_text(FileKind::Regular, 0o4755), "-rwsr-xr-x");
        assert_eq!(mode_text(FileKind::Directory, 0o1777), "drwxrwxrwt");
        assert_eq!(mode_text(FileKind::Regular, 0o2644), "-rw-r-Sr--");
        assert_eq!(mode_text(FileKind::CharacterDevice, 0o600), "crw-------");
    }
}
