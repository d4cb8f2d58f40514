//! The `vault` commands as a test runs them: the real program, one target or several, and nothing else.

use std::process::{Command, Output};

use serde_json::Value;

use super::Stack;
use super::unique;

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Told {
    /// Its exit code.
    pub(crate) code: i32,
    /// Its standard output.
    pub(crate) out: String,
    /// Its standard error.
    pub(crate) err: String,
}

impl Told {
    /// Insists on the exit code, and goes on.
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }

    /// Its standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }

    /// Its standard output as lines of JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).expect("be JSON")).collect()
    }
}

impl From<Output> for Told {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("be UTF-8");
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Stack {
    /// `rollkeeper vault` with some targets of this stack and its key, ready to run.
    pub(crate) fn vault_command(&self, targets: &[&str], arguments: &[&str]) -> Command {
        let folder = self.folder.path();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollkeeper"));
        command.arg("vault").args(arguments).arg("--identity-file").arg(folder.join("identity")).current_dir(folder);
        for target in targets {
            command.arg("--target").arg(folder.join("targets").join(target));
        }
        command
    }

    /// Runs `rollkeeper vault` with some targets of this stack and its key.
    pub(crate) fn vault(&self, targets: &[&str], arguments: &[&str]) -> Told {
        self.vault_command(targets, arguments).output().expect("run the program").into()
    }

    /// The same, with JSON for an answer.
    pub(crate) fn vault_json(&self, targets: &[&str], arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--output", "json"]].concat();
        self.vault(targets, &arguments).json()
    }

    /// Another database and another chroot, which nothing knows yet; gives the name of the database.
    pub(crate) fn move_on(&mut self) -> String {
        self.place.database = unique("it");
        self.place.chroot = format!("/{}", unique("it"));
        let uri = self.folder.path().join("mongodb-uri");
        std::fs::write(uri, &self.place.mongodb).expect("write the connection string");
        self.place.database.clone()
    }

    /// Runs `rollkeeper vault restore` into the database of this stack's place.
    pub(crate) fn vault_restore(&self, targets: &[&str], arguments: &[&str]) -> Told {
        let into = ["--mongodb-uri-file", "mongodb-uri", "--database", self.place.database.as_str()];
        self.vault(targets, &[&["restore"], &into[..], arguments].concat())
    }
}
