//! Any bytes as an image, and any edit of it: an answer, with no panic and no end of memory.
//!
//! Bytes alone hardly ever are a filesystem. So they are changes as well: the first byte chooses one
//! of three small images, the second says how many of the fours behind it put a byte into that, and
//! the rest are steps of an edit. What was sound stays so.

#![no_main]

use std::io::Read;
use std::sync::OnceLock;

use banger_fuzz::damaged::sound;
use ext4_writer::check::{Judge, Options, check};
use ext4_writer::edit::{Device, EditResult, Editor};
use ext4_writer::reader::Links;
use ext4_writer::{FileContent, Metadata, Reserved, Size, Special, Timestamp};
use libfuzzer_sys::fuzz_target;

const NOW: Timestamp = Timestamp { seconds: 1_790_000_000, nanoseconds: 5 };
/// The longest image, grown or not.
const LONGEST: usize = 64 << 20;

fn image(features: &str) -> Vec<u8> {
    sound(features, Size::Fixed(8 << 20))
}

fn step<D: Device>(editor: &mut Editor<D>, [kind, one, other]: [u8; 3]) -> EditResult<()> {
    let (root, metadata) = (editor.root(), Metadata::root_owned(0o755, NOW));
    let many = editor.resolve(b"/link", Links::Follow)?;
    let old = format!("a-name-that-fills-blocks-{}", one % 64);
    let new = format!("new-{one}-{}", "x".repeat(usize::from(other % 200)));
    let directory = if other & 1 == 0 { root } else { many };
    match kind % 12 {
        0 | 1 => {
            let size = u64::from(one) * u64::from(other);
            let mut content = std::io::repeat(b'y').take(size);
            let content = FileContent::new(size, &mut content);
            editor.add_file(directory, new.as_bytes(), &metadata, content).map(drop)
        }
        2 => editor.add_directory(directory, new.as_bytes(), &metadata).map(drop),
        3 => editor.add_symlink(directory, new.as_bytes(), &metadata, new.as_bytes()).map(drop),
        4 => editor.add_special(directory, new.as_bytes(), &metadata, Special::Fifo).map(drop),
        5 => editor.remove(many, old.as_bytes()),
        6 => editor.rename(many, old.as_bytes(), directory, new.as_bytes()),
        7 => {
            let node = editor.lookup(many, old.as_bytes())?.unwrap_or(many);
            editor.set_xattr(node, b"user.other", &vec![other; usize::from(one) * 4])
        }
        8 => {
            let node = editor.detach(many, old.as_bytes())?;
            if other & 2 == 0 {
                editor.add_link(root, new.as_bytes(), node)?;
            }
            editor.discard(node)
        }
        9 => editor.set_reserved(Reserved::Percent(one)),
        10 => editor.set_label(&[one, other]),
        _ => editor.remove(root, b"many"),
    }
}

fn is_sound(image: &[u8]) -> bool {
    let options = Options { threads: 1, ..Options::default() };
    check(&image, &options).expect("memory can be read").is_sound(Judge::Kernel)
}

fn edit(image: Vec<u8>, steps: &[u8]) {
    let was_sound = is_sound(&image);
    let Ok(mut editor) = Editor::open(image, NOW) else { return };
    for bytes in steps.chunks_exact(3) {
        let _ = step(&mut editor, [bytes[0], bytes[1], bytes[2]]);
    }
    if let Ok(after) = editor.commit() {
        assert!(!was_sound || is_sound(&after), "the edit damaged the image");
    }
}

fuzz_target!(|bytes: &[u8]| {
    static IMAGES: OnceLock<[Vec<u8>; 3]> = OnceLock::new();
    let images = IMAGES.get_or_init(|| {
        ["^metadata_csum", "^metadata_csum,inline_data,^64bit", "metadata_csum_seed"].map(image)
    });
    if bytes.len() <= LONGEST {
        edit(bytes.to_vec(), &bytes[..bytes.len().min(60)]);
    }
    let [choice, count, rest @ ..] = bytes else { return };
    let mut image = images[usize::from(choice % 3)].clone();
    let (changes, steps) = rest.split_at((usize::from(*count) * 4).min(rest.len() / 2));
    for change in changes.chunks_exact(4) {
        let place = u32::from_le_bytes([change[0], change[1], change[2], 0]);
        let place = usize::try_from(place).expect("24 bits") % image.len();
        image[place] = change[3];
    }
    edit(image, steps);
});
