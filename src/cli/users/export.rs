//! `rollkeeper users export`.
//!
//! Rule: an export that broke off is never taken for a whole one: the exit code says so, and no file is left.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::cli::output;
use crate::cli::progress::{Progress, Step};
use crate::cli::remote::{Ask, Failure, SILENT_MAX, Service, read_on};

/// What to export, and where to.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The department; without it the one that the token is limited to, or `default`.
    #[arg(long)]
    department: Option<String>,
    /// As the users were at this moment (RFC 3339) of the recovery window.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Into this file instead of standard output. Only its owner may read it; it appears once it is whole.
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
}

/// Where the lines go.
enum Sink {
    Standard,
    File(NamedTempFile),
}

/// Exports; the exit code.
pub(super) async fn run(service: &Service, args: &ExportArgs) -> Result<u8, Failure> {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in [("department", &args.department), ("at", &args.at)] {
        query.extend_pairs(value.iter().map(|value| (name, value)));
    }
    // Before anything is asked for: a folder that is not there is known at once.
    let mut sink = match &args.output_file {
        Some(path) => Sink::File(beside(path)?),
        None => Sink::Standard,
    };
    let path = format!("/users/export?{}", query.finish());
    let mut stream = service.stream(&Ask::get(&path)).await?;
    let (mut held, mut progress) = (Held::default(), Progress::new());
    loop {
        let chunk = match tokio::time::timeout(SILENT_MAX, stream.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => break,
            Ok(Err(error)) => return Err(held.broken(&service.silent(&error).failure)),
            Err(_) => return Err(held.broken(&service.too_late().failure)),
        };
        sink.write(held.push(&chunk))?;
        held.pass();
        progress.show(Step { what: "export", done: held.lines, total: None, unit: "users", share: None });
    }
    if held.error().is_some() {
        return Err(held.broken(&Failure::failed("the service broke it off")));
    }
    sink.write(&held.rest)?;
    let lines = held.lines + newlines(&held.rest);
    drop(progress);
    sink.finish(args.output_file.as_deref())?;
    output::progress(&format!("{lines} users exported, with their password hashes"));
    Ok(0)
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.split(|byte| *byte == b'\n').skip(1).count() as u64
}

/// The last line that came, kept until the next one: it may say why there is none.
#[derive(Default)]
struct Held {
    rest: Vec<u8>,
    /// How much of `rest` can go.
    ready: usize,
    lines: u64,
}

impl Held {
    /// Takes bytes in; the whole lines before the last one.
    fn push(&mut self, chunk: &[u8]) -> &[u8] {
        self.rest.extend_from_slice(chunk);
        let newline = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n');
        let last = newline(&self.rest).unwrap_or(0);
        self.ready = newline(&self.rest[..last]).map_or(0, |at| at + 1);
        &self.rest[..self.ready]
    }

    /// Forgets what went.
    fn pass(&mut self) {
        self.lines += newlines(&self.rest[..self.ready]);
        self.rest.drain(..self.ready);
        self.ready = 0;
    }

    /// What the last line says instead of a user.
    fn error(&self) -> Option<String> {
        let last = self.rest.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty())?;
        let said: Value = serde_json::from_slice(last).ok()?;
        let error = said.get("error")?;
        let text = |name: &str| error[name].as_str().unwrap_or_default();
        Some(format!("{} ({})", text("message"), text("code")))
    }

    fn broken(&self, otherwise: &Failure) -> Failure {
        let why = self.error().unwrap_or_else(|| otherwise.text().to_owned());
        Failure::failed(format!("the export broke off after {} users and is not whole: {why}", self.lines))
    }
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Standard => read_on(output::bytes(bytes)),
            Self::File(file) => file.write_all(bytes).map_err(|error| unwritable(file.path(), &error)),
        }
    }

    /// Puts the file in its place.
    fn finish(self, path: Option<&Path>) -> Result<(), Failure> {
        let (Self::File(file), Some(path)) = (self, path) else { return Ok(()) };
        file.as_file().sync_all().map_err(|error| unwritable(path, &error))?;
        file.persist(path).map(drop).map_err(|error| unwritable(path, &error.error))
    }
}

/// A file without a name yet, in the folder of one; only its owner may read it.
fn beside(path: &Path) -> Result<NamedTempFile, Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let named = tempfile::Builder::new().prefix(".rollkeeper-export-").tempfile_in(folder);
    named.map_err(|error| Failure::usage(format!("--output-file: {} cannot be written ({error})", path.display())))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{} cannot be written ({error})", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_kept_back_and_may_say_why_it_is_the_last() {
        let mut held = Held::default();
        let mut written = Vec::new();
        for chunk in [
            "{\"id\":\"a\"}\n{\"id\"",
            ":\"b\"}\n",
            "{\"id\":\"c\"}\n{\"error\":{\"code\":\"x\",",
            "\"message\":\"No.\"}}\n",
        ] {
            written.extend_from_slice(held.push(chunk.as_bytes()));
            held.pass();
        }
        assert_eq!(String::from_utf8(written).unwrap(), "{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n");
        assert_eq!((held.error().as_deref(), held.lines), (Some("No. (x)"), 3));
        let whole = Held { rest: b"{\"id\":\"a\"}\n".to_vec(), ..Held::default() };
        assert_eq!(whole.error(), None);
    }
}
