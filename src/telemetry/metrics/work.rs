//! Metrics of what leaders do, and of the targets.

use super::Metrics;
use super::series::{Counters, Durations, Gauges, Register, Value};

/// States of a target.
pub const TARGET_STATES: [&str; 6] = ["ok", "down", "slow", "read_only", "full", "foreign"];
/// What is done to a target.
const TARGET_OPERATIONS: [&str; 2] = ["read", "write"];
/// What a scrub finds.
const FINDINGS: [&str; 3] = ["repaired", "refused", "lost"];

/// Backups, restores, the journal, scrubs.
#[derive(Debug)]
pub struct WorkMetrics {
    /// Backups that ended.
    pub backups: Counters<3>,
    /// How long they took.
    pub backup_duration: Durations<1>,
    /// Restores that ended.
    pub restores: Counters<2>,
    /// How long they took.
    pub restore_duration: Durations<0>,
    /// Segments of the journal on the quorum.
    pub segments: Counters<0>,
    /// Changes in them.
    pub changes: Counters<0>,
    /// How often the journal could not be archived.
    pub journal_failures: Counters<1>,
    /// Passes of the scrubbers.
    pub scrubs: Counters<2>,
    /// What they found.
    pub scrub_findings: Counters<2>,
    /// Copies that somebody asked to verify.
    pub verified: Counters<2>,
    /// Comparisons of history and live records.
    pub rescans: Counters<1>,
}

impl WorkMetrics {
    fn described() -> Self {
        Self {
            backups: Counters::counter(
                "rollkeeper_backups",
                ["kind", "state", "cause"],
                "Backups that this replica ended, by kind, by state (complete, failed) and by the code of the cause.",
            ),
            backup_duration: Durations::job_durations(
                "rollkeeper_backup_duration_seconds",
                ["kind"],
                "Time from taking a backup up to its being complete.",
            ),
            restores: Counters::counter(
                "rollkeeper_restores",
                ["state", "cause"],
                "Restores that this replica ended, by state (complete, failed, cancelled) and by the code of the cause.",
            ),
            restore_duration: Durations::job_durations(
                "rollkeeper_restore_duration_seconds",
                [],
                "Time from the request for a restore to its being complete, waiting included.",
            ),
            segments: Counters::counter(
                "rollkeeper_journal_segments",
                [],
                "Segments of the journal that the head covers.",
            ),
            changes: Counters::counter("rollkeeper_journal_changes", [], "Changes that the head covers."),
            journal_failures: Counters::counter(
                "rollkeeper_journal_failures",
                ["cause"],
                "Stretches of time in which the journal could not be archived, by the code of the cause that began it.",
            ),
            scrubs: Counters::counter(
                "rollkeeper_scrubs",
                ["what", "target"],
                "Passes of the scrubs over one target of one department that came to the end: journal, snapshots.",
            ),
            scrub_findings: Counters::counter(
                "rollkeeper_scrub_findings",
                ["target", "finding"],
                "Objects that a scrub found not to be right: repaired, refused (not believed), lost (no target has it).",
            ),
            verified: Counters::counter(
                "rollkeeper_verified_copies",
                ["target", "state"],
                "Copies that were verified because somebody asked, by what was found: present, owed, damaged, missing.",
            ),
            rescans: Counters::counter(
                "rollkeeper_rescans",
                ["outcome"],
                "Comparisons of history and live records: equal, drift.",
            ),
        }
    }

    pub(super) fn new(register: &mut Register) -> Self {
        let metrics = Self::described();
        register.take(&metrics.backups);
        register.take(&metrics.backup_duration);
        register.take(&metrics.restores);
        register.take(&metrics.restore_duration);
        register.take(&metrics.segments);
        register.take(&metrics.changes);
        register.take(&metrics.journal_failures);
        register.take(&metrics.scrubs);
        register.take(&metrics.scrub_findings);
        register.take(&metrics.verified);
        register.take(&metrics.rescans);
        for kind in ["scheduled", "on_demand", "before_restore"] {
            metrics.backup_duration.begin([kind.into()]);
            metrics.backups.add([kind.into(), "complete".into(), "none".into()], 0);
        }
        metrics.restores.add(["complete".into(), "none".into()], 0);
        metrics.restore_duration.begin([]);
        for outcome in ["equal", "drift"] {
            metrics.rescans.add([outcome.into()], 0);
        }
        metrics.journal_failures.add(["quorum_not_reached".into()], 0);
        metrics.segments.add([], 0);
        metrics.changes.add([], 0);
        metrics
    }

    /// Lets the counters of a target begin.
    fn begin(&self, target: &str) {
        let target = || Value::from(target.to_owned());
        for what in ["journal", "snapshots"] {
            self.scrubs.add([what.into(), target()], 0);
        }
        for finding in FINDINGS {
            self.scrub_findings.add([target(), finding.into()], 0);
        }
        for state in ["present", "damaged", "missing"] {
            self.verified.add([target(), state.into()], 0);
        }
    }
}

/// The targets.
#[derive(Debug)]
pub struct TargetMetrics {
    /// State of each.
    pub state: Gauges<2>,
    /// Whether writes reach the quorum by what is known.
    pub quorum_margin: Gauges<0>,
    /// How long operations took.
    pub duration: Durations<2>,
    /// Operations that failed.
    pub failures: Counters<2>,
    /// Bytes written and read.
    pub bytes: Counters<2>,
    /// Whether the repository of backups is open.
    pub repository_open: Gauges<0>,
}

impl TargetMetrics {
    pub(super) fn new(register: &mut Register) -> Self {
        let metrics = Self {
            state: Gauges::gauge(
                "rollkeeper_target_state",
                ["target", "state"],
                "1 for the state of a target as this replica's last operation left it: ok, down, slow (it hangs), read_only, full, foreign.",
            ),
            quorum_margin: Gauges::gauge(
                "rollkeeper_target_quorum_margin",
                [],
                "Targets that are ok, less the write quorum: 0 means that one more failure stops backups, below 0 they have stopped.",
            ),
            duration: Durations::durations(
                "rollkeeper_target_operation_duration_seconds",
                ["target", "operation"],
                "Time of operations on targets, waiting for a free place included: read (lists too), write.",
            ),
            failures: Counters::counter(
                "rollkeeper_target_failures",
                ["target", "cause"],
                "Operations on targets that failed, by what that says of the target: down, slow, read_only, full, foreign.",
            ),
            bytes: Counters::counter(
                "rollkeeper_target_bytes",
                ["target", "operation"],
                "Bytes of objects written to and read from targets.",
            ),
            repository_open: Gauges::gauge(
                "rollkeeper_repository_open",
                [],
                "1 when the repository of backups is open; no backup is taken before.",
            ),
        };
        register.take(&metrics.state);
        register.take(&metrics.quorum_margin);
        register.take(&metrics.duration);
        register.take(&metrics.failures);
        register.take(&metrics.bytes);
        register.take(&metrics.repository_open);
        metrics
    }

    fn begin(&self, target: &str) {
        for state in TARGET_STATES.into_iter().filter(|state| *state != "ok") {
            self.failures.add([target.to_owned().into(), state.into()], 0);
        }
        for operation in TARGET_OPERATIONS {
            self.bytes.add([target.to_owned().into(), operation.into()], 0);
        }
    }
}

impl Metrics {
    /// Lets the counters of a target begin, so that its first failure is an increase.
    pub fn begin_target(&self, target: &str) {
        self.work.begin(target);
        self.targets.begin(target);
    }
}
