//! Describes the machine and the versions that a run was measured with.

use std::process::Command;

use rollkeeper::domain::clock::Clock;

/// The description in Markdown, one line each.
pub(crate) fn describe(mongodb: &str, users: usize, bytes: usize) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let memory = memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default();
    let lines = [
        format!(
            "- Date: {}; load of the last minute at the start: {}",
            Clock::System.now(),
            first(&read("/proc/loadavg"))
        ),
        format!("- Processor: {}, {cores} cores", field(&read("/proc/cpuinfo"), "model name")),
        format!("- Memory: {} GiB; disk: {}", memory / 1024 / 1024, disk()),
        format!("- Kernel: Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        format!("- MongoDB {mongodb}, one member; {}; rollkeeper {}", output("rustc", &["--version"]), revision()),
        format!("- Users: {users}, {bytes} bytes of BSON on average; two directory targets on the same disk"),
    ];
    lines.join("\n") + "\n"
}

fn first(text: &str) -> String {
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Device, file system and kind of the disk that we are on.
fn disk() -> String {
    let listed = output("df", &["--output=source,fstype", "."]);
    let line = listed.lines().last().unwrap_or_default().split_whitespace().collect::<Vec<_>>();
    let [source, kind] = line.as_slice() else { return "unknown".to_owned() };
    let device = source.rsplit('/').next().unwrap_or_default().trim_end_matches(|c: char| c.is_ascii_digit());
    let rotates = std::fs::read_to_string(format!("/sys/block/{device}/queue/rotational")).unwrap_or_default();
    let spins = match rotates.trim() {
        "0" => ", not rotating",
        "1" => ", reported as rotating",
        _ => "",
    };
    format!("{source} ({kind}{spins})")
}

fn revision() -> String {
    let commit = output("git", &["rev-parse", "--short", "HEAD"]);
    let changed = if output("git", &["status", "--porcelain", "--", "src"]).is_empty() { "" } else { ", changed" };
    format!("{} ({commit}{changed})", env!("CARGO_PKG_VERSION"))
}

fn output(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output();
    done.map(|done| String::from_utf8_lossy(&done.stdout).trim().to_owned()).unwrap_or_default()
}
