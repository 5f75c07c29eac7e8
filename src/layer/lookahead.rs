//! Layers that are decompressed before their turn, so that no processor waits for another.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;

use super::pool::{CHUNK, OWN, Pool};
use super::{LayerBlob, LayerStream, Limits, ahead, input, widen, xz, zstandard};
use crate::error::Result;

/// What a stream takes besides its chunks: a window and compressed bytes. bzip2 takes less.
const BESIDE: usize = zstandard::USUAL_WINDOW + xz::BESIDE_WINDOW + input::CAPACITY + ahead::AHEAD;

/// How much decompressing ahead of the reader may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The bytes that all layers which are decompressed at once may take together: chunks, usual
    /// windows, compressed pieces. A layer that is read has what it needs, some 16 MiB or the window
    /// that it asks for, whatever stands here.
    pub bytes: u64,
    /// How many layers are decompressed at once, at least one.
    pub layers: usize,
}

impl Memory {
    /// What is taken by default: 80 MiB. Three times as much made a pull of 1.3 GB 3 % faster.
    pub const DEFAULT: u64 = 80 << 20;

    /// So many bytes, for the layers that this host can decompress at once.
    #[must_use]
    pub fn of_host(bytes: u64) -> Self {
        // The layer that is read keeps two processors busy: one inflates, one hashes and writes.
        // Those after it get what that leaves; beyond eight nothing is left but the memory's share.
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { bytes, layers: processors.min(8) }
    }

    /// So many layers as have what each needs, and the chunks that are left.
    fn shares(self) -> (usize, usize) {
        let chunks = usize::try_from(self.bytes / widen(CHUNK)).unwrap_or(usize::MAX);
        let each = OWN + BESIDE.div_ceil(CHUNK);
        let streams = self.layers.min(chunks / each).max(1);
        (streams, chunks.saturating_sub(streams.saturating_mul(each)))
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::of_host(Self::DEFAULT)
    }
}

/// Gives layers in their order, while those that follow are already being decompressed.
///
/// What is given, errors included, is the same whatever the memory: only the time differs.
pub struct LookAhead<I> {
    blobs: I,
    limits: Limits,
    pool: Arc<Pool>,
    /// The streams that are open at once, with the one that is being read.
    streams: usize,
    /// Those whose turn has not come, in their order, from this number.
    waiting: VecDeque<Result<LayerStream>>,
    next: usize,
}

impl<I, R> LookAhead<I>
where
    I: Iterator<Item = Result<LayerBlob<R>>>,
    R: Read + Send + 'static,
{
    /// Takes blobs as they are wanted, oldest first.
    pub fn new(blobs: I, limits: &Limits, memory: Memory) -> Self {
        let (streams, shared) = memory.shares();
        let pool = Pool::new(shared);
        Self { blobs, limits: limits.clone(), pool, streams, waiting: VecDeque::new(), next: 0 }
    }

    fn open(&self, blob: Result<LayerBlob<R>>) -> Result<LayerStream> {
        let number = self.next.saturating_add(self.waiting.len());
        LayerStream::start(blob?, &self.limits, self.pool.join(number))
    }
}

