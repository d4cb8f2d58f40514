//! The snapshot manifest: header, one line a chunk, root.

/// A snapshot manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Number of records.
    pub records: u64,
    /// Sealed bytes of all chunks and the manifest itself.
    pub bytes: u64,
    /// Merkle root over all records, in hexadecimal.
    pub root: String,
}
