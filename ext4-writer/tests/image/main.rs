//! The library judged from outside: what is declared to the builder is what e2fsck, the kernel,
//! ext4-view and resize2fs find.

#![cfg(test)]

mod backups;
mod bad_input;
mod conveniences;
mod determinism;
mod device;
mod directories;
mod ea_inodes;
mod extents;
mod faults;
mod features;
mod inline_data;
mod inodes;
mod kitchen_sink;
mod profiles;
mod random;
mod readers;
mod shrink;
mod size;
mod sizes;
mod twin;
mod xattrs;
