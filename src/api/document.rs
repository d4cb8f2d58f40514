//! What the document says of parameters and fields by their names, wherever they stand.
//!
//! Rule: what a pattern says here, the parsers of `domain` and `extract` hold; schemathesis compares both (`make clients`).

use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::schema::{Array, ArrayItems, KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{OpenApi, RefOr, Required};

use super::import::NDJSON;
use crate::domain::ids::USER_ID_MAX;
use crate::domain::token::Scope;

/// Ids of users, of at most `USER_ID_MAX` characters: anything of their alphabet but `.` and `..`.
const USER_ID: &str = r"^(\.{0,2}[A-Za-z0-9_~-]|\.{3})[A-Za-z0-9._~-]*$";
/// Names of departments.
const DEPARTMENT: &str = "^[a-z0-9][a-z0-9-]{0,62}$";
/// Ids of replicas.
const LABEL: &str = "^[A-Za-z0-9._-]{1,63}$";
/// Cursors of lists.
const CURSOR: &str = "^[A-Za-z0-9_-]+$";
/// Entity tags, as they were sent in `ETag`.
const TAGS: &str = r#"^(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*$"#;
/// The same, or `*` for whatever is there.
const TAGS_OR_ANY: &str = r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#;

/// Fields that hold the id of a backup, a restore or a token.
const UUIDS: [&str; 8] =
    ["backup_id", "restore_id", "token_id", "safety_backup_id", "undone_by", "undo_of", "issued_with", "pinned_by"];
/// What has such an id itself.
const OWN_ID_IS_UUID: [&str; 5] = ["AuditRecord", "BackupView", "JobEvent", "RestoreView", "Token"];

/// The document with what is the same in all operations.
pub(super) fn finished(mut openapi: OpenApi) -> OpenApi {
    for item in openapi.paths.paths.values_mut() {
        for operation in operations(item) {
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter {
                    finish(parameter);
                }
            }
            lines_are_bytes(operation);
        }
    }
    if let Some(Schema::Array(users)) = property(&mut openapi, "RestoreRequest", "users") {
        items_match(users, USER_ID.to_owned(), Some(USER_ID_MAX));
    }
    if let Some(Schema::Array(scopes)) = property(&mut openapi, "NewToken", "scopes") {
        scopes.max_items = Some(Scope::ALL.len());
        items_match(scopes, format!("^({})$", Scope::ALL.map(Scope::name).join("|")), None);
    }
    for (name, schema) in openapi.components.iter_mut().flat_map(|components| &mut components.schemas) {
        if let RefOr::T(schema) = schema {
            finish_schema(name, schema);
        }
    }
    openapi
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten()
}

fn finish(parameter: &mut Parameter) {
    if let Some(RefOr::T(Schema::Array(list))) = &mut parameter.schema
        && parameter.name == "ids"
    {
        items_match(list, USER_ID.to_owned(), Some(USER_ID_MAX));
    }
    let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema else { return };
    // A header or a query has no null: an optional parameter is left out.
    if let SchemaType::Array(types) = &schema.schema_type
        && let [only] = types.iter().filter(|kind| **kind != Type::Null).collect::<Vec<_>>()[..]
    {
        schema.schema_type = SchemaType::Type(only.clone());
    }
    let header = parameter.parameter_in == ParameterIn::Header;
    match parameter.name.as_str() {
        "user_id" => {
            schema.pattern = Some(USER_ID.to_owned());
            schema.max_length = Some(USER_ID_MAX);
        }
        "department" => schema.pattern = Some(DEPARTMENT.to_owned()),
        "cursor" => schema.pattern = Some(CURSOR.to_owned()),
        "to" => schema.pattern = Some(LABEL.to_owned()),
        "backup_id" | "restore_id" | "token_id" => schema.format = Some(uuid()),
        // Where it is required, something that was looked at has to be named.
        "If-Match" | "If-None-Match" if header => {
            let any = parameter.required != Required::True;
            schema.pattern = Some(if any { TAGS_OR_ANY } else { TAGS }.to_owned());
            schema.example = Some("\"8c5f0a3b2d1e4f60\"".into());
        }
        _ => {}
    }
}

/// Lines of JSON: more than a client wants to have as one text.
fn lines_are_bytes(operation: &mut Operation) {
    let mut bodies = Vec::new();
    if let Some(RefOr::T(request)) = &mut operation.request_body {
        bodies.extend(request.content.get_mut(NDJSON));
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            bodies.extend(response.content.get_mut(NDJSON));
        }
    }
    for body in bodies {
        if let RefOr::T(body) = body {
            let bytes = SchemaFormat::KnownFormat(KnownFormat::Binary);
            let schema = ObjectBuilder::new().schema_type(Type::String).format(Some(bytes)).build();
            body.schema = Some(schema.into());
        }
    }
}

fn finish_schema(name: &str, schema: &mut Schema) {
    match schema {
        Schema::Object(object) => {
            for (field, schema) in &mut object.properties {
                let own = field == "id" && OWN_ID_IS_UUID.contains(&name);
                if let RefOr::T(Schema::Object(schema)) = schema
                    && (own || UUIDS.contains(&field.as_str()))
                {
                    schema.format = Some(uuid());
                }
            }
        }
        // A generator for TypeScript imports nothing that is described beside its reference.
        Schema::OneOf(choices) => {
            for choice in &mut choices.items {
                if let RefOr::Ref(choice) = choice {
                    choice.description.clear();
                }
            }
        }
        _ => {}
    }
}

fn uuid() -> SchemaFormat {
    SchemaFormat::Custom("uuid".to_owned())
}

fn property<'a>(openapi: &'a mut OpenApi, schema: &str, name: &str) -> Option<&'a mut Schema> {
    let Some(RefOr::T(Schema::Object(object))) = openapi.components.as_mut()?.schemas.get_mut(schema) else {
        return None;
    };
    match object.properties.get_mut(name)? {
        RefOr::T(schema) => Some(schema),
        RefOr::Ref(_) => None,
    }
}

/// A derive cannot say anything of the items of a list.
fn items_match(list: &mut Array, pattern: String, max: Option<usize>) {
    if let ArrayItems::RefOrSchema(items) = &mut list.items
        && let RefOr::T(Schema::Object(item)) = items.as_mut()
    {
        item.pattern = Some(pattern);
        item.max_length = max;
    }
}
