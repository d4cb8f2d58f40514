//! The model: what MongoDB's own change stream says was committed, in order, and nothing that rollkeeper says.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt as _;
use mongodb::Database;
use mongodb::bson::Document;
use mongodb::change_stream::event::{ChangeStreamEvent, OperationType};
use rollkeeper::domain::user::User;
use tokio::runtime::Handle;

use crate::harness::records::{Records, record};

/// One committed change of a user.
#[derive(Debug, Clone)]
pub(super) struct Event {
    /// Whose record.
    pub(super) user: String,
    /// The record after it; none after a delete.
    pub(super) record: Option<User>,
    /// What the record's rev was before; none where there was no record.
    pub(super) rev_before: Option<String>,
}

#[derive(Debug, Default)]
struct Known {
    events: BTreeMap<String, Vec<Event>>,
    live: HashMap<(String, String), Document>,
}

/// Every change since it was opened, by department.
#[derive(Debug, Clone, Default)]
pub(super) struct Truth(Arc<Mutex<Known>>);

impl Truth {
    /// Begins to listen; what is written after this returns is in it.
    pub(super) async fn open(database: &Database) -> Self {
        let users = database.collection::<Document>("users");
        let mut stream = users.watch().await.expect("open a change stream");
        let truth = Self::default();
        let kept = truth.clone();
        Handle::current().spawn(async move {
            while let Some(event) = stream.next().await {
                kept.lock().take(event.expect("read the change stream"));
            }
        });
        truth
    }

    /// How many changes a department has had.
    pub(super) fn count(&self, department: &str) -> usize {
        self.lock().events.get(department).map_or(0, Vec::len)
    }

    /// The changes of a department so far.
    pub(super) fn events(&self, department: &str) -> Vec<Event> {
        self.lock().events.get(department).cloned().unwrap_or_default()
    }

    /// Whether a record with this rev was ever written.
    pub(super) fn has_seen(&self, department: &str, rev: &str) -> bool {
        let known = self.lock();
        let is = |event: &Event| event.record.as_ref().is_some_and(|record| record.rev.to_string() == rev);
        known.events.get(department).is_some_and(|events| events.iter().rev().any(is))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn take(&mut self, event: ChangeStreamEvent<Document>) {
        let key = event.document_key.expect("have a key");
        let key = key.get_document("_id").expect("have an _id");
        let text = |field: &str| key.get_str(field).expect("be a text").to_owned();
        let (department, user) = (text("department"), text("id"));
        let at = (department.clone(), user.clone());
        let before = self.live.remove(&at);
        let after = match event.operation_type {
            OperationType::Insert | OperationType::Replace => Some(event.full_document.expect("have a document")),
            OperationType::Update => {
                // Never looked up: a lookup shows a later document.
                let mut document = before.clone().expect("know what is updated");
                let described = event.update_description.expect("have a description");
                assert!(described.removed_fields.is_empty(), "nobody removes fields");
                document.extend(described.updated_fields);
                Some(document)
            }
            OperationType::Delete => None,
            other => panic!("an event of another kind: {other:?}"),
        };
        let rev_before = before.as_ref().map(|before| record(before).rev.to_string());
        let record = after.as_ref().map(record);
        if let Some(after) = after {
            self.live.insert(at, after);
        }
        self.events.entry(department).or_default().push(Event { user, record, rev_before });
    }
}

/// The records after each of some counts of changes, folded once.
pub(super) fn states_at(events: &[Event], counts: impl IntoIterator<Item = usize>) -> BTreeMap<usize, Records> {
    let mut states: BTreeMap<usize, Records> = counts.into_iter().map(|count| (count, Records::new())).collect();
    let mut records = Records::new();
    for count in 0..=events.len() {
        if let Some(event) = count.checked_sub(1).map(|before| &events[before]) {
            match &event.record {
                Some(record) => records.insert(event.user.clone(), record.clone()),
                None => records.remove(&event.user),
            };
        }
        if let Some(state) = states.get_mut(&count) {
            state.clone_from(&records);
        }
    }
    states
}
