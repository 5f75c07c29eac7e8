//! Rows W and O: whiteouts and opaque directories.

use super::*;

rows! {
    w01_a_whiteout_hides_a_file: ["f=1 g=2", ".wh.f"] => "g=2";
    w02_a_whiteout_hides_a_tree: ["d/ d/a=1 d/e/ d/e/b=2 x=3", ".wh.d"] => "x=3";
    w03_a_directory_after_its_whiteout_is_new:
        ["mode:700 d/ d/old=1", ".wh.d d/ d/new=2"] => "d/ d/new=2";
    w04_a_directory_before_its_whiteout_is_new:
        ["mode:700 d/ d/old=1", "d/ d/new=2 .wh.d"] => "d/ d/new=2";
    w05_a_whiteout_after_a_file_of_its_layer_spares_it: ["f=1", "f=2 .wh.f"] => "f=2";
    w05_a_whiteout_before_a_file_of_its_layer_spares_it: ["f=1", ".wh.f f=2"] => "f=2";
    w05_a_whiteout_without_a_lower_file_spares_it: ["f=2 .wh.f"] => "f=2";
    w06_a_whiteout_of_nothing_does_nothing: ["f=1", ".wh.x"] => "f=1";
    w07_a_whiteout_below_nothing_makes_nothing: ["f=1", "a/b/.wh.x f/.wh.x"] => "f=1";
    w08_a_whiteout_of_a_link_spares_its_target: ["t=1 l->t", ".wh.l"] => "t=1";
    w09_the_parent_of_a_whiteout_is_resolved:
        ["etc/ etc/x=1 localetc->etc", "localetc/.wh.x"] => "etc/ localetc->etc";
    w10_a_directory_in_a_path_is_no_whiteout:
        ["etc/ etc/x=1", ".wh.etc/file=2"] => ".wh.etc/ .wh.etc/file=2 etc/ etc/x=1",
        "warning .wh.etc/file: a directory in its path is called like a whiteout, but is none";
    w13_a_file_in_the_link_store_of_aufs_is_left_out:
        [".wh..wh.plnk/1.2=data f=1"] => "f=1",
        "loss .wh..wh.plnk/1.2: it is bookkeeping of AUFS";
    w13_bookkeeping_of_aufs_is_left_out:
        [".wh..wh.aufs= .wh..wh.orph/ .wh..wh.orph/x=1 .wh..wh.plnk/ d/.wh..wh.plnk/1=x f=1"]
        => "f=1",
        "loss .wh..wh.aufs: it is bookkeeping of AUFS",
        "loss .wh..wh.orph/: it is bookkeeping of AUFS",
        "loss .wh..wh.orph/x: it is bookkeeping of AUFS",
        "loss .wh..wh.plnk/: it is bookkeeping of AUFS",
        "loss d/.wh..wh.plnk/1: it is bookkeeping of AUFS";
    w14_a_path_is_cleaned_before_its_last_part_is_read:
        ["etc/ etc/x=1 b=2", "dne/../.wh.etc"] => "b=2";
    w15_a_symbolic_link_can_be_a_whiteout: ["f=1 g=2", ".wh.f->g"] => "g=2";
    w15_a_hard_link_can_be_a_whiteout: ["f=1 g=2", ".wh.f=>g"] => "g=2";
    w15_a_directory_can_be_a_whiteout: ["f=1 g=2", ".wh.f/"] => "g=2";
    w15_a_device_can_be_a_whiteout: ["f=1 g=2", "c:0:0:.wh.f"] => "g=2";
    w15_a_pipe_can_be_a_whiteout: ["f=1 g=2", ".wh.f|"] => "g=2";
    w15_a_hard_link_can_be_opaque: ["d/ d/f=1 g=2", "d/.wh..wh..opq=>g"] => "d/ g=2";
    w16_the_contents_of_a_whiteout_are_skipped:
        ["f=1", ".wh.f={whatever*200} g=2"] => "g=2",
        "loss .wh.f: its 1600 bytes are left out: a name that begins with .wh. hides another";
    w17_a_whiteout_of_one_name_leaves_the_others: ["a=1 b=>a c=>a", ".wh.a"] => "b=1 c==b";
    w17_whiteouts_of_every_name_leave_nothing: ["a=1 b=>a d/c=>a", ".wh.a .wh.b .wh.d"] => "";
    w18_added_deleted_and_added_again_is_the_last: ["mode:600 f=1", ".wh.f", "f=2"] => "f=2";
    w19_a_whiteout_changes_nothing_of_its_directory:
        ["mtime:5 mode:700 owner:1:2 d/ d/x=1", "mtime:9 d/.wh.x"] => "d/[700,1:2,@5]";
    w20_a_whiteout_can_come_twice: ["f=1", ".wh.f .wh.f"] => "";
    w22_reserved_names_are_left_out:
        ["wh..foo=1", ".wh..wh.foo= d/.wh..wh.wh.x=2"] => "wh..foo=1",
        "loss .wh..wh.foo: it is bookkeeping of AUFS",
        "loss d/.wh..wh.wh.x: it is bookkeeping of AUFS";
    w23_a_file_cannot_be_called_like_a_whiteout:
        [".wh.x=wanted"] => "",
        "loss .wh.x: its 6 bytes are left out: a name that begins with .wh. hides another";
    w04_only_what_this_layer_touched_stays:
        ["d/ d/a/ d/a/x=1 d/b=2", "d/a/y=3 .wh.d"] => "d/ d/a/ d/a/y=3";

    o01_an_opaque_directory_begins_empty:
        ["d/ d/old=1 d/e/ d/e/f=2", "d/.wh..wh..opq d/new=3"] => "d/ d/new=3";
    o02_an_opaque_marker_can_come_last:
        ["d/ d/old=1 d/e/ d/e/f=2", "d/new=3 d/.wh..wh..opq"] => "d/ d/new=3";
    o02_an_opaque_marker_spares_the_same_name_of_its_layer:
        ["d/ d/f=1", "d/f=2 d/.wh..wh..opq"] => "d/ d/f=2";
    o03_an_opaque_marker_in_an_empty_directory: ["d/", "d/.wh..wh..opq"] => "d/";
    o03_an_opaque_marker_in_no_directory_makes_none: ["x=1", "d/.wh..wh..opq"] => "x=1";
    o04_parents_without_a_header_stay_as_they_are:
        [
            "mode:700 some/ some/dir/ some/dir/old=1 another/ another/b=2",
            "some/dir/f=3 .wh..wh..opq"
        ] => "some/[700] some/dir/[700] some/dir/f=3";
    o04_parents_without_a_header_stay_as_they_are_after_the_marker:
        [
            "mode:700 some/ some/dir/ some/dir/old=1 another/ another/b=2",
            ".wh..wh..opq some/dir/f=3"
        ] => "some/[700] some/dir/[700] some/dir/f=3";
    o05_an_opaque_root_keeps_its_attributes:
        ["mode:711 ./ mode:644 a=1 b=2", "a=3 .wh..wh..opq"] => "/[711] a=3";
    o06_opaque_directories_nest:
        ["d/ d/e/ d/e/f=1 d/g=2", "d/e/.wh..wh..opq d/.wh..wh..opq d/.wh..wh..opq"] => "d/";
    o06_a_nested_opaque_directory_with_new_names_stays:
        ["d/ d/e/ d/e/f=1 d/g=2", "d/e/ d/e/.wh..wh..opq d/e/h=3 d/.wh..wh..opq"]
        => "d/ d/e/ d/e/h=3";
    o07_whiteouts_in_an_opaque_directory_add_nothing:
        ["d/ d/a=1 d/b=2", "d/.wh.a d/.wh..wh..opq d/.wh.b d/b=3"] => "d/ d/b=3";
    o08_an_opaque_link_clears_its_target: ["d/ d/a=1 l->d", "l/.wh..wh..opq"] => "d/ l->d";
    o09_an_opaque_file_becomes_an_empty_directory: ["d=1", "d/.wh..wh..opq"] => "d/";
    o09_an_opaque_file_of_this_layer_stays: ["d=1", "d=2 d/.wh..wh..opq"] => "d=2";
    o10_an_opaque_directory_spares_names_elsewhere:
        ["d/ d/a=1 b=>d/a", "d/.wh..wh..opq"] => "b=1 d/";
}

