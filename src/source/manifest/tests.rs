//! Which documents are taken, and which are refused.

use serde_json::{Value, json};

use super::descriptor::MAX_URLS;
use super::lists::MAX_LIST;
use super::media_types::{
    CONFIG_TYPES, DOCKER_INDEX, DOCKER_MANIFEST, LAYER_TYPES, OCI_INDEX, OCI_MANIFEST,
};
use super::*;
use crate::error::Result;
use crate::source::limits::flag;
use crate::source::{Limits, Platform};

fn digest(number: usize) -> String {
    format!("sha256:{number:064x}")
}

fn layer(number: usize) -> Value {
    json!({"mediaType": LAYER_TYPES[1], "digest": digest(number), "size": number})
}

fn manifest() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": CONFIG_TYPES[0], "digest": digest(9), "size": 2},
        "layers": [layer(1), layer(2)],
    })
}

fn index() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            {"mediaType": OCI_MANIFEST, "digest": digest(1), "size": 7,
             "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
            {"mediaType": OCI_MANIFEST, "digest": digest(2), "size": 7},
        ],
    })
}

fn parse(document: &Value, content_type: Option<&str>) -> Result<Document> {
    Document::parse(document.to_string().as_bytes(), content_type, &Limits::default())
}

fn refusal(document: &Value, content_type: Option<&str>) -> String {
    let error = parse(document, content_type).unwrap_err();
    assert_eq!(error.exit_code(), 65);
    error.to_string()
}

#[track_caller]
fn changed(mut document: Value, pointer: &str, value: Value) -> Value {
    *document.pointer_mut(pointer).unwrap() = value;
    document
}

#[test]
fn manifests_and_indexes_are_told_apart() {
    for content_type in [None, Some(OCI_MANIFEST), Some("application/json; charset=utf-8")] {
        let Document::Manifest(parsed) = parse(&manifest(), content_type).unwrap() else {
            panic!("an index?")
        };
        assert_eq!(parsed.layers.len(), 2);
        assert_eq!(parsed.layers[1].size, 2);
    }
    let Document::Index(parsed) = parse(&index(), Some(OCI_INDEX)).unwrap() else {
        panic!("a manifest?")
    };
    assert_eq!(parsed.entries[0].platform, Some(Platform::new("linux", "arm64", None)));
    assert_eq!(parsed.entries[1].platform, None);
}

#[test]
fn the_case_and_the_parameters_of_a_type_mean_nothing() {
    for served in [OCI_MANIFEST.to_uppercase(), format!("{OCI_MANIFEST} ; charset=utf-8")] {
        parse(&manifest(), Some(&served)).unwrap();
    }
    for (place, name) in [
        ("/mediaType", OCI_MANIFEST),
        ("/config/mediaType", CONFIG_TYPES[0]),
        ("/layers/0/mediaType", LAYER_TYPES[0]),
    ] {
        let document = changed(manifest(), place, json!(name.to_uppercase()));
        parse(&document, Some(OCI_MANIFEST)).unwrap();
    }
    parse(&manifest(), Some("Application/JSON")).unwrap();
    assert!(parse(&manifest(), Some(&OCI_INDEX.to_uppercase())).is_err());
}

#[test]
fn null_is_what_is_not_there() {
    let Document::Manifest(empty) =
        parse(&changed(manifest(), "/layers", json!(null)), None).unwrap()
    else {
        panic!("an index?")
    };
    assert!(empty.layers.is_empty());
    for (pointer, value) in [("/manifests", json!(null)), ("/manifests/0/platform", json!(null))] {
        assert!(matches!(parse(&changed(index(), pointer, value), None), Ok(Document::Index(_))));
    }
    let mut both = index();
    both["layers"] = json!(null);
    both["config"] = json!(null);
    both["manifests"][0]["annotations"] = json!({"org.opencontainers.image.ref.name": null});
    both["manifests"][0]["urls"] = json!(null);
    assert!(matches!(parse(&both, None), Ok(Document::Index(_))));
    let mut neither = manifest();
    neither.as_object_mut().unwrap().remove("layers");
    assert!(refusal(&neither, None).contains("neither"));
    // What Go would take for a second list is one.
    let mut hidden = manifest();
    hidden["Manifests"] = index()["manifests"].clone();
    assert!(refusal(&hidden, None).contains("at once"));
    assert!(refusal(&json!([manifest()]), None).contains("malformed"));
}

