//! Blobs on disk: verified, shared between processes.
