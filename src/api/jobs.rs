//! What backups and restores have in common: fresh ids, the list of states, waiting for an end, the cause of waiting.

use std::str::FromStr;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use uuid::Uuid;

use super::problem::Problem;
use crate::app::App;
use crate::domain::cause::Cause;
use crate::domain::clock::Clock;
use crate::domain::ids::DepartmentName;
use crate::domain::text::Invalid;

/// Longest `Prefer: wait`.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// How often a waiting request looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A fresh `UUIDv7` of the service's clock.
pub fn fresh_uuid(clock: &Clock) -> Uuid {
    let millis = u64::try_from(clock.now().as_millis()).unwrap_or_default();
    let nanos = u32::try_from(millis % 1000).unwrap_or_default() * 1_000_000;
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, millis / 1000, nanos))
}

/// How long a client prefers to wait (`Prefer: wait=10`); at most a minute.
pub fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split([',', ';']))
        .filter_map(|token| token.trim().strip_prefix("wait="))
        .find_map(|seconds| seconds.trim_matches('"').parse().ok())
        .map(|seconds: u64| Duration::from_secs(seconds).min(WAIT_MAX))
}

/// Reads a job again and again until it has ended, the time is over, or the replica stops.
///
/// # Errors
/// What reading says.
pub async fn wait_for<J, F>(
    app: &App,
    mut job: J,
    wait: Option<Duration>,
    is_final: impl Fn(&J) -> bool,
    read: impl Fn() -> F,
) -> Result<J, Problem>
where
    F: Future<Output = Result<J, Problem>>,
{
    let Some(wait) = wait else { return Ok(job) };
    let deadline = tokio::time::Instant::now() + wait;
    while !is_final(&job) && tokio::time::Instant::now() < deadline {
        tokio::select! {
            () = app.shutdown.token.cancelled() => break,
            () = tokio::time::sleep(LOOK_EVERY) => job = read().await?,
        }
    }
    Ok(job)
}

/// The answer to a job request: 202 with `Location`, or 200 when the client waited and it has ended.
pub fn accepted(location: &str, view: &impl Serialize, ended: bool, wait: Option<Duration>) -> Response {
    let status = if ended && wait.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = (status, axum::Json(view)).into_response();
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if let Some(applied) = wait.and_then(|wait| HeaderValue::from_str(&format!("wait={}", wait.as_secs())).ok()) {
        response.headers_mut().insert(HeaderName::from_static("preference-applied"), applied);
    }
    response
}

/// The cause of a job that has none of its own yet: no leader, or no repository to work with.
pub fn waiting_cause(app: &App, department: &DepartmentName) -> Option<Cause> {
    let led = app.cluster.view().leaders.contains_key(department);
    if !led {
        let message = format!("The department {department} has no leader now; the job starts when it has one.");
        return Some(Cause::new("no_leader", message));
    }
    if app.repository.initialized() { None } else { app.repository_cause.borrow().clone() }
}

/// Parses a comma-separated query parameter. An empty part is a value like any other: `ids=` asks for no id that there is.
///
/// # Errors
/// 422 that names the parameter.
pub fn list_parameter<T: FromStr<Err = Invalid>>(name: &str, value: Option<&str>) -> Result<Vec<T>, Problem> {
    let parts = value.into_iter().flat_map(|value| value.split(','));
    parts.map(|part| part.trim().parse().map_err(|invalid| Problem::parameter_invalid(name, invalid))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::UserId;

    #[test]
    fn an_empty_part_of_a_list_is_refused_and_an_absent_list_is_empty() {
        let ids = |value| list_parameter::<UserId>("ids", value).map(|ids| ids.len());
        assert_eq!(ids(Some("a,b , c")).unwrap(), 3);
        assert_eq!(ids(None).unwrap(), 0);
        for bad in ["", ",", "a,", "a,,b"] {
            assert_eq!(ids(Some(bad)).unwrap_err().status(), 422, "{bad}");
        }
    }

    #[test]
    fn a_preferred_wait_is_read_and_limited_to_a_minute() {
        let wait = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", text.parse().unwrap());
            preferred_wait(&headers)
        };
        assert_eq!(wait("wait=5"), Some(Duration::from_secs(5)));
        assert_eq!(wait("respond-async, wait=500"), Some(WAIT_MAX));
        assert_eq!(wait("wait=soon"), None);
    }
}
