//! Heads that somebody dropped with the whole database: the leader still knows its own.

use mongodb::bson::{Bson, Document, doc};

use super::StoreError;
use super::documents::heads::{journal_array, place_document, position_document, source_document};
use super::documents::{date, opt_date};
use super::error::write;
use super::heads::Heads;
use crate::domain::epoch::Leadership;
use crate::domain::history::{Gap, Head};

impl Heads {
    /// Puts a head back as its leader knows it, where there is none any more; else sequence and timeline would begin anew
    /// beside targets that hold them already.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn put_back(&self, leadership: &Leadership, head: &Head) -> Result<(), StoreError> {
        let filter = doc! { "_id": leadership.department.as_str() };
        let mut document = position_document(&head.position);
        document.extend(doc! {
            "epoch": leadership.epoch.0,
            "timeline": head.timeline.0,
            "source": source_document(&head.source),
            "gaps": head.gaps.iter().map(gap_document).collect::<Vec<_>>(),
            "begin": head.begin.map_or(Bson::Null, |place| place_document(place).into()),
            "behind_since": opt_date(head.behind_since),
            "journal": journal_array(&head.journal),
        });
        let put = self.heads.update_one(filter, doc! { "$setOnInsert": document }).upsert(true);
        match write(put).await {
            // A new leader made one in the same moment.
            Ok(_) | Err(StoreError::Taken(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn gap_document(gap: &Gap) -> Document {
    doc! {
        "timeline": gap.timeline.0,
        "after": gap.after.0,
        "time": date(gap.time),
        "found_at": date(gap.found_at),
        "cause": &gap.cause,
    }
}
