//! Who calls: Bearer tokens, and what each of them allows.
//!
//! Rule: tokens are kept and compared as hashes, in constant time. A foreign department answers 404, as if it were not. A
//! token that MongoDB cannot be asked about is 503 and never 401; the bootstrap token needs no MongoDB.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};

use super::problem::{Kind, Problem};
use super::scopes;
use super::tokens::believed::{BELIEVED_FOR, Believed, LookUpFailed};
use super::tokens::text::TokenText;
use crate::app::App;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{DepartmentName, TokenId};
use crate::domain::text::Invalid;
use crate::domain::token::{BOOTSTRAP, Caller, Scope, Standing};
use crate::store;

/// Shortest bootstrap token, in characters.
pub const TOKEN_CHARS_MIN: usize = 32;

/// The tokens that are accepted, the key that cursors are signed with, and the one that makes tokens which can be made again.
pub struct Tokens {
    bootstrap: blake3::Hash,
    cursor_key: [u8; 32],
    issuing_key: [u8; 32],
    issued: Believed,
}

/// What a caller showed.
enum Shown {
    /// The bootstrap token.
    Bootstrap(Caller),
    /// The text of an issued token, which may or may not be known.
    Issued(TokenText),
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(***)")
    }
}

impl Tokens {
    /// Takes the bootstrap token, which has every scope; white space around it is dropped.
    ///
    /// # Errors
    /// When it is shorter than 32 characters or has characters that cannot stand in a header.
    pub fn from_bootstrap(text: &str) -> Result<Self, Invalid> {
        let token = text.trim();
        if token.len() < TOKEN_CHARS_MIN || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Invalid::new(
                "invalid_token",
                "The bootstrap token is at least 32 printable ASCII characters without spaces; \
                 `head -c 32 /dev/urandom | base64` makes one.",
            ));
        }
        Ok(Self {
            bootstrap: blake3::hash(token.as_bytes()),
            // Every replica has the same token, so every replica accepts the cursors of the others.
            cursor_key: blake3::derive_key("rollkeeper 2026-11 list cursors", token.as_bytes()),
            issuing_key: blake3::derive_key("rollkeeper 2026-11 issued tokens by key", token.as_bytes()),
            issued: Believed::default(),
        })
    }

    /// The key that cursors are signed with.
    pub(super) fn cursor_key(&self) -> &[u8; 32] {
        &self.cursor_key
    }

    /// The key that makes tokens which are issued under an `Idempotency-Key`.
    pub(super) fn issuing_key(&self) -> &[u8; 32] {
        &self.issuing_key
    }

    /// Who holds the bootstrap token.
    pub fn caller(&self, token: &str) -> Option<Caller> {
        // `blake3::Hash` compares in constant time.
        (blake3::hash(token.as_bytes()) == self.bootstrap).then(|| Caller {
            name: BOOTSTRAP.to_owned(),
            scopes: Scope::ALL.to_vec(),
            department: None,
            token_id: None,
            expires_at: None,
        })
    }

    fn shown(&self, headers: &HeaderMap) -> Result<Shown, Problem> {
        let header = headers
            .get(header::AUTHORIZATION)
            .ok_or_else(|| refused("Send your token as `Authorization: Bearer <token>`."))?;
        let token = header
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| refused("The Authorization header is not `Bearer <token>`."))?;
        match self.caller(token) {
            Some(caller) => Ok(Shown::Bootstrap(caller)),
            None => TokenText::parse(token).map(Shown::Issued).ok_or_else(unknown),
        }
    }

    async fn authenticate(&self, headers: &HeaderMap, app: &App) -> Result<Caller, Problem> {
        let text = match self.shown(headers)? {
            Shown::Bootstrap(caller) => return Ok(caller),
            Shown::Issued(text) => text,
        };
        let found = self.issued.find(&app.store.tokens, &text.id()).await?;
        let secured = found.ok_or_else(unknown)?;
        let (token, hash) = secured.as_ref();
        if blake3::Hash::from_bytes(text.hash()) != blake3::Hash::from_bytes(*hash) {
            return Err(unknown());
        }
        match token.standing(app.clock.now()) {
            Standing::Active => Ok(token.caller()),
            Standing::Expired => Err(refused("The token has expired; ask for a new one.").code("token_expired")),
            Standing::Revoked => Err(refused("The token was revoked; ask for a new one.").code("token_revoked")),
        }
    }

    /// Whether a caller that was let in still would be.
    async fn stands(
        &self,
        tokens: &store::tokens::Tokens,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<bool, LookUpFailed> {
        let Some(id) = &caller.token_id else { return Ok(true) };
        let found = self.issued.find(tokens, id).await?;
        Ok(found.is_some_and(|secured| secured.0.standing(now) == Standing::Active))
    }

    /// Reads a token anew at its next use: it was just revoked here.
    pub(super) fn forget(&self, id: &TokenId) {
        self.issued.forget(id);
    }
}

fn refused(detail: &str) -> Problem {
    Problem::new(Kind::Unauthenticated, detail)
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"rollkeeper\""))
}

