//! `If-Match` and `If-None-Match`.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};

use crate::api::problem::{FieldProblem, Kind, Problem};

/// The value of `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// `*`: whatever is there.
    Any,
    /// Entity tags: whether weak, and the text between the quotes.
    List(Vec<(bool, String)>),
}

impl Tags {
    /// Strong comparison, as `If-Match` wants it.
    pub fn guards(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|(weak, text)| !weak && text == tag),
        }
    }

    /// Weak comparison, as `If-None-Match` wants it.
    pub fn knows(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|(_, text)| text == tag),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if text.trim() == "*" {
            return Some(Self::Any);
        }
        let mut tags = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |quoted| (true, quoted));
            let (tag, after) = quoted.strip_prefix('"')?.split_once('"')?;
            tags.push((weak, tag.to_owned()));
            let after = after.trim_start();
            rest = match after.strip_prefix(',') {
                Some(next) => next.trim_start(),
                None if after.is_empty() => after,
                None => return None,
            };
        }
        (!tags.is_empty()).then_some(Self::List(tags))
    }

    fn from_headers(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Problem> {
        let mut lines = Vec::new();
        for value in headers.get_all(name) {
            lines.push(value.to_str().map_err(|_| Self::malformed(name))?);
        }
        if lines.is_empty() {
            return Ok(None);
        }
        Self::parse(&lines.join(",")).map(Some).ok_or_else(|| Self::malformed(name))
    }

    fn malformed(name: &HeaderName) -> Problem {
        let detail = format!("{name} is `*` or the ETag as it was sent, in double quotes.");
        Problem::new(Kind::Invalid, detail.clone()).code("invalid_precondition").field(FieldProblem {
            pointer: None,
            parameter: Some(name.to_string()),
            code: "invalid_precondition".to_owned(),
            message: detail,
        })
    }
}

/// `If-Match`, if it was sent.
#[derive(Debug)]
pub struct IfMatch(pub Option<Tags>);

impl IfMatch {
    /// Refuses when the tag is not among those that were sent.
    ///
    /// # Errors
    /// 412.
    pub fn check(&self, tag: &str) -> Result<(), Problem> {
        match &self.0 {
            Some(tags) if !tags.guards(tag) => Err(Problem::stale()),
            _ => Ok(()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Tags::from_headers(&parts.headers, &header::IF_MATCH).map(Self)
    }
}

/// `If-None-Match`, if it was sent.
#[derive(Debug)]
pub struct IfNoneMatch(pub Option<Tags>);

impl IfNoneMatch {
    /// Whether the client has this version already.
    pub fn knows(&self, tag: &str) -> bool {
        self.0.as_ref().is_some_and(|tags| tags.knows(tag))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Tags::from_headers(&parts.headers, &header::IF_NONE_MATCH).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_are_read_as_the_rfc_says() {
        assert_eq!(Tags::parse("*"), Some(Tags::Any));
        let tags = Tags::parse("\"a\", W/\"b\"").unwrap();
        assert!(tags.guards("a") && !tags.guards("b") && tags.knows("b"));
        for malformed in ["", "a", "\"a", "\"a\" \"b\"", "W/a"] {
            assert_eq!(Tags::parse(malformed), None, "{malformed}");
        }
    }
}
