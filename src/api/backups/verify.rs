//! `POST /backups/{backup_id}/verify`: reads every copy of a backup back, and tells what is wrong with it.
//!
//! Rule: it is no leader work and writes nothing, neither to MongoDB nor to a target; what it finds is its answer only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use super::load;
use crate::api::extract::Path;
use crate::api::jobs::preferred_wait;
use crate::api::problem::{Kind, Problem, Problems};
use crate::api::wire::{CopyStateView, CopyView};
use crate::app::App;
use crate::backup::verify::verify_copies;
use crate::domain::backup::BackupState;
use crate::domain::copies::{Copy, CopyState};
use crate::domain::ids::BackupId;
use crate::domain::token::Caller;
use crate::telemetry::Metrics;

/// Backups that a replica verifies at the same time; the leader's own work shares the processors with them.
const AT_ONCE: usize = 2;
/// How long before its time limit a request is answered.
const MARGIN: Duration = Duration::from_secs(1);

/// What a verification found.
#[derive(Debug, Serialize, ToSchema)]
pub struct VerificationView {
    /// The backup.
    pub backup_id: String,
    /// Whether every target has a whole copy, read back just now.
    pub whole: bool,
    /// Targets that have a whole copy, read back just now.
    pub whole_copies: usize,
    /// What was found on each target. Where `cause` is set and the target did not answer, `state` is the last known one.
    pub copies: Vec<CopyView>,
}

type Outcome = watch::Receiver<Option<Vec<Copy>>>;

/// Verifications under way on this replica, and those whose outcome nobody has taken yet.
#[derive(Debug, Clone, Default)]
pub(in crate::api) struct Running(Arc<Mutex<HashMap<BackupId, Outcome>>>);

impl Running {
    /// The verification of a backup: the one under way, or the one that `start` begins. None when too many are.
    fn join(&self, id: &BackupId, start: impl FnOnce(watch::Sender<Option<Vec<Copy>>>)) -> Option<Outcome> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open = |outcome: &Outcome| outcome.borrow().is_none() && outcome.has_changed().is_ok();
        if let Some(outcome) = running.get(id).filter(|outcome| is_open(outcome) || outcome.borrow().is_some()) {
            return Some(outcome.clone());
        }
        if running.values().filter(|outcome| is_open(outcome)).count() >= AT_ONCE {
            return None;
        }
        // Outcomes that nobody came for make room.
        running.retain(|_, outcome| is_open(outcome));
        let (told, outcome) = watch::channel(None);
        running.insert(id.clone(), outcome.clone());
        start(told);
        Some(outcome)
    }

    /// An outcome is told once: what is asked later is looked at anew.
    fn forget(&self, id: &BackupId, outcome: &Outcome) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.get(id).is_some_and(|other| other.same_channel(outcome)) {
            running.remove(id);
        }
    }
}

/// Verifies every copy of a backup.
///
/// Reads the manifest and every chunk back from every target and checks names, seals, MACs, counts and root. Any replica
/// does it, two at a time; nothing is written, so `GET /backups/{backup_id}` shows what the last backup or catch-up saw.
/// A verification that outlasts the request goes on: 503 `verification_running` says when to ask the same replica again.
#[utoipa::path(post, path = "/backups/{backup_id}/verify", operation_id = "verifyBackup", tag = "backups",
    params(("backup_id" = String, Path, description = "Id of a complete backup."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds longer, at most 60.")),
    security(("bearer" = ["backups:read"])),
    responses((status = 200, description = "What was found on each target.", body = VerificationView), Problems))]
