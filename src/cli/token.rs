//! `rollkeeper token`: issues, lists and revokes tokens of a running service.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::output::{self, Output};
use super::remote::{self, AFTER_HELP, Ask, Failure, RemoteArgs, Service, confirm};
use super::table::{cell, columns, rows};
use crate::domain::ids::TokenId;

/// What to do with tokens, and where.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct TokenArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Issue a token and print its text, once; the service keeps a hash.
    Issue {
        /// What callers with it are called.
        name: String,
        /// What it allows, for example `users:read`; separated by commas, or given many times.
        #[arg(long = "scope", required = true, value_delimiter = ',')]
        scopes: Vec<String>,
        /// The one department that it sees; all without it.
        #[arg(long)]
        department: Option<String>,
        /// How long it lives, for example `90d`; for ever without it.
        #[arg(long, conflicts_with = "expires_at")]
        lifetime: Option<String>,
        /// When it ends, for example `2027-01-01T00:00:00Z`.
        #[arg(long)]
        expires_at: Option<String>,
    },
    /// List tokens, without their texts.
    List {
        /// Only those of this department.
        #[arg(long)]
        department: Option<String>,
    },
    /// Revoke a token: no replica takes it any more two seconds later.
    Revoke {
        /// The id of the token, as `list` shows it.
        token_id: String,
        /// It is meant.
        #[arg(long)]
        yes: bool,
    },
}

/// Runs the command; the exit code.
pub(super) fn run(args: &TokenArgs) -> u8 {
    remote::run(&args.remote, async |service| work(service, args).await)
}

async fn work(service: &Service, args: &TokenArgs) -> Result<u8, Failure> {
    let how = args.remote.output;
    match &args.command {
        TokenCommand::Issue { name, scopes, department, lifetime, expires_at } => {
            let mut body = json!({ "name": name, "scopes": scopes });
            for (key, value) in [("department", department), ("lifetime", lifetime), ("expires_at", expires_at)] {
                if let Some(value) = value {
                    body[key] = json!(value);
                }
            }
            let issued = service.send(&Ask::once(Method::POST, "/tokens", Some(body))).await?;
            if how == Output::Json {
                return Ok(output::json(&issued));
            }
            output::progress(&format!("issued {}; this text is not shown again:", cell(&issued["id"])));
            Ok(output::line(issued["token"].as_str().unwrap_or_default()))
        }
        TokenCommand::List { department } => {
            let query: Vec<(&str, &str)> = department.iter().map(|name| ("department", name.as_str())).collect();
            let tokens = service.list("/tokens", &query, 0).await?.0;
            Ok(if how == Output::Json { output::json(&tokens) } else { output::line(&table(&tokens)) })
        }
        TokenCommand::Revoke { token_id, yes } => {
            let id: TokenId = token_id.parse().map_err(|error| Failure::usage(format!("token id: {error}")))?;
            confirm(*yes, "whoever uses the token is locked out at once")?;
            service.send(&Ask::once(Method::DELETE, &format!("/tokens/{id}"), None)).await?;
            Ok(match how {
                Output::Json => output::json(&json!({ "id": id.as_str(), "state": "revoked" })),
                Output::Table => output::line(&format!("{id} is revoked")),
            })
        }
    }
}

fn table(tokens: &[Value]) -> String {
    let fields = ["id", "name", "state", "department", "issued_by", "expires_at", "scopes"];
    let head = ["token", "name", "state", "department", "issued by", "expires at", "scopes"];
    columns(&head, &rows(tokens, &fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_shows_each_token_in_a_line_and_what_is_absent_as_a_hyphen() {
        let token = json!({ "id": "1", "name": "ci", "state": "active", "department": null, "issued_by": "ada",
            "expires_at": null, "scopes": ["users:read", "audit:read"] });
        let shown = table(&[token]);
        let line = shown.lines().nth(1).unwrap();
        assert_eq!(
            line.split_whitespace().collect::<Vec<_>>(),
            ["1", "ci", "active", "-", "ada", "-", "users:read,audit:read"]
        );
    }
}