#[test]
fn r22_the_features_that_an_entry_needs_are_read() {
    let mut document = index();
    document["manifests"][0]["platform"]["os.features"] = json!(["erofs"]);
    document["manifests"][1]["platform"] =
        json!({"os": "linux", "architecture": "arm64", "os.features": null});
    let Document::Index(parsed) = parse(&document, None).unwrap() else { panic!("a manifest?") };
    let wanted = Platform::new("linux", "arm64", None);
    let offers = parsed.entries.iter().map(|entry| entry.platform.as_ref());
    assert_eq!(wanted.choose(offers), Some(1));
    let config = json!({"os": "linux", "architecture": "arm64", "os.features": ["erofs"],
                        "rootfs": {"type": "layers", "diff_ids": null}});
    let config = parse_config(&config).unwrap().platform().unwrap();
    assert_eq!(wanted.distance(&config), None);
}

#[test]
fn docker_types_are_accepted() {
    let mut document = changed(manifest(), "/mediaType", json!(DOCKER_MANIFEST));
    document = changed(document, "/config/mediaType", json!(CONFIG_TYPES[1]));
    document = changed(document, "/layers/0/mediaType", json!(LAYER_TYPES[7]));
    assert!(matches!(parse(&document, Some(DOCKER_MANIFEST)), Ok(Document::Manifest(_))));
    let document = changed(index(), "/mediaType", json!(DOCKER_INDEX));
    assert!(matches!(parse(&document, None), Ok(Document::Index(_))));
}

#[test]
fn a_document_that_is_two_things_is_refused() {
    let mut both = manifest();
    both["manifests"] = index()["manifests"].clone();
    assert!(refusal(&both, None).contains("at once"));
    let mut index_with_config = index();
    index_with_config["config"] = manifest()["config"].clone();
    assert!(refusal(&index_with_config, None).contains("at once"));
    let doubled = manifest().to_string().replace("\"layers\"", "\"layers\":[],\"layers\"");
    let doubled = Document::parse(doubled.as_bytes(), None, &Limits::default());
    assert_eq!(doubled.unwrap_err().exit_code(), 65);
}

#[test]
fn types_that_contradict_are_refused() {
    assert!(refusal(&manifest(), Some(OCI_INDEX)).contains("but it came as"));
    assert!(refusal(&manifest(), Some(DOCKER_MANIFEST)).contains("but it came as"));
    let lying = changed(manifest(), "/mediaType", json!(OCI_INDEX));
    assert!(refusal(&lying, Some(OCI_INDEX)).contains("contradict"));
    let silent = changed(manifest(), "/mediaType", json!(null));
    assert!(refusal(&silent, Some(OCI_INDEX)).contains("contradict"));
}

#[test]
fn what_is_no_image_is_refused_by_name() {
    for (pointer, value) in [
        ("/config/mediaType", "application/vnd.cncf.helm.config.v1+json"),
        ("/config/mediaType", "application/vnd.oci.empty.v1+json"),
        ("/layers/1/mediaType", "application/wasm"),
        ("/mediaType", "application/vnd.oci.artifact.manifest.v1+json"),
    ] {
        let error = refusal(&changed(manifest(), pointer, json!(value)), None);
        assert!(error.starts_with("not a container image") && error.contains(value), "{error}");
    }
}

