//! Archives are read as Go reads them.

use ext4_writer::{Segment, Timestamp};

use super::*;
use crate::layer::EntryKind;
use crate::layer::forge::{Forge, pax_records, read, seconds};

fn one(archive: &[u8]) -> (Entry, Vec<u8>) {
    let mut entries = read(archive).unwrap();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries.remove(0)
}

fn entry(archive: &[u8]) -> Entry {
    one(archive).0
}

fn paths(archive: &[u8]) -> Vec<String> {
    let entries = read(archive).unwrap();
    entries.iter().map(|(entry, _)| entry.path.escape_ascii().to_string()).collect()
}

fn failure(archive: &[u8]) -> String {
    let error = read(archive).unwrap_err();
    assert_eq!(error.exit_code(), 65, "{error}");
    error.to_string()
}

/// Turns the header into one of another format with the same leading fields.
fn magic(header: &mut tar::Header, magic: &[u8]) {
    header.as_mut_bytes()[257..500].fill(0);
    header.as_mut_bytes()[257..257 + magic.len()].copy_from_slice(magic);
}

#[test]
fn f01_headers_of_every_format_are_read() {
    let v7 = |header: &mut tar::Header| magic(header, b"");
    let ustar = |header: &mut tar::Header| magic(header, b"ustar\x0000");
    let odd_version = |header: &mut tar::Header| magic(header, b"ustar\0  ");
    let star = |header: &mut tar::Header| {
        magic(header, b"ustar\x0000");
        header.as_mut_bytes()[345..348].copy_from_slice(b"pre");
        header.as_mut_bytes()[476..488].copy_from_slice(b"00000000007 ");
        header.as_mut_bytes()[488..500].copy_from_slice(b"00000000010 ");
        header.as_mut_bytes()[508..].copy_from_slice(b"tar\0");
    };
    let gnu = |header: &mut tar::Header| {
        header.as_mut_bytes()[345..357].copy_from_slice(b"00000000007\0");
    };
    let read = |change: fn(&mut tar::Header)| {
        let forge = Forge::new().owner(3, 4).mtime(5).mode(0o7654);
        let (entry, body) = one(&forge.raw(b'0', "name", b"body", change).finish());
        assert_eq!((entry.mode, entry.uid, entry.gid), (0o7654, 3, 4));
        assert_eq!((entry.modified, entry.size, body), (seconds(5), 4, b"body".to_vec()));
        let path = String::from_utf8(entry.path).unwrap();
        (path, entry.accessed, entry.changed)
    };
    let name = || "name".to_owned();
    assert_eq!(read(v7), (name(), None, None));
    assert_eq!(read(ustar), (name(), None, None));
    assert_eq!(read(odd_version), (name(), None, None));
    assert_eq!(read(gnu), (name(), Some(seconds(7)), None));
    assert_eq!(read(star), ("pre/name".to_owned(), Some(seconds(7)), Some(seconds(8))));
}

#[test]
fn f02_the_prefix_is_joined() {
    let prefixed = |text: &'static [u8], whole: &'static [u8]| {
        let archive = Forge::new().raw(b'0', "name", b"", |header| {
            magic(header, whole);
            header.as_mut_bytes()[345..345 + text.len()].copy_from_slice(text);
        });
        paths(&archive.finish())
    };
    assert_eq!(prefixed(b"a/b", b"ustar\x0000"), ["a/b/name"]);
    assert_eq!(prefixed(b"a/b", b"ustar\0\0\0"), ["a/b/name"]);
    // Not a prefix in v7; misplaced in GNU headers by old Go, where it is no time.
    assert_eq!(prefixed(b"a/b", b""), ["name"]);
    assert_eq!(prefixed(b"a/b", b"ustar  \0"), ["a/b/name"]);
    let long = [b"x".repeat(155).as_slice(), b"/name"].concat();
    let archive = Forge::new().raw(b'0', "name", b"", |header| {
        magic(header, b"ustar\x0000");
        header.as_mut_bytes()[345..500].fill(b'x');
    });
    assert_eq!(entry(&archive.finish()).path, long);
}

