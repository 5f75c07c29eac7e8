//! The program as its users run it: against a real registry, judged by e2fsck, the kernel,
//! ext4-view, umoci and a virtual machine.

#![cfg(test)]

mod attributes;
mod auth;
mod banger;
mod boot;
mod bounds;
mod cache;
mod check;
mod configuration;
mod crowd;
mod daemon;
mod demo;
mod device;
mod directories;
mod disk;
mod documented;
mod edit;
mod failures;
mod faults;
mod filesystems;
mod flags;
mod guest;
mod help;
mod http;
mod identity;
mod image;
mod layering;
mod library;
mod look;
mod mistakes;
mod options;
mod origins;
mod policy;
mod proxies;
mod pull;
mod signals;
mod trust;
