//! How requests are read: bodies, queries, paths, preconditions.
//!
//! Rule: 400 for what cannot be parsed, 422 for what parsed and is not valid, with the place of the fault in both cases
//! where there is one. axum's own `Json`, `Query` and `Path` are not used: they answer in plain text.

mod body;
mod drain;
mod path;
mod precondition;
mod query;

pub use body::{BODY_MAX, Json, not_null, object, object_not_null, parse_json, read_body, whole_not_null};
pub use drain::{DRAIN_MAX, Rest, TooSlow};
pub use path::{Path, Path2, PathText};
pub use precondition::{IfMatch, IfNoneMatch, Tags};
pub use query::{Query, flag, parameter};
