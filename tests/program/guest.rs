//! Images that run as machines: the generated init under a real kernel, what an image says of
//! itself, and what would keep it from booting.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use banger_test_support::boot::Machine;
use banger_test_support::layers::{Compression, Image, Layer, host_architecture, write_layout_of};
use banger_test_support::mount::{Access, Mount};
use banger_test_support::tree::{Entry, Kind};
use banger_test_support::{debugfs, gate, judge};
use serde_json::{Value, json};

use crate::banger::Bench;

const INIT: &str = "init=/sbin/banger-init";

fn put(layer: &mut Layer, path: &str, mode: u16, content: &[u8]) {
    layer.put(path, &Entry::new(Kind::file(content), mode), content);
}

/// A small root filesystem: busybox under two names, two users, a directory of one of them in
/// /run.
pub(crate) fn root(shell: &str) -> Option<Layer> {
    let busybox = fs::read(judge::program("busybox")?).unwrap();
    let mut layer = Layer::new();
    put(&mut layer, "bin/busybox", 0o755, &busybox);
    layer.put("bin/sh", &Entry::new(Kind::Symlink(shell.into()), 0o777), b"");
    put(
        &mut layer,
        "etc/passwd",
        0o644,
        b"root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/srv/app:\n",
    );
    put(&mut layer, "etc/group", 0o644, b"root:x:0:\napp:x:1001:\nmore:x:2000:x,app\n");
    put(&mut layer, "etc/hostname", 0o644, b"small\n");
    let directory = Entry::new(Kind::Directory, 0o750);
    layer.put("run/app/", &directory.owned_by(1000, 1001), b"");
    Some(layer)
}

/// An image layout, as a source.
fn layout(bench: &Bench, name: &str, layers: Vec<Vec<u8>>, execution: &Value) -> String {
    let (architecture, compression) = (host_architecture(), Compression::None);
    let image = Image { architecture, layers, compression };
    write_layout_of(&bench.path(name), &[image], execution);
    format!("oci:{name}")
}

/// A program for busybox's shell.
fn shell(script: &str) -> Value {
    json!(["/bin/busybox", "sh", "-c", script])
}

/// The content of a file of an image, by debugfs.
fn cat(image: &Path, path: &str) -> String {
    debugfs::read(image, &format!("cat {path}"))
}

#[test]
fn the_init_runs_the_program_of_the_image_as_its_config_says() {
    let bench = Bench::new();
    let Some(root) = root("busybox") else { return };
    let script = r#"
        echo "whoami: $(id)"; echo "where: $(pwd)"; echo "count: $#"; echo "first: <$1>"
        echo "value: <$VALUE>"; echo "home: $HOME"; echo "host: $HOSTNAME $(hostname)"
        echo "mine: $(stat -c %u:%g:%a /run/app)"; touch /run/app/pid && echo "written"
        for at in /proc /sys /dev /dev/pts /run /tmp; do
            grep -q " $at " /proc/mounts && echo "mounted: $at"
        done
        echo "loopback: $(ip -4 addr show lo | grep -c 127.0.0.1/8)"
        echo "lease: $(ip -4 addr show eth0 | grep -c 10.0.2.15/24)"; cat /etc/resolv.conf
        echo hello > /dev/stdout
        (sleep 1 & exec sleep 0.2) & sleep 3
        echo "zombies: $(grep -l '^State:.*zombie' /proc/[0-9]*/status | wc -l)"
        exit 7"#;
    let mut command = shell(script);
    let words = command.as_array_mut().unwrap();
    words.extend([json!("sh"), json!("it's $(a) `word`\nof \"two\" lines"), json!("-n")]);
    let execution = json!({
        "Cmd": command,
        "User": "app",
        "WorkingDir": "/srv/made for it",
        "Env": ["VALUE=$HOME 'and' \"so on\" ünïcödé"],
    });
    let source = layout(&bench, "layout", vec![root.finish()], &execution);
    let report = bench.build(&source, "disk.ext4", &["--init"]);
    assert_eq!(report["kernel_words"], "init=/sbin/banger-init");
    let disk = bench.path("disk.ext4");
    gate::assert_clean(&disk);
    let (machine, _) = Machine::new(&disk).word(INIT).forward(80);
    let Some(guest) = machine.start() else { return };
    let console = guest.end();
    for line in [
        "whoami: uid=1000(app) gid=1001(app) groups=1001(app),2000(more)",
        "where: /srv/made for it",
        "count: 2",
        "first: <it's $(a) `word`\nof \"two\" lines>",
        "value: <$HOME 'and' \"so on\" ünïcödé>",
        "home: /srv/app",
        "host: small small",
        "mine: 1000:1001:750",
        "written",
        "mounted: /proc\nmounted: /sys\nmounted: /dev\nmounted: /dev/pts\nmounted: /run\nmounted: /tmp",
        "loopback: 1",
        "lease: 1",
        "nameserver 10.0.2.3",
        "hello",
        "zombies: 0",
        "banger: exit status 7",
    ] {
        assert!(console.contains(line), "no \"{line}\" in:\n{console}");
    }
    gate::assert_clean(&disk);
}

