//! The `tokens` collection: tokens that were issued, with the hashes of their secrets.
//!
//! Rule: whoever believes a token for longer than one request says for how long; a revocation reaches nobody by itself.

use std::time::Duration;

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use mongodb::{Collection, Database};

use super::StoreError;
use super::audit::{insert_recorded, update_recorded};
use super::documents::date;
use super::documents::tokens::{read_secured, read_token, token_document};
use super::error::{read, read_within};
use crate::domain::audit::AuditRecord;
use crate::domain::ids::{DepartmentName, TokenId};
use crate::domain::token::{ENDED_KEPT_FOR, Revoked, Token};

const COLLECTION: &str = "tokens";

/// How long the look-up of a caller may take.
pub const LOOK_UP_WITHIN: Duration = Duration::from_secs(1);

/// The `tokens` collection.
#[derive(Debug, Clone)]
pub struct Tokens {
    database: Database,
    tokens: Collection<Document>,
}

impl Tokens {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone(), tokens: database.collection(COLLECTION) }
    }

    /// One token, also after its end.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn get(&self, id: &TokenId) -> Result<Option<Token>, StoreError> {
        let found = read(self.tokens.find_one(doc! { "_id": id.as_str() })).await?;
        found.as_ref().map(read_token).transpose()
    }

    /// One token and the hash of its secret, to compare a caller with; within a second.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn secured(&self, id: &TokenId) -> Result<Option<(Token, [u8; 32])>, StoreError> {
        let found = read_within(LOOK_UP_WITHIN, self.tokens.find_one(doc! { "_id": id.as_str() })).await?;
        found.as_ref().map(read_secured).transpose()
    }

    /// Tokens, newest first by id; `before` is the last id of the page before.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn list(
        &self,
        department: Option<&DepartmentName>,
        before: Option<&TokenId>,
        limit: usize,
    ) -> Result<Vec<Token>, StoreError> {
        let mut filter = Document::new();
        if let Some(department) = department {
            filter.insert("department", department.as_str());
        }
        if let Some(before) = before {
            filter.insert("_id", doc! { "$lt": before.as_str() });
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let find = self.tokens.find(filter).sort(doc! { "_id": -1 }).limit(limit);
        let found: Vec<Document> = read(async { find.await?.try_collect().await }).await?;
        found.iter().map(read_token).collect()
    }

    /// Stores a new token.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn insert(&self, token: &Token, hash: &[u8; 32], record: &AuditRecord) -> Result<(), StoreError> {
        insert_recorded(&self.database, COLLECTION, token_document(token, hash), record).await
    }

    /// Takes a token back.
    ///
    /// # Errors
    /// `Stale` when there is none, or it was taken back before.
    pub async fn revoke(&self, id: &TokenId, revoked: &Revoked, record: &AuditRecord) -> Result<(), StoreError> {
        let filter = doc! { "_id": id.as_str(), "revoked": { "$exists": false } };
        let set = doc! {
            "revoked": { "by": &revoked.by, "at": date(revoked.at) },
            "forgotten_at": date(revoked.at.later_by(ENDED_KEPT_FOR)),
        };
        update_recorded(&self.database, COLLECTION, filter, doc! { "$set": set }, record).await
    }
}
