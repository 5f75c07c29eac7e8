//! Changes finished images: in one step that is done or not, or tried and not done.

mod copy;
mod failure;
mod place;
mod step;
mod target;

use std::path::{Path, PathBuf};

use ext4_writer::edit::{Device, EditError, Editor, Recovered, Undo, UndoFile, recover};
use ext4_writer::reader::Source as _;
use ext4_writer::{Metadata, MountOptions, OnError, Reserved, Timestamp};

use crate::error::{Error, Result};
use crate::image::{InPlace, Interruption, open_in_place, undo_path};
use crate::shown::path as shown;
use failure::failed;
use place::{KeptUndo, Place};

pub(crate) use copy::{Copied, Copy, CopySize};
pub(crate) use step::{LayerOptions, Step};

/// An image that is to be changed.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The file or block device.
    pub(crate) path: PathBuf,
    /// Where the old content is kept of what cannot go through a journal; beside a file, unless it
    /// is said.
    pub(crate) undo: Option<PathBuf>,
    /// Whether it is only tried, and nothing written.
    pub(crate) is_trial: bool,
    /// What may end the work early.
    pub(crate) interruption: Interruption,
}

impl Target {
    /// Opens what is to be changed, for this process alone.
    fn open(&self) -> Result<(Place, Option<Box<dyn Undo>>)> {
        let access = if self.is_trial { InPlace::Try } else { InPlace::Change };
        let file = open_in_place(&self.path, access)?;
        let place = Place::new(file, self.is_trial).map_err(|error| {
            Error::io(format!("cannot change {}", shown(&self.path))).with_source(error)
        })?;
        let undo = match &self.undo {
            Some(path) => Some(path.clone()),
            None => undo_path(&self.path)?,
        };
        let undo = undo.map(|path| -> Box<dyn Undo> {
            if self.is_trial {
                Box::new(KeptUndo::new(path))
            } else {
                Box::new(UndoFile::new(path))
            }
        });
        Ok((place, undo))
    }

    fn failed(&self, error: EditError) -> Error {
        failed(format!("cannot change {}", shown(&self.path)), error)
    }

    /// Replays the journal, takes back what a cut left of a change in place, and no more.
    pub(crate) fn recover(&self) -> Result<Recovered> {
        let (mut place, mut undo) = self.open()?;
        self.interruption.uninterrupted(|| {
            let undo: Option<&mut dyn Undo> = match &mut undo {
                Some(undo) => Some(undo.as_mut()),
                None => None,
            };
            recover(&mut place, undo).map_err(|error| self.failed(error))
        })
    }
}

/// What the superblock is to say; what is not given stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    /// The volume's name.
    pub(crate) label: Option<Vec<u8>>,
    /// The UUID.
    pub(crate) uuid: Option<[u8; 16]>,
    /// How much only root may fill.
    pub(crate) reserved: Option<Reserved>,
    /// What the kernel does when it finds damage.
    pub(crate) on_error: Option<OnError>,
    /// The mount options that are on by default.
    pub(crate) mount_options: Option<MountOptions>,
    /// Where it says that it was last mounted.
    pub(crate) last_mounted: Option<Vec<u8>>,
}

impl Identity {
    /// Sets it in the image that messages call `path`.
    fn apply<D: Device>(&self, editor: &mut Editor<D>, path: &str) -> Result<()> {
        let failed = |what, error| failed(format!("cannot set the {what} of {path}"), error);
        if let Some(label) = &self.label {
            editor.set_label(label).map_err(|error| failed("label", error))?;
        }
        if let Some(uuid) = self.uuid {
            editor.set_uuid(uuid).map_err(|error| failed("UUID", error))?;
        }
        if let Some(reserved) = self.reserved {
            editor.set_reserved(reserved).map_err(|error| failed("reserved blocks", error))?;
        }
        if let Some(on_error) = self.on_error {
            editor.set_on_error(on_error);
        }
        if let Some(options) = self.mount_options {
            editor.set_mount_options(options);
        }
        if let Some(place) = &self.last_mounted {
            editor.set_last_mounted(place).map_err(|error| failed("last mount point", error))?;
        }
        Ok(())
    }
}

/// Changes what the inode of a node says.
fn set_metadata<D: Device>(
    editor: &mut Editor<D>,
    node: u32,
    time: Timestamp,
    set: impl FnOnce(&mut Metadata),
) -> std::result::Result<(), EditError> {
    let inode = editor.inode(node)?;
    let mut metadata = Metadata {
        mode: inode.mode(),
        uid: inode.uid(),
        gid: inode.gid(),
        modified: inode.modified(),
        accessed: Some(inode.accessed()),
        changed: Some(time),
        created: None,
    };
    set(&mut metadata);
    editor.set_metadata(node, &metadata)
}

/// An image while it is changed.
pub(crate) struct Change {
    target: Target,
    editor: Editor<Place>,
    time: Timestamp,
}

impl Change {
    /// Opens an image; what a cut left of an earlier change is finished or taken back first. `time`
    /// is that of the change.
    pub(crate) fn open(target: Target, time: Timestamp) -> Result<Self> {
        let (place, undo) = target.open()?;
        let opened = match undo {
            Some(undo) => Editor::open_with_undo(place, undo, time),
            None => Editor::open(place, time),
        };
        let editor = opened.map_err(|error| target.failed(error))?;
        Ok(Self { target, editor, time })
    }

    /// The image.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.target.path
    }

    /// The bytes of the filesystem.
    #[must_use]
    pub(crate) fn size(&self) -> u64 {
        self.editor.size()
    }

    /// What it was recovered from.
    #[must_use]
    pub(crate) fn recovered(&self) -> Recovered {
        self.editor.recovered()
    }

    /// Sets what the superblock says.
    pub(crate) fn set(&mut self, identity: &Identity) -> Result<()> {
        identity.apply(&mut self.editor, &shown(&self.target.path))
    }

    /// Lets the filesystem grow to so many bytes, or as far as its file or device goes.
    pub(crate) fn grow(&mut self, size: Option<u64>) -> Result<()> {
        let path = shown(&self.target.path);
        let device = self.editor.device();
        let there = device.length().map_err(|error| {
            Error::io(format!("cannot tell how long {path} is")).with_source(error)
        })?;
        let size = size.unwrap_or_else(|| self.editor.longest_within(there));
        if size > there && !device.can_be_longer() {
            let message = format!("cannot grow {path} to {size} bytes: the device has {there}");
            return Err(Error::cannot_create(message).with_hint("make the device larger first"));
        }
        self.editor.grow(size).map_err(|error| failed(format!("cannot grow {path}"), error))
    }

    /// Brings everything that was done to the disk, in one step; the bytes of the filesystem.
    pub(crate) fn commit(self) -> Result<u64> {
        let Self { target, editor, .. } = self;
        let size = editor.size();
        let commit = || editor.commit().map(drop).map_err(|error| target.failed(error));
        target.interruption.uninterrupted(commit)?;
        Ok(size)
    }
}
