//! What the driver does: syncs, backups, restores, undo, and writes past the service.

use mongodb::bson::{DateTime, Document, doc};
use mongodb::error::{ErrorKind, RETRYABLE_WRITE_ERROR};
use rand::Rng as _;
use reqwest::Method;
use serde_json::{Value, json};

use super::driver::{Driver, Receipt};
use super::writers::IDS;
use super::{DEPARTMENTS, PATIENCE};
use crate::harness::eventually;
use crate::harness::records::hash_number;

impl Driver {
    /// Does one thing.
    pub(super) async fn act(&mut self) {
        let department = self.department();
        match self.random.random_range(0..100) {
            0..20 => {
                self.sync(department).await;
            }
            20..33 => self.write_past_the_service(department).await,
            33..45 => self.back_up(department).await,
            45..58 => self.restore(department).await,
            58..64 => self.undo().await,
            64..76 => self.break_or_mend_replica().await,
            76..85 => self.take_or_bring_back_target().await,
            85..94 => self.change_primary().await,
            _ => self.make_gap().await,
        }
    }

    /// Any department.
    pub(super) fn department(&mut self) -> &'static str {
        DEPARTMENTS[self.random.random_range(0..DEPARTMENTS.len())]
    }

    /// Asks for a receipt, and keeps it beside what was acknowledged before; none while nobody could give one.
    pub(super) async fn sync(&mut self, department: &str) -> Option<()> {
        let acknowledged = self.acks.count();
        let answer = self.call(Method::POST, &format!("/departments/{department}/sync"), Some(json!({}))).await?;
        self.told("sync", format_args!("{department} {} {}", answer.status, answer.json["sequence"]));
        assert!([200, 503].contains(&answer.status.as_u16()), "{}", answer.text);
        if answer.status != 200 {
            return None;
        }
        // What was lost in a gap is in the history once a backup bridges it, and not before.
        let shown = eventually("the department is shown", PATIENCE, async || self.shown(department).await).await;
        let gaps = shown["recovery_window"]["gaps"].as_array().expect("have gaps");
        assert!(gaps.iter().all(|gap| !gap["until"].is_null()), "{} before {shown}", answer.json);
        let copies = answer.json["copies"].as_array().expect("have copies").iter();
        let whole = copies.filter(|copy| copy["through"].as_i64() >= answer.json["sequence"].as_i64()).count();
        assert!(whole >= 2, "a receipt of fewer than the quorum: {}", answer.json);
        self.receipts.push(Receipt { department: department.to_owned(), acknowledged, json: answer.json });
        Some(())
    }

    /// Asks for a backup; the end of the round waits for it.
    async fn back_up(&mut self, department: &str) {
        let Some(answer) = self.call(Method::POST, "/backups", Some(json!({ "department": department }))).await else {
            return;
        };
        self.told("backup", format_args!("{department} {} {}", answer.status, answer.json["id"]));
        assert!([202, 503].contains(&answer.status.as_u16()), "{}", answer.text);
        if answer.status == 202 && self.random.random() {
            let ended = self.ended(answer.header("location")).await;
            assert_eq!(ended["state"], "complete", "{ended}");
        }
    }

    /// Restores from anything that can be restored from, and waits for it.
    async fn restore(&mut self, department: &str) {
        let Some(from) = self.any_moment(department).await else { return };
        let mut draw = |of: &[&str]| of[self.random.random_range(0..of.len())].to_owned();
        let mut body = json!({ "from": from, "mode": draw(&["merge", "exact"]), "apply": true,
            "credentials": draw(&["keep", "restore"]), "locked": draw(&["keep", "restore", "unlock"]),
            "on_conflict": draw(&["skip", "overwrite"]) });
        let into = draw(&DEPARTMENTS);
        // Into the other department ids are numbered anew, so it grows; into its own it is the default.
        if into != department && body["mode"] == "exact" {
            body["into"] = into.into();
        }
        let Some(answer) = self.call(Method::POST, "/restores", Some(body.clone())).await else { return };
        self.told("restore", format_args!("{department} {} {body}", answer.status));
        // What it shall begin with may have been pruned since it was looked up.
        assert!([202, 404, 409, 422, 503].contains(&answer.status.as_u16()), "{body} {}", answer.text);
        if answer.status != 202 {
            return self.told("restore refused", answer.json["code"].clone());
        }
        let location = answer.header("location").to_owned();
        let job = self.ended(&location).await;
        self.told("restore ended", format_args!("{} {} {}", job["state"], job["cause"], job["progress"]));
        if !changed_nothing(&job) {
            assert_eq!(job["state"], "complete", "{job}");
            self.restores.push(location);
        }
    }

    async fn any_moment(&mut self, department: &str) -> Option<Value> {
        let window = self.shown(department).await?["recovery_window"].clone();
        match self.random.random_range(0..3) {
            0 => {
                let backups = self.complete(department).await;
                let backup = backups.get(self.random.random_range(0..backups.len().max(1)))?;
                Some(json!({ "backup_id": backup["id"] }))
            }
            1 => {
                let times: Vec<&Value> = self.receipts.iter().map(|receipt| &receipt.json["time"]).collect();
                let from = window["restorable_from"].as_str()?;
                let times: Vec<_> = times.into_iter().filter(|time| time.as_str() >= Some(from)).cloned().collect();
                let time = times.get(self.random.random_range(0..times.len().max(1)))?;
                Some(json!({ "department": department, "at": time }))
            }
            _ => {
                let (first, last) = (window["first_sequence"].as_i64()?, window["last_sequence"].as_i64()?);
                Some(json!({ "department": department, "sequence": self.random.random_range(first..=last) }))
            }
        }
    }

    /// Takes back a restore of this run.
    async fn undo(&mut self) {
        let Some(location) = self.restores.pop() else { return };
        let Some(answer) = self.call(Method::POST, &format!("{location}/undo"), None).await else { return };
        self.told("undo", format_args!("{} {}", answer.status, answer.json["code"]));
        assert!([202, 409, 503].contains(&answer.status.as_u16()), "{}", answer.text);
        if answer.status == 202 {
            let job = self.ended(answer.header("location")).await;
            assert!(job["state"] == "complete" || changed_nothing(&job), "{job}");
        }
    }

    /// Waits for the end of a job, whichever replica answers.
    async fn ended(&self, location: &str) -> Value {
        eventually(&format!("{location} has ended"), PATIENCE, async || {
            let answer = self.call(Method::GET, location, None).await?;
            let state = answer.json["state"].as_str()?;
            // Retention may drop a backup as soon as it is complete.
            if state == "deleted" {
                return Some(json!({ "state": "complete" }));
            }
            matches!(state, "complete" | "failed" | "cancelled").then(|| answer.json.clone())
        })
        .await
    }

    /// A person in a shell: update operators, deletes, and a transaction over several users.
    async fn write_past_the_service(&mut self, department: &str) {
        let database = self.stack.database().await;
        let users = database.collection::<Document>("users");
        let mut key = || {
            let id = format!("{department}-{:04}", self.random.random_range(0..IDS));
            doc! { "_id": { "department": department, "id": id } }
        };
        let keys = [key(), key(), key()];
        let time = DateTime::now();
        let (locked, hash): (bool, u64) = (self.random.random(), self.random.random());
        let some = [
            doc! { "$set": { "locked": locked } },
            doc! { "$set": { "password_hash": hash_number(hash), "updated_at": time } },
            doc! { "$set": { "locked": locked }, "$inc": { "version": 1_i64 }, "$currentDate": { "updated_at": true } },
        ];
        let kind = self.random.random_range(0..6);
        self.told("foreign write", format_args!("{department} {kind}"));
        match kind {
            0..3 => {
                tolerate(users.update_one(keys[0].clone(), some[kind].clone()).await);
            }
            3 => {
                let those = doc! { "_id.department": department, "locked": !locked };
                tolerate(users.update_many(those, some[0].clone()).await);
            }
            4 => {
                tolerate(users.delete_one(keys[0].clone()).await);
            }
            _ => {
                let mut session = database.client().start_session().await.expect("start a session");
                session.start_transaction().await.expect("start a transaction");
                for (key, update) in keys.into_iter().zip(some) {
                    // A client of the service may be faster; then nothing of it is written.
                    if users.update_one(key, update).session(&mut session).await.is_err() {
                        return session.abort_transaction().await.unwrap_or_default();
                    }
                }
                let _ = session.commit_transaction().await;
            }
        }
    }
}

/// A write that a change of primary broke may be there or not; the model hears of it where it is.
fn tolerate<T>(written: mongodb::error::Result<T>) {
    let Err(error) = written else { return };
    let broken = matches!(*error.kind, ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. });
    assert!(broken || error.contains_label(RETRYABLE_WRITE_ERROR), "{error}");
}

/// Whether a restore failed before its plan, and says so: what it begins with was pruned in the moment in which it was asked
/// for, or one target was taken away before another one had caught up, and the safety backup found no quorum.
fn changed_nothing(job: &Value) -> bool {
    let causes = ["outside_recovery_window", "backup_not_complete", "safety_backup_failed"].map(Value::from);
    job["state"] == "failed" && causes.contains(&job["cause"]["code"]) && job["plan"].is_null()
}
