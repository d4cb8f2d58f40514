//! What replicas show of the leaders: again and again while things break, and in their logs when all is over.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::history::{Event, Line};
use super::recorder::Recorder;
use crate::harness::client::Client;

const LOOK_EVERY: Duration = Duration::from_millis(200);
const WITHIN: Duration = Duration::from_secs(2);
/// Steps of one leadership that are close together say the same.
const STEPS_APART_US: i64 = 200_000;

/// Takes down what a replica shows whenever it has changed, until dropped.
pub(super) async fn follow(client: Client, replica: String, recorder: Recorder) {
    let (mut last, mut looks) = (None, interval(LOOK_EVERY));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let now = view(&client, &replica).await;
        if last.as_ref() != Some(&now) {
            recorder.record(now.clone());
            last = Some(now);
        }
    }
}

/// What a replica shows now.
async fn view(client: &Client, replica: &str) -> Event {
    let asked = timeout(WITHIN, client.try_send(Method::GET, "/cluster", &[], None)).await;
    let answer = asked.ok().and_then(Result::ok).filter(|answer| answer.status == 200);
    let replica = replica.to_owned();
    let Some(cluster) = answer.map(|answer| answer.json) else {
        return Event::View { replica, session: "silent".to_owned(), leaders: BTreeMap::new() };
    };
    let text = |value: &Value| value.as_str().expect("be a text").to_owned();
    let leader = |leader: &Value| {
        let epoch = leader["epoch"].as_i64().expect("have an epoch");
        (text(&leader["department"]), (text(&leader["replica"]), epoch))
    };
    let leaders = cluster["leaders"].as_array().expect("have leaders").iter().map(leader).collect();
    Event::View { replica, session: text(&cluster["zookeeper"]), leaders }
}

/// What the log of a replica says of its leaderships; `boot_us` is what the clock since boot is ahead of the wall clock.
pub(super) fn told(replica: &str, log: &str, boot_us: i64) -> Vec<Line> {
    let mut steps: BTreeMap<(String, i64), i64> = BTreeMap::new();
    let lines = log.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let time: jiff::Timestamp = line["timestamp"].as_str()?.parse().ok()?;
        let at_us = time.as_microsecond() + boot_us;
        // Its own fields, or those of the span that it lies in.
        let own = |name: &str| Some(&line[name]).filter(|value| !value.is_null()).or_else(|| Some(&line["span"][name]));
        let text = |name: &str| own(name)?.as_str().map(ToOwned::to_owned);
        let (department, epoch) = (text("department.id"), text("epoch").and_then(|epoch| epoch.parse().ok()));
        let replica = replica.to_owned();
        let event = match (line["message"].as_str()?, department, epoch) {
            ("leading", Some(department), Some(epoch)) => {
                Event::Led { replica, instance: text("instance")?, claim: text("claim")?, department, epoch }
            }
            ("stepped down", Some(department), Some(epoch)) => Event::Ended { replica, department, epoch },
            ("hands the leadership over", Some(department), Some(epoch)) => {
                Event::Handed { replica, department, epoch }
            }
            ("step", Some(department), Some(epoch)) => {
                let left_us = line["lease.left_us"].as_i64()?;
                let last = steps.entry((department.clone(), epoch)).or_insert(i64::MIN);
                if left_us > 0 && at_us.saturating_sub(*last) < STEPS_APART_US {
                    return None;
                }
                *last = at_us;
                Event::Step { replica, department, epoch, left_us }
            }
            _ => return None,
        };
        Some(Line { at_us, event })
    });
    lines.collect()
}
