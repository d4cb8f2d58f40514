//! A running service: requests that are tried again where that is safe, lists, streams.
//!
//! Rule: a request is sent again only where the second one changes nothing more: one that reads, or a POST under an
//! `Idempotency-Key` of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, Response, header};
use secrecy::ExposeSecret;
use serde_json::Value;

use super::trouble::{NOT_OURS, Trouble, refused};
use super::{Failure, Patience, RemoteArgs};
use crate::cli::output;
use crate::config::remote::Remote;

/// Longest wait for an answer, longer than the service itself takes.
const ANSWER_WITHIN: Duration = Duration::from_secs(45);
/// Longest wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Longest silence in the middle of a stream. The service may have to hash some hundred passwords.
pub(in crate::cli) const SILENT_MAX: Duration = Duration::from_mins(3);
/// Most items of one page.
const PAGE_MAX: usize = 1000;

/// A running service.
pub(in crate::cli) struct Service {
    http: reqwest::Client,
    remote: Remote,
    pub(in crate::cli) retry_for: Duration,
    /// Whether something was sent that arrived, or may have. Before that, an address where nobody listens is a wrong one.
    reached: AtomicBool,
}

/// What a request brings.
#[derive(Debug, Clone)]
enum Payload {
    Nothing,
    Json(Value),
    Lines(Bytes),
}

/// A request.
#[derive(Debug)]
pub(in crate::cli) struct Ask<'a> {
    method: Method,
    path: &'a str,
    payload: Payload,
    headers: Vec<(&'static str, String)>,
    again: bool,
}

impl<'a> Ask<'a> {
    fn new(method: Method, path: &'a str, payload: Payload, again: bool) -> Self {
        Self { method, path, payload, headers: Vec::new(), again }
    }

    /// Reads.
    pub(in crate::cli) fn get(path: &'a str) -> Self {
        Self::new(Method::GET, path, Payload::Nothing, true)
    }

    /// Changes something, under a key of its own: sent again, it is done once.
    pub(in crate::cli) fn post(path: &'a str, body: Option<Value>) -> Self {
        let key = format!("\"{:032x}\"", rand::random::<u128>());
        Self::new(Method::POST, path, body.map_or(Payload::Nothing, Payload::Json), true).with("idempotency-key", key)
    }

    /// Changes something that the service would do again, so it is sent once.
    pub(in crate::cli) fn once(method: Method, path: &'a str, body: Option<Value>) -> Self {
        Self::new(method, path, body.map_or(Payload::Nothing, Payload::Json), false)
    }

    /// Sends lines of NDJSON.
    pub(in crate::cli) fn lines(path: &'a str, lines: Vec<u8>) -> Self {
        Self::new(Method::POST, path, Payload::Lines(lines.into()), false)
    }

    /// The same with a header.
    pub(in crate::cli) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Service {
    pub(super) fn open(args: &RemoteArgs) -> Result<Self, Failure> {
        let usage = |error: &dyn std::fmt::Display| Failure::usage(error.to_string());
        let remote = Remote::load(args.url.as_deref(), args.token_file.as_deref()).map_err(|error| usage(&error))?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("rollkeeper/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_WITHIN)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(file) = &args.ca_file {
            let pem = std::fs::read(file)
                .map_err(|error| Failure::usage(format!("--ca-file: {} cannot be read ({error})", file.display())))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|_| Failure::usage(format!("--ca-file: {} is not PEM", file.display())))?;
            for certificate in certificates {
                http = http.add_root_certificate(certificate);
            }
        }
        let http = http.build().map_err(|error| usage(&error))?;
        Ok(Self { http, remote, retry_for: args.retry_for, reached: AtomicBool::new(false) })
    }

    /// Asks, again where that is safe; the body of the answer, null where it has none.
    pub(in crate::cli) async fn send(&self, ask: &Ask<'_>) -> Result<Value, Failure> {
        self.patiently(ask, async || {
            let answer = self.answer(ask).await?;
            let text = tokio::time::timeout(ANSWER_WITHIN, answer.text()).await;
            let text = text.map_err(|_| self.too_late())?.map_err(|error| self.silent(&error))?;
            if text.is_empty() {
                return Ok(Value::Null);
            }
            serde_json::from_str(&text).map_err(|_| Trouble::last(Failure::failed(NOT_OURS)))
        })
        .await
    }

