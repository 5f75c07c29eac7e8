//! Rows T: what an entry does to what stands at its name.

use super::*;

rows! {
    t01_a_directory_over_a_directory_replaces_attributes_and_keeps_names:
        ["x:user.a=1 x:user.b=2 mode:700 owner:1:2 mtime:3 d/ d/f=4", "x:user.c=5 d/"]
        => "d/[user.c=5] d/f=4[700,1:2,@3]";
    t02_a_file_over_a_lower_directory_removes_it: ["d/ d/a=1", "d=2"] => "d=2";
    t02_a_file_over_a_directory_of_its_layer_removes_it: ["d/ d/a=1 d=2"] => "d=2";
    t03_a_directory_over_a_file: ["d=1", "d/"] => "d/";
    t03_a_directory_over_a_file_of_its_layer: ["d=1 d/"] => "d/";
    t03_an_entry_below_a_file_makes_it_a_directory: ["d=1", "d/f=2"] => "d/ d/f=2";
    t03_an_entry_below_a_file_of_its_layer_makes_it_a_directory: ["d=1 d/f=2"] => "d/ d/f=2";
    t03_an_entry_below_a_device_makes_it_a_directory: ["c:1:3:d", "d/f=2"] => "d/ d/f=2";
    t04_a_link_over_a_directory_removes_it: ["d/ d/a=1 e/", "d->e"] => "d->e e/";
    t05_a_directory_over_a_link_replaces_it:
        ["t/ t/a=1 d->t", "d/ d/b=2"] => "d/ d/b=2 t/ t/a=1";
    t06_a_directory_over_a_link_spares_its_other_name: ["t/ d->t other=>d", "d/"]
        => "d/ other->t t/";
    t07_a_file_over_a_link_spares_its_target: ["t=1 f->t", "f=2"] => "f=2 t=1";
    t08_of_two_files_in_a_layer_the_last_counts: ["f=1 f=longer", "g=longer g=1"]
        => "f=longer g=1";
    t08_of_two_files_in_one_layer_the_last_attributes_count:
        ["x:user.a=1 mode:600 owner:1:2 f=1 mode:644 owner:0:0 f=2"] => "f=2";
    t09_a_file_over_one_of_two_names_leaves_the_other: ["a=1 b=>a", "b=2"] => "a=1 b=2";
    t10_devices_pipes_and_files_replace_one_another:
        ["c:1:3:a b=2 p|", "a=1 b| b:8:0:p"] => "a=1 b| p:b:8:0";
    t11_a_slash_makes_a_regular_entry_a_directory: ["mode:755 type:0:d/ type:%00:e/"] => "d/ e/";
    t11_a_slash_of_a_pax_path_makes_a_directory:
        ["mode:755 pax:path=a/long/d/ type:0:short mode:644 f=1"] => "a/ a/long/ a/long/d/ f=1";
    t11_the_contents_of_a_slashed_file_are_skipped: ["mode:755 type:0:d/=junk mode:644 f=1"] => "d/ f=1";
    t11_an_old_slashed_entry_has_no_contents: ["mode:755 size:700 type:%00:d/ mode:644 f=1"] => "d/ f=1";
    t12_a_slash_after_a_links_name_is_dropped: ["l/->etc/"] => "l->etc/";
    t12_a_slash_after_other_names_is_dropped: ["p/| a=1 h/=>a"] => "a=1 h==a p|";
}
