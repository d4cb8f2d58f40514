//! What needs a server to answer before a replica is whole: checks, migrations, the repository, the set of departments.
//!
//! Rule: a server that is down is waited for; a server or a key that can never work ends the process with one sentence.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::App;
use crate::backup::{BackupError, Repository};
use crate::domain::cause::chain;
use crate::domain::ids::DepartmentName;
use crate::store::StoreError;

/// Exit code when this configuration can never work.
pub const EXIT_CONFIG: u8 = 2;
/// Pause between two attempts.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Attempts between two lines of the log about the same failure.
const LOG_EVERY: u32 = 30;
/// Longest time until a change of the set of departments is seen when no event tells of it.
const DEPARTMENTS_EVERY: Duration = Duration::from_secs(30);

/// Sender of the set of departments.
pub type Departments = watch::Sender<Arc<BTreeSet<DepartmentName>>>;

impl App {
    /// Starts everything that needs a server: first checks and migrations, then the repository and the departments.
    pub fn prepare(&self, departments: Departments) {
        let app = self.clone();
        self.shutdown.spawn("prepare", async move {
            if !app.until_migrated().await {
                return;
            }
            let watcher = app.clone();
            app.shutdown.spawn("departments", async move { watcher.watch_departments(departments).await });
            app.until_repository_open().await;
        });
    }

    /// Checks the server and applies migrations, once.
    ///
    /// # Errors
    /// As `Store::check` and `Store::migrate`.
    pub async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        self.store.check().await?;
        let policy = self.config.backup.policy();
        self.store.migrate(&policy, self.clock.now()).await
    }

    /// Whether it came to the end; false at shutdown.
    async fn until_migrated(&self) -> bool {
        let mut attempts = Attempts::default();
        loop {
            match self.migrate().await {
                Ok(applied) => {
                    tracing::info!(?applied, "MongoDB is ready");
                    return true;
                }
                Err(error @ (StoreError::Unsupported(_) | StoreError::Migration(_))) => {
                    tracing::error!(error = %error, "rollkeeper cannot run on this database");
                    self.shutdown.fail(EXIT_CONFIG);
                    return false;
                }
                Err(error) => attempts.log("prepare MongoDB", &error),
            }
            if !self.pause().await {
                return false;
            }
        }
    }

    async fn until_repository_open(&self) {
        let mut attempts = Attempts::default();
        loop {
            match self.open_repository().await {
                Ok(repository) => {
                    tracing::info!(repository.id = repository.id(), "the repository of backups is open");
                    // Only this task sets it, once.
                    let _ = self.repository.set(repository);
                    self.repository_cause.send_replace(None);
                    return;
                }
                Err(error @ (BackupError::Keys(_) | BackupError::WrongKey { .. })) => {
                    tracing::error!(error = %error, "the keys of the configuration do not work");
                    self.shutdown.fail(EXIT_CONFIG);
                    return;
                }
                // Users can be served without backups, so the others are waited out, in sight.
                Err(error) => {
                    attempts.log("open the repository", &error);
                    self.repository_cause.send_replace(Some(error.cause()));
                }
            }
            if !self.pause().await {
                return;
            }
        }
    }

    async fn open_repository(&self) -> Result<Repository, BackupError> {
        let identity = self.config.keys.identity().map_err(|error| BackupError::Keys(error.to_string()))?;
        Repository::open(&self.config.keys, &identity, &self.targets, &self.store.repository).await
    }

    async fn watch_departments(&self, departments: Departments) {
        let mut attempts = Attempts::default();
        loop {
            match self.store.departments.names().await {
                Ok(names) => {
                    attempts = Attempts::default();
                    tell(&departments, names);
                    tokio::select! {
                        () = self.shutdown.token.cancelled() => return,
                        () = self.store.departments.changed(DEPARTMENTS_EVERY) => {},
                    }
                }
                Err(error) => {
                    attempts.log("list the departments", &error);
                    if !self.pause().await {
                        return;
                    }
                }
            }
        }
    }

    /// Waits between two attempts; false at shutdown.
    async fn pause(&self) -> bool {
        self.shutdown.token.run_until_cancelled(tokio::time::sleep(RETRY_EVERY)).await.is_some()
    }
}

/// Tells a set of departments, where it differs from the last.
fn tell(departments: &Departments, names: Vec<DepartmentName>) {
    let names: BTreeSet<_> = names.into_iter().collect();
    // There is always `default`, so somebody has dropped the database. Whoever leads goes on, to record that.
    if names.is_empty() {
        return;
    }
    departments.send_if_modified(|known| {
        let differs = **known != names;
        if differs {
            *known = Arc::new(names);
        }
        differs
    });
}

/// Counts attempts, so that a long outage is some lines of the log and not thousands.
#[derive(Default)]
struct Attempts(u32);

impl Attempts {
    fn log(&mut self, action: &str, error: &(dyn std::error::Error + 'static)) {
        if self.0.is_multiple_of(LOG_EVERY) {
            tracing::warn!(action, attempt = self.0 + 1, error = %chain(error), "not yet; trying again every second");
        }
        self.0 = self.0.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_set_of_departments_is_told_once() {
        let (sender, mut receiver) = watch::channel(Arc::new(BTreeSet::new()));
        let name = DepartmentName::default_department;
        tell(&sender, vec![name()]);
        assert!(receiver.has_changed().unwrap());
        receiver.mark_unchanged();
        tell(&sender, vec![name()]);
        assert!(!receiver.has_changed().unwrap());
        tell(&sender, Vec::new());
        assert!(!receiver.has_changed().unwrap(), "somebody has dropped the database");
        tell(&sender, vec![name(), "eng".parse().unwrap()]);
        assert!(receiver.has_changed().unwrap());
    }
}
