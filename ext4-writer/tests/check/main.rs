//! The check, judged by e2fsck.

#![cfg(test)]

mod damage;
mod documented;
mod own;
mod refused;
