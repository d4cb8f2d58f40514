//! The scenario of all clients, with the one that progenitor makes out of the document of OpenAPI 3.0.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::TryStreamExt;
use progenitor_client::Error;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

mod client {
    //! What progenitor makes.
    progenitor::generate_api!(spec = "../../../openapi/openapi-3.0.json", interface = Builder);
}

use client::Client;
use client::types::{
    BackupRequest, BackupStateView, BackupView, DepartmentRequest, NewUser, PolicyRequest, Problem, RestoreFrom,
    RestoreRequest, RestoreStateView, UserPatch, UserView,
};

/// Compares, and says what was found.
fn same<T: PartialEq + Debug>(found: T, wanted: T, what: &str) -> Result<()> {
    ensure!(found == wanted, "{what}: {found:?} instead of {wanted:?}");
    println!("{what}: {found:?}");
    Ok(())
}

/// The problem that a request is refused with.
fn refused<T: Debug>(answer: Result<T, Error<Problem>>) -> Result<Problem> {
    match answer {
        Err(Error::ErrorResponse(response)) => Ok(response.into_inner()),
        other => bail!("the request was not refused: {other:?}"),
    }
}

/// An `ETag` is the revision in quotes.
fn etag(rev: &str) -> String {
    format!("\"{rev}\"")
}

struct Scenario {
    client: Client,
    department: String,
}

impl Scenario {
    fn new() -> Result<Self> {
        let variable = |name| std::env::var(name).context(name);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {}", variable("ROLLKEEPER_TOKEN")?))?);
        let http = reqwest::Client::builder().default_headers(headers).timeout(Duration::from_secs(90)).build()?;
        let client = Client::new_with_client(&variable("ROLLKEEPER_URL")?, http);
        Ok(Self { client, department: variable("DEPARTMENT")? })
    }

    /// The names of all users, page by page.
    async fn everybody(&self) -> Result<Vec<String>> {
        let (mut found, mut cursor): (Vec<String>, Option<String>) = (Vec::new(), None);
        loop {
            let mut request = self.client.list_users().department(&self.department).limit(1);
            if let Some(cursor) = &cursor {
                request = request.cursor(cursor);
            }
            let page = request.send().await?.into_inner();
            found.extend(page.items.into_iter().map(|user| user.name));
            cursor = page.next_cursor;
            if cursor.is_none() {
                found.sort();
                return Ok(found);
            }
        }
    }

    /// Two users, one of them changed, and a backup of both.
    async fn change_and_back_up(&self) -> Result<(UserView, String, BackupView)> {
        let (client, department) = (&self.client, &self.department);
        let policy = PolicyRequest::builder().backup_every("1h".to_owned());
        let body = DepartmentRequest::builder().policy(PolicyRequest::try_from(policy)?);
        let made = client.put_department().department(department).body(body).send().await?;
        same(made.policy.backup_every.as_str(), "1h", "department")?;
        let body = NewUser::builder()
            .name("Ada".to_owned())
            .department(department.clone())
            .password("correct horse battery staple".to_owned());
        let ada = client.create_user().idempotency_key(etag(department)).body(body).send().await?.into_inner();
        let line = serde_json::json!({"name": "Grace Hopper", "department": department, "password": "a ship in port"});
        let results = client.import_users().body(line.to_string()).send().await?.into_inner();
        let results: Vec<u8> = results.into_inner().map_ok(|chunk| chunk.to_vec()).try_concat().await?;
        let result: serde_json::Value = serde_json::from_slice(&results)?;
        same(result["status"].as_str(), Some("created"), "import of a line")?;
        let grace = result["id"].as_str().context("an id")?.to_owned();
        same(self.everybody().await?, ["Ada", "Grace Hopper"].map(str::to_owned).to_vec(), "list")?;
        let patch =
            |patch| client.update_user().user_id(&ada.id).if_match(etag(&ada.rev)).body::<UserPatch>(patch).send();
        let patched = patch(UserPatch::builder().name("Ada Lovelace".to_owned()).try_into()?).await?;
        same((patched.name.as_str(), patched.version), ("Ada Lovelace", 2), "patch with ETag")?;
        let stale = refused(patch(UserPatch::builder().locked(true).try_into()?).await)?;
        same((stale.status, stale.code.as_str()), (412, "stale"), "patch with a stale ETag")?;
        let body = BackupRequest::builder().department(department.clone());
        let backup = client.start_backup().prefer("wait=60").body(body).send().await?.into_inner();
        same((backup.state, backup.records), (BackupStateView::Complete, Some(2)), "backup")?;
        Ok((ada, grace, backup))
    }

    async fn run(&self) -> Result<()> {
        let (ada, grace, backup) = self.change_and_back_up().await?;
        let client = &self.client;
        client.delete_user().user_id(&grace).send().await?;
        client.update_user().user_id(&ada.id).body(UserPatch::builder().name("Nobody".to_owned())).send().await?;
        let from = RestoreFrom::builder().backup_id(backup.id);
        let body = RestoreRequest::builder().from(RestoreFrom::try_from(from)?);
        let planned = client.start_restore().prefer("wait=60").body(body).send().await?.into_inner();
        let plan = planned.plan.context("a plan")?;
        let found = (planned.state, plan.creates, plan.updates);
        same(found, (RestoreStateView::Planned, 1, 1), "restore, planned")?;
        let request = client.apply_restore().restore_id(planned.id);
        let applied = request.if_match(etag(&plan.hash)).prefer("wait=60").send().await?;
        let found = (applied.state, applied.progress.changes_applied);
        same(found, (RestoreStateView::Complete, 2), "restore, applied")?;
        let names = ["Ada Lovelace", "Grace Hopper"].map(str::to_owned).to_vec();
        same(self.everybody().await?, names, "list after the restore")?;
        let gone = refused(client.get_user().user_id("nobody").send().await)?;
        same((gone.status, gone.code.as_str()), (404, "not_found"), "an error")?;
        let body = NewUser::builder().name("Eve".to_owned()).department(self.department.clone());
        let invalid = refused(client.create_user().body(body).send().await)?;
        let pointer = invalid.errors.first().and_then(|error| error.pointer.as_deref());
        same((invalid.status, pointer), (422, Some("/password")), "an error with its field")
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    Scenario::new()?.run().await
}
