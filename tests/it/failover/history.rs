//! The leader dies while users are written: the next one counts every change once, so the history has no gap.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::harness::changes::Changes;
use crate::harness::settings::Settings;
use crate::harness::stack::leader_seen_by;
use crate::harness::{Stack, eventually};
use crate::model::{assert_as_of_its_position, create, write_on};

#[tokio::test]
async fn no_change_is_lost_or_counted_twice_when_leaders_die_while_users_are_written() {
    let mut stack = Stack::start(Settings { replicas: 3, chunk_records: 64, ..Settings::default() }).await;
    let changes = Changes::of(&stack.database().await, "default").await;
    stack.create_users("default", 300).await;
    let mut taken = vec![stack.backup("default").await];
    for seed in 0..2 {
        let leader = stack.leader_of("default").await;
        let id = leader["replica"].as_str().expect("have an id");
        let (stop, mut writers) = (CancellationToken::new(), JoinSet::new());
        for replica in stack.replicas.iter().filter(|replica| replica.id != id) {
            writers.spawn(write_on(replica.client.clone(), "default".to_owned(), seed, stop.clone()));
        }
        let begun = changes.count();
        let more = async |than: usize| {
            let what = "users are written";
            eventually(what, Duration::from_secs(30), async || (changes.count() > than + 50).then_some(())).await;
        };
        more(begun).await;
        stack.crash(id);
        leader_seen_by(stack.client(), "default", |new| new["epoch"].as_u64() > leader["epoch"].as_u64()).await;
        taken.push(stack.backup("default").await);
        more(changes.count()).await;
        stop.cancel();
        while let Some(writer) = writers.join_next().await {
            writer.expect("write until the end");
        }
    }
    create(stack.client(), "default", "the-last").await;
    let changes = changes.up_to("the-last").await;
    for backup in &taken {
        assert_as_of_its_position(&stack, &changes, backup).await;
        assert_eq!(backup["timeline"], 1, "the history goes on where the last leader was: {backup}");
    }
}
