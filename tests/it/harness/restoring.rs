//! Restores as tests speak of them: plan, apply, all pages of a list, the documents behind the users.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Answer;
use super::{Stack, eventually};

/// A ready hash that no imported user has.
pub(crate) const OTHER_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$b3RoZXItc2FsdC0wMDI$1rBUU2jrGMzPeKRYNGndy8ozvtm05CBFs59hxa/MB5k";

/// A restore that waits for `apply`.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    /// Where it is.
    pub(crate) location: String,
    /// The plan's `ETag`, quotes included.
    pub(crate) etag: String,
    /// The restore as it was then.
    pub(crate) job: Value,
}

impl Stack {
    /// Plans a restore and waits for its plan.
    pub(crate) async fn plan(&self, body: Value) -> Planned {
        let location = self.restore(body).await.header("location").to_owned();
        self.planned(&location).await
    }

    /// Waits until a restore is planned.
    pub(crate) async fn planned(&self, location: &str) -> Planned {
        eventually(&format!("{location} is planned"), Duration::from_mins(1), async || {
            let answer = self.client().get(location).await.expect(200);
            let job = answer.json.clone();
            assert_ne!(job["state"], "failed", "{job}");
            let etag = answer.header("etag").to_owned();
            (job["state"] == "planned").then(|| Planned { location: location.to_owned(), etag, job })
        })
        .await
    }

    /// Asks for the application of a plan.
    pub(crate) async fn apply(&self, planned: &Planned) -> Answer {
        self.apply_with(&planned.location, &[("if-match", &planned.etag)]).await
    }

    /// Asks for the application of a plan with headers of one's own.
    pub(crate) async fn apply_with(&self, location: &str, headers: &[(&str, &str)]) -> Answer {
        self.client().send(Method::POST, &format!("{location}/apply"), headers, None).await
    }

    /// Asks for the end of a restore.
    pub(crate) async fn cancel(&self, location: &str) -> Answer {
        self.client().send(Method::POST, &format!("{location}/cancel"), &[], None).await
    }

    /// Asks for the undo of a restore.
    pub(crate) async fn undo(&self, location: &str) -> Answer {
        self.client().send(Method::POST, &format!("{location}/undo"), &[], None).await
    }

    /// Undoes a restore and waits until that is complete.
    pub(crate) async fn undone(&self, location: &str) -> Value {
        let undo = self.undo(location).await.expect(202);
        self.ended(undo.header("location"), "complete").await
    }

    /// Applies a plan and waits until it is complete.
    pub(crate) async fn carry_out(&self, planned: &Planned) -> Value {
        self.apply(planned).await.expect(202);
        self.ended(&planned.location, "complete").await
    }

    /// Restores without a stop, from a backup and with the other fields of a request, and waits until it is complete.
    pub(crate) async fn restored(&self, backup: &Value, with: Value) -> Value {
        let mut body = from(backup, with);
        body["apply"] = true.into();
        let location = self.restore(body).await.header("location").to_owned();
        self.ended(&location, "complete").await
    }

    /// All items of a list, in pages of `limit`.
    pub(crate) async fn pages(&self, path: &str, limit: usize) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.client().get(&format!("{path}?limit={limit}{cursor}")).await.expect(200).json;
            let items = page["items"].as_array().expect("have items");
            assert!(items.len() <= limit, "{page}");
            all.extend(items.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }

    /// The documents of a department's users by id.
    pub(crate) async fn documents(&self, department: &str) -> BTreeMap<String, Document> {
        let users = self.database().await.collection::<Document>("users");
        let found: Vec<Document> = users
            .find(doc! { "_id.department": department })
            .await
            .expect("find the users")
            .try_collect()
            .await
            .expect("read the users");
        let id = |user: &Document| user.get_document("_id").and_then(|key| key.get_str("id")).map(ToOwned::to_owned);
        found.into_iter().map(|user| (id(&user).expect("have an id"), user)).collect()
    }

    /// Creates a user with a ready hash.
    pub(crate) async fn create(&self, department: &str, id: &str, name: &str) {
        let body = json!({ "id": id, "department": department, "name": name, "password_hash": OTHER_HASH });
        self.client().post("/users", body).await.expect(201);
    }

    /// Changes a user.
    pub(crate) async fn change(&self, id: &str, patch: Value) {
        self.client().patch(&format!("/users/{id}"), patch).await.expect(200);
    }

    /// Deletes a user.
    pub(crate) async fn delete(&self, id: &str) {
        self.client().delete(&format!("/users/{id}")).await.expect(204);
    }

    /// The names of a department's users by id.
    pub(crate) async fn names(&self, department: &str) -> BTreeMap<String, String> {
        let text = |value: &Value| value.as_str().expect("be a text").to_owned();
        self.all_users(department).await.iter().map(|user| (text(&user["id"]), text(&user["name"]))).collect()
    }
}

/// A request for a restore from a backup, with the other fields.
pub(crate) fn from(backup: &Value, mut with: Value) -> Value {
    with["from"] = json!({ "backup_id": backup["id"] });
    with
}

/// The (user id, cause, overwritten) of conflicts.
pub(crate) fn causes(conflicts: &[Value]) -> Vec<(String, String, bool)> {
    let text = |value: &Value| value.as_str().expect("be a text").to_owned();
    let of = |conflict: &Value| (text(&conflict["user_id"]), text(&conflict["cause"]), conflict["overwritten"] == true);
    conflicts.iter().map(of).collect()
}
