//! What Prometheus is told, on real parts: after a backup, with a lost target, without ZooKeeper; and who may ask.

use std::time::Duration;

use rollkeeper::telemetry::Metrics;
use rollkeeper::telemetry::metrics::StoreMetrics;
use serde_json::json;

use crate::harness::parts::free_port;
use crate::harness::scraped::Scraped;
use crate::harness::settings::Settings;
use crate::harness::stack::present_everywhere;
use crate::harness::{Stack, eventually};

const WITHIN: Duration = Duration::from_mins(1);
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");

/// Waits until a replica exports what pleases the caller.
async fn until(what: &str, stack: &Stack, replica: usize, pleases: impl Fn(&Scraped) -> bool) -> Scraped {
    let client = &stack.replicas[replica].client;
    eventually(what, WITHIN, async || {
        let scraped = Scraped::of(client).await;
        pleases(&scraped).then_some(scraped)
    })
    .await
}

#[test]
fn the_metrics_docs_are_what_the_code_says() {
    let said = Metrics::new("r1", &StoreMetrics::unregistered()).markdown();
    if std::env::var_os("ROLLKEEPER_WRITE_DOCS").is_some() {
        std::fs::write(DOCUMENT, &said).expect("write the document");
        return;
    }
    assert!(
        said == std::fs::read_to_string(DOCUMENT).expect("read the document"),
        "run `ROLLKEEPER_WRITE_DOCS=1 cargo nextest run -E 'test(metrics_docs)'` and commit docs/metrics.md"
    );
}

#[tokio::test]
async fn after_a_backup_and_a_restore_the_metrics_say_so() {
    let backup = ", scrub_every = \"1s\", look_every = \"500ms\"".to_owned();
    let stack = Stack::start(Settings { backup, ..Settings::default() }).await;
    stack.first_slot_done("default").await;
    stack.create_users("default", 20).await;
    let taken = present_everywhere(&stack, &stack.backup("default").await).await;
    let id = taken["id"].as_str().expect("have an id");
    stack.client().post(&format!("/backups/{id}/verify"), json!({})).await.expect(200);
    let restore = stack.restore(json!({ "from": { "backup_id": id }, "apply": true })).await;
    stack.ended(restore.header("location"), "complete").await;

    let default = [("department", "default")];
    let seen = until("the metrics say what was done", &stack, 0, |seen| {
        seen.is("rollkeeper_backups_total", &[("kind", "on_demand"), ("state", "complete")], 1.0)
            && seen.is("rollkeeper_backups_total", &[("kind", "before_restore"), ("state", "complete")], 1.0)
            && seen.is("rollkeeper_restores_total", &[("state", "complete"), ("cause", "none")], 1.0)
            && seen.is("rollkeeper_department_head_sequence", &default, 20.0)
            && seen.has("rollkeeper_scrubs_total", &[("what", "journal"), ("target", "t1")], 1.0)
            && seen.has("rollkeeper_scrubs_total", &[("what", "snapshots"), ("target", "t2")], 1.0)
    })
    .await;
    assert!(seen.is("rollkeeper_restore_duration_seconds_count", &[], 1.0));
    assert!(seen.is("rollkeeper_verified_copies_total", &[("state", "present")], 2.0));
    assert!(seen.is("rollkeeper_journal_changes_total", &[], 20.0));
    assert!(seen.is("rollkeeper_department_copies", &default, 0.0), "nothing is owed");
    assert!(seen.is("rollkeeper_department_backup_overdue_seconds", &default, 0.0));
    assert!(seen.is("rollkeeper_department_backup_every_seconds", &default, 3600.0));
    assert!(seen.sum("rollkeeper_department_backup_age_seconds", &default).expect("be there") < 60.0);
    assert!(seen.is("rollkeeper_target_state", &[("state", "ok")], 2.0));
    assert!(seen.is("rollkeeper_target_quorum_margin", &[], 0.0), "two targets, both needed");
    assert!(seen.has("rollkeeper_target_bytes_total", &[("target", "t2"), ("operation", "write")], 1000.0));
    assert!(seen.is("rollkeeper_zookeeper_session", &[("state", "connected")], 1.0));
    assert!(seen.is("rollkeeper_leaderships", &[], 1.0));
    assert!(seen.is("rollkeeper_departments_without_leader", &[], 0.0));
    assert!(seen.is("rollkeeper_fence_claims_total", &[("verdict", "lead")], 1.0));
    assert!(seen.has("rollkeeper_mongodb_operation_duration_seconds_count", &[("operation", "commit")], 2.0));
    let posted = [("method", "POST"), ("route", "/backups/{backup_id}/verify"), ("status", "2xx")];
    assert!(seen.is("rollkeeper_http_requests_total", &posted, 1.0));
    assert!(seen.has("process_resident_memory_bytes", &[], 1e6) && seen.has("process_open_fds", &[], 5.0));

    assert!(!seen.text.contains("default-000"), "a user id is in a label");
    assert!(!seen.text.contains(id), "the id of a job is in a label");
    for metric in Metrics::new("r1", &StoreMetrics::unregistered()).described() {
        let described = seen.text.contains(&format!("# TYPE {} {}\n", metric.name, metric.kind));
        assert!(described, "{} is documented, and a leader does not export it", metric.name);
        let mut labels = seen.of_metric(&metric.name, &[]).flat_map(|sample| sample.labels.keys());
        let other = labels.find(|label| !metric.labels.contains(&label.as_str()));
        assert_eq!(other, None, "{} has a label that nobody described", metric.name);
    }
}

