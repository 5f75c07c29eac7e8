//! A filesystem's tree as lines for people.

use ext4_writer::{Builder, FileKind, NodeId, Sink, Special};

use crate::error::{Error, Result};
use crate::look::mode_text;
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
    Error::internal("cannot show the tree").with_source(error)
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
        path: crate::shown::bytes(&shown).to_string(),
        target: builder.symlink_target(node).map(|target| crate::shown::bytes(&target).to_string()),
        attributes: builder
            .xattrs(node)
            .map(|(name, _)| crate::shown::bytes(&name).to_string())
            .collect(),
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
