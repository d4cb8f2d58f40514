//! `rollkeeper users` against a running service: what goes out comes in elsewhere, and an import that was broken off is run again.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin};

use crate::harness::cli::cli_command;
use crate::harness::proxy::{Mode, Proxy};
use crate::harness::records::{Records, hash_number};
use crate::harness::settings::Settings;
use crate::harness::vault::Told;
use crate::harness::{Stack, eventually};

/// Lines of one part of an import.
const PART: usize = 5000;

fn line(n: usize) -> String {
    let hash = hash_number(n as u64);
    json!({ "id": format!("u{n:05}"), "name": format!("User {n}"), "password_hash": hash }).to_string() + "\n"
}

fn written(stack: &Stack, name: &str, text: &str) -> PathBuf {
    let path = stack.folder.path().join(name);
    std::fs::write(&path, text).expect("write a file");
    path
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("be UTF-8")
}

/// Records without what every write makes anew.
fn content(mut records: Records) -> Records {
    for user in records.values_mut() {
        (user.rev, user.version, user.updated_at) = (rollkeeper::domain::user::Rev::from_bits(0), 0, user.created_at);
    }
    records
}

/// An import from standard input.
fn piped(url: &str, token: &str) -> (Child, ChildStdin) {
    let mut command = cli_command(url, token, &["users", "import", "-", "--output", "json"]);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().expect("run the program");
    let input = child.stdin.take().expect("have an input");
    (child, input)
}

async fn ended(child: Child) -> Told {
    let ended = tokio::time::timeout(Duration::from_mins(2), child.wait_with_output()).await;
    ended.expect("end in time").expect("wait for the program").into()
}

async fn count_is(stack: &Stack, least: usize) {
    let what = format!("{least} users are there");
    eventually(&what, Duration::from_mins(1), async || (stack.records("default").await.len() >= least).then_some(()))
        .await;
}

