//! Canonical Extended JSON of a document, for changes that this service did not write itself.
//!
//! Rule: the same document gives the same text always; the journal's chain runs over it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mongodb::bson::{Bson, Document};
use serde_json::{Map, Value, json};

/// A document as canonical Extended JSON.
pub(in crate::store) fn canonical(document: &Document) -> Value {
    // serde_json's map may sort its keys or not; both are the same for the same document.
    Value::Object(document.iter().map(|(key, value)| (key.clone(), value_of(value))).collect::<Map<_, _>>())
}

fn value_of(value: &Bson) -> Value {
    match value {
        Bson::Document(inner) => canonical(inner),
        Bson::Array(items) => Value::Array(items.iter().map(value_of).collect()),
        Bson::String(text) => json!(text),
        Bson::Boolean(flag) => json!(flag),
        Bson::Null => Value::Null,
        Bson::Int32(number) => json!({ "$numberInt": number.to_string() }),
        Bson::Int64(number) => json!({ "$numberLong": number.to_string() }),
        Bson::Double(number) => json!({ "$numberDouble": number.to_string() }),
        Bson::Decimal128(number) => json!({ "$numberDecimal": number.to_string() }),
        Bson::DateTime(at) => json!({ "$date": { "$numberLong": at.timestamp_millis().to_string() } }),
        Bson::ObjectId(id) => json!({ "$oid": id.to_hex() }),
        Bson::Timestamp(at) => json!({ "$timestamp": { "t": at.time, "i": at.increment } }),
        Bson::Binary(binary) => json!({ "$binary": {
            "base64": STANDARD.encode(&binary.bytes),
            "subType": format!("{:02x}", u8::from(binary.subtype)),
        } }),
        // The rest (regular expressions, code, symbols, keys) has no place in a user record; its text is kept.
        other => json!({ "$other": other.to_string() }),
    }
}
