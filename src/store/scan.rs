//! Reads a whole department as of one cluster time, with several cursors, told in order.
//!
//! Each piece is a `find` of its own with read concern `{level: snapshot, atClusterTime}`: no transaction, so nothing is
//! held open. MongoDB keeps that snapshot for 300 s by default; after that it answers `SnapshotTooOld`.

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use mongodb::Database;
use mongodb::bson::raw::RawBsonRef;
use mongodb::bson::{Bson, Document, doc};
use mongodb::raw_batch_cursor::RawBatch;

use super::StoreError;
use super::documents::users::read_user;
use super::documents::{cluster_time_of, timestamp};
use super::error::{LONG_READ_WITHIN, read, read_within};
use crate::domain::history::ClusterTime;
use crate::domain::ids::DepartmentName;
use crate::domain::user::User;

/// Records of one piece, which is one reply unless they are very long.
const PIECE_RECORDS: i32 = 8192;

/// One piece: from a key on, up to the key at which the next one begins.
struct Piece {
    from: Bson,
    to: Option<Bson>,
}

#[derive(Clone)]
struct Scan {
    database: Database,
    department: DepartmentName,
    at: ClusterTime,
}

/// The cluster time that the server itself chooses for a snapshot: the newest that a majority holds.
pub(super) async fn present(database: &Database) -> Result<ClusterTime, StoreError> {
    let command = doc! {
        "find": "users", "filter": {}, "projection": { "_id": 1 }, "limit": 1, "singleBatch": true,
        "readConcern": { "level": "snapshot" },
    };
    let reply = read(database.run_command(command)).await?;
    let chosen = reply.get_document("cursor").and_then(|cursor| cursor.get_timestamp("atClusterTime"));
    chosen.map(cluster_time_of).map_err(|_| corrupt("a snapshot has no cluster time"))
}

/// All users of a department as of a cluster time, sorted by id, a piece at a time.
pub(super) fn scan(
    database: Database,
    department: DepartmentName,
    at: ClusterTime,
    cursors: usize,
) -> impl Stream<Item = Result<Vec<User>, StoreError>> + Send + use<> {
    let scan = Scan { database, department, at };
    let reader = scan.clone();
    let begin = scan.key(Bson::MinKey);
    stream::try_unfold((scan, Some(begin)), |(scan, from)| async move {
        let Some(from) = from else { return Ok(None) };
        let to = scan.key_after(&from).await?;
        Ok(Some((Piece { from, to: to.clone() }, (scan, to))))
    })
    .map_ok(move |piece| {
        let scan = reader.clone();
        async move { scan.read(piece).await }
    })
    .try_buffered(cursors.max(1))
    .try_filter(|users| futures::future::ready(!users.is_empty()))
    .boxed()
}

impl Scan {
    fn key(&self, id: Bson) -> Bson {
        Bson::Document(doc! { "department": self.department.as_str(), "id": id })
    }

    fn find(&self, from: &Bson, to: Option<&Bson>) -> Document {
        let end = to.cloned().unwrap_or_else(|| self.key(Bson::MaxKey));
        doc! {
            "find": "users",
            "filter": { "_id": { "$gte": from.clone(), "$lt": end } },
            "sort": { "_id": 1 },
            "readConcern": { "level": "snapshot", "atClusterTime": timestamp(self.at) },
        }
    }

    /// The key at which the next piece begins: a skip over the index alone.
    async fn key_after(&self, from: &Bson) -> Result<Option<Bson>, StoreError> {
        let mut command = self.find(from, None);
        command.extend(doc! { "projection": { "_id": 1 }, "skip": PIECE_RECORDS, "limit": 1 });
        let found: Vec<Document> = read_within(LONG_READ_WITHIN, async {
            self.database.run_cursor_command(command).await?.try_collect().await
        })
        .await?;
        Ok(found.into_iter().next().and_then(|mut document| document.remove("_id")))
    }

    async fn read(&self, piece: Piece) -> Result<Vec<User>, StoreError> {
        let mut command = self.find(&piece.from, piece.to.as_ref());
        // One more than there can be, so that the server knows with the first reply that it was the last.
        command.insert("batchSize", PIECE_RECORDS + 1);
        let batches: Vec<_> = read_within(LONG_READ_WITHIN, async {
            self.database.run_cursor_command(command).batch().await?.try_collect().await
        })
        .await?;
        // On a blocking thread, beside the reading and the cutting of other pieces.
        let read = tokio::task::spawn_blocking(move || read_users(&batches)).await;
        read.map_err(|_| corrupt("reading it was broken off"))?
    }
}

fn read_users(batches: &[RawBatch]) -> Result<Vec<User>, StoreError> {
    let mut users = Vec::with_capacity(usize::try_from(PIECE_RECORDS).unwrap_or_default());
    for batch in batches {
        for document in batch.doc_slices().map_err(StoreError::Other)? {
            let document = document.ok().and_then(RawBsonRef::as_document);
            users.push(read_user(document.ok_or_else(|| corrupt("a reply is not valid BSON"))?)?);
        }
    }
    Ok(users)
}

fn corrupt(reason: &str) -> StoreError {
    StoreError::Corrupt { collection: "users", reason: reason.to_owned() }
}