    /// Asks for a stream, again where that is safe; what is read of it is the caller's.
    pub(in crate::cli) async fn stream(&self, ask: &Ask<'_>) -> Result<Response, Failure> {
        self.patiently(ask, async || self.answer(ask).await).await
    }

    async fn patiently<T>(
        &self,
        ask: &Ask<'_>,
        mut attempt: impl AsyncFnMut() -> Result<T, Trouble>,
    ) -> Result<T, Failure> {
        let (mut patience, mut told) = (Patience::new(self.retry_for), false);
        loop {
            let trouble = match attempt().await {
                Ok(value) => return Ok(value),
                Err(trouble) if ask.again && trouble.passes => trouble,
                Err(trouble) => return Err(trouble.failure),
            };
            if trouble.at_work {
                patience.renew();
            } else if !told {
                told = true;
                output::progress(&format!("{}; trying again", trouble.failure.text));
            }
            if !patience.pause(trouble.pause).await {
                return Err(trouble.failure.and(&patience.told()));
            }
        }
    }

    /// One attempt: an answer that says that it is done, or the trouble.
    pub(in crate::cli) async fn answer(&self, ask: &Ask<'_>) -> Result<Response, Trouble> {
        let usage = |error: &dyn std::fmt::Display| Trouble::last(Failure::usage(format!("{}: {error}", ask.path)));
        let url = self.remote.url.join(ask.path).map_err(|error| usage(&error))?;
        let mut request = self.http.request(ask.method.clone(), url).bearer_auth(self.remote.token.expose_secret());
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        request = match &ask.payload {
            Payload::Nothing => request,
            Payload::Json(body) => request.json(body),
            Payload::Lines(lines) => {
                request.header(header::CONTENT_TYPE, "application/x-ndjson").body(reqwest::Body::from(lines.clone()))
            }
        };
        let sent = tokio::time::timeout(ANSWER_WITHIN, request.send()).await.map_err(|_| self.too_late())?;
        let answer = sent.map_err(|error| self.silent(&error))?;
        self.reached.store(true, Ordering::Relaxed);
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let seconds = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let text = tokio::time::timeout(ANSWER_WITHIN, answer.text()).await.map_err(|_| self.too_late())?;
        let problem: Value = text.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null);
        Err(refused(status, &problem, seconds.map(Duration::from_secs)))
    }

    /// The trouble of a request or a stream that broke.
    pub(in crate::cli) fn silent(&self, error: &reqwest::Error) -> Trouble {
        let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
        let failure = Failure::missing(format!("the service at {} does not answer{source}", self.remote.url));
        let connected = !error.is_connect();
        let passes = self.reached.fetch_or(connected, Ordering::Relaxed) || connected;
        Trouble { passes, ..Trouble::last(failure) }
    }

    /// The trouble of an answer that was not waited for.
    pub(in crate::cli) fn too_late(&self) -> Trouble {
        self.reached.store(true, Ordering::Relaxed);
        Trouble::passing(Failure::missing(format!("the service at {} does not answer in time", self.remote.url)))
    }

    /// Items of a list, a page at a time, `most` at most (0: all); whether there are more.
    pub(in crate::cli) async fn pages(
        &self,
        path: &str,
        query: &[(&str, &str)],
        most: usize,
        mut take: impl FnMut(&Value) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        let (mut left, mut cursor) = (if most == 0 { usize::MAX } else { most }, None::<String>);
        loop {
            let mut pairs = url::form_urlencoded::Serializer::new(String::new());
            pairs.extend_pairs(query).append_pair("limit", &left.min(PAGE_MAX).to_string());
            if let Some(cursor) = &cursor {
                pairs.append_pair("cursor", cursor);
            }
            let page = self.send(&Ask::get(&format!("{path}?{}", pairs.finish()))).await?;
            take(&page)?;
            left -= page["items"].as_array().map_or(0, Vec::len).min(left);
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() || left == 0 {
                return Ok(cursor.is_some());
            }
        }
    }

    /// Items of a list, `most` at most (0: all); whether there are more.
    pub(in crate::cli) async fn list(
        &self,
        path: &str,
        query: &[(&str, &str)],
        most: usize,
    ) -> Result<(Vec<Value>, bool), Failure> {
        let mut items = Vec::new();
        let more = self
            .pages(path, query, most, |page| {
                items.extend(page["items"].as_array().into_iter().flatten().cloned());
                Ok(())
            })
            .await?;
        Ok((items, more))
    }
}
