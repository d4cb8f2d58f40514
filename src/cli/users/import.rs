//! `rollkeeper users import`.
//!
//! Rules: the file is sent in parts, so memory is one part; a line counts once it has its answer. What was broken off is sent
//! again, only the lines without an answer; those that had arrived all the same are then `unchanged`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use reqwest::Response;
use serde_json::{Value, json};

use super::answers::Answers;
use super::parts::Parts;
use crate::api::import::lines::{LINE_MAX, Line, Lines};
use crate::cli::EXIT_FAILURE;
use crate::cli::output::{self, Output};
use crate::cli::progress::{Progress, Step};
use crate::cli::remote::{Ask, Failure, Patience, SILENT_MAX, Service, Trouble};

/// What a line is answered with that can be sent again: MongoDB did not answer, or not in time.
const PASSING: [&str; 3] = ["unavailable", "outcome_unknown", "timeout"];
/// What every line is answered with once the token has ended.
const TOKEN_ENDED: &str = "unauthenticated";

/// What to import, and how.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The file; `-` is standard input.
    file: PathBuf,
    /// Department of lines that name none; without it `default`.
    #[arg(long)]
    department: Option<String>,
    /// What becomes of a line whose id or name is taken by a record with other content.
    #[arg(long, value_enum, default_value_t = OnConflict::Fail)]
    on_conflict: OnConflict,
    /// Begin with this line.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    from_line: u64,
    /// Refused lines that are told one by one; the others are only counted.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    refused_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnConflict {
    /// It is refused.
    Fail,
    /// The record stays.
    Skip,
    /// The line replaces the record.
    Replace,
}

/// A line that waits for its answer.
struct Open {
    line: Line,
    answered: bool,
    /// Whether it was sent before, and may have arrived.
    sent: bool,
}

/// An import under way.
struct Import<'a> {
    service: &'a Service,
    path: String,
    answers: Answers,
    progress: Progress,
    bytes: Option<u64>,
    read: u64,
}

/// Imports; the exit code.
pub(super) async fn run(service: &Service, args: &ImportArgs, how: Output) -> Result<u8, Failure> {
    let (file, bytes) = open(&args.file)?;
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(args.department.iter().map(|name| ("department", name)));
    if let Some(word) = args.on_conflict.to_possible_value() {
        query.append_pair("on_conflict", word.get_name());
    }
    let path = format!("/users/import?{}", query.finish());
    let (answers, progress) = (Answers::new(args.refused_max), Progress::new());
    let mut import = Import { service, path, answers, progress, bytes, read: 0 };
    let outcome = import.all(Parts::of(file, args.from_line)).await;
    import.progress.clear();
    let mut answers = import.answers;
    answers.complete = outcome.is_ok();
    if answers.left_out() > 0 {
        output::progress(&format!("{} more lines were refused (--refused-max)", answers.left_out()));
    }
    let printed = match how {
        Output::Json => output::json(&answers),
        Output::Table => output::line(&answers.text()),
    };
    outcome?;
    Ok(printed.max(if answers.refused() > 0 { EXIT_FAILURE } else { 0 }))
}

/// The file and its length, where it has one.
fn open(path: &Path) -> Result<(Box<dyn Read>, Option<u64>), Failure> {
    if path == Path::new("-") {
        return Ok((Box::new(std::io::stdin().lock()), None));
    }
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let length = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|about| about.len());
    Ok((Box::new(file), length))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("{} cannot be read ({error})", path.display()))
}

