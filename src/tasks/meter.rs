//! Counts what leaders do. The words of the labels are those of the API.

use std::borrow::Cow;

use super::Parts;
use super::leader::Leading;
use crate::cluster::Verdict;
use crate::domain::backup::{Backup, BackupKind};
use crate::domain::cause::Cause;
use crate::domain::restore::{Restore, RestoreState};
use crate::targets::Target;

/// What stands for the cause of what ended well.
const NO_CAUSE: &str = "none";

fn code(cause: Option<&Cause>) -> Cow<'static, str> {
    cause.map_or(NO_CAUSE.into(), |cause| cause.code.clone().into())
}

const fn kind(kind: BackupKind) -> &'static str {
    match kind {
        BackupKind::Scheduled => "scheduled",
        BackupKind::OnDemand => "on_demand",
        BackupKind::BeforeRestore => "before_restore",
    }
}

impl Parts {
    /// Notes what MongoDB said to a claim.
    pub(super) fn count_claim(&self, verdict: Verdict) {
        let verdict = match verdict {
            Verdict::Lead => "lead",
            Verdict::Stale(_) => "stale",
            Verdict::Unavailable => "unavailable",
        };
        self.metrics.cluster.claims.inc([verdict.into()]);
    }

    /// Notes a leadership that ended.
    pub(super) fn count_ended(&self, gave_up: bool) {
        self.metrics.cluster.ended.inc([if gave_up { "gave_up".into() } else { "released".into() }]);
    }
}

impl Leading {
    /// Notes a backup that ended.
    pub(super) fn count_backup(&self, backup: &Backup, cause: Option<&Cause>) {
        let (work, kind) = (&self.parts.metrics.work, kind(backup.kind));
        let state = if cause.is_some() { "failed" } else { "complete" };
        work.backups.inc([kind.into(), state.into(), code(cause)]);
        if let (None, Some(started), Some(finished)) = (cause, backup.started_at, backup.finished_at) {
            work.backup_duration.observe([kind.into()], finished.since(started));
        }
    }

    /// Notes a restore that ended.
    pub(super) fn count_restore(&self, restore: &Restore, state: RestoreState, cause: Option<&Cause>) {
        let work = &self.parts.metrics.work;
        let state = match state {
            RestoreState::Complete => "complete",
            RestoreState::Cancelled => "cancelled",
            _ => "failed",
        };
        work.restores.inc([state.into(), code(cause)]);
        if state == "complete" {
            work.restore_duration.observe([], self.parts.clock.now().since(restore.requested_at));
        }
    }

    /// Notes how far the head has moved.
    pub(super) fn count_archived(&self, changes: i64) {
        if let Ok(changes @ 1..) = u64::try_from(changes) {
            self.parts.metrics.work.segments.inc([]);
            self.parts.metrics.work.changes.add([], changes);
        }
    }

    /// Notes that the journal cannot be archived from now on.
    pub(super) fn count_trouble(&self, cause: &Cause) {
        self.parts.metrics.work.journal_failures.inc([cause.code.clone().into()]);
    }

    /// Notes a pass of a scrub that came to its end.
    pub(super) fn count_scrub(&self, what: &'static str, target: &Target) {
        self.parts.metrics.work.scrubs.inc([what.into(), target.name().to_string().into()]);
    }

    /// Notes what a scrub found on a target.
    pub(super) fn count_finding(&self, target: &Target, finding: &'static str) {
        self.parts.metrics.work.scrub_findings.inc([target.name().to_string().into(), finding.into()]);
    }

    /// Notes a comparison of history and live records.
    pub(super) fn count_rescan(&self, differing: u64) {
        self.parts.metrics.work.rescans.inc([if differing == 0 { "equal".into() } else { "drift".into() }]);
    }
}
