//! Keeps one election for each department that there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::{CancellationToken, DropGuard};

use crate::domain::ids::DepartmentName;

use super::election::Election;
use super::shared::Shared;

/// A running election: dropping it retires it.
struct Running {
    _retire: DropGuard,
    /// Cancelled when its task has ended.
    done: CancellationToken,
}

/// Starts and retires elections as departments come and go, until the replica drains.
pub(super) async fn follow(shared: Arc<Shared>) {
    let mut departments = shared.departments.clone();
    let mut running: BTreeMap<DepartmentName, Running> = BTreeMap::new();
    // An election that ends must be over before the same department begins anew.
    let mut ending: BTreeMap<DepartmentName, CancellationToken> = BTreeMap::new();
    loop {
        let wanted = Arc::clone(&departments.borrow_and_update());
        ending.retain(|_, done| !done.is_cancelled());
        let gone: Vec<_> = running.keys().filter(|name| !wanted.contains(*name)).cloned().collect();
        for name in gone {
            if let Some(retired) = running.remove(&name) {
                ending.insert(name, retired.done.clone());
            }
        }
        for name in wanted.iter() {
            if !running.contains_key(name) {
                running.insert(name.clone(), begin(&shared, name, ending.get(name).cloned()));
            }
        }
        tokio::select! {
            changed = departments.changed() => if changed.is_err() {
                // Whoever knew the departments is gone: keep those that there are.
                shared.retiring.cancelled().await;
                return;
            },
            () = shared.retiring.cancelled() => return,
        }
    }
}

fn begin(shared: &Arc<Shared>, name: &DepartmentName, before: Option<CancellationToken>) -> Running {
    let retired = shared.retiring.child_token();
    let done = CancellationToken::new();
    let finished = done.clone().drop_guard();
    let election = Election::new(Arc::clone(shared), name.clone(), retired.clone());
    shared.elections.spawn(async move {
        let _finished = finished;
        if let Some(before) = before {
            before.cancelled().await;
        }
        election.run().await;
    });
    Running { _retire: retired.drop_guard(), done }
}