fn unknown() -> Problem {
    refused("The token is not known.")
}

/// Refuses a caller whose token has ended since it was let in, for work that outlasts a request.
///
/// # Errors
/// 401 when it has; 503 when that cannot be said.
pub async fn require_standing(app: &App, caller: &Caller) -> Result<(), Problem> {
    if app.auth.stands(&app.store.tokens, caller, app.clock.now()).await? {
        return Ok(());
    }
    Err(refused("The token has ended meanwhile; ask for a new one."))
}

/// Resolves when the token of a caller has ended: a stream that it opened ends then.
pub async fn until_ended(app: App, caller: Caller) {
    if caller.token_id.is_none() {
        std::future::pending::<()>().await;
    }
    loop {
        tokio::time::sleep(BELIEVED_FOR).await;
        // While MongoDB does not answer, it says nothing of any job either.
        if let Ok(false) = app.auth.stands(&app.store.tokens, &caller, app.clock.now()).await {
            return;
        }
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = app.auth.authenticate(&parts.headers, app).await?;
        scopes::demand(parts, &caller)?;
        Ok(caller)
    }
}

/// Refuses a caller that lacks a scope.
///
/// # Errors
/// 403 with the name of the scope.
pub fn require_scope(caller: &Caller, scope: Scope) -> Result<(), Problem> {
    if caller.has(scope) {
        return Ok(());
    }
    Err(lacks(&[vec![scope]]))
}

/// The refusal of a caller that lacks scopes: all of one of these sets.
pub(super) fn lacks(sets: &[Vec<Scope>]) -> Problem {
    let names = |set: &Vec<Scope>| set.iter().map(|scope| scope.name()).collect::<Vec<_>>().join(" and ");
    let sets: Vec<String> = sets.iter().map(names).collect();
    Problem::new(Kind::Forbidden, format!("The token lacks the scope {}.", sets.join(", or ")))
}

/// Refuses a caller that lacks a scope, or may not see the department of `what`.
///
/// # Errors
/// 403 for the scope, 404 for the department.
pub fn require(caller: &Caller, scope: Scope, department: &DepartmentName, what: &str) -> Result<(), Problem> {
    require_scope(caller, scope)?;
    if !caller.sees(department) {
        return Err(Problem::not_found(what));
    }
    tracing::Span::current().record("department.id", department.as_str());
    Ok(())
}

/// The department that a list is limited to: the asked one, or the caller's own.
///
/// # Errors
/// 404 when a foreign department is asked for.
pub fn limit_to(caller: &Caller, asked: Option<DepartmentName>) -> Result<Option<DepartmentName>, Problem> {
    match asked {
        Some(asked) if !caller.sees(&asked) => Err(Problem::not_found("department")),
        Some(asked) => Ok(Some(asked)),
        None => Ok(caller.department.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn shown(header: Option<&str>) -> Result<Shown, Problem> {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(header::AUTHORIZATION, header.parse().unwrap());
        }
        Tokens::from_bootstrap(TOKEN).unwrap().shown(&headers)
    }

    #[test]
    fn the_bootstrap_token_has_every_scope() {
        let Ok(Shown::Bootstrap(caller)) = shown(Some(&format!("Bearer {TOKEN}"))) else { panic!("not let in") };
        assert!(Scope::ALL.iter().all(|scope| caller.has(*scope)));
        assert!(caller.department.is_none());
    }

    #[test]
    fn anything_but_a_token_is_refused_before_anybody_is_asked() {
        for header in [None, Some("Bearer"), Some("Bearer x"), Some("Bearer rk_x"), Some("Basic abc"), Some("")] {
            let Err(problem) = shown(header) else { panic!("let in: {header:?}") };
            assert_eq!(problem.status(), 401, "{header:?}");
        }
        let issued = TokenText::fresh(uuid::Uuid::from_u128(1)).expose();
        assert!(matches!(shown(Some(&format!("Bearer {issued}"))), Ok(Shown::Issued(_))));
    }

    #[test]
    fn a_short_token_is_refused_and_white_space_does_not_count() {
        assert!(Tokens::from_bootstrap("short").is_err());
        assert!(Tokens::from_bootstrap(&format!("{:40}", "short")).is_err());
        assert!(Tokens::from_bootstrap(&format!(" {TOKEN}\n")).unwrap().caller(TOKEN).is_some());
    }

    #[test]
    fn a_missing_scope_is_403_and_a_foreign_department_is_404() {
        let eng: DepartmentName = "eng".parse().unwrap();
        let caller = Caller {
            name: "c".to_owned(),
            scopes: vec![Scope::UsersRead],
            department: Some("hr".parse().unwrap()),
            token_id: None,
            expires_at: None,
        };
        assert_eq!(require(&caller, Scope::UsersWrite, &eng, "user").unwrap_err().status(), 403);
        assert_eq!(require(&caller, Scope::UsersRead, &eng, "user").unwrap_err().status(), 404);
        assert_eq!(limit_to(&caller, Some(eng)).unwrap_err().status(), 404);
        assert_eq!(limit_to(&caller, None).unwrap().unwrap().as_str(), "hr");
    }
}
