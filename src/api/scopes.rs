//! Which scopes each operation needs: what the document says of it, asked before anything else of a request is read.
//!
//! Rule: the document and the code cannot differ. An operation that states no scope is open to nobody.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::extract::MatchedPath;
use axum::http::Method;
use axum::http::request::Parts;

use super::auth::lacks;
use super::problem::{Kind, Problem};
use crate::domain::token::{Caller, Scope};

/// Sets of scopes, of which a caller has to hold all of one.
type Needs = Vec<Vec<Scope>>;

/// The needs of each operation, by the path of its route.
static OPERATIONS: LazyLock<HashMap<String, Vec<(Method, Needs)>>> = LazyLock::new(|| {
    let document = serde_json::to_value(super::openapi()).unwrap_or_default();
    let mut operations: HashMap<String, Vec<(Method, Needs)>> = HashMap::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            if let (Ok(method), Some(needs)) = (method.to_uppercase().parse(), needs(operation)) {
                operations.entry(path.clone()).or_default().push((method, needs));
            }
        }
    }
    operations
});

/// What an operation of the document says that it needs; none where it says nothing that can be met.
fn needs(operation: &serde_json::Value) -> Option<Needs> {
    let each = |requirement: &serde_json::Value| {
        let names = requirement["bearer"].as_array()?;
        let scopes: Option<Vec<Scope>> = names.iter().map(|name| name.as_str()?.parse().ok()).collect();
        scopes.filter(|scopes| !scopes.is_empty())
    };
    let needs: Option<Needs> = operation["security"].as_array()?.iter().map(each).collect();
    needs.filter(|needs| !needs.is_empty())
}

/// Refuses a caller that lacks what the operation of a request needs.
pub(super) fn demand(parts: &Parts, caller: &Caller) -> Result<(), Problem> {
    let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let method = if parts.method == Method::HEAD { &Method::GET } else { &parts.method };
    let operation = OPERATIONS.get(path).and_then(|all| all.iter().find(|(known, _)| known == method));
    let Some((_, needs)) = operation else {
        return Err(Problem::new(Kind::Internal, "The operation states no scope.").source("no scope in the document"));
    };
    if needs.iter().any(|all| all.iter().all(|scope| caller.has(*scope))) {
        return Ok(());
    }
    // Of a set that lacks least, what is lacking.
    let missing = |all: &Vec<Scope>| all.iter().copied().filter(|scope| !caller.has(*scope)).collect::<Vec<_>>();
    let sets: Vec<Vec<Scope>> = needs.iter().map(missing).collect();
    Err(lacks(&sets))
}
