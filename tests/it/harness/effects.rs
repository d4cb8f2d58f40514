//! What leaders do to MongoDB, in the order of its own history: nothing of an epoch that another one has followed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use mongodb::Database;
use mongodb::bson::{Document, doc};
use tokio::runtime::Handle;

use super::eventually;

/// Something that a leader did.
#[derive(Debug, Clone)]
struct Effect {
    /// `fences`, `heads`, `backups` or `restores`.
    collection: String,
    department: String,
    /// The id of the job; empty for fences and heads.
    job: String,
    /// The epoch, where it was written.
    epoch: Option<i64>,
    /// Whether the job was completed by it.
    completed: bool,
}

/// Collects the effects of leaders from the moment it was opened.
#[derive(Debug, Clone)]
pub(crate) struct Effects(Arc<Mutex<Vec<Effect>>>);

impl Effects {
    /// Begins to collect.
    pub(crate) async fn of(database: &Database) -> Self {
        let collections = ["fences", "heads", "backups", "restores"];
        let pipeline =
            [doc! { "$match": { "ns.coll": { "$in": collections.to_vec() }, "operationType": { "$ne": "delete" } } }];
        let mut stream = database.watch().pipeline(pipeline).await.expect("open a change stream");
        let effects = Self(Arc::default());
        let fences: Vec<Document> =
            database.collection("fences").find(doc! {}).await.expect("find").try_collect().await.expect("read");
        for fence in fences {
            let department = fence.get_str("_id").expect("have a name").to_owned();
            let epoch = fence.get_i64("epoch").ok();
            effects.lock().push(Effect {
                collection: "fences".to_owned(),
                department,
                job: String::new(),
                epoch,
                completed: false,
            });
        }
        let kept = effects.clone();
        Handle::current().spawn(async move {
            while let Some(event) = stream.next().await {
                let event = event.expect("read the change stream");
                let collection = event.ns.and_then(|ns| ns.coll).expect("have a collection");
                let id = event.document_key.expect("have a key");
                let (department, job) = match id.get_document("_id") {
                    Ok(key) => (key.get_str("department").unwrap_or_default(), key.get_str("id").unwrap_or_default()),
                    Err(_) => (id.get_str("_id").unwrap_or_default(), ""),
                };
                let updated = event.update_description.map(|update| update.updated_fields);
                let written = event.full_document.or(updated).unwrap_or_default();
                let epoch = written.get_i64(if job.is_empty() { "epoch" } else { "fence" }).ok();
                let completed = written.get_str("state").is_ok_and(|state| state == "complete");
                let (department, job) = (department.to_owned(), job.to_owned());
                kept.lock().push(Effect { collection, department, job, epoch, completed });
            }
        });
        effects
    }

    /// Insists that epochs only grow, and that nothing was completed by one that another had followed. Call it when the
    /// departments have had these epochs; returns how many completions were seen.
    pub(crate) async fn check(&self, epochs: &BTreeMap<String, i64>) -> usize {
        let seen = eventually("the change stream shows the last epochs", Duration::from_secs(30), async || {
            let seen = self.lock().clone();
            let has = |department: &str, epoch: i64| {
                let head = |effect: &&Effect| effect.collection == "heads" && effect.department == department;
                seen.iter().filter(head).filter_map(|effect| effect.epoch).max().is_none_or(|newest| newest >= epoch)
            };
            epochs.iter().all(|(department, epoch)| has(department, *epoch)).then_some(seen)
        })
        .await;
        let mut newest: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        let mut jobs: BTreeMap<&str, i64> = BTreeMap::new();
        let mut completed = 0;
        for effect in &seen {
            if effect.job.is_empty() {
                let Some(epoch) = effect.epoch else { continue };
                let before = newest.insert((&effect.collection, &effect.department), epoch);
                assert!(before.is_none_or(|before| before <= epoch), "{before:?} was followed by {effect:?}");
                continue;
            }
            if let Some(epoch) = effect.epoch {
                jobs.insert(&effect.job, epoch);
            }
            if effect.completed {
                completed += 1;
                let fence = newest.get(&("fences", &effect.department));
                // One that was taken before all this began was not taken by another epoch since.
                let by = jobs.get(effect.job.as_str());
                assert!(
                    fence.is_none() || by.is_none() || by >= fence,
                    "epoch {by:?} completed {effect:?} after {fence:?}"
                );
            }
        }
        completed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Effect>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
