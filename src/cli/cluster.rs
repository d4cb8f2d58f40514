//! `rollkeeper cluster`: replicas, leaders, histories and targets, as one replica sees them.

use clap::Args;
use serde_json::Value;

use super::output::{self, Output};
use super::remote::{self, AFTER_HELP, Ask, RemoteArgs};
use super::table::{cell, columns, fields, rows};

/// Where the service is.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ClusterArgs {
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Runs the command; the exit code.
pub(super) fn run(args: &ClusterArgs) -> u8 {
    remote::run(&args.remote, async |service| {
        let cluster = service.send(&Ask::get("/cluster")).await?;
        Ok(match args.remote.output {
            Output::Json => output::json(&cluster),
            Output::Table => output::line(&text(&cluster)),
        })
    })
}

fn text(cluster: &Value) -> String {
    let of = |field: &str| cell(&cluster[field]);
    let about = [
        ("answered by", of("replica")),
        ("version", of("version")),
        ("started at", of("started_at")),
        ("zookeeper", of("zookeeper")),
        ("write quorum", of("write_quorum")),
        ("repository open", of("repository_open")),
        ("because", cell(&cluster["repository_cause"]["message"])),
    ];
    let items = |field: &str| cluster[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text = fields(&about);
    for alarm in items("zookeeper_alarms") {
        text.extend(["alarm: ", &cell(&alarm["message"]), "\n"]);
    }
    for diverged in items("diverged") {
        text.extend(["diverged: ", &cell(&diverged["department"]), "\n"]);
    }
    let mut part = |title: &str, head: &[&str], lines: Vec<Vec<String>>| {
        let told = if lines.is_empty() { "  none\n".to_owned() } else { columns(head, &lines) };
        text.extend(["\n", title, "\n", &told]);
    };
    let replicas = rows(items("replicas"), &["replica", "url", "version", "draining"]);
    part("replicas", &["replica", "url", "version", "draining"], replicas);
    let leaders = rows(items("leaders"), &["department", "replica", "epoch", "since"]);
    part("leaders", &["department", "replica", "epoch", "since"], leaders);
    let history = |it: &Value| {
        let window = &it["recovery_window"];
        let of = |field: &str| cell(&window[field]);
        let gaps = window["gaps"].as_array().map_or(0, Vec::len).to_string();
        let (from, through) = (of("restorable_from"), of("restorable_through"));
        vec![cell(&it["department"]), from, through, of("last_sequence"), of("lag_seconds"), gaps, of("owed_copies")]
    };
    let histories = items("histories").iter().map(history).collect();
    let head = ["department", "readable from", "through", "sequence", "lag (s)", "gaps", "owed copies"];
    part("histories", &head, histories);
    let target =
        |it: &Value| vec![cell(&it["name"]), cell(&it["state"]), cell(&it["since"]), cell(&it["cause"]["message"])];
    part("targets", &["target", "state", "since", "cause"], items("targets").iter().map(target).collect());
    text
}
