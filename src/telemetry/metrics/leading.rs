//! Metrics of coordination, and of the departments that this replica leads.
//!
//! Rule: a department is shown by the replica that leads it and by no other; its series go when the leadership goes.

use super::series::{Counters, Gauges, Register};

/// States of the session with ZooKeeper.
pub const SESSION_STATES: [&str; 3] = ["connected", "suspended", "lost"];
/// What MongoDB says to a claim.
const VERDICTS: [&str; 3] = ["lead", "stale", "unavailable"];
/// Why a leadership ended.
const ENDINGS: [&str; 2] = ["released", "gave_up"];

/// ZooKeeper and leaderships.
#[derive(Debug)]
pub struct ClusterMetrics {
    /// State of the session.
    pub session: Gauges<1>,
    /// Changes of that state.
    pub session_changes: Counters<1>,
    /// What is left of the lease.
    pub lease: Gauges<0>,
    /// Live replicas.
    pub replicas: Gauges<0>,
    /// Departments led by this replica.
    pub leaderships: Gauges<0>,
    /// Departments without a leader.
    pub leaderless: Gauges<0>,
    /// Leaders that came, of any department, as this replica saw them.
    pub leader_changes: Counters<0>,
    /// Answers of MongoDB to our claims.
    pub claims: Counters<1>,
    /// Leaderships of ours that ended.
    pub ended: Counters<1>,
}

impl ClusterMetrics {
    pub(super) fn new(register: &mut Register) -> Self {
        let metrics = Self {
            session: Gauges::gauge(
                "rollkeeper_zookeeper_session",
                ["state"],
                "1 for the state of the session with ZooKeeper: connected (the lease holds), suspended, lost.",
            ),
            session_changes: Counters::counter(
                "rollkeeper_zookeeper_session_changes",
                ["state"],
                "How often the session came into a state.",
            ),
            lease: Gauges::gauge(
                "rollkeeper_lease_remaining_seconds",
                [],
                "How long the lease still holds without news from ZooKeeper; 0 when it does not.",
            ),
            replicas: Gauges::gauge("rollkeeper_replicas", [], "Live replicas, as this one sees them."),
            leaderships: Gauges::gauge("rollkeeper_leaderships", [], "Departments that this replica leads."),
            leaderless: Gauges::gauge(
                "rollkeeper_departments_without_leader",
                [],
                "Departments of which this replica knows no leader.",
            ),
            leader_changes: Counters::counter(
                "rollkeeper_leader_changes",
                [],
                "New leaders of any department, as this replica saw them; two in quick succession may count once.",
            ),
            claims: Counters::counter(
                "rollkeeper_fence_claims",
                ["verdict"],
                "Elections that this replica won, by what MongoDB's fence said: lead, stale, unavailable.",
            ),
            ended: Counters::counter(
                "rollkeeper_leaderships_ended",
                ["cause"],
                "Leaderships of this replica that ended: released (handed over, or the lease ended), gave_up (fenced, or a task died).",
            ),
        };
        register.take(&metrics.session);
        register.take(&metrics.session_changes);
        register.take(&metrics.lease);
        register.take(&metrics.replicas);
        register.take(&metrics.leaderships);
        register.take(&metrics.leaderless);
        register.take(&metrics.leader_changes);
        register.take(&metrics.claims);
        register.take(&metrics.ended);
        for state in SESSION_STATES {
            metrics.session_changes.add([state.into()], 0);
        }
        for verdict in VERDICTS {
            metrics.claims.add([verdict.into()], 0);
        }
        for cause in ENDINGS {
            metrics.ended.add([cause.into()], 0);
        }
        metrics.leader_changes.add([], 0);
        metrics
    }
}

