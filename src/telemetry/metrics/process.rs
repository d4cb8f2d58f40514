//! What the process uses, out of `/proc`; where that is not, nothing is told.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};

use super::service::ProcessMetrics;

/// Where the numbers of `stat` begin behind the name of the program: its state is the third field.
const FIRST_FIELD: usize = 3;

impl ProcessMetrics {
    /// Reads everything anew.
    pub(super) fn read(&self) {
        if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text)) {
            self.show(&stat);
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            self.open_fds.set([], to_f64(entries.count().saturating_sub(1)));
        }
        if let Some(most) = fs::read_to_string("/proc/self/limits").ok().and_then(|text| max_fds(&text)) {
            self.max_fds.set([], most);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "bytes and ticks are far below 2^53")]
    fn show(&self, stat: &Stat) {
        let ticks = clock_ticks_per_second() as f64;
        self.cpu_seconds.set([], stat.cpu_ticks / ticks);
        self.resident_bytes.set([], stat.resident_pages * page_size() as f64);
        self.threads.set([], stat.threads);
        let booted = fs::read_to_string("/proc/stat").ok().and_then(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix("btime "))
                .and_then(|seconds| seconds.trim().parse::<f64>().ok())
        });
        if let Some(booted) = booted {
            self.started.set([], booted + stat.started_ticks / ticks);
        }
    }
}

/// What is taken out of `/proc/self/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: f64,
    threads: f64,
    started_ticks: f64,
    resident_pages: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name is in parentheses, and may hold anything.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - FIRST_FIELD)?.parse::<f64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            started_ticks: field(22)?,
            resident_pages: field(24)?,
        })
    }
}

fn max_fds(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "nobody opens 2^53 files")]
fn to_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_stat_are_counted_from_behind_the_name() {
        let numbers: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let text = format!("1234 (roll) keeper) S {}", numbers.join(" "));
        let stat = Stat::parse(&text).unwrap();
        let wanted = Stat { cpu_ticks: 29.0, threads: 20.0, started_ticks: 22.0, resident_pages: 24.0 };
        assert_eq!(stat, wanted);
    }

    #[test]
    fn a_limit_is_its_soft_value() {
        assert_eq!(
            max_fds("Limit Soft Hard Units\nMax open files            1024                 4096  files\n"),
            Some(1024.0)
        );
        assert_eq!(max_fds("Max open files unlimited unlimited files"), None);
    }
}
