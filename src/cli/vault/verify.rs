//! `rollkeeper vault verify`: every target on its own, so that it is said which copy is bad, and where a good one is.

use serde::Serialize;

use super::view::DamageView;
use super::{Failure, Output, backup_id, departments};
use crate::backup::vault::Vault;
use crate::cli::{EXIT_FAILURE, EXIT_MISSING, output};
use crate::domain::ids::{BackupId, DepartmentName};

#[derive(Debug, Serialize)]
struct VerifyView {
    repository: String,
    whole: bool,
    targets: Vec<TargetView>,
}

#[derive(Debug, Serialize)]
struct TargetView {
    target: String,
    /// Why it could not be checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    departments: Vec<CheckedView>,
}

#[derive(Debug, Serialize)]
struct CheckedView {
    department: String,
    objects: u64,
    backups: Vec<CheckedBackup>,
    damage: Vec<DamageView>,
}

#[derive(Debug, Serialize)]
struct CheckedBackup {
    id: String,
    whole: bool,
    damage: Vec<DamageView>,
}

/// Checks; the exit code.
pub(super) async fn run(vault: &Vault, only: Option<&str>, backup: Option<&str>, how: Output) -> Result<u8, Failure> {
    let id = backup.map(backup_id).transpose()?;
    let asked = departments(vault, only).await?;
    let mut view = VerifyView { repository: vault.repository_id().to_owned(), whole: true, targets: Vec::new() };
    for alone in vault.each() {
        view.targets.push(check(&alone, &asked, id.as_ref()).await?);
    }
    let found = view.targets.iter().flat_map(|target| &target.departments).any(|of| !of.backups.is_empty());
    if let (Some(id), false) = (&id, found || view.targets.iter().any(|target| target.problem.is_some())) {
        let text = format!("no word on a complete backup {id} can be read here");
        return Err(Failure { code: EXIT_FAILURE, text });
    }
    point_to_whole_copies(&mut view);
    let damaged = view.targets.iter().flat_map(|target| &target.departments).any(|of| !of.damage.is_empty());
    let silent = view.targets.iter().any(|target| target.problem.is_some());
    view.whole = !damaged && !silent;
    let written = match how {
        Output::Json => output::json(&view),
        Output::Table => output::line(&text(&view)),
    };
    Ok(match (damaged, silent) {
        (true, _) => EXIT_FAILURE,
        (false, true) => EXIT_MISSING,
        (false, false) => written,
    })
}

async fn check(alone: &Vault, asked: &[DepartmentName], id: Option<&BackupId>) -> Result<TargetView, Failure> {
    let target = alone.targets().iter().map(|target| target.name().to_string()).collect::<Vec<_>>().join(", ");
    let mut view = TargetView { target: target.clone(), problem: None, departments: Vec::new() };
    for department in asked {
        let outcome = async {
            if let Some(id) = id
                && !alone.tells_of(department, id).await?
            {
                return Ok(None);
            }
            let mut told = std::time::Instant::now();
            let progress = |objects: u64| {
                if told.elapsed().as_secs() >= 1 {
                    told = std::time::Instant::now();
                    output::progress(&format!("{target}: {department}: {objects} objects read"));
                }
            };
            alone.check(department, id, progress).await.map(Some)
        };
        match outcome.await {
            Ok(None) => {}
            Ok(Some(checked)) => view.departments.push(CheckedView {
                department: department.to_string(),
                objects: checked.objects,
                backups: checked
                    .backups
                    .iter()
                    .map(|(id, damage)| CheckedBackup {
                        id: id.to_string(),
                        whole: damage.is_empty(),
                        damage: damage.iter().map(DamageView::from).collect(),
                    })
                    .collect(),
                damage: checked.damage.iter().map(DamageView::from).collect(),
            }),
            Err(error) => {
                let failure = Failure::from(error);
                if failure.code != EXIT_MISSING {
                    return Err(failure);
                }
                view.problem = Some(failure.text);
                return Ok(view);
            }
        }
    }
    Ok(view)
}

/// Says of everything that is bad which other target has it whole.
fn point_to_whole_copies(view: &mut VerifyView) {
    let bad: Vec<(String, String, Vec<String>)> = view
        .targets
        .iter()
        .flat_map(|target| {
            target.departments.iter().map(|of| {
                let objects = of.damage.iter().map(|damage| damage.object.clone()).collect();
                (target.target.clone(), of.department.clone(), objects)
            })
        })
        .collect();
    for target in &mut view.targets {
        let name = target.target.clone();
        for of in &mut target.departments {
            for damage in &mut of.damage {
                let others = bad.iter().filter(|(other, department, objects)| {
                    *other != name && *department == of.department && !objects.contains(&damage.object)
                });
                damage.whole_on = others.map(|(other, ..)| other.clone()).collect();
            }
        }
    }
}

fn text(view: &VerifyView) -> String {
    let mut text = format!("repository {}\n", view.repository);
    for target in &view.targets {
        text.extend([format!("\ntarget {}\n", target.target)]);
        if let Some(problem) = &target.problem {
            text.extend([format!("  not checked: {problem}\n")]);
        }
        for of in &target.departments {
            let whole = of.backups.iter().filter(|backup| backup.whole).count();
            let CheckedView { department, objects, .. } = of;
            text.extend([format!(
                "  {department}: {objects} objects, {whole} of {} backups whole\n",
                of.backups.len()
            )]);
            for backup in of.backups.iter().filter(|backup| !backup.whole) {
                text.extend([format!("    backup {} is damaged\n", backup.id)]);
            }
            for damage in &of.damage {
                let remedy = match damage.whole_on.as_slice() {
                    [] => "no other target was checked that has it; name one with --target".to_owned(),
                    whole => format!("whole on {}", whole.join(", ")),
                };
                text.extend([format!("    {}: {} ({remedy})\n", damage.object, damage.reason)]);
            }
        }
    }
    text
}
