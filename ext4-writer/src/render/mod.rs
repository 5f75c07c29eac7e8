//! Records and blocks of them from the facts that they state. Nothing here decides a place, and
//! nothing here writes: the writer of new images and the editor of finished ones both call it.

pub(crate) mod bitmaps;
pub(crate) mod directory;
pub(crate) mod extents;
pub(crate) mod inline;
pub(crate) mod inode;
pub(crate) mod journal;
pub(crate) mod resize;
pub(crate) mod superblock;
pub(crate) mod xattr;
