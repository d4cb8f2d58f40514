//! What should wake somebody up: expressions over the metrics, each with what to do.
//!
//! Rule: an alert is about something that users would notice or that makes the next failure worse, and has a remedy.

/// An alert.
#[derive(Debug, Clone, Copy)]
pub struct Alert {
    /// Its name.
    pub name: &'static str,
    /// `critical`: act now; `warning`: act today.
    pub severity: &'static str,
    /// How long it must hold before it fires.
    pub lasts: &'static str,
    /// The expression, in `PromQL`.
    pub expression: &'static str,
    /// What it means, and what to do.
    pub remedy: &'static str,
}

impl Alert {
    /// Whether its expression names a metric.
    pub fn uses(&self, metric: &str) -> bool {
        self.names().any(|name| {
            let whole = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            name == metric || whole == Some(metric)
        })
    }

    /// The metrics that its expression names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let words = self.expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.filter(|word| word.starts_with("rollkeeper_") || word.starts_with("process_"))
    }
}

const fn alert(
    (name, severity, lasts): (&'static str, &'static str, &'static str),
    expression: &'static str,
    remedy: &'static str,
) -> Alert {
    Alert { name, severity, lasts, expression, remedy }
}

/// Every alert, the urgent ones first.
pub const ALERTS: [Alert; 19] = [
    alert(
        ("RollkeeperRequestsFail", "critical", "5m"),
        "sum(rate(rollkeeper_http_requests_total{status=\"5xx\"}[5m])) / sum(rate(rollkeeper_http_requests_total[5m])) > 0.05",
        "More than one request in twenty is answered with 5xx. Look whether MongoDB answers (RollkeeperMongodbFails), and in the \
         log for the request ids of the answers.",
    ),
    alert(
        ("RollkeeperMongodbFails", "critical", "2m"),
        "sum by (kind) (rate(rollkeeper_mongodb_failures_total{kind=~\"unavailable|outcome_unknown\"}[2m])) > 0.5",
        "MongoDB does not answer, or has no primary. `rollkeeper doctor` says what is wrong with it; writes whose outcome is \
         unknown are answered as such, and clients read before they repeat them.",
    ),
    alert(
        ("RollkeeperDepartmentWithoutLeader", "critical", "2m"),
        "max(rollkeeper_departments_without_leader) > 0",
        "Nobody takes backups or carries out restores of a department. Look at ZooKeeper (RollkeeperZookeeperLost) and at \
         `rollkeeper_fence_claims_total`: `unavailable` means that MongoDB does not answer the claim.",
    ),
    alert(
        ("RollkeeperBackupOverdue", "critical", "1m"),
        "max by (department) (rollkeeper_department_backup_overdue_seconds) > on (department) 2 * max by (department) (rollkeeper_department_backup_every_seconds)",
        "The newest backup is three times as old as the policy wants. `GET /backups?state=failed` has the cause; most often \
         the write quorum is not reached (RollkeeperQuorumLost).",
    ),
    alert(
        ("RollkeeperQuorumLost", "critical", "1m"),
        "max(rollkeeper_target_quorum_margin) < 0",
        "Fewer targets work than the write quorum: no backup completes and the journal waits. `GET /cluster` has the cause of \
         each; bring one back. Nothing is lost as long as MongoDB's oplog holds what waits.",
    ),
    alert(
        ("RollkeeperJournalLags", "critical", "2m"),
        "max by (department) (rollkeeper_department_journal_lag_seconds) > 60",
        "Acknowledged changes have been waiting for a minute to be durable on the quorum. Look at the targets' durations; \
         mend it before the oplog has forgotten where the journal is.",
    ),
    alert(
        ("RollkeeperDiverged", "critical", "0m"),
        "max by (department) (rollkeeper_department_diverged) > 0",
        "The targets hold another history than MongoDB: it was rolled back, or a clone writes there. Nothing is written until \
         somebody restores from it or re-bases: `POST /departments/{department}/rebase`.",
    ),
    alert(
        ("RollkeeperBackupsDamaged", "critical", "0m"),
        "sum by (department, target) (rollkeeper_department_copies{state=~\"damaged|missing\"}) > 0 or max by (department, target) (rollkeeper_department_journal_breaks) > 0",
        "A target lost something that no other target has whole. The log names the objects; take a backup now, look at the \
         disk, and bring a target back that may still have them.",
    ),
    alert(
        ("RollkeeperHistoryDrifts", "critical", "0m"),
        "max by (department) (rollkeeper_department_drifting_users) > 0",
        "Users in MongoDB are not what the history says: something wrote past the change stream, or rollkeeper is wrong. The \
         department's `drift` has their ids. Take a backup, and report it.",
    ),
    alert(
        ("RollkeeperZookeeperLost", "warning", "2m"),
        "max by (instance) (rollkeeper_zookeeper_session{state=\"connected\"}) < 1",
        "A replica has no session with ZooKeeper, so it leads nothing; users are still served. `rollkeeper doctor` there says why.",
    ),
    alert(
        ("RollkeeperLeadersChange", "warning", "0m"),
        "max(increase(rollkeeper_leader_changes_total[15m])) > 10",
        "Leaders change all the time. Look for pauses of the machines, for a slow ZooKeeper, and at \
         `rollkeeper_leaderships_ended_total{cause=\"gave_up\"}`.",
    ),
    alert(
        ("RollkeeperTargetFails", "warning", "5m"),
        "max by (target) (rollkeeper_target_state{state!=\"ok\"}) > 0 or max by (target) (rate(rollkeeper_target_failures_total[5m])) > 0.1",
        "A target does not work as `state` says; `GET /cluster` has the cause. Backups go on with the quorum of the others, and \
         it is caught up when it is back.",
    ),
    alert(
        ("RollkeeperCopiesOwed", "warning", "30m"),
        "sum by (department, target) (rollkeeper_department_copies{state=\"owed\"}) > 0 or max by (department, target) (rollkeeper_department_journal_behind_changes) > 10000",
        "A target has been behind for half an hour. If it works, it is slower than what is written: look at the duration of its writes.",
    ),
    alert(
        ("RollkeeperHistoryGap", "warning", "0m"),
        "max by (department) (delta(rollkeeper_department_gaps[1h])) > 0",
        "Changes were not captured, most often since the oplog was too short for an outage. A backup bridges it at once; the \
         moments in the gap cannot be restored. Make the oplog longer.",
    ),
    alert(
        ("RollkeeperJobsFail", "warning", "0m"),
        "sum by (cause) (increase(rollkeeper_backups_total{state=\"failed\"}[30m])) > 2 or sum by (cause) (increase(rollkeeper_restores_total{state=\"failed\"}[30m])) > 0",
        "Backups or restores fail; the cause is in the label, and its sentence in the job.",
    ),
    alert(
        ("RollkeeperRepositoryClosed", "warning", "5m"),
        "min(rollkeeper_repository_open) < 1",
        "A replica could not open the repository of backups: no target answers, or the key is not the right one. `GET /cluster` \
         has the cause.",
    ),
    alert(
        ("RollkeeperHashingSaturated", "warning", "5m"),
        "sum(rate(rollkeeper_hashing_refused_total[5m])) > 0",
        "Passwords come faster than they can be hashed, and are refused with 503. Add replicas or cores; look for an attack.",
    ),
    alert(
        ("RollkeeperBlind", "warning", "5m"),
        "max(rollkeeper_departments_read_age_seconds) > 120",
        "The values of departments are old, since MongoDB does not answer to a leader: other alerts about departments see the past.",
    ),
    alert(
        ("RollkeeperFewDescriptors", "warning", "10m"),
        "max(process_open_fds / process_max_fds) > 0.8",
        "A replica runs out of file descriptors. Raise the limit, and look for clients that hold connections open.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::{Metrics, StoreMetrics};

    #[test]
    fn an_alert_names_only_metrics_that_are_exported() {
        let metrics = Metrics::new("r1", &StoreMetrics::unregistered());
        for alert in ALERTS {
            for name in alert.names() {
                let known = metrics.described().iter().any(|metric| metric.name == name && alert.uses(&metric.name));
                assert!(known, "{} names {name}, which nobody exports", alert.name);
            }
            assert!(alert.names().next().is_some(), "{} names nothing", alert.name);
        }
    }

    #[test]
    fn names_of_alerts_and_metrics_are_their_own() {
        let metrics = Metrics::new("r1", &StoreMetrics::unregistered());
        let mut names: Vec<&str> = metrics.described().iter().map(|metric| metric.name.as_str()).collect();
        names.extend(ALERTS.iter().map(|alert| alert.name));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
