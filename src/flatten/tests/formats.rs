//! Rows F: headers and records of every kind. What the reader alone decides is tested beside it,
//! in `layer::archive`, `layer::header` and `layer::pax`.

use super::*;

rows! {
    f01_a_v7_header_is_read: ["at:257:{%00*243} owner:3:4 mtime:5 f=1"] => "f=1[3:4,@5]";
    f01_a_ustar_header_is_read: ["at:257:ustar%0000{%00*80} owner:3:4 f=1"] => "f=1[3:4]";
    f01_a_star_header_is_read:
        ["at:257:ustar%0000 at:508:tar%00 at:476:00000000007%20 at:488:00000000010%20 f=1"]
        => "f=1";
    f02_the_prefix_of_a_ustar_header_is_joined:
        ["at:257:ustar%0000{%00*235} at:345:usr/lib f=1"] => "usr/ usr/lib/ usr/lib/f=1";
    f03_a_long_name_is_read: ["long:{n*200} short=1"] => "{n*200}=1";
    f03_a_long_target_is_read: ["longlink:{t*200} l->short"] => "l->{t*200}";
    f03_a_pax_name_counts_over_a_long_name:
        ["long:gnu pax:path=pax short=1", "longlink:gnu pax:linkpath=pax l->short"]
        => "l->pax pax=1";
    f04_a_newline_in_a_record_injects_nothing:
        ["x:user.a=x%0a22%20linkpath=/etc/evil%0a pax:path=real short=1"]
        => "real=1[user.a=x\\n22 linkpath=/etc/evil\\n]";
    f05_the_size_of_a_record_counts: ["size:0 pax:size=600 f={x*600} g=1"] => "f={x*600} g=1";
    f05_the_size_of_a_record_is_not_that_of_a_long_name:
        ["size:9999 pax:size=3 f=abc g=1", "pax:size=3 long:h h=abc"] => "f=abc g=1 h=abc";
    f07_binary_numbers_are_read:
        ["at:108:%80{%00*3}%ff%ff%ff%fe at:116:%80{%00*4}%03%00%00 mtime:-12345 d/"]
        => "d/[4294967294:196608,@-12345]";
    f08_ids_of_records_count:
        ["owner:1:2 pax:uid=4294967294 pax:gid=2097152 pax:uname=x pax:gname=y f=1"]
        => "f=1[4294967294:2097152]";
    f09_times_of_records_keep_nanoseconds_and_sign:
        ["pax:mtime=1.25 a/ pax:mtime=-1.25 b/ pax:mtime=15032385535.999999999 c/"]
        => "a/[@1+250000000ns] b/[@-2+750000000ns] c/[@15032385535+999999999ns]";
    f09_times_that_ext4_cannot_hold_are_moved_and_reported:
        ["pax:mtime=15032385536 a/ pax:mtime=-2147483649 b/ pax:atime=99999999999 c/ \
          pax:mtime=10737418240 d/"]
        => "a/[@15032385535+999999999ns] b/[@-2147483648] c/ d/[@10737418239+999999999ns]",
        "loss a/: its mtime of 15032385536 seconds is none that ext4 keeps: 15032385535 is kept",
        "loss b/: its mtime of -2147483649 seconds is none that ext4 keeps: -2147483648 is kept",
        "loss c/: its atime of 99999999999 seconds is none that ext4 keeps: 15032385535 is kept",
        "loss d/: its mtime of 10737418240 seconds is none that ext4 keeps: 10737418239 is kept";
    f10_a_global_header_is_no_file_but_a_default:
        ["global:comment=c0ffee a=1 global:uid=5 b=2 pax:uid=6 c=3", "d=4"]
        => "a=1 b=2[5:0] c=3[6:0] d=4";
    f11_of_two_extended_headers_the_last_counts:
        ["type:x:x=12%20path=one%0a pax:path=two f=1"] => "two=1";
    f11_a_long_name_does_not_end_a_pax_header: ["type:x:x=8%20uid=5%0a long:n f=1"] => "n=1[5:0]";
    f13_a_sparse_file_of_format_0_0_is_expanded:
        ["pax:GNU.sparse.size=10 pax:GNU.sparse.numblocks=2 pax:GNU.sparse.offset=1 \
          pax:GNU.sparse.numbytes=2 pax:GNU.sparse.offset=6 pax:GNU.sparse.numbytes=3 f=abcde"]
        => "f=\\x00ab\\x00\\x00\\x00cde\\x00";
    f13_a_sparse_file_of_format_0_1_is_expanded:
        ["pax:GNU.sparse.major=0 pax:GNU.sparse.minor=1 pax:GNU.sparse.name=real \
          pax:GNU.sparse.size=10 pax:GNU.sparse.numblocks=2 pax:GNU.sparse.map=1,2,6,3 GNUSparseFile.0/f=abcde"]
        => "real=\\x00ab\\x00\\x00\\x00cde\\x00";
    f13_a_sparse_file_of_format_1_0_is_expanded:
        ["pax:GNU.sparse.major=1 pax:GNU.sparse.minor=0 pax:GNU.sparse.name=real \
          pax:GNU.sparse.realsize=10 f=2%0a1%0a2%0a6%0a3%0a{%00*502}abcde g=1"]
        => "g=1 real=\\x00ab\\x00\\x00\\x00cde\\x00";
    f13_an_old_sparse_file_is_expanded:
        ["at:386:00000000001%0000000000002%00 at:410:00000000006%0000000000003%00 \
          at:483:00000000012%00 type:S:f=abcde g=1"]
        => "f=\\x00ab\\x00\\x00\\x00cde\\x00 g=1";
    f13_a_sparse_file_of_nothing_but_a_hole:
        ["pax:GNU.sparse.size=6 pax:GNU.sparse.numblocks=1 pax:GNU.sparse.map=6,0 f="] => "f=\\x00\\x00\\x00\\x00\\x00\\x00";
    f14_a_contiguous_file_is_a_file: ["type:7:f=1"] => "f=1";
    f15_a_socket_is_made: ["type:s:run/s f=1"] => "f=1 run/ run/s:socket";
    f15_a_socket_replaces_what_is_below: ["s=old d/x=1", "type:s:s type:s:d"] => "d:socket s:socket";
    f17_an_archive_without_an_end: ["a=1 b=2 cut:0"] => "a=1 b=2";
    f17_an_archive_that_ends_in_padding: ["a=1 b={x*700} cut:300"] => "a=1 b={x*700}";
    f17_an_archive_with_one_zero_block: ["a=1 bare:{%00*512} cut:0"] => "a=1";
    f17_what_follows_the_end_is_ignored_but_hashed: ["a=1 bare:{%00*1024} bare:rubbish b=2"]
        => "a=1";
    f19_an_empty_layer: ["cut:0", "", "a=1", "bare:{%00*1024} cut:0"] => "a=1";
    f20_a_nul_is_an_old_file: ["type:%00:f=1"] => "f=1";
}

