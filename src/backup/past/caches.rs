//! What is kept in memory of what was read of the past: each cache is bounded in bytes, all together in about 80 MiB.

use std::hash::Hash;
use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::indexed::IndexedSegment;
use crate::backup::Snapshot;
use crate::backup::listing::Listing;
use crate::backup::segment::SegmentLines;
use crate::backup::state::State;
use crate::domain::history::{Chain, Sequence, Timeline};
use crate::domain::ids::DepartmentName;
use crate::targets::layout::ObjectPath;

const MIB: u64 = 1024 * 1024;

/// The caches of one replica.
#[derive(Debug)]
pub(super) struct Caches {
    /// What changes in which segment: about 1.1 million changes.
    pub(super) segments: Cache<ObjectPath, Arc<IndexedSegment>, Bytes>,
    /// Plain lines of the segments that were read last.
    pub(super) lines: Cache<ObjectPath, Arc<SegmentLines>, Bytes>,
    /// The chain at points within segments.
    pub(super) chains: Cache<(ObjectPath, Sequence), Chain, Bytes>,
    /// Names of segments.
    pub(super) listings: Cache<(DepartmentName, Timeline), Arc<Listing>, Bytes>,
    /// Manifests of snapshots.
    pub(super) snapshots: Cache<String, Snapshot, Bytes>,
    /// Whole departments at a point: what their changes left of the users that they touched.
    pub(super) states: Cache<(DepartmentName, Timeline, Sequence), State, Bytes>,
}

impl Default for Caches {
    fn default() -> Self {
        Self {
            segments: bounded(4096, 32 * MIB),
            lines: bounded(64, 12 * MIB),
            chains: bounded(16_384, 4 * MIB),
            listings: bounded(256, 8 * MIB),
            snapshots: bounded(64, 8 * MIB),
            states: bounded(16, 16 * MIB),
        }
    }
}

/// One shard: a cache cut in many would hold no item bigger than its share.
fn bounded<K, V>(items: usize, bytes: u64) -> Cache<K, V, Bytes>
where
    K: Eq + Hash,
    V: Clone,
    Bytes: Weighter<K, V> + Clone,
{
    let options = OptionsBuilder::new().estimated_items_capacity(items).weight_capacity(bytes).shards(1).build();
    let options = options.unwrap_or_else(|_| unreachable!("both capacities are given"));
    Cache::with_options(options, Bytes, DefaultHashBuilder::default(), DefaultLifecycle::default())
}

/// Weighs what is kept, roughly.
#[derive(Debug, Clone)]
pub(super) struct Bytes;

impl Weighter<ObjectPath, Arc<IndexedSegment>> for Bytes {
    fn weight(&self, _: &ObjectPath, segment: &Arc<IndexedSegment>) -> u64 {
        segment.weight()
    }
}

impl Weighter<ObjectPath, Arc<SegmentLines>> for Bytes {
    fn weight(&self, _: &ObjectPath, lines: &Arc<SegmentLines>) -> u64 {
        256 + lines.body().len() as u64
    }
}

impl Weighter<(ObjectPath, Sequence), Chain> for Bytes {
    fn weight(&self, _: &(ObjectPath, Sequence), _: &Chain) -> u64 {
        256
    }
}

impl Weighter<(DepartmentName, Timeline), Arc<Listing>> for Bytes {
    fn weight(&self, _: &(DepartmentName, Timeline), listing: &Arc<Listing>) -> u64 {
        listing.weight()
    }
}

impl Weighter<String, Snapshot> for Bytes {
    fn weight(&self, _: &String, snapshot: &Snapshot) -> u64 {
        const CHUNK: usize = 512;
        (1024 + snapshot.manifest().chunks.len() * CHUNK) as u64
    }
}

impl Weighter<(DepartmentName, Timeline, Sequence), State> for Bytes {
    fn weight(&self, _: &(DepartmentName, Timeline, Sequence), state: &State) -> u64 {
        (1024 + state.weight()) as u64
    }
}
