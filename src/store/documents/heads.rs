//! The heads document.

use mongodb::bson::{Bson, Document, doc};

use super::damage::read_damage;
use super::divergence::read_divergence;
use super::{Fields, binary, date, long, timestamp};
use crate::domain::clock::Timestamp;
use crate::domain::drift::Drift;
use crate::domain::epoch::Epoch;
use crate::domain::history::{
    Chain, ClusterTime, Gap, Head, JournalCopy, Position, Sequence, Source, StreamToken, Timeline,
};
use crate::domain::ids::UserId;
use crate::domain::window::Place;
use crate::store::StoreError;

/// What a position sets in a head.
pub(in crate::store) fn position_document(position: &Position) -> Document {
    doc! {
        "sequence": position.sequence.0,
        "chain": binary(&position.chain.0),
        "time": date(position.time),
        "closed": position.closed,
        "cluster_time": timestamp(position.cluster_time),
        "balance": position.balance,
        "token": position.token.as_ref().map_or(Bson::Null, |token| binary(&token.0)),
    }
}

/// What a history comes from.
pub(in crate::store) fn source_document(source: &Source) -> Document {
    doc! { "replica_set_id": &source.replica_set_id, "users_uuid": &source.users_uuid }
}

/// All fields of a fresh head but `_id` and `epoch`: timeline 1, sequence 0, at a cluster time.
pub(in crate::store) fn fresh_head(source: &Source, at: ClusterTime) -> Document {
    let begin = Position {
        sequence: Sequence(0),
        chain: Chain::GENESIS,
        time: Timestamp::from_millis(i64::from(at.seconds) * 1000),
        // The beginning can be read for ever: the first change is later.
        closed: true,
        cluster_time: at,
        balance: 0,
        token: None,
    };
    let mut head = position_document(&begin);
    head.insert("timeline", 1_i64);
    head.insert("source", source_document(source));
    head.insert("gaps", Bson::Array(Vec::new()));
    head.insert("begin", Bson::Null);
    head.insert("behind_since", Bson::Null);
    head.insert("journal", Bson::Array(Vec::new()));
    head
}

/// The empty beginning of a department whose first user cannot have come before a cluster time.
pub(in crate::store) fn empty_beginning(at: ClusterTime) -> Document {
    let time = Timestamp::from_millis(i64::from(at.seconds) * 1000);
    place_document(Place { timeline: Timeline(1), sequence: Sequence(0), time })
}

/// A place of a history.
pub(in crate::store) fn place_document(place: Place) -> Document {
    doc! { "timeline": place.timeline.0, "sequence": place.sequence.0, "time": date(place.time) }
}

/// A break of a history.
pub(in crate::store) fn gap_document(gap: &Gap) -> Document {
    doc! {
        "timeline": gap.timeline.0,
        "after": gap.after.0,
        "goes_on_after": gap.goes_on_after.0,
        "time": date(gap.time),
        "found_at": date(gap.found_at),
        "cause": &gap.cause,
    }
}

/// What a comparison with the live records found.
pub(in crate::store) fn drift_document(drift: &Drift) -> Document {
    doc! {
        "checked_at": date(drift.checked_at),
        "timeline": drift.timeline.0,
        "sequence": drift.sequence.0,
        "records": long(drift.records),
        "differing": long(drift.differing),
        "ids": drift.ids.iter().map(UserId::as_str).collect::<Vec<_>>(),
    }
}

fn read_drift(fields: &Fields<'_>, field: &str) -> Result<Drift, StoreError> {
    let drift = fields.sub(field)?;
    Ok(Drift {
        checked_at: drift.time("checked_at")?,
        timeline: Timeline(drift.int("timeline")?),
        sequence: Sequence(drift.int("sequence")?),
        records: drift.count("records")?,
        differing: drift.count("differing")?,
        ids: drift.texts("ids", |id| id.parse().ok())?,
    })
}

fn read_place(fields: &Fields<'_>, field: &str) -> Result<Place, StoreError> {
    let place = fields.sub(field)?;
    Ok(Place {
        timeline: Timeline(place.int("timeline")?),
        sequence: Sequence(place.int("sequence")?),
        time: place.time("time")?,
    })
}

/// How far each target holds the journal.
pub(in crate::store) fn journal_array(journal: &[JournalCopy]) -> Bson {
    let each = |copy: &JournalCopy| doc! { "target": copy.target.as_str(), "through": copy.through.0 };
    Bson::Array(journal.iter().map(|copy| each(copy).into()).collect())
}

/// Reads how far each target holds the journal.
pub(in crate::store) fn read_journal(fields: &Fields<'_>, field: &str) -> Result<Vec<JournalCopy>, StoreError> {
    fields
        .list(field, |copy| Ok(JournalCopy { target: copy.parsed("target")?, through: Sequence(copy.int("through")?) }))
}

/// Reads a head.
pub(in crate::store) fn read_head(document: &Document) -> Result<Head, StoreError> {
    let fields = Fields::of("heads", document);
    let source = fields.sub("source")?;
    Ok(Head {
        department: fields.parsed("_id")?,
        epoch: Epoch(fields.int("epoch")?),
        timeline: Timeline(fields.int("timeline")?),
        position: Position {
            sequence: Sequence(fields.int("sequence")?),
            chain: Chain(fields.hash("chain")?),
            time: fields.time("time")?,
            closed: fields.opt("closed", Fields::flag)?.unwrap_or(false),
            cluster_time: fields.cluster_time("cluster_time")?,
            balance: fields.int("balance")?,
            token: fields.opt("token", Fields::bytes)?.map(StreamToken),
        },
        source: Source { replica_set_id: source.owned("replica_set_id")?, users_uuid: source.owned("users_uuid")? },
        gaps: fields.list("gaps", |gap| {
            let after = gap.int("after")?;
            Ok(Gap {
                timeline: Timeline(gap.int("timeline")?),
                after: Sequence(after),
                goes_on_after: Sequence(gap.opt("goes_on_after", Fields::int)?.unwrap_or(after)),
                time: gap.time("time")?,
                found_at: gap.time("found_at")?,
                cause: gap.owned("cause")?,
            })
        })?,
        begin: fields.opt("begin", read_place)?,
        behind_since: fields.opt("behind_since", Fields::time)?,
        // Heads of before the journal have none.
        journal: fields.opt("journal", read_journal)?.unwrap_or_default(),
        damage: fields.opt("damage", read_damage)?.unwrap_or_default(),
        drift: fields.opt("drift", read_drift)?,
        diverged: fields.opt("diverged", read_divergence)?,
    })
}