failures! {
    f06_a_negative_size_is_refused: ["at:124:{%ff*12} f=1"] => "size is -1";
    f06_a_size_that_is_no_number_is_refused: ["at:124:0000000000x f=1"] => "is not a number";
    f06_a_size_beyond_64_bits_is_refused: ["pax:size=99999999999999999999 f=1"] => "\"size\"";
    f06_a_file_larger_than_ext4_holds_is_refused: ["pax:size=17592186040321 f=1"]
        => "\"f\" of layer 1";
    f08_ids_beyond_32_bits_are_refused: ["pax:uid=4294967296 f=1"] => "\"uid\"";
    f08_binary_ids_beyond_32_bits_are_refused: ["at:116:%80%00%00%01{%00*4} f=1"]
        => "gid is 4294967296";
    f10_a_global_name_is_refused: ["global:path=x f=1"] => "stands in a global header";
    f10_a_global_size_is_refused: ["global:size=9 f=1"] => "stands in a global header";
    f11_a_malformed_header_is_refused_though_another_follows:
        ["type:x:x=9%20uid=5%0a pax:path=two f=1"] => "malformed record";
    f12_a_header_of_more_than_a_mebibyte_is_refused: ["pax:comment={c*1048577} f=1"]
        => "1048594 bytes, at most 1048576 are read; raise --limit header";
    f13_a_sparse_map_that_overlaps_is_refused:
        ["pax:GNU.sparse.size=20 pax:GNU.sparse.map=5,3,6,2 f=abcde"] => "overlaps";
    f13_a_sparse_map_of_another_length_is_refused:
        ["pax:GNU.sparse.size=9 pax:GNU.sparse.numblocks=2 pax:GNU.sparse.map=1,2 f=ab"]
        => "its sparse map has 1 segments, its records say 2";
    f13_a_sparse_map_of_too_many_segments_is_refused:
        ["pax:GNU.sparse.size=20 pax:GNU.sparse.map={0,0,*10001}0,0 f="]
        => "more than 10000 segments; raise --limit sparse";
    f14_a_directory_with_its_list_is_refused: ["type:D:d=Yf%00%00"] => "entries of type 'D'";
    f14_a_volumes_name_is_refused: ["type:V:volume"] => "entries of type 'V'";
    f14_a_part_of_a_file_is_refused: ["type:M:f=1"] => "entries of type 'M'";
    f14_an_old_long_name_is_refused: ["type:N:f=1"] => "entries of type 'N'";
    f14_an_unknown_type_is_refused: ["type:z:f=1"] => "entries of type 'z'";
    f16_a_wrong_checksum_is_refused: ["badsum f=1"] => "its checksum is";
    f17_a_zero_block_among_entries_is_refused: ["a=1 bare:{%00*512} b=2"] => "one zero block";
    f18_an_archive_cut_in_a_header_is_refused: ["a=1 b=2 cut:900"] => "ends after 124 of 512";
    f18_an_archive_cut_in_contents_is_refused: ["a=1 b={x*700} cut:400"]
        => "ends inside its contents, 76 bytes early";
    f18_an_archive_cut_after_an_extended_header_is_refused:
        ["a=1 type:x:x=8%20uid=5%0a cut:0"] => "ends after an extended header";
}

