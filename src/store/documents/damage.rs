//! The part of a head that says where the journal on a target breaks.

use mongodb::bson::{Bson, doc};

use super::{Fields, date};
use crate::domain::damage::JournalDamage;
use crate::domain::history::{Sequence, Timeline};
use crate::store::StoreError;

/// What the damage is stored as.
pub(in crate::store) fn damage_array(damage: &[JournalDamage]) -> Bson {
    let each = |damage: &JournalDamage| {
        doc! {
            "target": damage.target.as_str(),
            "timeline": damage.timeline.0,
            "after": damage.after.0,
            "until": damage.until.map(|until| until.0),
            "found_at": date(damage.found_at),
        }
    };
    Bson::Array(damage.iter().map(|damage| each(damage).into()).collect())
}

/// Reads it.
pub(in crate::store) fn read_damage(fields: &Fields<'_>, field: &str) -> Result<Vec<JournalDamage>, StoreError> {
    fields.list(field, |damage| {
        Ok(JournalDamage {
            target: damage.parsed("target")?,
            timeline: Timeline(damage.int("timeline")?),
            after: Sequence(damage.int("after")?),
            until: damage.opt("until", Fields::int)?.map(Sequence),
            found_at: damage.time("found_at")?,
        })
    })
}