impl<I, R> Iterator for LookAhead<I>
where
    I: Iterator<Item = Result<LayerBlob<R>>>,
    R: Read + Send + 'static,
{
    type Item = Result<LayerStream>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.waiting.len() < self.streams
            && let Some(blob) = self.blobs.next()
        {
            let stream = self.open(blob);
            self.waiting.push_back(stream);
        }
        if self.blobs.size_hint().1 == Some(0) {
            self.pool.complete();
        }
        let stream = self.waiting.pop_front()?;
        self.pool.begin_turn(self.next);
        self.next = self.next.saturating_add(1);
        Some(stream.and_then(|mut stream| {
            stream.begin()?;
            Ok(stream)
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::digest::Digest;
    use crate::error::Error;
    use crate::layer::forge::{bzip2, gzip, xz};

    fn blob(number: usize, body: &[u8], packed: Vec<u8>) -> LayerBlob<io::Cursor<Vec<u8>>> {
        LayerBlob {
            name: format!("layer {number}"),
            reader: io::Cursor::new(packed),
            verified: None,
            diff_id: Some(Digest::sha256_of(body)),
        }
    }

    /// Layers of several chunks in every form.
    fn layers() -> Vec<(Vec<u8>, Vec<u8>)> {
        let body = |number: usize| vec![b'a'; 3 * CHUNK * number + 5 * number];
        let pack = |number: usize, body: &[u8]| match number % 5 {
            0 => body.to_vec(),
            1 => gzip(body),
            2 => xz(body),
            3 => bzip2(body),
            _ => zstd::encode_all(body, 1).unwrap(),
        };
        (0..7).map(|number| (body(number), pack(number, &body(number)))).collect()
    }

    const MEMORIES: [Memory; 5] = [
        Memory { bytes: 0, layers: 1 },
        Memory { bytes: 0, layers: 9 },
        Memory { bytes: 40 << 20, layers: 2 },
        Memory { bytes: Memory::DEFAULT, layers: 1 },
        Memory { bytes: Memory::DEFAULT, layers: 9 },
    ];

    #[test]
    fn every_memory_gives_the_same_layers_in_their_order() {
        for memory in MEMORIES {
            let made = layers();
            let blobs = made.iter().enumerate();
            let blobs = blobs.map(|(n, (body, packed))| Ok(blob(n, body, packed.clone())));
            let mut ahead = LookAhead::new(blobs, &Limits::default(), memory);
            let pool = Arc::clone(&ahead.pool);
            let mut count = 0;
            for ((body, _), stream) in made.iter().zip(&mut ahead) {
                let mut stream = stream.unwrap();
                let mut got = Vec::new();
                stream.read_to_end(&mut got).unwrap();
                assert!(got == *body, "layer {count} with {memory:?}");
                stream.finish().unwrap();
                count += 1;
            }
            assert_eq!(count, 7);
            drop(ahead);
            wait_for_threads(&pool);
        }
    }

    #[test]
    fn an_error_comes_at_the_turn_of_its_layer() {
        for memory in MEMORIES {
            let (good, bad) = (gzip(b"good"), b"LZIP\x01".to_vec());
            let missing = || Err(Error::not_found("layer 2 is not there"));
            let blobs = [Ok(blob(0, b"good", good)), Ok(blob(1, b"", bad)), missing()];
            let mut ahead = LookAhead::new(blobs.into_iter(), &Limits::default(), memory);
            ahead.next().unwrap().unwrap().finish().unwrap();
            let codes: Vec<u8> = ahead.map(|stream| stream.err().unwrap().exit_code()).collect();
            assert_eq!(codes, [65, 66], "{memory:?}");
        }
    }

    #[test]
    fn layers_that_nobody_reads_any_longer_are_given_up() {
        let made = layers();
        let blobs = made.iter().map(|(body, packed)| Ok(blob(0, body, packed.clone())));
        let mut ahead = LookAhead::new(blobs, &Limits::default(), MEMORIES[2]);
        let pool = Arc::clone(&ahead.pool);
        drop(ahead.next());
        drop(ahead);
        wait_for_threads(&pool);
    }

    /// Every thread holds the pool as long as it lives.
    fn wait_for_threads(pool: &Arc<Pool>) {
        while Arc::strong_count(pool) > 1 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn memory_is_divided_among_layers_that_need_their_own() {
        let shares = |bytes, layers| Memory { bytes, layers }.shares();
        assert_eq!(shares(0, 8), (1, 0));
        assert_eq!(shares(35 << 20, 8).0, 1);
        assert_eq!(shares(38 << 20, 8), (2, 1));
        assert_eq!(shares(256 << 20, 2), (2, 110));
        assert_eq!(shares(u64::MAX, 1).0, 1);
    }
}
