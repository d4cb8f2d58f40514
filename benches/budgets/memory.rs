//! Memory of a process, as Linux tells it.

const MIB: u64 = 1024;

/// Watches the resident memory of one process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    process: u32,
    idle_kib: u64,
}

impl Memory {
    /// Takes what it has now as idle.
    pub(crate) fn of(process: u32) -> Self {
        Self { process, idle_kib: status(process, "VmRSS:") }
    }

    /// What it had when it was idle, in MiB.
    pub(crate) fn idle(self) -> u64 {
        self.idle_kib / MIB
    }

    /// Begins a new peak.
    pub(crate) fn forget_peak(self) {
        // 5 resets the peak; without it the peak is that of the whole life, which is only worse for us.
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.process), "5");
    }

    /// The peak since it was forgotten, over idle, in MiB.
    pub(crate) fn peak(self) -> u64 {
        status(self.process, "VmHWM:").saturating_sub(self.idle_kib) / MIB
    }
}

fn status(process: u32, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).expect("read the status of a process");
    let line = text.lines().find(|line| line.starts_with(field)).expect("have the field");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("be a number of KiB")
}
