//! Rows M: modes, owners, times, devices and extended attributes.

use banger_test_support::xattr::{self, NO_ID};

use super::*;

rows! {
    m01_set_user_id_and_the_like_are_kept:
        ["mode:4755 owner:5:6 a=1 mode:2755 d/ mode:1777 t/"]
        => "a=1[4755,5:6] d/[2755,5:6] t/[1777,5:6]";
    m02_modes_without_permissions_keep_contents:
        ["mode:0 f=data mode:500 d/ mode:0 d/g=more"] => "d/[500] d/g=more[0] f=data[0]";
    m03_a_capability_is_kept_to_the_byte:
        ["x:security.capability=%01%00%00%02%0a%20%00%00%00%0a=x{%00*8} ping="]
        => "ping=[security.capability=\\x01\\x00\\x00\\x02\\n%20\\x00\\x00\\x00\\n=x{\\x00*8}]";
    m03_a_capability_of_a_user_namespace_is_kept:
        ["x:security.capability=%01%00%00%03%0a%20{%00*14}%e8%03%00%00 ping="]
        => "ping=[security.capability=\\x01\\x00\\x00\\x03\\n%20{\\x00*14}\\xe8\\x03\\x00\\x00]";
    m04_attributes_of_users_stand_on_files_and_directories:
        ["x:user.a=1 f= x:user.b=2 d/"] => "d/[user.b=2] f=[user.a=1]";
    m04_attributes_of_users_on_other_things_are_dropped:
        ["x:user.a=1 l->t x:user.b=2 p|"] => "l->t p|",
        "loss l: attribute \"user.a\" cannot stand on what is neither file nor directory",
        "loss p: attribute \"user.b\" cannot stand on what is neither file nor directory";
    m05_a_default_acl_stands_on_directories_only:
        ["x:system.posix_acl_default=q h="] => "h=",
        "loss h: attribute \"system.posix_acl_default\" can only stand on a directory";
    m05_implied_directories_take_over_what_a_whiteout_hid:
        ["x:user.a=1 mode:2700 owner:5:6 mtime:7 d/ d/x=1", ".wh.d d/y=2"]
        => "d/[2700,5:6,@7,user.a=1] d/y=2";
    m06_labels_of_selinux_are_kept:
        ["x:security.selinux=system_u:object_r:bin_t:s0%00 f="]
        => "f=[security.selinux=system_u:object_r:bin_t:s0\\x00]";
    m06_attributes_of_the_system_are_kept:
        ["x:trusted.a=1 f= x:trusted.b=2 l->f"] => "f=[trusted.a=1] l->f[trusted.b=2]";
    m07_attributes_of_overlays_are_dropped:
        ["x:trusted.overlay.opaque=y d/ x:user.overlay.origin=z d/e="] => "d/ d/e=",
        "loss d/: attribute \"trusted.overlay.opaque\" is an overlay's own",
        "loss d/e: attribute \"user.overlay.origin\" is an overlay's own";
    m08_attributes_of_other_systems_are_dropped:
        ["x:system.nfs4_acl=n f= x:com.apple.x=y g="] => "f= g=",
        "loss f: attribute \"system.nfs4_acl\" has no place in ext4",
        "loss g: attribute \"com.apple.x\" has no place in ext4";
    m08_attributes_that_only_archives_know_are_dropped:
        ["pax:SCHILY.fflags=nodump f= pax:RHT.other=x g= pax:SUN.x=y h="] => "f= g= h=",
        "loss f: attribute \"SCHILY.fflags\" of the archive cannot be represented",
        "loss g: attribute \"RHT.other\" of the archive cannot be represented",
        "loss h: attribute \"SUN.x\" of the archive cannot be represented";
    m17_an_acl_that_says_what_a_mode_says_is_the_mode:
        ["mode:4600 pax:SCHILY.acl.access=u::rwx,g::rx,o::x f="] => "f=[4751]";
    m17_an_acl_as_text_and_as_attribute_is_one:
        ["pax:SCHILY.acl.default=u::rwx,g::rx,u:joe:r,m::rx,o::- \
          x:system.posix_acl_default=%02%00%00%00%01%00%07%00{%ff*4}%04%00%05%00{%ff*4}%20%00%00%00{%ff*4} d/"]
        => "d/[system.posix_acl_default=\\x02\\x00\\x00\\x00\\x01\\x00\\x07\\x00{\\xff*4}\\x04\\x00\\x05\\x00{\\xff*4}%20\\x00\\x00\\x00{\\xff*4}]";
    m17_a_default_acl_as_text_stands_on_directories_only:
        ["pax:SCHILY.acl.default=u::rwx,g::rx,o::- h="] => "h=",
        "loss h: attribute \"system.posix_acl_default\" can only stand on a directory";
    m17_an_acl_of_unknown_names_is_lost_and_widens_nothing:
        ["mode:674 pax:SCHILY.acl.access=u::rw,u:joe:rwx,g::rx,m::rwx,o::r f=", "mode:664 \
          pax:SCHILY.acl.access=u::rw,g:staff:w,g::r,m::rw,o::r g="]
        => "f=[654] g=[640]",
        "loss f: its ACL names the user \"joe\", of whom neither the archive nor the image's \
         /etc/passwd has a number",
        "loss g: its ACL names the group \"staff\", of whom neither the archive nor the image's \
         /etc/group has a number";
    m17_text_that_is_no_acl_is_lost_and_widens_nothing:
        ["mode:674 pax:SCHILY.acl.access=u::rw,g:5:rx f="] => "f=[604]",
        "loss f: attribute \"SCHILY.acl.access\" of the archive is no POSIX ACL, so the mode gives \
         its group nothing: it lacks the entry of the owner, the group or others";
    m17_an_acl_of_nfs4_is_lost_and_widens_nothing:
        ["mode:666 pax:SCHILY.acl.ace=owner@:rw:-:allow,user:joe:-w-:-------:deny:5 f="]
        => "f=",
        "loss f: attribute \"SCHILY.acl.ace\" of the archive is an NFSv4 ACL, which ext4 does not \
         have";
    m18_a_label_of_its_own_record_is_the_attribute:
        ["pax:RHT.security.selinux=a:b:c:s0 f= pax:RHT.security.selinux=other \
          x:security.selinux=a:b:c:s1%00 g="]
        => "f=[security.selinux=a:b:c:s0\\x00] g=[security.selinux=a:b:c:s1\\x00]";
    m19_names_are_unescaped_as_gnu_tar_and_libarchive_escape_them:
        ["x:user.a%253Db%2525c%2541=1 f= pax:LIBARCHIVE.xattr.user.%2520=Mg x:user.%2520=2 g="]
        => "f=[user.a=b%25c%2541=1] g=[user.%20=2]";
    m20_device_numbers_that_have_no_room_stand_in_records:
        ["pax:SCHILY.devmajor=259 pax:SCHILY.devminor=1048575 b:1:2:a"] => "a:b:259:1048575";
    m09_attributes_of_libarchive_are_decoded:
        ["pax:LIBARCHIVE.xattr.user.%2561%2520b=AQo= pax:LIBARCHIVE.xattr.user.c=eHg \
          x:user.c=star f="] => "f=[user.c=star,user.a%20b=\\x01\\n]";
    m11_device_numbers_of_every_size_are_kept:
        ["c:4095:1048575:a b:259:300:b c:255:255:c p|"]
        => "a:c:4095:1048575 b:b:259:300 c:c:255:255 p|";
    m12_a_device_0_0_is_a_device: ["a=1", "c:0:0:a"] => "a:c:0:0",
        "warning a: a device 0:0 hides nothing in an image, it stays a device";
    m13_owners_have_32_bits: ["owner:65534:4294967294 a=1"] => "a=1[65534:4294967294]";
    m14_a_directory_keeps_its_time_whatever_comes_into_it:
        ["mtime:7 d/ mtime:0 d/a=1", "mtime:9 d/b=1 d/.wh.a"] => "d/[@7] d/b=1[@9]";
    m16_comments_and_charsets_mean_nothing:
        ["pax:comment=c pax:charset=ISO-IR%20%2010646%202000%20UTF-8 f=1"] => "f=1";
    m16_names_are_bytes_in_every_charset:
        ["pax:hdrcharset=BINARY pax:path=a%ff%fe f=1 pax:path=b%ff%fe g=2"]
        => "a\\xff\\xfe=1 b\\xff\\xfe=2";
}