#[test]
fn signals_reach_the_program_and_a_second_disk_is_unmounted() {
    let bench = Bench::new();
    let Some(root) = root("/bin/busybox") else { return };
    // The shell that is process 1 ignores nothing that it forwards; the program ends by its own
    // signal, after it has written to the work disk.
    let script = r#"
        mkdir -p /work && mount /dev/vdb /work && cat /work/seed && echo kept > /work/made
        trap 'echo "asked to stop"; echo late >> /work/made; exit 3' USR1
        trap 'echo "told to reload"' HUP
        trap 'echo "told the second"' USR2
        kill -HUP 1; kill -QUIT 1; kill -USR2 1; sleep 0.5; echo "ready"
        while :; do sleep 0.1; done"#;
    let execution = json!({ "Entrypoint": shell(script), "StopSignal": "SIGUSR1" });
    let source = layout(&bench, "layout", vec![root.finish()], &execution);
    bench.build(&source, "disk.ext4", &["--init"]);
    fs::create_dir(bench.path("seed")).unwrap();
    fs::write(bench.path("seed/seed"), "seeded\n").unwrap();
    bench.build("dir:seed", "work.ext4", &["--size", "64M"]);
    let (disk, work) = (bench.path("disk.ext4"), bench.path("work.ext4"));
    let Some(mut guest) = Machine::new(&disk).disk(&work).word(INIT).start() else { return };
    guest.wait_for("ready");
    guest.press_ctrl_alt_del();
    let console = guest.end();
    for line in
        ["seeded", "told to reload", "told the second", "asked to stop", "banger: exit status 3"]
    {
        assert!(console.contains(line), "no \"{line}\" in:\n{console}");
    }
    gate::assert_clean(&disk);
    gate::assert_clean(&work);
    assert_eq!(cat(&work, "/made"), "kept\nlate\n");
}

#[test]
fn a_program_that_does_not_stop_is_ended() {
    let stubborn = |name: &str, requests: &str, word: &str, expected: &[&str]| {
        let bench = Bench::new();
        let Some(root) = root("busybox") else { return };
        let script = format!("trap 'echo deaf' TERM; {requests} while :; do sleep 0.1; done");
        let execution = json!({ "Cmd": shell(&script) });
        let source = layout(&bench, name, vec![root.finish()], &execution);
        bench.build(&source, "disk.ext4", &["--init"]);
        let disk = bench.path("disk.ext4");
        let Some(guest) = Machine::new(&disk).word(INIT).word(word).start() else { return };
        let console = guest.end();
        for line in expected {
            assert!(console.contains(line), "{name}: no \"{line}\" in:\n{console}");
        }
        gate::assert_clean(&disk);
    };
    let killed = "banger: exit status 137";
    let late = "banger: the program did not stop within 2 seconds";
    stubborn("once", "kill -PWR 1;", "banger.grace=2", &["deaf", late, killed]);
    let twice = "kill -TERM 1; sleep 1; kill -TERM 1;";
    stubborn("twice", twice, "banger.grace=99999", &["deaf", killed]);
}

