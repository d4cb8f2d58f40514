//! What a handler has to know of the key that its request came with.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use uuid::Uuid;

use crate::api::jobs::fresh_uuid;
use crate::domain::clock::Clock;
use crate::domain::idempotency::{Hold, Seed};
use crate::domain::user::Rev;

/// The names of what a request makes: fresh ones, or those that all executions under its key have in common.
#[derive(Debug, Clone, Default)]
pub(in crate::api) struct Effect {
    seed: Option<Seed>,
    repeated: bool,
}

impl Effect {
    pub(super) fn of(hold: &Hold) -> Self {
        Self { seed: Some(hold.seed.clone()), repeated: hold.repeated }
    }

    /// The id of what is made.
    pub(in crate::api) fn id(&self, clock: &Clock) -> Uuid {
        self.seed.as_ref().map_or_else(|| fresh_uuid(clock), |seed| seed.id)
    }

    /// Whether the request came with a key.
    pub(in crate::api) const fn is_keyed(&self) -> bool {
        self.seed.is_some()
    }

    /// The revision of what is made.
    pub(in crate::api) fn rev(&self) -> Rev {
        self.seed.as_ref().map_or_else(Rev::random, |seed| seed.rev)
    }

    /// Whether the request was begun before, and may have had its effect: read before you write.
    pub(in crate::api) const fn is_repeated(&self) -> bool {
        self.repeated
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Effect {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}
