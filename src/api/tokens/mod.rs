//! `/tokens`: list, look, revoke; `issue` makes them.
//!
//! Rule: the bootstrap token is no resource: it is not listed and cannot be revoked here. A caller that is bound to a
//! department sees and revokes the tokens of that department only.

pub mod believed;
pub mod issue;
pub mod text;
pub mod wire;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::audit::recorded;
use super::auth::{limit_to, require_scope};
use super::cursor;
use super::extract::{Path, Query, parameter};
use super::pages::PageRequest;
use super::problem::{Problem, Problems};
use crate::app::App;
use crate::domain::audit::AuditAction;
use crate::domain::ids::TokenId;
use crate::domain::token::{Caller, Revoked, Scope, Token};
use crate::store::StoreError;
use wire::{TokenPage, TokenQuery, TokenView};

/// Lists tokens.
///
/// Newest first, without their texts. Those that have ended are listed for another 30 days. The bootstrap token is not
/// listed.
#[utoipa::path(get, path = "/tokens", operation_id = "listTokens", tag = "tokens", params(TokenQuery),
    security(("bearer" = ["tokens:read"])),
    responses((status = 200, description = "One page; `Link` names the next.", body = TokenPage), Problems))]
pub(super) async fn list_tokens(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    Query(query): Query<TokenQuery>,
) -> Result<Response, Problem> {
    require_scope(&caller, Scope::TokensRead)?;
    let department = limit_to(&caller, parameter("department", query.department.as_deref())?)?;
    let print = cursor::fingerprint("tokens", &department);
    let page: PageRequest<String> =
        PageRequest::read(&app.auth, uri, query.limit.as_deref(), query.cursor.as_deref(), print)?;
    let before: Option<TokenId> = parameter("cursor", page.after.as_deref())?;
    let mut tokens = app.store.tokens.list(department.as_ref(), before.as_ref(), page.read_limit()).await?;
    let next_cursor = page.cut(&app.auth, &mut tokens, |token| token.id.to_string());
    let now = app.clock.now();
    let items = tokens.into_iter().map(|token| TokenView::of(token, now)).collect();
    let view = TokenPage { items, next_cursor };
    Ok(page.respond(&view, view.next_cursor.as_deref()))
}

/// Reads a token.
///
/// Without its text; also for 30 days after its end.
#[utoipa::path(get, path = "/tokens/{token_id}", operation_id = "getToken", tag = "tokens",
    params(("token_id" = String, Path, description = "Id of the token.")),
    security(("bearer" = ["tokens:read"])),
    responses((status = 200, description = "The token.", body = TokenView), Problems))]
pub(super) async fn get_token(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<TokenId>,
) -> Result<axum::Json<TokenView>, Problem> {
    let token = load(&app, &caller, Scope::TokensRead, &id).await?;
    Ok(axum::Json(TokenView::of(token, app.clock.now())))
}

/// Revokes a token.
///
/// No replica takes it any more a second after the answer, two at most, and streams that it opened end. Tokens that were
/// issued with it stay: `issued_with` names them. Revoking a revoked one changes nothing.
#[utoipa::path(delete, path = "/tokens/{token_id}", operation_id = "revokeToken", tag = "tokens",
    params(("token_id" = String, Path, description = "Id of the token.")),
    security(("bearer" = ["tokens:write"])),
    responses((status = 204, description = "It is revoked."), Problems))]
pub(super) async fn revoke_token(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<TokenId>,
) -> Result<StatusCode, Problem> {
    let token = load(&app, &caller, Scope::TokensWrite, &id).await?;
    if token.revoked.is_none() {
        let record = recorded(&app, &caller, AuditAction::RevokeToken, token.department.as_ref(), &id);
        let revoked = Revoked { by: caller.name.clone(), at: record.at };
        match app.store.tokens.revoke(&id, &revoked, &record).await {
            // Somebody else was faster.
            Ok(()) | Err(StoreError::Stale) => {}
            Err(error) => return Err(error.into()),
        }
    }
    app.auth.forget(&id);
    Ok(StatusCode::NO_CONTENT)
}

async fn load(app: &App, caller: &Caller, scope: Scope, id: &TokenId) -> Result<Token, Problem> {
    require_scope(caller, scope)?;
    let found = app.store.tokens.get(id).await?;
    // A token for all departments is foreign to whoever sees one.
    let seen = |token: &Token| token.department.as_ref().map_or(caller.department.is_none(), |own| caller.sees(own));
    found.filter(seen).ok_or_else(|| Problem::not_found("token"))
}
