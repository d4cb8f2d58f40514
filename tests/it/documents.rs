//! What the documents and comments name is there: files, modules, make targets, commands.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Endings that make a word the name of a file of this repository.
const ENDINGS: [&str; 6] = [".md", ".rs", ".py", ".sh", ".yaml", ".ndjson"];
/// Top folders; a word that begins with one of them is a path.
const FOLDERS: [&str; 9] = ["src/", "tests/", "dev/", "docs/", "k8s/", "migrations/", "openapi/", "benches/", ".ci/"];

#[test]
fn documents_and_comments_name_no_file_that_is_not_there() {
    let files = files();
    let names: BTreeSet<&str> = files.iter().filter_map(|file| file.rsplit('/').next()).collect();
    let mut missing = Vec::new();
    for file in files.iter().filter(|file| is_text(file)) {
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        for word in paths(&read(file), is_document(file)) {
            let places = [word.clone(), format!("src/{word}"), format!("{folder}/{word}"), format!("benches/{word}")];
            let there = places.iter().any(|place| root().join(place).exists());
            if !there && !names.contains(word.as_str()) {
                missing.push(format!("{file} names {word}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn documents_name_no_module_that_is_not_there() {
    let mut missing = Vec::new();
    for file in files().iter().filter(|file| is_document(file)) {
        for code in read(file).split('`').skip(1).step_by(2).filter(|code| !code.contains(char::is_whitespace)) {
            let Some((top, module)) = code.trim_end_matches("::").split_once("::") else { continue };
            let places = [format!("src/{top}/{module}.rs"), format!("src/{top}/{module}")];
            if root().join("src").join(top).is_dir() && !places.iter().any(|place| root().join(place).exists()) {
                missing.push(format!("{file} names {code}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn documents_name_no_make_target_that_is_not_there() {
    let makefile = read("Makefile");
    let mut unknown = Vec::new();
    for file in files().iter().filter(|file| is_document(file)) {
        for after in read(file).split("make ").skip(1) {
            let target: String = after.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            let before = after.chars().nth(target.len());
            // In a document, a command stands between backticks or on a line of its own.
            let is_command = matches!(before, Some('`' | '\n')) || after[target.len()..].trim_start().starts_with('#');
            if is_command && !target.is_empty() && !makefile.contains(&format!("\n{target}:")) {
                unknown.push(format!("{file} names make {target}"));
            }
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

#[test]
fn documents_name_no_command_that_the_program_does_not_have() {
    let mut unknown = Vec::new();
    for file in files().iter().filter(|file| is_document(file)) {
        for after in read(file).split("`rollkeeper ").skip(1) {
            let line = after.split('`').next().unwrap_or_default();
            let words = line.split(' ').take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()));
            let done = Command::new(env!("CARGO_BIN_EXE_rollkeeper")).args(words).arg("--help").output();
            if !done.expect("run rollkeeper").status.success() {
                unknown.push(format!("{file} names rollkeeper {line}"));
            }
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

#[test]
fn the_rule_for_files_sees_what_it_looks_for() {
    let text = "//! See docs/formats.md, `app/prepare.rs` and (tests/it).\nlet a = \"src/none.rs\"; // DESIGN.md 4";
    assert_eq!(paths(text, false), ["docs/formats.md", "app/prepare.rs", "tests/it", "DESIGN.md"]);
    assert_eq!(paths("`migrations/NNNN_name.json` /docs/x $url/docs/y.md rollkeeper.toml", true), Vec::<String>::new());
}

/// The words that are paths or names of files: in a document all, elsewhere those of comments.
fn paths(text: &str, everywhere: bool) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let prose = if everywhere { Some(line) } else { comment(line) };
        let split = |c: char| c.is_whitespace() || "`()[]{},;:\"'*|<>=".contains(c);
        for word in prose.unwrap_or_default().split(split) {
            let word = word.trim_end_matches(['.', '/']).trim_start_matches("./");
            let named = ENDINGS.iter().any(|ending| word.len() > ending.len() && word.ends_with(ending))
                || FOLDERS.iter().any(|folder| word.starts_with(folder));
            if named && !word.starts_with(['/', '$']) && !word.contains("NNNN") {
                found.push(word.to_owned());
            }
        }
    }
    found
}

fn comment(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let own = ["//", "#", "\"\"\""].iter().find_map(|mark| line.strip_prefix(mark));
    own.or_else(|| line.split_once("// ").map(|(_, comment)| comment))
}

fn is_document(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|ending| ending == "md")
}

fn is_text(file: &str) -> bool {
    let ending = Path::new(file).extension().and_then(|ending| ending.to_str()).unwrap_or(file);
    let kinds = ["md", "rs", "py", "sh", "toml", "yaml", "Makefile", "Dockerfile", ".dockerignore"];
    kinds.contains(&ending) && file != "tests/it/documents.rs"
}

/// The files of the top folder and of its folders of sources.
fn files() -> Vec<String> {
    let (mut files, mut folders) = (Vec::new(), vec![root().to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("read a folder") {
            let path = entry.expect("read a folder").path();
            let name = path.strip_prefix(root()).expect("lie below the root").to_str().expect("be UTF-8").to_owned();
            let is_source = FOLDERS.iter().any(|folder| format!("{name}/").starts_with(folder));
            match path.is_dir() {
                true if is_source && !name.contains("__pycache__") => folders.push(path),
                true => {}
                false => files.push(name),
            }
        }
    }
    assert!(files.len() > 100, "the files were not found");
    files
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_default()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
