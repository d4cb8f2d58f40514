//! What a failure of a store means, in words that say what to do.
//!
//! Rule: of an answer only its status and its code are told, never its body, which repeats who asked and what was signed.
//! `object_store` gives both in a text only (`RequestError` in its `client::retry`), which its pinned version keeps the same.

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use crate::domain::copies::TargetState;
use crate::targets::target::Act;

/// What a store answered, or that it did not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: Option<u16>,
    pub(super) code: Option<String>,
}

impl Answer {
    pub(super) fn of(error: &Error) -> Self {
        let text = error.to_string();
        let status = between(&text, "status code: ", " ").and_then(|digits| digits.parse().ok());
        let code = between(&text, "<Code>", "</Code>").filter(|code| code.chars().all(char::is_alphanumeric));
        Self { status, code: code.map(ToOwned::to_owned) }
    }

    fn code(&self) -> &str {
        self.code.as_deref().unwrap_or_default()
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

/// Whether the store answered that the whole bucket is not there.
pub(super) fn lacks_bucket(error: &Error) -> bool {
    matches!(Answer::of(error).code(), "NoSuchBucket" | "ContainerNotFound")
}

/// Whether an object is missing by the answer's own words. One without words may mean the whole bucket.
pub(super) fn lacks_object(error: &Error) -> bool {
    matches!(Answer::of(error).code(), "NoSuchKey" | "BlobNotFound")
}

/// Whether an object is there and empty, by the answer to a question for its first byte.
pub(super) fn has_no_first_byte(error: &Error) -> bool {
    Answer::of(error).status == Some(416)
}

/// Whether a request may have been carried out all the same.
pub(in crate::targets) fn outcome_unknown(error: &Error) -> bool {
    match http_error(error) {
        Some(http) => !matches!(http.kind(), HttpErrorKind::Connect | HttpErrorKind::Timeout),
        None => false,
    }
}

/// What the failure says about the target, and a sentence for people.
pub(super) fn explain(place: &str, act: Act, object: &str, error: &Error) -> (TargetState, String) {
    if is_of_the_role(error) {
        let sentence = "no credentials are to be had; name the files with the keys, or give the machine a role";
        return (TargetState::Down, format!("{place}: {sentence}"));
    }
    if let Some(http) = http_error(error) {
        return unanswered(place, http);
    }
    let answer = Answer::of(error);
    let told = answer.code.clone().or(answer.status.map(|status| status.to_string()));
    let told = told.unwrap_or_else(|| "no code".to_owned());
    let deed = if act == Act::Write { "written" } else { "read" };
    let (state, sentence) = match (answer.code(), answer.status) {
        ("NoSuchBucket" | "ContainerNotFound", _) => {
            (TargetState::Down, format!("{place} is not there; make it, or correct the URL and the endpoint"))
        }
        ("RequestTimeTooSkewed", _) => (
            TargetState::Down,
            format!("the clock of this machine and that of {place} differ too much; set the clocks"),
        ),
        ("QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "InsufficientStorage", _)
        | (_, Some(507)) => {
            (TargetState::Full, format!("{place} has no room for `{object}` ({told}); make room or raise its quota"))
        }
        (
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "InvalidClientTokenId"
            | "AuthFailure"
            | "AuthenticationFailed",
            _,
        )
        | (_, Some(401)) => (
            TargetState::Down,
            format!(
                "{place} refuses the credentials ({told}); put valid ones into the files of the target, they are \
                     read again every ten seconds"
            ),
        ),
        ("SlowDown" | "ServerBusy" | "TooManyRequests" | "RequestLimitExceeded", _) | (_, Some(429 | 503)) => {
            (TargetState::Slow, format!("{place} takes no more requests now ({told}); it is asked again later"))
        }
        (_, Some(403)) => {
            let state = if act == Act::Write { TargetState::ReadOnly } else { TargetState::Down };
            let sentence = format!(
                "`{object}` may not be {deed} in {place} ({told}); let the credentials list the bucket and get, put and \
                 delete its objects"
            );
            (state, sentence)
        }
        (_, Some(_)) => (TargetState::Down, format!("{place} could not have `{object}` {deed}: it answered {told}")),
        // No answer: the bucket is in another region, or no credentials could be had.
        (_, None) => (TargetState::Down, format!("{place}: {}", without_answer(error))),
    };
    (state, sentence)
}

fn unanswered(place: &str, error: &HttpError) -> (TargetState, String) {
    let cause = last_cause(error);
    match error.kind() {
        HttpErrorKind::Timeout => (TargetState::Slow, format!("{place} did not answer in time")),
        HttpErrorKind::Connect if cause.contains("ertificate") => {
            let sentence =
                format!("the certificate of {place} is not trusted ({cause}); name its authority in ca_file");
            (TargetState::Down, sentence)
        }
        HttpErrorKind::Connect => {
            (TargetState::Down, format!("no connection to {place} ({cause}); start it, or correct the endpoint"))
        }
        _ => (TargetState::Down, format!("the connection to {place} broke ({cause})")),
    }
}

/// Whether it was a request for credentials that failed, to where a machine asks for those of its role.
fn is_of_the_role(error: &Error) -> bool {
    let text = error.to_string();
    ["://169.254.", "://sts.", "://metadata.google.internal", "login.microsoftonline.com"]
        .iter()
        .any(|at| text.contains(at))
}

/// Texts that the library makes itself, without anything of a server.
fn without_answer(error: &Error) -> &'static str {
    if error.to_string().contains("redirect") {
        return "it is in another region; correct region";
    }
    "the request could not be made"
}

fn http_error(error: &Error) -> Option<&HttpError> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return Some(http);
        }
        next = error.source();
    }
    None
}

