//! Looks once a session, and then every hour, whether the nodes below our root are closed to everybody else.
//!
//! Rule: an open node is an alarm and no reason to stop. Whoever writes there can make leaders change, and no more: what a
//! leader may do is decided by the fence in MongoDB.

use std::time::Duration;

use tokio::time::sleep;
use zookeeper_client::{Client, Error};

use super::session::{Failure, Session, op};
use super::shared::{Shared, jittered};
use crate::domain::cause::Cause;

/// How often the nodes are looked at.
const EVERY: Duration = Duration::from_hours(1);
/// How soon a look is repeated that got no answer.
const AGAIN: Duration = Duration::from_secs(2);
/// Open nodes that are named.
const NAMED_MAX: usize = 5;

/// Looks until dropped.
pub(super) async fn follow(shared: &Shared, session: &Session) {
    loop {
        let wait = match open_nodes(&session.client, "/", || session.is_connected()).await {
            Ok(looked) => {
                shared.show_alarm("zookeeper_open_nodes", alarm(&looked.open).as_ref());
                EVERY
            }
            Err(failure) => {
                tracing::debug!(%failure, "look for open nodes");
                AGAIN
            }
        };
        sleep(jittered(wait)).await;
    }
}

/// Compares the session timeout that the servers granted with the one that was asked for.
pub(super) fn granted(shared: &Shared, asked: Duration, granted: Duration) {
    let alarm = (granted != asked).then(|| {
        Cause::new(
            "zookeeper_session_timeout",
            format!(
                "ZooKeeper grants sessions of {granted:?} where zookeeper.session_timeout asks for {asked:?}, so leaders \
                 are followed after that time; set minSessionTimeout and maxSessionTimeout of the servers around it."
            ),
        )
    });
    shared.show_alarm("zookeeper_session_timeout", alarm.as_ref());
}

/// What a look at the nodes found.
pub(super) struct Looked {
    /// Those that everybody may use in some way, or that we may not look at.
    pub(super) open: Vec<String>,
    /// How many there are.
    pub(super) count: usize,
}

/// Looks at every node from `root` on, while `connected`.
pub(super) async fn open_nodes(client: &Client, root: &str, connected: impl Fn() -> bool) -> Result<Looked, Failure> {
    let (mut looked, mut left) = (Looked { open: Vec::new(), count: 0 }, vec![root.to_owned()]);
    while let Some(path) = left.pop() {
        if !connected() {
            return Err(Failure::Unknown("disconnected".to_owned()));
        }
        looked.count += 1;
        let (acls, stat) = match op(client.get_acl(&path)).await {
            Ok(found) => found,
            Err(Failure::Refused(Error::NoNode)) => continue,
            Err(Failure::Refused(Error::NoAuth)) => {
                looked.open.push(path);
                continue;
            }
            Err(failure) => return Err(failure),
        };
        if acls.iter().any(|acl| acl.scheme() == "world") {
            looked.open.push(path.clone());
        }
        if stat.num_children == 0 {
            continue;
        }
        match op(client.list_children(&path)).await {
            Ok(children) => {
                let parent = path.trim_end_matches('/');
                left.extend(children.into_iter().map(|child| format!("{parent}/{child}")));
            }
            Err(Failure::Refused(Error::NoNode | Error::NoAuth)) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(looked)
}

fn alarm(open: &[String]) -> Option<Cause> {
    if open.is_empty() {
        return None;
    }
    let named = open.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let message = format!(
        "{} nodes below zookeeper.chroot are open to others, or belong to another identity (among them {named}). Give the \
         service an identity (zookeeper.auth_file or zookeeper.tls); then, while no replica runs, remove the chroot and run \
         `rollkeeper migrate`: epochs go on from MongoDB.",
        open.len()
    );
    Some(Cause::new("zookeeper_open_nodes", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_counts_all_open_nodes_and_names_the_first() {
        assert_eq!(alarm(&[]), None);
        let open: Vec<String> = (0..7).map(|n| format!("/n{n}")).collect();
        let alarm = alarm(&open).unwrap();
        assert!(alarm.message.contains("7 nodes") && alarm.message.contains("/n4)"), "{}", alarm.message);
    }
}
