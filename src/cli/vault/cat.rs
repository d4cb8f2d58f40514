//! `rollkeeper vault cat`.

use std::io::Write as _;

use clap::{ArgGroup, Args};
use futures::TryStreamExt;

use super::{Failure, backup_id, departments};
use crate::backup::record::write_record;
use crate::backup::vault::{Found, Vault, Wanted};
use crate::cli::{EXIT_FAILURE, output};
use crate::domain::history::Sequence;
use crate::domain::ids::UserId;
use crate::domain::user::User;

/// What to print.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("moment").multiple(false))]
pub(super) struct CatArgs {
    /// The department.
    #[arg(long)]
    department: String,
    /// With every change up to this moment (RFC 3339); without a moment the newest state is printed.
    #[arg(long, value_name = "TIME", group = "moment")]
    at: Option<String>,
    /// With every change up to this sequence.
    #[arg(long, value_name = "N", group = "moment")]
    sequence: Option<i64>,
    /// As of this backup.
    #[arg(long, value_name = "ID", group = "moment")]
    backup: Option<String>,
    /// Only this user; exit code 1 when there is none.
    #[arg(long, value_name = "ID")]
    user: Option<String>,
}

impl CatArgs {
    fn wanted(&self) -> Result<Wanted, Failure> {
        match (&self.at, self.sequence, &self.backup) {
            (Some(at), ..) => at.parse().map(Wanted::At).map_err(|error| Failure::usage(format!("--at: {error}"))),
            (_, Some(sequence), _) => Ok(Wanted::Sequence(Sequence(sequence))),
            (.., Some(id)) => backup_id(id).map(Wanted::Backup),
            (None, None, None) => Ok(Wanted::Newest),
        }
    }
}

/// Prints; the exit code.
pub(super) async fn run(vault: &Vault, args: &CatArgs) -> Result<u8, Failure> {
    let wanted = args.wanted()?;
    let user: Option<UserId> =
        args.user.as_deref().map(str::parse).transpose().map_err(|error| Failure::usage(format!("--user: {error}")))?;
    let Some(department) = departments(vault, Some(&args.department)).await?.pop() else { return Ok(EXIT_FAILURE) };
    let catalogue = vault.catalogue(&department).await?;
    let Some(found) = vault.find(&catalogue, &wanted).await? else {
        output::progress(&format!("{department} has no history here, and so no records"));
        return Ok(u8::from(user.is_some()));
    };
    let Found { timeline, point, time, .. } = &found;
    let at = time.map(|time| format!(" ({time})")).unwrap_or_default();
    output::progress(&format!("{department} at sequence {}{at} of timeline {}", point.sequence.0, timeline.0));
    if wanted == Wanted::Newest {
        for loss in catalogue.losses() {
            output::problem(&loss);
        }
    }
    let state = vault.state(&catalogue, &found).await?;
    if let Some(id) = user {
        let Some(user) = state.user(&id).await.map_err(crate::backup::vault::VaultError::from)? else {
            let text = format!("the user {id} is not in {department} at that point");
            return Err(Failure { code: EXIT_FAILURE, text });
        };
        return Ok(write(&[user]));
    }
    let mut batches = std::pin::pin!(state.users(None));
    while let Some(users) = batches.try_next().await.map_err(crate::backup::vault::VaultError::from)? {
        if write(&users) != 0 {
            return Ok(EXIT_FAILURE);
        }
    }
    Ok(0)
}

/// A reader that has gone wants no more: that is a failure without a word.
fn write(users: &[User]) -> u8 {
    let mut lines = Vec::new();
    for user in users {
        write_record(&mut lines, user);
        lines.push(b'\n');
    }
    let mut out = std::io::stdout().lock();
    let written = out.write_all(&lines).and_then(|()| out.flush());
    u8::from(written.is_err())
}
