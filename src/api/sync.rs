//! `/departments/{department}/sync`: waits until everything acknowledged before it is durable in the history.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::auth::require;
use super::departments::Known;
use super::extract::Path;
use super::idempotency::Effect;
use super::jobs::waiting_cause;
use super::problem::{Problem, Problems};
use super::wire::ExecutorView;
use crate::app::App;
use crate::domain::barrier::{Barrier, Receipt};
use crate::domain::divergence::Divergence;
use crate::domain::history::JournalCopy;
use crate::domain::ids::DepartmentName;
use crate::domain::token::{Caller, Scope};
use crate::store::StoreError;

/// Longest wait for the leader.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// First pause between two looks; each is half as long again as the one before, up to the longest.
const LOOK_FIRST: Duration = Duration::from_millis(5);
const LOOK_LONGEST: Duration = Duration::from_millis(200);

/// How far one target holds the journal.
#[derive(Debug, Serialize, ToSchema)]
pub struct JournalCopyView {
    /// The target.
    pub target: String,
    /// It holds every change up to and including this one.
    pub through: i64,
}

impl From<JournalCopy> for JournalCopyView {
    fn from(copy: JournalCopy) -> Self {
        Self { target: copy.target.to_string(), through: copy.through.0 }
    }
}

/// A receipt: the history up to a sequence is durable on the write quorum of targets.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptView {
    /// The department.
    pub department: String,
    /// The line of history.
    pub timeline: i64,
    /// Every change up to and including this one is durable.
    pub sequence: i64,
    /// The chain at that sequence: a keyed hash over all changes up to it.
    pub chain: String,
    /// A moment that has everything acknowledged before the request; `at` takes it. Changes after the request may be up to
    /// `sequence` and later than this.
    #[schema(format = DateTime)]
    pub time: String,
    /// How far each target holds the journal.
    pub copies: Vec<JournalCopyView>,
    /// Who gave the receipt.
    pub executed_by: ExecutorView,
}

fn view(department: &DepartmentName, receipt: Receipt) -> ReceiptView {
    ReceiptView {
        department: department.to_string(),
        timeline: receipt.timeline.0,
        sequence: receipt.sequence.0,
        chain: receipt.chain.to_string(),
        time: receipt.time.to_string(),
        copies: receipt.copies.into_iter().map(Into::into).collect(),
        executed_by: receipt.executed_by.into(),
    }
}

/// Waits until every change that was acknowledged before is durable.
///
/// Whichever replica acknowledged it. The receipt says up to which sequence the history lies on the write quorum of
/// targets. 503 with `Retry-After` when that takes longer than 15 seconds; nothing is lost then, and it may be asked again.
#[utoipa::path(post, path = "/departments/{department}/sync", operation_id = "syncDepartment", tag = "departments",
    params(("department" = String, Path, description = "Name of the department.")),
    security(("bearer" = ["backups:write"])),
    responses((status = 200, description = "Everything before is durable.", body = ReceiptView), Problems))]
pub(super) async fn sync_department(
    State(app): State<App>,
    Extension(known): Extension<Known>,
    caller: Caller,
    Path(department): Path<DepartmentName>,
    effect: Effect,
) -> Result<axum::Json<ReceiptView>, Problem> {
    require(&caller, Scope::BackupsWrite, &department, "department")?;
    if !known.takes_users(&app, &department).await? {
        return Err(Problem::not_found("department"));
    }
    let id = effect.id(&app.clock).into();
    let barrier = Barrier { id, department, requested_at: app.clock.now(), receipt: None };
    match app.store.barriers.insert(&barrier).await {
        // Another execution of the same request has put it there.
        Ok(()) | Err(StoreError::Taken(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let deadline = Instant::now() + WAIT_MAX;
    let mut pause = LOOK_FIRST;
    while Instant::now() < deadline {
        if app.shutdown.token.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            break;
        }
        let found = app.store.barriers.get(&barrier.department, &barrier.id).await?;
        if let Some(receipt) = found.and_then(|barrier| barrier.receipt) {
            return Ok(axum::Json(view(&barrier.department, receipt)));
        }
        if pause == LOOK_LONGEST {
            refuse_diverged(&app, &barrier.department).await?;
        }
        pause = (pause * 3 / 2).min(LOOK_LONGEST);
    }
    let why = waiting_cause(&app, &barrier.department).map_or_else(
        || "The history is not on the write quorum of targets yet (GET /cluster shows the targets), or a gap of it waits \
             for its backup (GET /departments/{department} shows the gaps)."
                .to_owned(),
        |cause| cause.message,
    );
    Err(Problem::unavailable(why).code("not_durable_yet"))
}

/// Nobody waits for what an operator has to decide first.
async fn refuse_diverged(app: &App, department: &DepartmentName) -> Result<(), Problem> {
    let Some(divergence) = app.store.divergences.get(department).await? else { return Ok(()) };
    let text = format!("{} {}", divergence.cause.meaning(), Divergence::remedy(department));
    Err(Problem::unavailable(text).code("diverged"))
}
