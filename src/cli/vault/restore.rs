//! `rollkeeper vault restore`: an empty MongoDB becomes what the targets remember.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use secrecy::ExposeSecret;
use serde::Serialize;

use super::sources::Opened;
use super::{Failure, Output};
use crate::backup::vault::rebuild::{Part, Plan, Rebuilt};
use crate::backup::vault::{VaultError, Wanted};
use crate::cli::{EXIT_FAILURE, output};
use crate::config::mongodb::MongodbConfig;
use crate::config::vault::VaultConfig;
use crate::domain::clock::Clock;
use crate::domain::department::Policy;
use crate::domain::ids::ReplicaId;
use crate::store::Store;
use crate::store::rebuild::Begun;

/// Where to, and which state.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The file with the connection string of the replica set; else `[mongodb]` of the configuration.
    #[arg(long, value_name = "FILE")]
    mongodb_uri_file: Option<PathBuf>,
    /// The database; it must be empty. Else `mongodb.database` of the configuration.
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Every department as of this moment (RFC 3339), instead of its newest state.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Go on although these targets have less than they tell of: changes that cannot be reached, backups that are damaged.
    #[arg(long)]
    accept_loss: bool,
}

#[derive(Debug, Serialize)]
struct RestoreView {
    repository: String,
    database: String,
    departments: Vec<RebuiltView>,
}

#[derive(Debug, Serialize)]
struct RebuiltView {
    department: String,
    users: u64,
    skipped: Vec<String>,
    backups: u64,
    damaged_backups: u64,
    timeline: i64,
    sequence: i64,
}

impl From<&Rebuilt> for RebuiltView {
    fn from(done: &Rebuilt) -> Self {
        Self {
            department: done.department.to_string(),
            users: done.users,
            skipped: done.skipped.iter().map(ToString::to_string).collect(),
            backups: done.backups,
            damaged_backups: done.damaged,
            timeline: done.timeline.0,
            sequence: done.sequence.0,
        }
    }
}

/// Restores; the exit code.
pub(super) async fn run(opened: &Opened, args: &RestoreArgs, how: Output) -> Result<u8, Failure> {
    let wanted = match &args.at {
        Some(at) => at.parse().map(Wanted::At).map_err(|error| Failure::usage(format!("--at: {error}")))?,
        None => Wanted::Newest,
    };
    let mongodb = mongodb(args, &opened.config)?;
    let policy =
        Policy::checked(opened.config.backup.backup_every).map_err(|error| Failure::usage(error.to_string()))?;
    let store = connect(&mongodb).await?;
    output::progress("reading the catalogue of the targets");
    let plan = opened.vault.plan_rebuild(&wanted, &opened.others).await?;
    tell(&plan);
    if plan.parts.is_empty() {
        return Err(Failure { code: EXIT_FAILURE, text: "the targets hold no department".to_owned() });
    }
    let losses: Vec<String> = plan.parts.iter().flat_map(|part| part.catalogue.losses()).collect();
    if !losses.is_empty() && !args.accept_loss {
        let text = format!(
            "{}; nothing was written. Name another target, or all of them, with --target; or accept that with --accept-loss",
            losses.join("; ")
        );
        return Err(Failure { code: EXIT_FAILURE, text });
    }
    let begun = opened.vault.begin_rebuild(&plan, &store, Clock::System.now()).await?;
    if begun == Begun::Continued {
        output::progress("a rebuild that was broken off goes on");
    }
    let mut view = RestoreView {
        repository: opened.vault.repository_id().to_owned(),
        database: mongodb.database.clone(),
        departments: Vec::new(),
    };
    for part in &plan.parts {
        let mut rate = Rate::new(part);
        let done = opened.vault.rebuild_part(part, &store, &policy, |users, total| rate.tell(users, total)).await?;
        rate.end(&done);
        view.departments.push(RebuiltView::from(&done));
    }
    opened.vault.end_rebuild(&store).await?;
    let skipped = view.departments.iter().any(|of| !of.skipped.is_empty());
    let written = match how {
        Output::Json => output::json(&view),
        Output::Table => output::line(&text(&view)),
    };
    Ok(if skipped { EXIT_FAILURE } else { written })
}

