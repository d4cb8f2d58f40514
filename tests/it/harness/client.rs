//! A typed client of one replica.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::Value;

/// Talks to one replica with one token.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body as text.
    pub(crate) text: String,
    /// Its body as JSON; null when it is something else.
    pub(crate) json: Value,
}

impl Client {
    /// A client of the replica at `base`.
    pub(crate) fn new(base: &str, token: &str) -> Self {
        let http =
            reqwest::Client::builder().timeout(Duration::from_mins(1)).no_proxy().build().expect("build the client");
        Self { http, base: base.to_owned(), token: Some(token.to_owned()) }
    }

    /// A client of the replica at `base`, with the token of this one.
    pub(crate) fn of(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// The same client with another token, or none.
    pub(crate) fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(ToOwned::to_owned), ..self.clone() }
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }

    /// POST of JSON.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, &[("content-type", "application/json")], Some(body.to_string())).await
    }

    /// PUT of JSON.
    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, &[("content-type", "application/json")], Some(body.to_string())).await
    }

    /// PATCH of a JSON merge patch.
    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, &[("content-type", "application/merge-patch+json")], Some(body.to_string()))
            .await
    }

    /// DELETE.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], None).await
    }

    /// Any request.
    ///
    /// # Panics
    /// When nobody answers.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Answer {
        let what = format!("{method} {}{path}", self.base);
        self.try_send(method, path, headers, body).await.unwrap_or_else(|error| panic!("{what}: {error:?}"))
    }

    /// Any request with a body that need not be text.
    pub(crate) async fn send_bytes(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let what = format!("{method} {}{path}", self.base);
        let request = self.request(method, path, headers).body(body);
        Self::read(request).await.unwrap_or_else(|error| panic!("{what}: {error:?}"))
    }

    /// Any request, of a replica that may be gone.
    pub(crate) async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Result<Answer, reqwest::Error> {
        let request = self.request(method, path, headers);
        Self::read(if let Some(body) = body { request.body(body) } else { request }).await
    }

    fn request(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
    }

    /// GET, without reading the body.
    pub(crate) async fn open(&self, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        self.request(Method::GET, path, headers).send().await.expect("answer")
    }

    async fn read(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        let answer = request.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        // A stream of events has no end; `open` reads one.
        let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let text = if kind.starts_with("text/event-stream") { String::new() } else { answer.text().await? };
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, headers, text, json })
    }
}

impl Answer {
    /// Insists on the status, and goes on.
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    /// A header; empty when it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Insists that this is a problem with the status and the code.
    pub(crate) fn expect_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert!(self.header("content-type").starts_with("application/problem+json"), "{:?}", self.headers);
        assert_eq!(self.json["code"], code, "{}", self.text);
        assert_eq!(self.json["status"], status, "{}", self.text);
        assert_eq!(self.json["request_id"], self.header("x-request-id"), "{}", self.text);
        assert!(!self.header("x-served-by").is_empty(), "{:?}", self.headers);
        for field in ["type", "title", "detail", "instance"] {
            assert!(self.json[field].as_str().is_some_and(|text| !text.is_empty()), "no {field}: {}", self.text);
        }
    }

    /// Insists that this is a problem of one field of the body, at a JSON pointer and with a code of its own.
    pub(crate) fn expect_field(&self, pointer: &str, code: &str) {
        self.expect_problem(422, "invalid");
        let errors = self.json["errors"].as_array().cloned().unwrap_or_default();
        let found = errors.iter().any(|error| error["pointer"] == pointer && error["code"] == code);
        assert!(found, "no {code} at {pointer}: {}", self.text);
    }

    /// Insists that this is a problem of one query parameter.
    pub(crate) fn expect_parameter(&self, name: &str, code: &str) {
        self.expect_problem(422, "invalid");
        let errors = self.json["errors"].as_array().cloned().unwrap_or_default();
        let found = errors.iter().any(|error| error["parameter"] == name && error["code"] == code);
        assert!(found, "no {code} for {name}: {}", self.text);
    }
}