#[test]
fn f03_long_names_are_read_and_pax_wins() {
    let long = "n".repeat(300);
    let gnu = |forge: Forge| {
        let name = [long.as_bytes(), b"\0"].concat();
        forge.extension(b'L', &name).extension(b'K', b"gnu-target\0")
    };
    let got = entry(&gnu(Forge::new()).symlink("short", "t").finish());
    assert_eq!((got.path, got.link), (long.clone().into_bytes(), b"gnu-target".to_vec()));
    let pax: [(&str, &[u8]); 2] = [("path", b"pax-name"), ("linkpath", b"pax-target")];
    for archive in [gnu(Forge::new().pax(&pax)), gnu(Forge::new()).pax(&pax)] {
        let got = entry(&archive.symlink("short", "t").finish());
        assert_eq!((got.path, got.link), (b"pax-name".to_vec(), b"pax-target".to_vec()));
    }
}

#[test]
fn f05_the_pax_size_counts_and_desynchronises_nothing() {
    let archive = Forge::new()
        .pax(&[("size", b"600")])
        .raw(b'0', "big", &[7; 600], |header| header.set_size(0))
        .file("next", b"x");
    let entries = read(&archive.finish()).unwrap();
    assert_eq!((entries[0].0.size, entries[0].1.as_slice()), (600, &[7; 600][..]));
    assert_eq!(entries[1].0.path, b"next");
    // GHSA-3cv2-h65g-fgmm: the size is the entry's, not that of the long name before it.
    let archive = Forge::new().pax(&[("size", b"3")]).extension(b'L', b"long\0");
    let archive = archive.raw(b'0', "x", b"abc", |header| header.set_size(9999));
    let (entry, body) = one(&archive.finish());
    assert_eq!((entry.path.as_slice(), body.as_slice()), (&b"long"[..], &b"abc"[..]));
    let big = Forge::new().pax(&[("size", b"9000000000")]).file("x", b"");
    let big = big.bytes();
    let mut archive = Archive::new(&big[..], "big", &Limits::default());
    assert_eq!(archive.next_entry().unwrap().unwrap().size, 9_000_000_000);
}