#[tokio::test]
async fn what_is_exported_is_imported_elsewhere_as_it_was() {
    let (here, there) = (Stack::start(Settings::default()).await, Stack::start(Settings::default()).await);
    for stack in [&here, &there] {
        stack.department("eng").await;
    }
    here.create_users("eng", 1200).await;
    here.change("eng-00007", json!({ "locked": true, "name": "Zoë \"the\" \\ 七" })).await;
    let file = here.folder.path().join("eng.ndjson");
    let told = here.cli(&["users", "export", "--department", "eng", "--output-file", shown(&file)]).await.expect(0);
    assert!(told.out.is_empty() && told.err.contains("1200 users exported"), "{}", told.err);
    let mode = std::fs::metadata(&file).expect("be there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "others may read the hashes");
    let printed = here.cli(&["users", "export", "--department", "eng"]).await.expect(0);
    assert_eq!(printed.out, std::fs::read_to_string(&file).expect("read the export"));

    let told = there.cli_json(&["users", "import", shown(&file)]).await.expect(0).json();
    assert_eq!((&told["created"], &told["failed"], &told["complete"]), (&json!(1200), &json!(0), &json!(true)));
    assert_eq!(content(there.records("eng").await), content(here.records("eng").await));
    let before = there.records("eng").await;
    let told = there.cli_json(&["users", "import", shown(&file)]).await.expect(0).json();
    assert_eq!((&told["created"], &told["unchanged"]), (&json!(0), &json!(1200)));
    assert_eq!(there.records("eng").await, before, "a second import writes nothing");
}

#[tokio::test]
async fn every_refused_line_is_told_with_its_number_and_the_others_are_imported() {
    let stack = Stack::start(Settings::default()).await;
    let long = format!("{{\"name\": \"{}\"}}\n", "x".repeat(70_000));
    let text = [&line(0), "\n", "nonsense\n", &line(1), &long, &line(2).replace("u00002", "u 2"), &line(3)].concat();
    let file = written(&stack, "mixed.ndjson", text.trim_end());
    let told = stack.cli_json(&["users", "import", shown(&file)]).await.expect(1);
    let summary = told.json();
    assert_eq!((&summary["lines"], &summary["created"], &summary["failed"]), (&json!(6), &json!(3), &json!(3)));
    let mut errors: Vec<(&Value, &Value)> =
        summary["errors"].as_array().expect("be a list").iter().map(|it| (&it["line"], &it["error"]["code"])).collect();
    errors.sort_by_key(|(line, _)| line.as_u64());
    let (invalid, long) = (json!("invalid"), json!("line_too_long"));
    assert_eq!(errors, [(&json!(3), &json!("invalid_json")), (&json!(5), &long), (&json!(6), &invalid)]);
    for words in ["line 3: invalid_json", "line 5: line_too_long", "line 6: invalid (/id "] {
        assert!(told.err.contains(words), "{words}: {}", told.err);
    }
    let told = stack.cli(&["users", "import", shown(&file), "--refused-max", "1"]).await.expect(1);
    assert!(told.err.contains("2 more lines were refused") && told.out.contains("unchanged  3"), "{}", told.err);
    let told = stack.cli_json(&["users", "import", shown(&file), "--from-line", "7"]).await.expect(0).json();
    assert_eq!(told["lines"], 1);

    for (arguments, code, words) in [
        (&["users", "import", "nowhere.ndjson"][..], 2, "cannot be read"),
        (&["users", "import", shown(&file), "--department", "nowhere"], 1, "unknown_department"),
        (&["users", "import", shown(&file), "--on-conflict", "merge"], 2, "replace"),
        (&["users", "export", "--output-file", "/nowhere/at/all"], 2, "cannot be written"),
        (&["users", "export", "--department", "nowhere"], 1, "unknown_department"),
    ] {
        let told = stack.cli(arguments).await.expect(code);
        assert!(told.err.contains(words), "{arguments:?}: {}", told.err);
    }
}

#[tokio::test]
async fn an_import_that_was_killed_is_run_again_and_leaves_exactly_all_users() {
    let stack = Stack::start(Settings::default()).await;
    let all: Vec<String> = (0..PART + 500).map(line).collect();
    let (mut child, mut input) = piped(&stack.replicas[0].url, &stack.token);
    input.write_all(all[..PART].concat().as_bytes()).await.expect("write");
    // In the middle of the part.
    count_is(&stack, 500).await;
    child.start_kill().expect("kill the program");
    child.wait().await.expect("wait for the program");
    let file = written(&stack, "all.ndjson", &all.concat());
    let told = stack.cli_json(&["users", "import", shown(&file)]).await.expect(0).json();
    let number = |name: &str| told[name].as_u64().expect("be a number");
    assert!(number("unchanged") >= 500 && number("failed") == 0, "{told}");
    assert_eq!(number("created") + number("unchanged"), all.len() as u64);
    let ids: Vec<String> = stack.records("default").await.into_keys().collect();
    assert_eq!(ids, (0..all.len()).map(|n| format!("u{n:05}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_import_goes_on_over_a_lost_connection_and_a_replica_that_starts_anew() {
    let mut stack = Stack::start(Settings::default()).await;
    let proxy = Proxy::before(stack.replicas[0].url.trim_start_matches("http://")).await;
    let (child, mut input) = piped(&format!("http://{}", proxy.address()), &stack.token);
    let all: Vec<String> = (0..2 * PART + 500).map(line).collect();
    input.write_all(all[..PART].concat().as_bytes()).await.expect("write");
    count_is(&stack, 500).await;
    proxy.set(Mode::Cut);
    // Meanwhile the connection is closed.
    stack.records("default").await;
    proxy.set(Mode::Pass);
    input.write_all(all[PART..2 * PART].concat().as_bytes()).await.expect("write");
    count_is(&stack, PART + 500).await;
    stack.replicas[0].kill();
    stack.replicas[0].restart();
    input.write_all(all[2 * PART..].concat().as_bytes()).await.expect("write");
    drop(input);
    let told = ended(child).await.expect(0).json();
    assert_eq!((&told["lines"], &told["failed"]), (&json!(2 * PART + 500), &json!(0)), "{told}");
    assert_eq!(stack.records("default").await.len(), 2 * PART + 500);
}
