//! Who is here: reads the replicas and watches for changes.

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::sleep;
use zookeeper_client::{Error, OneshotWatcher};

use super::Member;
use super::nodes::{self, ReplicaNode};
use super::session::{Failure, Session, op};
use super::shared::{Shared, jittered};

/// Keeps the members in the view, until dropped.
pub(super) async fn follow(shared: &Shared, session: &Arc<Session>) {
    let mut reconnects = session.reconnects.subscribe();
    loop {
        if !session.is_connected() {
            tokio::select! {
                _ = reconnects.changed() => {}
                () = sleep(Duration::from_millis(200)) => {}
            }
            continue;
        }
        match read(session).await {
            Ok((members, watcher)) => {
                shared.show_members(&members);
                tokio::select! {
                    _ = watcher.changed() => {}
                    _ = reconnects.changed() => {}
                    () = sleep(jittered(Duration::from_secs(30))) => {}
                }
            }
            // Not there yet, or a broken connection: soon again.
            Err(_) => sleep(jittered(Duration::from_millis(100))).await,
        }
    }
}

async fn read(session: &Session) -> Result<(Vec<Member>, OneshotWatcher), Failure> {
    let (names, watcher) = op(session.client.list_and_watch_children(nodes::REPLICAS)).await?;
    let reads = names.iter().map(|name| async move {
        match op(session.client.get_data(&format!("{}/{name}", nodes::REPLICAS))).await {
            Ok((bytes, _)) => Ok(ReplicaNode::decode(name, &bytes)),
            Err(Failure::Refused(Error::NoNode)) => Ok(None),
            Err(failure) => Err(failure),
        }
    });
    let mut members: Vec<Member> = try_join_all(reads).await?.into_iter().flatten().collect();
    members.sort_by(|a, b| a.replica.cmp(&b.replica));
    Ok((members, watcher))
}