#[test]
fn c13_a_layer_of_an_unknown_type_is_no_container_image() {
    for media_type in [
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        "application/wasm",
        "application/vnd.dev.cosign.simplesigning.v1+json",
        "application/vnd.in-toto+json",
        "",
    ] {
        let document = changed(manifest(), "/layers/1/mediaType", json!(media_type));
        let error = refusal(&document, None);
        let wanted = format!("not a container image: layer 2 is \"{media_type}\"");
        assert_eq!(error, wanted);
    }
}

#[test]
fn c14_an_encrypted_layer_is_refused_with_advice() {
    for media_type in [LAYER_TYPES[0], LAYER_TYPES[1], LAYER_TYPES[2]] {
        let encrypted = json!(format!("{media_type}+encrypted"));
        let error = refusal(&changed(manifest(), "/layers/1/mediaType", encrypted), None);
        assert!(error.starts_with("layer 2 is encrypted; decrypt"), "{error}");
    }
}

#[test]
fn c12_the_urls_of_a_layer_are_read_and_limited() {
    let with = |urls: Value| {
        let mut document = manifest();
        document["layers"][1]["urls"] = urls;
        document
    };
    let Document::Manifest(parsed) = parse(&with(json!(["https://a/", "b"])), None).unwrap() else {
        panic!("an index?")
    };
    let layers = parsed.layers(&parse_config(&config()).unwrap()).unwrap();
    assert_eq!(layers[1].urls, ["https://a/", "b"]);
    assert!(layers[0].urls.is_empty());
    assert!(parse(&with(json!(null)), None).is_ok());
    assert!(parse(&with(json!(vec!["x"; MAX_URLS])), None).is_ok());
    assert!(refusal(&with(json!(vec!["x"; MAX_URLS + 1])), None).contains("more than 100"));
    refusal(&with(json!("https://a/")), None);
}

#[test]
fn schema_1_is_refused_with_advice() {
    let old = json!({"schemaVersion": 1, "name": "x", "fsLayers": [{"blobSum": digest(1)}]});
    assert!(refusal(&old, None).contains("schema 1"));
    let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    assert!(refusal(&json!({}), Some(signed)).contains("skopeo"));
}

#[test]
fn malformed_documents_are_bad_data() {
    let html = Document::parse(b"<html>", Some("text/html"), &Limits::default()).unwrap_err();
    assert_eq!(html.exit_code(), 65);
    for document in [
        json!({}),
        json!([]),
        json!("x"),
        json!(null),
        changed(manifest(), "/layers/0/digest", json!("sha256:../../../x")),
        changed(manifest(), "/layers/0/size", json!(-1)),
        changed(manifest(), "/layers/0/size", json!("1")),
        changed(manifest(), "/layers/0", json!({"size": 1})),
        changed(manifest(), "/layers", json!("x".repeat(1 << 20))),
    ] {
        assert!(refusal(&document, None).len() < 500);
    }
}

/// A document over a limit names the flag that lifts it, and passes when that is lifted.
fn lifted(document: &Value, flag: &str, lift: impl Fn(&mut Limits)) -> String {
    let error = parse(document, None).unwrap_err();
    assert_eq!(error.exit_code(), 65, "{error}");
    assert_eq!(error.hint(), Some(flag::raise(flag).as_str()), "{error}");
    let mut limits = Limits::default();
    lift(&mut limits);
    Document::parse(document.to_string().as_bytes(), None, &limits).unwrap();
    error.message()
}