#[test]
fn f19_an_empty_layer_can_be_compressed() {
    use std::io::Write as _;
    for bytes in [vec![], vec![0; 1024], vec![0; 10_240]] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        let gzip = encoder.finish().unwrap();
        let zstd = zstd::encode_all(&bytes[..], 1).unwrap();
        for blob in [gzip, zstd] {
            let mut builder = Builder::create(MemorySink::new(), fit()).unwrap();
            let mut flattener = Flattener::new(&mut builder, FlattenOptions::default()).unwrap();
            let reader = io::Cursor::new(blob);
            let name = "layer 1".to_owned();
            let diff_id = Some(crate::digest::Digest::sha256_of(&bytes));
            let blob = LayerBlob { name, reader, verified: None, diff_id };
            let stream = LayerStream::open(blob, &Limits::default()).unwrap();
            let totals = flattener.apply_layer(stream).unwrap();
            assert_eq!(totals.uncompressed, u64::try_from(bytes.len()).unwrap());
        }
    }
}

#[test]
fn f16_a_signed_checksum_is_accepted() {
    // Each of these bytes is 256 less to those who sum signed ones.
    let right = Forge::new().symlink([0xe4; 9], "t").finish();
    let sum = tar::Header::from_byte_slice(&right[..512]).cksum().unwrap();
    let text = format!("{:06o}\0 ", sum - 9 * 256);
    let layer = Forge::new().bare(&right[..148]).bare(text.as_bytes()).bare(&right[156..512]);
    assert_eq!(
        flatten_all(vec![layer], 0).unwrap().tree,
        r"\xe4\xe4\xe4\xe4\xe4\xe4\xe4\xe4\xe4->t"
    );
}
