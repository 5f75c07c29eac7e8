//! Images with one thing wrong, made of words as the layers of the flattening's tests are.

use ext4_writer::{Builder, MemorySink, Options, Size};

use super::*;
use crate::flatten::tests::layer;
use crate::flatten::{FlattenOptions, Flattener};
use crate::layer::{LayerBlob, LayerStream, Limits};

const ROOT: &str = "mode:755 dev/ proc/ sys/ run/ tmp/ etc/ etc/passwd=root:x:0:0:::%0a \
                    etc/resolv.conf=nameserver%20::1%0a bin/";

/// The bytes of a program for an architecture, as words; it needs the loader `/lib/ld`.
fn program(architecture: &str) -> String {
    let code: u16 = match architecture {
        "amd64" => 62,
        "arm64" => 183,
        _ => 243,
    };
    let mut bytes = vec![0; 64 + 56];
    bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    bytes[18..20].copy_from_slice(&code.to_le_bytes());
    bytes[32] = 64;
    bytes[54] = 56;
    bytes[56] = 1;
    bytes[64] = 3;
    bytes[72] = 120;
    bytes[96] = 8;
    bytes.extend(b"/lib/ld\0");
    bytes.iter().fold(String::new(), |text, byte| format!("{text}%{byte:02x}"))
}

fn image(words: &str) -> Vec<u8> {
    let mut options = Options::new(Size::Fit { free_bytes: 0, free_inodes: 0 });
    options.uuid = Some([0x11; 16]);
    let mut builder = Builder::create(MemorySink::new(), options).unwrap();
    let mut flattener = Flattener::new(&mut builder, FlattenOptions::default()).unwrap();
    let reader = std::io::Cursor::new(layer(words).finish());
    let blob = LayerBlob { name: "layer".to_owned(), reader, verified: None, diff_id: None };
    flattener.apply_layer(LayerStream::open(blob, &Limits::default()).unwrap()).unwrap();
    flattener.finish().unwrap();
    builder.finish().unwrap().1.into_bytes()
}

fn linted(image: Vec<u8>, platform: Option<&Platform>) -> ReadResult<Vec<Finding>> {
    lint(&Reader::open(image)?, platform)
}

/// What is found, as words: the finding and what it is about, in capitals for an error.
fn found(words: &str) -> Vec<String> {
    found_for(words, None)
}

fn found_for(words: &str, platform: Option<&str>) -> Vec<String> {
    let platform = platform.map(|platform| platform.parse().unwrap());
    let findings = linted(image(words), platform.as_ref()).unwrap();
    let word = |finding: &Finding| {
        let id = match finding.severity {
            Severity::Error => finding.id.to_uppercase(),
            Severity::Warning => finding.id.to_owned(),
        };
        format!("{id} {}", finding.path.as_deref().unwrap_or("-"))
    };
    findings.iter().map(word).collect()
}

/// A root with an init and a shell that are well.
fn sound() -> String {
    let program = program("amd64");
    format!("{ROOT} lib/ lib/ld=x bin/sh={program} sbin/ sbin/init={program}")
}

#[test]
fn nothing_is_found_in_a_sound_image() {
    assert_eq!(found(&sound()), Vec::<String>::new());
    assert_eq!(found_for(&sound(), Some("linux/amd64")), Vec::<String>::new());
    let links = format!(
        "{ROOT} lib->usr/lib usr/lib/ld=x bin/sh->../usr/x usr/x={} etc/init->/bin/sh",
        program("arm64")
    );
    assert_eq!(found(&links), Vec::<String>::new());
}

#[test]
fn what_the_kernel_would_start_is_looked_at_in_its_order() {
    let program = program("amd64");
    assert_eq!(found(ROOT), ["NO-INIT -", "no-shell /bin/sh"]);
    assert_eq!(found(&format!("{ROOT} lib/ld=x bin/sh={program}")), ["only-a-shell /bin/sh"]);
    assert_eq!(found(&format!("{ROOT} lib/ld=x bin/init={program}")), ["no-shell /bin/sh"]);
    let with = |init: &str| found(&format!("{ROOT} lib/ld=x bin/sh={program} {init}"));
    assert_eq!(with("sbin/init=text"), ["NOT-A-PROGRAM /sbin/init"]);
    assert_eq!(with("sbin/init=%7fELF"), ["NOT-A-PROGRAM /sbin/init"]);
    assert_eq!(with("mode:644 sbin/init=x"), ["NOT-EXECUTABLE /sbin/init"]);
    assert_eq!(with("sbin/init=#!/bin/sh"), Vec::<String>::new());
    assert_eq!(with("sbin/init=#!%20/bin/sh%20-e%0aexit"), Vec::<String>::new());
    assert_eq!(with("sbin/init=#!/bin/bash%0aexit"), ["MISSING-INTERPRETER /sbin/init"]);
    assert_eq!(with("sbin/init=#!%20%09/bin/sh%09-e%0aexit"), Vec::<String>::new());
    // The kernel looks for a program whose name ends in a carriage return.
    assert_eq!(with("sbin/init=#!/bin/sh%0d%0aexit%0d%0a"), ["MISSING-INTERPRETER /sbin/init"]);
    assert_eq!(with("sbin/init=#!/bin/sh%20-e%0d%0aexit%0d%0a"), Vec::<String>::new());
    // A link that leads nowhere, or round, is no init.
    assert_eq!(with("sbin/init->/none"), ["only-a-shell /bin/sh"]);
    assert_eq!(with("sbin/init->init"), ["only-a-shell /bin/sh"]);
}

