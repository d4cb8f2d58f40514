//! Restores, their changes and their conflicts for people.

use serde_json::Value;

use super::etag_of;
use crate::cli::table::{cell, columns, fields, rows};

/// Many restores.
pub(super) fn table(restores: &[Value]) -> String {
    let head = ["restore", "department", "state", "from", "asked for", "by", "done", "of"];
    let line = |restore: &Value| {
        let (of, progress) = (|field: &str| cell(&restore[field]), &restore["progress"]);
        vec![
            of("id"),
            of("department"),
            of("state"),
            from(&restore["from"]),
            of("requested_at"),
            of("requested_by"),
            cell(&progress["changes_done"]),
            cell(&progress["changes_total"]),
        ]
    };
    columns(&head, &restores.iter().map(line).collect::<Vec<_>>())
}

/// One restore: what it would change or has changed, and what can be done with it.
pub(super) fn text(restore: &Value) -> String {
    let of = |field: &str| cell(&restore[field]);
    let policies = ["mode", "credentials", "locked", "on_conflict"].map(|name| format!("{name} {}", of(name)));
    let mut lines = vec![
        ("restore", of("id")),
        ("department", of("department")),
        ("from", from(&restore["from"])),
        ("point", cell(&restore["point"]["time"])),
        ("policies", policies.join(", ")),
        ("state", of("state")),
        ("cause", cell(&restore["cause"]["message"])),
    ];
    let plan = &restore["plan"];
    if plan.is_object() {
        let kinds = ["creates", "updates", "deletes", "unchanged", "security_kept", "renumbered", "conflicts"];
        let counts = kinds.map(|kind| format!("{} {}", cell(&plan[kind]), kind.replace('_', " ")));
        lines.push(("plan", counts.join(", ")));
        lines.push(("missing users", cell(&plan["missing_users"])));
        lines.push(("etag", etag_of(restore).unwrap_or_default()));
    }
    let progress = &restore["progress"];
    if progress["changes_done"].as_u64().is_some_and(|done| done > 0) {
        let [done, total, applied, conflicts] =
            ["changes_done", "changes_total", "changes_applied", "conflicts"].map(|name| cell(&progress[name]));
        lines.push(("done", format!("{done} of {total}, {applied} written, {conflicts} conflicts")));
    }
    lines.extend([
        ("expires at", of("expires_at")),
        ("ended", of("finished_at")),
        ("undo until", of("undo_until")),
        ("undone by", of("undone_by")),
    ]);
    let samples = plan["samples"].as_array().map(Vec::as_slice).unwrap_or_default();
    fields(&lines) + &if samples.is_empty() { String::new() } else { format!("some of it\n{}", changes(samples)) }
}

/// Changes of a plan.
pub(super) fn changes(items: &[Value]) -> String {
    columns(&["change", "user", "name", "fields"], &rows(items, &["action", "user_id", "name", "fields"]))
}

/// Conflicts of an application.
pub(super) fn conflicts(items: &[Value]) -> String {
    let fields = ["user_id", "action", "cause", "overwritten"];
    columns(&["user", "planned", "cause", "overwritten"], &rows(items, &fields))
}

fn from(from: &Value) -> String {
    let named = |name: &str, words: &str| from[name].as_str().map(|value| format!("{words} {value}"));
    let sequence = from["sequence"].as_i64().map(|sequence| format!("at sequence {sequence}"));
    let parts = [
        named("backup_id", "backup"),
        named("undo_of", "what was before"),
        named("department", "department"),
        named("at", "at"),
        sequence,
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}
