//! Rebuilds an empty MongoDB from targets: users, departments, the catalogue of backups, and where the history goes on.
//!
//! Rule: until the last step the database says that it is being rebuilt, and no replica starts on it; every step can be
//! repeated, so that a rebuild that was broken off goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::TryStreamExt;

use crate::domain::backup::{Backup, BackupKind, BackupState};
use crate::domain::cause::Cause;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::copies::{Copy, CopyState};
use crate::domain::department::{Department, DepartmentState, Policy, Schedule};
use crate::domain::epoch::{Epoch, Executor};
use crate::domain::history::{Gap, JournalCopy, Sequence, Timeline};
use crate::domain::ids::{DepartmentName, ReplicaId, TargetName, UserId};
use crate::domain::user::{Rev, User};
use crate::domain::window::Place;
use crate::store::rebuild::{Begun, RebuiltHead};
use crate::store::repository::StoredRepository;
use crate::store::{Store, StoreError};

use super::super::state::State;
use super::catalogue::{Catalogue, Listed, TimelineVault};
use super::moment::{Found, Wanted};
use super::{Vault, VaultError};

/// Records of one insert.
const BATCH: usize = 1000;
/// Inserts that are under way at the same time.
const INSERTS: usize = 3;
/// How often a write that got no answer is tried again.
const TRIES: u32 = 10;
/// Pause before it is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Who made a backup, where only its epoch is known.
const EXECUTOR: &str = "rebuilt";

/// One department as it will be rebuilt.
#[derive(Debug)]
pub struct Part {
    /// What the targets together tell of it.
    pub catalogue: Catalogue,
    /// The state that its users get; none for no users.
    pub found: Option<Found>,
    /// What each target alone tells of it; none for one that does not answer.
    each: BTreeMap<TargetName, Option<Catalogue>>,
}

/// What will be written.
#[derive(Debug)]
pub struct Plan {
    /// The departments, by name.
    pub parts: Vec<Part>,
    /// Those that had no history yet at the moment that was asked for: they are made without users.
    pub not_yet: Vec<DepartmentName>,
}

/// What was done with one department.
#[derive(Debug)]
pub struct Rebuilt {
    /// The department.
    pub department: DepartmentName,
    /// Users that are in the database now.
    pub users: u64,
    /// Users that could not be written, since another record holds their id or name.
    pub skipped: Vec<UserId>,
    /// Complete backups in the catalogue.
    pub backups: u64,
    /// Backups whose objects are not all there; they are listed as failed.
    pub damaged: u64,
    /// Where the history goes on.
    pub timeline: Timeline,
    /// The last sequence that was recovered.
    pub sequence: Sequence,
}

impl Vault {
    /// Plans the rebuild of everything that the targets hold, at one moment. `others` are targets of the service that are
    /// not read; their copies count as missing.
    ///
    /// # Errors
    /// `Outside` when a department does not have that moment.
    pub async fn plan_rebuild(&self, wanted: &Wanted, others: &[TargetName]) -> Result<Plan, VaultError> {
        let mut plan = Plan { parts: Vec::new(), not_yet: Vec::new() };
        for department in self.departments().await? {
            let catalogue = self.catalogue(&department).await?;
            let found = if begins_after(&catalogue, wanted) {
                plan.not_yet.push(department.clone());
                None
            } else {
                self.find(&catalogue, wanted).await?
            };
            let mut each: BTreeMap<_, _> = others.iter().map(|name| (name.clone(), None)).collect();
            for alone in self.each() {
                let Some(name) = alone.targets.iter().next().map(|target| target.name().clone()) else { continue };
                each.insert(name, alone.catalogue(&department).await.ok());
            }
            plan.parts.push(Part { catalogue, found, each });
        }
        Ok(plan)
    }

    /// Prepares the database: refuses one that holds anything, else applies the migrations. A rebuild by the same plan
    /// that was broken off goes on.
    ///
    /// # Errors
    /// `NotEmpty` with what to do.
    pub async fn begin_rebuild(&self, plan: &Plan, store: &Store, now: Timestamp) -> Result<Begun, VaultError> {
        let begun = store.begin_rebuild(&plan.fingerprint(self.repository_id()), now).await?;
        match &begun {
            Begun::Occupied(what) => Err(VaultError::NotEmpty(format!(
                "the database is not empty: it has {what}. Name another one with --database, or drop it first; nothing was \
                 written"
            ))),
            Begun::OtherPlan => Err(VaultError::NotEmpty(
                "a rebuild of this database was broken off, and the targets or the moment were others. Give the same ones, \
                 or drop the database and begin anew; nothing was written"
                    .to_owned(),
            )),
            Begun::Fresh | Begun::Continued => Ok(begun),
        }
    }