fn last_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(deeper) = last.source() {
        last = deeper;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error with the words of the library.
    fn answered(status: &str, code: &str) -> Error {
        let body = format!("<Error><Code>{code}</Code><AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>");
        let source =
            format!("Error performing PUT http://h/b/k in 3ms - Server returned non-2xx status code: {status}: {body}");
        Error::Generic { store: "S3", source: source.into() }
    }

    #[test]
    fn each_failure_says_what_is_wrong_and_what_to_do_and_nothing_of_the_credentials() {
        let cases = [
            ("404 Not Found", "NoSuchBucket", TargetState::Down, "make it"),
            ("403 Forbidden", "RequestTimeTooSkewed", TargetState::Down, "set the clocks"),
            ("403 Forbidden", "InvalidAccessKeyId", TargetState::Down, "put valid ones"),
            ("400 Bad Request", "ExpiredToken", TargetState::Down, "put valid ones"),
            ("403 Forbidden", "AccessDenied", TargetState::ReadOnly, "put and delete"),
            ("403 Forbidden", "QuotaExceeded", TargetState::Full, "make room"),
            ("507 Insufficient Storage", "", TargetState::Full, "make room"),
            ("503 Service Unavailable", "SlowDown", TargetState::Slow, "asked again later"),
            ("500 Internal Server Error", "InternalError", TargetState::Down, "answered InternalError"),
        ];
        for (status, code, state, words) in cases {
            let (found, sentence) = explain("bucket `b`", Act::Write, "k", &answered(status, code));
            assert_eq!(found, state, "{status} {code}");
            assert!(sentence.contains(words) && !sentence.contains("AKIA"), "{sentence}");
        }
        let (read, _) = explain("bucket `b`", Act::Read, "k", &answered("403 Forbidden", "AccessDenied"));
        assert_eq!(read, TargetState::Down, "a bucket that cannot be read is no use");
    }

    #[test]
    fn a_missing_bucket_is_told_from_a_missing_object() {
        assert!(lacks_bucket(&answered("404 Not Found", "NoSuchBucket")));
        assert!(!lacks_bucket(&answered("404 Not Found", "NoSuchKey")));
        assert!(lacks_object(&answered("404 Not Found", "NoSuchKey")));
        assert!(!lacks_object(&answered("404 Not Found", "")), "an answer without words");
    }
}
