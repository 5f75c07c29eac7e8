//! The options for how much is done at once.

use clap::Args;

use crate::image::parse_bytes;
use crate::layer::Memory;

/// How much of the host a pull may take.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct Concurrency {
    /// How many layers are fetched at once, and decompressed [default: 4, and one for every
    /// processor up to 8]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) jobs: Option<u16>,
    /// The memory for layers that are decompressed before their turn; less takes longer
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "80M")]
    memory: u64,
}

impl Concurrency {
    /// What decompressing ahead may take.
    pub(super) fn memory(&self) -> Memory {
        let Self { jobs, memory } = *self;
        jobs.map_or_else(
            || Memory::of_host(memory),
            |jobs| Memory { bytes: memory, layers: jobs.into() },
        )
    }
}