#[test]
fn a_machine_that_is_to_stop_before_its_program_starts_stops() {
    let bench = Bench::new();
    let Some(mut root) = root("busybox") else { return };
    // The first that runs, long before the program, and for longer than the test waits.
    let client = b"#!/bin/sh\nkill -TERM 1\nexec /bin/busybox sleep 1000\n";
    put(&mut root, "sbin/dhclient", 0o755, client);
    let source =
        layout(&bench, "layout", vec![root.finish()], &json!({ "Cmd": shell("echo ran") }));
    bench.build(&source, "disk.ext4", &["--init"]);
    let disk = bench.path("disk.ext4");
    let (machine, _) = Machine::new(&disk).word(INIT).forward(80);
    let Some(guest) = machine.start() else { return };
    let console = guest.end();
    for line in ["asked to stop before the program started", "banger: exit status 143"] {
        assert!(console.contains(line), "no \"{line}\" in:\n{console}");
    }
    gate::assert_clean(&disk);
}

#[test]
fn a_program_that_is_not_there_ends_the_machine_with_127() {
    let bench = Bench::new();
    let Some(root) = root("busybox") else { return };
    let source =
        layout(&bench, "layout", vec![root.finish()], &json!({ "Cmd": ["no such thing"] }));
    bench.build(&source, "disk.ext4", &["--init"]);
    let disk = bench.path("disk.ext4");
    let Some(guest) = Machine::new(&disk).word(INIT).word("banger.reboot").start() else { return };
    let console = guest.end();
    assert!(console.contains("banger: exit status 127"), "{console}");
    gate::assert_clean(&disk);
}

/// The real application of the corpora, which are too large to be here: `BANGER_CORPORA` names
/// their directory.
#[test]
fn an_application_answers_through_the_network_until_it_is_stopped() {
    let Some(corpora) = std::env::var_os("BANGER_CORPORA").map(PathBuf::from) else {
        let _ = writeln!(std::io::stderr(), "skip: BANGER_CORPORA names no corpora");
        return;
    };
    let bench = Bench::new();
    let layer = fs::read(corpora.join("python-ml/flat.tar")).unwrap();
    let execution = json!({
        "Entrypoint": ["python3", "-m", "http.server"],
        "Cmd": ["8000"],
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "PYTHONUNBUFFERED=1"],
        "WorkingDir": "/etc",
        "User": "nobody",
        "StopSignal": "SIGINT",
    });
    let source = layout(&bench, "layout", vec![layer], &execution);
    bench.build(&source, "disk.ext4", &["--init"]);
    let disk = bench.path("disk.ext4");
    let (machine, port) =
        Machine::new(&disk).word(INIT).word("bed.network").memory(512).forward(8000);
    let Some(mut guest) = machine.start() else { return };
    guest.wait_for("Serving HTTP");
    let answer = get(port, "/passwd");
    assert!(answer.starts_with("HTTP/1.0 200") && answer.contains("root:x:0:0:"), "{answer}");
    guest.press_ctrl_alt_del();
    let console = guest.end();
    assert!(console.contains("Keyboard interrupt received"), "{console}");
    assert!(console.contains("banger: exit status 0"), "{console}");
    gate::assert_clean(&disk);
}

