//! Single users at moments of a day of 10-second backups. The day is written through the library, as the service leaves
//! one: segments of a second in the last hour, merged ones before it, snapshots when the engine would make them, and a
//! backup in the catalogue every ten seconds. It is read over HTTP, one request after the other.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rollkeeper::backup::journal_read::Point;
use rollkeeper::backup::state::{Piece, State};
use rollkeeper::backup::write::{SnapshotOf, SnapshotWriter};
use rollkeeper::backup::{BackupError, Snapshot};
use rollkeeper::domain::clock::{Clock, Timestamp};
use rollkeeper::domain::epoch::Epoch;
use rollkeeper::domain::history::{Change, ClusterTime, Position, Source};
use tokio_util::sync::CancellationToken;

use crate::bare::Bare;
use crate::growth::{CHANGES, DAY};
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};
use crate::memory::Memory;
use crate::people::{DEPARTMENT, Person, people};
use crate::written::Written;

/// Time between two changes.
const STEP_MILLIS: u64 = 10_000 / CHANGES;
/// The last slots, whose segments are not merged yet.
const RECENT: u64 = 360;
/// Starts of the service whose first read counts as cold.
const STARTS: usize = 5;
/// Reads that fill the caches, and reads that count.
const READS: [usize; 2] = [1000, 2000];

/// What was measured.
#[derive(Debug)]
pub(crate) struct Reads {
    /// The first read after each start.
    pub(crate) cold: Vec<Duration>,
    /// The reads that fill the caches.
    pub(crate) filling: Vec<Duration>,
    /// Reads after them.
    pub(crate) warm: Vec<Duration>,
    /// Peak of the replica's memory over idle, in MiB.
    pub(crate) peak: u64,
}

/// A day of changes, and what every user was when.
struct Day {
    people: Vec<Person>,
    begin: i64,
    names: HashMap<usize, Vec<(i64, String)>>,
}

/// Writes the day and reads in it.
pub(crate) async fn reads(count: usize) -> Reads {
    let settings = Settings { session_timeout: "10s".to_owned(), targets: 1, ..Settings::default() };
    let mut stack = Stack::prepare(&settings).await;
    let bare = Bare::connect(&stack.place.mongodb, &stack.place.database).await;
    stack.serve(&settings).await;
    stack.first_slot_done(DEPARTMENT).await;
    stack.replicas[0].stop();
    let people = people(DEPARTMENT, count, 0);
    bare.load(&people).await;
    let day = Day::write(&stack, &bare, people).await;
    let mut chance = StdRng::seed_from_u64(21);
    let mut cold = Vec::new();
    for _ in 0..STARTS {
        started(&mut stack).await;
        cold.push(day.read(&stack, &mut chance).await);
        stack.replicas[0].stop();
    }
    started(&mut stack).await;
    let memory = Memory::of(stack.replicas[0].process.id());
    memory.comes_to_rest().await;
    memory.forget_peak();
    let (mut filling, mut warm) = (Vec::new(), Vec::new());
    for (times, reads) in [&mut filling, &mut warm].into_iter().zip(READS) {
        for _ in 0..reads {
            times.push(day.read(&stack, &mut chance).await);
        }
    }
    Reads { cold, filling, warm, peak: memory.peak() }
}

/// Starts the replica again; it is ready, and leads.
async fn started(stack: &mut Stack) {
    stack.replicas[0].restart();
    let client = stack.client();
    eventually("the replica is ready", Duration::from_mins(1), async || {
        let answer = client.try_send(reqwest::Method::GET, "/readyz", &[], None).await;
        answer.is_ok_and(|answer| answer.status == 200).then_some(())
    })
    .await;
    stack.leader_of(DEPARTMENT).await;
}

impl Day {
    async fn write(stack: &Stack, bare: &Bare, people: Vec<Person>) -> Self {
        let (heads, backups) = (bare.collection("heads"), bare.collection("backups"));
        let head = heads.find_one(doc! { "_id": DEPARTMENT }).await.expect("read a head").expect("have a head");
        let template = backups.find_one(doc! { "state": "complete" }).await.expect("read").expect("have a backup");
        backups.delete_many(doc! {}).await.expect("forget the backup of the first slot");
        let source = head.get_document("source").expect("have a source");
        let text = |name: &str| source.get_str(name).expect("be a text").to_owned();
        let source = Source { replica_set_id: text("replica_set_id"), users_uuid: text("users_uuid") };
        let mut journal = Written::begin(stack.folder.path(), stack.repository(), source);
        // A little less than a day, so that retention has nothing to thin out while it is read.
        let begin = Clock::System.now().as_millis() - i64::try_from(DAY * 10_000).unwrap_or_default() + 600_000;
        let mut day = Self { people, begin, names: HashMap::new() };
        for person in &day.people {
            journal.change(&Change::Put(person.user()), Timestamp::from_millis(begin - 1)).await;
        }
        let mut newest = day.snapshot(&journal, None, begin - 1).await;
        let mut chance = StdRng::seed_from_u64(20);
        let mut catalogue = Vec::new();
        for slot in 0..DAY - 60 {
            let mut time = begin;
            for n in 0..CHANGES {
                time = begin + i64::try_from((slot * CHANGES + n) * STEP_MILLIS).unwrap_or_default();
                let at = chance.random_range(0..day.people.len());
                let person = day.people[at].renamed(&mut chance);
                journal.change(&Change::Put(person.user()), Timestamp::from_millis(time)).await;
                day.names.entry(at).or_default().push((time, person.name));
                if slot + 60 + RECENT >= DAY && n % 10 == 9 {
                    journal.flush().await;
                }
            }
            let (at, of) = (journal.at.sequence.0, newest.snapshot.manifest());
            let changes = u64::try_from(at - of.sequence.0).unwrap_or_default();
            if changes > of.records / 4 || time - of.taken_at.as_millis() > 3_600_000 {
                journal.flush().await;
                newest = day.snapshot(&journal, Some(newest), time).await;
            }
            catalogue.push(backup(&template, &journal, &newest, time));
        }
        journal.flush().await;
        for batch in catalogue.chunks(1000) {
            backups.insert_many(batch).await.expect("write backups");
        }
        let end = begin + i64::try_from((DAY - 60) * 10_000).unwrap_or_default() - 1;
        day.move_head(bare, &journal, end).await;
        day
    }

