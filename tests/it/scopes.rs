//! Each operation of the document is asked without a token, with every scope but its own, with its own alone, and with its
//! own in a foreign department: the code demands exactly what the document says.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Stack;
use crate::harness::client::{Answer, Client};
use crate::harness::settings::Settings;

/// Operations that anybody may ask for.
const OPEN: [&str; 2] = ["getLiveness", "getReadiness"];
/// Operations that concern no department, or show a caller what he may see, or are only for who may see all.
const WITHOUT_DEPARTMENT: [&str; 3] = ["getCluster", "getMetrics", "listDepartments"];

/// An operation of the document.
#[derive(Debug)]
struct Operation {
    id: String,
    method: Method,
    path: String,
    /// Sets of scopes, of which all of one are needed; none where nothing is stated.
    needs: Option<Vec<Vec<String>>>,
    has_body: bool,
    has_department: bool,
}

fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(&rollkeeper::api::openapi_json()).expect("read the document");
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("have paths") {
        for (method, operation) in item.as_object().expect("have operations") {
            let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes()) else { continue };
            let each = |set: &Value| {
                let names = set["bearer"].as_array()?.iter().map(|name| name.as_str().map(str::to_owned));
                names.collect::<Option<Vec<String>>>().filter(|set| !set.is_empty())
            };
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            found.push(Operation {
                id: operation["operationId"].as_str().expect("have an id").to_owned(),
                method,
                path: path.clone(),
                needs: operation["security"].as_array().and_then(|sets| sets.iter().map(each).collect()),
                has_body: operation["requestBody"].is_object(),
                has_department: parameters.iter().any(|it| it["name"] == "department" && it["in"] == "query"),
            });
        }
    }
    // What deletes comes last, and departments at the very end, so that the others find what they ask for.
    found.sort_by_key(|it| (it.method == Method::DELETE, it.path.starts_with("/departments")));
    found
}

/// What a path parameter stands for, and a body that its operation can read.
struct World {
    names: BTreeMap<&'static str, String>,
}

impl World {
    /// One that is there.
    async fn made(stack: &Stack) -> Self {
        stack.department("eng").await;
        stack.create_users("eng", 1).await;
        let backup = stack.backup("eng").await["id"].as_str().expect("have an id").to_owned();
        let planned = stack.plan(json!({ "from": { "backup_id": backup } })).await;
        let (_, token) = stack.issued(&["users:read"], Some("eng")).await;
        Self::of(
            "eng",
            "eng-00000",
            &backup,
            planned.job["id"].as_str().expect("have an id"),
            token["id"].as_str().expect("have an id"),
        )
    }

    /// One of which nothing is there.
    fn nowhere() -> Self {
        let id = "0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f";
        Self::of("nowhere", "nobody", id, id, id)
    }

    fn of(department: &str, user: &str, backup: &str, restore: &str, token: &str) -> Self {
        let names = [
            ("department", department),
            ("user_id", user),
            ("backup_id", backup),
            ("restore_id", restore),
            ("token_id", token),
        ];
        Self { names: names.map(|(name, value)| (name, value.to_owned())).into() }
    }

    fn path(&self, operation: &Operation) -> String {
        let mut path = operation.path.clone();
        for (name, value) in &self.names {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        assert!(!path.contains('{'), "what stands for the parameter of {path}?");
        if operation.has_department && path == operation.path {
            path = format!("{path}?department={}", self.names["department"]);
        }
        path
    }

    fn body(&self, operation: &Operation) -> Option<(&'static str, String)> {
        let department = &self.names["department"];
        let json = |body: Value| Some(("application/json", body.to_string()));
        match operation.id.as_str() {
            "createUser" => {
                json(json!({ "department": department, "name": "New", "password": "correct horse battery" }))
            }
            "updateUser" | "putDepartment" => json(json!({})),
            "importUsers" => Some(("application/x-ndjson", String::new())),
            "startBackup" => json(json!({ "department": department })),
            "startRestore" => json(json!({ "from": { "department": department, "sequence": 0 } })),
            "verifyPassword" => json(json!({ "password": "correct horse battery" })),
            "rebaseDepartment" => json(json!({ "confirm": department })),
            "issueToken" => json(json!({ "name": "x", "scopes": ["tokens:write"], "department": department })),
            id => {
                assert!(!operation.has_body, "give {id} a body here");
                None
            }
        }
    }

    async fn ask(&self, client: &Client, operation: &Operation) -> Answer {
        let path = self.path(operation);
        let (headers, body) = match self.body(operation) {
            Some((kind, body)) => (vec![("content-type", kind)], Some(body)),
            None => (Vec::new(), None),
        };
        client.send(operation.method.clone(), &path, &headers, body).await
    }
}

/// Tokens of a stack, each issued once.
struct Tokens<'a> {
    stack: &'a Stack,
    issued: BTreeMap<(Vec<String>, Option<&'static str>), Client>,
}

impl Tokens<'_> {
    async fn with(&mut self, scopes: &[String], department: Option<&'static str>) -> Client {
        let key = (scopes.to_vec(), department);
        if !self.issued.contains_key(&key) {
            let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
            let (client, _) = self.stack.issued(&scopes, department).await;
            self.issued.insert(key.clone(), client);
        }
        self.issued[&key].clone()
    }
}

