//! Applies a foreign write (a person in a shell, an update operator) to a record, from what the change stream said of it.

use serde_json::{Map, Value, json};

use crate::domain::clock::Timestamp;
use crate::domain::user::{PasswordHash, Rev, User, UserName};

/// What a foreign write set one field to.
enum Set {
    Name(UserName),
    PasswordHash(PasswordHash),
    Locked(bool),
    Rev(Rev),
    Version(i64),
    CreatedAt(Timestamp),
    UpdatedAt(Timestamp),
}

impl Set {
    /// None when it is no field of a record, or no value of it.
    fn of(field: &str, value: &Value) -> Option<Self> {
        Some(match field {
            "name" => Self::Name(UserName::from_stored(value.as_str()?.to_owned())),
            "password_hash" => Self::PasswordHash(PasswordHash::from_checked(value.as_str()?.to_owned())),
            "locked" => Self::Locked(value.as_bool()?),
            "rev" => Self::Rev(Rev::from_bits(long(value)?.cast_unsigned())),
            "version" => Self::Version(long(value)?),
            "created_at" => Self::CreatedAt(Timestamp::from_millis(long(value.get("$date")?)?)),
            "updated_at" => Self::UpdatedAt(Timestamp::from_millis(long(value.get("$date")?)?)),
            _ => return None,
        })
    }

    fn on(self, user: &mut User) {
        match self {
            Self::Name(name) => user.name = name,
            Self::PasswordHash(hash) => user.password_hash = hash,
            Self::Locked(locked) => user.locked = locked,
            Self::Rev(rev) => user.rev = rev,
            Self::Version(version) => user.version = version,
            Self::CreatedAt(at) => user.created_at = at,
            Self::UpdatedAt(at) => user.updated_at = at,
        }
    }
}

/// The record after a patch line's update; none when what it leaves is no record. `update` is the JSON text of a
/// `Change::Patch`.
pub fn apply(user: Option<&User>, update: &str) -> Option<User> {
    let fields = fields_of(update)?;
    let mut user = user?.clone();
    for (field, value) in &fields {
        Set::of(field, value)?.on(&mut user);
    }
    Some(user)
}

/// Whether an update leaves a record where there was one.
pub(super) fn is_readable(update: &str) -> bool {
    joined(std::iter::once(update)).is_some()
}

/// One update that does what several do one after the other; none when one of them leaves no record.
pub(super) fn joined<'a>(updates: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut joined = Map::new();
    for update in updates {
        let fields = fields_of(update)?;
        if fields.iter().any(|(field, value)| Set::of(field, value).is_none()) {
            return None;
        }
        joined.extend(fields);
    }
    Some(json!({ "updateDescription": { "updatedFields": joined } }).to_string())
}

/// The fields that an update sets; none when it does anything else, since every field is required and none is an array.
fn fields_of(update: &str) -> Option<Map<String, Value>> {
    let mut update: Value = serde_json::from_str(update).ok()?;
    let described = update.get_mut("updateDescription")?;
    let untouched = |field: &str| described.get(field).is_none_or(|list| list.as_array().is_some_and(Vec::is_empty));
    if !untouched("removedFields") || !untouched("truncatedArrays") {
        return None;
    }
    match described.get_mut("updatedFields")?.take() {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

fn long(value: &Value) -> Option<i64> {
    value.get("$numberLong")?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::testing::user;

    #[test]
    fn an_update_of_a_shell_changes_the_fields_that_it_names() {
        let update = r#"{"updateDescription":{"updatedFields":{"locked":true,"name":"Zoë",
            "updated_at":{"$date":{"$numberLong":"5"}}},"removedFields":[],"truncatedArrays":[]}}"#;
        let patched = apply(Some(&user(1)), update).unwrap();
        assert!(patched.locked);
        assert_eq!((patched.name.as_str(), patched.updated_at.as_millis()), ("Zoë", 5));
        assert_eq!(patched.password_hash.expose(), user(1).password_hash.expose());
    }

    #[test]
    fn what_is_no_record_any_more_is_not_made_one() {
        for update in [
            r#"{"updateDescription":{"updatedFields":{},"removedFields":["name"]}}"#,
            r#"{"updateDescription":{"updatedFields":{"name":{"$numberInt":"1"}}}}"#,
            r#"{"updateDescription":{"updatedFields":{"extra":1}}}"#,
            r#"{"fullDocument":{"name":"x"}}"#,
            "nonsense",
        ] {
            assert_eq!(apply(Some(&user(1)), update), None, "{update}");
            assert!(!is_readable(update), "{update}");
            assert_eq!(joined([fine_update(1), update.to_owned(), fine_update(2)].iter().map(String::as_str)), None);
        }
        assert!(is_readable(&fine_update(1)));
        assert_eq!(apply(None, &fine_update(1)), None, "of no record");
    }

    #[test]
    fn updates_made_one_do_what_they_do_one_after_the_other() {
        let locked = r#"{"updateDescription":{"updatedFields":{"locked":true}}}"#.to_owned();
        let updates = [fine_update(1), locked, fine_update(2)];
        let after = updates.iter().fold(user(1), |user, update| apply(Some(&user), update).unwrap());
        let joined = joined(updates.iter().map(String::as_str)).unwrap();
        assert_eq!(apply(Some(&user(1)), &joined).unwrap(), after);
        assert!(after.locked);
        assert_eq!(after.name.as_str(), "Name 2");
    }

    fn fine_update(n: u32) -> String {
        format!(r#"{{"updateDescription":{{"updatedFields":{{"name":"Name {n}"}}}}}}"#)
    }
}
