//! What this replica believes of issued tokens, each for a second, so that a request costs no read of its own.
//!
//! Rules: a belief counts from the moment when its read was begun, and a read ends within a second, so a revocation that was
//! answered is in effect on every replica a second later. An answer that cannot be had is an error, never a refusal. Whoever
//! sends texts that nobody issued takes a bounded part of memory and of MongoDB, and none of it from tokens that are in use.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout};

use crate::api::problem::Problem;
use crate::domain::ids::TokenId;
use crate::domain::token::Token;
use crate::store::StoreError;
use crate::store::tokens::{LOOK_UP_WITHIN, Tokens};

/// How long what was read of a token is believed.
pub const BELIEVED_FOR: Duration = Duration::from_secs(1);
/// Tokens that are remembered; one more makes the least used one be read anew.
const KNOWN_MAX: usize = 4096;
/// Ids that are remembered as nobody's.
const UNKNOWN_MAX: usize = 1024;
/// Ids that nobody here has seen yet, looked up at the same time.
const STRANGERS_AT_ONCE: usize = 16;

/// A token and the hash of its secret.
pub type Secured = (Token, [u8; 32]);

/// Why it cannot be said whether a token is good.
#[derive(Debug)]
pub enum LookUpFailed {
    /// MongoDB does not answer.
    Store(StoreError),
    /// It did not answer another request that asked the same a moment ago.
    Shared,
    /// Too many unknown tokens are being looked up.
    Saturated,
}

impl From<LookUpFailed> for Problem {
    fn from(failed: LookUpFailed) -> Self {
        let unavailable = || Self::unavailable("MongoDB does not answer, so the token cannot be checked; try again.");
        match failed {
            LookUpFailed::Store(error @ (StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_))) => {
                unavailable().source(error)
            }
            LookUpFailed::Store(error) => error.into(),
            LookUpFailed::Shared => unavailable(),
            LookUpFailed::Saturated => Self::unavailable("Too many unknown tokens are being checked; try again.")
                .code("authentication_saturated"),
        }
    }
}

/// The beliefs of a replica.
#[derive(Debug)]
pub struct Believed {
    for_so_long: Duration,
    known: Cache<TokenId, Arc<Slot>>,
    unknown: Cache<TokenId, Instant>,
    strangers: Semaphore,
}

impl Default for Believed {
    fn default() -> Self {
        Self::for_so_long(BELIEVED_FOR)
    }
}

impl Believed {
    fn for_so_long(for_so_long: Duration) -> Self {
        Self {
            for_so_long,
            known: Cache::new(KNOWN_MAX),
            unknown: Cache::new(UNKNOWN_MAX),
            strangers: Semaphore::new(STRANGERS_AT_ONCE),
        }
    }

    /// The token with an id, as MongoDB had it at most a second ago.
    ///
    /// # Errors
    /// When that is not known and MongoDB does not say it.
    pub async fn find(&self, tokens: &Tokens, id: &TokenId) -> Result<Option<Arc<Secured>>, LookUpFailed> {
        self.find_by(id, || tokens.secured(id)).await
    }

    async fn find_by<F>(&self, id: &TokenId, read: impl Fn() -> F) -> Result<Option<Arc<Secured>>, LookUpFailed>
    where
        F: Future<Output = Result<Option<Secured>, StoreError>>,
    {
        if let Some(slot) = self.known.get(id) {
            return slot.current(self.for_so_long, read).await;
        }
        if self.unknown.get(id).is_some_and(|at| at.elapsed() < self.for_so_long) {
            return Ok(None);
        }
        let Ok(Ok(_permit)) = timeout(LOOK_UP_WITHIN, self.strangers.acquire()).await else {
            return Err(LookUpFailed::Saturated);
        };
        if let Some(slot) = self.known.get(id) {
            return slot.current(self.for_so_long, read).await;
        }
        let begun = Instant::now();
        let found = read().await.map_err(LookUpFailed::Store)?.map(Arc::new);
        match &found {
            Some(_) => self.known.insert(id.clone(), Arc::new(Slot::new(begun, found.clone()))),
            None => self.unknown.insert(id.clone(), begun),
        }
        Ok(found)
    }

    /// Reads a token anew at its next use: this replica has just changed it.
    pub fn forget(&self, id: &TokenId) {
        if let Some(slot) = self.known.get(id) {
            slot.write(|belief| belief.read_at = None);
        }
    }
}

/// What is believed of one token. One request at a time reads it anew, for all that wait meanwhile.
#[derive(Debug)]
struct Slot {
    belief: RwLock<Belief>,
    turn: Mutex<()>,
}

/// What a read has found: a token, or that there is none any more.
struct Found(Option<Arc<Secured>>);

#[derive(Debug)]
struct Belief {
    found: Option<Arc<Secured>>,
    /// When the read was begun that found it.
    read_at: Option<Instant>,
    /// When the last read was begun that got no answer.
    failed_at: Option<Instant>,
}

impl Slot {
    fn new(begun: Instant, found: Option<Arc<Secured>>) -> Self {
        Self { belief: RwLock::new(Belief { found, read_at: Some(begun), failed_at: None }), turn: Mutex::default() }
    }