#[test]
fn programs_of_another_architecture_are_found() {
    let (amd64, arm64) = (program("amd64"), program("arm64"));
    let both = format!("{ROOT} lib/ld=x sbin/init={amd64} bin/sh={arm64}");
    assert_eq!(found(&both), ["WRONG-ARCHITECTURE /bin/sh"]);
    assert_eq!(found_for(&both, Some("linux/arm64")), ["WRONG-ARCHITECTURE /sbin/init"]);
    let said =
        format!("{both} etc/banger/ etc/banger/image.json={{%22platform%22:%22linux/riscv64%22}}");
    let said = said.replace("{%22", "%7b%22").replace("%22}", "%22%7d");
    assert_eq!(found(&said), ["WRONG-ARCHITECTURE /sbin/init", "WRONG-ARCHITECTURE /bin/sh"]);
    let findings = linted(image(&both), None).unwrap();
    assert_eq!(findings[0].message, "the shell is made for arm64, the image for amd64");
}

#[test]
fn a_loader_that_is_missing_is_named() {
    let program = program("amd64");
    let findings = linted(image(&format!("{ROOT} sbin/init={program} bin/sh=#!/sbin/init")), None);
    let findings = findings.unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].id, "missing-loader");
    assert!(findings[0].message.contains("needs the loader /lib/ld,"), "{findings:?}");
}

#[test]
fn the_program_of_a_generated_init_is_looked_for_in_its_path() {
    let json = |command: &str| {
        let text = format!(
            r#"{{"start":{{"command":["{command}"],"environment":["PATH=/none","PATH=/opt:/srv"],"directory":"/srv/app"}}}}"#
        );
        text.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02x}"))
    };
    let with = |command: &str| {
        let json = json(command);
        found(&format!(
            "{} sbin/banger-init=#!/bin/sh srv/run=#!/bin/sh srv/app/ etc/banger/image.json={json}",
            sound()
        ))
    };
    assert_eq!(with("run"), Vec::<String>::new());
    assert_eq!(with("/srv/run"), Vec::<String>::new());
    assert_eq!(with("../run"), Vec::<String>::new());
    assert_eq!(with("walk"), ["NO-COMMAND walk"]);
    assert_eq!(with("/opt/run"), ["NO-COMMAND /opt/run"]);
    // No path is that long.
    let long = "x".repeat(10_000);
    assert_eq!(with(&long), [format!("NO-COMMAND {}...", &long[..200])]);
    let shell =
        format!("{ROOT} lib/ld=x sbin/init={} sbin/banger-init=#!/sbin/init", program("amd64"));
    assert_eq!(found(&shell), ["NO-SHELL /bin/sh"]);
}

#[test]
fn files_that_a_system_reads_early_are_looked_at() {
    let sound = sound();
    let without = |word: &str| {
        let words: Vec<&str> = sound.split_whitespace().filter(|known| *known != word).collect();
        found(&words.join(" "))
    };
    assert_eq!(without("etc/passwd=root:x:0:0:::%0a"), ["no-passwd /etc/passwd"]);
    assert_eq!(without("etc/resolv.conf=nameserver%20::1%0a"), ["no-resolv-conf /etc/resolv.conf"]);
    assert_eq!(without("dev/"), ["NO-MOUNT-POINT /dev"]);
    assert_eq!(without("tmp/"), ["no-mount-point /tmp"]);
    let with = |words: &str| found(&format!("{sound} {words}"));
    assert_eq!(with("etc/passwd=a:x:1:0:::%0a"), ["no-root /etc/passwd"]);
    for text in
        ["", "%23%20nameserver%20::1%0a", "search%20x%0anameserver%20%0a", "nameservers%20x"]
    {
        let found = with(&format!("etc/resolv.conf={text}"));
        assert_eq!(found, ["no-resolv-conf /etc/resolv.conf"], "{text}");
    }
    assert_eq!(with("etc/resolv.conf=search%20x%0a%20nameserver%09::1"), Vec::<String>::new());
    assert_eq!(
        with("dev/console= dev/null=text dev/zero->null dev/other="),
        ["not-a-device /dev/console", "not-a-device /dev/null"]
    );
    assert_eq!(with("etc/resolv.conf->../run/x"), ["no-resolv-conf /etc/resolv.conf"]);
    // The generated init writes it if it has whom to ask; otherwise the kernel can.
    let init = "etc/resolv.conf= sbin/banger-init=#!/bin/sh";
    let findings = linted(image(&format!("{sound} {init}")), None).unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].id, "no-resolv-conf");
    assert!(findings[0].hint.as_ref().unwrap().contains("ip=dhcp"), "{findings:?}");
    for client in ["usr/sbin/dhclient", "sbin/dhcpcd", "bin/busybox"] {
        assert_eq!(with(&format!("{init} {client}=x")), Vec::<String>::new(), "{client}");
    }
}

