//! The model: what MongoDB's own change stream says was committed, in order.
//!
//! Of rollkeeper it believes one thing, and only as far as everything else agrees: the moment at which a head begins a new
//! line of history, so that sequences can be counted from there.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt as _;
use mongodb::Database;
use mongodb::bson::{Bson, Document, Timestamp, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::{ChangeStreamEvent, OperationType, ResumeToken};
use rollkeeper::domain::user::User;
use tokio::runtime::Handle;

use super::DEPARTMENTS;
use super::history::{Event, History, Line};
use crate::harness::records::record;

#[derive(Debug, Default)]
struct Known {
    histories: BTreeMap<String, History>,
    live: HashMap<(String, String), Document>,
    heads: HashMap<String, Document>,
}

/// Every change since it was opened, by department.
#[derive(Debug, Clone, Default)]
pub(super) struct Truth(Arc<Mutex<Known>>);

impl Truth {
    /// Begins to listen; what is written after this returns is in it.
    pub(super) async fn open(database: &Database) -> Self {
        let (truth, database) = (Self::default(), database.clone());
        let mut stream = watch(&database, None).await.expect("open a change stream");
        let kept = truth.clone();
        Handle::current().spawn(async move {
            loop {
                let token = stream.resume_token();
                match stream.next().await {
                    Some(Ok(event)) => kept.lock().take(event),
                    // A change of primary; a token knows where to go on.
                    _ => stream = watch_again(&database, token).await,
                }
            }
        });
        truth
    }

    /// How many changes a department has had.
    pub(super) fn count(&self, department: &str) -> usize {
        self.lock().histories.get(department).map_or(0, |history| history.events.len())
    }

    /// What is known of a department so far.
    pub(super) fn history(&self, department: &str) -> History {
        self.lock().histories.get(department).cloned().unwrap_or_default()
    }

    /// Whether a record with this rev was ever written.
    pub(super) fn has_seen(&self, department: &str, rev: &str) -> bool {
        let known = self.lock();
        let is = |event: &Event| event.record.as_ref().is_some_and(|record| record.rev.to_string() == rev);
        known.histories.get(department).is_some_and(|history| history.events.iter().rev().any(is))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn watch(database: &Database, after: Option<ResumeToken>) -> Option<ChangeStream<ChangeStreamEvent<Document>>> {
    let wanted = doc! { "$match": { "ns.coll": { "$in": ["users", "heads"] } } };
    database.watch().pipeline([wanted]).resume_after(after).await.ok()
}

/// Listens anew; each attempt waits for a primary by itself.
async fn watch_again(database: &Database, after: Option<ResumeToken>) -> ChangeStream<ChangeStreamEvent<Document>> {
    loop {
        if let Some(stream) = watch(database, after.clone()).await {
            return stream;
        }
    }
}

impl Known {
    fn take(&mut self, event: ChangeStreamEvent<Document>) {
        let collection = event.ns.as_ref().and_then(|ns| ns.coll.clone());
        let at = event.cluster_time.expect("have a cluster time");
        match (collection.as_deref(), &event.operation_type) {
            (Some("users"), OperationType::Drop) => {
                self.live.clear();
                for department in DEPARTMENTS {
                    self.push(department, Event { at, cleared: true, ..Event::default() });
                }
            }
            (Some("users"), _) => self.take_user(at, event),
            _ => self.take_head(event),
        }
    }

    fn push(&mut self, department: &str, event: Event) {
        self.histories.entry(department.to_owned()).or_default().events.push(event);
    }

    fn take_user(&mut self, at: Timestamp, event: ChangeStreamEvent<Document>) {
        let key = event.document_key.expect("have a key");
        let key = key.get_document("_id").expect("have an _id");
        let text = |field: &str| key.get_str(field).expect("be a text").to_owned();
        let (department, user) = (text("department"), text("id"));
        let whose = (department.clone(), user.clone());
        let before = self.live.remove(&whose);
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
        let record: Option<User> = after.as_ref().map(record);
        if let Some(after) = after {
            self.live.insert(whose, after);
        }
        self.push(&department, Event { at, user, record, rev_before, cleared: false });
    }

    /// A head that says where it goes on, without a token of the stream, begins a line there.
    fn take_head(&mut self, event: ChangeStreamEvent<Document>) {
        let key = event.document_key.and_then(|key| key.get_str("_id").map(ToOwned::to_owned).ok());
        let Some(department) = key.filter(|key| DEPARTMENTS.contains(&key.as_str())) else { return };
        let before = self.heads.remove(&department).unwrap_or_default();
        let mut head = before.clone();
        match (event.full_document, event.update_description) {
            (Some(document), _) => head = document,
            (None, Some(described)) => head.extend(described.updated_fields),
            (None, None) => panic!("a head was deleted"),
        }
        let (at, was) = (head.get_timestamp("cluster_time").ok(), before.get_timestamp("cluster_time").ok());
        if head.get("token").is_none_or(|token| *token == Bson::Null) && at != was {
            let number = |field: &str| head.get_i64(field).expect("be a number");
            let line = Line { timeline: number("timeline"), after: number("sequence"), from: at.expect("have a time") };
            let lines = &mut self.histories.entry(department.clone()).or_default().lines;
            // One that found no users begins again once there are some.
            lines.retain(|other| other.timeline != line.timeline);
            lines.push(line);
        }
        self.heads.insert(department, head);
    }
}
