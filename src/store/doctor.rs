//! Examines MongoDB for `rollkeeper doctor`: reads, and one write that changes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};

use super::error::{read, write};
use super::{Store, StoreError};
use crate::domain::cause::chain;
use crate::domain::clock::Timestamp;
use crate::domain::exam::{Exam, Notes};

/// Longest life of a transaction that a dead leader leaves: a restore goes on after it.
const TRANSACTION_SECONDS_GOOD: i64 = 10;
/// How far back the oplog should reach: an outage of the leaders over a night.
const OPLOG_HOURS_GOOD: f64 = 24.0;
/// Younger than this, it says nothing of how long it will reach.
const OPLOG_HOURS_YOUNG: f64 = 1.0;
/// What the service does with its database.
const ACTIONS: [&str; 9] = [
    "find",
    "insert",
    "update",
    "remove",
    "createCollection",
    "createIndex",
    "collMod",
    "changeStream",
    "listCollections",
];
/// Roles that are more than the service needs.
const TOO_MUCH: [&str; 6] =
    ["root", "__system", "dbAdminAnyDatabase", "userAdminAnyDatabase", "readWriteAnyDatabase", "clusterAdmin"];

/// What was found, and the clock of the server where it answered.
#[derive(Debug)]
pub struct Examined {
    /// Everything that was looked at.
    pub exams: Vec<Exam>,
    /// Its time.
    pub time: Option<Timestamp>,
}

impl Store {
    /// Looks at everything of MongoDB that the service depends on. `idle_head_every` is how often a quiet department
    /// needs the oplog.
    pub async fn examine(&self, idle_head_every: Duration) -> Examined {
        let mut notes = Notes::of("mongodb");
        let hello = match self.examine_server(&mut notes).await {
            Ok(hello) => hello,
            Err(error) => {
                notes.failed("reachable", chain(&error), remedy(&error));
                return Examined { exams: notes.done(), time: None };
            }
        };
        self.examine_rights(&mut notes).await;
        self.examine_migrations(&mut notes).await;
        self.examine_writes(&mut notes).await;
        self.examine_transactions(&mut notes).await;
        self.examine_oplog(&mut notes, idle_head_every).await;
        let time = hello.get_datetime("localTime").ok().map(|time| Timestamp::from_millis(time.timestamp_millis()));
        Examined { exams: notes.done(), time }
    }

    async fn examine_server(&self, notes: &mut Notes) -> Result<Document, StoreError> {
        self.check().await?;
        let hello = read(self.database.run_command(doc! { "hello": 1 })).await?;
        let build = read(self.database.run_command(doc! { "buildInfo": 1 })).await?;
        let members = hello.get_array("hosts").map_or(0, Vec::len);
        let set = hello.get_str("setName").unwrap_or_default();
        notes.ok("reachable", format!("replica set {set}, {members} member(s) that hold data and answer clients"));
        notes.ok("version", build.get_str("version").unwrap_or_default());
        Ok(hello)
    }

    async fn examine_rights(&self, notes: &mut Notes) {
        let command = doc! { "connectionStatus": 1, "showPrivileges": true };
        let status = match read(self.database.run_command(command)).await {
            Ok(status) => status,
            Err(error) => return notes.unknown("rights", chain(&error), "Let the user run connectionStatus."),
        };
        let auth = status.get_document("authInfo").cloned().unwrap_or_default();
        if auth.get_array("authenticatedUsers").map_or(0, Vec::len) == 0 {
            return notes.warning(
                "rights",
                "nobody is logged in: whoever reaches MongoDB may do everything",
                "Turn access control on (security.authorization), and give the service a user with readWrite and dbAdmin on its \
                 database, and clusterMonitor on admin.",
            );
        }
        let missing = missing_actions(&auth, self.database.name());
        let roles: Vec<&str> =
            documents(&auth, "authenticatedUserRoles").filter_map(|role| role.get_str("role").ok()).collect();
        let too_much: Vec<&str> = roles.into_iter().filter(|role| TOO_MUCH.contains(role)).collect();
        if !missing.is_empty() {
            let found = format!("the user may not {} in `{}`", missing.join(", "), self.database.name());
            notes.failed(
                "rights",
                found,
                "Grant it readWrite and dbAdmin on the database, and clusterMonitor on admin.",
            );
        } else if !too_much.is_empty() {
            let found = format!("the user has the role {}", too_much.join(", "));
            notes.warning(
                "rights",
                found,
                "Give the service a user with readWrite and dbAdmin on its database, and clusterMonitor.",
            );
        } else {
            notes.ok("rights", "the user may do what the service does");
        }
        // What the source of a history is known by.
        match self.source().await {
            Ok(_) => notes.ok("replica_set_config", "can be read"),
            Err(error) => {
                let remedy = "Grant the user clusterMonitor on admin, and run `rollkeeper migrate`.";
                notes.failed("replica_set_config", chain(&error), remedy);
            }
        }
    }

