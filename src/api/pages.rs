//! Pages of lists: `limit`, `cursor`, and the link to the next one.

use std::str::FromStr;

use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::auth::Tokens;
use super::cursor;
use super::problem::Problem;
use crate::domain::clock::Timestamp;
use crate::domain::text::Invalid;

/// Items of a page when nothing is asked.
pub const LIMIT_DEFAULT: usize = 100;
/// Most items of a page.
pub const LIMIT_MAX: usize = 1000;

/// The parameters of a list that has no filter.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Items of the page, 1 to 1000. Default 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub limit: Option<String>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// What page was asked for.
#[derive(Debug)]
pub struct PageRequest<K> {
    /// Items of the page.
    pub limit: usize,
    /// Key of the last item of the page before.
    pub after: Option<K>,
    filter: String,
    uri: Uri,
}

impl<K: Serialize + DeserializeOwned> PageRequest<K> {
    /// Reads `limit` and `cursor`. `filter` is the fingerprint of the list and its filter.
    ///
    /// # Errors
    /// 422 for a limit outside 1 to 1000, 400 for a cursor that does not fit.
    pub fn read(
        tokens: &Tokens,
        uri: Uri,
        limit: Option<&str>,
        cursor: Option<&str>,
        filter: String,
    ) -> Result<Self, Problem> {
        let limit = match limit {
            None => LIMIT_DEFAULT,
            Some(text) => text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit)).ok_or_else(|| {
                Problem::parameter_invalid(
                    "limit",
                    Invalid::new("invalid_limit", format!("limit is a number from 1 to {LIMIT_MAX}.")),
                )
            })?,
        };
        let after = cursor.map(|text| cursor::decode(tokens, &filter, text)).transpose()?;
        Ok(Self { limit, after, filter, uri })
    }

    /// How many items to read: one more tells whether there is a next page.
    pub const fn read_limit(&self) -> usize {
        self.limit + 1
    }

    /// Cuts what was read to the page, and makes the next cursor where there is more.
    pub fn cut<T>(&self, tokens: &Tokens, items: &mut Vec<T>, key: impl Fn(&T) -> K) -> Option<String> {
        let more = items.len() > self.limit;
        items.truncate(self.limit);
        let last = items.last().filter(|_| more)?;
        Some(self.cursor(tokens, &key(last)))
    }

    /// The cursor that goes on after a key.
    pub fn cursor(&self, tokens: &Tokens, key: &K) -> String {
        cursor::encode(tokens, &self.filter, key)
    }

    /// The response of a page, with `Link` where there is a next one.
    pub fn respond(&self, page: &impl Serialize, next: Option<&str>) -> Response {
        let mut response = axum::Json(page).into_response();
        if let Some(value) = next.and_then(|next| HeaderValue::from_str(&self.link(next)).ok()) {
            response.headers_mut().insert(header::LINK, value);
        }
        response
    }

    fn link(&self, next: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let pairs = url::form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes());
        query.extend_pairs(pairs.filter(|(name, _)| name != "cursor")).append_pair("cursor", next);
        format!("<{}?{}>; rel=\"next\"", self.uri.path(), query.finish())
    }
}

/// Lists that are ordered by a moment, newest first, and by the id among equal ones.
impl PageRequest<(i64, String)> {
    /// The moment and the id that the page comes after.
    ///
    /// # Errors
    /// 422 when the cursor has no id of that kind.
    pub fn before<I: FromStr<Err = Invalid>>(&self) -> Result<Option<(Timestamp, I)>, Problem> {
        let Some((millis, id)) = &self.after else { return Ok(None) };
        let id = id.parse().map_err(|invalid| Problem::parameter_invalid("cursor", invalid))?;
        Ok(Some((Timestamp::from_millis(*millis), id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str, limit: Option<&str>) -> Result<PageRequest<i64>, Problem> {
        let uri = format!("/users?{query}").parse().unwrap();
        PageRequest::read(&tokens(), uri, limit, None, "f".to_owned())
    }

    fn tokens() -> Tokens {
        Tokens::from_bootstrap(&"t".repeat(32)).unwrap()
    }

    #[test]
    fn a_limit_outside_its_range_is_refused_and_never_clamped() {
        for limit in ["0", "1001", "-1", "x", ""] {
            assert_eq!(page("", Some(limit)).unwrap_err().status(), 422, "{limit}");
        }
        assert_eq!(page("", None).unwrap().limit, LIMIT_DEFAULT);
    }

    #[test]
    fn the_last_page_has_no_cursor_and_the_one_before_goes_on_after_its_last_item() {
        let page = page("", Some("2")).unwrap();
        assert_eq!(page.cut(&tokens(), &mut vec![1, 2], |item| *item), None);
        let mut items = vec![1, 2, 3];
        let next = page.cut(&tokens(), &mut items, |item| *item).unwrap();
        assert_eq!(items, [1, 2]);
        assert_eq!(cursor::decode::<i64>(&tokens(), "f", &next).unwrap(), 2);
    }

    #[test]
    fn the_link_keeps_the_filter_and_replaces_the_cursor() {
        let link = page("locked=true&cursor=old", None).unwrap().link("new");
        assert_eq!(link, "</users?locked=true&cursor=new>; rel=\"next\"");
    }
}
