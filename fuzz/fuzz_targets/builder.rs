//! Any operations on the builder: no panic, no broken promise of its own, and an image that is as
//! long as its summary says.

#![no_main]

use arbitrary::Arbitrary;
use ext4_writer::{
    Builder, Error, FileContent, FileKind, MemorySink, Metadata, NodeId, Options, Result, Segment,
    Size, Special, Timestamp,
};
use libfuzzer_sys::fuzz_target;

/// What is done; the numbers choose among the nodes that were made.
#[derive(Arbitrary, Debug)]
enum Operation {
    Directory { parent: u8, name: Vec<u8>, owner: Owner },
    File { parent: u8, name: Vec<u8>, size: u16, content: Vec<u8>, owner: Owner },
    Sparse { parent: u8, name: Vec<u8>, size: u32, segments: Vec<(u32, u16)> },
    Symlink { parent: u8, name: Vec<u8>, target: Vec<u8> },
    Device { parent: u8, name: Vec<u8>, major: u32, minor: u32 },
    Link { parent: u8, name: Vec<u8>, node: u8 },
    Remove { parent: u8, name: Vec<u8> },
    Detach { parent: u8, name: Vec<u8> },
    Discard { node: u8 },
    SetMetadata { node: u8, owner: Owner },
    SetAttribute { node: u8, name: Vec<u8>, value: Vec<u8> },
    ClearAttributes { node: u8 },
    SetContent { node: u8, size: u16, content: Vec<u8> },
}

#[derive(Arbitrary, Debug)]
struct Owner {
    mode: u16,
    uid: u32,
    gid: u32,
    seconds: i64,
    nanoseconds: u32,
}

impl From<Owner> for Metadata {
    fn from(owner: Owner) -> Self {
        let Owner { mode, uid, gid, seconds, nanoseconds } = owner;
        let modified = Timestamp { seconds, nanoseconds };
        Self { mode, uid, gid, modified, ..Self::default() }
    }
}

struct Made {
    builder: Builder<MemorySink>,
    nodes: Vec<NodeId>,
}

impl Made {
    fn node(&self, number: u8) -> NodeId {
        let place = usize::from(number) % self.nodes.len();
        self.nodes[place]
    }

    fn apply(&mut self, operation: Operation) -> Result<()> {
        let none = Metadata::default();
        let node = match operation {
            Operation::Directory { parent, name, owner } => {
                self.builder.add_directory(self.node(parent), &name, &owner.into())?
            }
            Operation::File { parent, name, size, content, owner } => {
                let mut reader = content.as_slice();
                let content = FileContent::new(size.into(), &mut reader);
                self.builder.add_file(self.node(parent), &name, &owner.into(), content)?
            }
            Operation::Sparse { parent, name, size, segments } => {
                let segments: Vec<_> = segments
                    .iter()
                    .map(|(offset, length)| Segment {
                        offset: (*offset).into(),
                        length: (*length).into(),
                    })
                    .collect();
                let mut reader = std::io::Read::take(
                    std::io::repeat(7),
                    segments.iter().map(|segment| segment.length).sum(),
                );
                let content = FileContent::sparse(size.into(), &segments, &mut reader);
                self.builder.add_file(self.node(parent), &name, &none, content)?
            }
            Operation::Symlink { parent, name, target } => {
                self.builder.add_symlink(self.node(parent), &name, &none, &target)?
            }
            Operation::Device { parent, name, major, minor } => {
                let device = Special::BlockDevice { major, minor };
                self.builder.add_special(self.node(parent), &name, &none, device)?
            }
            Operation::Link { parent, name, node } => {
                return self.builder.add_link(self.node(parent), &name, self.node(node));
            }
            Operation::Remove { parent, name } => {
                return self.builder.remove(self.node(parent), &name);
            }
            Operation::Detach { parent, name } => self.builder.detach(self.node(parent), &name)?,
            other => return self.change(other),
        };
        self.nodes.push(node);
        Ok(())
    }

    fn change(&mut self, operation: Operation) -> Result<()> {
        match operation {
            Operation::Discard { node } => self.builder.discard(self.node(node)),
            Operation::SetMetadata { node, owner } => {
                self.builder.set_metadata(self.node(node), &owner.into())
            }
            Operation::SetAttribute { node, name, value } => {
                self.builder.set_xattr(self.node(node), &name, &value)
            }
            Operation::ClearAttributes { node } => self.builder.clear_xattrs(self.node(node)),
            Operation::SetContent { node, size, content } => {
                let mut reader = content.as_slice();
                let content = FileContent::new(size.into(), &mut reader);
                self.builder.set_content(self.node(node), content)
            }
            other => unreachable!("{other:?} makes or removes a name"),
        }
    }
}

/// Memory does not fail, so neither do the library's own promises.
fn expected(error: &Error) -> bool {
    !matches!(error, Error::Internal { .. } | Error::Poisoned | Error::WriteImage { .. })
}

fuzz_target!(|operations: Vec<Operation>| {
    let options = Options::new(Size::Fit { free_bytes: 0, free_inodes: 0 });
    let builder = Builder::create(MemorySink::new(), options).expect("these options can be met");
    let nodes = vec![builder.root()];
    let mut made = Made { builder, nodes };
    for operation in operations {
        if let Err(error) = made.apply(operation) {
            assert!(expected(&error), "{error:?}");
        }
    }
    assert_eq!(made.builder.kind(made.builder.root()).ok(), Some(FileKind::Directory));
    match made.builder.finish() {
        Ok((summary, sink)) => {
            assert_eq!(u64::try_from(sink.into_bytes().len()), Ok(summary.size));
        }
        Err(error) => assert!(expected(&error), "{error:?}"),
    }
});
