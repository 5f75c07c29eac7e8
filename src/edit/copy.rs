//! A disk that begins as the copy of another: its used blocks, with another identity and size.

use std::ops::Range;
use std::path::PathBuf;

use ext4_writer::Timestamp;
use ext4_writer::edit::Editor;
use ext4_writer::reader::{Links, ROOT_INODE};

use super::Identity;
use super::failure::failed;
use crate::error::{Error, Result};
use crate::image::{
    InPlace, Interruption, OutputTarget, Root, StagedCopy, copied_uuid, open_in_place,
};
use crate::look::{Image, Summary, refuse_damaged_copy};
use crate::shown::path as shown;

/// What is to be copied, and what of it is to be another.
#[derive(Debug)]
pub(crate) struct Copy {
    /// The image that is copied.
    pub(crate) from: PathBuf,
    /// Where the copy goes.
    pub(crate) output: PathBuf,
    /// What that is.
    pub(crate) target: OutputTarget,
    /// Whether it may replace what is there.
    pub(crate) replace: bool,
    /// The bytes that it is to have.
    pub(crate) size: CopySize,
    /// What its superblock is to say. Without a UUID it gets one that follows from the image and
    /// from the size.
    pub(crate) identity: Identity,
    /// Whose the root directory is, if not what the image says.
    pub(crate) root: Root,
    /// Whether the copy is checked before it gets its name.
    pub(crate) check: bool,
    /// The time of the change.
    pub(crate) time: Timestamp,
    /// What may end the work early.
    pub(crate) interruption: Interruption,
}

/// How long a copy is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CopySize {
    /// As long as the image.
    Same,
    /// So many bytes.
    Exactly(u64),
    /// As long as a filesystem can be within so many bytes, and as the image at least.
    Within(u64),
}

/// What was copied.
#[derive(Debug)]
pub(crate) struct Copied {
    /// The filesystem that was made.
    pub(crate) summary: Summary,
    /// The bytes that were copied, or shared.
    pub(crate) bytes: u64,
    /// The owner of the root directory, its group, its permission bits.
    pub(crate) root: (u32, u32, u16),
    /// What has to be said of the image.
    pub(crate) caveats: Vec<String>,
}

impl Copy {
    /// Copies; a file has its name only when it is finished and on the disk.
    pub(crate) fn run(self) -> Result<Copied> {
        let source = open_in_place(&self.from, InPlace::Read)?;
        let image = Image::open(&self.from, 0)?;
        let facts = image.facts();
        let length = facts.blocks.saturating_mul(facts.block_size);
        self.refuse_shorter(length)?;
        let mut identity = self.identity.clone();
        if identity.uuid.is_none() {
            identity.uuid = Some(copied_uuid(&source, length)?);
        }
        let asked = match self.size {
            CopySize::Same => length,
            CopySize::Exactly(bytes) | CopySize::Within(bytes) => bytes,
        };
        let target = self.target.clone();
        let mut staged =
            StagedCopy::open(&self.output, target, self.replace, asked, &self.interruption)?;
        let bytes = staged.copy(&source, used(&image))?;
        let staged = self.change(staged, &identity)?;
        staged.publish(
            |copy| {
                if self.check { refuse_damaged_copy(&self.from, copy) } else { Ok(()) }
            },
        )?;
        let copy = Image::open(&self.output, 0)?;
        let inode = copy.resolve(b"/", Links::Follow)?;
        let root = (inode.uid(), inode.gid(), inode.mode());
        let caveats = image.caveats();
        Ok(Copied { summary: Summary::new(&copy)?, bytes, root, caveats })
    }

    fn refuse_shorter(&self, length: u64) -> Result<()> {
        let asked = match self.size {
            CopySize::Same => length,
            CopySize::Exactly(bytes) | CopySize::Within(bytes) => bytes,
        };
        if asked >= length {
            return Ok(());
        }
        let from = shown(&self.from);
        let message = format!("cannot copy {from}, which has {length} bytes, to {asked}");
        Err(Error::cannot_create(message)
            .with_hint(format!("--from ext4:{from} makes it anew, in any size that holds it")))
    }

    /// Gives the copy its identity and its size.
    fn change(&self, staged: StagedCopy, identity: &Identity) -> Result<StagedCopy> {
        let path = shown(staged.path());
        let editor = Editor::open_unpublished(staged, self.time);
        let mut editor = editor.map_err(|error| {
            let from = shown(&self.from);
            failed(format!("cannot make {path} of {from}"), error)
                .with_hint(format!("--from ext4:{from} makes it anew"))
        })?;
        identity.apply(&mut editor, &path)?;
        if self.root != Root::default() {
            let Root { owner, mode } = self.root;
            let owner = owner.unwrap_or_default();
            let set = super::set_metadata(&mut editor, ROOT_INODE, self.time, |metadata| {
                metadata.uid = owner.uid.unwrap_or(metadata.uid);
                metadata.gid = owner.gid.unwrap_or(metadata.gid);
                metadata.mode = mode.unwrap_or(metadata.mode);
            });
            set.map_err(|error| failed(format!("cannot set the root of {path}"), error))?;
        }
        let size = match self.size {
            CopySize::Same => editor.size(),
            CopySize::Exactly(bytes) => bytes,
            CopySize::Within(bytes) => editor.longest_within(bytes),
        };
        editor.grow(size).map_err(|error| failed(format!("cannot grow {path}"), error))?;
        editor.commit().map_err(|error| failed(format!("cannot make {path}"), error))
    }
}

/// The ranges of bytes that the filesystem uses, ascending.
fn used(image: &Image) -> impl Iterator<Item = Result<Range<u64>>> {
    let facts = image.facts();
    let (size, blocks) = (facts.block_size, facts.blocks);
    let mut start = 0;
    let free = (0..facts.groups).map(move |group| image.ask(|reader| reader.free_runs(group)));
    let ends = free.flat_map(|runs| match runs {
        Ok(runs) => runs.into_iter().map(|run| Ok((run.block, run.length))).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    });
    ends.chain([Ok((blocks, 0))]).filter_map(move |run| match run {
        Err(error) => Some(Err(error)),
        Ok((block, length)) => {
            let range = start * size..block * size;
            start = block + length;
            (!range.is_empty()).then_some(Ok(range))
        }
    })
}
