//! `POST /tokens`.
//!
//! Rule: nobody gives what he does not have: no scope, no department and no time beyond his own.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::text::TokenText;
use super::wire::{IssuedTokenView, NewToken, TokenView};
use crate::api::audit::recorded;
use crate::api::auth::{require, require_scope};
use crate::api::departments::Known;
use crate::api::departments::put::read_duration;
use crate::api::extract::Json;
use crate::api::idempotency::Effect;
use crate::api::problem::{FieldProblem, Kind, Problem, Problems};
use crate::api::users::read_field;
use crate::app::App;
use crate::domain::audit::AuditAction;
use crate::domain::clock::Timestamp;
use crate::domain::ids::DepartmentName;
use crate::domain::text::Invalid;
use crate::domain::token::{Caller, Scope, Token, TokenName};
use crate::store::StoreError;

/// Longest lifetime that can be asked for: ten years.
const LIFETIME_MAX: Duration = Duration::from_hours(3650 * 24);

/// Issues a token.
///
/// The answer has its text, once; the service keeps a hash. Sent again under the same `Idempotency-Key` within 24 hours the
/// request shows the same token. A token gives no scope, no department and no time that the caller
/// does not have: a scope beyond them is 403 `scope_not_held`, a later end is 422 `outlives_issuer`, another department is 404.
#[utoipa::path(post, path = "/tokens", operation_id = "issueToken", tag = "tokens", request_body = NewToken,
    security(("bearer" = ["tokens:write"])),
    responses((status = 201, description = "Issued; `Location` is set.", body = IssuedTokenView), Problems))]