    async fn current<F>(
        &self,
        believed_for: Duration,
        read: impl Fn() -> F,
    ) -> Result<Option<Arc<Secured>>, LookUpFailed>
    where
        F: Future<Output = Result<Option<Secured>, StoreError>>,
    {
        if let Some(Found(found)) = self.believed(believed_for) {
            return Ok(found);
        }
        let arrived = Instant::now();
        let _turn = self.turn.lock().await;
        if let Some(Found(found)) = self.believed(believed_for) {
            return Ok(found);
        }
        // Whoever waited for a read in vain does not begin another one in the face of a server that hangs.
        if self.failed_since(arrived) {
            return Err(LookUpFailed::Shared);
        }
        let begun = Instant::now();
        match read().await {
            Ok(found) => {
                let found = found.map(Arc::new);
                self.write(|belief| {
                    *belief = Belief { found: found.clone(), read_at: Some(begun), failed_at: None };
                });
                Ok(found)
            }
            Err(error) => {
                self.write(|belief| belief.failed_at = Some(Instant::now()));
                Err(LookUpFailed::Store(error))
            }
        }
    }

    /// What is believed, if that may still be.
    fn believed(&self, believed_for: Duration) -> Option<Found> {
        let belief = self.belief.read().unwrap_or_else(PoisonError::into_inner);
        belief.read_at.is_some_and(|at| at.elapsed() < believed_for).then(|| Found(belief.found.clone()))
    }

    fn failed_since(&self, moment: Instant) -> bool {
        let belief = self.belief.read().unwrap_or_else(PoisonError::into_inner);
        belief.failed_at.is_some_and(|at| at >= moment)
    }

    fn write(&self, change: impl FnOnce(&mut Belief)) {
        change(&mut self.belief.write().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::domain::clock::Timestamp;
    use crate::domain::token::{Revoked, Scope, Standing};

    const NOW: Timestamp = Timestamp::from_millis(1000);
    const LONG: Duration = Duration::from_hours(1);

    fn id(number: u128) -> TokenId {
        uuid::Uuid::from_u128(number).into()
    }

    fn token(revoked: bool) -> Secured {
        let token = Token {
            id: id(1),
            name: "ci".parse().unwrap(),
            scopes: vec![Scope::UsersRead],
            department: None,
            issued_by: "ada".to_owned(),
            issued_with: None,
            issued_at: NOW,
            expires_at: None,
            revoked: revoked.then(|| Revoked { by: "ada".to_owned(), at: NOW }),
        };
        (token, [7; 32])
    }

    fn down() -> StoreError {
        StoreError::Unavailable(std::io::Error::from(std::io::ErrorKind::TimedOut).into())
    }

    async fn standing(believed: &Believed, revoked: bool) -> Standing {
        let found = believed.find_by(&id(1), || async { Ok(Some(token(revoked))) }).await.unwrap();
        found.unwrap().0.standing(NOW)
    }

    #[tokio::test]
    async fn a_token_is_believed_for_its_time_or_until_it_is_revoked_here() {
        let believed = Believed::for_so_long(LONG);
        assert_eq!(standing(&believed, false).await, Standing::Active);
        assert_eq!(standing(&believed, true).await, Standing::Active, "what was read is believed");
        believed.forget(&id(1));
        assert_eq!(standing(&believed, true).await, Standing::Revoked);
        let brief = Believed::for_so_long(Duration::ZERO);
        assert_eq!(standing(&brief, false).await, Standing::Active);
        assert_eq!(standing(&brief, true).await, Standing::Revoked, "its time was over");
    }

    #[tokio::test]
    async fn while_nobody_answers_a_known_token_works_for_its_time_and_no_token_is_refused() {
        let believed = Believed::for_so_long(LONG);
        standing(&believed, false).await;
        assert!(believed.find_by(&id(1), || async { Err(down()) }).await.unwrap().is_some());
        assert!(believed.find_by(&id(2), || async { Err(down()) }).await.is_err());
        let brief = Believed::for_so_long(Duration::ZERO);
        standing(&brief, false).await;
        assert!(brief.find_by(&id(1), || async { Err(down()) }).await.is_err());
    }

    #[tokio::test]
    async fn requests_that_wait_for_the_same_read_share_its_failure() {
        let (believed, reads) = (Believed::for_so_long(Duration::ZERO), AtomicUsize::new(0));
        standing(&believed, false).await;
        let read = || async {
            reads.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Err(down())
        };
        let one = id(1);
        let outcomes = futures::future::join_all((0..50).map(|_| believed.find_by(&one, read))).await;
        assert!(outcomes.iter().all(Result::is_err));
        assert_eq!(reads.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_flood_of_unknown_tokens_takes_bounded_memory_and_pushes_no_known_one_out() {
        let (believed, reads) = (Believed::for_so_long(LONG), AtomicUsize::new(0));
        standing(&believed, false).await;
        let nobody = || async {
            reads.fetch_add(1, Ordering::SeqCst);
            Ok(None)
        };
        for number in 0..10_000 {
            let twice = [id(100 + number), id(100 + number)];
            for id in &twice {
                assert!(believed.find_by(id, nobody).await.unwrap().is_none());
            }
        }
        assert_eq!(reads.load(Ordering::SeqCst), 10_000, "an unknown token is asked for once in its time");
        assert!(believed.unknown.len() <= UNKNOWN_MAX, "{}", believed.unknown.len());
        assert_eq!(standing(&believed, true).await, Standing::Active, "it is still known");
    }
}
