//! Applies a foreign write (a person in a shell, an update operator) to a record, from what the change stream said of it.

use serde_json::Value;

use crate::domain::clock::Timestamp;
use crate::domain::user::{PasswordHash, Rev, User, UserName};

/// The record after a patch line's update; none when what it leaves is no record. `update` is the JSON text of a
/// `Change::Patch`.
pub fn apply(user: Option<&User>, update: &str) -> Option<User> {
    let update: Value = serde_json::from_str(update).ok()?;
    let described = update.get("updateDescription")?;
    let untouched = |field: &str| described.get(field).is_none_or(|list| list.as_array().is_some_and(Vec::is_empty));
    // Every field is required, and none is an array.
    if !untouched("removedFields") || !untouched("truncatedArrays") {
        return None;
    }
    let mut user = user?.clone();
    for (field, value) in described.get("updatedFields")?.as_object()? {
        set(&mut user, field, value)?;
    }
    Some(user)
}

fn set(user: &mut User, field: &str, value: &Value) -> Option<()> {
    match field {
        "name" => user.name = UserName::from_stored(value.as_str()?.to_owned()),
        "password_hash" => user.password_hash = PasswordHash::from_checked(value.as_str()?.to_owned()),
        "locked" => user.locked = value.as_bool()?,
        "rev" => user.rev = Rev::from_bits(long(value)?.cast_unsigned()),
        "version" => user.version = long(value)?,
        "created_at" => user.created_at = Timestamp::from_millis(long(value.get("$date")?)?),
        "updated_at" => user.updated_at = Timestamp::from_millis(long(value.get("$date")?)?),
        _ => return None,
    }
    Some(())
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
        }
        let fine = r#"{"updateDescription":{"updatedFields":{"locked":true}}}"#;
        assert_eq!(apply(None, fine), None, "of no record");
    }
}
