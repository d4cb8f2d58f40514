//! `rollkeeper vault ls`.

use super::view::{DepartmentView, PlaceView, VaultView};
use super::{Failure, departments};
use crate::backup::vault::Vault;
use crate::cli::output::{self, Output};
use crate::cli::table::columns;

/// Lists; the exit code.
pub(super) async fn run(vault: &Vault, only: Option<&str>, how: Output) -> Result<u8, Failure> {
    let mut view = VaultView {
        repository: vault.repository_id().to_owned(),
        targets: vault.targets().iter().map(|target| target.name().to_string()).collect(),
        departments: Vec::new(),
    };
    for department in departments(vault, only).await? {
        view.departments.push(DepartmentView::of(&vault.catalogue(&department).await?));
    }
    Ok(match how {
        Output::Json => output::json(&view),
        Output::Table => output::line(&text(&view)),
    })
}

fn text(view: &VaultView) -> String {
    let mut text = format!("repository {} on {}\n", view.repository, view.targets.join(", "));
    for department in &view.departments {
        text += &of_department(department);
    }
    text
}

fn of_department(department: &DepartmentView) -> String {
    let deleted = if department.deleted { " (deleted)" } else { "" };
    let mut text = format!("\n{}{deleted}\n", department.department);
    let ranges: Vec<Vec<String>> = department
        .ranges
        .iter()
        .map(|range| vec![range.timeline.to_string(), place(&range.from), place(&range.through)])
        .collect();
    if ranges.is_empty() {
        text += "  nothing can be read here\n";
    } else {
        text += &columns(&["timeline", "readable from", "through"], &ranges);
    }
    let backups: Vec<Vec<String>> = department
        .backups
        .iter()
        .map(|backup| {
            let content = backup.content.as_ref();
            let of = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
            vec![
                backup.id.clone(),
                backup.kind.to_owned(),
                backup.state.clone(),
                of(content.map(|content| format!("{}/{}", content.timeline, content.sequence))),
                of(content.map(|content| content.taken_at.clone())),
                of(content.map(|content| content.records.to_string())),
            ]
        })
        .collect();
    if !backups.is_empty() {
        text += &columns(&["backup", "kind", "state", "sequence", "taken at", "records"], &backups);
    }
    for damage in &department.damage {
        text.extend([format!("  damage: {}: {}\n", damage.object, damage.reason)]);
    }
    text
}

fn place(place: &PlaceView) -> String {
    format!("{} ({})", place.time, place.sequence)
}
