//! Compares live records with a state, whole records and both sorted by id.

use futures::{Stream, StreamExt};

use super::BackupError;
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
    fn differs(&mut self, id: &UserId) {
        self.differing += 1;
        if self.ids.len() < DRIFT_IDS_MAX {
            self.ids.push(id.clone());
        }
    }
}

/// One record at a time of a stream of batches.
fn each<E: Into<BackupError>>(
    batches: impl Stream<Item = Result<Vec<User>, E>> + Send,
) -> impl Stream<Item = Result<User, BackupError>> + Send {
    batches.flat_map(|batch| {
        let records: Vec<Result<User, BackupError>> = match batch {
            Ok(users) => users.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error.into())],
        };
        futures::stream::iter(records)
    })
}

/// Compares all live records with a state.
///
/// # Errors
/// When either side cannot be read.
pub async fn compare<E: Into<BackupError>>(
    live: impl Stream<Item = Result<Vec<User>, E>> + Send,
    state: &State,
) -> Result<Rescanned, BackupError> {
    let (mut live, mut known) = (Box::pin(each(live)), Box::pin(each(state.users(None))));
    let mut found = Rescanned::default();
    let (mut one, mut other) = (live.next().await.transpose()?, known.next().await.transpose()?);
    loop {
        let (take_live, take_known) = match (&one, &other) {
            (None, None) => return Ok(found),
            (Some(_), None) => (true, false),
            (None, Some(_)) => (false, true),
            (Some(live), Some(known)) => (live.id <= known.id, known.id <= live.id),
        };
        if one.is_some() && other.is_some() && take_live && take_known {
            if one != other
                && let Some(user) = &one
            {
                found.differs(&user.id);
            }
        } else if let Some(user) = if take_live { &one } else { &other } {
            found.differs(&user.id);
        }
        if take_live {
            found.records += 1;
            one = live.next().await.transpose()?;
        }
        if take_known {
            other = known.next().await.transpose()?;
        }
    }
}
