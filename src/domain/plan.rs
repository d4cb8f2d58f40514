//! What a restore would do to each record: the wanted record beside the live one, under the request's policies.
//!
//! Rule: no policy that was not asked for weakens security. An old hash does not come back over a live one, and a
//! locked user stays locked.

use super::clock::Timestamp;
use super::ids::UserId;
use super::restore::{Action, ConflictCause, CredentialsPolicy, LockedPolicy, RestoreMode, RestoreRequest};
use super::user::{PasswordHash, Rev, User};

/// What a restore may not weaken of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Security {
    /// The hash of its password.
    pub password_hash: PasswordHash,
    /// Whether it is locked.
    pub locked: bool,
    /// Its version, which only goes up.
    pub version: i64,
}

impl From<&User> for Security {
    fn from(user: &User) -> Self {
        Self { password_hash: user.password_hash.clone(), locked: user.locked, version: user.version }
    }
}

/// What the plan of a restore into another department noted of a user when it was made, so that every leader plans the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// The id that the restore point has.
    pub user_id: UserId,
    /// Whether the id lives in another department, so that the copy gets a new one.
    pub elsewhere: bool,
    /// What was newest of the user, where that keeps the copy from what the point has.
    pub security: Option<Security>,
}

/// One planned change, with both sides that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedChange {
    /// The user.
    pub user_id: UserId,
    /// What happens.
    pub action: Action,
    /// The record as the restore point has it; absent for a delete.
    pub wanted: Option<User>,
    /// The record as it was when the plan was made; absent for a create.
    pub base: Option<User>,
    /// The rev that the record must still have; absent where there must be no record.
    pub guard: Option<Rev>,
    /// The id that the restore point has the record under, where it gets a new one.
    pub renumbered_from: Option<UserId>,
}

/// What the comparison of two sides says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// The plan has nothing to do with this record.
    Outside,
    /// The live record is as wanted; `security_kept` when only thanks to a policy.
    Unchanged {
        /// A policy keeps the live hash or lock.
        security_kept: bool,
    },
    /// The record changes.
    Change {
        /// How.
        change: Box<PlannedChange>,
        /// A policy keeps the live hash or lock.
        security_kept: bool,
    },
}

/// Compares the wanted and the live record of one id. At least one side is present.
pub fn compare(wanted: Option<User>, live: Option<User>, request: &RestoreRequest) -> Compared {
    let change = |action, user_id, wanted, base: Option<User>| {
        let guard = base.as_ref().map(|base| base.rev);
        PlannedChange { user_id, action, wanted, base, guard, renumbered_from: None }
    };
    match (wanted, live) {
        (None, None) => Compared::Outside,
        (None, Some(live)) => match request.mode {
            RestoreMode::Merge => Compared::Outside,
            RestoreMode::Exact => Compared::Change {
                change: Box::new(change(Action::Delete, live.id.clone(), None, Some(live))),
                security_kept: false,
            },
        },
        (Some(wanted), None) => Compared::Change {
            change: Box::new(change(Action::Create, wanted.id.clone(), Some(wanted), None)),
            security_kept: false,
        },
        (Some(wanted), Some(live)) => {
            let target = target(&wanted, Some(&live), request);
            let security_kept = target.password_hash != wanted.password_hash
                || (target.locked != wanted.locked && request.locked == LockedPolicy::Keep);
            if target.same_content(&live) {
                return Compared::Unchanged { security_kept };
            }
            let id = wanted.id.clone();
            let change = change(Action::Update, id, Some(wanted), Some(live));
            Compared::Change { change: Box::new(change), security_kept }
        }
    }
}

/// The content that a record ends up with. Its rev, version and `updated_at` are set when it is written.
pub fn target(wanted: &User, live: Option<&User>, request: &RestoreRequest) -> User {
    let mut target = wanted.clone();
    if let Some(live) = live {
        if request.credentials == CredentialsPolicy::Keep {
            target.password_hash = live.password_hash.clone();
        }
        if request.locked == LockedPolicy::Keep {
            target.locked = live.locked;
        }
    }
    if request.locked == LockedPolicy::Unlock {
        target.locked = false;
    }
    target
}

/// A record that has no live one, with what was last known of its user where the policies keep that. Tells whether that made
/// a difference.
pub fn with_last_known(mut wanted: User, known: &Security, request: &RestoreRequest) -> (User, bool) {
    let mut kept = false;
    if request.credentials == CredentialsPolicy::Keep && wanted.password_hash != known.password_hash {
        wanted.password_hash = known.password_hash.clone();
        kept = true;
    }
    if request.locked == LockedPolicy::Keep && wanted.locked != known.locked {
        wanted.locked = known.locked;
        kept = true;
    }
    wanted.version = wanted.version.max(known.version);
    (wanted, kept)
}

/// Names of the fields that differ between a live record and what it becomes.
pub fn changed_fields(live: &User, target: &User) -> Vec<&'static str> {
    let mut fields = Vec::new();
    if live.name != target.name {
        fields.push("name");
    }
    if live.password_hash != target.password_hash {
        fields.push("password_hash");
    }
    if live.locked != target.locked {
        fields.push("locked");
    }
    if live.created_at != target.created_at {
        fields.push("created_at");
    }
    fields
}

impl PlannedChange {
    /// The id in whose order the changes of a plan come.
    pub fn key(&self) -> &UserId {
        self.renumbered_from.as_ref().unwrap_or(&self.user_id)
    }