    /// Writes one department. It may be repeated.
    ///
    /// # Errors
    /// When a target or MongoDB fails for some time.
    pub async fn rebuild_part(
        &self,
        part: &Part,
        store: &Store,
        policy: &Policy,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Rebuilt, VaultError> {
        let catalogue = &part.catalogue;
        let department = &catalogue.department;
        let (mut users, mut skipped) = (0, Vec::new());
        if let Some(found) = &part.found {
            let state = self.state(catalogue, found).await?;
            let total = state.chunks().iter().map(|chunk| chunk.records).sum();
            let mut writes = std::pin::pin!(write_users(store, &state));
            while let Some((written, mut refused)) = writes.try_next().await? {
                users += written;
                skipped.append(&mut refused);
                progress(users, total);
            }
        }
        let (backups, damaged) = self.rebuild_backups(part, store).await?;
        let now = Clock::System.now();
        let about = catalogue.about.as_ref();
        let state = about.is_some_and(|about| about.deleted).then_some(DepartmentState::Deleted);
        let made = Department {
            name: department.clone(),
            policy: about.map_or_else(|| policy.clone(), |about| about.policy.clone()),
            state: state.unwrap_or(DepartmentState::Active),
            rev: Rev::random(),
            created_at: about.map_or(now, |about| about.created_at),
            updated_at: now,
            schedule: Schedule { last_slot: catalogue.backups.iter().filter_map(slot).max(), missed_slots: 0 },
        };
        let head = part.head(users, now);
        store.rebuild_department(&made, &head).await?;
        let (timeline, sequence) = (head.timeline, head.sequence);
        Ok(Rebuilt { department: department.clone(), users, skipped, backups, damaged, timeline, sequence })
    }

    /// The last step: the repository of the targets becomes that of the database, and replicas may start.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn end_rebuild(&self, store: &Store) -> Result<(), VaultError> {
        let repository =
            StoredRepository { id: self.repository_id().to_owned(), sealed_secret: self.sealed_secret.clone() };
        store.repository.get_or_insert(&repository).await?;
        Ok(store.end_rebuild().await?)
    }

    async fn rebuild_backups(&self, part: &Part, store: &Store) -> Result<(u64, u64), VaultError> {
        let (mut complete, mut damaged) = (0, 0);
        let mut documents = Vec::new();
        for listed in &part.catalogue.backups {
            let Some(backup) = part.backup(listed) else { continue };
            complete += u64::from(backup.state == BackupState::Complete);
            damaged += u64::from(!listed.missing.is_empty());
            documents.push((backup, listed.word.epoch));
        }
        for batch in documents.chunks(BATCH) {
            patiently(|| store.rebuild_backups(batch)).await?;
        }
        Ok((complete, damaged))
    }
}

