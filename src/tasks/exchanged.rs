//! Whether a target still is what it was when it was said to hold something: a disk may be exchanged while nobody leads, or
//! between two writes.
//!
//! Rule: a target takes part in the write quorum of the journal only after this leader has seen that it holds the last change
//! that it is said to hold.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::{debug, warn};

use super::catch_up::{lacks_newest, lose};
use super::halt::Halt;
use super::leader::Leading;
use super::level::sure_after;
use crate::backup::journal;
use crate::domain::ids::TargetName;
use crate::targets::Target;

/// How long the first look at a target may hold the archiver up.
const FIRST_LOOK_MAX: Duration = Duration::from_millis(300);

/// How often each target had been exchanged when it was looked at last.
#[derive(Debug, Default)]
pub(super) struct Looked(Mutex<HashMap<TargetName, u64>>);

impl Looked {
    /// Whether a target is the one that was looked at.
    pub(super) fn is_same(&self, target: &Target) -> bool {
        let looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looked.get(target.name()) == Some(&target.exchanged())
    }

    fn set(&self, target: &Target, exchanged: u64) {
        let mut looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looked.insert(target.name().clone(), exchanged);
    }
}

/// Looks at every target that answers at once; the others are looked at before they are caught up with.
pub(super) async fn look_at_all(leading: &Leading) {
    let each = leading.parts.targets.iter().map(|target| async move {
        match tokio::time::timeout(FIRST_LOOK_MAX, look(leading, target)).await {
            Ok(Ok(())) => {}
            Ok(Err(halt)) => {
                debug!(target.name = %target.name(), reason = halt.reason(), "the target cannot be looked at yet");
            }
            Err(_) => debug!(target.name = %target.name(), "the target does not answer yet"),
        }
    });
    futures::future::join_all(each).await;
}

/// Looks whether a target holds the last change and the newest snapshot that it is said to hold, unless that was seen before. One that does not has
/// lost everything: it is filled again.
pub(super) async fn look(leading: &Leading, target: &Target) -> Result<(), Halt> {
    if leading.looked.is_same(target) {
        return Ok(());
    }
    leading.repository.admit(target).await?;
    let exchanged = target.exchanged();
    let head = leading.head.lock().await.clone();
    let said = head.journal_through(target.name()).filter(|said| *said > sure_after(&head));
    let holds_journal = match said {
        Some(said) => journal::holds(target, &head.department, 1..=head.timeline.0, said).await?,
        // Its last change is one that retention may have taken.
        None => true,
    };
    if !holds_journal || lacks_newest(leading, target).await? {
        warn!(target.name = %target.name(), "the target lacks what it held: it is filled again");
        lose(leading, target.name()).await?;
    }
    leading.looked.set(target, exchanged);
    Ok(())
}