#[test]
fn every_operation_but_the_probes_states_scopes_that_there_are() {
    let known = rollkeeper::domain::token::Scope::ALL.map(rollkeeper::domain::token::Scope::name);
    let operations = operations();
    assert!(operations.len() > 35, "{}", operations.len());
    for operation in operations.iter().filter(|it| !OPEN.contains(&it.id.as_str())) {
        let needs = operation.needs.as_ref().unwrap_or_else(|| panic!("{} states no scope", operation.id));
        assert!(!needs.is_empty(), "{} states no scope", operation.id);
        let unknown = needs.iter().flatten().find(|name| !known.contains(&name.as_str()));
        assert!(unknown.is_none(), "{}: {unknown:?}", operation.id);
    }
}

#[tokio::test]
async fn every_operation_demands_a_token_with_exactly_the_scopes_of_the_document() {
    let stack = Stack::start(Settings::default()).await;
    let mut tokens = Tokens { stack: &stack, issued: BTreeMap::new() };
    let (nobody, nowhere) = (stack.client().with_token(None), World::nowhere());
    let all = rollkeeper::domain::token::Scope::ALL.map(|scope| scope.name().to_owned());
    let mut found = Vec::new();
    for operation in operations().iter().filter(|it| !OPEN.contains(&it.id.as_str())) {
        let Operation { id, needs, .. } = operation;
        let needs = needs.as_ref().unwrap_or_else(|| panic!("{id} states no scope"));
        nowhere.ask(&nobody, operation).await.expect_problem(401, "unauthenticated");
        // Without the first of each set, the second of each set, ….
        for at in 0..needs.iter().map(Vec::len).max().unwrap_or(0) {
            let lacking: Vec<&String> = needs.iter().map(|set| &set[at.min(set.len() - 1)]).collect();
            let others: Vec<String> = all.iter().filter(|scope| !lacking.contains(scope)).cloned().collect();
            let answer = nowhere.ask(&tokens.with(&others, None).await, operation).await;
            if answer.status != 403 || answer.json["code"] != "missing_scope" {
                found.push(format!("{id} without {lacking:?}: {} {}", answer.status, answer.text));
            }
            for scope in lacking {
                if !answer.json["detail"].as_str().unwrap_or_default().contains(scope.as_str()) {
                    found.push(format!("{id} does not say that it lacks {scope}: {}", answer.text));
                }
            }
        }
        for set in needs {
            let answer = nowhere.ask(&tokens.with(set, None).await, operation).await;
            if matches!(answer.status.as_u16(), 401 | 403) {
                found.push(format!("{id} wants more than {set:?}: {}", answer.text));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test]
async fn every_operation_in_a_department_answers_404_to_a_token_of_another_one() {
    let stack = Stack::start(Settings::default()).await;
    let world = World::made(&stack).await;
    let mut tokens = Tokens { stack: &stack, issued: BTreeMap::new() };
    let mut found = Vec::new();
    let concerned = |it: &&Operation| ![&OPEN[..], &WITHOUT_DEPARTMENT[..]].concat().contains(&it.id.as_str());
    for operation in operations().iter().filter(concerned) {
        let Operation { id, needs, .. } = operation;
        let needs = needs.as_ref().unwrap_or_else(|| panic!("{id} states no scope"));
        let foreign = world.ask(&tokens.with(&needs[0], Some("default")).await, operation).await;
        // Whoever asks for a password hears the same of a foreign user as of none.
        let as_of_nobody = id == "verifyPassword" && foreign.json["reason"] == "wrong_credentials";
        if foreign.status != 404 && !as_of_nobody {
            found.push(format!("{id} of a foreign department: {} {}", foreign.status, foreign.text));
        }
        let own = world.ask(&tokens.with(&needs[0], Some("eng")).await, operation).await;
        if matches!(own.status.as_u16(), 401 | 403 | 404) || own.status.is_server_error() {
            found.push(format!("{id} of the own department: {} {}", own.status, own.text));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