impl Plan {
    /// One value that tells whether another plan writes the same.
    fn fingerprint(&self, repository: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(repository.as_bytes());
        for part in &self.parts {
            let point = part.found.as_ref().map(|found| (found.timeline.0, found.point.sequence.0, found.point.chain));
            let point = point.map(|(timeline, sequence, chain)| format!("{timeline}/{sequence}/{chain}"));
            hasher.update(format!("\n{} {}", part.catalogue.department, point.unwrap_or_default()).as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

impl Part {
    /// The head: on a new timeline, above every epoch and every sequence that the targets show.
    fn head(&self, users: u64, now: Timestamp) -> RebuiltHead {
        let catalogue = &self.catalogue;
        let point = |of: &Catalogue| of.newest().map(|(timeline, tip)| (timeline.timeline, tip.point));
        let last = point(catalogue);
        let gaps = catalogue.ends(last.map(|(timeline, _)| timeline), now);
        // Only a target that has all of it holds the journal; the others catch up.
        let holding = self.each.iter().filter(|(_, of)| of.as_ref().is_some_and(|of| point(of) == last));
        RebuiltHead {
            epoch: Epoch(catalogue.epoch.0 + 1),
            timeline: Timeline(catalogue.timeline.0 + 1),
            sequence: catalogue.sequence,
            chain: catalogue.chain(),
            time: gaps.iter().map(|gap| gap.time).max().unwrap_or(Timestamp::from_millis(0)),
            balance: i64::try_from(users).unwrap_or(i64::MAX),
            begin: catalogue.begin(),
            gaps,
            journal: holding
                .map(|(target, _)| JournalCopy { target: target.clone(), through: catalogue.sequence })
                .collect(),
        }
    }

    /// A backup as the catalogue lists it; one that was deleted is not listed, and one that is not whole only as failed.
    fn backup(&self, listed: &Listed) -> Option<Backup> {
        let mut backup = listed.word.backup.clone();
        if !matches!(listed.word.state.as_str(), "complete" | "failed" | "cancelled" | "held") {
            return None;
        }
        backup.executed_by = executor(listed.word.epoch);
        backup.slot = slot(listed);
        backup.copies = self.each.iter().map(|(target, of)| copy(target, of.as_ref(), listed)).collect();
        if let Some(damage) = listed.missing.first() {
            backup.state = BackupState::Failed;
            let text = format!(
                "When the database was rebuilt, the targets did not have {}: {}.",
                damage.object, damage.reason
            );
            backup.cause = Some(Cause::new("objects_missing", text));
            backup.content = None;
        }
        Some(backup)
    }
}

/// The slot of a scheduled backup: the time in its id.
fn slot(listed: &Listed) -> Option<Timestamp> {
    let backup = &listed.word.backup;
    let id = uuid::Uuid::parse_str(backup.id.as_str()).ok().filter(|_| backup.kind == BackupKind::Scheduled)?;
    i64::try_from(id.as_u128() >> 80).ok().map(Timestamp::from_millis)
}

fn executor(epoch: Epoch) -> Option<Executor> {
    let replica: ReplicaId = EXECUTOR.parse().ok()?;
    Some(Executor { replica, epoch })
}

/// What one target alone holds of a backup.
fn copy(target: &TargetName, of: Option<&Catalogue>, listed: &Listed) -> Copy {
    let own = of.and_then(|catalogue| catalogue.backup(&listed.word.backup.id));
    let whole = own.is_some_and(|own| own.is_whole() && own.path == listed.path);
    let (state, cause) = if whole {
        (CopyState::Present, None)
    } else {
        let text = "The target did not have all of it when the database was rebuilt; it is brought there.";
        (CopyState::Missing, Some(Cause::new("rebuilt_without", text)))
    };
    Copy { target: target.clone(), state, verified_at: None, cause }
}

impl Catalogue {
    /// Where each timeline ends, as gaps of the head.
    fn ends(&self, newest: Option<Timeline>, now: Timestamp) -> Vec<Gap> {
        let gap = |timeline: &TimelineVault| {
            let tip = timeline.lineage.tip()?;
            let cause = if newest == Some(timeline.timeline) { "database_rebuilt" } else { "timeline_ended" };
            let (after, time) = (tip.point.sequence, tip.until?);
            Some(Gap { timeline: timeline.timeline, after, time, found_at: now, cause: cause.to_owned() })
        };
        self.timelines.iter().filter_map(gap).collect()
    }

    /// The earliest place from which the journal has no hole inside a timeline: the empty beginning, or the first backup
    /// after the last such hole.
    fn begin(&self) -> Option<Place> {
        let stretches = self.stretches();
        let whole = |from: usize| {
            let timelines = stretches.iter().skip(from).map(|stretch| stretch.from.timeline);
            timelines.collect::<BTreeSet<_>>().len() == stretches.len() - from
        };
        let first = stretches.iter().enumerate().find(|(at, _)| whole(*at)).map(|(_, stretch)| *stretch)?;
        if first.from.sequence == Sequence(0) && first.from.timeline == Timeline(1) {
            return Some(first.from);
        }
        let held = self.backups.iter().filter(|backup| backup.is_whole());
        let places = held.filter_map(|backup| backup.word.backup.content.as_ref()).map(|content| Place {
            timeline: content.timeline,
            sequence: content.sequence,
            time: content.taken_at,
        });
        let inside = |place: &Place| {
            place.timeline == first.from.timeline
                && first.from.sequence <= place.sequence
                && place.sequence <= first.through.sequence
        };
        places.filter(inside).min_by_key(|place| place.sequence)
    }
}

/// Whether the department had not begun at the moment that is wanted: its history begins empty, and later.
fn begins_after(catalogue: &Catalogue, wanted: &Wanted) -> bool {
    let Wanted::At(at) = wanted else { return false };
    let first = catalogue.stretches().first().copied();
    first.is_some_and(|first| first.from.sequence == Sequence(0) && first.from.time > *at)
}

/// Inserts all records of a state; tells after each batch how many were written, and which could not be.
fn write_users<'a>(
    store: &'a Store,
    state: &State,
) -> impl futures::Stream<Item = Result<(u64, Vec<UserId>), VaultError>> + 'a {
    let batches = state.users(None).map_err(VaultError::from);
    let cut = batches.map_ok(|users: Vec<User>| {
        let pieces: Vec<Result<Vec<User>, VaultError>> = users.chunks(BATCH).map(|piece| Ok(piece.to_vec())).collect();
        futures::stream::iter(pieces)
    });
    cut.try_flatten().map_ok(move |users| insert(store, users)).try_buffered(INSERTS)
}

async fn insert(store: &Store, users: Vec<User>) -> Result<(u64, Vec<UserId>), VaultError> {
    let results = patiently(|| store.users.insert_many(&users)).await?;
    let (mut written, mut refused) = (0, Vec::new());
    for (user, result) in users.iter().zip(results) {
        match result {
            Ok(()) => written += 1,
            // Ours, from a run that was broken off or whose answer was lost; or somebody else's.
            Err(StoreError::Taken(_)) => {
                if patiently(|| store.users.get(&user.id)).await?.as_ref() == Some(user) {
                    written += 1;
                } else {
                    refused.push(user.id.clone());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((written, refused))
}

/// Repeats what got no answer; every write of a rebuild may be repeated.
async fn patiently<T, F>(mut work: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut tries = 0;
    loop {
        tries += 1;
        match work().await {
            Err(StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_)) if tries < TRIES => {
                tokio::time::sleep(RETRY_AFTER).await;
            }
            outcome => return outcome,
        }
    }
}
