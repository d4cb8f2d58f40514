//! `rollkeeper token` against a running service: what it prints, and its exit codes.

use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::Stack;
use crate::harness::settings::Settings;

/// Runs `rollkeeper token` with a token in the environment.
fn token(url: &str, secret: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollkeeper"));
    command.arg("token").args(arguments).env("ROLLKEEPER_URL", url).env("ROLLKEEPER_TOKEN", secret);
    command.output().expect("run rollkeeper token")
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("be UTF-8")
}

fn refused(output: &Output, code: i32, text: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(text), "{said}");
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn tokens_are_issued_listed_and_revoked_from_the_command_line() {
    let stack = Stack::start(Settings::default()).await;
    let (url, secret) = (stack.replicas[0].url.as_str(), stack.token.as_str());
    let issue = ["issue", "ci", "--scope", "users:read,audit:read", "--department", "default", "--lifetime", "1h"];
    let text = printed(&token(url, secret, &issue));
    let client = stack.client().with_token(Some(text.trim()));
    client.get("/users").await.expect(200);

    let listed = printed(&token(url, secret, &["list"]));
    assert!(
        listed.contains("users:read,audit:read") && listed.contains("active") && !listed.contains("rk_"),
        "{listed}"
    );
    let listed: Value =
        serde_json::from_str(&printed(&token(url, secret, &["list", "--output", "json"]))).expect("be JSON");
    let id = listed[0]["id"].as_str().expect("have an id");

    refused(&token(url, secret, &["revoke", id]), 2, "--yes");
    client.get("/users").await.expect(200);
    printed(&token(url, secret, &["revoke", id, "--yes"]));
    client.get("/users").await.expect_problem(401, "token_revoked");

    refused(&token(url, text.trim(), &["list"]), 1, "token_revoked");
    refused(&token(url, secret, &["issue", "x", "--scope", "root"]), 1, "/scopes/0: A scope is one of");
    refused(&token(url, secret, &["revoke", "nonsense", "--yes"]), 2, "UUID");
    refused(&token("ftp://x", secret, &["list"]), 2, "--url");
    refused(&token("http://127.0.0.1:1", secret, &["list"]), 3, "does not answer");
    refused(&token(url, " ", &["list"]), 2, "ROLLKEEPER_TOKEN");
}