failures! {
    m05_an_acl_that_is_none_is_refused: ["x:system.posix_acl_access=junk f="]
        => "not a POSIX ACL";
    m10_an_attribute_too_large_for_ext4_is_refused_by_name:
        ["x:user.big={v*5000} d/f="] => "\"d/f\" of layer 1";
    m10_attributes_too_many_for_the_reader_are_refused_by_name:
        ["x:user.big={v*65536} d/f="] => "\"d/f\" at byte";
    m11_a_device_beyond_the_kernels_range_is_refused: ["c:4096:0:a"] => "4096:0";
    m11_a_minor_beyond_the_kernels_range_is_refused: ["b:8:1048576:a"] => "8:1048576";
}

/// An ACL in the form of `getxattr`: the owner, the user 1000, the group, the mask and others.
fn acl() -> Vec<u8> {
    xattr::acl(&[(1, 6, NO_ID), (2, 4, 1000), (4, 4, NO_ID), (16, 4, NO_ID), (32, 0, NO_ID)])
}

#[test]
fn m05_acls_are_kept_as_programs_see_them() {
    let shown = acl().escape_ascii().to_string();
    let layer = Forge::new()
        .record("SCHILY.xattr.system.posix_acl_access", &acl())
        .record("SCHILY.xattr.system.posix_acl_default", &acl())
        .dir("d/");
    let expected = format!("d/[system.posix_acl_access={shown},system.posix_acl_default={shown}]");
    assert_eq!(flatten_all(vec![layer], 0).unwrap().tree, expected);
}

