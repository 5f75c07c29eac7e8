//! The program as its users run it: against a real registry, judged by e2fsck, the kernel,
//! ext4-view, umoci and a virtual machine.

#![cfg(test)]

mod banger;
mod boot;
mod demo;
mod failures;
mod image;
mod options;
mod pull;
