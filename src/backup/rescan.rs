//! Compares live records with a state, whole records and both sorted by id.

use futures::{Stream, StreamExt};

use super::BackupError;
use super::merge::Side;
use super::state::State;
use crate::domain::drift::DRIFT_IDS_MAX;
use crate::domain::ids::UserId;
use crate::domain::user::User;

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rescanned {
    /// Live records.
    pub records: u64,
    /// Users that are not the same on both sides.
    pub differing: u64,
    /// The first of them.
    pub ids: Vec<UserId>,
}

impl Rescanned {
    fn differs(&mut self, id: UserId) {
        self.differing += 1;
        if self.ids.len() < DRIFT_IDS_MAX {
            self.ids.push(id);
        }
    }
}

/// Compares all live records with a state.
///
/// # Errors
/// When either side cannot be read.
pub async fn compare<E: Into<BackupError>>(
    live: impl Stream<Item = Result<Vec<User>, E>> + Send + 'static,
    state: &State,
) -> Result<Rescanned, BackupError> {
    let live = live.map(|batch| batch.map_err(Into::into));
    let (mut live, mut known) = futures::try_join!(Side::over(live), Side::over(state.users(None)))?;
    let mut found = Rescanned::default();
    while let Some(id) = live.next.as_ref().into_iter().chain(&known.next).map(|user| &user.id).min().cloned() {
        let (one, other) = (live.take(&id).await?, known.take(&id).await?);
        found.records += u64::from(one.is_some());
        if one != other {
            found.differs(id);
        }
    }
    Ok(found)
}
