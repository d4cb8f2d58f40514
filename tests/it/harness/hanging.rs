//! Directory targets that do not fail but hang, as a network disk does.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::eventually;

/// What every writer reads before it writes anything to a target after a while.
const MARKER: &str = "rollkeeper.json";

/// Lets a target hang: whoever reads its marker waits until the end of the hang.
pub(crate) fn hang(target: &Path) {
    hang_at(&target.join(MARKER));
}

/// Lets the reads of one file hang.
pub(crate) fn hang_at(file: &Path) {
    std::fs::rename(file, beside(file, "whole")).expect("take the file away");
    // Whoever opens a pipe that nobody writes to waits.
    assert!(Command::new("mkfifo").arg(file).status().expect("run mkfifo").success());
}

/// Ends the hang of a target; `patience` is how long anybody waits for an answer of it.
pub(crate) async fn end_hang(target: &Path, patience: Duration) {
    end_hang_at(&target.join(MARKER), patience).await;
}

/// Ends the hang of one file.
pub(crate) async fn end_hang_at(file: &Path, patience: Duration) {
    let pipe = beside(file, "pipe");
    std::fs::rename(file, &pipe).expect("take the pipe away");
    std::fs::rename(beside(file, "whole"), file).expect("bring the file back");
    // They read nothing, which nobody may take for what is in the file.
    let (begun, enough) = (Instant::now(), patience + Duration::from_secs(1));
    let given_up = async || (begun.elapsed() > enough).then_some(());
    eventually("whoever waits at the pipe has given up", enough * 4, given_up).await;
    drop(File::options().read(true).write(true).open(&pipe).expect("let them go"));
    std::fs::remove_file(&pipe).expect("remove the pipe");
}

/// A name beside the targets, so that nobody lists it.
fn beside(file: &Path, word: &str) -> PathBuf {
    let name = file.display().to_string().replace('/', "-");
    let targets = file.ancestors().find(|folder| folder.ends_with("targets")).expect("be on a target");
    targets.join(format!("{word}{name}"))
}
