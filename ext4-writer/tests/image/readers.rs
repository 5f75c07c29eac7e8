//! The same tree through the eyes of every reader: debugfs, 7z, The Sleuth Kit and GRUB.

use banger_test_support::judge;
use banger_test_support::readers::{self, Tally};
use ext4_writer::{Options, Profile, Size};

use crate::features::declare;
use crate::twin::Image;

/// Shows what the readers said, past the test harness, which keeps it to itself.
pub(crate) fn show(heading: &str, account: &impl std::fmt::Display) {
    use std::io::Write as _;
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{heading}:\n{account}");
}

#[test]
fn every_reader_sees_the_tree_of_every_profile() {
    let mut total = Tally::default();
    for profile in Profile::ALL {
        for block_size in [1024, 4096] {
            let size = Size::Fit { free_bytes: 8 << 20, free_inodes: 100 };
            let mut options = Options::for_profile(profile, size);
            options.block_size = block_size;
            let image = Image::build(options, declare);
            let mut tally = Tally::default();
            readers::ask_all(&image.path, &image.tree, &mut tally);
            for reader in readers::READERS {
                let read = tally.of(reader);
                let name = profile.name();
                // Some readers do not know the features of the largest profile.
                let known = profile != Profile::Max || reader == "debugfs";
                let least = if known && judge::required() { 900 } else { 0 };
                assert!(read.names >= least, "{reader}, {name}: {read:?}");
                total.add(reader, &read);
            }
        }
    }
    show("every profile", &total);
}