fn mongodb(args: &RestoreArgs, config: &VaultConfig) -> Result<MongodbConfig, Failure> {
    let known = config.mongodb.as_ref();
    let mut mongodb = match (&args.mongodb_uri_file, known) {
        (Some(file), _) => MongodbConfig { uri: None, uri_file: Some(file.clone()), database: String::new() },
        (None, Some(known)) => known.clone(),
        (None, None) => {
            return Err(Failure::usage("name the file with the connection string by --mongodb-uri-file"));
        }
    };
    let database = args.database.clone().or_else(|| known.map(|known| known.database.clone()));
    mongodb.database = database.ok_or_else(|| Failure::usage("name the database by --database"))?;
    Ok(mongodb)
}

async fn connect(mongodb: &MongodbConfig) -> Result<Store, Failure> {
    let uri = mongodb.uri().map_err(|error| Failure::usage(error.to_string()))?;
    let me: ReplicaId = "vault".parse().map_err(|error| Failure::usage(format!("{error}")))?;
    let store = Store::connect(mongodb, uri.expose_secret(), &me).await.map_err(VaultError::from)?;
    store.check().await.map_err(VaultError::from)?;
    Ok(store)
}

fn tell(plan: &Plan) {
    for part in &plan.parts {
        let department = &part.catalogue.department;
        match &part.found {
            Some(found) => {
                let time = found.time.map(|time| format!(" ({time})")).unwrap_or_default();
                output::progress(&format!("{department}: sequence {}{time}", found.point.sequence.0));
            }
            None => output::progress(&format!("{department}: no users, its history had not begun")),
        }
        for damage in &part.catalogue.damage {
            output::progress(&format!("{department}: damage: {}: {}", damage.object, damage.reason));
        }
    }
}

/// How fast one department comes.
struct Rate {
    department: String,
    begun: Instant,
    told: Instant,
}

impl Rate {
    fn new(part: &Part) -> Self {
        let now = Instant::now();
        Self { department: part.catalogue.department.to_string(), begun: now, told: now }
    }

    fn tell(&mut self, users: u64, total: u64) {
        if self.told.elapsed().as_secs() >= 1 {
            self.told = Instant::now();
            output::progress(&format!("{}: {users} of about {total} users, {}", self.department, self.rate(users)));
        }
    }

    fn end(&self, done: &Rebuilt) {
        let Rebuilt { users, backups, damaged, .. } = done;
        let damaged = if *damaged > 0 { format!(", {damaged} of them damaged") } else { String::new() };
        output::progress(&format!(
            "{}: {users} users, {}; {backups} backups{damaged}",
            self.department,
            self.rate(*users)
        ));
        if !done.skipped.is_empty() {
            let ids: Vec<String> = done.skipped.iter().take(20).map(ToString::to_string).collect();
            output::progress(&format!(
                "{}: {} users were skipped, since another record holds their id or name: {}",
                self.department,
                done.skipped.len(),
                ids.join(", ")
            ));
        }
    }

    fn rate(&self, users: u64) -> String {
        let millis = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        format!("{} a second", users.saturating_mul(1000) / millis)
    }
}

fn text(view: &RestoreView) -> String {
    let mut text = format!("the database {} is rebuilt from repository {}\n", view.database, view.repository);
    for of in &view.departments {
        text.extend([format!(
            "  {}: {} users, {} backups; goes on after sequence {} on timeline {}\n",
            of.department, of.users, of.backups, of.sequence, of.timeline
        )]);
    }
    text += "Start the service beside the same targets. Tokens other than the bootstrap token are made anew.";
    text
}
