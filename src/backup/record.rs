//! The one user-record line: in backups, in imports and in exports.
//!
//! Rule: the order of the fields is fixed, so that the same record is the same bytes; a refusal never shows a value.

use serde::Deserialize;

use crate::domain::user::{PasswordHash, Rev, User, UserName};

/// Appends the record as one line, without the line end.
pub fn write_record(out: &mut Vec<u8>, user: &User) {
    write_fields(out, user, true);
}

/// Appends what a record holds apart from `rev`, `version` and `updated_at`: the same again after a restore.
pub fn write_content(out: &mut Vec<u8>, user: &User) {
    write_fields(out, user, false);
}

fn write_fields(out: &mut Vec<u8>, user: &User, whole: bool) {
    out.extend_from_slice(b"{\"id\":");
    write_text(out, user.id.as_str());
    out.extend_from_slice(b",\"department\":");
    write_text(out, user.department.as_str());
    out.extend_from_slice(b",\"name\":");
    write_text(out, user.name.as_str());
    out.extend_from_slice(b",\"password_hash\":");
    write_text(out, user.password_hash.expose());
    out.extend_from_slice(if user.locked { b",\"locked\":true" } else { b",\"locked\":false" });
    if whole {
        out.extend_from_slice(format!(",\"rev\":\"{}\",\"version\":{}", user.rev, user.version).as_bytes());
    }
    out.extend_from_slice(format!(",\"created_at\":\"{}\"", user.created_at).as_bytes());
    if whole {
        out.extend_from_slice(format!(",\"updated_at\":\"{}\"", user.updated_at).as_bytes());
    }
    out.push(b'}');
}

/// Appends a JSON string.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    let plain = |b: u8| b >= 0x20 && b != b'"' && b != b'\\';
    if text.bytes().all(plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    }
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
            assert_eq!(parse_record(&line), Ok(one));
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