pub(in crate::api) async fn verify_backup(
    State(app): State<App>,
    Extension(running): Extension<Running>,
    caller: Caller,
    Path(id): Path<BackupId>,
    headers: HeaderMap,
) -> Result<axum::Json<VerificationView>, Problem> {
    let backup = load(&app, &caller, &id).await?;
    if backup.state != BackupState::Complete {
        let detail = "Only a complete backup has copies to verify.";
        return Err(Problem::new(Kind::Conflict, detail).code("backup_not_complete"));
    }
    let Some(repository) = app.repository.get().cloned() else {
        let cause = app.repository_cause.borrow().clone();
        let detail = cause.map_or_else(|| "The repository of backups is not open yet.".to_owned(), |c| c.message);
        return Err(Problem::unavailable(detail).code("repository_not_open"));
    };
    let start = |told: watch::Sender<Option<Vec<Copy>>>| {
        let (targets, clock, stop) = (app.targets.clone(), app.clock.clone(), app.shutdown.token.clone());
        let metrics = Arc::clone(&app.metrics);
        app.shutdown.tracker.spawn(async move {
            let work = verify_copies(&repository, &targets, &backup, &clock);
            if let Some(copies) = stop.run_until_cancelled(work).await {
                count(&metrics, &copies);
                told.send_replace(Some(copies));
            }
        });
    };
    let Some(mut outcome) = running.join(&id, start) else {
        let detail = "Too many backups are being verified here. Try again, or ask another replica.";
        return Err(Problem::unavailable(detail).code("verification_saturated"));
    };
    let patience =
        app.config.http.request_timeout.saturating_sub(MARGIN) + preferred_wait(&headers).unwrap_or_default();
    let copies = match tokio::time::timeout(patience, outcome.wait_for(Option::is_some)).await {
        Ok(Ok(copies)) => copies.clone().unwrap_or_default(),
        Ok(Err(_)) => return Err(Problem::unavailable("The replica is shutting down.").code("shutting_down")),
        Err(_) => {
            let detail = "The verification goes on. Ask this replica again for its outcome.";
            let soon = HeaderValue::from_static("5");
            return Err(Problem::unavailable(detail).code("verification_running").header(header::RETRY_AFTER, soon));
        }
    };
    running.forget(&id, &outcome);
    let whole_copies = copies.iter().filter(|copy| copy.state == CopyState::Present && copy.cause.is_none()).count();
    Ok(axum::Json(VerificationView {
        backup_id: id.to_string(),
        whole: whole_copies == copies.len(),
        whole_copies,
        copies: copies.into_iter().map(Into::into).collect(),
    }))
}

fn count(metrics: &Metrics, copies: &[Copy]) {
    for copy in copies {
        let state = CopyStateView::from(copy.state).word();
        metrics.work.verified.inc([copy.target.to_string().into(), state.into()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> BackupId {
        uuid::Uuid::from_u128(n).into()
    }

    #[test]
    fn two_run_at_a_time_and_a_second_request_joins_the_first() {
        let (running, mut told) = (Running::default(), Vec::new());
        assert!(running.join(&id(1), |sender| told.push(sender)).is_some());
        assert!(running.join(&id(2), |sender| told.push(sender)).is_some());
        assert!(running.join(&id(3), |_| unreachable!("there is no room")).is_none());
        let joined = running.join(&id(1), |_| unreachable!("it runs already")).unwrap();
        told[0].send_replace(Some(Vec::new()));
        assert!(joined.borrow().is_some());
        assert!(running.join(&id(3), |sender| told.push(sender)).is_some());
    }

    #[test]
    fn an_outcome_is_told_once_and_one_that_broke_off_is_begun_again() {
        let (running, mut told) = (Running::default(), Vec::new());
        let outcome = running.join(&id(1), |sender| told.push(sender)).unwrap();
        told[0].send_replace(Some(Vec::new()));
        assert!(running.join(&id(1), |_| unreachable!("its outcome waits")).is_some());
        running.forget(&id(1), &outcome);
        running.join(&id(1), |sender| told.push(sender)).unwrap();
        told.clear();
        running.join(&id(1), |sender| told.push(sender)).unwrap();
        assert_eq!(told.len(), 1);
    }
}
