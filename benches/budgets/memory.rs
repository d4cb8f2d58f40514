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

    /// Waits until the process hardly uses a processor: until it has followed what was loaded before it came.
    pub(crate) async fn comes_to_rest(self) {
        let mut calm = 0;
        while calm < 4 {
            let before = ticks(self.process);
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            calm = if ticks(self.process) - before <= 3 { calm + 1 } else { 0 };
        }
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

/// Hundredths of a second that the process has used of processors.
pub(crate) fn ticks(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("read the times of a process");
    let (_, fields) = text.rsplit_once(')').expect("have a name");
    fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}