#[test]
fn f06_absurd_sizes_are_refused() {
    let sized = |field: &'static [u8; 12]| {
        let change = |header: &mut tar::Header| header.as_old_mut().size = *field;
        failure(&Forge::new().raw(b'0', "name", b"", change).finish())
    };
    assert!(sized(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").contains("size is -1"));
    assert!(sized(b"0000000000x\0").contains("not a number"));
    assert!(sized(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").contains("not a number"));
    let error = sized(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    assert!(error.contains("\"name\" at byte 0"), "{error}");
}

#[test]
fn f07_binary_owner_time_and_device_numbers_are_read() {
    let archive = Forge::new().mtime(-12_345).raw(b'3', "dev", b"", |header| {
        header.as_old_mut().uid = *b"\x80\0\0\0\xff\xff\xff\xfe";
        let gnu = header.as_gnu_mut().unwrap();
        gnu.dev_major = *b"\x80\0\0\0\0\x01\x02\x03";
        gnu.dev_minor = *b"0007777\0";
    });
    let got = entry(&archive.finish());
    assert_eq!((got.uid, got.modified), (4_294_967_294, seconds(-12_345)));
    assert_eq!(got.device, (0x1_0203, 0o7777));
}

#[test]
fn f08_pax_ids_win_and_stay_within_32_bits() {
    let with = |id: &[u8]| Forge::new().pax(&[("uid", id), ("gid", b"7")]).file("x", b"");
    let got = entry(&with(b"4294967294").finish());
    assert_eq!((got.uid, got.gid), (4_294_967_294, 7));
    assert!(failure(&with(b"4294967296").finish()).contains("uid"));
    let wide = Forge::new().raw(b'0', "x", b"", |header| {
        header.as_old_mut().gid = *b"\x80\0\0\x01\0\0\0\0";
    });
    assert!(failure(&wide.finish()).contains("gid is 4294967296"));
}

#[test]
fn f09_pax_times_win() {
    let times: [(&str, &[u8]); 3] = [("mtime", b"-1.5"), ("atime", b"2.25"), ("ctime", b"3")];
    let got = entry(&Forge::new().mtime(9).pax(&times).file("x", b"").finish());
    assert_eq!(got.modified, Timestamp { seconds: -2, nanoseconds: 500_000_000 });
    assert_eq!(got.accessed, Some(Timestamp { seconds: 2, nanoseconds: 250_000_000 }));
    assert_eq!(got.changed, Some(seconds(3)));
}

#[test]
fn f10_global_headers_are_defaults_and_never_files() {
    let archive = Forge::new()
        .extension(b'g', &pax_records(&[("comment", b"c0ffee"), ("uid", b"5")]))
        .file("a", b"")
        .pax(&[("uid", b"6")])
        .file("b", b"")
        .extension(b'g', &pax_records(&[("gid", b"8")]))
        .file("c", b"");
    let entries = read(&archive.finish()).unwrap();
    let owners = entries.iter().map(|(entry, _)| (entry.uid, entry.gid)).collect::<Vec<_>>();
    assert_eq!(owners, [(5, 0), (6, 0), (5, 8)]);
    let archive = Forge::new().extension(b'g', &pax_records(&[("path", b"evil")]));
    assert!(failure(&archive.file("a", b"").finish()).contains("global header"));
}

#[test]
fn f11_the_last_of_two_extended_headers_wins() {
    let archive = Forge::new()
        .pax(&[("path", b"first"), ("uid", b"1")])
        .pax(&[("path", b"second")])
        .file("x", b"");
    let got = entry(&archive.finish());
    assert_eq!((got.path.as_slice(), got.uid), (&b"second"[..], 0));
    let archive = Forge::new().extension(b'L', b"one\0").extension(b'L', b"two\0");
    assert_eq!(entry(&archive.file("x", b"").finish()).path, b"two");
}

#[test]
fn f12_extended_headers_are_bounded() {
    for flag in *b"xgLK" {
        let archive = Forge::new().raw(flag, "x", b"", |header| header.set_size(1 << 20 | 1));
        assert!(failure(&archive.bytes()).contains("at most 1048576"));
    }
    let archive = Forge::new().extension(b'L', &[b'x'; 4097]).file("x", b"");
    assert!(failure(&archive.finish()).contains("path has 4097 bytes"));
    let target = "t".repeat(4096);
    assert!(failure(&Forge::new().symlink("x", &target).finish()).contains("target has 4096"));
    assert_eq!(entry(&Forge::new().hard_link("x", &target).finish()).link.len(), 4096);
}

#[test]
fn f13_pax_sparse_files_of_every_version_become_segments() {
    let segments = [Segment { offset: 2, length: 3 }, Segment { offset: 10, length: 2 }];
    let old: [(&str, &[u8]); 6] = [
        ("GNU.sparse.size", b"20"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"2"),
        ("GNU.sparse.numbytes", b"3"),
        ("GNU.sparse.offset", b"10"),
        ("GNU.sparse.numbytes", b"2"),
    ];
    let with_map: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"0"),
        ("GNU.sparse.minor", b"1"),
        ("GNU.sparse.map", b"2,3,10,2,20,0"),
        ("GNU.sparse.size", b"20"),
    ];
    let in_body: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"real"),
        ("GNU.sparse.realsize", b"20"),
    ];
    let mut body = b"3\n2\n3\n10\n2\n20\n0\n".to_vec();
    body.resize(512, 0);
    body.extend(b"abcde");
    for (archive, path) in [
        (Forge::new().pax(&old).file("x", b"abcde"), "x"),
        (Forge::new().pax(&with_map).file("x", b"abcde"), "x"),
        (Forge::new().pax(&in_body).file("GNUSparseFile.0/x", body), "real"),
    ] {
        let mut entries = read(&archive.file("next", b"").finish()).unwrap();
        assert_eq!(entries.pop().unwrap().0.path, b"next");
        let (entry, body) = entries.pop().unwrap();
        assert_eq!((entry.path, entry.size), (path.as_bytes().to_vec(), 20));
        assert_eq!((entry.segments.as_deref(), &body[..]), (Some(&segments[..]), &b"abcde"[..]));
    }
}

fn old_sparse(header: &mut tar::Header, records: &[(u64, u64)], size: u64) {
    let gnu = header.as_gnu_mut().unwrap();
    gnu.set_real_size(size);
    for (slot, (offset, length)) in gnu.sparse.iter_mut().zip(records) {
        slot.set_offset(*offset);
        slot.set_length(*length);
    }
}

