//! Our own node among the replicas: made, replaced where a session before left it, and marked when we drain.

use std::sync::atomic::Ordering;

use zookeeper_client::Error;

use super::nodes::{self, ReplicaNode};
use super::session::{Failure, Session, op};
use super::shared::Shared;

/// Creates our own node; tells whether it is there and ours.
pub(super) async fn register(shared: &Shared, session: &Session, path: &str) -> bool {
    let value = ReplicaNode::encode(&shared.me, shared.draining.load(Ordering::SeqCst));
    let work = async {
        session.ensure(nodes::REPLICAS, b"").await?;
        session.ensure(nodes::DEPARTMENTS, b"").await?;
        match op(session.client.create(path, &value, &session.access.ephemeral())).await {
            Ok(_) => Ok(true),
            Err(Failure::Refused(Error::NodeExists)) => {
                let stat = op(session.client.check_stat(path)).await?;
                match stat {
                    Some(stat) if stat.ephemeral_owner == session.id => Ok(true),
                    Some(stat) if shared.former.has(stat.ephemeral_owner) => {
                        replace(session, path, &value, stat.version).await
                    }
                    _ => Ok(false),
                }
            }
            Err(failure) => Err(failure),
        }
    };
    match work.await {
        Ok(true) => true,
        Ok(false) => {
            tracing::debug!(replica = %shared.me.replica, "an earlier session, or another replica, has our id; waiting");
            false
        }
        Err(Failure::Refused(Error::NoNode)) => {
            tracing::warn!("the chroot is missing in ZooKeeper; run `rollkeeper migrate`");
            false
        }
        Err(failure) => {
            tracing::warn!(%failure, "could not register in ZooKeeper");
            false
        }
    }
}

/// Replaces the node that a session of ours before left behind, unless it has changed since.
async fn replace(session: &Session, path: &str, value: &[u8], version: i32) -> Result<bool, Failure> {
    let mut writer = session.client.new_multi_writer();
    writer.add_delete(path, Some(version)).map_err(Failure::from)?;
    writer.add_create(path, value, &session.access.ephemeral()).map_err(Failure::from)?;
    match op(writer.commit()).await {
        Ok(_) => Ok(true),
        // It has changed or gone meanwhile: the next beat looks again.
        Err(Failure::Refused(Error::BadVersion | Error::NoNode | Error::NodeExists)) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Marks this replica as draining, so that the others pass it over. One transaction, because the others watch the
/// children of the parent and not the data, which changes with every heartbeat.
pub(super) async fn mark_draining(shared: &Shared) -> Result<(), Failure> {
    shared.draining.store(true, Ordering::SeqCst);
    let Some(session) = shared.session.borrow().clone().filter(|session| session.is_connected()) else {
        return Ok(());
    };
    let path = nodes::replica(&shared.me.replica);
    let mut writer = session.client.new_multi_writer();
    writer.add_delete(&path, None).map_err(Failure::from)?;
    let value = ReplicaNode::encode(&shared.me, true);
    writer.add_create(&path, &value, &session.access.ephemeral()).map_err(Failure::from)?;
    op(writer.commit()).await.map(drop)
}
