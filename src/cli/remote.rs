//! What commands have in common that ask a running service over its API.
//!
//! Exit codes: 0 it is done; 1 the service refused it; 2 the usage is wrong; 3 the service does not answer, or is not
//! available at the moment. The token comes from a file or the environment, never from a flag that others could see.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::Value;

use super::output::Output;
use super::{EXIT_FAILURE, EXIT_MISSING, EXIT_USAGE, output};
use crate::config::remote::Remote;

/// Longest wait for an answer, longer than the service itself takes.
const ANSWER_WITHIN: Duration = Duration::from_secs(45);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Where the service is, and how to tell what it says.
#[derive(Debug, Args)]
pub(super) struct RemoteArgs {
    /// The URL of the service, any replica of it; else `ROLLKEEPER_URL`.
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// The file with the token; else `ROLLKEEPER_TOKEN` is the token.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A file with certificates in PEM form that are trusted besides those of the system.
    #[arg(long, global = true, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// How to print.
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
}

/// Why a command ended without its answer.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self { code: EXIT_USAGE, text: text.into() }
    }

    fn missing(text: impl Into<String>) -> Self {
        Self { code: EXIT_MISSING, text: text.into() }
    }
}

/// A running service.
pub(super) struct Service {
    http: reqwest::Client,
    remote: Remote,
}

impl Service {
    fn open(args: &RemoteArgs) -> Result<Self, Failure> {
        let usage = |error: &dyn std::fmt::Display| Failure::usage(error.to_string());
        let remote = Remote::load(args.url.as_deref(), args.token_file.as_deref()).map_err(|error| usage(&error))?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("rollkeeper/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
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
        Ok(Self { http, remote })
    }

    /// Asks once; the body of the answer, null where it has none.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let url = self.remote.url.join(path).map_err(|error| Failure::usage(format!("{path}: {error}")))?;
        let mut request = self.http.request(method, url).bearer_auth(self.remote.token.expose_secret());
        if let Some(body) = body {
            request = request.json(&body);
        }
        let silent = |error: reqwest::Error| {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            Failure::missing(format!("the service at {} does not answer{source}", self.remote.url))
        };
        let answer = request.send().await.map_err(silent)?;
        let status = answer.status();
        let text = answer.text().await.map_err(silent)?;
        let json: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() { Ok(json) } else { Err(refused(status, &json)) }
    }

    /// All items of a list, page by page.
    pub(super) async fn list(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>, Failure> {
        let (mut items, mut cursor): (Vec<Value>, Option<String>) = (Vec::new(), None);
        loop {
            let mut pairs = url::form_urlencoded::Serializer::new(String::new());
            pairs.extend_pairs(query).append_pair("limit", "1000");
            if let Some(cursor) = &cursor {
                pairs.append_pair("cursor", cursor);
            }
            let mut page = self.ask(Method::GET, &format!("{path}?{}", pairs.finish()), None).await?;
            if let Some(found) = page["items"].as_array_mut() {
                items.append(found);
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(items),
            }
        }
    }
}

/// What the service said, in one line, and one more for each field that it names.
fn refused(status: StatusCode, problem: &Value) -> Failure {
    let detail = problem["detail"].as_str().unwrap_or("The answer is not one of rollkeeper; is the URL right?");
    let mut text = format!("{detail} ({}", status.as_u16());
    for (name, value) in [("", &problem["code"]), ("request ", &problem["request_id"])] {
        if let Some(value) = value.as_str() {
            let _ = write!(text, ", {name}{value}");
        }
    }
    text.push(')');
    for field in problem["errors"].as_array().into_iter().flatten() {
        let place = field["pointer"].as_str().or(field["parameter"].as_str()).unwrap_or_default();
        let _ = write!(text, "\n  {place}: {}", field["message"].as_str().unwrap_or_default());
    }
    let code = if status == StatusCode::SERVICE_UNAVAILABLE { EXIT_MISSING } else { EXIT_FAILURE };
    Failure { code, text }
}

/// Opens the service and runs a command with it; the exit code.
pub(super) fn run(args: &RemoteArgs, command: impl AsyncFnOnce(&Service) -> Result<u8, Failure>) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::problem(&error);
            return EXIT_FAILURE;
        }
    };
    let outcome = runtime.block_on(async { command(&Service::open(args)?).await });
    outcome.unwrap_or_else(|Failure { code, text }| {
        output::problem(&text);
        code
    })
}