    async fn examine_migrations(&self, notes: &mut Notes) {
        match self.pending_migrations().await {
            Ok(0) => notes.ok("migrations", "all are applied"),
            Ok(pending) => {
                let found = format!("{pending} not applied yet");
                notes.warning("migrations", found, "Run `rollkeeper migrate`; a replica that starts does it, too.");
            }
            // It says itself what to do.
            Err(StoreError::Migration(sentence)) => notes.failed("migrations", sentence, ""),
            Err(error) => notes.failed("migrations", chain(&error), "Let the user read the collection `migrations`."),
        }
    }

    /// A write that matches nothing waits for the write concern all the same.
    async fn examine_writes(&self, notes: &mut Notes) {
        let nothing = doc! { "_id": "no migration has this name" };
        let update = doc! { "$set": { "doctor": true } };
        let migrations = self.database.collection::<Document>("migrations");
        match write(migrations.update_one(nothing, update)).await {
            Ok(_) => notes.ok("write_concern", "a majority of the members acknowledges writes, journaled"),
            Err(error) => notes.failed(
                "write_concern",
                chain(&error),
                "A majority of the voting members has to answer, and the user has to be allowed to write: mend the members \
                 (rs.status()), or its role.",
            ),
        }
    }

    async fn examine_transactions(&self, notes: &mut Notes) {
        let parameters = ["transactionLifetimeLimitSeconds", "minSnapshotHistoryWindowInSeconds"];
        let mut command = doc! { "getParameter": 1 };
        command.extend(parameters.map(|name| (name.to_owned(), Bson::Int32(1))));
        let admin = self.database.client().database("admin");
        let found = match read(admin.run_command(command)).await {
            Ok(found) => found,
            Err(error) => {
                let remedy = "Grant the user clusterMonitor on admin, or look yourself: transactionLifetimeLimitSeconds should be 5.";
                return notes.unknown("transaction_lifetime", chain(&error), remedy);
            }
        };
        let lifetime = number(found.get(parameters[0]));
        match lifetime {
            Some(seconds) if seconds <= TRANSACTION_SECONDS_GOOD => {
                notes.ok("transaction_lifetime", format!("transactionLifetimeLimitSeconds is {seconds}"));
            }
            Some(seconds) => notes.warning(
                "transaction_lifetime",
                format!("transactionLifetimeLimitSeconds is {seconds}: the open transaction of a leader that died holds a restore up for so long"),
                "Start every mongod with --setParameter transactionLifetimeLimitSeconds=5.",
            ),
            None => notes.unknown("transaction_lifetime", "the server does not say", ""),
        }
    }

    async fn examine_oplog(&self, notes: &mut Notes, idle_head_every: Duration) {
        let (hours, filled) = match self.oplog_reach().await {
            Ok(Some(reach)) => reach,
            Ok(None) => {
                return notes.unknown("oplog_window", "the server does not say", "Look at rs.printReplicationInfo().");
            }
            Err(error) => {
                let remedy =
                    "Grant the user clusterMonitor on admin and read on local, or look at rs.printReplicationInfo().";
                return notes.unknown("oplog_window", chain(&error), remedy);
            }
        };
        grade_oplog(notes, hours, filled, idle_head_every);
    }

    /// How many hours back the oplog reaches, and which part of it is full.
    async fn oplog_reach(&self) -> Result<Option<(f64, f64)>, StoreError> {
        let local = self.database.client().database("local");
        let oplog = local.collection::<Document>("oplog.rs");
        let stats = read(local.run_command(doc! { "collStats": "oplog.rs" })).await?;
        let first = read(oplog.find_one(doc! {}).sort(doc! { "$natural": 1 }).projection(doc! { "ts": 1 })).await?;
        let last = read(oplog.find_one(doc! {}).sort(doc! { "$natural": -1 }).projection(doc! { "ts": 1 })).await?;
        let seconds = |entry: Option<Document>| Some(f64::from(entry?.get_timestamp("ts").ok()?.time));
        let (Some(first), Some(last)) = (seconds(first), seconds(last)) else { return Ok(None) };
        let (Some(size), Some(most)) = (real(stats.get("size")), real(stats.get("maxSize"))) else { return Ok(None) };
        Ok(Some(((last - first).max(1.0) / 3600.0, (size / most).clamp(1e-6, 1.0))))
    }
}