/// `u::rw,g::r,m::rw,o::-` and two named entries.
fn named(user: u32, group: u32) -> String {
    let acl = xattr::acl(&[
        (1, 6, NO_ID),
        (2, 4, user),
        (4, 4, NO_ID),
        (8, 2, group),
        (16, 6, NO_ID),
        (32, 0, NO_ID),
    ]);
    format!("system.posix_acl_access={}", acl.escape_ascii())
}

#[test]
fn m17_names_in_an_acl_are_those_of_the_image() {
    let acl = "pax:SCHILY.acl.access=u::rw,u:joe:r,g::r,g:staff:w,m::rw,o::-";
    let numbered = "pax:SCHILY.acl.access=u::rw,u:joe:r:7,g::r,g:staff:w:8,m::rw,o::-";
    let passwd = "etc/passwd=joe:x:70:1::%0ajoe:x:71:1::%0a etc/group=x%0astaff:x:50:joe";
    // The names may come behind their use, and in a later layer they may mean somebody else.
    let first = format!("mode:666 {acl} f= {numbered} g= mode:644 {passwd}");
    let second = format!("etc/passwd=joe:x:99:1 mode:666 {acl} a= {acl} l=>a {acl} gone=");
    let got = outcome(&[&first, &second, ".wh.gone"]);
    assert_eq!(got.remarks(), [""; 0]);
    for (node, user, group) in [("f=", 70, 50), ("g=", 7, 8), ("a=", 99, 50)] {
        let expected = format!("{node}[660,{}]", named(user, group));
        assert!(got.tree.contains(&expected), "{expected}: {}", got.tree);
    }
}

#[test]
fn m17_the_last_header_of_a_directory_is_what_its_acl_comes_from() {
    let acl = "pax:SCHILY.acl.access=u::rwx,u:joe:r,g::r,m::rwx,o::-";
    let got = outcome(&[&format!("{acl} mode:770 d/ mode:700 d/")]);
    assert_eq!((got.tree.as_str(), got.remarks().len()), ("d/[700]", 0));
}

#[test]
fn m15_source_date_epoch_is_the_latest_time_of_all() {
    let words = ["mtime:5 ./ a/b=1 mtime:100 a/c=2 l->t pax:atime=300 pax:ctime=300 d/ h=>a/c"];
    let latest = Some(Timestamp::from_seconds(50));
    let epoch = Timestamp::from_seconds(50);
    let options = FlattenOptions { epoch, latest, strict: true, ..FlattenOptions::default() };
    let mut builder = Builder::create(MemorySink::new(), fit()).unwrap();
    let mut flattener = Flattener::new(&mut builder, options.clone()).unwrap();
    let stream = open(0, layer(words[0]).finish(), &options.limits).unwrap();
    flattener.apply_layer(stream).unwrap();
    let directory = builder.lookup(builder.root(), b"d").unwrap();
    let metadata = builder.metadata(directory).unwrap();
    // What is the same as the mtime is not kept twice.
    let times = [Some(metadata.modified), metadata.accessed, metadata.changed];
    assert!(times.iter().all(|time| time.is_none_or(|time| Some(time) == latest)), "{times:?}");
    let got = flatten_with(layers(&words), options, |_| Ok(())).unwrap();
    assert_eq!(got.tree, "/[@5] a/[@50] a/b=1[@5] a/c=2[@50] d/[@50] h==a/c l->t[@50]");
}

#[test]
fn strict_makes_every_loss_an_error_and_no_warning() {
    let options = FlattenOptions { strict: true, ..FlattenOptions::default() };
    let mut losses = 0;
    let all = [ROWS, formats::ROWS, whiteouts::ROWS, paths::ROWS].concat();
    for row in all {
        let is_lossy = row.remarks.iter().any(|remark| remark.starts_with("loss "));
        let got = flatten_with(layers(row.layers), options.clone(), |_| Ok(()));
        match got {
            Ok(_) => assert!(!is_lossy, "{} loses something", row.name),
            Err(error) => {
                assert!(is_lossy, "{} loses nothing: {error}", row.name);
                assert_eq!(error.exit_code(), 65);
                assert!(
                    error.to_string().ends_with("without --strict it is left out and reported")
                );
                losses += 1;
            }
        }
    }
    assert!(losses > 10, "{losses}");
}