#[test]
fn lines_of_fstab_that_wait_for_other_devices_are_found() {
    let with = |line: &str| {
        let line = line.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02x}"));
        found(&format!("{} etc/fstab={line}", sound())).len()
    };
    for line in [
        "# UNCONFIGURED FSTAB\n",
        "LABEL= / ext4 defaults 0 1",
        "UUID=11111111-1111-1111-1111-111111111111 / ext4 rw",
        "UUID=\"11111111-1111-1111-1111-111111111111\" / ext4 rw",
        "UUID=0 /x ext4 nofail 0 1",
        "/dev/sda1 /x ext4 noauto,ro 0 1",
        "#/dev/sda1 /x ext4 ro 0 1",
        "tmpfs /tmp tmpfs defaults",
        "/dev/root / ext4 rw",
        "\n\n\u{fffd} x",
    ] {
        assert_eq!(with(line), 0, "{line}");
    }
    for line in
        ["UUID=0 / ext4 rw", "LABEL=x / ext4 rw", "/dev/sda1 / ext4 rw", "PARTUUID=1 / ext4 rw"]
    {
        assert_eq!(with(line), 1, "{line}");
    }
    assert_eq!(with(&"UUID=0 / ext4 rw\n".repeat(100)), 20);
}

#[test]
fn what_systemd_needs_is_looked_at() {
    let program = program("amd64");
    let sound = format!(
        "{ROOT} lib/ld=x bin/sh={program} sbin/init->/lib/systemd/systemd lib/systemd/systemd={program} \
         lib/systemd/system/default.target=x lib/systemd/system/serial-getty@.service=x sbin/agetty=x \
         lib/systemd/system-generators/systemd-getty-generator=x etc/machine-id="
    );
    assert_eq!(found(&sound), Vec::<String>::new());
    let without = |start: &str| {
        let words = sound.split_whitespace().filter(|known| !known.starts_with(start));
        found(&words.collect::<Vec<_>>().join(" "))
    };
    assert_eq!(without("etc/machine-id"), ["machine-id-missing /etc/machine-id"]);
    assert_eq!(without("lib/systemd/system/default"), ["NO-DEFAULT-TARGET -"]);
    assert_eq!(without("lib/systemd/system-generators"), ["no-serial-getty -"]);
    assert_eq!(without("sbin/agetty"), ["no-serial-getty -"]);
    let with = |words: &str| found(&format!("{sound} {words}"));
    let id = "0123456789abcdef0123456789abcdef";
    assert_eq!(with(&format!("etc/machine-id={id}%0a")), ["machine-id-shared /etc/machine-id"]);
    assert_eq!(with("etc/machine-id=short"), ["MACHINE-ID-INVALID /etc/machine-id"]);
    assert_eq!(with("etc/machine-id=uninitialized%0a"), Vec::<String>::new());
    assert_eq!(with(".dockerenv="), ["container-marker /.dockerenv"]);
    // A service writes what the link leads to.
    assert_eq!(
        with("etc/resolv.conf->../run/systemd/resolve/stub-resolv.conf"),
        Vec::<String>::new()
    );
    assert_eq!(with("etc/systemd/system/default.target->/none").len(), 0);
    // tmpfiles make the link where there is nothing, and only there.
    let link = "lib/tmpfiles.d/systemd-resolve.conf=L!%20/etc/resolv.conf";
    let unresolved = ["no-resolv-conf /etc/resolv.conf"];
    assert_eq!(without("etc/resolv.conf"), unresolved);
    for text in ["", "%23%20generated%0a"] {
        assert_eq!(with(&format!("etc/resolv.conf={text}")), unresolved, "{text}");
        assert_eq!(with(&format!("{link} etc/resolv.conf={text}")), unresolved, "{text}");
    }
    let without_file: Vec<&str> =
        sound.split_whitespace().filter(|known| !known.starts_with("etc/resolv.conf")).collect();
    assert_eq!(found(&format!("{} {link}", without_file.join(" "))), Vec::<String>::new());
}

#[test]
fn what_is_no_filesystem_is_a_finding_of_its_own() {
    let findings = lint_or_say_why(vec![0; 4096], None);
    assert_eq!((findings.len(), findings[0].id), (1, "unreadable"));
    assert!(linted(vec![0; 4096], None).is_err());
}
