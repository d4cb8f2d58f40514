//! The one user-record line: in backups, in imports and in exports.
//!
//! Rule: the order of the fields is fixed, so that the same record is the same bytes; a refusal never shows a value.

use std::io::Write as _;

use serde::Deserialize;

use crate::domain::clock::Timestamp;
use crate::domain::user::{PasswordHash, Rev, User, UserName};

/// Appends the record as one line, without the line end.
pub fn write_record(out: &mut Vec<u8>, user: &User) {
    write_head(out, user);
    write_history(out, user);
}

/// Appends what a record holds apart from `rev`, `version` and `updated_at`: the same again after a restore.
pub fn write_content(out: &mut Vec<u8>, user: &User) {
    write_head(out, user);
    write_end(out, user);
}

/// Appends the record to `lines` and its content to `contents`, each with its line end.
pub(super) fn write_lines(lines: &mut Vec<u8>, contents: &mut Vec<u8>, user: &User) {
    let begin = lines.len();
    write_head(lines, user);
    contents.extend_from_slice(&lines[begin..]);
    write_end(contents, user);
    contents.push(b'\n');
    write_history(lines, user);
    lines.push(b'\n');
}

fn write_head(out: &mut Vec<u8>, user: &User) {
    out.extend_from_slice(b"{\"id\":");
    write_text(out, user.id.as_str());
    out.extend_from_slice(b",\"department\":");
    write_text(out, user.department.as_str());
    out.extend_from_slice(b",\"name\":");
    write_text(out, user.name.as_str());
    out.extend_from_slice(b",\"password_hash\":");
    write_text(out, user.password_hash.expose());
    out.extend_from_slice(if user.locked { b",\"locked\":true" } else { b",\"locked\":false" });
}

fn write_history(out: &mut Vec<u8>, user: &User) {
    // Writing to memory cannot fail.
    let _ = write!(out, ",\"rev\":\"{}\",\"version\":{}", user.rev, user.version);
    out.extend_from_slice(b",\"created_at\":\"");
    write_time(out, user.created_at);
    out.extend_from_slice(b"\",\"updated_at\":\"");
    write_time(out, user.updated_at);
    out.extend_from_slice(b"\"}");
}

fn write_end(out: &mut Vec<u8>, user: &User) {
    out.extend_from_slice(b",\"created_at\":\"");
    write_time(out, user.created_at);
    out.extend_from_slice(b"\"}");
}

fn write_time(out: &mut Vec<u8>, at: Timestamp) {
    match at.rfc3339() {
        Some(text) => out.extend_from_slice(&text),
        None => out.extend_from_slice(at.to_string().as_bytes()),
    }
}

/// Appends a JSON string.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    }
}

/// Whether no byte has to be escaped. Looks at all of them, which a processor does many at a time.
fn is_plain(text: &[u8]) -> bool {
    let escaped = |b: u8| u8::from(b < 0x20) | u8::from(b == b'"') | u8::from(b == b'\\');
    text.iter().fold(0, |found, b| found | escaped(*b)) == 0
}

/// Reads a record line and appends its content, as `write_content` writes it, with a line end.
///
/// # Errors
/// The reason, without any value of the line.
pub(super) fn read_line(line: &[u8], contents: &mut Vec<u8>) -> Result<User, String> {
    if let Some((user, head, created)) = read_exact(line) {
        contents.extend_from_slice(&line[..head]);
        contents.extend_from_slice(&line[created..created + CREATED_LEN]);
        contents.extend_from_slice(b"}\n");
        return Ok(user);
    }
    let user = parse_record(line)?;
    write_content(contents, &user);
    contents.push(b'\n');
    Ok(user)
}

const CREATED_LEN: usize = ",\"created_at\":\"2026-11-23T09:30:00.000Z\"".len();

/// Reads a line that is byte by byte as we write it and escapes nothing, as nearly all are. Also gives where its head
/// ends and where `created_at` begins. What is written otherwise is left to the JSON parser.
fn read_exact(line: &[u8]) -> Option<(User, usize, usize)> {
    let mut rest = line;
    let id = text_after(&mut rest, b"{\"id\":\"")?;
    let department = text_after(&mut rest, b",\"department\":\"")?;
    let name = text_after(&mut rest, b",\"name\":\"")?;
    let password_hash = text_after(&mut rest, b",\"password_hash\":\"")?;
    let locked = rest.starts_with(b",\"locked\":true");
    rest = rest.strip_prefix(if locked { b",\"locked\":true".as_slice() } else { b",\"locked\":false" })?;
    let head = line.len() - rest.len();
    let rev = text_after(&mut rest, b",\"rev\":\"")?;
    rest = rest.strip_prefix(b",\"version\":")?;
    let version = rest.iter().position(|b| *b == b',')?;
    let (version, after) = rest.split_at(version);
    rest = after;
    let created = line.len() - rest.len();
    let created_at = text_after(&mut rest, b",\"created_at\":\"")?;
    let updated_at = text_after(&mut rest, b",\"updated_at\":\"")?;
    if rest != b"}" {
        return None;
    }
    let user = User {
        id: id.parse().ok()?,
        department: department.parse().ok()?,
        name: UserName::from_stored(name.to_owned()),
        password_hash: PasswordHash::from_checked(password_hash.to_owned()),
        locked,
        rev: rev.parse().ok()?,
        version: std::str::from_utf8(version).ok()?.parse().ok()?,
        created_at: created_at.parse().ok()?,
        updated_at: updated_at.parse().ok()?,
    };
    // Another spelling of the same number or moment is not ours.
    let ours = user.created_at.rfc3339().is_some_and(|text| text == created_at.as_bytes())
        && user.version.to_string().as_bytes() == version;
    ours.then_some((user, head, created))
}