#[test]
fn f13_old_gnu_sparse_files_go_on_in_extension_blocks() {
    let records = (0..30).map(|index| (index * 10, 1)).collect::<Vec<_>>();
    let mut extensions = Vec::new();
    for (index, chunk) in records[4..].chunks(21).enumerate() {
        let mut block = tar::GnuExtSparseHeader::new();
        for (slot, (offset, length)) in block.sparse.iter_mut().zip(chunk) {
            slot.set_offset(*offset);
            slot.set_length(*length);
        }
        block.set_is_extended(index == 0);
        extensions.extend(block.as_bytes());
    }
    let archive = Forge::new().raw(b'S', "x", &extensions, |header| {
        old_sparse(header, &records, 1000);
        header.as_gnu_mut().unwrap().set_is_extended(true);
        header.set_size(30);
    });
    let archive = archive.data(&[b'd'; 30]).file("next", b"");
    let entries = read(&archive.finish()).unwrap();
    let (entry, body) = &entries[0];
    assert_eq!((entry.size, body.as_slice()), (1000, &[b'd'; 30][..]));
    let segments = entry.segments.as_ref().unwrap();
    assert_eq!((segments.len(), segments[29]), (30, Segment { offset: 290, length: 1 }));
    assert_eq!(entries[1].0.path, b"next");
}

#[test]
fn f13_sparse_maps_that_lie_or_are_bombs_are_refused() {
    let map = |map: &[u8], body: &[u8]| {
        let records = [("GNU.sparse.size", &b"20"[..]), ("GNU.sparse.map", map)];
        failure(&Forge::new().pax(&records).file("x", body).finish())
    };
    assert!(map(b"5,3,6,2", b"abcde").contains("overlaps"));
    assert!(map(b"18,5", b"abcde").contains("over its size"));
    assert!(map(b"18446744073709551615,5", b"abcde").contains("over its size"));
    assert!(map(b"1,4", b"abcde").contains("wants 4 bytes, 5 are stored"));
    assert!(map(b"1,5,7", b"abcde").contains("ends with an offset"));
    assert!(map(b"1,-5", b"abcde").contains("where a number belongs"));
    let many = (0..20_002).map(|_| "0").collect::<Vec<_>>().join(",");
    assert!(map(many.as_bytes(), b"").contains("more than 10000 segments"));
    let version = [("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", &b"0"[..])];
    let in_body = |body: &[u8]| failure(&Forge::new().pax(&version).file("x", body).finish());
    assert!(in_body(&[b"99999999999\n", &[0; 500][..]].concat()).contains("10000 segments"));
    assert!(in_body(b"5\n1\n").contains("map is cut off"));
    assert!(in_body(&[b"5\nx\n", &[0; 508][..]].concat()).contains("where a number belongs"));
    assert!(in_body(&vec![b'1'; 2 << 20]).contains("map has more than"));
    let version = [("GNU.sparse.major", &b"2"[..]), ("GNU.sparse.minor", &b"0"[..])];
    assert!(failure(&Forge::new().pax(&version).file("x", b"").finish()).contains("2.0"));
}

#[test]
fn f14_unknown_types_are_refused_by_name() {
    for flag in *b"DMVNXz" {
        let error = failure(&Forge::new().raw(flag, "x", b"", |_| {}).finish());
        assert!(error.contains(&format!("type '{}'", char::from(flag))), "{error}");
    }
    assert_eq!(entry(&Forge::new().raw(b'7', "x", b"", |_| {}).finish()).kind, EntryKind::Regular);
}

#[test]
fn f17_archives_end_as_go_lets_them_end() {
    let whole = Forge::new().file("a", [7; 700]);
    let bytes = whole.clone().bytes();
    let body = 512 + 700;
    for end in [body, body + 1, bytes.len() - 1, bytes.len()] {
        assert_eq!(paths(&bytes[..end]), ["a"], "{end}");
    }
    for end in [1, 511, 513, body - 1] {
        assert!(failure(&bytes[..end]).contains("ends"), "{end}");
    }
    let zero = [0; 512];
    assert_eq!(paths(&[&bytes[..], &zero].concat()), ["a"]);
    assert_eq!(paths(&[&bytes[..], &zero, &zero, b"trailing garbage"].concat()), ["a"]);
    assert!(failure(&[&bytes[..], &zero, &bytes].concat()).contains("zero block"));
    assert!(failure(&[&bytes[..], &zero, &zero[..9]].concat()).contains("after 9 of 512"));
    assert_eq!(paths(b""), [""; 0]);
    assert_eq!(paths(&[0; 1024]), [""; 0]);
}

#[test]
fn f17_the_reader_is_left_behind_the_end() {
    let bytes = [Forge::new().file("a", b"x").finish(), b"rest".to_vec()].concat();
    let mut archive = Archive::new(&bytes[..], "a", &Limits::default());
    while archive.next_entry().unwrap().is_some() {}
    assert!(archive.next_entry().unwrap().is_none());
    assert_eq!(archive.into_inner(), b"rest");
}

