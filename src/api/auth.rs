//! Who calls: Bearer tokens, and what each of them allows.
//!
//! Rule: tokens are kept and compared as hashes, in constant time. A foreign department answers 404, as if it were not.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};

use super::problem::{Kind, Problem};
use crate::app::App;
use crate::domain::ids::DepartmentName;
use crate::domain::text::Invalid;
use crate::domain::token::{Caller, Scope};

/// Shortest bootstrap token, in characters.
pub const TOKEN_CHARS_MIN: usize = 32;

/// The tokens that are accepted, and the key that cursors are signed with.
pub struct Tokens {
    bootstrap: blake3::Hash,
    cursor_key: [u8; 32],
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
        })
    }

    /// The key that cursors are signed with.
    pub(super) fn cursor_key(&self) -> &[u8; 32] {
        &self.cursor_key
    }

    /// Who holds a token.
    pub fn caller(&self, token: &str) -> Option<Caller> {
        // `blake3::Hash` compares in constant time.
        (blake3::hash(token.as_bytes()) == self.bootstrap).then(|| Caller {
            name: "bootstrap".to_owned(),
            scopes: Scope::ALL.to_vec(),
            department: None,
        })
    }

    fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let refused = |detail: &str| {
            Problem::new(Kind::Unauthenticated, detail)
                .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"rollkeeper\""))
        };
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
        self.caller(token).ok_or_else(|| refused("The token is not known."))
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        app.auth.authenticate(&parts.headers)
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
    Err(Problem::new(Kind::Forbidden, format!("The token lacks the scope {}.", scope.name())))
}

/// Refuses a caller that lacks a scope, or may not see the department of `what`.
///
/// # Errors
/// 403 for the scope, 404 for the department.
pub fn require(caller: &Caller, scope: Scope, department: &DepartmentName, what: &str) -> Result<(), Problem> {
    require_scope(caller, scope)?;
    if caller.sees(department) { Ok(()) } else { Err(Problem::not_found(what)) }
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

    fn authenticate(header: Option<&str>) -> Result<Caller, Problem> {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(header::AUTHORIZATION, header.parse().unwrap());
        }
        Tokens::from_bootstrap(TOKEN).unwrap().authenticate(&headers)
    }

    #[test]
    fn the_bootstrap_token_has_every_scope() {
        let caller = authenticate(Some(&format!("Bearer {TOKEN}"))).unwrap();
        assert!(Scope::ALL.iter().all(|scope| caller.has(*scope)));
        assert!(caller.department.is_none());
    }

    #[test]
    fn anything_but_the_token_is_refused() {
        for header in [None, Some("Bearer"), Some("Bearer x"), Some("Basic abc"), Some("")] {
            let problem = authenticate(header).unwrap_err();
            assert_eq!(problem.status(), 401, "{header:?}");
        }
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
        let caller =
            Caller { name: "c".to_owned(), scopes: vec![Scope::UsersRead], department: Some("hr".parse().unwrap()) };
        assert_eq!(require(&caller, Scope::UsersWrite, &eng, "user").unwrap_err().status(), 403);
        assert_eq!(require(&caller, Scope::UsersRead, &eng, "user").unwrap_err().status(), 404);
        assert_eq!(limit_to(&caller, Some(eng)).unwrap_err().status(), 404);
        assert_eq!(limit_to(&caller, None).unwrap().unwrap().as_str(), "hr");
    }
}
