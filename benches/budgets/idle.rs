//! What an idle replica costs that leads many departments.

use std::time::Duration;

use mongodb::bson::doc;
use serde_json::json;

use crate::bare::Bare;
use crate::harness::settings::Settings;
use crate::harness::{Stack, eventually};
use crate::memory::ticks;

/// Longest wait until all departments are led and backed up.
const WITHIN: Duration = Duration::from_mins(10);
/// Until the last work of the beginning is done.
const SETTLES: Duration = Duration::from_secs(20);
/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(30);

/// Seconds of processor time a minute: of the replica, and of its mongod.
pub(crate) async fn idle(departments: usize) -> [f64; 2] {
    let settings = Settings { session_timeout: "10s".to_owned(), ..Settings::default() };
    let stack = Stack::start(settings).await;
    let bare = Bare::connect(&stack.place.mongodb, &stack.place.database).await;
    let names: Vec<String> = (1..departments).map(|n| format!("dept-{n:04}")).collect();
    for name in &names {
        let made = stack.client().put(&format!("/departments/{name}"), json!({})).await;
        assert!(made.status.is_success(), "{}", made.text);
    }
    for name in names.iter().map(String::as_str).chain(["default"]) {
        eventually("each department is led and backed up", WITHIN, async || {
            let listed = stack.client().get(&format!("/backups?department={name}&limit=1")).await.expect(200).json;
            listed["items"].get(0).is_some().then_some(())
        })
        .await;
    }
    let status = bare.command(doc! { "serverStatus": 1 }).await;
    let mongod = status.get_i64("pid").ok().and_then(|pid| u32::try_from(pid).ok()).expect("have a process");
    let processes = [stack.replicas[0].process.id(), mongod];
    tokio::time::sleep(SETTLES).await;
    let before = processes.map(ticks);
    tokio::time::sleep(WATCHED).await;
    let after = processes.map(ticks);
    let minutes = WATCHED.as_secs_f64() / 60.0;
    [0, 1].map(|n| f64::from(u32::try_from(after[n] - before[n]).unwrap_or(u32::MAX)) / 100.0 / minutes)
}
