//! How requests are read: bodies, queries, paths, preconditions.
//!
//! Rule: 400 for what cannot be parsed, 422 for what parsed and is not valid, with the place of the fault in both cases
//! where there is one. axum's own `Json`, `Query` and `Path` are not used: they answer in plain text.

use std::str::FromStr;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

use super::problem::{FieldProblem, Kind, Problem};
use crate::domain::text::Invalid;

/// Largest body, in bytes.
pub const BODY_MAX: usize = 1 << 20;
/// How much of a body that is too large is read, so that the client reads the answer instead of a reset.
pub const DRAIN_MAX: usize = 8 << 20;

/// A JSON body.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        check_media_type(request.method(), request.headers())?;
        let bytes = read_body(request.into_body()).await?;
        parse_json(&bytes).map(Self)
    }
}

/// Reads JSON: first whether it parses at all, then whether it is what was asked for.
///
/// # Errors
/// 400 for the first, 422 with a pointer for the second.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // `Value` refuses nesting past 128 levels and bad UTF-8, which skipping over unknown content would not.
    serde_json::from_slice::<serde_json::Value>(bytes)
        .map_err(|error| Problem::new(Kind::Invalid, format!("The body is not JSON: {error}.")).code("invalid_json"))?;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| shape_problem(&error))
}

/// A JSON value of the wrong shape, as a field problem.
fn shape_problem(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in error.path() {
        let name = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Enum { .. } | Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&name);
    }
    let text = error.inner().to_string();
    // The place in the text (` at line 1 column 5`) says less than the pointer.
    let text = text.split(" at line ").next().unwrap_or_default();
    let quoted = text.split('`').nth(1).unwrap_or_default();
    let code = if text.starts_with("missing field") {
        pointer.push('/');
        pointer.push_str(quoted);
        "missing_field"
    } else if text.starts_with("unknown field") {
        if !pointer.ends_with(&format!("/{quoted}")) {
            pointer.push('/');
            pointer.push_str(quoted);
        }
        "unknown_field"
    } else {
        "wrong_type"
    };
    Problem::field_invalid(pointer, Invalid::new(code, safe_shape(code, text, quoted)))
}

/// The rule that was broken, without the value: serde quotes values, and a value may be a password.
fn safe_shape(code: &str, text: &str, quoted: &str) -> String {
    match code {
        "missing_field" => format!("The field `{quoted}` is missing."),
        "unknown_field" => format!("The field `{quoted}` is not known."),
        _ => match text.split_once(", expected ") {
            Some((_, expected)) => format!("This has to be {expected}."),
            None => "This is not what the field takes.".to_owned(),
        },
    }
}

fn check_media_type(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let patch = method == Method::PATCH;
    if essence == "application/json" || (patch && essence == "application/merge-patch+json") {
        return Ok(());
    }
    let mut problem = Problem::new(Kind::UnsupportedMediaType, "Send the body with `Content-Type: application/json`.");
    if patch {
        let accepted = HeaderValue::from_static("application/merge-patch+json, application/json");
        problem = problem.header(HeaderName::from_static("accept-patch"), accepted);
    }
    Err(problem)
}

/// Reads a whole body of at most 1 MiB.
///
/// # Errors
/// 413 when it is larger, after reading on to 8 MiB; 400 when the client breaks off.
pub async fn read_body(mut body: Body) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| Problem::new(Kind::Invalid, "The body broke off.").code("broken_body").source(error))?;
        let Some(chunk) = frame.data_ref() else { continue };
        seen += chunk.len();
        if seen <= BODY_MAX {
            bytes.extend_from_slice(chunk);
        } else {
            bytes.clear();
        }
        if seen > DRAIN_MAX {
            break;
        }
    }
    if seen > BODY_MAX {
        return Err(Problem::new(Kind::TooLarge, "A body is at most 1 MiB. Use POST /users/import for many users."));
    }
    Ok(bytes)
}

/// The query. Every field of `T` is an `Option<String>`; a repeated key is joined with commas.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parse_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let mut object = serde_json::Map::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let replaced = value.contains('\u{fffd}') || name.contains('\u{fffd}');
        if replaced && !query.to_ascii_uppercase().contains("%EF%BF%BD") {
            return Err(Problem::new(Kind::Invalid, "The query is not UTF-8.").code("invalid_query"));
        }
        match object.get_mut(name.as_ref()) {
            Some(serde_json::Value::String(list)) => {
                list.push(',');
                list.push_str(&value);
            }
            _ => {
                object.insert(name.into_owned(), serde_json::Value::String(value.into_owned()));
            }
        }
    }
    serde_json::from_value(serde_json::Value::Object(object)).map_err(|error| {
        let text = error.to_string();
        let name = text.split('`').nth(1).unwrap_or_default().to_owned();
        Problem::parameter_invalid(
            &name,
            Invalid::new("unknown_parameter", format!("The query parameter `{name}` is not known here.")),
        )
    })
}