    /// A snapshot of the department at the end of the journal.
    async fn snapshot(&self, journal: &Written, previous: Option<Base>, time: i64) -> Base {
        let place = &journal.place;
        let writer = SnapshotWriter {
            repository: place.repository.clone(),
            targets: place.targets.clone(),
            chunk_records: 4096,
            clock: Clock::System,
        };
        let position = Position {
            sequence: journal.at.sequence,
            chain: journal.at.chain,
            time: Timestamp::from_millis(time),
            closed: false,
            cluster_time: ClusterTime { seconds: 1, ordinal: 1 },
            balance: i64::try_from(self.people.len()).unwrap_or_default(),
            token: None,
        };
        let of =
            SnapshotOf { department: place.department.clone(), timeline: place.timeline, position, epoch: Epoch(1) };
        let stop = CancellationToken::new();
        let written = match previous {
            None => {
                let pieces =
                    |some: &[Person]| Ok::<_, BackupError>(Piece::Users(some.iter().map(Person::user).collect()));
                let pieces: Vec<_> = self.people.chunks(5000).map(pieces).collect();
                writer.write(&of, futures::stream::iter(pieces), None, &stop, |_| {}).await
            }
            Some(Base { snapshot, .. }) => {
                let from = snapshot.manifest().point();
                let base = Some((snapshot.clone(), from));
                let state = State::at(place.clone(), base, journal.at).await.expect("fold the journal");
                writer.write(&of, state.pieces(), Some(&snapshot), &stop, |_| {}).await
            }
        };
        let written = written.expect("write a snapshot");
        let snapshot = Snapshot::open(&place.repository, &place.targets, &written.path).await;
        Base { snapshot: snapshot.expect("open a snapshot"), path: written.path.to_string() }
    }

    /// Lets the history end where the journal ends, and the change stream begin now.
    async fn move_head(&self, bare: &Bare, journal: &Written, time: i64) {
        let now = bare.command(doc! { "ping": 1 }).await;
        let now = now.get_document("$clusterTime").and_then(|time| time.get_timestamp("clusterTime"));
        let place = |sequence: i64, time: i64| doc! { "timeline": 1_i64, "sequence": sequence, "time": DateTime::from_millis(time) };
        let sequence = journal.at.sequence.0;
        let set = doc! {
            "sequence": sequence,
            "chain": chain(journal.at),
            "time": DateTime::from_millis(time),
            "cluster_time": now.expect("have a cluster time"),
            "balance": i64::try_from(self.people.len()).unwrap_or_default(),
            "token": Bson::Null,
            "begin": place(0, self.begin - 1),
            "journal": [doc! { "target": "t1", "through": sequence }],
        };
        let heads = bare.collection("heads");
        let done = heads.update_one(doc! { "_id": DEPARTMENT }, doc! { "$set": set }).await.expect("move the head");
        assert_eq!(done.modified_count, 1, "the head was moved");
    }

    /// Reads a random user at a random moment, and insists on its name.
    async fn read(&self, stack: &Stack, chance: &mut StdRng) -> Duration {
        let at = chance.random_range(0..self.people.len());
        let time = self.begin + chance.random_range(0..i64::try_from((DAY - 60) * 10_000).unwrap_or(1));
        let path = format!("/users/{}?at={}", self.people[at].id, Timestamp::from_millis(time));
        let begun = Instant::now();
        let answer = stack.client().get(&path).await;
        let took = begun.elapsed();
        let changes = self.names.get(&at).map_or(&[][..], Vec::as_slice);
        let last = changes[..changes.partition_point(|(at, _)| *at <= time)].last();
        let expected = last.map_or(self.people[at].name.as_str(), |(_, name)| name);
        assert_eq!(answer.expect(200).json["name"], expected, "{path}");
        took
    }
}

/// A snapshot, and where it lies.
struct Base {
    snapshot: Snapshot,
    path: String,
}

/// The complete backup of a slot, as the catalogue has it.
fn backup(template: &Document, journal: &Written, base: &Base, time: i64) -> Document {
    let (mut backup, of, at) = (template.clone(), base.snapshot.manifest(), DateTime::from_millis(time));
    let long = |count: u64| i64::try_from(count).unwrap_or_default();
    let millis = u64::try_from(time).unwrap_or_default();
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid().to_string();
    backup.insert("_id", doc! { "department": DEPARTMENT, "id": id });
    for field in ["requested_at", "slot", "started_at", "finished_at"] {
        backup.insert(field, at);
    }
    let content = backup.get_document_mut("content").expect("have a content");
    content.insert("sequence", journal.at.sequence.0);
    content.insert("chain", chain(journal.at));
    content.insert("taken_at", at);
    content.insert("records", long(of.records));
    content.insert("balance", long(of.records));
    content.insert(
        "base",
        doc! {
            "snapshot": &base.path, "sequence": of.sequence.0, "taken_at": DateTime::from_millis(of.taken_at.as_millis()),
            "records": long(of.records), "bytes": long(of.bytes), "root": &of.root,
        },
    );
    backup
}

fn chain(at: Point) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: at.chain.0.to_vec() })
}