/// Where it is not full yet, it will reach as far as it was filled by what was written until now.
fn grade_oplog(notes: &mut Notes, hours: f64, filled: f64, idle_head_every: Duration) {
    let window = hours / filled;
    if window < OPLOG_HOURS_GOOD && filled < 0.5 && hours < OPLOG_HOURS_YOUNG {
        let found =
            format!("the oplog is {:.0} minutes old and {:.0} % full: too young to say", hours * 60.0, filled * 100.0);
        return notes.unknown("oplog_window", found, "Ask again when it has seen a day of writes.");
    }
    let found = format!("the oplog holds about {window:.1} hours of writes like those of late");
    let remedy =
        "Make it longer on every member: db.adminCommand({replSetResizeOplog: 1, size: <MB>, minRetentionHours: 24}).";
    let least = idle_head_every.as_secs_f64() * 10.0 / 3600.0;
    if window < least {
        notes.failed("oplog_window", format!("{found}: leaders lose their place in it, which makes gaps"), remedy);
    } else if window < OPLOG_HOURS_GOOD {
        notes.warning("oplog_window", format!("{found}: a longer outage of all leaders makes a gap"), remedy);
    } else {
        notes.ok("oplog_window", found);
    }
}

fn remedy(error: &StoreError) -> &'static str {
    match error {
        // It says itself what to do.
        StoreError::Unsupported(_) => "",
        _ => {
            "Check mongodb.uri, that the members run and one of them is primary, and that user and password are right."
        }
    }
}

fn documents<'a>(of: &'a Document, key: &str) -> impl Iterator<Item = &'a Document> {
    of.get_array(key).into_iter().flatten().filter_map(Bson::as_document)
}

/// What the user may not do in the whole of a database.
fn missing_actions(auth: &Document, database: &str) -> Vec<&'static str> {
    let mut allowed = BTreeSet::new();
    for privilege in documents(auth, "authenticatedUserPrivileges") {
        let Ok(resource) = privilege.get_document("resource") else { continue };
        let all = resource.get_bool("anyResource").unwrap_or(false);
        let here = resource.get_str("db").is_ok_and(|db| db == database || db.is_empty())
            && resource.get_str("collection").is_ok_and(str::is_empty);
        if all || here {
            let actions = privilege.get_array("actions").into_iter().flatten().filter_map(Bson::as_str);
            allowed.extend(actions.map(ToOwned::to_owned));
        }
    }
    let any = allowed.contains("anyAction");
    ACTIONS.into_iter().filter(|action| !any && !allowed.contains(*action)).collect()
}

fn number(value: Option<&Bson>) -> Option<i64> {
    match value? {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
fn real(value: Option<&Bson>) -> Option<f64> {
    match value? {
        Bson::Double(number) => Some(*number),
        other => number(Some(other)).map(|number| number as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::exam::Grade;

    #[test]
    fn an_oplog_reaches_as_far_as_it_will_when_it_is_full() {
        let grade = |hours, filled| {
            let mut notes = Notes::of("mongodb");
            grade_oplog(&mut notes, hours, filled, Duration::from_mins(1));
            notes.done()[0].grade
        };
        assert_eq!(grade(30.0, 1.0), Grade::Ok);
        assert_eq!(grade(10.0, 0.25), Grade::Ok, "a quarter in ten hours");
        assert_eq!(grade(2.0, 1.0), Grade::Warning);
        assert_eq!(grade(0.1, 1.0), Grade::Failed);
        assert_eq!(grade(0.1, 0.01), Grade::Unknown, "it has only just begun");
    }

    #[test]
    fn rights_count_where_they_are_for_the_whole_database() {
        let privilege = |db: &str, collection: &str, actions: &[&str]| {
            doc! { "resource": { "db": db, "collection": collection }, "actions": actions }
        };
        let auth = |privileges: Vec<Document>| doc! { "authenticatedUserPrivileges": privileges };
        let all = auth(vec![privilege("rollkeeper", "", &ACTIONS)]);
        assert!(missing_actions(&all, "rollkeeper").is_empty());
        assert_eq!(missing_actions(&all, "other").len(), ACTIONS.len());
        let one = auth(vec![privilege("rollkeeper", "users", &ACTIONS), privilege("", "", &ACTIONS[..4])]);
        assert_eq!(missing_actions(&one, "rollkeeper"), ACTIONS[4..]);
        let root = auth(vec![doc! { "resource": { "anyResource": true }, "actions": ["anyAction"] }]);
        assert!(missing_actions(&root, "rollkeeper").is_empty());
    }
}
