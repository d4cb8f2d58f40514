//! The Merkle root over a snapshot's records without `rev`, `version` and `updated_at`.
//!
//! Leaves, nodes and the empty tree are hashed apart from each other, so that none can stand for another.

use super::Repository;

/// A hash value.
pub type Digest = [u8; 32];

const LEAF: &[u8] = &[0];
const NODE: &[u8] = &[1];
const EMPTY: &[u8] = &[2];

impl Repository {
    /// The root over the digests of all chunks in order; an empty snapshot has a root of its own.
    pub fn merkle_root(&self, digests: &[Digest]) -> Digest {
        let hash = |parts: [&[u8]; 3]| -> Digest {
            let mut hasher = blake3::Hasher::new_keyed(&self.keys().root);
            for part in parts {
                hasher.update(part);
            }
            *hasher.finalize().as_bytes()
        };
        let mut level: Vec<Digest> = digests.iter().map(|digest| hash([LEAF, digest, &[]])).collect();
        while level.len() > 1 {
            level = level
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => hash([NODE, left, right]),
                    // An odd one goes up as it is.
                    odd => odd.first().copied().unwrap_or_default(),
                })
                .collect();
        }
        level.first().copied().unwrap_or_else(|| hash([EMPTY, &[], &[]]))
    }
}
