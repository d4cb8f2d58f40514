//! Where the wanted records of a restore come from: read, authorised, and refused at once where they cannot be had.

use super::wire::RestoreFrom;
use crate::api::past::outside;
use crate::api::problem::{FieldProblem, Problem};
use crate::api::users::read_field;
use crate::app::App;
use crate::domain::backup::BackupState;
use crate::domain::history::Sequence;
use crate::domain::ids::{BackupId, DepartmentName};
use crate::domain::restore::RestoreSource;
use crate::domain::text::Invalid;
use crate::domain::token::Caller;
use crate::domain::window::Moment;

/// Reads the source of a request; what is wrong with it joins the other errors.
pub(super) fn read_source(from: &RestoreFrom, errors: &mut Vec<FieldProblem>) -> Option<RestoreSource> {
    match (&from.backup_id, &from.department, &from.at, from.sequence) {
        (Some(id), None, None, None) => read_field("/from/backup_id", Some(id), errors).map(RestoreSource::Backup),
        (None, Some(department), Some(at), None) => {
            let department = read_field("/from/department", Some(department), errors);
            let at = read_field("/from/at", Some(at), errors);
            Some(RestoreSource::Moment(department?, Moment::Time(at?)))
        }
        (None, Some(department), None, Some(sequence)) => {
            let department = read_field("/from/department", Some(department), errors);
            if sequence < 0 {
                let invalid = Invalid::new("invalid_sequence", "A sequence is 0 or more.");
                errors.push(FieldProblem::body("/from/sequence", invalid));
                return None;
            }
            Some(RestoreSource::Moment(department?, Moment::Sequence(Sequence(sequence))))
        }
        _ => {
            let invalid =
                Invalid::new("invalid_from", "Name either backup_id alone, or department with one of at and sequence.");
            errors.push(FieldProblem::body("/from", invalid));
            None
        }
    }
}

/// The department that the records of a source come from, if the caller may see it and they can be had.
pub(super) async fn department_of(
    app: &App,
    caller: &Caller,
    source: &RestoreSource,
) -> Result<DepartmentName, Problem> {
    match source {
        RestoreSource::Backup(id) => of_backup(app, caller, id).await,
        RestoreSource::Moment(department, moment) => {
            let known = app.store.departments.get(department).await?.is_some() && caller.sees(department);
            if !known {
                return Err(Problem::not_found("department"));
            }
            let field = match moment {
                Moment::Time(_) => "/from/at",
                Moment::Sequence(_) => "/from/sequence",
            };
            let window = app.store.windows.get(department).await?;
            window.admit(*moment).map_err(|out| outside(Some(field), None, &out))?;
            Ok(department.clone())
        }
        RestoreSource::Undo(_) => Err(Problem::not_found("restore")),
    }
}

async fn of_backup(app: &App, caller: &Caller, id: &BackupId) -> Result<DepartmentName, Problem> {
    let found = app.store.backups.get(id).await?.filter(|backup| caller.sees(&backup.department));
    let backup = found.ok_or_else(|| Problem::not_found("backup"))?;
    if backup.state != BackupState::Complete {
        let invalid = Invalid::new("backup_not_complete", "Only a complete backup can be restored.");
        return Err(Problem::field_invalid("/from/backup_id", invalid));
    }
    Ok(backup.department)
}
