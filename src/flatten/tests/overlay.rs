//! The rows that `--layer-semantics overlay` gives another end: paths through symbolic links that
//! only lower layers have. They end as containerd's applier and overlayfs end together.

use super::*;

fn overlaid(words: &[&str]) -> Outcome {
    let semantics = LayerSemantics::Overlay;
    let options = FlattenOptions { semantics, ..FlattenOptions::default() };
    flatten_with(layers(words), options, |_| Ok(()))
        .unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// Rows of overlay semantics: identifier, layers, tree.
const ROWS: &[(&str, &[&str], &str)] = &[
    (
        "P09",
        &["usr/ usr/lib/ usr/lib/a=1 lib->usr/lib", "lib/foo=2"],
        "lib/ lib/foo=2 usr/ usr/lib/ usr/lib/a=1",
    ),
    (
        "P09 attributes are those of the link's target",
        &["x:user.a=1 mode:700 owner:1:2 mtime:3 usr/ lib->/usr", "lib/foo=2"],
        "lib/[700,1:2,@3,user.a=1] lib/foo=2 usr/[700,1:2,@3,user.a=1]",
    ),
    (
        "P09 attributes through two links",
        &["mode:700 usr/ two->usr one->two", "one/foo=2"],
        "one/[700] one/foo=2 two->usr[700] usr/[700]",
    ),
    ("P08 a link of its own layer is followed", &["t/ l->t l/x=1"], "l->t t/ t/x=1"),
    (
        "P08 a link of its own layer leads to one of a lower layer",
        &["t/ low->t", "own->low own/x=1"],
        "low/ low/x=1 own->low t/",
    ),
    ("P10", &["l->gone", "l/x=1"], "l/ l/x=1"),
    ("W09", &["etc/ etc/x=1 local->etc", "local/.wh.x"], "etc/ etc/x=1 local/"),
    ("O08", &["d/ d/a=1 l->d", "l/.wh..wh..opq"], "d/ d/a=1 l/"),
    ("P08 the last part is never followed", &["t=1 l->t", "l->u"], "l->u t=1"),
    ("T05", &["t/ t/a=1 d->t", "d/ d/b=2"], "d/ d/b=2 t/ t/a=1"),
    ("W08", &["t=1 l->t", ".wh.l"], "t=1"),
    ("a third layer meets the directory", &["t/ l->t", "l/x=1", "l/y=2"], "l/ l/x=1 l/y=2 t/"),
];

#[test]
fn p09_p10_w09_o08_a_directory_hides_a_lower_link() {
    for (id, layers, expected) in ROWS {
        assert_eq!(overlaid(layers).tree, *expected, "{id}: {layers:?}");
    }
}

#[test]
fn p09_hidden_links_are_reported_once_for_a_layer() {
    let got = overlaid(&["t/ l->t m->t", "l/a=1 l/b=2 m/.wh.x", "l/c=3"]).flattened;
    let lines = got.hidden.items().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(lines, ["/l: by entries of layer 2", "/m: by entries of layer 2"]);
    assert_eq!(got.followed.total(), 0);
}

#[test]
fn g04_files_of_the_user_go_where_the_links_of_the_image_lead() {
    let semantics = LayerSemantics::Overlay;
    let options = FlattenOptions { semantics, ..FlattenOptions::default() };
    let got = flatten_with(layers(&["usr/ usr/bin/ bin->usr/bin"]), options, |flattener| {
        flattener.begin_addition("the added files")?;
        let bytes = layer("bin/agent=1").finish();
        let mut archive = Archive::new(&bytes[..], "the added files", &Limits::default());
        let entry = archive.next_entry()?.unwrap();
        flattener.apply(&entry, &mut archive.body())?;
        flattener.end_layer()
    });
    assert_eq!(got.unwrap().tree, "bin->usr/bin usr/ usr/bin/ usr/bin/agent=1");
}