#[tokio::test]
async fn a_lost_target_is_seen_and_its_owed_copies_until_it_is_back() {
    let stack = Stack::start(Settings { targets: 3, ..Settings::default() }).await;
    stack.first_slot_done("default").await;
    let (there, away) = (stack.folder.path().join("targets/t3"), stack.folder.path().join("targets/away"));
    std::fs::rename(&there, &away).expect("take the target away");
    stack.create_users("default", 5).await;
    stack.backup("default").await;

    let t3 = [("target", "t3"), ("department", "default")];
    let seen = until("the target is down and owed", &stack, 0, |seen| {
        seen.is("rollkeeper_target_state", &[("target", "t3"), ("state", "down")], 1.0)
            && seen.has("rollkeeper_department_copies", &[t3[0], t3[1], ("state", "owed")], 1.0)
            && seen.is("rollkeeper_department_journal_behind_changes", &t3, 5.0)
    })
    .await;
    assert!(seen.is("rollkeeper_target_quorum_margin", &[], 0.0), "one more, and nothing completes");
    assert!(seen.has("rollkeeper_target_failures_total", &[("target", "t3"), ("cause", "down")], 1.0));
    assert!(seen.is("rollkeeper_target_failures_total", &[("target", "t1")], 0.0));

    std::fs::rename(&away, &there).expect("bring the target back");
    until("nothing is owed any more", &stack, 0, |seen| {
        seen.is("rollkeeper_target_state", &[("target", "t3"), ("state", "ok")], 1.0)
            && seen.is("rollkeeper_department_copies", &[], 0.0)
            && seen.is("rollkeeper_department_journal_behind_changes", &t3, 0.0)
    })
    .await;
}

#[tokio::test]
async fn a_department_is_shown_by_its_leader_alone_and_by_nobody_after_it_stepped_down() {
    let mut stack = Stack::start(Settings { replicas: 2, own_zookeeper: true, ..Settings::default() }).await;
    let leader = stack.leader_of("default").await["replica"].as_str().expect("have an id").to_owned();
    let index = stack.replicas.iter().position(|replica| replica.id == leader).expect("know it");
    let epoch = "rollkeeper_department_epoch";
    until("the leader shows the department", &stack, index, |seen| seen.sum(epoch, &[]).is_some()).await;
    let other = Scraped::of(&stack.replicas[1 - index].client).await;
    assert_eq!(other.sum(epoch, &[]), None, "a follower shows a department");
    assert!(other.is("rollkeeper_leaderships", &[], 0.0) && other.is("rollkeeper_replicas", &[], 2.0));

    stack.zookeeper.as_mut().expect("have one").process.kill();
    let seen = until("it has stepped down", &stack, index, |seen| {
        seen.is("rollkeeper_leaderships", &[], 0.0)
            && seen.is("rollkeeper_zookeeper_session", &[("state", "connected")], 0.0)
            && seen.has("rollkeeper_leaderships_ended_total", &[], 1.0)
    })
    .await;
    assert!(!seen.samples.iter().any(|sample| sample.labels.contains_key("department")), "{}", seen.text);
    assert!(seen.is("rollkeeper_lease_remaining_seconds", &[], 0.0));
    assert!(seen.is("rollkeeper_departments_without_leader", &[], 1.0));
    assert!(seen.has("rollkeeper_zookeeper_session_changes_total", &[], 2.0), "connected, and what came after it");
}

#[tokio::test]
async fn metrics_need_a_token_but_on_a_listener_of_their_own_or_where_they_are_public() {
    let port = free_port();
    let extra = format!("[telemetry]\nmetrics_listen = \"127.0.0.1:{port}\"");
    let stack = Stack::start(Settings { extra, ..Settings::default() }).await;
    let nobody = stack.client().with_token(None);
    nobody.get("/metrics").await.expect_problem(401, "unauthenticated");
    let alone = crate::harness::client::Client::new(&format!("http://127.0.0.1:{port}"), "no token of ours");
    let seen = Scraped::of(&alone.with_token(None)).await;
    assert!(seen.has("rollkeeper_build_info", &[("replica", "r1"), ("version", env!("CARGO_PKG_VERSION"))], 1.0));
    alone.get("/users").await.expect_problem(404, "not_found");

    let open = [("accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")];
    let answer = stack.client().send(reqwest::Method::GET, "/metrics", &open, None).await.expect(200);
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"), "{:?}", answer.headers);
    assert!(answer.text.ends_with("# EOF\n"));

    let extra = "[telemetry]\nmetrics_public = true".to_owned();
    let stack = Stack::start(Settings { extra, ..Settings::default() }).await;
    let answer = stack.client().with_token(None).get("/metrics").await.expect(200);
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"), "{:?}", answer.headers);
}
