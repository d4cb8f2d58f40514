//! JSON bodies.
//!
//! Rule: a refusal names the place and the rule, never the value, which may be a password.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use http_body_util::BodyExt;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::TooSlow;
use crate::api::problem::{Kind, Problem};
use crate::domain::text::Invalid;

/// Largest body, in bytes.
pub const BODY_MAX: usize = 1 << 20;
/// Longest name of a client's own choice that an answer repeats, in characters.
const SHOWN_MAX: usize = 128;
/// Up to here a float holds every whole number.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

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
    let read: Result<Whole<T>, _> = serde_path_to_error::deserialize(&mut reader);
    read.map(|whole| whole.0).map_err(|error| shape_problem(&error))
}

/// A body that is an object: serde would take the fields of a struct from an array as well.
struct Whole<T>(T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object(deserializer).map(Self)
    }
}

/// A JSON value of the wrong shape, as a field problem.
fn shape_problem(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in error.path() {
        let name = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => escaped(key),
            Segment::Enum { .. } | Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&name);
    }
    let text = error.inner().to_string();
    // The place in the text (` at line 1 column 5`) says less than the pointer.
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let field = text.split('`').nth(1).unwrap_or_default();
    let code = match text.split(" field").next() {
        Some("missing") => "missing_field",
        Some("unknown") => "unknown_field",
        Some("duplicate") => "duplicate_field",
        _ => "wrong_type",
    };
    let last = format!("/{}", escaped(field));
    if code != "wrong_type" && !pointer.ends_with(&last) {
        pointer.push_str(&last);
    }
    Problem::field_invalid(clipped(&pointer), Invalid::new(code, safe_shape(code, text, &clipped(field))))
}

/// A key as it stands in a JSON pointer.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// What a client called something, short enough to be told again.
pub(super) fn clipped(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

/// The rule that was broken, without the value: serde quotes values, and a value may be a password.
fn safe_shape(code: &str, text: &str, field: &str) -> String {
    match code {
        "missing_field" => format!("The field `{field}` is missing."),
        "unknown_field" => format!("The field `{field}` is not known."),
        "duplicate_field" => format!("The field `{field}` is given twice."),
        // The last one: the value itself may hold these words.
        _ => match text.rsplit_once(", expected ") {
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
/// 413 when it is larger; 400 when the client breaks off.
pub async fn read_body(mut body: Body) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(broken)?;
        let Some(chunk) = frame.data_ref() else { continue };
        if bytes.len() + chunk.len() > BODY_MAX {
            let detail = "A body is at most 1 MiB. Use POST /users/import for many users.";
            return Err(Problem::new(Kind::TooLarge, detail));
        }
        bytes.extend_from_slice(chunk);
    }
    Ok(bytes)
}

/// What is to be said of a body that did not come to its end.
fn broken(error: axum::Error) -> Problem {
    if std::iter::successors(error.source(), |&error| error.source()).any(<dyn Error + 'static>::is::<TooSlow>) {
        let detail = "Nothing came of the body for too long. Send the request again.";
        return Problem::new(Kind::TooSlow, detail).code("body_too_slow");
    }
    Problem::new(Kind::Invalid, "The body broke off.").code("broken_body").source(error)
}

/// For fields that may be absent and may not be null: `#[serde(default, deserialize_with = "not_null")]`.
///
/// # Errors
/// When the value is null or of another type.
pub fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// For whole numbers that may be absent: JSON has one kind of number, so `3.0` is 3.
///
/// # Errors
/// When the value is null, no number, no whole one, or out of range.
pub fn whole_not_null<'de, D: Deserializer<'de>, T: TryFrom<i64>>(deserializer: D) -> Result<Option<T>, D::Error> {
    use serde::de::{Error, Unexpected};
    let number = serde_json::Number::deserialize(deserializer)?;
    let whole = number.as_i64().or_else(|| {
        let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= EXACT_MAX)?;
        #[expect(clippy::cast_possible_truncation, reason = "it is whole, and every such number is exact")]
        Some(float as i64)
    });
    whole
        .and_then(|whole| T::try_from(whole).ok())
        .map(Some)
        .ok_or_else(|| D::Error::invalid_value(Unexpected::Other("number"), &"a whole number within the limits"))
}

/// For fields that are objects: an array does not stand for one.
///
/// # Errors
/// When the value is no object, or not the one that is wanted.
pub fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(Object(PhantomData))
}

/// For fields that are objects and may be absent.
///
/// # Errors
/// When the value is null, no object, or not the one that is wanted.
pub fn object_not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    object(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_whole_number_may_be_written_as_a_float() {
        #[derive(Debug, Deserialize)]
        struct Count {
            #[serde(default, deserialize_with = "whole_not_null")]
            keep: Option<u32>,
        }
        let read = |text: &str| parse_json::<Count>(text.as_bytes()).map(|count| count.keep);
        assert_eq!(read("{\"keep\": 3}").unwrap(), Some(3));
        assert_eq!(read("{\"keep\": 3.0}").unwrap(), Some(3));
        assert_eq!(read("{\"keep\": 1e3}").unwrap(), Some(1000));
        assert_eq!(read("{}").unwrap(), None);
        for bad in ["3.5", "-1", "1e300", "4294967296", "\"3\"", "null"] {
            let problem = read(&format!("{{\"keep\": {bad}}}")).unwrap_err();
            assert_eq!(problem.status(), 422, "{bad}");
        }
    }

    #[test]
    fn a_refused_value_is_not_repeated() {
        let problem = parse_json::<Sample>(b"{\"name\": \"a\", \"locked\": \"hunter2\"}").unwrap_err();
        assert!(!format!("{problem:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn a_body_over_one_mebibyte_is_413() {
        assert_eq!(read_body(Body::from(vec![b' '; BODY_MAX])).await.unwrap().len(), BODY_MAX);
        assert_eq!(read_body(Body::from(vec![b' '; BODY_MAX + 1])).await.unwrap_err().status(), 413);
    }
}
