//! `rollkeeper vault show`.

use super::view::BackupView;
use super::{Failure, Output, backup_id};
use crate::backup::vault::Vault;
use crate::cli::{EXIT_FAILURE, output};
use crate::domain::ids::BackupId;

/// Shows one backup; the exit code.
pub(super) async fn run(vault: &Vault, id: &str, how: Output) -> Result<u8, Failure> {
    let id = backup_id(id)?;
    let view = find(vault, &id).await?;
    Ok(match how {
        Output::Json => output::json(&view),
        Output::Table => output::line(&text(&view)),
    })
}

async fn find(vault: &Vault, id: &BackupId) -> Result<BackupView, Failure> {
    for department in vault.departments().await? {
        if vault.tells_of(&department, id).await? {
            let catalogue = vault.catalogue(&department).await?;
            if let Some(listed) = catalogue.backup(id) {
                return Ok(BackupView::of(listed));
            }
        }
    }
    Err(Failure { code: EXIT_FAILURE, text: format!("no word on a backup {id} can be read here") })
}

fn text(view: &BackupView) -> String {
    let mut lines = vec![
        format!("backup      {}", view.id),
        format!("department  {}", view.department),
        format!("kind        {}", view.kind),
        format!("state       {}", view.state),
        format!("asked for   {}", view.requested_at),
        format!("ended       {}", view.finished_at.as_deref().unwrap_or("-")),
        format!("word        {} of epoch {}: {}", view.word.n, view.word.epoch, view.word.object),
    ];
    if let Some(cause) = &view.cause {
        lines.push(format!("cause       {cause}"));
    }
    if let Some(content) = &view.content {
        lines.extend([
            format!("taken at    {}", content.taken_at),
            format!("sequence    {} of timeline {}", content.sequence, content.timeline),
            format!("records     {}", content.records),
            format!("chain       {}", content.chain),
            format!("root        {}", content.root.as_deref().unwrap_or("- (changes lie after the snapshot)")),
            format!("snapshot    {}", content.snapshot),
            format!(
                "            {} records at sequence {}, {} bytes",
                content.snapshot_records, content.snapshot_sequence, content.snapshot_bytes
            ),
        ]);
    }
    lines.extend(view.missing.iter().map(|damage| format!("damage      {}: {}", damage.object, damage.reason)));
    lines.join("\n")
}
