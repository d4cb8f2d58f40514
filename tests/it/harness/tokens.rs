//! Issued tokens, and what the audit says.

use serde_json::{Value, json};

use super::Stack;
use super::client::Client;

impl Stack {
    /// A client of the first replica with a new token, and what was answered when it was issued.
    pub(crate) async fn issued(&self, scopes: &[&str], department: Option<&str>) -> (Client, Value) {
        let mut body = json!({ "name": "tester", "scopes": scopes });
        if let Some(department) = department {
            body["department"] = json!(department);
        }
        let answer = self.client().post("/tokens", body).await.expect(201);
        (self.client().with_token(answer.json["token"].as_str()), answer.json)
    }

    /// The audit records that a query finds, newest first.
    pub(crate) async fn audit(&self, query: &str) -> Vec<Value> {
        let page = self.client().get(&format!("/audit{query}")).await.expect(200).json;
        page["items"].as_array().expect("have items").clone()
    }
}