    /// Whether a live record is the one that the plan expects: the whole record, since somebody who writes past the
    /// service may change a record and leave its rev.
    pub fn expects(&self, live: &User) -> bool {
        self.guard == Some(live.rev) && self.base.as_ref().is_some_and(|base| base.same_content(live))
    }

    /// Whether the record is known to be another one than the change expects, so that it meets a conflict.
    pub fn meets_conflict(&self) -> bool {
        self.base.as_ref().map(|base| base.rev) != self.guard
    }

    /// What has become of the user of another department that the change copies, where the copy would weaken it now.
    pub fn outdated_by(&self, source: Option<&User>, request: &RestoreRequest) -> Option<ConflictCause> {
        let copy = self.wanted.as_ref().filter(|_| self.renumbered_from.is_some() && request.keeps_security())?;
        let Some(source) = source else { return Some(ConflictCause::Gone) };
        let hash = request.credentials == CredentialsPolicy::Keep && copy.password_hash != source.password_hash;
        let lock = request.locked == LockedPolicy::Keep && copy.locked != source.locked;
        (hash || lock).then_some(ConflictCause::Changed)
    }

    /// Whether the change gives the user another name.
    pub fn renames(&self) -> bool {
        match (&self.wanted, &self.base) {
            (Some(wanted), Some(base)) => wanted.name != base.name,
            _ => false,
        }
    }

    /// Feeds everything that the change depends on to the plan's hash, each part with its length.
    pub fn digest_into(&self, request: &RestoreRequest, feed: &mut impl FnMut(&[u8])) {
        let mut part = |bytes: &[u8]| {
            feed(&(bytes.len() as u64).to_le_bytes());
            feed(bytes);
        };
        part(&[self.action as u8]);
        part(self.user_id.as_str().as_bytes());
        part(&self.guard.map_or(0, Rev::bits).to_le_bytes());
        let base_rev = self.base.as_ref().map_or(0, |base| base.rev.bits());
        part(&base_rev.to_le_bytes());
        if let Some(wanted) = &self.wanted {
            let target = target(wanted, self.base.as_ref(), request);
            part(target.name.as_str().as_bytes());
            part(target.password_hash.expose().as_bytes());
            part(&[u8::from(target.locked)]);
            part(&target.created_at.as_millis().to_le_bytes());
        }
    }

    /// Bytes that the change takes in a transaction, roughly.
    pub fn weight(&self) -> usize {
        const FIXED: usize = 200;
        let record = self.wanted.as_ref().or(self.base.as_ref());
        FIXED + record.map_or(0, |user| user.name.as_str().len() + user.password_hash.expose().len())
    }
}

/// The record to write for a target over what is live: a fresh rev, a version that goes on from the highest known.
pub fn written(mut target: User, live: Option<&User>, base: Option<&User>, rev: Rev, now: Timestamp) -> User {
    let known = [Some(&target), live, base].into_iter().flatten().map(|user| user.version);
    target.version = known.max().unwrap_or(0) + 1;
    target.rev = rev;
    target.updated_at = now;
    target
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::ids::DepartmentName;
    use crate::domain::restore::{OnConflict, RestoreSource};
    use crate::domain::user::PasswordHash;

    pub(crate) fn user(id: &str, name: &str) -> User {
        User {
            id: id.parse().unwrap(),
            department: DepartmentName::default_department(),
            name: name.parse().unwrap(),
            password_hash: PasswordHash::from_checked("old".to_owned()),
            locked: false,
            rev: Rev::from_bits(1),
            version: 1,
            created_at: Timestamp::from_millis(1),
            updated_at: Timestamp::from_millis(1),
        }
    }

    pub(crate) fn request() -> RestoreRequest {
        RestoreRequest {
            source: RestoreSource::Backup("0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f".parse().unwrap()),
            into: None,
            users: None,
            mode: RestoreMode::Merge,
            credentials: CredentialsPolicy::Keep,
            locked: LockedPolicy::Keep,
            on_conflict: OnConflict::Skip,
        }
    }

    #[test]
    fn by_default_a_newer_hash_and_a_lock_survive_a_restore() {
        let wanted = user("a", "ada");
        let mut live = user("a", "ada");
        live.password_hash = PasswordHash::from_checked("new".to_owned());
        live.locked = true;
        let compared = compare(Some(wanted), Some(live), &request());
        assert_eq!(compared, Compared::Unchanged { security_kept: true });
    }

    #[test]
    fn when_asked_the_point_wins_over_the_live_hash_and_lock() {
        let wanted = user("a", "ada");
        let mut live = user("a", "ada");
        live.password_hash = PasswordHash::from_checked("new".to_owned());
        live.locked = true;
        let mut asked = request();
        asked.credentials = CredentialsPolicy::Restore;
        asked.locked = LockedPolicy::Restore;
        assert_eq!(target(&wanted, Some(&live), &asked), wanted);
    }

    #[test]
    fn only_exact_removes_what_the_point_does_not_have() {
        let live = user("a", "ada");
        assert_eq!(compare(None, Some(live.clone()), &request()), Compared::Outside);
        let mut exact = request();
        exact.mode = RestoreMode::Exact;
        assert!(matches!(compare(None, Some(live), &exact), Compared::Change { .. }));
    }

    #[test]
    fn a_version_goes_on_from_the_highest_known() {
        let mut live = user("a", "ada");
        live.version = 9;
        let record = written(user("a", "ada"), Some(&live), None, Rev::from_bits(7), Timestamp::from_millis(5));
        assert_eq!((record.version, record.rev), (10, Rev::from_bits(7)));
    }
}
