//! `rollkeeper doctor`: looks at everything that the service depends on, and says how to mend what is wrong.
//!
//! Exit codes: 0 nothing is wrong; 1 something has failed; 2 the usage or the configuration is wrong; 3 MongoDB or ZooKeeper
//! does not answer; 4 there are warnings only. It may run beside a live service: it writes one object to each target and one
//! ephemeral node, and deletes them at once.

mod clock;
mod key;
mod view;

use clap::Args;
use secrecy::ExposeSecret;

use super::output::Output;
use super::{EXIT_FAILURE, EXIT_MISSING, EXIT_USAGE, EXIT_WARNINGS, Sources, output};
use crate::config::Config;
use crate::domain::clock::Clock;
use crate::domain::exam::{Exam, Grade, Notes};
use crate::domain::ids::ReplicaId;
use crate::store::Store;
use crate::store::repository::StoredRepository;

/// How to tell of it.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Runs the command; the exit code.
pub(super) fn run(args: &DoctorArgs, sources: &Sources) -> u8 {
    let config = match sources.load() {
        Ok(config) => config,
        Err(error) => {
            output::problem(&format!("the configuration cannot work:\n{error}"));
            return EXIT_USAGE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::problem(&error);
            return EXIT_FAILURE;
        }
    };
    let exams = runtime.block_on(examine(&config, &Clock::System));
    // A disk that hangs must not keep the program.
    runtime.shutdown_background();
    let printed = match args.output {
        Output::Table => output::line(&view::table(&exams)),
        Output::Json => output::json(&view::report(&exams)),
    };
    if printed == 0 { code_of(&exams) } else { printed }
}

/// Looks at everything, at the same time.
async fn examine(config: &Config, clock: &Clock) -> Vec<Exam> {
    let store = async {
        match connect(config).await {
            Ok(store) => {
                let examined = store.examine(config.backup.idle_head_every).await;
                let reachable = examined.time.is_some();
                (examined, if reachable { store.repository.get().await.ok().flatten() } else { None }, clock.now())
            }
            Err(exams) => (crate::store::doctor::Examined { exams, time: None }, None, clock.now()),
        }
    };
    let cluster = async {
        match config.zookeeper.auth() {
            Ok(auth) => crate::cluster::doctor::examine(&config.zookeeper, auth, clock).await,
            Err(error) => {
                let mut notes = Notes::of("zookeeper");
                notes.failed("session", error.to_string(), "Let the service read zookeeper.auth_file.");
                crate::cluster::doctor::ExaminedCluster { exams: notes.done(), clock: None }
            }
        }
    };
    let targets = crate::targets::doctor::examine(&config.targets, clock);
    let ((store, repository, asked_at), cluster, targets) = tokio::join!(store, cluster, targets);

    let mut exams = store.exams;
    exams.extend(cluster.exams);
    let known: Option<&StoredRepository> = repository.as_ref();
    let mut seen = vec![("MongoDB".to_owned(), store.time.map(|time| (time, asked_at)))];
    seen.push(("ZooKeeper".to_owned(), cluster.clock));
    let keys = key::examine(&config.keys, known, &config.targets, &targets);
    for (entry, target) in config.targets.list.iter().zip(targets) {
        exams.extend(target.exams);
        seen.push((format!("target {}", entry.name), target.clock));
    }
    exams.extend(keys);
    exams.extend(clock::examine(&seen));
    exams
}

async fn connect(config: &Config) -> Result<Store, Vec<Exam>> {
    let refused = |why: String| {
        let mut notes = Notes::of("mongodb");
        notes.failed("reachable", why, "Mend mongodb.uri or mongodb.uri_file.");
        notes.done()
    };
    let uri = config.mongodb.uri().map_err(|error| refused(error.to_string()))?;
    let me: ReplicaId = "doctor".parse().map_err(|error| refused(format!("{error}")))?;
    let store = Store::connect(&config.mongodb, uri.expose_secret(), &me).await;
    store.map_err(|error| refused(error.to_string()))
}

fn code_of(exams: &[Exam]) -> u8 {
    let silent = |exam: &Exam| {
        exam.grade == Grade::Failed
            && matches!(
                (exam.part.as_str(), exam.check),
                ("mongodb", "reachable") | ("zookeeper", "session" | "servers")
            )
    };
    if exams.iter().any(silent) {
        return EXIT_MISSING;
    }
    match exams.iter().map(|exam| exam.grade).max() {
        Some(Grade::Failed) => EXIT_FAILURE,
        Some(Grade::Warning) => EXIT_WARNINGS,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exam(part: &str, check: &'static str, grade: Grade) -> Exam {
        Exam { part: part.to_owned(), check, grade, found: String::new(), remedy: String::new() }
    }

    #[test]
    fn the_code_tells_the_worst() {
        let fine = exam("mongodb", "reachable", Grade::Ok);
        let unknown = exam("zookeeper", "sync_limit", Grade::Unknown);
        let warning = exam("mongodb", "rights", Grade::Warning);
        let failed = exam("target t1", "write", Grade::Failed);
        let silent = exam("mongodb", "reachable", Grade::Failed);
        assert_eq!(code_of(&[fine.clone(), unknown]), 0);
        assert_eq!(code_of(&[fine.clone(), warning.clone()]), EXIT_WARNINGS);
        assert_eq!(code_of(&[fine, warning, failed.clone()]), EXIT_FAILURE);
        assert_eq!(code_of(&[failed, silent]), EXIT_MISSING);
    }
}
