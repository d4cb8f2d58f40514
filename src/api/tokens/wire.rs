//! Tokens on the wire. Only the answer to the one who asked for a token has its text.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::extract::not_null;
use crate::domain::clock::Timestamp;
use crate::domain::token::{Standing, Token};

/// A wish for a token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewToken, example = json!({"name": "nightly export", "scopes": ["users:read"], "lifetime": "90d"}))]
pub struct NewToken {
    /// What callers with it are called in jobs, logs and audit records: 1 to 128 characters. Need not be unique; `bootstrap`
    /// is reserved.
    #[schema(
        max_length = 128,
        pattern = r"^\s*[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?\s*$"
    )]
    pub(super) name: String,
    /// What it allows, at least one; none that the caller does not have.
    #[schema(min_items = 1)]
    pub(super) scopes: Vec<String>,
    /// The one department that it sees. Default: what the caller sees, which is all or one.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, pattern = "^[a-z0-9][a-z0-9-]{0,62}$")]
    pub(super) department: Option<String>,
    /// When it ends by itself, not after the caller's own token. Default: with that one, or never.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, format = DateTime)]
    pub(super) expires_at: Option<String>,
    /// The same as a time from now on, for example `90d`; not together with `expires_at`.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, example = "90d", pattern = "^[0-9]{1,6}[smhd]( ?[0-9]{1,6}[smhd])*$")]
    pub(super) lifetime: Option<String>,
}

/// Whether a token opens anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TokenState)]
pub enum TokenStateView {
    /// It does.
    Active,
    /// Its time is over.
    Expired,
    /// Somebody took it back.
    Revoked,
}

/// An issued token, without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenView {
    /// Its id.
    pub id: String,
    /// What callers with it are called.
    pub name: String,
    /// What it allows.
    #[schema(example = json!(["users:read"]))]
    pub scopes: Vec<String>,
    /// The one department that it sees; null for all.
    pub department: Option<String>,
    /// Whether it opens anything.
    pub state: TokenStateView,
    /// Who issued it.
    pub issued_by: String,
    /// The token that it was issued with; null for the bootstrap token.
    pub issued_with: Option<String>,
    /// When it was issued.
    #[schema(format = DateTime)]
    pub issued_at: String,
    /// When it ends by itself; null for never.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// Who revoked it; null where nobody did.
    pub revoked_by: Option<String>,
    /// When that was.
    #[schema(format = DateTime)]
    pub revoked_at: Option<String>,
}

impl TokenView {
    /// A token as it stands at a moment.
    pub(super) fn of(token: Token, now: Timestamp) -> Self {
        let state = match token.standing(now) {
            Standing::Active => TokenStateView::Active,
            Standing::Expired => TokenStateView::Expired,
            Standing::Revoked => TokenStateView::Revoked,
        };
        let (revoked_by, revoked_at) = token.revoked.map(|revoked| (revoked.by, revoked.at.to_string())).unzip();
        Self {
            id: token.id.to_string(),
            name: token.name.to_string(),
            scopes: token.scopes.iter().map(|scope| scope.name().to_owned()).collect(),
            department: token.department.map(|department| department.to_string()),
            state,
            issued_by: token.issued_by,
            issued_with: token.issued_with.map(|id| id.to_string()),
            issued_at: token.issued_at.to_string(),
            expires_at: token.expires_at.map(|time| time.to_string()),
            revoked_by,
            revoked_at,
        }
    }
}

/// A token that was just issued.
#[derive(Serialize, ToSchema)]
#[schema(as = IssuedToken)]
pub struct IssuedTokenView {
    /// The text to send as `Authorization: Bearer`. It is in this answer and nowhere else.
    #[schema(example = "rk_…")]
    pub token: String,
    /// What was issued.
    #[serde(flatten)]
    pub about: TokenView,
}

impl std::fmt::Debug for IssuedTokenView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedTokenView").field("token", &"***").field("about", &self.about).finish()
    }
}

/// A page of tokens.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenPage {
    /// The tokens, newest first.
    pub items: Vec<TokenView>,
    /// Where the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

/// Filter and page of a list of tokens.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TokenQuery {
    /// Only tokens that see this one department alone.
    pub(super) department: Option<String>,
    /// Items of the page, 1 to 1000. Default 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub(super) limit: Option<String>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}