/// What a server on this machine answers, as soon as it does.
fn get(port: u16, path: &str) -> String {
    let start = Instant::now();
    loop {
        let asked = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
            stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        match asked {
            Ok(answer) if !answer.is_empty() => return answer,
            _ => assert!(start.elapsed() < Duration::from_secs(60), "{asked:?}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn an_image_says_what_it_is_inside_and_beside_it() {
    let bench = Bench::new();
    let mut layer = Layer::new();
    put(&mut layer, "etc/os-release", 0o644, b"ID=none\n");
    let execution = json!({ "Cmd": ["run"], "Labels": { "a": "b" } });
    let source = layout(&bench, "secret-path", vec![layer.finish()], &execution);
    fs::write(bench.path("added"), "x").unwrap();
    let options = ["--metadata", "--add", "added:/srv/added", "--label", "here"];
    let report = bench.build(&source, "disk.ext4", &options);
    assert!(report["description"].as_str().unwrap().ends_with("disk.ext4.json"));
    assert_eq!(report["kernel_words"], Value::Null);
    let inside = cat(&bench.path("disk.ext4"), "/etc/banger/image.json");
    assert!(!inside.contains("secret-path"), "{inside}");
    let mut inside: Value = serde_json::from_str(&inside).unwrap();
    let beside = fs::read_to_string(bench.path("disk.ext4.json")).unwrap();
    let mut beside: Value = serde_json::from_str(&beside).unwrap();
    let file = beside.as_object_mut().unwrap().remove("file").unwrap();
    // What follows from where the image came from is beside it only.
    for origin in ["reference", "index", "manifest", "layers"] {
        assert!(inside.get(origin).is_none(), "{origin}");
        inside[origin] = beside[origin].clone();
    }
    assert_eq!(inside, beside);
    assert_eq!(inside["diff_ids"][0], report["layers"][0]["digest"]);
    assert_eq!(file["uuid"], report["image"]["uuid"]);
    assert_eq!(file["size"], report["image"]["size"]);
    assert_eq!(inside["identity"], report["identity"]);
    assert_eq!(inside["manifest"], report["manifest"]);
    assert_eq!(inside["layers"][0]["digest"], report["layers"][0]["digest"]);
    assert_eq!(inside["platform"], format!("linux/{}", host_architecture()));
    assert_eq!(inside["config"]["config"], execution);
    assert_eq!(inside["banger"], env!("CARGO_PKG_VERSION"));
    assert_eq!(inside["options"]["additions"][0], "/srv/added");
    assert_eq!(inside["options"]["label"], "here");
    // The same again gives the same bytes, and neither file is replaced without being asked.
    bench.build(&source, "again.ext4", &options);
    let bytes = |name: &str| fs::read(bench.path(name)).unwrap();
    assert!(bytes("disk.ext4") == bytes("again.ext4"));
    fs::remove_file(bench.path("again.ext4")).unwrap();
    let words = ["image", "build", &source, "again.ext4", "--quiet", "--metadata"];
    let refused = bench.run(words);
    assert_eq!(refused.status.code(), Some(73), "{}", judge::text(&refused));
    assert!(judge::text(&refused).contains("again.ext4.json exists; --force replaces it"));
    assert!(!bench.path("again.ext4").exists());
    // An image without one does not lie beside the description of the one before.
    bench.build(&source, "again.ext4", &["--force"]);
    assert!(bench.path("again.ext4").exists() && !bench.path("again.ext4.json").exists());
}

#[test]
fn what_lies_beside_an_image_is_its_own_description_or_a_file_of_the_users() {
    let bench = Bench::new();
    fs::create_dir(bench.path("tree")).unwrap();
    let beside = bench.path("disk.ext4.json");
    // A file that happens to have the name stays, and with it the image that is there.
    fs::write(&beside, r#"{ "mine": 1 }"#).unwrap();
    bench.build("dir:tree", "disk.ext4", &[]);
    let before = fs::read(bench.path("disk.ext4")).unwrap();
    let words = ["image", "build", "dir:tree", "disk.ext4", "--quiet", "--force", "--metadata"];
    let refused = bench.run(words);
    assert_eq!(refused.status.code(), Some(73), "{}", judge::text(&refused));
    assert_eq!(fs::read_to_string(&beside).unwrap(), r#"{ "mine": 1 }"#);
    assert!(fs::read(bench.path("disk.ext4")).unwrap() == before);
    fs::remove_file(&beside).unwrap();
    bench.build("dir:tree", "disk.ext4", &["--force", "--metadata"]);
    bench.build("dir:tree", "disk.ext4", &["--force", "--metadata"]);
    // Who moves an image away leaves its description; it is not the next one's.
    fs::remove_file(bench.path("disk.ext4")).unwrap();
    bench.build("dir:tree", "disk.ext4", &[]);
    assert!(!beside.exists());
}

#[test]
fn a_machine_is_the_same_wherever_its_image_comes_from() {
    let bench = Bench::new();
    let Some(root) = root("busybox") else { return };
    let source = layout(&bench, "layout", vec![root.finish()], &json!({ "Cmd": ["busybox"] }));
    bench.build(&source, "disk.ext4", &["--init"]);
    let disk = fs::read(bench.path("disk.ext4")).unwrap();
    if !judge::all(&["skopeo"]) {
        return;
    }
    let from = format!("oci:{}:latest", bench.path("layout").display());
    for (kind, file) in [("oci-archive", "oci.tar:v1"), ("docker-archive", "d.tar:a.example/b:v1")]
    {
        let to = format!("{kind}:{}", bench.path(file).display());
        judge::succeed("skopeo", ["--insecure-policy", "copy", "--quiet", &from, &to]);
        let file = file.split(':').next().unwrap();
        let output = format!("{kind}.ext4");
        bench.build(&format!("{kind}:{file}"), &output, &["--init"]);
        assert!(fs::read(bench.path(&output)).unwrap() == disk, "{kind}");
        assert!(bench.path(&format!("{output}.json")).exists());
    }
}

#[test]
fn a_config_that_would_make_a_giant_of_the_description_is_refused() {
    let bench = Bench::new();
    let mut layer = Layer::new();
    put(&mut layer, "etc/os-release", 0o644, b"ID=none\n");
    // Deep and wide: each of the numbers would be on a line of its own, far to the right.
    let deep = |width: usize| {
        let numbers = Value::Array(vec![json!(0); width]);
        (0..60).fold(numbers, |inner, _| json!([inner]))
    };
    let layer = layer.finish();
    let wide = json!({ "Cmd": ["x"], "Labels": {}, "x": deep(500_000) });
    let source = layout(&bench, "wide", vec![layer.clone()], &wide);
    bench.build(&source, "disk.ext4", &["--metadata"]);
    let beside = fs::metadata(bench.path("disk.ext4.json")).unwrap().len();
    assert!((1_000_000..1_100_000).contains(&beside), "{beside}");
    let described = bench.run(["image", "inspect", "disk.ext4", "--format", "json"]);
    assert!(described.status.success(), "{}", judge::text(&described));
    let wider = json!({ "Cmd": ["x"], "x": deep(2_200_000) });
    let source = layout(&bench, "wider", vec![layer], &wider);
    let message = bench.build_fails(&source, &["--metadata"], 65);
    assert!(message.contains("the description of the image would have"), "{message}");
    bench.build(&source, "plain.ext4", &[]);
}

#[test]
fn an_init_that_could_not_work_is_refused_when_the_image_is_made() {
    let bench = Bench::new();
    let refused = |name: &str, layer: Layer, execution: Value, why: &str| {
        let source = layout(&bench, name, vec![layer.finish()], &execution);
        let message = bench.build_fails(&source, &["--init"], 65);
        assert!(message.contains(why), "{message}");
        assert!(!bench.path("none.ext4.json").exists());
    };
    let program = json!({ "Cmd": ["/app"] });
    let Some(whole) = root("busybox") else { return };
    refused("nothing", whole, json!({}), "neither Entrypoint nor Cmd");
    let mut distroless = Layer::new();
    put(&mut distroless, "app", 0o755, b"\x7fELF");
    refused("distroless", distroless, program.clone(), "no /bin/sh");
    let with = |user: &str| json!({ "Cmd": ["/app"], "User": user });
    refused("stranger", root("busybox").unwrap(), with("daemon"), "knows no user \"daemon\"");
    // Nothing there can become a number that no login has.
    refused("number", root("busybox").unwrap(), with("4242:1"), "to run as 4242:1, and the image");
    let message = bench.build_fails("dir:.", &["--init"], 65);
    assert!(message.contains("neither Entrypoint nor Cmd"), "{message}");
}

#[test]
fn what_would_keep_an_image_from_booting_is_said_by_pull_and_by_lint() {
    let bench = Bench::new();
    let mut layer = Layer::new();
    // The init is a script for a shell that is not there, and the shell a program of a foreign
    // machine: the header of one for RISC-V of 64 bits.
    put(&mut layer, "sbin/init", 0o755, b"#!/bin/bash\n");
    let mut program = b"\x7fELF\x02\x01\x01".to_vec();
    program.resize(64, 0);
    program[18] = 243;
    put(&mut layer, "bin/sh", 0o755, &program);
    put(&mut layer, "etc/passwd", 0o644, b"root:x:0:0:::\n");
    put(&mut layer, "etc/fstab", 0o644, b"/dev/sda1 / ext4 defaults 0 1\n");
    let source = layout(&bench, "layout", vec![layer.finish()], &json!({}));
    let report = bench.build(&source, "disk.ext4", &[]);
    let ids = |findings: &Value| {
        let findings = findings.as_array().unwrap().iter();
        let word = |finding: &Value| format!("{} {}", finding["severity"], finding["id"]);
        findings.map(|finding| word(finding).replace('"', "")).collect::<Vec<_>>()
    };
    let expected = [
        "error missing-interpreter",
        "error wrong-architecture",
        "error no-mount-point",
        "warning no-mount-point",
        "warning no-mount-point",
        "warning no-mount-point",
        "warning no-mount-point",
        "warning unknown-device",
        "warning no-resolv-conf",
    ];
    assert_eq!(ids(&report["findings"]), expected);
    // The image itself does not say what it is for, so its one program is right by itself.
    let lint = |options: &[&str]| {
        let words = ["image", "lint", "disk.ext4"];
        bench.run(words.iter().chain(options))
    };
    let platform = format!("linux/{}", host_architecture());
    let found = lint(&["--format", "json", "--platform", &platform]);
    assert_eq!(found.status.code(), Some(65), "{}", judge::text(&found));
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(found["findings"], report["findings"]);
    let found = judge::text(&lint(&[]));
    assert!(!found.contains("wrong-architecture"), "{found}");
    let message = "error missing-interpreter: /sbin/init: the init is a script for /bin/bash, which is not there";
    assert!(found.lines().any(|known| known == message), "{found}");
    let missing = bench.run(["image", "lint", "none.ext4"]);
    assert_eq!(missing.status.code(), Some(66), "{}", judge::text(&missing));
    let not_one = bench.run(["image", "lint", "layout/oci-layout"]);
    assert_eq!(not_one.status.code(), Some(65), "{}", judge::text(&not_one));
}

#[test]
fn nothing_is_said_of_an_image_that_boots_and_lint_reads_what_others_made() {
    let bench = Bench::new();
    let Some(root) = root("busybox") else { return };
    let source = layout(&bench, "layout", vec![root.finish()], &json!({ "Cmd": ["busybox"] }));
    let report = bench.build(&source, "disk.ext4", &["--init"]);
    assert_eq!(report["findings"], json!([]));
    let found = bench.run(["image", "lint", "disk.ext4"]);
    assert_eq!(found.status.code(), Some(0), "{}", judge::text(&found));
    if !judge::all(&["mke2fs"]) {
        return;
    }
    let made = bench.path("made.ext4");
    judge::succeed("mke2fs", ["-q", "-t", "ext4", made.to_str().unwrap(), "8M"]);
    let found = bench.run(["image", "lint", "made.ext4"]);
    assert_eq!(found.status.code(), Some(65), "{}", judge::text(&found));
    assert!(judge::text(&found).contains("error no-init: there is no init and no shell"));
}

/// A bundle of an agent, as a directory: a service whose file says who wants it, and a timer whose
/// file does not.
fn bundle(bench: &Bench, name: &str) -> PathBuf {
    let bundle = bench.path(name);
    let file = |path: &str, content: &str| {
        let path = bundle.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    let enable =
        r#"enable = ["agent.service", { unit = "agent.timer", wanted-by = "timers.target" }]"#;
    file("guest.toml", enable);
    file("rootfs/usr/bin/agent", "#!/bin/sh\n");
    file("rootfs/lib/systemd/system/agent.timer", "[Timer]\nOnBootSec=1\n");
    let service = "[Service]\nExecStart=/usr/bin/agent\n[Install]\nWantedBy=multi-user.target\n";
    file("rootfs/lib/systemd/system/agent.service", service);
    bundle
}

/// An image with what looks like systemd, whose /lib is a link as in every distribution.
fn with_systemd(bench: &Bench) -> String {
    let mut layer = Layer::new();
    layer.put("usr/lib/", &Entry::new(Kind::Directory, 0o755), b"");
    layer.put("lib", &Entry::new(Kind::Symlink(b"usr/lib".to_vec()), 0o777), b"");
    put(&mut layer, "usr/lib/systemd/systemd", 0o755, b"x");
    layout(bench, "layout", vec![layer.finish()], &json!({}))
}

#[test]
fn agents_of_a_bundle_are_enabled_as_systemctl_sees_it() {
    let bench = Bench::new();
    let source = with_systemd(&bench);
    let directory = bundle(&bench, "agents");
    let archive = bench.path("agents.tar");
    let words = ["--owner=1000", "--group=1000", "-C", directory.to_str().unwrap(), "-czf"];
    judge::succeed("tar", words.iter().chain(&[archive.to_str().unwrap(), "."]));
    for guest in ["agents", "agents.tar"] {
        bench.build(&source, "disk.ext4", &["--guest", guest, "--force", "--metadata"]);
        let disk = bench.path("disk.ext4");
        gate::assert_clean(&disk);
        let inside: Value = serde_json::from_str(&cat(&disk, "/etc/banger/image.json")).unwrap();
        assert_eq!(inside["options"]["guests"], json!([guest]));
        let Some(mount) = Mount::new(&disk, Access::ReadOnly) else { return };
        let tree = mount.tree();
        let agent = tree.get(b"usr/bin/agent").unwrap();
        assert_eq!((agent.uid, agent.gid), (0, 0), "{guest}");
        assert!(tree.get(b"usr/lib/systemd/system/agent.service").is_some(), "{guest}");
        assert!(tree.get(b"guest.toml").is_none() && tree.get(b"rootfs").is_none(), "{guest}");
        let link = |path: &str| match &tree.get(path.as_bytes()).unwrap().kind {
            Kind::Symlink(target) => String::from_utf8(target.clone()).unwrap(),
            kind => panic!("{path} is {kind:?}"),
        };
        let units = "etc/systemd/system";
        let service = link(&format!("{units}/multi-user.target.wants/agent.service"));
        assert_eq!(service, "/usr/lib/systemd/system/agent.service");
        let timer = link(&format!("{units}/timers.target.wants/agent.timer"));
        assert_eq!(timer, "/usr/lib/systemd/system/agent.timer");
        if let Some(systemctl) = judge::program("systemctl") {
            let root = format!("--root={}", mount.path().display());
            for unit in ["agent.service", "agent.timer"] {
                let said = judge::run(&systemctl, [&root, "is-enabled", unit]);
                assert_eq!(judge::text(&said).trim(), "enabled", "{guest}: {unit}");
            }
        }
        mount.close();
    }
}

#[test]
fn a_bundle_that_is_none_is_refused_with_the_reason() {
    let bench = Bench::new();
    let source = with_systemd(&bench);
    let refused = |guest: &str, code: i32, why: &str| {
        let message = bench.build_fails(&source, &["--guest", guest], code);
        assert!(message.contains(why), "{message}");
    };
    refused("none", 66, "cannot read the guest bundle none");
    fs::create_dir(bench.path("hollow")).unwrap();
    refused("hollow", 65, "it has neither guest.toml nor rootfs/");
    fs::write(bench.path("hollow/rootfs"), "").unwrap();
    refused("hollow", 65, "its rootfs is no directory");
    fs::remove_file(bench.path("hollow/rootfs")).unwrap();
    std::os::unix::fs::symlink("none", bench.path("hollow/rootfs")).unwrap();
    refused("hollow", 66, "cannot read the guest bundle hollow");
    fs::write(bench.path("hollow.tar"), Layer::new().finish()).unwrap();
    refused("hollow.tar", 65, "it has neither guest.toml nor rootfs/");
    fs::create_dir_all(bench.path("tree/etc")).unwrap();
    refused("tree", 65, "it has \"etc\" beside guest.toml and rootfs/");
    let manifest = |text: &str| {
        fs::create_dir_all(bench.path("b/rootfs")).unwrap();
        fs::write(bench.path("b/guest.toml"), text).unwrap();
    };
    manifest("enable = [\n 5 ]");
    refused("b", 65, "line 1 of guest.toml: a unit is a name, or has unit and wanted-by");
    manifest("start = []");
    refused("b", 65, "unknown field `start`");
    manifest("enable = [\"no.service\"]");
    refused("b", 66, "cannot enable no.service of the guest bundle b: neither the bundle nor");
    let mut archive = Layer::new();
    put(&mut archive, "rootfs/a", 0o644, b"");
    put(&mut archive, "etc/passwd", 0o644, b"");
    fs::write(bench.path("b.tar"), archive.finish()).unwrap();
    refused("b.tar", 65, "it has \"etc/passwd\" beside guest.toml and rootfs/");
    let mut archive = Layer::new();
    put(&mut archive, "rootfs/usr/.wh.lib", 0o644, b"");
    fs::write(bench.path("b.tar"), archive.finish()).unwrap();
    refused("b.tar", 65, "would hide another file");
    // Archivers refuse to write such a path.
    let mut header = tar::Header::new_gnu();
    let path = b"rootfs/../../etc/passwd";
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path);
    header.set_mode(0o644);
    header.set_size(0);
    header.set_cksum();
    fs::write(bench.path("b.tar"), [header.as_bytes(), &[0; 1024][..]].concat()).unwrap();
    refused("b.tar", 65, "leads out of the root");
}
