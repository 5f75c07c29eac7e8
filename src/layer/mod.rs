//! A blob's bytes to tar entries: decompression, digests, headers, limits.
