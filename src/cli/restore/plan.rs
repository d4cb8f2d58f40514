//! `rollkeeper restore plan`.

use clap::{ArgGroup, Args, ValueEnum};
use serde_json::{Value, json};

use super::{apply, ended, etag_of, path_of, shown, view};
use crate::cli::output::{self, Output};
use crate::cli::remote::jobs::{self, WaitArgs};
use crate::cli::remote::{Ask, Failure, Service, can_ask, confirm};

/// What to restore, and how. The defaults are the safe ones.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("point").args(["backup", "department"]).required(true))]
pub(super) struct PlanArgs {
    /// From this backup.
    #[arg(long, value_name = "ID")]
    backup: Option<String>,
    /// From the history of this department, with `--at` or `--sequence`.
    #[arg(long, value_name = "DEPARTMENT")]
    department: Option<String>,
    /// As it was at this moment (RFC 3339).
    #[arg(long, value_name = "TIME", conflicts_with_all = ["backup", "sequence"])]
    at: Option<String>,
    /// With every change up to this number.
    #[arg(long, value_name = "N", conflicts_with = "backup")]
    sequence: Option<i64>,
    /// The department that gets the records; without it the one that they come from.
    #[arg(long, value_name = "DEPARTMENT")]
    into: Option<String>,
    /// Only this user; may be given many times, or with commas between.
    #[arg(long = "user", value_name = "ID", value_delimiter = ',')]
    users: Vec<String>,
    /// What becomes of users that the point does not have: `merge` keeps them, `exact` deletes them.
    #[arg(long, value_enum, default_value_t = Mode::Merge)]
    mode: Mode,
    /// Which password hash wins: `keep` the live one, `restore` the one of the point.
    #[arg(long, value_enum, default_value_t = Credentials::Keep)]
    credentials: Credentials,
    /// Whether users are locked afterwards: `keep` unlocks nobody, `restore` as at the point, `unlock` nobody is.
    #[arg(long, value_enum, default_value_t = Locked::Keep)]
    locked: Locked,
    /// What becomes of a record that was changed after the plan.
    #[arg(long, value_enum, default_value_t = OnConflict::Skip)]
    on_conflict: OnConflict,
    /// Go on from the plan to its application: with `--yes` at once, else after it was shown and agreed to.
    #[arg(long)]
    apply: bool,
    /// With `--apply`: it is meant.
    #[arg(long, requires = "apply")]
    yes: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    Merge,
    Exact,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Credentials {
    Keep,
    Restore,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Locked {
    Keep,
    Restore,
    Unlock,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OnConflict {
    Skip,
    Overwrite,
}

/// The word of the API, which is the one of the command line.
fn word(value: &impl ValueEnum) -> Value {
    value.to_possible_value().map(|value| value.get_name().to_owned()).into()
}

impl PlanArgs {
    /// What the API is asked for.
    fn body(&self) -> Result<Value, Failure> {
        let from = match (&self.backup, &self.department, &self.at, self.sequence) {
            (Some(id), ..) => json!({ "backup_id": id }),
            (_, Some(department), Some(at), _) => json!({ "department": department, "at": at }),
            (_, Some(department), _, Some(sequence)) => json!({ "department": department, "sequence": sequence }),
            _ => return Err(Failure::usage("--department needs --at or --sequence")),
        };
        let mut body = json!({
            "from": from, "mode": word(&self.mode), "credentials": word(&self.credentials), "locked": word(&self.locked),
            "on_conflict": word(&self.on_conflict), "apply": self.apply && self.yes,
        });
        if let Some(into) = &self.into {
            body["into"] = json!(into);
        }
        if !self.users.is_empty() {
            body["users"] = json!(self.users);
        }
        Ok(body)
    }
}

/// Plans, and applies where that is meant; the exit code.
pub(super) async fn run(service: &Service, args: &PlanArgs, how: Output) -> Result<u8, Failure> {
    let body = args.body()?;
    if args.apply && !args.yes && !can_ask() {
        confirm(false, "the restore is applied to the live records")?;
    }
    let restore = service.send(&Ask::post("/restores", Some(body))).await?;
    if args.apply && args.yes {
        return ended(service, restore, &args.wait, how).await;
    }
    let path = path_of(restore["id"].as_str().unwrap_or_default())?;
    let restore = jobs::until(service, &path, &args.wait.within, jobs::rests).await?;
    let Some(etag) = etag_of(&restore).filter(|_| restore["state"] == "planned") else {
        return Ok(shown(&restore, how).max(jobs::code_of(&restore)));
    };
    if !args.apply {
        let code = shown(&restore, how);
        let id = restore["id"].as_str().unwrap_or_default();
        output::progress(&format!("to apply it: rollkeeper restore apply {id} --etag '{etag}' --yes"));
        return Ok(code);
    }
    output::progress(&view::text(&restore));
    confirm(false, "this is applied to the live records")?;
    apply(service, &path, &etag, &args.wait, how).await
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        plan: PlanArgs,
    }

    fn body(arguments: &[&str]) -> Result<Value, String> {
        let line = Line::try_parse_from([&["plan"], arguments].concat()).map_err(|error| error.to_string())?;
        line.plan.body().map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn the_defaults_are_those_of_the_api_and_the_point_is_said_in_one_way() {
        let safe = json!({ "from": { "backup_id": "b" }, "mode": "merge", "credentials": "keep", "locked": "keep",
            "on_conflict": "skip", "apply": false });
        assert_eq!(body(&["--backup", "b"]).unwrap(), safe);
        let said = body(&["--department", "eng", "--sequence", "7", "--user", "a,b", "--mode", "exact", "--into", "x"]);
        let said = said.unwrap();
        assert_eq!(said["from"], json!({ "department": "eng", "sequence": 7 }));
        assert_eq!((&said["users"], &said["mode"], &said["into"]), (&json!(["a", "b"]), &json!("exact"), &json!("x")));
        assert_eq!(body(&["--backup", "b", "--apply"]).unwrap()["apply"], false, "it is asked first");
        assert_eq!(body(&["--backup", "b", "--apply", "--yes"]).unwrap()["apply"], true);
        for wrong in [
            &[][..],
            &["--department", "eng"],
            &["--backup", "b", "--department", "eng"],
            &["--backup", "b", "--at", "2026-01-01T00:00:00Z"],
            &["--backup", "b", "--yes"],
        ] {
            assert!(body(wrong).is_err(), "{wrong:?}");
        }
    }
}
