//! The judges of banger's tests.
//!
//! Nothing here knows how banger writes: an image is judged by programs and code that share
//! nothing with it. [`gate`] asks e2fsck, [`mount`] and [`storm`] the running kernel, [`view`] an
//! unrelated reader, [`readers`] more of those, [`boot`] a kernel of another version in a virtual
//! machine; [`registry`] serves the images of [`layers`] as a real registry does. [`tree`] is what
//! all of them are compared with.

pub mod boot;
pub mod debugfs;
pub mod device;
pub mod gate;
pub mod imports;
pub mod judge;
pub mod layers;
pub mod mount;
pub mod noise;
pub mod proxy;
pub mod readers;
pub mod registry;
pub mod storm;
pub mod tls;
pub mod tree;
pub mod view;
pub mod xattr;
