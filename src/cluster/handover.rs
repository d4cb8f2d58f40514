//! A leadership that goes to another replica: the one that leaves says who goes first, and the others wait for it.
//!
//! Rule: the word is written in the same transaction that deletes the leader node, and names the epoch that ended with
//! it; so it holds for exactly this vacancy, and nobody has to take it back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::election::{Election, Won};
use super::session::{Failure, Session, op};
use crate::domain::ids::ReplicaId;

/// How long the others let the named replica go first, and the one that left everybody.
const GO_FIRST: Duration = Duration::from_secs(2);

/// Who goes first after an epoch has ended; it stands in the node of the department.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Next {
    /// The replica.
    to: String,
    /// The epoch that ended.
    after: i64,
}

impl Next {
    /// Whom the word names for the vacancy after this epoch.
    fn of(bytes: &[u8], counter: &[u8]) -> Option<ReplicaId> {
        let next: Self = serde_json::from_slice(bytes).ok()?;
        let current: i64 = std::str::from_utf8(counter).ok()?.trim().parse().ok()?;
        if next.after == current { next.to.parse().ok() } else { None }
    }
}

impl Election {
    /// Deletes our leader node and says who goes first; the next round deletes it without a word if this fails.
    pub(super) async fn leave_to(&mut self, session: &Session, won: &Won, to: &ReplicaId) {
        self.hold_off = Some(Instant::now() + GO_FIRST);
        let next = Next { to: to.to_string(), after: won.leadership.epoch.0 };
        // Cannot fail: a string and a number.
        let next = serde_json::to_vec(&next).unwrap_or_default();
        let work = async {
            let mut writer = session.client.new_multi_writer();
            writer.add_check_version(&self.paths.epoch, won.epoch_version).map_err(Failure::from)?;
            writer.add_set_data(&self.paths.department, &next, None).map_err(Failure::from)?;
            writer.add_delete(&self.paths.leader, None).map_err(Failure::from)?;
            op(writer.commit()).await
        };
        if !session.is_connected() {
            return;
        }
        if let Err(failure) = work.await {
            tracing::debug!(department.id = %self.department, %failure, "leader node not handed over yet");
        }
    }

    /// Whether the last leader named this replica; when it named another one that is there, that one goes first.
    pub(super) async fn is_named(&self, session: &Session, counter: &[u8]) -> Result<bool, Failure> {
        let (bytes, _) = op(session.client.get_data(&self.paths.department)).await?;
        let Some(next) = Next::of(&bytes, counter) else { return Ok(false) };
        if next == self.shared.me.replica {
            return Ok(true);
        }
        let there = self.shared.view.borrow().members.iter().any(|member| member.replica == next && !member.draining);
        if there {
            sleep(GO_FIRST).await;
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_holds_for_the_vacancy_after_its_epoch_and_no_other() {
        let word = br#"{"to":"r2","after":41}"#;
        assert_eq!(Next::of(word, b"41"), Some("r2".parse().unwrap()));
        assert_eq!(Next::of(word, b"42"), None);
        assert_eq!(Next::of(b"", b"41"), None);
        assert_eq!(Next::of(br#"{"to":"","after":41}"#, b"41"), None);
    }
}
