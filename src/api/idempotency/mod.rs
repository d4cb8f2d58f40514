//! `Idempotency-Key`: a POST that is sent again under the same key has its effect once, and the same answer.
//!
//! Rules: the record of a key is in MongoDB before the request has any effect. What the request makes has ids that are in
//! the record (`Effect`), so that whoever carries it out after a crash finds what was made and does not make it again. An
//! answer is kept when it is final; one that says "try again" is not.

mod effect;
mod key;

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::extract::read_body;
use super::import;
use super::jobs::fresh_uuid;
use super::problem::{Kind, Problem};
use crate::app::App;
use crate::domain::idempotency::{Answer, Found, Hold, LEASE, Seed};
use crate::domain::token::Caller;
use crate::domain::user::Rev;
use crate::store::Store;
pub(super) use effect::Effect;

/// Marks an answer that was given before.
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// How often whoever carries a request out says so.
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// Longest answer to a POST.
const ANSWER_MAX: usize = 8 << 20;
/// These have no effect that could be had twice, and their answer is about now: they are carried out each time.
const READING: [&str; 2] = ["/users/{user_id}/verify-password", "/backups/{backup_id}/verify"];
/// Its answer has a secret, so it lies nowhere: the request is carried out each time, and finds the token that it made.
const TOKENS: &str = "/tokens";

/// Carries a POST with a key out once.
pub(super) async fn keep(State(app): State<App>, request: Request, next: Next) -> Response {
    keyed(&app, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn keyed(app: &App, request: Request, next: Next) -> Result<Response, Problem> {
    let Some(key) = key::read(&request)? else { return Ok(next.run(request).await) };
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    if request.method() != Method::POST || path.as_deref().is_none_or(|path| READING.contains(&path)) {
        return Ok(next.run(request).await);
    }
    let (mut parts, body) = request.into_parts();
    // The handler tells those who may not.
    if Caller::from_request_parts(&mut parts, app).await.is_err() {
        return Ok(next.run(Request::from_parts(parts, body)).await);
    }
    if path.as_deref() == Some(import::PATH) {
        let detail = "Idempotency-Key is not taken here. Send an import again as it was: lines whose record is there with the same \
                      content are `unchanged`.";
        return Err(Problem::new(Kind::Unprocessable, detail).code("idempotency_key_unsupported"));
    }
    let bytes = Bytes::from(read_body(body).await?);
    let asked = key::request(app.auth.cursor_key(), &key, &parts, &bytes);
    let seed = Seed { id: fresh_uuid(&app.clock), rev: Rev::random() };
    let holder = format!("{:032x}", rand::random::<u128>());
    match app.store.idempotency.take(&asked, &holder, &seed).await? {
        Found::Free(hold) => {
            parts.extensions.insert(Effect::of(&hold));
            let kept = path.as_deref() != Some(TOKENS);
            Ok(carry_out(app, hold, kept, Request::from_parts(parts, Body::from(bytes)), next).await)
        }
        Found::Running => {
            let detail = "A request with this key is being carried out. Send it again to have its answer.";
            Err(Problem::new(Kind::Conflict, detail).code("idempotency_key_in_use").retry_after(RENEW_EVERY))
        }
        Found::Another => {
            let detail =
                "The key was sent with another request. A key belongs to one method, path and body for 24 hours.";
            Err(Problem::new(Kind::Unprocessable, detail).code("idempotency_key_reused"))
        }
        Found::Done(answer) => Ok(again(answer)),
    }
}

/// Runs the handler, holds the request meanwhile, and keeps a final answer; one that must not be kept is given back with it.
async fn carry_out(app: &App, hold: Hold, kept: bool, request: Request, next: Next) -> Response {
    let unanswered = Held { app: app.clone(), hold: Some(hold.clone()) };
    let mut response = tokio::select! {
        response = next.run(request) => response,
        never = renewed(app, &hold) => match never {},
    };
    if !is_final(response.status()) {
        return response;
    }
    if !kept {
        if hold.repeated {
            response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        }
        unanswered.give_back().await;
        return response;
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = axum::body::to_bytes(body, ANSWER_MAX).await else {
        return Problem::new(Kind::Internal, "The answer is longer than any.").into_response();
    };
    let text = |(name, value): (&HeaderName, &HeaderValue)| Some((name.to_string(), value.to_str().ok()?.to_owned()));
    let headers = parts.headers.iter().filter(|(name, _)| *name != header::CONTENT_LENGTH).filter_map(text).collect();
    let answer = Answer { status: parts.status.as_u16(), headers, body: body.to_vec() };
    match app.store.idempotency.finish(&hold, &answer).await {
        Ok(()) => unanswered.done(),
        // The effect is there all the same, and who repeats the request finds it.
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "an answer was not kept for its key"),
    }
    Response::from_parts(parts, Body::from(body))
}

/// Says again and again that the request is being carried out.
async fn renewed(app: &App, hold: &Hold) -> std::convert::Infallible {
    debug_assert!(RENEW_EVERY < LEASE);
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        match app.store.idempotency.renew(hold).await {
            Ok(true) => {}
            // Both find what the other makes, and one of them keeps its answer.
            Ok(false) => tracing::debug!("another execution holds the request now"),
            Err(error) => tracing::debug!(%error, "the hold on a request was not renewed this time"),
        }
    }
}

/// Whether repeating the request could not end in another way. Who was told to come again is let in again.
fn is_final(status: StatusCode) -> bool {
    let come_again = [StatusCode::UNAUTHORIZED, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    !status.is_server_error() && !come_again.contains(&status)
}

/// An answer that was given before.
fn again(answer: Answer) -> Response {
    let mut response = (StatusCode::from_u16(answer.status).unwrap_or_default(), answer.body).into_response();
    response.headers_mut().remove(header::CONTENT_TYPE);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    response
}

/// Gives a request back that got no final answer, also when its client went away or its time was over.
struct Held {
    app: App,
    hold: Option<Hold>,
}

impl Held {
    fn done(mut self) {
        self.hold = None;
    }

    async fn give_back(mut self) {
        if let Some(hold) = self.hold.take() {
            give_back(&self.app.store, &hold).await;
        }
    }
}

async fn give_back(store: &Store, hold: &Hold) {
    if let Err(error) = store.idempotency.give_back(hold).await {
        tracing::debug!(%error, "a request was not given back; its lease ends by itself");
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(hold) = self.hold.take() else { return };
        let store = self.app.store.clone();
        self.app.shutdown.tracker.spawn(async move { give_back(&store, &hold).await });
    }
}

/// Adds the header to every operation that it can be sent to.
pub(super) fn documented(mut openapi: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
    use utoipa::openapi::{ObjectBuilder, Required, Type};
    let description = "A fresh UUID in double quotes. Sent again under the same key within 24 hours, to any replica, the \
         request has its effect once and gets the same answer, with `Idempotency-Replayed: true`; 409 while it is carried \
         out, 422 for another request.";
    for (path, item) in &mut openapi.paths.paths {
        let Some(post) = item.post.as_mut().filter(|_| path != import::PATH) else { continue };
        let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some(key::PATTERN)).build();
        let header = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(description))
            .schema(Some(schema))
            .build();
        post.parameters.get_or_insert_default().push(utoipa::openapi::RefOr::T(header));
    }
    openapi
}
