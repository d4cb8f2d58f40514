//! The recovery window of a department on the wire: which moments can be read and restored, and how far behind it is.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::problem::Problem;
use crate::api::wire::PlaceView;
use crate::app::App;
use crate::domain::history::{Gap, Head};
use crate::domain::ids::DepartmentName;
use crate::domain::window::{Place, RecoveryWindow};

/// A stretch of history that could not be captured.
#[derive(Debug, Serialize, ToSchema)]
pub struct GapView {
    /// The last place before it.
    pub after: PlaceView,
    /// The first place after it that can be restored; null until a backup is complete.
    pub until: Option<PlaceView>,
    /// When it was found.
    #[schema(format = DateTime)]
    pub found_at: String,
    /// Why it is there.
    #[schema(example = "collection_dropped")]
    pub cause: String,
}

/// Which moments of a department can be read and restored.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecoveryWindowView {
    /// The earliest moment; null while nothing can be restored.
    #[schema(format = DateTime)]
    pub restorable_from: Option<String>,
    /// The latest moment; null while nothing can be restored.
    #[schema(format = DateTime)]
    pub restorable_through: Option<String>,
    /// Sequence at the earliest moment.
    pub first_sequence: Option<i64>,
    /// Sequence at the latest moment.
    pub last_sequence: Option<i64>,
    /// Stretches between them that cannot.
    pub gaps: Vec<GapView>,
    /// How long acknowledged changes have been waiting to get into the history; 0 when none is.
    pub lag_seconds: f64,
    /// Complete backups of which some target still owes its copy.
    pub owed_copies: u64,
}

fn gap_view(window: &RecoveryWindow, gap: &Gap) -> GapView {
    GapView {
        after: Place { timeline: gap.timeline, sequence: gap.after, time: gap.time }.into(),
        until: window.end_of(gap).map(Into::into),
        found_at: gap.found_at.to_string(),
        cause: gap.cause.clone(),
    }
}

/// How long changes have been waiting: since the history fell behind, or since anything was captured while nobody leads.
pub fn lag_seconds(app: &App, department: &DepartmentName, head: &Head) -> f64 {
    let led = app.cluster.view().leaders.contains_key(department);
    let since = head.behind_since.or((!led).then_some(head.position.time));
    since.map_or(0.0, |since| app.clock.now().since(since).as_secs_f64())
}

/// The recovery window of a department as it is shown.
///
/// # Errors
/// When MongoDB does not answer.
pub async fn window_view(app: &App, head: &Head) -> Result<RecoveryWindowView, Problem> {
    let window = app.store.windows.of(head).await?;
    let owed_copies = app.store.backups.count_owing(&head.department).await?;
    let (from, through) = (window.from(), window.through());
    Ok(RecoveryWindowView {
        restorable_from: from.map(|place| place.time.to_string()),
        restorable_through: through.map(|place| place.time.to_string()),
        first_sequence: from.map(|place| place.sequence.0),
        last_sequence: through.map(|place| place.sequence.0),
        gaps: window.gaps.iter().map(|gap| gap_view(&window, gap)).collect(),
        lag_seconds: lag_seconds(app, &head.department, head),
        owed_copies,
    })
}
