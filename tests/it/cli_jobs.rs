//! `rollkeeper backup`, `restore` and `cluster` against a running service: what they print, change and refuse, and their exit
//! codes.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::harness::Stack;
use crate::harness::cli::cli_command;
use crate::harness::settings::Settings;
use crate::harness::vault::Told;

fn text(value: &Value) -> &str {
    value.as_str().expect("be a text")
}

/// (kind, user) of each difference.
fn kinds(told: &Told) -> Vec<(String, String)> {
    told.lines().iter().map(|line| (text(&line["kind"]).to_owned(), text(&line["user_id"]).to_owned())).collect()
}

#[tokio::test]
async fn a_loss_is_found_planned_restored_and_taken_back_from_the_command_line() {
    let stack = Stack::start(Settings::default()).await;
    stack.department("eng").await;
    stack.create_users("eng", 3).await;
    let made = stack.cli_json(&["backup", "create", "--department", "eng", "--wait"]).await.expect(0).json();
    assert_eq!((&made["state"], &made["records"]), (&json!("complete"), &json!(3)));
    let backup = text(&made["id"]);
    let listed = stack.cli_json(&["backup", "list", "--department", "eng"]).await.expect(0).json();
    assert!(listed.as_array().is_some_and(|all| all.iter().any(|one| one["id"] == made["id"])), "{listed}");
    let shown = stack.cli(&["backup", "show", backup]).await.expect(0);
    assert!(shown.out.contains(backup) && shown.out.contains("present"), "{}", shown.out);
    assert!(stack.cli(&["backup", "verify", backup]).await.expect(0).out.contains("whole: true"));

    let before = stack.names("eng").await;
    stack.change("eng-00000", json!({ "name": "Another" })).await;
    stack.delete("eng-00001").await;
    stack.create("eng", "eng-x", "New").await;
    stack.client().post("/departments/eng/sync", json!({})).await.expect(200);
    let lost = stack.names("eng").await;
    let differs = stack.cli_json(&["backup", "diff", backup]).await.expect(0);
    let wanted = [("changed", "eng-00000"), ("removed", "eng-00001"), ("added", "eng-x")];
    assert_eq!(kinds(&differs), wanted.map(|(kind, user)| (kind.to_owned(), user.to_owned())));
    assert!(differs.err.contains("1 added, 1 removed, 1 changed"), "{}", differs.err);

    let planned = stack.cli_json(&["restore", "plan", "--backup", backup]).await.expect(0);
    let plan = planned.json();
    assert_eq!(
        (&plan["state"], &plan["plan"]["creates"], &plan["plan"]["updates"]),
        (&json!("planned"), &json!(1), &json!(1))
    );
    let (id, etag) = (text(&plan["id"]), text(&plan["plan"]["hash"]));
    assert!(planned.err.contains(&format!("restore apply {id} --etag '\"{etag}\"' --yes")), "{}", planned.err);
    for refused in [&["restore", "apply", id, "--etag", etag][..], &["restore", "apply", id, "--yes"]] {
        let told = stack.cli(refused).await.expect(2);
        assert!(told.err.contains("--yes") && told.out.is_empty(), "{}", told.err);
    }
    let stale = stack.cli(&["restore", "apply", id, "--etag", "another", "--yes"]).await.expect(1);
    assert!(stale.err.contains("412"), "{}", stale.err);
    assert_eq!(stack.names("eng").await, lost);

    let apply = ["restore", "apply", id, "--etag", etag, "--yes", "--wait"];
    let applied = stack.cli_json(&apply).await.expect(0).json();
    assert_eq!((&applied["state"], &applied["progress"]["changes_applied"]), (&json!("complete"), &json!(2)));
    let restored = stack.names("eng").await;
    assert!(before.iter().all(|(id, name)| restored.get(id) == Some(name)) && restored.len() == 4, "{restored:?}");
    let changes = stack.cli_json(&["restore", "show", id, "--changes"]).await.expect(0);
    assert_eq!(changes.lines().len(), 2, "{}", changes.out);
    assert!(stack.cli(&["restore", "show", id]).await.expect(0).out.contains("1 creates, 1 updates, 0 deletes"));

    assert!(stack.cli(&["restore", "undo", id]).await.expect(2).err.contains("--yes"));
    let undone = stack.cli_json(&["restore", "undo", id, "--yes", "--wait"]).await.expect(0).json();
    assert_eq!((&undone["state"], &undone["from"]["undo_of"]), (&json!("complete"), &plan["id"]));
    assert_eq!(stack.names("eng").await, lost);
    assert!(stack.cli(&["restore", "undo", id, "--yes"]).await.expect(1).err.contains("already_undone"));

    let at_once = ["restore", "plan", "--backup", backup, "--user", "eng-00001", "--apply", "--yes", "--wait"];
    assert_eq!(stack.cli_json(&at_once).await.expect(0).json()["state"], "complete");
    assert_eq!(stack.names("eng").await.get("eng-00001"), before.get("eng-00001"));
    assert!(stack.cli(&at_once[..7]).await.expect(2).err.contains("--yes"));
    let listed = stack.cli_json(&["restore", "list", "--department", "eng", "--state", "complete"]).await.expect(0);
    assert_eq!(listed.json().as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn a_plan_is_cancelled_and_what_fails_is_refused_or_missing_has_its_exit_code() {
    let stack = Stack::start(Settings::default()).await;
    stack.create_users("default", 1).await;
    let made = stack.cli_json(&["backup", "create", "--department", "default", "--wait"]).await.expect(0).json();
    let backup = text(&made["id"]);
    let plan = stack.cli_json(&["restore", "plan", "--backup", backup]).await.expect(0).json();
    let id = text(&plan["id"]);
    let cancelled = stack.cli_json(&["restore", "cancel", id, "--wait"]).await.expect(0).json();
    assert_eq!(cancelled["state"], "cancelled");
    let apply = ["restore", "apply", id, "--etag", text(&plan["plan"]["hash"]), "--yes"];
    assert!(stack.cli(&apply).await.expect(1).err.contains("not_planned"));

    let cluster = stack.cli_json(&["cluster"]).await.expect(0).json();
    assert_eq!((&cluster["replica"], &cluster["leaders"][0]["department"]), (&json!("r1"), &json!("default")));
    let shown = stack.cli(&["cluster"]).await.expect(0).out;
    assert!(shown.contains("leaders") && shown.contains("default") && shown.contains("t1"), "{shown}");

    let nobody = "0197f4e2-7a1b-7c3d-8e4f-5a6b7c8d9e0f";
    assert!(stack.cli(&["backup", "show", "nonsense"]).await.expect(2).err.contains("UUID"));
    assert!(stack.cli(&["backup", "show", nobody]).await.expect(1).err.contains("not_found"));
    assert!(
        stack.cli(&["backup", "create", "--department", "nowhere"]).await.expect(1).err.contains("unknown_department")
    );
    assert!(stack.cli(&["restore", "plan", "--department", "default"]).await.expect(2).err.contains("--at"));
    let early = ["restore", "plan", "--department", "default", "--at", "2020-01-01T00:00:00Z"];
    assert!(stack.cli(&early).await.expect(1).err.contains("that can be read: "));
    let begun = Instant::now();
    let told: Told = cli_command("http://127.0.0.1:1", &stack.token, &["cluster"]).output().await.expect("run").into();
    assert!(told.expect(3).err.contains("does not answer") && begun.elapsed() < Duration::from_secs(10));
}

/// Runs `rollkeeper` on a terminal, where somebody answers.
async fn on_a_terminal(stack: &Stack, arguments: &[&str], answer: &str) -> Told {
    let program = [&[env!("CARGO_BIN_EXE_rollkeeper")], arguments].concat().join(" ");
    let mut command = tokio::process::Command::new("script");
    command.args(["--quiet", "--return", "--command", &program, "/dev/null"]);
    command.env("ROLLKEEPER_URL", &stack.replicas[0].url).env("ROLLKEEPER_TOKEN", &stack.token);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("run `script`");
    let mut input = child.stdin.take().expect("have an input");
    input.write_all(answer.as_bytes()).await.expect("answer");
    let told = child.wait_with_output().await.expect("wait for the program").into();
    drop(input);
    told
}

#[tokio::test]
async fn on_a_terminal_a_plan_is_shown_and_applied_when_somebody_agrees() {
    let stack = Stack::start(Settings::default()).await;
    stack.create_users("default", 2).await;
    let made = stack.backup("default").await;
    let backup = text(&made["id"]);
    stack.delete("default-00001").await;
    let plan = stack.cli_json(&["restore", "plan", "--backup", backup]).await.expect(0).json();
    let apply = ["restore", "apply", text(&plan["id"]), "--wait"];
    let told = on_a_terminal(&stack, &apply, "n\n").await.expect(1);
    assert!(told.out.contains("1 creates, 0 updates") && told.out.contains("nothing was done"), "{}", told.out);
    assert_eq!(stack.names("default").await.len(), 1);
    let told = on_a_terminal(&stack, &apply, "yes\n").await.expect(0);
    assert!(told.out.contains("[y/N]") && told.out.contains("complete"), "{}", told.out);
    assert_eq!(stack.names("default").await.len(), 2);
    stack.delete("default-00000").await;
    let at_once = ["restore", "plan", "--backup", backup, "--apply", "--wait"];
    on_a_terminal(&stack, &at_once, "y\n").await.expect(0);
    assert_eq!(stack.names("default").await.len(), 2);
}

#[tokio::test]
async fn completions_have_the_verbs_of_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let told: Told =
            cli_command("http://127.0.0.1:1", "", &["completions", shell]).output().await.expect("run").into();
        let script = told.expect(0).out;
        for word in ["backup", "restore", "cluster", "users", "import", "export", "verify", "diff", "undo", "apply"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}