/// One department that is led, all at one moment.
#[derive(Debug)]
pub struct DepartmentMetrics {
    /// Its epoch.
    pub epoch: Gauges<1>,
    /// Where its history is.
    pub sequence: Gauges<1>,
    /// The policy.
    pub backup_every: Gauges<1>,
    /// Age of the last complete backup.
    pub backup_age: Gauges<1>,
    /// How long the next is overdue.
    pub backup_overdue: Gauges<1>,
    /// Slots without a backup.
    pub missed_slots: Gauges<1>,
    /// How long changes wait for the journal.
    pub lag: Gauges<1>,
    /// Changes that a target has not.
    pub behind: Gauges<2>,
    /// Copies of complete backups that are not present.
    pub copies: Gauges<3>,
    /// Breaks of the journal on a target that no other can mend.
    pub damage: Gauges<2>,
    /// Whether the targets hold another history.
    pub diverged: Gauges<1>,
    /// Gaps of the history.
    pub gaps: Gauges<1>,
    /// Users that differ from the history.
    pub drift: Gauges<1>,
    /// Jobs that have not ended.
    pub open_jobs: Gauges<2>,
    /// How old all of this is.
    pub read_age: Gauges<0>,
}

impl DepartmentMetrics {
    fn described() -> Self {
        let of = |name, help| Gauges::gauge(name, ["department"], help);
        let on = |name, help| Gauges::gauge(name, ["department", "target"], help);
        Self {
            epoch: of("rollkeeper_department_epoch", "Epoch of the leadership."),
            sequence: of("rollkeeper_department_head_sequence", "Changes that the history has, through the head."),
            backup_every: of("rollkeeper_department_backup_every_seconds", "Time between two backups, by the policy."),
            backup_age: of(
                "rollkeeper_department_backup_age_seconds",
                "Seconds since the state that the newest complete backup holds; since the department was made, before the first.",
            ),
            backup_overdue: of(
                "rollkeeper_department_backup_overdue_seconds",
                "By how much the newest complete backup is older than the policy wants; 0 when it is not.",
            ),
            missed_slots: of(
                "rollkeeper_department_missed_slots",
                "Slots of the schedule that passed without a backup.",
            ),
            lag: of(
                "rollkeeper_department_journal_lag_seconds",
                "How long acknowledged changes have been waiting to be durable on the write quorum; 0 when none is.",
            ),
            behind: on(
                "rollkeeper_department_journal_behind_changes",
                "Changes of the history that a target does not have yet.",
            ),
            copies: Gauges::gauge(
                "rollkeeper_department_copies",
                ["department", "target", "state"],
                "Copies of complete backups that are not present: owed, damaged, missing.",
            ),
            damage: on(
                "rollkeeper_department_journal_breaks",
                "Breaks of the journal on a target that no other target could mend.",
            ),
            diverged: of(
                "rollkeeper_department_diverged",
                "1 while the targets hold another history and nothing is written.",
            ),
            gaps: of("rollkeeper_department_gaps", "Gaps of the history: changes that were not captured."),
            drift: of(
                "rollkeeper_department_drifting_users",
                "Users that differed from the history at the last comparison.",
            ),
            open_jobs: Gauges::gauge(
                "rollkeeper_department_open_jobs",
                ["department", "job"],
                "Backups and restores that have not ended; a plan that waits to be applied counts.",
            ),
            read_age: Gauges::gauge(
                "rollkeeper_departments_read_age_seconds",
                [],
                "How old the values of the departments are; they grow old while MongoDB does not answer.",
            ),
        }
    }

    pub(super) fn new(register: &mut Register) -> Self {
        let metrics = Self::described();
        let of_department = [&metrics.epoch, &metrics.sequence, &metrics.backup_every, &metrics.backup_age];
        for gauge in of_department {
            register.take(gauge);
        }
        let of_department = [&metrics.backup_overdue, &metrics.missed_slots, &metrics.lag];
        for gauge in of_department {
            register.take(gauge);
        }
        register.take(&metrics.behind);
        register.take(&metrics.copies);
        register.take(&metrics.damage);
        for gauge in [&metrics.diverged, &metrics.gaps, &metrics.drift] {
            register.take(gauge);
        }
        register.take(&metrics.open_jobs);
        register.take(&metrics.read_age);
        metrics
    }

    /// Forgets every department.
    pub fn clear(&self) {
        let of_department = [
            &self.epoch,
            &self.sequence,
            &self.backup_every,
            &self.backup_age,
            &self.backup_overdue,
            &self.missed_slots,
            &self.lag,
            &self.diverged,
            &self.gaps,
            &self.drift,
        ];
        for gauge in of_department {
            gauge.clear();
        }
        for gauge in [&self.behind, &self.damage, &self.open_jobs] {
            gauge.clear();
        }
        self.copies.clear();
    }
}
