//! Rows P: paths, and the symbolic links in them.

use super::*;

rows! {
    p01_paths_come_to_one_form:
        ["./a=1 /b=2 c//d=3 e/./f=4 ././/g=5"] => "a=1 b=2 c/ c/d=3 e/ e/f=4 g=5";
    p02_the_roots_entry_sets_the_roots_attributes:
        ["x:user.a=1 mode:711 owner:3:4 mtime:5 ./"] => "/[711,3:4,@5,user.a=1]";
    p02_the_root_can_be_written_in_three_ways: ["mode:711 ./", "mode:751 /", "type:5:."] => "";
    p02_attributes_of_the_root_are_replaced: ["x:user.a=1 mode:711 ./", "mode:751 /"]
        => "/[751]";
    p02_a_root_that_users_cannot_enter_is_warned_of: ["mode:750 ./"] => "/[750]",
        "warning ./: the root has mode 0750: no program of a user can start";
    p05_names_may_begin_and_end_with_dots: ["..foo=1 foo..=2 ...=3"] => "...=3 ..foo=1 foo..=2";
    p06_parents_that_are_there_keep_their_attributes:
        ["mode:700 owner:1:2 mtime:3 a/", "a/b/c=1"] => "a/[700,1:2,@3] a/b/ a/b/c=1";
    p07_a_directory_after_what_is_in_it_gets_its_attributes:
        ["d/f=1 mode:700 mtime:7 d/"] => "d/[700,@7] d/f=1";
    p08_an_absolute_link_stays_in_the_image:
        ["tmp/ link->/tmp link/escape=1"] => "link->/tmp tmp/ tmp/escape=1";
    p08_a_link_up_and_out_ends_at_the_root:
        ["a/ a/link->../../../tmp a/link/x=1"] => "a/ a/link->../../../tmp tmp/ tmp/x=1";
    p08_a_link_leads_to_a_link:
        ["one->two two->three/four one/x=1"]
        => "one->two three/ three/four/ three/four/x=1 two->three/four";
    p08_the_last_part_is_never_followed: ["t=1 l->t", "mode:600 l->u"] => "l->u[600] t=1";
    p08_a_missing_target_of_an_absolute_link_is_made:
        ["var/ var/run->/run var/run/x=1"] => "run/ run/x=1 var/ var/run->/run";
    p09_a_link_of_a_lower_layer_is_followed:
        ["usr/ usr/lib/ lib->usr/lib", "lib/foo=1"] => "lib->usr/lib usr/ usr/lib/ usr/lib/foo=1";
    p09_a_directory_of_its_own_header_replaces_it:
        ["usr/ usr/lib/ lib->usr/lib", "lib/ lib/foo=1"] => "lib/ lib/foo=1 usr/ usr/lib/";
    p10_the_target_of_a_dangling_link_is_made:
        ["run->dangling/deep", "run/x=1"]
        => "dangling/ dangling/deep/ dangling/deep/x=1 run->dangling/deep";
    p10_a_link_to_a_file_makes_it_a_directory: ["l->f f=1", "l/x=2"] => "f/ f/x=2 l->f";
    p12_dots_are_resolved_before_links:
        ["usr/ usr/etc/ etc->usr/etc etc/../b=1"] => "b=1 etc->usr/etc usr/ usr/etc/";
    p13_targets_are_kept_as_they_are:
        ["a->/abs/./x b->../../.. c->{t*59} d->{t*60} e->{t*4095} f->%ff%0a g->."]
        => "a->/abs/./x b->../../.. c->{t*59} d->{t*60} e->{t*4095} f->\\xff\\n g->.";
    p14_a_name_of_255_bytes_is_kept: ["{n*255}=1 {d*255}/x=2"] => "{d*255}/ {d*255}/x=2 {n*255}=1";
    p15_names_are_bytes:
        ["%ff%fe/ new%0aline/ %20lead/ back\\slash/ a:b/ %7f/"]
        => "%20lead/ a:b/ back\\\\slash/ new\\nline/ \\x7f/ \\xff\\xfe/";
    p17_names_that_only_look_alike_are_two:
        ["a=1 A=2 e%cc%81=3 %c3%a9=4"] => "A=2 a=1 e\\xcc\\x81=3 \\xc3\\xa9=4";
    p18_lost_and_found_is_the_filesystems_own:
        ["mode:750 lost+found/ lost+found/x=1"] => "lost+found/[750] lost+found/x=1[750]";
    p18_lost_and_found_cannot_be_hidden:
        ["lost+found/x=1", ".wh..wh..opq", "a=1", ".wh.lost+found"] => "a=1";
}