pub(in crate::api) async fn issue_token(
    State(app): State<App>,
    Extension(known): Extension<Known>,
    caller: Caller,
    effect: Effect,
    Json(body): Json<NewToken>,
) -> Result<Response, Problem> {
    require_scope(&caller, Scope::TokensWrite)?;
    let now = app.clock.now();
    let mut errors = Vec::new();
    let name: Option<TokenName> = read_field("/name", Some(&body.name), &mut errors);
    let department: Option<DepartmentName> = read_field("/department", body.department.as_deref(), &mut errors);
    let scopes = read_scopes(&body.scopes, &mut errors);
    let expires_at = read_end(&body, &caller, now).unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    let (Some(name), true) = (name, errors.is_empty()) else { return Err(Problem::fields_invalid(errors)) };
    refuse_beyond(&caller, &scopes)?;
    if let Some(department) = &department {
        require(&caller, Scope::TokensWrite, department, "department")?;
        known.require(&app, department).await?;
    }
    let id = effect.id(&app.clock);
    let text = if effect.is_keyed() {
        TokenText::derived(app.auth.issuing_key(), id, effect.rev())
    } else {
        TokenText::fresh(id)
    };
    if effect.is_repeated()
        && let Some(token) = issued_before(&app, &text).await?
    {
        return Ok(issued(&text, token, now));
    }
    let token = Token {
        id: id.into(),
        name,
        scopes: scopes.into_iter().map(|(_, scope)| scope).collect(),
        department: department.or_else(|| caller.department.clone()),
        issued_by: caller.name.clone(),
        issued_with: caller.token_id.clone(),
        issued_at: now,
        expires_at,
        revoked: None,
    };
    let record = recorded(&app, &caller, AuditAction::IssueToken, token.department.as_ref(), &token.id);
    match app.store.tokens.insert(&token, &text.hash(), &record).await {
        Ok(()) => Ok(issued(&text, token, now)),
        // Another execution of the same request was faster.
        Err(error @ StoreError::Taken(_)) => {
            let before = issued_before(&app, &text).await?;
            before.map(|token| issued(&text, token, now)).ok_or_else(|| error.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The token that another execution of the same request issued.
async fn issued_before(app: &App, text: &TokenText) -> Result<Option<Token>, Problem> {
    let found = app.store.tokens.secured(&text.id()).await?;
    let same = |hash: [u8; 32]| blake3::Hash::from_bytes(hash) == blake3::Hash::from_bytes(text.hash());
    Ok(found.and_then(|(token, hash)| same(hash).then_some(token)))
}

fn issued(text: &TokenText, token: Token, now: Timestamp) -> Response {
    let location = HeaderValue::from_str(&format!("/tokens/{}", token.id));
    let view = IssuedTokenView { token: text.expose(), about: TokenView::of(token, now) };
    let mut response = (StatusCode::CREATED, axum::Json(view)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The scopes that were asked for, each once, with its place in the body.
fn read_scopes(scopes: &[String], errors: &mut Vec<FieldProblem>) -> Vec<(usize, Scope)> {
    if scopes.is_empty() {
        let invalid = Invalid::new("no_scope", "A token allows at least one thing.");
        errors.push(FieldProblem::body("/scopes", invalid));
    }
    // A long list has one problem, not thousands.
    if scopes.len() > Scope::ALL.len() {
        errors.push(FieldProblem::body("/scopes", Invalid::new("too_many_scopes", "Name each scope once.")));
        return Vec::new();
    }
    let mut read: Vec<(usize, Scope)> = Vec::new();
    for (at, name) in scopes.iter().enumerate() {
        let scope = read_field(&format!("/scopes/{at}"), Some(name), errors);
        if let Some(scope) = scope.filter(|scope| read.iter().all(|(_, known)| known != scope)) {
            read.push((at, scope));
        }
    }
    read
}

/// When the token ends: as was asked, else with the caller's own.
fn read_end(body: &NewToken, caller: &Caller, now: Timestamp) -> Result<Option<Timestamp>, FieldProblem> {
    let refuse = |pointer: &str, code, message: &str| FieldProblem::body(pointer, Invalid::new(code, message));
    let (pointer, end): (_, Timestamp) = match (&body.expires_at, &body.lifetime) {
        (None, None) => return Ok(caller.expires_at),
        (Some(_), Some(_)) => {
            return Err(refuse("/lifetime", "two_ends", "Give expires_at or lifetime, not both."));
        }
        (Some(text), None) => {
            ("/expires_at", text.parse().map_err(|invalid| FieldProblem::body("/expires_at", invalid))?)
        }
        (None, Some(text)) => {
            let lifetime = read_duration(text).map_err(|invalid| FieldProblem::body("/lifetime", invalid))?;
            ("/lifetime", now.later_by(lifetime))
        }
    };
    if end <= now || end > now.later_by(LIFETIME_MAX) {
        return Err(refuse(
            pointer,
            "invalid_lifetime",
            "A token lives up to ten years from now; without an end it lives on.",
        ));
    }
    if caller.expires_at.is_some_and(|own| end > own) {
        return Err(refuse(pointer, "outlives_issuer", "A token does not outlive the one that it is issued with."));
    }
    Ok(Some(end))
}

/// Refuses scopes that the caller does not have himself.
fn refuse_beyond(caller: &Caller, scopes: &[(usize, Scope)]) -> Result<(), Problem> {
    let beyond = scopes.iter().filter(|(_, scope)| !caller.has(*scope));
    let fields: Vec<FieldProblem> = beyond
        .map(|(at, scope)| {
            let message = format!("Your own token lacks the scope {}, so it cannot give it.", scope.name());
            FieldProblem::body(format!("/scopes/{at}"), Invalid::new("scope_not_held", message))
        })
        .collect();
    let Some(first) = fields.first() else { return Ok(()) };
    let problem = Problem::new(Kind::Forbidden, first.message.clone()).code("scope_not_held");
    Err(fields.into_iter().fold(problem, Problem::field))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn caller(expires_at: Option<Timestamp>) -> Caller {
        Caller {
            name: "c".to_owned(),
            scopes: vec![Scope::TokensWrite, Scope::UsersRead],
            department: None,
            token_id: None,
            expires_at,
        }
    }

    fn body(expires_at: Option<&str>, lifetime: Option<&str>) -> NewToken {
        NewToken {
            name: "n".to_owned(),
            scopes: Vec::new(),
            department: None,
            expires_at: expires_at.map(str::to_owned),
            lifetime: lifetime.map(str::to_owned),
        }
    }

    #[test]
    fn a_token_does_not_outlive_its_issuer_nor_begin_dead() {
        let bound = caller(Some(NOW.later_by(Duration::from_mins(10))));
        let end = |caller: &Caller, lifetime| read_end(&body(None, Some(lifetime)), caller, NOW);
        assert_eq!(end(&bound, "10m").unwrap(), bound.expires_at);
        assert_eq!(end(&bound, "11m").unwrap_err().code, "outlives_issuer");
        assert_eq!(read_end(&body(None, None), &bound, NOW).unwrap(), bound.expires_at, "it ends with its issuer");
        let free = caller(None);
        assert_eq!(read_end(&body(None, None), &free, NOW).unwrap(), None);
        for bad in ["0s", "3651d", "9999999999999years"] {
            assert!(end(&free, bad).is_err(), "{bad}");
        }
        assert_eq!(
            read_end(&body(Some("1970-01-01T00:00:01Z"), None), &free, NOW).unwrap_err().code,
            "invalid_lifetime"
        );
        assert_eq!(read_end(&body(Some("x"), Some("1h")), &free, NOW).unwrap_err().code, "two_ends");
    }

    #[test]
    fn each_scope_that_the_issuer_lacks_is_named_at_its_place() {
        let mut errors = Vec::new();
        let names = ["users:read", "users:write", "users:read", "audit:read"].map(str::to_owned);
        let scopes = read_scopes(&names, &mut errors);
        assert!(errors.is_empty());
        assert_eq!(scopes.len(), 3, "a repeated scope counts once");
        let problem = refuse_beyond(&caller(None), &scopes).unwrap_err();
        assert_eq!((problem.status().as_u16(), problem.code_str()), (403, "scope_not_held"));
        let pointers: Vec<_> = problem.errors().iter().filter_map(|field| field.pointer.as_deref()).collect();
        assert_eq!(pointers, ["/scopes/1", "/scopes/3"]);
        read_scopes(&["users:fly".to_owned()], &mut errors);
        assert_eq!((errors[0].code.as_str(), errors[0].pointer.as_deref()), ("unknown_scope", Some("/scopes/0")));
    }
}
