//! The part of a head that says that its department is diverged.

use mongodb::bson::{Bson, Document, doc};

use super::names::Named as _;
use super::{Fields, date};
use crate::domain::divergence::{Divergence, Evidence, RebaseRequest};
use crate::domain::epoch::Epoch;
use crate::domain::history::{Sequence, Timeline};
use crate::store::StoreError;

/// What a divergence is stored as.
pub(in crate::store) fn divergence_document(divergence: &Divergence) -> Document {
    let Evidence { target, object, timeline, sequence, epoch } = &divergence.evidence;
    doc! {
        "cause": divergence.cause.name(),
        "found_at": date(divergence.found_at),
        "evidence": {
            "target": target.as_str(),
            "object": object,
            "timeline": timeline.0,
            "sequence": sequence.0,
            "epoch": epoch.0,
        },
        "rebase": divergence.rebase.as_ref().map_or(Bson::Null, |request| request_document(request).into()),
    }
}

/// What a wish for a re-base is stored as.
pub(in crate::store) fn request_document(request: &RebaseRequest) -> Document {
    doc! { "requested_by": &request.requested_by, "requested_at": date(request.requested_at) }
}

/// Reads a divergence.
pub(in crate::store) fn read_divergence(fields: &Fields<'_>, field: &str) -> Result<Divergence, StoreError> {
    let fields = fields.sub(field)?;
    let evidence = fields.sub("evidence")?;
    Ok(Divergence {
        cause: fields.named("cause")?,
        found_at: fields.time("found_at")?,
        evidence: Evidence {
            target: evidence.parsed("target")?,
            object: evidence.owned("object")?,
            timeline: Timeline(evidence.int("timeline")?),
            sequence: Sequence(evidence.int("sequence")?),
            epoch: Epoch(evidence.int("epoch")?),
        },
        rebase: fields.opt("rebase", |fields, field| {
            let request = fields.sub(field)?;
            Ok(RebaseRequest {
                requested_by: request.owned("requested_by")?,
                requested_at: request.time("requested_at")?,
            })
        })?,
    })
}
