//! What an inode says beside its content: flags, generation, project, times.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::SystemTime;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::tree::{Entry, Kind};
use banger_test_support::{debugfs, judge};
use ext4_writer::{Error, FileFlags, Metadata, Timestamp};

use crate::twin::{Image, noise, roomy};

#[test]
fn flags_are_those_of_chattr() {
    let letters = [
        ('s', FileFlags::SECURE_REMOVAL),
        ('S', FileFlags::SYNC),
        ('i', FileFlags::IMMUTABLE),
        ('a', FileFlags::APPEND_ONLY),
        ('d', FileFlags::NO_DUMP),
        ('A', FileFlags::NO_ATIME),
        ('j', FileFlags::JOURNAL_DATA),
        ('D', FileFlags::SYNC_DIRECTORY),
        ('T', FileFlags::TOP_DIRECTORY),
    ];
    let image = Image::build(roomy(), |twin| {
        for (letter, flags) in letters {
            let name = format!("{}", u32::from(letter));
            if letter == 'D' || letter == 'T' {
                twin.directory(&name);
            } else {
                twin.file(&name, &noise(1, 5000));
            }
            let node = twin.node(name.as_bytes());
            twin.builder.set_flags(node, flags).unwrap();
        }
    });
    let Some(mount) = Mount::new(&image.path, Access::ReadWrite) else { return };
    for (letter, _) in letters {
        let path = mount.path().join(format!("{}", u32::from(letter)));
        let shown = judge::succeed("lsattr", ["-d".as_ref(), path.as_os_str()]);
        let shown: String =
            shown.split(' ').next().unwrap().chars().filter(|c| *c != '-' && *c != 'e').collect();
        assert_eq!(shown, letter.to_string());
    }
    assert!(fs::remove_file(mount.path().join("105")).is_err(), "an immutable file stays");
    assert!(fs::write(mount.path().join("97"), b"x").is_err(), "an append-only file is not cut");
    mount.close();
    image.assert_clean();
}

#[test]
fn generations_start_the_checksums_of_all_that_is_below_an_inode() {
    let image = Image::build(roomy(), |twin| {
        twin.directory("d");
        for number in 0..1000 {
            twin.file(format!("d/a-name-{number}"), b"");
        }
        let island = |n: u64| ext4_writer::Segment { offset: n * 8192, length: 4096 };
        twin.sparse(b"islands", 8192 * 400, &(0..400).map(island).collect::<Vec<_>>());
        twin.symlink("link", b"a/target/".repeat(30).as_slice());
        for (name, generation) in [("d", 1), ("islands", u32::MAX), ("link", 77)] {
            let node = twin.node(name.as_bytes());
            twin.builder.set_generation(node, generation).unwrap();
        }
    });
    image.assert_as_declared();
    if judge::all(&["debugfs"]) {
        let text = debugfs::read(&image.path, "stat /islands");
        assert!(text.contains("Generation: 4294967295"), "{text}");
    }
}

#[test]
fn a_project_is_kept_for_the_guest_that_counts_by_it() {
    let image = Image::build(roomy(), |twin| {
        twin.file("f", b"text");
        let node = twin.node(b"f");
        twin.builder.set_project(node, 4242).unwrap();
    });
    if judge::all(&["debugfs"]) {
        let text = debugfs::read(&image.path, "stat /f");
        assert!(text.contains("Project:  4242"), "{text}");
    }
    let mut options = roomy();
    options.inode_size = 128;
    Image::build(options, |twin| {
        twin.file("f", b"text");
        let node = twin.node(b"f");
        let refused = twin.builder.set_project(node, 1);
        assert!(matches!(refused, Err(Error::InvalidOption { option: "inode_size", .. })));
    });
}

/// Seconds and nanoseconds of a time as the kernel tells it.
fn since_1970(time: SystemTime) -> (i64, u32) {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()).unwrap(), after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let seconds = -i64::try_from(before.as_secs()).unwrap();
            match before.subsec_nanos() {
                0 => (seconds, 0),
                short => (seconds - 1, 1_000_000_000 - short),
            }
        }
    }
}

#[test]
fn all_four_times_are_kept_from_1901_to_2446() {
    let times = [
        (-0x8000_0000, 0),
        (-1, 999_999_999),
        (0, 1),
        (0x7fff_ffff, 999_999_999),
        (0x8000_0000, 0),
        (0xffff_ffff, 5),
        (0x1_0000_0000, 0),
        (0x3_7fff_ffff, 999_999_999),
    ];
    let at = |index: usize| {
        let (seconds, nanoseconds) = times[index % times.len()];
        Timestamp { seconds, nanoseconds }
    };
    let image = Image::build(roomy(), |twin| {
        let root = twin.builder.root();
        for index in 0..times.len() {
            let mut metadata = Metadata::root_owned(0o755, at(index));
            metadata.accessed = Some(at(index + 1));
            metadata.changed = Some(at(index + 2));
            metadata.created = Some(at(index + 3));
            twin.builder.add_directory(root, format!("{index}").as_bytes(), &metadata).unwrap();
        }
    });
    assert_eq!(image.summary.clamped_times, 0);
    let Some(mount) = Mount::new(&image.path, Access::ReadOnly) else { return };
    for index in 0..times.len() {
        let found = fs::metadata(mount.path().join(format!("{index}"))).unwrap();
        let nanoseconds = |number: i64| u32::try_from(number).unwrap();
        assert_eq!((found.mtime(), nanoseconds(found.mtime_nsec())), times[index]);
        let after = |n: usize| times[(index + n) % times.len()];
        assert_eq!((found.atime(), nanoseconds(found.atime_nsec())), after(1));
        assert_eq!((found.ctime(), nanoseconds(found.ctime_nsec())), after(2));
        assert_eq!(since_1970(found.created().unwrap()), after(3));
    }
    mount.close();
}

#[test]
fn times_beyond_the_inode_are_moved_to_its_limits_and_counted() {
    let far = |seconds| Entry::new(Kind::Directory, 0o755).modified_at(seconds, 0);
    let times = [i64::MIN, -0x8000_0001, 0x3_8000_0000, i64::MAX];
    // Those of 2310 to 2378 are in an inode what e2fsck takes for a time before 1970.
    let mistaken = [0x2_8000_0000, 0x2_ffff_ffff];
    for (inode_size, latest, latest_before, more) in
        [(256, 0x3_7fff_ffff, 0x2_7fff_ffff, 0), (128, 0x7fff_ffff, 0x7fff_ffff, 2)]
    {
        let mut options = roomy();
        options.inode_size = inode_size;
        let image = Image::build(options, |twin| {
            for seconds in times.into_iter().chain(mistaken) {
                twin.try_add(format!("{seconds}").as_bytes(), &far(seconds), b"").unwrap();
            }
            let nanoseconds = far(5).modified_at(5, 1);
            twin.try_add(b"nanoseconds", &nanoseconds, b"").unwrap();
            twin.try_add(b"2040", &far(2_208_988_800), b"").unwrap();
        });
        assert_eq!(image.summary.clamped_times, 6 + more);
        let Some(mount) = Mount::new(&image.path, Access::ReadOnly) else { return };
        let found = |name: String| fs::metadata(mount.path().join(name)).unwrap().mtime();
        let expected = [-0x8000_0000, -0x8000_0000, latest, latest];
        assert_eq!(times.map(|seconds| found(seconds.to_string())), expected);
        assert_eq!(mistaken.map(|seconds| found(seconds.to_string())), [latest_before; 2]);
        assert_eq!(found("nanoseconds".to_owned()), 5);
        mount.close();
    }
}
