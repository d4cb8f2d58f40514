//! Rules of the source that no compiler checks: headers, directions between modules, who may name which crate.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Which top modules a top module may name, itself aside; `shutdown` is allowed to all but `domain`.
const DIRECTIONS: [(&str, &[&str]); 12] = [
    ("main", &["cli"]),
    ("cli", &["api", "app", "tasks", "backup", "store", "targets", "cluster", "config", "domain", "telemetry"]),
    ("api", &["app", "tasks", "backup", "store", "targets", "cluster", "config", "domain", "telemetry"]),
    ("app", &["api", "tasks", "backup", "store", "targets", "cluster", "config", "domain", "telemetry"]),
    ("tasks", &["backup", "store", "targets", "cluster", "config", "domain", "telemetry"]),
    ("backup", &["store", "targets", "config", "domain"]),
    ("store", &["config", "domain", "telemetry"]),
    ("targets", &["config", "domain", "telemetry"]),
    ("cluster", &["config", "domain"]),
    ("config", &["domain"]),
    ("telemetry", &["config"]),
    ("domain", &[]),
];

/// Which top modules alone may name a crate.
const OWNERS: [(&str, &[&str]); 8] = [
    ("mongodb", &["store"]),
    ("bson", &["store"]),
    ("object_store", &["targets"]),
    ("zookeeper_client", &["cluster"]),
    ("axum", &["api"]),
    ("utoipa", &["api"]),
    ("prometheus_client", &["telemetry"]),
    ("opentelemetry", &["telemetry"]),
];

struct Source {
    path: PathBuf,
    top: String,
    text: String,
}

#[test]
fn every_file_says_in_its_header_what_it_is() {
    let bare = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    expect_none(bare.map(|source| source.path.display().to_string()));
}

#[test]
fn modules_name_only_what_lies_below_them() {
    expect_none(sources().iter().flat_map(|source| {
        let allowed = DIRECTIONS.iter().find(|(top, _)| *top == source.top).map(|(_, allowed)| *allowed);
        named_modules(&source.text).into_iter().filter_map(move |named| {
            let always = named == source.top || (named == "shutdown" && source.top != "domain");
            let legal =
                always || source.top == "shutdown" || allowed.is_some_and(|list| list.contains(&named.as_str()));
            (!legal).then(|| format!("{} names crate::{named}", source.path.display()))
        })
    }));
}

#[test]
fn a_crate_is_named_by_its_owner_only() {
    expect_none(sources().iter().flat_map(|source| {
        OWNERS.iter().filter_map(|(name, owners)| {
            let foreign = !owners.contains(&source.top.as_str()) && names_crate(&source.text, name);
            foreign.then(|| format!("{} names {name}", source.path.display()))
        })
    }));
}

#[test]
fn nothing_is_left_to_do_in_the_sources() {
    // In pieces, so that this file is not found itself.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["todo", "!("]].map(|pieces| pieces.concat());
    expect_none(sources().into_iter().flat_map(|source| {
        let path = source.path.display().to_string();
        let marked = source.text.lines().enumerate().filter(|(_, line)| marks.iter().any(|mark| line.contains(mark)));
        marked.map(|(at, _)| format!("{path}:{}", at + 1)).collect::<Vec<_>>()
    }));
}

#[test]
fn no_file_names_the_host_of_a_registry() {
    let hosts = [["crates", "io"], ["pypi", "org"], ["npmjs", "org"], ["docker", "io"]].map(|parts| parts.join("."));
    let mut files = Vec::new();
    for folder in ["src", "tests", "dev", "k8s", ".ci", "migrations"] {
        collect(&root().join(folder), &mut files);
    }
    expect_none(
        files
            .into_iter()
            // Cargo writes the address of its index into its lock files itself.
            .filter(|path| path.file_name().is_none_or(|name| name != "Cargo.lock"))
            .filter(|path| {
                let text = std::fs::read_to_string(path).unwrap_or_default();
                hosts.iter().any(|host| text.contains(host.as_str()))
            })
            .map(|path| path.display().to_string()),
    );
}

#[test]
fn every_top_module_has_its_place_in_the_directions() {
    let known: BTreeSet<&str> = DIRECTIONS.iter().map(|(top, _)| *top).chain(["lib", "shutdown"]).collect();
    let unknown = sources().into_iter().filter(|source| !known.contains(source.top.as_str()));
    expect_none(unknown.map(|source| source.path.display().to_string()));
}

#[test]
fn the_rules_see_what_they_look_for() {
    let text = "use crate::store::Store;\nuse crate::{api, domain::user};\nlet a = crate::tasks::x();\n//! crate::cli";
    let named: Vec<String> = named_modules(text).into_iter().collect();
    assert_eq!(named, ["api", "domain", "store", "tasks"]);
    assert!(names_crate("use mongodb::bson;", "bson") && names_crate("let x = mongodb::Client::new();", "mongodb"));
    assert!(!names_crate("use crate::config::mongodb::MongodbConfig;\n/// mongodb::x", "mongodb"));
    assert!(!names_crate("pub mod mongodb;", "mongodb"));
}

/// The top modules that code names by `crate::`.
fn named_modules(text: &str) -> BTreeSet<String> {
    let code = code(text);
    let mut found = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            Some(group) => found.extend(heads_of_group(group)),
            None => found.extend([identifier(after)]),
        }
    }
    found.retain(|name| name.chars().next().is_some_and(char::is_lowercase));
    found
}

/// The first identifiers of the members of `{a, b::{c, d}}`, after its opening brace.
fn heads_of_group(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut fresh) = (1, Vec::new(), true);
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => fresh = true,
            _ if fresh && !char.is_whitespace() => {
                heads.push(identifier(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

/// Whether code names the crate as the start of a path, or takes it out of another crate.
fn names_crate(text: &str, name: &str) -> bool {
    code(text).lines().any(|line| {
        line.match_indices(name).any(|(at, _)| {
            let (before, after) = (&line[..at], &line[at + name.len()..]);
            let whole = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
                && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
            let starts = after.starts_with("::") && !before.ends_with("::");
            let taken = before.trim_start().starts_with("use mongodb::") || before.trim() == "use";
            whole && (starts || taken)
        })
    })
}

/// The text without comments.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let (mut files, source) = (Vec::new(), root().join("src"));
    collect(&source, &mut files);
    assert!(files.len() > 30, "the sources were not found");
    let read = |path: PathBuf| {
        let first = path.strip_prefix(&source).expect("lie below src").components().next().expect("have a name");
        let top = Path::new(first.as_os_str()).with_extension("").display().to_string();
        let text = std::fs::read_to_string(&path).expect("read a source");
        Source { path, top, text }
    };
    files.into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "rs")).map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("read a folder").path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

fn expect_none(found: impl Iterator<Item = String>) {
    let found: Vec<String> = found.collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
