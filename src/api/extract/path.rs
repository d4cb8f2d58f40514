//! The variable part of a path.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::api::problem::{Kind, Problem};
use crate::domain::text::Invalid;

/// The one variable part of a path, as text.
#[derive(Debug)]
pub struct PathText(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0)).map_err(|_| not_utf8())
    }
}

/// The one variable part of a path. A text that cannot name anything names nothing: 404.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: FromStr<Err = Invalid>> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let PathText(text) = PathText::from_request_parts(parts, state).await?;
        text.parse().map(Self).map_err(|invalid| nameless(&invalid))
    }
}

/// The two variable parts of a path.
#[derive(Debug)]
pub struct Path2<A, B>(pub A, pub B);

impl<S: Send + Sync, A: FromStr<Err = Invalid>, B: FromStr<Err = Invalid>> FromRequestParts<S> for Path2<A, B> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<(String, String)>::from_request_parts(parts, state).await;
        let axum::extract::Path((a, b)) = path.map_err(|_| not_utf8())?;
        Ok(Self(a.parse().map_err(|invalid| nameless(&invalid))?, b.parse().map_err(|invalid| nameless(&invalid))?))
    }
}

fn not_utf8() -> Problem {
    Problem::new(Kind::Invalid, "The path is not UTF-8.").code("invalid_path")
}

fn nameless(invalid: &Invalid) -> Problem {
    Problem::new(Kind::NotFound, format!("Nothing can have this name. {}", invalid.message))
}