/// Takes a prefix and the text up to the next quote, which must need no unescaping.
fn text_after<'a>(rest: &mut &'a [u8], prefix: &[u8]) -> Option<&'a str> {
    let after = rest.strip_prefix(prefix)?;
    let end = after.iter().position(|b| *b == b'"')?;
    let text = &after[..end];
    *rest = &after[end + 1..];
    if is_plain(text) { std::str::from_utf8(text).ok() } else { None }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    department: String,
    name: String,
    password_hash: String,
    locked: bool,
    rev: String,
    version: i64,
    created_at: String,
    updated_at: String,
}

/// Reads a record line.
///
/// # Errors
/// The reason, without any value of the line.
pub fn parse_record(line: &[u8]) -> Result<User, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| {
        let text = error.to_string();
        if text.starts_with("missing field") {
            text
        } else {
            format!("not a JSON object with the fields of a user record (column {})", error.column())
        }
    })?;
    Ok(User {
        id: line.id.parse().map_err(|error| format!("id: {error}"))?,
        department: line.department.parse().map_err(|error| format!("department: {error}"))?,
        name: UserName::from_stored(line.name),
        password_hash: PasswordHash::from_checked(line.password_hash),
        locked: line.locked,
        rev: line.rev.parse::<Rev>().map_err(|error| format!("rev: {error}"))?,
        version: line.version,
        created_at: line.created_at.parse().map_err(|error| format!("created_at: {error}"))?,
        updated_at: line.updated_at.parse().map_err(|error| format!("updated_at: {error}"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::testing::user;

    #[test]
    fn a_record_survives_its_line_whatever_its_name() {
        for name in ["Ada", "Zoë \"Z\" \\ 王", "emoji 🧑‍🚀"] {
            let mut one = user(1);
            one.name = UserName::from_stored(name.to_owned());
            let mut line = Vec::new();
            write_record(&mut line, &one);
            assert_eq!(parse_record(&line).as_ref(), Ok(&one));
            let (mut written, mut read) = (Vec::new(), Vec::new());
            write_content(&mut written, &one);
            written.push(b'\n');
            assert_eq!(read_line(&line, &mut read), Ok(one));
            assert_eq!(written, read);
        }
    }

    #[test]
    fn a_line_that_is_not_as_we_write_it_is_read_by_the_json_parser() {
        let mut line = Vec::new();
        write_record(&mut line, &user(1));
        assert!(read_exact(&line).is_some());
        let ours = String::from_utf8(line).unwrap();
        let (mut written, one) = (Vec::new(), parse_record(ours.as_bytes()).unwrap());
        write_content(&mut written, &one);
        written.push(b'\n');
        for (from, to) in [
            (",\"locked\"", ", \"locked\""),
            ("user 1", "\\u0075ser 1"),
            ("2023-11-14T22:13:20.000Z", "2023-11-14T23:13:20+01:00"),
        ] {
            let (other, mut read) = (ours.replace(from, to), Vec::new());
            assert!(other != ours && read_exact(other.as_bytes()).is_none(), "{other}");
            assert_eq!(read_line(other.as_bytes(), &mut read).as_ref(), Ok(&one));
            assert_eq!(written, read);
        }
    }

    #[test]
    fn the_order_of_the_fields_is_frozen() {
        let mut line = Vec::new();
        write_record(&mut line, &user(1));
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "{\"id\":\"u-00000001\",\"department\":\"eng\",\"name\":\"user 1\",\"password_hash\":\"$argon2id$1\",\
             \"locked\":false,\"rev\":\"0000000000000001\",\"version\":1,\"created_at\":\"2023-11-14T22:13:20.000Z\",\
             \"updated_at\":\"2023-11-14T22:13:20.001Z\"}"
        );
    }

    #[test]
    fn a_refusal_shows_no_value() {
        for bad in
            ["{\"id\":7,\"password_hash\":\"s3cret\"}", "{\"password_hash\":\"s3cret\"}", "s3cret", "{\"s3cret\":1}"]
        {
            let reason = parse_record(bad.as_bytes()).unwrap_err();
            assert!(!reason.contains("s3cret"), "{reason}");
        }
    }
}
