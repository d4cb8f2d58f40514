//! The header `Idempotency-Key`, and what it names.
//!
//! Rule: neither the key nor the body is stored, only keyed hashes of them: a body may hold a password, and one that could be
//! tried out by hashing fast would be one that lies there in the open.

use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderName, header};

use crate::api::problem::{FieldProblem, Kind, Problem};
use crate::domain::idempotency::KeyedRequest;

/// The header.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Longest key, in characters.
const KEY_MAX: usize = 255;
/// What `read` takes, for the document.
pub(super) const PATTERN: &str = r#"^("([ !#-\[\]-~]|\\["\\]){1,255}"|[!#-~]{1,255})$"#;

/// The key of a request, if it has one: a string in double quotes, as the draft of the IETF has it, or bare.
pub(super) fn read(request: &Request) -> Result<Option<String>, Problem> {
    let mut values = request.headers().get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| values.next().is_none()).map(str::trim);
    let key = text.and_then(|text| match text.strip_prefix('"') {
        Some(quoted) => unquoted(quoted),
        None => Some(text.to_owned()).filter(|key| key.bytes().all(|b| b.is_ascii_graphic() && b != b'"')),
    });
    key.filter(|key| (1..=KEY_MAX).contains(&key.len())).map(Some).ok_or_else(malformed)
}

/// The string after its first quote.
fn unquoted(quoted: &str) -> Option<String> {
    let mut key = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(key),
            '\\' => key.push(chars.next().filter(|char| matches!(char, '"' | '\\'))?),
            char if char.is_ascii_graphic() || char == ' ' => key.push(char),
            _ => return None,
        }
    }
}

fn malformed() -> Problem {
    let message =
        "Idempotency-Key is sent once, with 1 to 255 printable ASCII characters, best a fresh UUID in double quotes.";
    Problem::new(Kind::Invalid, message).code("invalid_idempotency_key").field(FieldProblem {
        pointer: None,
        parameter: Some(IDEMPOTENCY_KEY.to_string()),
        code: "invalid_idempotency_key".to_owned(),
        message: message.to_owned(),
    })
}

/// What a key of a caller names, and what it was sent with.
pub(super) fn request(secret: &[u8; 32], key: &str, parts: &Parts, body: &[u8]) -> KeyedRequest {
    let secret = blake3::derive_key("rollkeeper 2026-11 idempotency keys", secret);
    // The token stands for the caller: whoever has another one has other keys.
    let caller = parts.headers.get(header::AUTHORIZATION).map(axum::http::HeaderValue::as_bytes).unwrap_or_default();
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    KeyedRequest {
        name: hashed(&secret, &[caller, key.as_bytes()]),
        fingerprint: hashed(&secret, &[parts.method.as_str().as_bytes(), path.as_bytes(), body]),
    }
}

fn hashed(secret: &[u8; 32], parts: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn sent(values: &[&str]) -> Request {
        let mut request = Request::new(Body::empty());
        for value in values {
            request.headers_mut().append(IDEMPOTENCY_KEY, value.parse().unwrap());
        }
        request
    }

    #[test]
    fn a_key_is_a_quoted_string_or_bare() {
        for (value, key) in
            [("\"a b\"", "a b"), ("\"a\\\"b\\\\\"", "a\"b\\"), ("8e03978e-40d5", "8e03978e-40d5"), (" x ", "x")]
        {
            assert_eq!(read(&sent(&[value])).unwrap().as_deref(), Some(key));
        }
        assert_eq!(read(&sent(&[])).unwrap(), None);
        let long = "x".repeat(256);
        for bad in ["", "\"\"", "\"open", "a b", "a\"b", "\"a\"b", "\"\\x\"", &long] {
            assert_eq!(read(&sent(&[bad])).unwrap_err().status(), 400, "{bad}");
        }
        assert!(read(&sent(&["a", "a"])).is_err());
    }

    #[test]
    fn a_key_names_other_requests_for_other_callers_and_never_shows_itself() {
        let of = |token: &'static str, path: &str, body: &[u8]| {
            let request = Request::post(path).header(header::AUTHORIZATION, token).body(Body::empty()).unwrap();
            super::request(&[7; 32], "key", &request.into_parts().0, body)
        };
        let first = of("Bearer a", "/users", b"{}");
        assert_eq!(first, of("Bearer a", "/users", b"{}"));
        assert_ne!(first.name, of("Bearer b", "/users", b"{}").name);
        for other in
            [of("Bearer a", "/backups", b"{}"), of("Bearer a", "/users", b"{ }"), of("Bearer a", "/users?", b"{}")]
        {
            assert_eq!(first.name, other.name);
            assert_ne!(first.fingerprint, other.fingerprint);
        }
    }
}
