//! What the service is compared with: the bare driver, and MongoDB's own tools where they are installed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection, Database};
use tokio::task::JoinSet;

use crate::people::{DEPARTMENT, Person};

/// Users of one command.
const BATCH: usize = 1000;
/// Where bare inserts go to.
const BARE: &str = "bare_users";

/// The database of the stack, without the service.
#[derive(Debug, Clone)]
pub(crate) struct Bare {
    uri: String,
    database: Database,
}

impl Bare {
    pub(crate) async fn connect(uri: &str, database: &str) -> Self {
        let mut options = ClientOptions::parse(uri).await.expect("parse the URI of MongoDB");
        options.max_pool_size = Some(64);
        let client = Client::with_options(options).expect("connect to MongoDB");
        Self { uri: uri.to_owned(), database: client.database(database) }
    }

    /// One of the service's collections.
    pub(crate) fn collection(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    /// Runs a command of the database.
    pub(crate) async fn command(&self, command: Document) -> Document {
        self.database.run_command(command).await.expect("run a command")
    }

    /// Runs a command of the admin database.
    pub(crate) async fn admin(&self, command: Document) -> Document {
        self.database.client().database("admin").run_command(command).await.expect("run a command")
    }

    pub(crate) fn users(&self) -> Collection<RawDocumentBuf> {
        self.database.collection("users")
    }

    /// Version of the server.
    pub(crate) async fn version(&self) -> String {
        let info = self.database.run_command(doc! { "buildInfo": 1 }).await.expect("ask for the version");
        info.get_str("version").unwrap_or_default().to_owned()
    }

    /// Inserts users into a collection, several batches at once.
    async fn insert(&self, collection: &str, people: &[Person], at_once: usize) -> Duration {
        let batches: Vec<Vec<RawDocumentBuf>> =
            people.chunks(BATCH).map(|batch| batch.iter().map(Person::document).collect()).collect();
        let begun = Instant::now();
        let mut running = JoinSet::new();
        for batch in batches {
            if running.len() >= at_once {
                running.join_next().await.expect("be running").expect("insert users");
            }
            let users = self.database.collection::<RawDocumentBuf>(collection);
            running.spawn(async move { users.insert_many(batch).await.map(drop).expect("insert users") });
        }
        running.join_all().await;
        begun.elapsed()
    }

    /// Fills the department.
    pub(crate) async fn load(&self, people: &[Person]) {
        self.insert("users", people, 4).await;
    }

    /// Inserts users into an empty collection with the indexes of `users`.
    pub(crate) async fn insert_many(&self, people: &[Person], at_once: usize) -> Duration {
        self.drop_bare().await;
        let migration = include_str!("../../migrations/0002_indexes.json");
        let commands: Vec<Document> = serde_json::from_str(migration).expect("read the migration");
        let mut command = commands
            .into_iter()
            .find(|c| c.get_str("createIndexes").is_ok_and(|name| name == "users"))
            .expect("have indexes");
        command.insert("createIndexes", BARE);
        self.database.run_command(command).await.expect("create the indexes");
        let took = self.insert(BARE, people, at_once).await;
        self.drop_bare().await;
        took
    }

    async fn drop_bare(&self) {
        self.database.collection::<Document>(BARE).drop().await.expect("drop a collection");
    }

    /// Reads all users of the department with one cursor, sorted, in batches of 10,000; decodes nothing.
    pub(crate) async fn scan(&self, expected: usize) -> Duration {
        let begun = Instant::now();
        let filter =
            doc! { "_id": { "$gte": { "department": DEPARTMENT }, "$lt": { "department": format!("{DEPARTMENT}~") } } };
        let users = self.users();
        let mut cursor = users.find(filter).sort(doc! { "_id": 1 }).batch_size(10_000).await.expect("read users");
        let mut count = 0;
        while cursor.advance().await.expect("read users") {
            count += usize::from(!cursor.current().as_bytes().is_empty());
        }
        assert_eq!(count, expected, "the scan saw every user");
        begun.elapsed()
    }

    /// Replaces users, a thousand in a command.
    pub(crate) async fn replace(&self, people: &[Person]) {
        for batch in people.chunks(BATCH) {
            let one = |person: &Person| doc! { "q": { "_id": { "department": DEPARTMENT, "id": &person.id } }, "u": whole(person) };
            let updates: Vec<Document> = batch.iter().map(one).collect();
            let reply = self.database.run_command(doc! { "update": "users", "updates": updates }).await;
            let changed = reply.expect("replace users").get_i32("nModified").unwrap_or_default();
            assert_eq!(usize::try_from(changed).unwrap_or_default(), batch.len(), "every user was replaced");
        }
    }

    /// Deletes all users of the department.
    pub(crate) async fn empty(&self) {
        let filter =
            doc! { "_id": { "$gte": { "department": DEPARTMENT }, "$lt": { "department": format!("{DEPARTMENT}~") } } };
        self.users().delete_many(filter).await.expect("delete users");
    }

    /// One of the department's users, as the service finds it.
    pub(crate) async fn find(&self, id: &str) {
        let found = self.users().find_one(doc! { "_id.id": id }).await.expect("read a user");
        assert!(found.is_some(), "the user {id} is there");
    }

    /// Number of users in the department.
    pub(crate) async fn count(&self) -> usize {
        self.count_of(DEPARTMENT).await
    }

    /// Number of users in any department.
    pub(crate) async fn count_of(&self, department: &str) -> usize {
        let group = [doc! { "$match": { "_id.department": department } }, doc! { "$count": "n" }];
        let found: Vec<Document> =
            self.users().aggregate(group).await.expect("count users").try_collect().await.expect("count users");
        found
            .first()
            .and_then(|counted| counted.get_i32("n").ok())
            .map_or(0, |n| usize::try_from(n).unwrap_or_default())
    }

    /// `mongodump --gzip --archive` of the users; absent when it is not installed.
    pub(crate) fn dump(&self, archive: &Path) -> Option<Duration> {
        let database = self.database.name();
        self.tool("mongodump", &["--db", database, "--collection", "users", "--gzip", &archive_flag(archive)])
    }

    /// `mongorestore --gzip --archive` of the same archive into an empty collection with the same indexes.
    pub(crate) async fn restore(&self, archive: &Path) -> Option<Duration> {
        let database = self.database.name();
        let (from, to) = (format!("{database}.users"), format!("{database}.{BARE}"));
        let took = self.tool("mongorestore", &["--gzip", &archive_flag(archive), "--nsFrom", &from, "--nsTo", &to]);
        self.drop_bare().await;
        took
    }

    /// Whether a tool of MongoDB is installed.
    pub(crate) fn has(program: &str) -> bool {
        let asked = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    }

    /// Runs a tool of MongoDB against the stack; absent when it is not installed.
    pub(crate) fn tool(&self, program: &str, arguments: &[&str]) -> Option<Duration> {
        if !Self::has(program) {
            return None;
        }
        let begun = Instant::now();
        let done = Command::new(program).arg("--uri").arg(&self.uri).arg("--quiet").args(arguments).status();
        assert!(done.expect("run a tool of MongoDB").success(), "{program} failed");
        Some(begun.elapsed())
    }
}

fn archive_flag(archive: &Path) -> String {
    format!("--archive={}", archive.display())
}

fn whole(person: &Person) -> Document {
    Document::try_from(person.document().as_ref()).expect("be valid BSON")
}