#[test]
fn f18_an_extended_header_without_its_entry_is_refused() {
    let bytes = Forge::new().pax(&[("path", b"x")]).bytes();
    for end in [bytes.len(), bytes.len() - 1] {
        assert!(failure(&bytes[..end]).contains("after an extended header"));
    }
    assert!(failure(&[bytes, vec![0; 1024]].concat()).contains("after an extended header"));
}

#[test]
fn f20_nul_and_a_trailing_slash_mark_the_kinds_of_old_archives() {
    let kind = |flag, path: &str| entry(&Forge::new().raw(flag, path, b"", |_| {}).finish()).kind;
    assert_eq!(kind(0, "a"), EntryKind::Regular);
    assert_eq!(kind(0, "a/"), EntryKind::Directory);
    assert_eq!(kind(b'0', "a/"), EntryKind::Directory);
    assert_eq!(kind(b'5', "a"), EntryKind::Directory);
}

#[test]
fn h14_the_size_of_what_has_no_body_is_ignored() {
    let size = |header: &mut tar::Header| header.set_size(700);
    let mut forge = Forge::new();
    for flag in *b"123456" {
        forge = forge.raw(flag, format!("x{}", char::from(flag)), b"", |header| {
            header.as_old_mut().linkname[0] = b't';
            size(header);
        });
    }
    let expected = ["x1", "x2", "x3", "x4", "x5", "x6", "next"];
    assert_eq!(paths(&forge.file("next", b"").finish()), expected);
}

#[test]
fn links_without_a_target_and_entries_without_a_path_are_refused() {
    assert!(failure(&Forge::new().symlink("x", "").finish()).contains("without a target"));
    assert!(failure(&Forge::new().hard_link("x", "").finish()).contains("without a target"));
    assert!(failure(&Forge::new().file("", b"").finish()).contains("no path"));
}

#[test]
fn p16_a_nul_in_a_pax_path_is_refused() {
    let archive = Forge::new().pax(&[("path", b"a\0b")]).file("x", b"");
    assert!(failure(&archive.finish()).contains("NUL"));
}

#[test]
fn attributes_nobody_can_keep_are_listed() {
    let records: [(&str, &[u8]); 2] = [("SCHILY.fflags", b"nodump"), ("comment", b"x")];
    let got = entry(&Forge::new().pax(&records).file("x", b"").finish());
    let keywords = got.unsupported.iter().map(|lost| lost.keyword.as_str());
    assert_eq!(keywords.collect::<Vec<_>>(), ["SCHILY.fflags"]);
}

#[test]
fn unread_bodies_are_skipped() {
    let bytes = Forge::new().file("a", vec![1; 200_000]).file("b", b"2").finish();
    let mut archive = Archive::new(&bytes[..], "a", &Limits::default());
    archive.next_entry().unwrap();
    archive.body().read_exact(&mut [0; 100]).unwrap();
    assert_eq!(archive.next_entry().unwrap().unwrap().path, b"b");
    let mut body = Vec::new();
    archive.body().read_to_end(&mut body).unwrap();
    assert_eq!(body, b"2");
}

#[test]
fn no_cut_or_flipped_archive_panics_or_runs_for_ever() {
    let archive = Forge::new()
        .extension(b'g', &pax_records(&[("uid", b"5")]))
        .pax(&[("GNU.sparse.size", b"20"), ("GNU.sparse.map", b"1,1"), ("mtime", b"1.5")])
        .file("x", b"a")
        .extension(b'L', b"long\0")
        .raw(b'S', "s", b"a", |header| old_sparse(header, &[(1, 1)], 9))
        .symlink("l", "t")
        .finish();
    for place in 0..archive.len() {
        let _ = read(&archive[..place]);
        for bit in 0..8 {
            let mut archive = archive.clone();
            archive[place] ^= 1 << bit;
            // A right checksum lets the change through to what is behind it.
            let start = place / 512 * 512;
            let block = tar::Header::from_byte_slice(&archive[start..start + 512]);
            let mut block = block.clone();
            if archive[start + 257..start + 262] == *b"ustar" {
                block.set_cksum();
                archive[start..start + 512].copy_from_slice(block.as_bytes());
            }
            let _ = read(&archive);
        }
    }
}
