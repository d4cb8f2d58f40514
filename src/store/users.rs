//! The `users` collection.

use std::time::{Duration, Instant};

use futures::{Stream, TryStreamExt as _};
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::error::ErrorKind;
use mongodb::{Collection, Database};

use super::StoreError;
use super::documents::date;
use super::documents::users::{read_key, read_user, rev_bits, user_document, user_key};
use super::error::{DUPLICATE_KEY, LONG_READ_WITHIN, answered, read, read_within, write};
use super::meter::{self, Operation};
use crate::domain::clock::Timestamp;
use crate::domain::history::ClusterTime;
use crate::domain::ids::{DepartmentName, UserId};
use crate::domain::user::{Rev, User};

/// How long a read waits until a majority has what the primary has.
const AFTER_ALL_WITHIN: Duration = Duration::from_secs(2);

/// The `users` collection.
#[derive(Debug, Clone)]
pub struct Users {
    database: Database,
    collection: Collection<Document>,
    raw: Collection<RawDocumentBuf>,
}

/// The filter for all users of a department, as a range of the `_id` index.
pub(super) fn range_of(department: &DepartmentName) -> Document {
    let bound = |id: Bson| doc! { "department": department.as_str(), "id": id };
    doc! { "$gt": bound(Bson::MinKey), "$lt": bound(Bson::MaxKey) }
}

/// Which users a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserFilter {
    /// Only this department.
    pub department: Option<DepartmentName>,
    /// Only names that begin so.
    pub name_prefix: Option<String>,
    /// Only locked, or only unlocked ones.
    pub locked: Option<bool>,
    /// Only records written at or after this moment.
    pub updated_since: Option<Timestamp>,
    /// Only these ids.
    pub ids: Option<Vec<UserId>>,
}