failures! {
    w11_a_whiteout_of_no_name_is_refused: [".wh."] => "\".wh.\" of layer 1: \"\" is no name";
    w11_a_nested_whiteout_of_no_name_is_refused: ["d/ d/.wh."] => "\"\" is no name";
    w12_a_whiteout_of_the_root_is_refused: [".wh.."] => "\".\" is no name that it could hide";
    w12_a_whiteout_of_the_roots_parent_is_refused: [".wh..."] => "\"..\" is no name";
    w12_a_whiteout_of_its_directory_is_refused: ["d/.wh.."] => "\".\" is no name";
    w12_a_whiteout_of_its_directorys_parent_is_refused: ["d/.wh..."] => "\"..\" is no name";
    w13_a_link_into_the_link_store_of_aufs_is_refused:
        [".wh..wh.plnk/1.2=data a=>.wh..wh.plnk/1.2"]
        => "target \".wh..wh.plnk/1.2\": what AUFS keeps for itself is no file of an image";
    w13_a_link_to_other_bookkeeping_is_refused: ["a=>.wh..wh.orph/1"] => "no file of an image";
    w13_a_link_to_a_whiteout_is_refused: ["f=1 a=>.wh.f"] => "no file of an image";
}

#[test]
fn w21_layers_that_are_decompressed_at_once_are_applied_one_after_the_other() {
    let rows = ROWS.iter().filter(|row| row.layers.len() > 1);
    for row in rows {
        let limits = Limits::default();
        let opened = layers(row.layers).into_iter().enumerate().map(|(index, layer)| {
            // The thread of each runs from here on; the last one is opened first.
            (index, open(index, layer.finish(), &limits).unwrap())
        });
        let mut opened = opened.rev().collect::<Vec<_>>();
        let mut builder = Builder::create(MemorySink::new(), fit()).unwrap();
        let mut flattener = Flattener::new(&mut builder, FlattenOptions::default()).unwrap();
        while let Some((_, stream)) = opened.pop() {
            flattener.apply_layer(stream).unwrap();
        }
        flattener.finish().unwrap();
        let words = Dump::new(&builder).words();
        let (_, sink) = builder.finish().unwrap();
        let image = ext4_view::Ext4::load(Box::new(sink.into_bytes())).unwrap();
        let words = words.into_iter().map(|word| word.with_content(&image));
        assert_eq!(words.collect::<Vec<_>>().join(" "), row.tree, "{}", row.name);
    }
}

