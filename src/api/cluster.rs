//! `/cluster`: replicas, leaders and targets, as the answering replica sees them.

use std::time::Duration;

use axum::extract::State;
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::require_scope;
use super::departments::divergence::{DivergenceView, divergence_view};
use super::departments::window::{RecoveryWindowView, window_view};
use super::problem::{Problem, Problems};
use super::wire::{CauseView, TargetView};
use crate::app::App;
use crate::cluster::SessionState;
use crate::domain::history::Head;
use crate::domain::token::{Caller, Scope};

/// How long MongoDB may take for the histories; the rest is told without it.
const HISTORIES_WITHIN: Duration = Duration::from_secs(2);
/// Histories that are read at the same time.
const HISTORIES_AT_ONCE: usize = 8;

/// State of the `ZooKeeper` session.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionView {
    /// The lease holds.
    Connected,
    /// No contact; leaderships end with the lease.
    Suspended,
    /// No session; a new one is being made.
    Lost,
}

/// A live replica.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemberView {
    /// Its id.
    pub replica: String,
    /// Where clients reach it, if configured.
    pub url: Option<String>,
    /// Version of the program.
    pub version: String,
    /// Whether it is shutting down.
    pub draining: bool,
}

/// Who leads a department.
#[derive(Debug, Serialize, ToSchema)]
pub struct DepartmentLeaderView {
    /// The department.
    pub department: String,
    /// The replica that leads.
    pub replica: String,
    /// Its epoch.
    pub epoch: i64,
    /// Since when.
    #[schema(format = DateTime)]
    pub since: String,
}

/// A department whose targets hold another history.
#[derive(Debug, Serialize, ToSchema)]
pub struct DivergedView {
    /// The department.
    pub department: String,
    /// Why, and what to do.
    #[serde(flatten)]
    pub divergence: DivergenceView,
}

/// What of a department's history can be restored, and how far behind it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryView {
    /// The department.
    pub department: String,
    /// Its recovery window.
    pub recovery_window: RecoveryWindowView,
}

/// The cluster.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClusterView {
    /// The replica that answers.
    pub replica: String,
    /// Version of its program.
    pub version: String,
    /// When it started.
    #[schema(format = DateTime)]
    pub started_at: String,
    /// State of its ZooKeeper session.
    pub zookeeper: SessionView,
    /// What somebody should mend in ZooKeeper: nodes that others may use (`zookeeper_open_nodes`), sessions of another
    /// length than configured (`zookeeper_session_timeout`).
    pub zookeeper_alarms: Vec<CauseView>,
    /// Live replicas.
    pub replicas: Vec<MemberView>,
    /// Leaders; a department without one is absent.
    pub leaders: Vec<DepartmentLeaderView>,
    /// Departments whose targets hold another history, which the caller may see; null while MongoDB does not answer.
    pub diverged: Option<Vec<DivergedView>>,
    /// The history of each department; null while MongoDB does not answer, and without the scope to read departments.
    pub histories: Option<Vec<HistoryView>>,
    /// Targets of backups.
    pub targets: Vec<TargetView>,
    /// Copies that make a backup durable.
    pub write_quorum: usize,
    /// Whether the repository of backups is open.
    pub repository_open: bool,
    /// Why the repository is not open; null when it is, or was not tried yet.
    pub repository_cause: Option<CauseView>,
}

/// Shows the cluster.
///
/// As the answering replica sees it; it asks no other one.
#[utoipa::path(get, path = "/cluster", operation_id = "getCluster", tag = "cluster",
    security(("bearer" = ["cluster:read"])),
    responses((status = 200, description = "The cluster.", body = ClusterView), Problems))]
pub(super) async fn get_cluster(State(app): State<App>, caller: Caller) -> Result<axum::Json<ClusterView>, Problem> {
    require_scope(&caller, Scope::ClusterRead)?;
    let histories = if caller.has(Scope::DepartmentsRead) {
        tokio::time::timeout(HISTORIES_WITHIN, histories(&app, &caller)).await.ok().and_then(Result::ok)
    } else {
        None
    };
    let view = app.cluster.view();
    let replicas = view.members.iter().map(|member| MemberView {
        replica: member.replica.to_string(),
        url: member.url.clone(),
        version: member.version.clone(),
        draining: member.draining,
    });
    let seen = view.leaders.iter().filter(|(department, _)| caller.sees(department));
    let leaders = seen.map(|(department, leader)| DepartmentLeaderView {
        department: department.to_string(),
        replica: leader.replica.to_string(),
        epoch: leader.epoch.0,
        since: leader.since.to_string(),
    });
    let diverged = app.store.divergences.list().await.ok().map(|heads| {
        let seen = heads.iter().filter(|head| caller.sees(&head.department));
        let each = |head: &Head| {
            Some(DivergedView { department: head.department.to_string(), divergence: divergence_view(head)? })
        };
        seen.filter_map(each).collect()
    });
    Ok(axum::Json(ClusterView {
        replica: app.replica.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: app.started_at.to_string(),
        zookeeper: match view.session {
            SessionState::Connected => SessionView::Connected,
            SessionState::Suspended => SessionView::Suspended,
            SessionState::Lost => SessionView::Lost,
        },
        zookeeper_alarms: view.alarms.iter().cloned().map(Into::into).collect(),
        replicas: replicas.collect(),
        leaders: leaders.collect(),
        diverged,
        histories,
        targets: app.targets.statuses().into_iter().map(Into::into).collect(),
        write_quorum: app.targets.quorum(),
        repository_open: app.repository.initialized(),
        repository_cause: app.repository_cause.borrow().clone().map(Into::into),
    }))
}

async fn histories(app: &App, caller: &Caller) -> Result<Vec<HistoryView>, Problem> {
    let departments = app.store.departments.names().await?.into_iter().filter(|department| caller.sees(department));
    let views = futures::stream::iter(departments).map(|department| {
        let app = app.clone();
        async move {
            let Some(head) = app.store.heads.get(&department).await? else { return Ok::<_, Problem>(None) };
            let recovery_window = window_view(&app, &head).await?;
            Ok(Some(HistoryView { department: department.to_string(), recovery_window }))
        }
    });
    let found: Vec<Option<HistoryView>> = views.buffered(HISTORIES_AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}
