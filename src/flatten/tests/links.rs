//! Rows H: hard links.

use super::*;

rows! {
    h01_a_link_is_another_name_and_its_header_counts:
        ["a=1 mode:600 owner:7:8 b=>a"] => "a=1[600,7:8] b==a";
    h01_attributes_that_a_link_leaves_out_stay:
        ["x:user.a=1 a=1 mode:600 b=>a"] => "a=1[600,user.a=1] b==a";
    h01_a_link_to_a_symbolic_link_keeps_its_mode:
        ["l->t mode:600 owner:1:2 m=>l"] => "l->t[1:2] m==l";
    h02_a_target_can_come_later: ["a=>b b=1"] => "a=1 b==a";
    h02_a_target_can_be_a_link_that_waits: ["a=>b b=>c c=>d d=1"] => "a=1 b==a c==a d==a";
    h02_a_waiting_link_yields_to_a_file: ["a=>b a=2 b=1"] => "a=2 b=1";
    h02_a_waiting_link_yields_to_a_later_link: ["a=>b a=>c b=1 c=2"] => "a=2 b=1 c==a";
    h02_a_waiting_link_goes_with_its_directory: ["d/ d/a=>b d=2 b=1"] => "b=1 d=2";
    h02_a_waiting_link_yields_to_a_directory: ["a=>b a/c=2 b=1"] => "a/ a/c=2 b=1";
    h02_a_waiting_link_hides_the_lower_file: ["a=1", "a=>b b=2"] => "a=2 b==a";
    h02_a_waiting_link_survives_whiteouts_of_its_layer:
        ["d/ d/x=1", "d/a=>b d/.wh..wh..opq .wh.d b=2"] => "b=2 d/ d/a==b";
    h03_a_target_can_be_of_a_lower_layer: ["a=1", "b=>a"] => "a=1 b==a";
    h04_the_path_of_a_target_is_resolved:
        ["usr/ usr/lib/ usr/lib/a=1 lib->/usr/lib", "b=>lib/a"]
        => "b=1 lib->/usr/lib usr/ usr/lib/ usr/lib/a==b";
    h05_a_link_to_a_symbolic_link_is_its_other_name: ["t=1 l->t m=>l"] => "l->t m==l t=1";
    h05_a_symbolic_link_that_dangles_can_be_linked_to: ["l->t m=>l t=1"] => "l->t m==l t=1";
    h06_an_absolute_target_is_of_the_image: ["d/ d/a=1 b=>/d/a"] => "b=1 d/ d/a==b";
    h09_a_target_that_was_hidden_before: ["a=1", ".wh.a b=>a"] => "b=1";
    h09_a_target_that_is_hidden_later: ["a=1", "b=>a .wh.a"] => "b=1";
    h09_a_target_in_a_hidden_directory:
        ["d/ d/e/ d/e/a=1", ".wh.d b=>d/e/a d/x=2"] => "b=1 d/ d/x=2";
    h09_a_target_in_a_directory_that_was_hidden_and_made:
        ["d/ d/e/ d/e/a=1", ".wh.d d/e/x=2 b=>d/e/a"] => "b=1 d/ d/e/ d/e/x=2";
    h09_a_target_in_an_opaque_directory: ["d/ d/a=1", "d/.wh..wh..opq b=>d/a"] => "b=1 d/";
    h09_a_target_through_a_hidden_link:
        ["d/ d/a=1 l->d", ".wh.l b=>l/a"] => "b=1 d/ d/a==b";
    h09_a_new_target_comes_before_a_hidden_one: ["a=1", ".wh.a a=2 b=>a"] => "a=2 b==a";
    h11_a_link_over_a_directory_removes_it: ["a=1 d/ d/x=2", "d=>a"] => "a=1 d==a";
    h11_a_link_over_a_file_replaces_it: ["a=1 b=2 c=>b", "b=>a"] => "a=1 b==a c=2";
    h12_a_link_to_itself_loses_nothing: ["a=1 a=>a", "mode:600 a=>a .wh.a"] => "a=1[600]";
    h13_missing_parents_of_a_link_are_made: ["a=1 d/e/b=>a"] => "a=1 d/ d/e/ d/e/b==a";
    h14_the_size_of_a_link_means_nothing: ["a=1 size:700 b=>a c=2"] => "a=1 b==a c=2";
    h16_a_link_keeps_what_its_target_was: ["a=1", "b=>a", "a=2"] => "a=2 b=1";
}

failures! {
    h07_a_target_out_of_the_root_is_refused:
        ["a=1 b=>../../a"] => "its target \"../../a\": it leads out of the root";
    h08_a_missing_target_is_refused_with_both_names:
        ["d/b=>some/a"] => "\"d/b\" of layer 1: its target \"some/a\" is missing";
    h08_a_missing_end_of_a_chain_is_refused: ["a=>b b=>c"] => "its target \"c\" is missing";
    h08_a_circle_of_links_is_refused: ["a=>b b=>a"] => "is missing";
    h08_a_target_that_an_earlier_layer_hid_is_missing: ["a=1", ".wh.a", "b=>a"]
        => "\"b\" of layer 3";
    h10_a_target_that_is_a_directory_is_refused: ["d/ a=>d"] => "\"d\" is a directory";
    h10_a_target_that_is_the_root_is_refused: ["a=>/"] => "a directory has one name only";
    h11_a_link_over_the_way_to_its_target_is_refused: ["d/ d/e/ d/e/a=1 d=>d/e/a"]
        => "\"d/e/a\" is below it";
    h12_a_link_to_itself_alone_is_refused: ["a=>a"] => "its target \"a\" is missing";
}

#[test]
fn h15_too_many_links_are_refused_by_name() {
    let layer =
        (0..65_000).fold(layer("f=1"), |forge, index| forge.hard_link(index.to_string(), "f"));
    let error = flatten_all(vec![layer], 0).unwrap_err();
    assert_eq!(error.exit_code(), 65);
    assert!(error.to_string().contains("\"64999\""), "{error}");
}

#[test]
fn h15_65000_links_are_possible() {
    let layer =
        (1..65_000).fold(layer("f=1"), |forge, index| forge.hard_link(index.to_string(), "f"));
    let got = flatten_all(vec![layer], 0).unwrap();
    assert_eq!(got.flattened.counts.hard_links, 64_999);
}