#[test]
fn lists_and_sizes_have_limits_that_can_be_lifted() {
    let layers = |count| changed(manifest(), "/layers", (0..count).map(layer).collect());
    assert!(parse(&layers(1000), None).is_ok());
    let message = lifted(&layers(1001), flag::LAYERS, |limits| limits.layer.layers = 1001);
    assert_eq!(message, "the manifest has 1001 layers, at most 1000 are read");
    let entry = index()["manifests"][0].clone();
    let entries = |count| changed(index(), "/manifests", vec![entry.clone(); count].into());
    assert!(parse(&entries(10_000), None).is_ok());
    let message = lifted(&entries(10_001), flag::ENTRIES, |limits| limits.entries = 10_001);
    assert_eq!(message, "the image's index has 10001 entries, at most 10000 are read");
    let length = (8 << 20) + 1;
    let long = changed(manifest(), "/config/size", json!(length));
    lifted(&long, flag::CONFIG, |limits| limits.config = length);
    let blob = (32_u64 << 30) + 1;
    let large = changed(manifest(), "/layers/0/size", json!(blob));
    lifted(&large, flag::BLOB, |limits| limits.layer.blob = blob);
    let diff_ids = (0..1001).map(digest).collect::<Vec<_>>();
    let deep = changed(config(), "/rootfs/diff_ids", json!(diff_ids));
    let error = parse_config(&deep).unwrap_err();
    assert_eq!(error.hint(), Some(flag::raise(flag::LAYERS).as_str()), "{error}");
    let mut limits = Limits::default();
    limits.layer.layers = 1001;
    assert_eq!(Config::parse(deep.to_string().into(), &limits).unwrap().diff_ids.len(), 1001);
}

fn config() -> Value {
    json!({
        "created": "2024-01-01T00:00:00Z",
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": ["/bin/sh"], "Cmd": null, "Env": ["A=b"], "WorkingDir": "/w",
            "User": "1:2", "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}},
            "Labels": {"l": "v"}, "StopSignal": "SIGINT",
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(3), digest(4)]},
        "history": [{"created_by": "RUN x", "empty_layer": true}],
    })
}

fn parse_config(document: &Value) -> Result<Config> {
    Config::parse(document.to_string().into_bytes(), &Limits::default())
}

#[test]
fn a_config_keeps_what_a_container_would_need() {
    let parsed = parse_config(&config()).unwrap();
    assert_eq!(parsed.platform(), Some(Platform::new("linux", "amd64", None)));
    assert_eq!((parsed.entrypoint, parsed.cmd), (vec!["/bin/sh".to_owned()], vec![]));
    assert_eq!((parsed.env, parsed.user), (vec!["A=b".to_owned()], "1:2".to_owned()));
    assert_eq!(parsed.exposed_ports, ["80/tcp"]);
    assert_eq!(parsed.volumes, ["/data"]);
    assert_eq!(parsed.labels["l"], "v");
    assert_eq!(parsed.stop_signal.as_deref(), Some("SIGINT"));
    assert!(parsed.history[0].empty_layer);
    assert_eq!(parsed.raw, config().to_string().into_bytes());
}

#[test]
fn a_config_may_be_sparse() {
    let parsed = parse_config(&json!({"rootfs": {"diff_ids": null}, "config": null})).unwrap();
    assert_eq!((parsed.platform(), parsed.diff_ids.len()), (None, 0));
}

#[test]
fn a_malformed_config_is_bad_data() {
    for document in [
        json!({}),
        changed(config(), "/rootfs/type", json!("base layer")),
        changed(config(), "/rootfs/diff_ids/0", json!("sha256:x")),
        changed(config(), "/config/Env", json!("A=b")),
        changed(config(), "/history", vec![json!({}); MAX_LIST + 1].into()),
    ] {
        assert_eq!(parse_config(&document).unwrap_err().exit_code(), 65, "{document}");
    }
}

#[test]
fn each_layer_needs_a_diff_id() {
    let Document::Manifest(manifest) = parse(&manifest(), None).unwrap() else {
        panic!("an index?")
    };
    let layers = manifest.layers(&parse_config(&config()).unwrap()).unwrap();
    let diff_id = layers[1].diff_id.as_ref().map(ToString::to_string);
    assert_eq!((layers[1].index, diff_id), (1, Some(digest(4))));
    let short = changed(config(), "/rootfs/diff_ids", json!([digest(3)]));
    let error = manifest.layers(&parse_config(&short).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "the manifest has 2 layers, but the config has 1 diff IDs");
}