/// Parses an optional query parameter.
///
/// # Errors
/// 422 that names the parameter.
pub fn parameter<T: FromStr<Err = Invalid>>(name: &str, value: Option<&str>) -> Result<Option<T>, Problem> {
    value.map(str::parse).transpose().map_err(|invalid| Problem::parameter_invalid(name, invalid))
}

/// A query parameter that is `true` or `false`.
///
/// # Errors
/// 422 that names the parameter.
pub fn flag(name: &str, value: Option<&str>) -> Result<Option<bool>, Problem> {
    match value {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => {
            let invalid = Invalid::new("invalid_flag", format!("{name} is true or false."));
            Err(Problem::parameter_invalid(name, invalid))
        }
    }
}

/// The one variable part of a path, as text.
#[derive(Debug)]
pub struct PathText(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0))
            .map_err(|_| Problem::new(Kind::Invalid, "The path is not UTF-8.").code("invalid_path"))
    }
}

/// The one variable part of a path. A text that cannot name anything names nothing: 404.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: FromStr<Err = Invalid>> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let PathText(text) = PathText::from_request_parts(parts, state).await?;
        text.parse().map(Self).map_err(|invalid: Invalid| {
            Problem::new(Kind::NotFound, format!("Nothing can have this name. {}", invalid.message))
        })
    }
}

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

/// For fields that may be absent and may not be null: `#[serde(default, deserialize_with = "not_null")]`.
///
/// # Errors
/// When the value is null or of another type.
pub fn not_null<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Sample {
        name: String,
        #[serde(default, deserialize_with = "not_null")]
        locked: Option<bool>,
    }

    fn check(body: &[u8], status: u16, pointer: Option<&str>) {
        let problem = parse_json::<Sample>(body).unwrap_err();
        assert_eq!(problem.status(), status, "{problem:?}");
        let text = format!("{problem:?}");
        if let Some(pointer) = pointer {
            assert!(text.contains(&format!("pointer: Some(\"{pointer}\")")), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_parsed_is_400() {
        check(b"", 400, None);
        check(b"{", 400, None);
        check(b"{\"name\": \"a\"} x", 400, None);
        check(b"{\"name\": \"\xff\"}", 400, None);
        check(format!("{}{}", "[".repeat(200), "]".repeat(200)).as_bytes(), 400, None);
    }

    #[test]
    fn what_parses_and_is_not_valid_is_422_with_the_place() {
        check(b"{\"name\": 1}", 422, Some("/name"));
        check(b"{}", 422, Some("/name"));
        check(b"{\"name\": \"a\", \"x\": 1}", 422, Some("/x"));
        check(b"{\"name\": \"a\", \"locked\": null}", 422, Some("/locked"));
        check(b"[]", 422, None);
    }

    #[test]
    fn a_refused_value_is_not_repeated() {
        let problem = parse_json::<Sample>(b"{\"name\": \"a\", \"locked\": \"hunter2\"}").unwrap_err();
        assert!(!format!("{problem:?}").contains("hunter2"));
    }

    #[test]
    fn entity_tags_are_read_as_the_rfc_says() {
        assert_eq!(Tags::parse("*"), Some(Tags::Any));
        let tags = Tags::parse("\"a\", W/\"b\"").unwrap();
        assert!(tags.guards("a") && !tags.guards("b") && tags.knows("b"));
        for malformed in ["", "a", "\"a", "\"a\" \"b\"", "W/a"] {
            assert_eq!(Tags::parse(malformed), None, "{malformed}");
        }
    }

    #[tokio::test]
    async fn a_body_over_one_mebibyte_is_413() {
        assert_eq!(read_body(Body::from(vec![b' '; BODY_MAX])).await.unwrap().len(), BODY_MAX);
        assert_eq!(read_body(Body::from(vec![b' '; BODY_MAX + 1])).await.unwrap_err().status(), 413);
    }

    #[test]
    fn a_repeated_parameter_is_a_list_and_an_unknown_one_is_422() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct States {
            state: Option<String>,
        }
        assert_eq!(parse_query::<States>("state=a&state=b,c").unwrap().state.as_deref(), Some("a,b,c"));
        assert_eq!(parse_query::<States>("stat=a").unwrap_err().status(), 422);
        assert_eq!(parse_query::<States>("state=%ff").unwrap_err().status(), 400);
    }
}
