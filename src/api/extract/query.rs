//! Query parameters.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::body::clipped;
use crate::api::problem::{Kind, Problem};
use crate::domain::text::Invalid;

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
    if replacements(query) > sent_replacements(query) {
        return Err(Problem::new(Kind::Invalid, "The query is not UTF-8.").code("invalid_query"));
    }
    let mut object = serde_json::Map::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
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
        let name = clipped(text.split('`').nth(1).unwrap_or_default());
        Problem::parameter_invalid(
            &name,
            Invalid::new("unknown_parameter", format!("The query parameter `{name}` is not known here.")),
        )
    })
}

/// Replacement characters after decoding, which puts one for each stretch that is no UTF-8.
fn replacements(query: &str) -> usize {
    let decoded = url::form_urlencoded::parse(query.as_bytes());
    decoded.map(|(name, value)| name.matches('\u{fffd}').count() + value.matches('\u{fffd}').count()).sum()
}

/// Replacement characters that the client itself sent.
fn sent_replacements(query: &str) -> usize {
    query.matches('\u{fffd}').count() + query.to_ascii_uppercase().matches("%EF%BF%BD").count()
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

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