impl Users {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone(), collection: database.collection("users"), raw: database.collection("users") }
    }

    pub(super) const fn raw(&self) -> &Collection<RawDocumentBuf> {
        &self.raw
    }

    /// The user with an id, in any department.
    ///
    /// # Errors
    /// When MongoDB does not answer or the document cannot be read.
    pub async fn get(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        let found = read(self.raw.find_one(doc! { "_id.id": id.as_str() })).await?;
        found.as_deref().map(read_user).transpose()
    }

    /// The user with an id whom `get` did not find. A primary that was just elected has every acknowledged write, and shows what a
    /// majority had before it for some moments more: this read waits for what the primary has now.
    ///
    /// # Errors
    /// When MongoDB does not answer or the document cannot be read.
    pub async fn get_after_all(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        let found = read_within(AFTER_ALL_WITHIN, async {
            let mut session = self.database.client().start_session().causal_consistency(true).await?;
            // Its answer carries the time of the last write that the primary has, which the session's next read is after.
            self.database.run_command(doc! { "ping": 1 }).session(&mut session).await?;
            self.raw.find_one(doc! { "_id.id": id.as_str() }).session(&mut session).await
        });
        found.await?.as_deref().map(read_user).transpose()
    }

    /// Inserts a new record, majority-committed and journaled.
    ///
    /// # Errors
    /// `Taken` when the id or the name is in use.
    pub async fn insert(&self, user: &User) -> Result<(), StoreError> {
        write(self.raw.insert_one(user_document(user))).await.map(drop)
    }

    /// Inserts many records in one unordered command; the result of each stands at its place.
    ///
    /// # Errors
    /// The outer error when the command as a whole failed.
    pub async fn insert_many(&self, users: &[User]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let began = Instant::now();
        let outcome = self.insert_unordered(users).await;
        meter::done(Operation::Write, began, &outcome);
        outcome
    }

    async fn insert_unordered(&self, users: &[User]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let mut results: Vec<Result<(), StoreError>> = users.iter().map(|_| Ok(())).collect();
        let insert = self.raw.insert_many(users.iter().map(user_document)).ordered(false);
        let Err(error) = answered(insert).await? else { return Ok(results) };
        let ErrorKind::InsertMany(failed) = &*error.kind else { return Err(StoreError::of_write(error)) };
        if failed.write_concern_error.is_some() {
            return Err(StoreError::OutcomeUnknown(error));
        }
        for each in failed.write_errors.iter().flatten() {
            let situation = if each.code == DUPLICATE_KEY {
                StoreError::taken_from_message(&each.message)
            } else {
                StoreError::Other(error.clone())
            };
            if let Some(result) = results.get_mut(each.index) {
                *result = Err(situation);
            }
        }
        Ok(results)
    }

    /// Replaces the whole record if its rev is still `guard`.
    ///
    /// # Errors
    /// `Stale` when it is not, `Taken` when the new name is in use.
    pub async fn replace(&self, user: &User, guard: Rev) -> Result<(), StoreError> {
        let filter = doc! { "_id": user_key(&user.department, &user.id), "rev": rev_bits(guard) };
        let done = write(self.raw.replace_one(filter, user_document(user))).await?;
        if done.matched_count == 0 { Err(StoreError::Stale) } else { Ok(()) }
    }

    /// Deletes the record if its rev is still `guard`.
    ///
    /// # Errors
    /// `Stale` when it is not.
    pub async fn delete(&self, department: &DepartmentName, id: &UserId, guard: Rev) -> Result<(), StoreError> {
        let filter = doc! { "_id": user_key(department, id), "rev": rev_bits(guard) };
        let done = write(self.collection.delete_one(filter)).await?;
        if done.deleted_count == 0 { Err(StoreError::Stale) } else { Ok(()) }
    }

    /// Up to `limit` users after a key, in the order of (department, id). `after` is the last key of the page before.
    ///
    /// # Errors
    /// When MongoDB does not answer or a document cannot be read.
    pub async fn list(
        &self,
        filter: &UserFilter,
        after: Option<&(DepartmentName, UserId)>,
        limit: usize,
    ) -> Result<Vec<User>, StoreError> {
        let mut range = filter.department.as_ref().map(range_of).unwrap_or_default();
        if let Some((department, id)) = after {
            range.insert("$gt", user_key(department, id));
        }
        let mut query = matching(filter);
        if !range.is_empty() {
            query.insert("_id", range);
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let find = self.raw.find(query).sort(doc! { "_id": 1 }).limit(limit);
        let found: Vec<RawDocumentBuf> = read(async { find.await?.try_collect().await }).await?;
        found.iter().map(|document| read_user(document)).collect()
    }

    /// Whether a department has any user.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn any_in(&self, department: &DepartmentName) -> Result<bool, StoreError> {
        let find = self.raw.find_one(doc! { "_id": range_of(department) }).projection(doc! { "_id": 1 });
        Ok(read(find).await?.is_some())
    }

    /// The users that hold any of these names in a department, as (name, id).
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn holders_of(
        &self,
        department: &DepartmentName,
        names: &[String],
    ) -> Result<Vec<(String, UserId)>, StoreError> {
        let filter = doc! { "_id.department": department.as_str(), "name": { "$in": names } };
        let find = self.raw.find(filter).projection(doc! { "_id": 1, "name": 1 });
        let found = async { find.await?.try_collect().await };
        let found: Vec<RawDocumentBuf> = read_within(LONG_READ_WITHIN, found).await?;
        let holder = |document: &RawDocumentBuf| {
            let corrupt = |_| StoreError::Corrupt { collection: "users", reason: "no `_id` or name".to_owned() };
            let (_, id) = read_key(document.get_document("_id").map_err(corrupt)?)?;
            Ok((document.get_str("name").map_err(corrupt)?.to_owned(), id))
        };
        found.iter().map(holder).collect()
    }

    /// Number of users of a department now; an estimate for progress.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn count(&self, department: &DepartmentName) -> Result<u64, StoreError> {
        let count = self.collection.count_documents(doc! { "_id": range_of(department) });
        read_within(LONG_READ_WITHIN, count).await
    }

    /// A cluster time of now, at which everything acknowledged before can be read.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn present(&self) -> Result<ClusterTime, StoreError> {
        super::scan::present(&self.database).await
    }

    /// All users of a department as of a cluster time, sorted by id, in batches.
    ///
    /// Reads with `find` and read concern `{level: snapshot, atClusterTime}`, never in a transaction, with up to
    /// `cursors` cursors at the same cluster time: the department is cut into pieces of about 16,384 records (the
    /// start of the next piece is a covered index skip from the start of this one), pieces are read ahead and told in
    /// order. Memory: at most `cursors` pieces.
    pub fn scan_at(
        &self,
        department: &DepartmentName,
        at: ClusterTime,
        cursors: usize,
    ) -> impl Stream<Item = Result<Vec<User>, StoreError>> + Send + use<> {
        super::scan::scan(self.database.clone(), department.clone(), at, cursors)
    }
}

/// The parts of a filter that are not the range of keys.
fn matching(filter: &UserFilter) -> Document {
    let mut query = Document::new();
    if let Some(prefix) = &filter.name_prefix {
        // A range compares code points as the index does; a regular expression would have to be escaped.
        let mut range = doc! { "$gte": prefix };
        range.insert("$lt", format!("{prefix}\u{10FFFF}"));
        query.insert("name", range);
    }
    if let Some(department) = &filter.department {
        query.insert("_id.department", department.as_str());
    }
    if let Some(locked) = filter.locked {
        query.insert("locked", locked);
    }
    if let Some(since) = filter.updated_since {
        query.insert("updated_at", doc! { "$gte": date(since) });
    }
    if let Some(ids) = &filter.ids {
        query.insert("_id.id", doc! { "$in": ids.iter().map(UserId::as_str).collect::<Vec<_>>() });
    }
    query
}
