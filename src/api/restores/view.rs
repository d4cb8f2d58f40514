//! From stored restores to what is shown of them.

use super::wire::{PlanSampleView, PlanView, RestoreFromView, RestoreProgressView, RestoreView};
use crate::api::jobs::waiting_cause;
use crate::api::wire::PlaceView;
use crate::app::App;
use crate::domain::restore::{Plan, PlanSample, Restore, RestoreSource, RestoreState};
use crate::domain::window::Moment;

/// One planned change as it is shown.
pub(super) fn sample_view(sample: PlanSample) -> PlanSampleView {
    PlanSampleView {
        action: sample.action.into(),
        user_id: sample.user_id.to_string(),
        renumbered_from: sample.renumbered_from.map(|id| id.to_string()),
        name: sample.name,
        fields: sample.fields,
    }
}

fn plan_view(plan: Plan) -> PlanView {
    let samples = plan.samples.into_iter().map(sample_view);
    PlanView {
        creates: plan.creates,
        updates: plan.updates,
        deletes: plan.deletes,
        unchanged: plan.unchanged,
        security_kept: plan.security_kept,
        renumbered: plan.renumbered,
        conflicts: plan.conflicts,
        missing_users: plan.missing_users.iter().map(ToString::to_string).collect(),
        hash: plan.hash,
        samples: samples.collect(),
        computed_at: plan.computed_at.to_string(),
    }
}

fn from_view(source: &RestoreSource) -> RestoreFromView {
    let mut view = RestoreFromView::default();
    match source {
        RestoreSource::Backup(id) => view.backup_id = Some(id.to_string()),
        RestoreSource::Undo(id) => view.undo_of = Some(id.to_string()),
        RestoreSource::Moment(department, moment) => {
            view.department = Some(department.to_string());
            match moment {
                Moment::Time(at) => view.at = Some(at.to_string()),
                Moment::Sequence(sequence) => view.sequence = Some(sequence.0),
            }
        }
    }
    view
}

/// From a stored restore to what is shown of it.
pub(in crate::api) fn view(app: &App, restore: Restore) -> RestoreView {
    let lifetimes = &app.config.restore;
    let expires_at = restore.expires_at(lifetimes.plan_lifetime);
    let undo_until = restore.undo_until(lifetimes.undo_lifetime);
    let waits = restore.state == RestoreState::Queued && restore.cause.is_none();
    let cause = if waits { waiting_cause(app, &restore.department) } else { restore.cause };
    let request = restore.request;
    RestoreView {
        id: restore.id.to_string(),
        department: restore.department.to_string(),
        from: from_view(&request.source),
        into: request.into.map(|into| into.to_string()),
        point: restore.point.map(|point| PlaceView { sequence: point.sequence.0, time: point.time.to_string() }),
        users: request.users.map(|users| users.iter().map(ToString::to_string).collect()),
        mode: request.mode.into(),
        credentials: request.credentials.into(),
        locked: request.locked.into(),
        on_conflict: request.on_conflict.into(),
        apply: restore.apply,
        state: restore.state.into(),
        cause: cause.map(Into::into),
        cancel_requested: restore.cancel_requested,
        epoch: restore.executed_by.as_ref().map(|executor| executor.epoch.0),
        executed_by: restore.executed_by.map(Into::into),
        requested_by: restore.requested_by,
        requested_at: restore.requested_at.to_string(),
        safety_backup_id: restore.safety_backup_id.map(|id| id.to_string()),
        expires_at: expires_at.map(|time| time.to_string()),
        undo_until: undo_until.map(|time| time.to_string()),
        undone_by: restore.undone_by.map(|id| id.to_string()),
        plan: restore.plan.map(plan_view),
        progress: RestoreProgressView {
            pass: restore.progress.pass.into(),
            batches: restore.progress.batches,
            changes_done: restore.progress.changes_done,
            changes_total: restore.progress.changes_total,
            changes_applied: restore.progress.changes_applied,
            conflicts: restore.progress.conflicts,
        },
        started_at: restore.started_at.map(|time| time.to_string()),
        finished_at: restore.finished_at.map(|time| time.to_string()),
    }
}
