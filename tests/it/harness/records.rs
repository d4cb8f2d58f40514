//! Whole records, hashes included: as MongoDB has them, and as a target and the key alone give them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use rollkeeper::backup::Snapshot;
use rollkeeper::config::targets::{TargetConfig, TargetsConfig};
use rollkeeper::domain::clock::{Clock, Timestamp};
use rollkeeper::domain::user::{PasswordHash, Rev, User, UserName};
use rollkeeper::targets::Targets;
use rollkeeper::targets::layout::ObjectPath;
use serde_json::Value;

use super::Stack;

/// Records by id.
pub(crate) type Records = BTreeMap<String, User>;

impl Stack {
    /// The database of this stack, straight through the driver.
    pub(crate) async fn database(&self) -> mongodb::Database {
        let client = mongodb::Client::with_uri_str(&self.place.mongodb).await.expect("connect to MongoDB");
        client.database(&self.place.database)
    }

    /// The records of a department as MongoDB has them now.
    pub(crate) async fn records(&self, department: &str) -> Records {
        let users = self.database().await.collection::<Document>("users");
        let find = users.find(doc! { "_id.department": department }).await.expect("find the users");
        let documents: Vec<Document> = find.try_collect().await.expect("read the users");
        documents.iter().map(record).map(|user| (user.id.to_string(), user)).collect()
    }

    /// The records of a complete backup, read from one target and the identity file and nothing else.
    pub(crate) async fn records_of_backup(&self, backup: &Value) -> Records {
        let folder = self.folder.path().join("targets/t1");
        let one = TargetConfig::at("t1", format!("file://{}", folder.display()));
        let config = TargetsConfig { write_quorum: None, operation_timeout: Duration::from_secs(30), list: vec![one] };
        let targets = Targets::open(&config, &Clock::System).expect("open the target");
        let path = ObjectPath::from_stored(backup["snapshot"].as_str().expect("have a snapshot").to_owned());
        let snapshot = Snapshot::open(&self.repository(), &targets, &path).await;
        let chunks: Vec<Vec<User>> =
            snapshot.expect("open the snapshot").users(None).try_collect().await.expect("read the chunks");
        chunks.into_iter().flatten().map(|user| (user.id.to_string(), user)).collect()
    }
}

/// A record from its document.
pub(crate) fn record(document: &Document) -> User {
    let key = document.get_document("_id").expect("have a key");
    let text = |name: &str| document.get_str(name).expect("be a text").to_owned();
    let time = |name: &str| Timestamp::from_millis(document.get_datetime(name).expect("be a time").timestamp_millis());
    User {
        id: key.get_str("id").expect("have an id").parse().expect("be an id"),
        department: key.get_str("department").expect("have a department").parse().expect("be a department"),
        name: UserName::from_stored(text("name")),
        password_hash: PasswordHash::from_checked(text("password_hash")),
        locked: document.get_bool("locked").expect("be a flag"),
        rev: Rev::from_bits(document.get_i64("rev").expect("have a rev").cast_unsigned()),
        version: document.get_i64("version").expect("have a version"),
        created_at: time("created_at"),
        updated_at: time("updated_at"),
    }
}

/// Insists that two sets of records hold the same, that is everything except `rev`, `version` and `updated_at`.
pub(crate) fn assert_same_content(wanted: &Records, found: &Records) {
    let ids = |records: &Records| records.keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids(wanted), ids(found));
    for (id, wanted) in wanted {
        let found = &found[id];
        let hash = if wanted.password_hash == found.password_hash { "the same" } else { "another" };
        assert!(wanted.same_content(found), "wanted {wanted:?}, found {found:?} with {hash} hash");
    }
}

/// A valid hash that differs for each number; nobody knows its password.
pub(crate) fn hash_number(number: u64) -> String {
    use base64::Engine as _;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes);
    let digest = blake3::hash(&number.to_le_bytes());
    let (salt, hash) = (encode(&digest.as_bytes()[..16]), encode(digest.as_bytes()));
    format!("$argon2id$v=19$m=19456,t=2,p=1${salt}${hash}")
}