failures! {
    p03_a_root_that_is_a_file_is_refused: [".=x"] => "the root must be a directory, not a file";
    p03_a_root_that_is_a_link_is_refused: ["./->x"] => "must be a directory, not a symbolic link";
    p03_a_root_that_is_a_hard_link_is_refused: ["a=1 .=>a"] => "a directory, not a hard link";
    p04_a_path_out_of_the_root_is_refused: ["../x=1"] => "\"../x\" of layer 1: it leads out of";
    p04_an_inner_path_out_of_the_root_is_refused: ["a/../../x=1"] => "leads out of the root";
    p04_an_absolute_path_out_of_the_root_is_refused: ["/../x=1"] => "leads out of the root";
    p04_the_roots_parent_is_refused: ["../"] => "leads out of the root";
    p04_a_whiteout_out_of_the_root_is_refused: ["../.wh.x"] => "leads out of the root";
    p11_a_loop_of_links_is_refused: ["a->b b->a a/x=1"] => "more than 40 symbolic links lead to it";
    p11_a_link_to_itself_is_refused: ["a->a", "a/.wh.x"] => "more than 40 symbolic links lead";
    p13_an_empty_target_is_refused: ["l->"] => "\"l\" at byte 0: a symbolic link without a target";
    p13_a_target_of_4096_bytes_is_refused: ["l->{t*4096}"] => "target has 4096 bytes, at most 4095";
    p13_a_target_with_a_nul_is_refused: ["pax:linkpath=a%00b l->x"] => "NUL";
    p14_a_name_of_256_bytes_is_refused: ["{n*256}=1"] => "a part has 256 bytes, at most 255";
    p14_a_directory_of_256_bytes_is_refused: ["d/{n*256}/x=1"] => "a part has 256 bytes";
    p14_a_path_of_4097_bytes_is_refused: ["{d/*2048}f=1"] => "path has 4097 bytes, at most 4096";
    p16_a_nul_in_a_path_is_refused: ["pax:path=a%00b x=1"] => "NUL";
    p16_a_nul_in_a_hard_links_target_is_refused: ["pax:linkpath=a%00b x=>a"] => "NUL";
    p18_lost_and_found_must_be_a_directory: ["lost+found=1"] => "belongs to the filesystem";
}

#[test]
fn p06_missing_parents_are_roots_and_of_the_epoch() {
    let made = flatten_all(vec![layer("mode:600 owner:1:2 mtime:9 a/b/c=1")], 1234).unwrap();
    assert_eq!(made.tree, "a/[@1234] a/b/[@1234] a/b/c=1[600,1:2,@9]");
    let counts = made.flattened.counts;
    assert_eq!((counts.implied_directories, counts.directories, counts.files), (2, 0, 1));
}

#[test]
fn p09_links_of_lower_layers_are_reported_once_for_a_layer() {
    let lower = "usr/ usr/lib/ lib->usr/lib new->usr";
    let got = outcome(&[lower, "lib/a=1 lib/b=2 x/c=3 lib/d=4 own->usr own/e=5", "lib/f=6"]);
    let followed = got.flattened.followed;
    let lines = followed.items().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(lines, ["/lib: by entries of layer 2", "/lib: by entries of layer 3"]);
    assert_eq!(got.flattened.hidden.total(), 0);
}

#[test]
fn p14_a_path_of_4096_bytes_is_kept() {
    let path = format!("{}x", "d/".repeat(2047));
    let padded = format!("./{path}");
    assert_eq!((path.len(), padded.len()), (4095, 4097));
    let path = format!("/{path}");
    let got = flatten_all(vec![Forge::new().symlink(&path, "t")], 0).unwrap();
    assert!(got.tree.ends_with(&format!("d/ {}->t", &path[1..])), "the path is not there");
    assert_eq!(got.flattened.counts.implied_directories, 2047);
}
