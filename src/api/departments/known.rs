//! Which departments take users, believed for a moment.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::RwLock;
use tokio::time::Instant;

use crate::api::problem::Problem;
use crate::app::App;
use crate::domain::department::DepartmentState;
use crate::domain::ids::DepartmentName;
use crate::domain::text::Invalid;

/// How long a department is believed to take users after it was seen active.
const BELIEVED_FOR: Duration = Duration::from_secs(1);

/// A write that was begun in the last moment of that ends in this time.
const OVER: Duration = Duration::from_millis(200);

/// Departments seen active a moment ago, so that creating a user costs no second read.
#[derive(Debug, Clone, Default)]
pub(in crate::api) struct Known(Arc<RwLock<Option<Seen>>>);

/// When the departments were read, and which were active.
type Seen = (Instant, BTreeSet<DepartmentName>);

impl Known {
    /// Refuses a department that does not take users.
    ///
    /// # Errors
    /// 422 at `/department`.
    pub(in crate::api) async fn require(&self, app: &App, name: &DepartmentName) -> Result<(), Problem> {
        if self.takes_users(app, name).await? {
            return Ok(());
        }
        let message = format!("There is no department {name}; PUT /departments/{name} makes it.");
        Err(Problem::field_invalid("/department", Invalid::new("unknown_department", message)))
    }

    /// Whether a department takes users, as seen within the last second.
    pub(in crate::api) async fn takes_users(&self, app: &App, name: &DepartmentName) -> Result<bool, Problem> {
        if let Some((since, names)) = &*self.0.read().await
            && since.elapsed() < BELIEVED_FOR
            && names.contains(name)
        {
            return Ok(true);
        }
        let department = app.store.departments.get(name).await?;
        let active = department.is_some_and(|department| department.state == DepartmentState::Active);
        let mut known = self.0.write().await;
        match &mut *known {
            Some((since, names)) if since.elapsed() < BELIEVED_FOR => {
                if active {
                    names.insert(name.clone());
                } else {
                    names.remove(name);
                }
            }
            // The whole set starts anew: it is as old as its oldest member.
            stale => *stale = Some((Instant::now(), active.then(|| name.clone()).into_iter().collect())),
        }
        Ok(active)
    }

    /// Returns when no replica believes any more what it saw before: this one forgets, the others are waited for.
    pub(super) async fn forget_everywhere(&self) {
        *self.0.write().await = None;
        tokio::time::sleep(BELIEVED_FOR + OVER).await;
    }
}
