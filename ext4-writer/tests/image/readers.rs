//! The same tree through the eyes of every reader: debugfs, 7z, The Sleuth Kit and GRUB.

use banger_test_support::judge;
use banger_test_support::readers::{self, Tally};
use ext4_writer::{Options, Profile, Size};

use crate::features::declare;
use crate::random::UNWRITTEN;
use crate::twin::Image;

/// Shows what the readers said, past the test harness, which keeps it to itself.
pub(crate) fn show(heading: &str, tally: &Tally) {
    use std::io::Write as _;
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{heading}:\n{tally}");
}

#[test]
fn every_reader_sees_the_tree_of_every_profile() {
    let mut total = Tally::default();
    for profile in Profile::ALL {
        for block_size in [1024, 4096] {
            let size = Size::Fit { free_bytes: 8 << 20, free_inodes: 100 };
            let mut options = Options::for_profile(profile, size);
            options.block_size = block_size;
            options.features -= UNWRITTEN;
            let image = Image::build(options, declare);
            let mut tally = Tally::default();
            readers::ask_all(&image.path, &image.tree, &mut tally);
            for reader in readers::READERS {
                let read = tally.of(reader);
                let name = profile.name();
                assert!(read.names > 900 || !judge::required(), "{reader}, {name}: {read:?}");
                total.add(reader, &read);
            }
        }
    }
    show("every profile", &total);
}