#[test]
fn o11_a_directory_is_cleared_once_in_a_layer() {
    // Clearing it for every marker would look at 400 million names, which takes minutes.
    const NAMES: usize = 20_000;
    let names = (0..NAMES).fold(layer("d/"), |forge, index| forge.dir(format!("d/{index}")));
    let upper = (0..NAMES).fold(names, |forge, _| forge.file("d/.wh..wh..opq", ""));
    let got = flatten_all(vec![layer("d/ d/old=1"), upper], 0).unwrap();
    assert_eq!(got.flattened.counts.removed_names, 1);
}

#[test]
fn o11_nested_opaque_directories_are_each_cleared() {
    const DEPTH: usize = 1000;
    let path = |depth: usize, name: &str| format!("{}{name}", "d/".repeat(depth));
    let lower =
        (1..=DEPTH).fold(Forge::new(), |forge, depth| forge.symlink(path(depth, "old"), "x"));
    let mut orders = Vec::new();
    for outwards in [false, true] {
        let mut upper = Forge::new();
        for step in 1..=DEPTH {
            let depth = if outwards { DEPTH + 1 - step } else { step };
            upper = upper.symlink(path(depth, "new"), "y").file(path(depth, ".wh..wh..opq"), "");
        }
        orders.push(flatten_all(vec![lower.clone(), upper], 0).unwrap().tree);
    }
    assert!(orders.iter().all(|tree| !tree.contains("old")));
    assert_eq!(orders[0], orders[1]);
}
