//! Every write of a department, in the order of its events: the model that backups are compared with.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use mongodb::bson::{Document, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::{ChangeStreamEvent, ResumeToken};
use mongodb::{Collection, Database};
use rollkeeper::domain::user::User;
use tokio::runtime::Handle;

use super::eventually;
use super::records::{Records, record};

/// A moment of the oplog: seconds and ordinal.
pub(crate) type ClusterTime = (u32, u32);

/// One committed write of a user.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// When it was committed.
    pub(crate) at: ClusterTime,
    /// Whose record.
    pub(crate) user: String,
    /// The record after it; absent after a delete.
    pub(crate) record: Option<User>,
}

/// Collects changes from the moment it was opened.
#[derive(Debug, Clone)]
pub(crate) struct Changes(Arc<Mutex<Vec<Change>>>);

impl Changes {
    /// Begins to collect the writes of a department; whatever is written after this returns is in it.
    pub(crate) async fn of(database: &Database, department: &str) -> Self {
        let (users, department) = (database.collection::<Document>("users"), department.to_owned());
        let mut stream = watch(&users, &department, None).await.expect("open a change stream");
        let changes = Self(Arc::default());
        let kept = changes.clone();
        Handle::current().spawn(async move {
            loop {
                let token = stream.resume_token();
                let Some(Ok(event)) = stream.next().await else {
                    // A change of primary; the token knows where to go on.
                    stream = watch_again(&users, &department, token).await;
                    continue;
                };
                let at = event.cluster_time.expect("have a cluster time");
                let key = event.document_key.expect("have a key");
                let user = key.get_document("_id").and_then(|key| key.get_str("id")).expect("have an id").to_owned();
                let record = event.full_document.as_ref().map(record);
                kept.lock().push(Change { at: (at.time, at.increment), user, record });
            }
        });
        changes
    }

    /// All changes, once that of a user which was written last of all has arrived.
    pub(crate) async fn up_to(&self, user: &str) -> Vec<Change> {
        eventually(&format!("the change of {user} is seen"), Duration::from_secs(30), async || {
            let changes = self.lock();
            changes.iter().any(|change| change.user == user).then(|| changes.clone())
        })
        .await
    }

    /// How many have arrived.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Change>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn watch(
    users: &Collection<Document>,
    department: &str,
    after: Option<ResumeToken>,
) -> mongodb::error::Result<ChangeStream<ChangeStreamEvent<Document>>> {
    let pipeline = [doc! { "$match": { "documentKey._id.department": department } }];
    users.watch().pipeline(pipeline).resume_after(after).await
}

/// Opens it anew; an attempt waits for a primary by itself.
async fn watch_again(
    users: &Collection<Document>,
    department: &str,
    after: Option<ResumeToken>,
) -> ChangeStream<ChangeStreamEvent<Document>> {
    loop {
        match watch(users, department, after.clone()).await {
            Ok(stream) => return stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(30)).await,
        }
    }
}

/// The records of a department after every change up to a moment, and how many changes those are.
pub(crate) fn state_at(changes: &[Change], at: ClusterTime) -> (Records, usize) {
    let mut records = Records::new();
    let before = changes.iter().filter(|change| change.at <= at);
    let mut count = 0;
    for change in before {
        count += 1;
        match &change.record {
            Some(record) => records.insert(change.user.clone(), record.clone()),
            None => records.remove(&change.user),
        };
    }
    (records, count)
}
