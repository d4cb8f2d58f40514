//! Reads a department's history from one target, with the program's own readers and nothing of a running replica.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use rollkeeper::backup::journal_read::{JournalPlace, JournalReader, Point};
use rollkeeper::backup::past::{Past, PastError, PastPoint};
use rollkeeper::backup::patch;
use rollkeeper::config::Config;
use rollkeeper::config::mongodb::MongodbConfig;
use rollkeeper::config::targets::TargetsConfig;
use rollkeeper::domain::clock::{Clock, Timestamp};
use rollkeeper::domain::history::{Change, Sequence, Timeline};
use rollkeeper::domain::ids::DepartmentName;
use rollkeeper::domain::user::User;
use rollkeeper::domain::window::{Moment, Outside, RecoveryWindow, Stretch};
use rollkeeper::store::Store;
use rollkeeper::targets::Targets;
use tokio::sync::OnceCell;

use super::history::Event;
use crate::harness::Stack;
use crate::harness::records::Records;

/// Reads the history from one target, as `GET ...?at=` does.
pub(super) struct Reader {
    past: Past,
    pub(super) store: Store,
    targets: Targets,
    repository: rollkeeper::backup::Repository,
    pub(super) department: &'static str,
}

impl Reader {
    pub(super) async fn open(stack: &Stack, target: &str, department: &'static str) -> Self {
        let config = MongodbConfig { uri: None, uri_file: None, database: stack.place.database.clone() };
        let id = "simulation".parse().expect("be an id");
        let store = Store::connect(&config, &stack.place.mongodb, &id).await.expect("connect");
        let file = stack.folder.path().join("r1.toml");
        let read = Config::load_from(Some(&file), HashMap::new(), &[]).expect("read the configuration");
        let list = read.targets.list.into_iter().filter(|entry| entry.name == target).collect();
        let config = TargetsConfig { write_quorum: None, operation_timeout: Duration::from_secs(30), list };
        let targets = Targets::open(&config, &Clock::System).expect("open the target");
        let repository = stack.repository();
        let opened = Arc::new(OnceCell::new_with(Some(repository.clone())));
        let past = Past::new(store.clone(), targets.clone(), opened);
        Self { past, store, targets, repository, department }
    }

    fn name(&self) -> DepartmentName {
        self.department.parse().expect("be a name")
    }

    /// The recovery window, with the timelines that the API does not show.
    pub(super) async fn window(&self) -> RecoveryWindow {
        self.store.windows.get(&self.name()).await.expect("read the window")
    }

    /// Every gap that the head has: the line that it ended, the sequence there, and its cause.
    pub(super) async fn gaps(&self) -> Vec<(i64, i64, String)> {
        let head = self.store.heads.get(&self.name()).await.expect("read the head").expect("have a head");
        head.gaps.into_iter().map(|gap| (gap.timeline.0, gap.after.0, gap.cause)).collect()
    }

    pub(super) async fn point(&self, sequence: i64) -> PastPoint {
        let found = self.past.locate(&self.name(), Moment::Sequence(Sequence(sequence))).await;
        found.unwrap_or_else(|error| panic!("{}: sequence {sequence}: {error:?}", self.department))
    }

    /// Why a sequence cannot be read.
    pub(super) async fn refusal(&self, sequence: i64) -> Outside {
        match self.past.locate(&self.name(), Moment::Sequence(Sequence(sequence))).await {
            Err(PastError::Outside(outside)) => outside,
            other => panic!("{}: sequence {sequence} is in a gap: {other:?}", self.department),
        }
    }

    /// The first point of a stretch; a sequence alone would be the end of the one before it.
    pub(super) async fn first_of(&self, stretch: &Stretch) -> PastPoint {
        let (timeline, sequence) = (stretch.from.timeline, stretch.from.sequence);
        let first = self.store.windows.oldest_from(&self.name(), timeline, sequence).await.expect("look for a backup");
        match first.filter(|content| content.sequence == sequence) {
            Some(content) => PastPoint::of_backup(&self.name(), &content),
            None => self.point(sequence.0).await,
        }
    }

    pub(super) async fn records(&self, at: &PastPoint) -> Records {
        let state = self.past.state(at).await.unwrap_or_else(|error| panic!("{at:?}: {error:?}"));
        let found: Vec<Vec<User>> = state.users(None).try_collect().await.expect("read the state");
        found.into_iter().flatten().map(|user| (user.id.to_string(), user)).collect()
    }

    /// Folds every change between two points of a line, insists that each leaves what the model says, and gives the time of
    /// each. `events` are the model's, from the first of these changes on.
    pub(super) async fn fold(
        &self,
        timeline: Timeline,
        (from, through): (Point, Point),
        mut state: Records,
        events: &[Event],
    ) -> Vec<Timestamp> {
        let place = JournalPlace::new(&self.repository, self.targets.clone(), &self.name(), timeline);
        let mut reader = JournalReader::open(place, from, through).await.expect("list the journal");
        let mut times = Vec::new();
        while let Some(changes) = reader.next().await.expect("read the journal") {
            for change in changes {
                let event = &events[times.len()];
                let id = change.change.user_id().to_string();
                let after = match change.change {
                    Change::Put(user) => Some(user),
                    Change::Delete(_) => None,
                    Change::Patch(_, update) => patch::apply(state.get(&id), &update),
                };
                let at = format!("{} {timeline:?} {}", self.department, change.sequence.0);
                assert!(!event.cleared, "the journal goes on over dropped users at {at}");
                assert_eq!((&id, &after), (&event.user, &event.record), "change {at}");
                match after {
                    Some(user) => state.insert(id, user),
                    None => state.remove(&id),
                };
                assert!(times.last().is_none_or(|last| *last <= change.time), "time goes back at {at}");
                times.push(change.time);
            }
        }
        times
    }
}
