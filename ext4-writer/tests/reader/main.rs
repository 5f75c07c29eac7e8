//! The reader judged from outside: what it reads is what the kernel shows, of images by mke2fs, by
//! a kernel that wrote to them, and by this library; and no bytes lead it astray.

#![cfg(test)]

mod bytes;
mod damage;
mod journal;
mod lookup;
mod made;
mod own;
mod seen;
mod written;