impl Import<'_> {
    async fn all(&mut self, mut parts: Parts<Box<dyn Read>>) -> Result<(), Failure> {
        loop {
            let part = parts.next().map_err(|error| Failure::failed(format!("the file cannot be read ({error})")))?;
            self.read = parts.bytes();
            if part.is_empty() {
                return Ok(());
            }
            let open = part.into_iter().map(|line| Open { line, answered: false, sent: false }).collect();
            self.part(open).await?;
        }
    }

    /// Sends a part until every line of it has its answer.
    async fn part(&mut self, mut open: Vec<Open>) -> Result<(), Failure> {
        for long in open.iter_mut().filter(|open| open.line.text.is_none()) {
            let message = format!("A line is at most {LINE_MAX} bytes.");
            let answer = json!({ "status": "failed", "error": { "code": "line_too_long", "message": message } });
            long.answered = true;
            self.take(answer, long.line.number, false);
        }
        let mut patience = Patience::new(self.service.retry_for);
        loop {
            let before = open.len();
            open.retain(|open| !open.answered);
            let Some(first) = open.first().map(|open| open.line.number) else { return Ok(()) };
            if open.len() < before {
                patience.renew();
            }
            let Err(trouble) = self.attempt(&mut open).await else { continue };
            let stopped = |failure: Failure, told: &str| {
                let first = open.iter().find(|open| !open.answered).map_or(first, |open| open.line.number);
                failure
                    .and(&format!("{told}\n  lines before {first} are done; run it again, or with --from-line {first}"))
            };
            if !trouble.passes {
                return Err(stopped(trouble.failure, ""));
            }
            if open.iter().any(|open| open.answered) {
                continue;
            }
            if !patience.pause(trouble.pause).await {
                return Err(stopped(trouble.failure, &patience.told()));
            }
        }
    }

    /// Sends the open lines once, and takes their answers as they come.
    async fn attempt(&mut self, open: &mut [Open]) -> Result<(), Trouble> {
        let texts: Vec<&[u8]> = open.iter().filter_map(|open| open.line.text.as_deref()).collect();
        let ask = Ask::lines(&self.path, texts.join(&b'\n'));
        let outcome = match self.service.answer(&ask).await {
            Ok(stream) => self.take_all(open, stream).await,
            Err(trouble) => Err(trouble),
        };
        // What has no answer may have arrived.
        open.iter_mut().filter(|open| !open.answered).for_each(|open| open.sent = true);
        outcome
    }

    /// Takes the answers to the lines that were sent; the trouble where some have none.
    async fn take_all(&mut self, open: &mut [Open], mut stream: Response) -> Result<(), Trouble> {
        let (mut lines, mut trouble) = (Lines::default(), None);
        loop {
            let chunk = match tokio::time::timeout(SILENT_MAX, stream.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(self.service.silent(&error)),
                Err(_) => return Err(self.service.too_late()),
            };
            lines.push(&chunk);
            while let Some(line) = lines.next() {
                let answer = line.text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or(Value::Null);
                self.answered(open, answer, &mut trouble);
            }
        }
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        if open.iter().all(|open| open.answered) { Ok(()) } else { Err(self.service.too_late()) }
    }

    /// Takes the answer to one of the lines that were sent, unless it is to come again.
    fn answered(&mut self, open: &mut [Open], answer: Value, trouble: &mut Option<Trouble>) {
        let Some(at) = answer["line"].as_u64().and_then(|line| usize::try_from(line).ok()?.checked_sub(1)) else {
            return;
        };
        let Some(line) = open.get_mut(at).filter(|open| !open.answered) else { return };
        let error = &answer["error"];
        let code = error["code"].as_str().unwrap_or_default();
        if PASSING.contains(&code) || code == TOKEN_ENDED {
            let text = format!("{} ({code})", error["message"].as_str().unwrap_or_default());
            trouble.get_or_insert(if code == TOKEN_ENDED {
                Trouble::last(Failure::failed(text))
            } else {
                Trouble::passing(Failure::missing(text))
            });
            return;
        }
        line.answered = true;
        let (number, sent) = (line.line.number, line.sent);
        self.take(answer, number, sent);
    }

    fn take(&mut self, mut answer: Value, number: u64, sent: bool) {
        let taken = matches!(answer["error"]["code"].as_str(), Some("id_taken" | "name_taken"));
        if sent && taken {
            let message = answer["error"]["message"].as_str().unwrap_or_default();
            let message = format!("{message} It was sent before, when the answer was lost, and may be of that time.");
            answer["error"]["errors"] = json!([]);
            answer["error"]["message"] = message.into();
        }
        if let Some(words) = self.answers.add(answer, number) {
            self.progress.clear();
            output::progress(&words);
        }
        #[expect(clippy::cast_precision_loss, reason = "it is a share, and rounded anyway")]
        let share = self.bytes.filter(|bytes| *bytes > 0).map(|bytes| self.read as f64 / bytes as f64);
        self.progress.show(Step { what: "import", done: self.answers.lines, total: None, unit: "lines", share });
    }
}
